/* The form of a profile: the check that it fits the current model and SAE, and the warning of unsaved input.
 *
 * Alpine.store("profile"): settings (of the document beside its features) and settingsProblem (profile_settings.js),
 * here (the current model and SAE, its layer and fingerprint), reasons (why the profile in the
 * form cannot steer now; empty if it can), check(), takeHere() and findFeatures().
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const MADE_FOR = ["model_id", "sae_id", "layer", "sae_fingerprint"];
  const TYPING_MS = 300;
  const MOST_CHECKED = 4000; // characters of parts in a query; saving checks longer ones

  /* The feature of the highest index, which decides whether a part fits. */
  const mostOf = (features) => {
    const highest = Math.max(...Object.keys(features ?? {}).filter((index) => /^\d+$/.test(index)));
    return Number.isFinite(highest) ? { [highest]: 1 } : {};
  };

  const form = () => document.getElementById("profile_form");
  millm.featureTable = () => document.querySelector("[x-data=featureTable]");

  const store = {
    here: {},
    reasons: [],
    saved: {}, // the profile's values, for a viewer who has no fields
    url: "",
    asked: [],
    unreachable: false,
    settings: {},
    settingsProblem: "",

    init() {
      Object.assign(this, JSON.parse(document.getElementById("profile-page").textContent));
    },

    /* A viewer's page has no fields of settings, and shows those that are saved. */
    takeSettings() {
      if (this.field("unit")) Object.assign(this, millm.readSettings(form().elements));
    },

    field(name) {
      return form().elements.namedItem(name);
    },

    madeFor() {
      return MADE_FOR.map((name) => [name, this.field(name)?.value ?? this.saved[name] ?? ""]);
    },

    /* The further parts for the server's check, and that there are no own features beside them. */
    parts(indices) {
      const { also } = this.settings;
      if (!Array.isArray(also) || !also.length || also.some((part) => typeof part !== "object" || !part)) return [];
      const text = JSON.stringify(also.map((part) => ({ ...part, features: mostOf(part.features) })));
      if (text.length > MOST_CHECKED) return [];
      return [["also", text], ...(indices.length ? [] : [["own", "none"]])];
    },

    /* Ask the server for `here` and `reasons`, and pass the SAE to the table of features. */
    async check() {
      const indices = Object.keys(Alpine.$data(millm.featureTable()).detail().strengths);
      const asked = [...this.madeFor(), ["feature", Math.max(0, ...indices)], ...this.parts(indices)];
      this.asked = asked;
      const response = await fetch(`${this.url}?${new URLSearchParams(asked)}`).catch(() => null);
      if (asked.join() !== this.asked.join()) return null; // a newer request was sent meanwhile
      this.unreachable = !response?.ok || response.redirected;
      if (this.unreachable) return null;
      const { here, reasons, sae } = await response.json();
      Object.assign(this, { here, reasons });
      millm.featureTable().dispatchEvent(new CustomEvent("features-sae", { detail: millm.saeOfTable(sae) }));
      return sae;
    },

    async changed(name) {
      const sae = await this.check();
      // Layer and fingerprint belong to the SAE: naming another known SAE fills in both.
      if (name === "sae_id" && sae && "layer" in sae)
        this.fill({ layer: sae.layer, sae_fingerprint: sae.sae_fingerprint });
    },

    fill(values) {
      const changed = Object.entries(values).filter(([name, value]) => this.field(name).value !== String(value ?? ""));
      changed.forEach(([name, value]) => (this.field(name).value = value ?? ""));
      if (!changed.length) return;
      form().dispatchEvent(new CustomEvent("profile-filled"));
      this.check();
    },

    findFeatures() {
      document.getElementById("find-features").showModal();
    },

    async takeHere() {
      await this.check();
      if (!this.unreachable) this.fill(this.here);
    },
  };

  function watch() {
    let timer;
    Alpine.store("profile").takeSettings();
    form().addEventListener("input", ({ target }) => {
      if (millm.SETTINGS.includes(target.name)) Alpine.store("profile").takeSettings();
      if (target.name === "unit")
        millm.featureTable().dispatchEvent(new CustomEvent("features-unit", { detail: { unit: target.value } }));
      if (![...MADE_FOR, "also"].includes(target.name)) return;
      clearTimeout(timer);
      timer = setTimeout(() => Alpine.store("profile").changed(target.name), TYPING_MS);
    });
    document.addEventListener("visibilitychange", () => document.hidden || Alpine.store("profile").check());
  }

  /* Unfold's own warning is not used: it adds listeners to all fields at each move of a slider. */
  function warnBeforeLosing() {
    let unsaved = Boolean(document.querySelector(".errornote"));
    const changed = () => (unsaved = true);
    form().addEventListener("input", ({ target }) => target.name && changed());
    form().addEventListener("features-changed", changed);
    form().addEventListener("profile-filled", changed);
    form().addEventListener("submit", () => (unsaved = false));
    window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
  }

  document.addEventListener("alpine:init", () => Alpine.store("profile", store));
  document.addEventListener("DOMContentLoaded", () => {
    watch();
    warnBeforeLosing();
  });
})(window.millm);
