/* The page that blends profiles: the server sums them, the table of features (features.js) and "try it" take the sum. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const MOVING_MS = 120;

  const page = () => JSON.parse(document.getElementById("blend-page").textContent);
  millm.featureTable = () => document.querySelector("[x-data=featureTable]");

  function blend() {
    return {
      rows: [], // {name, weight}
      typed: "",
      name: "",
      problem: "",
      nameError: "",
      settings: [], // of the sum, in words: {name, value}
      isSummed: false, // true while the sum is that of the rows
      asked: 0,

      init() {
        this.rows = page().chosen.map((name) => ({ name, weight: 1 }));
        this.$nextTick(() => this.sum());
      },

      /* True where the typed text is a suggestion. */
      offers(list) {
        return [...list.options].some((option) => option.value === this.typed);
      },

      /* The suggestion that the typed text means: the text itself, or the only one that contains it. */
      meant() {
        const typed = this.typed.trim();
        const names = [...document.getElementById("blend-offered").options].map((option) => option.value);
        const found = names.filter((name) => name.toLowerCase().includes(typed.toLowerCase()));
        return !names.includes(typed) && typed && found.length === 1 ? found[0] : typed;
      },

      add() {
        const name = this.meant();
        this.typed = "";
        if (!name || this.rows.some((row) => row.name === name)) return;
        this.rows.push({ name, weight: 1 });
        this.sum();
      },

      remove(row) {
        this.rows = this.rows.filter((one) => one.name !== row.name);
        this.sum();
      },

      weights() {
        return JSON.stringify(Object.fromEntries(this.rows.map(({ name, weight }) => [name, Number(weight)])));
      },

      sumSoon() {
        this.isSummed = false;
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.sum(), MOVING_MS);
      },

      async sum() {
        clearTimeout(this.timer);
        this.asked += 1;
        const own = this.asked;
        this.isSummed = false;
        try {
          const sum = await this.post({ profiles: this.weights() });
          if (own !== this.asked) return; // a newer request was sent meanwhile
          this.problem = "";
          this.show(sum);
          this.isSummed = true;
        } catch (error) {
          if (own !== this.asked) return;
          this.problem = error.message;
          this.show({ strengths: {}, labels: {}, more: {}, unit: "raw", settings: [] });
        }
      },

      show({ strengths, labels, more, unit, settings }) {
        const send = (name, detail) => millm.featureTable().dispatchEvent(new CustomEvent(name, { detail }));
        send("features-unit", { unit });
        send("features-set", { strengths, labels });
        this.settings = settings;
        Alpine.store("profile").settings = more;
        window.dispatchEvent(
          new CustomEvent("features-changed", { detail: { strengths, valid: true, committed: true } }),
        );
      },

      ready() {
        return this.isSummed && this.rows.length > 0;
      },

      async save() {
        if (!this.ready()) return;
        this.nameError = "";
        try {
          location.assign((await this.post({ profiles: this.weights(), name: this.name.trim() })).url);
        } catch (error) {
          this.nameError = error.message.replace(/^name: /, "");
        }
      },

      async post(fields) {
        const response = await fetch(location.pathname, {
          method: "POST",
          headers: { "X-CSRFToken": millm.csrfToken(), Accept: "application/json" },
          body: new URLSearchParams(fields),
        }).catch(() => {
          throw new Error("The server could not be reached.");
        });
        if (!response.headers.get("Content-Type")?.startsWith("application/json"))
          throw new Error("Your session has ended, or you lack the permission: reload the page.");
        const body = await response.json();
        if (!response.ok) throw new Error(body.detail);
        return body;
      },
    };
  }

  const store = { reasons: [], unreachable: false, here: {}, async check() {} };

  document.addEventListener("alpine:init", () => {
    const { here, reasons } = page();
    Alpine.store("profile", { ...store, here, reasons });
    Alpine.data("blend", blend);
  });
})(window.millm);
