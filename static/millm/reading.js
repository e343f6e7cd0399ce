/* Requests of pages to REST: POST /api/activations, /api/features/contrast and /api/vectors.
 *
 * millm.read(url, body, signal) returns the JSON of the answer. It throws millm.ReadingError, whose message is for the
 * user and whose `fields` are {field: message}, and an AbortError where `signal` was aborted: the worker then stops
 * reading.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  millm.ReadingError = class extends Error {
    constructor(message, fields = {}) {
      super(message);
      this.fields = fields;
    }
  };

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

  const firstText = (found) => (typeof found === "string" ? found : firstText(Object.values(found)[0]));

  /* The refusals of an answer, {field: message}; empty where it names no field. */
  function refusedFields(answer) {
    if (!answer || typeof answer !== "object") return {};
    if (typeof answer.detail !== "string") {
      return Object.fromEntries(Object.entries(answer).map(([field, found]) => [field, sentence(firstText(found))]));
    }
    const [, field, message] = answer.detail.match(/^([a-z_]+): (.+)$/s) ?? [];
    return field ? { [field]: sentence(message) } : {};
  }

  /* The reason of a refusal: `detail`, or the first message of each field. */
  function reason(response, answer) {
    if (response.redirected || response.status === 401 || response.status === 403) {
      return "Your session has ended, or you lack the permission: reload the page.";
    }
    if (typeof answer?.detail === "string") return sentence(answer.detail);
    const fields = answer && typeof answer === "object" ? Object.entries(answer) : [];
    if (!fields.length) return `The server answered ${response.status}.`;
    return fields.map(([field, told]) => `${field}: ${[told].flat()[0]}`).join(" ");
  }

  millm.read = async (url, body, signal) => {
    const headers = { Accept: "application/json", "Content-Type": "application/json" };
    const request = { method: "POST", headers: { ...headers, "X-CSRFToken": millm.csrfToken() }, signal };
    let response;
    let answer;
    try {
      response = await fetch(url, { ...request, body: JSON.stringify(body) });
      const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
      answer = isJson ? await response.json() : null;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new millm.ReadingError("The server cannot be reached: is it running?");
    }
    if (response.ok && answer && !response.redirected) return answer;
    throw new millm.ReadingError(reason(response, answer), refusedFields(answer));
  };

  /* A part of a component that sends one reading at a time. */
  millm.reader = () => ({
    running: null, // the AbortController of the reading in progress
    error: "",
    refused: {}, // the fields of `error`
    status: "", // for screen readers, and below the button

    /* The answer; null where it failed, was stopped, or was replaced by a newer reading. */
    async ask(url, body, doing = "Reading …") {
      this.running?.abort();
      const own = new AbortController();
      this.running = own;
      Object.assign(this, { error: "", refused: {}, status: doing });
      try {
        const answer = await millm.read(url, body, own.signal);
        if (this.isNewest(own)) this.status = "";
        return this.isNewest(own) ? answer : null;
      } catch (error) {
        if (!this.isNewest(own)) return null;
        this.status = error.name === "AbortError" ? "Stopped." : "";
        if (error.name === "AbortError") return null;
        if (!(error instanceof millm.ReadingError)) throw error;
        Object.assign(this, { error: error.message, refused: error.fields });
        return null;
      } finally {
        if (this.isNewest(own)) this.running = null;
      }
    },

    isNewest(own) {
      return Alpine.raw(this.running) === own;
    },

    stop() {
      this.running?.abort();
    },
  });

  /* A part of a component that puts features into the table of the page. */
  millm.collecting = () => ({
    table() {
      return Alpine.$data(millm.featureTable());
    },

    /* The SAE of the table, "" if none is known. */
    sae() {
      return this.table().options.sae;
    },

    /* The address of a feature's page, from that of feature 0 of an SAE named SAE. */
    featureUrl({ index }) {
      const { featureUrl } = this.$root.closest("[data-feature-url]").dataset;
      return featureUrl.replace("SAE", encodeURIComponent(this.sae())).replace(/0\/$/, `${index}/`);
    },

    isCollected({ index }) {
      return this.table().rows.some((row) => row.index === String(index));
    },

    /* Add the feature with the component's `suggestion` of a strength; remove it if it is in the table. */
    async toggle(feature) {
      const most = this.table().options.max_strength;
      const suggested = this.isCollected(feature) ? 0 : await this.suggestion(feature);
      const strength = Math.min(most, Math.max(-most, suggested));
      this.table().toggle({ ...feature, strength: millm.shortNumber(strength) });
    },
  });

  /* A number with three significant digits, without an exponent. */
  millm.shortNumber = (value) => String(Number(value.toPrecision(3)));

  /* Values in the storage of this tab. Stored values of another type than those of `defaults` are ignored. */
  millm.loadValues = (key, defaults) => {
    let found = null;
    try {
      found = JSON.parse(sessionStorage.getItem(key));
    } catch {
      /* the storage is missing or has no JSON: use the defaults */
    }
    const kept = Object.entries(defaults).map(([name, value]) => {
      const isKept = typeof found?.[name] === typeof value && Array.isArray(found[name]) === Array.isArray(value);
      return [name, isKept ? found[name] : value];
    });
    return Object.fromEntries(kept);
  };

  millm.storeValues = (key, values) => {
    try {
      sessionStorage.setItem(key, JSON.stringify(values));
    } catch {
      /* the storage is full or missing: the values end with the page */
    }
  };
})(window.millm);
