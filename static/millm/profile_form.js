/* The form of a profile: whether it fits what is here, and the warning before what was typed is lost.
 *
 * Alpine.store("profile"): here (the model, the SAE and its layer that are here now), reasons (why the profile, as it
 * stands in the form, cannot steer here; empty where it can), check() and takeHere().
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const MADE_FOR = ["model_id", "sae_id", "layer", "sae_fingerprint"];
  const TYPING_MS = 300;

  const form = () => document.getElementById("profile_form");
  millm.featureTable = () => document.querySelector("[x-data=featureTable]");

  const store = {
    here: {},
    reasons: [],
    saved: {}, // what a viewer has instead of fields
    url: "",
    asked: [],
    unreachable: false,

    init() {
      Object.assign(this, JSON.parse(document.getElementById("profile-page").textContent));
    },

    field(name) {
      return form().elements.namedItem(name);
    },

    madeFor() {
      return MADE_FOR.map((name) => [name, this.field(name)?.value ?? this.saved[name] ?? ""]);
    },

    /* Ask the server, whose rules these are; the features' table learns which SAE its features are of. */
    async check() {
      const indices = Object.keys(Alpine.$data(millm.featureTable()).detail().strengths);
      const asked = [...this.madeFor(), ["feature", Math.max(0, ...indices)]];
      this.asked = asked;
      const response = await fetch(`${this.url}?${new URLSearchParams(asked)}`).catch(() => null);
      if (asked.join() !== this.asked.join()) return null; // something newer was asked meanwhile
      this.unreachable = !response?.ok || response.redirected;
      if (this.unreachable) return null;
      const { here, reasons, sae } = await response.json();
      Object.assign(this, { here, reasons });
      millm
        .featureTable()
        .dispatchEvent(
          new CustomEvent("features-sae", { detail: { sae: sae.sae_id ?? "", d_sae: sae.d_sae ?? null } }),
        );
      return sae;
    },

    async changed(name) {
      const sae = await this.check();
      // The layer and the weights are those of the SAE: whoever names another one that is here, has its.
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

    async takeHere() {
      await this.check();
      if (!this.unreachable) this.fill(this.here);
    },
  };

  function watch() {
    let timer;
    form().addEventListener("input", ({ target }) => {
      if (!MADE_FOR.includes(target.name)) return;
      clearTimeout(timer);
      timer = setTimeout(() => Alpine.store("profile").changed(target.name), TYPING_MS);
    });
    document.addEventListener("visibilitychange", () => document.hidden || Alpine.store("profile").check());
  }

  /* Unfold's own warning adds listeners to every field at each change of an attribute, as each move of a slider is. */
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
