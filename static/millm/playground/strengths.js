/* Strengths of a pane's own: the table of features (features.js) in the pane, and saving them as a profile. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const tableIn = (element) => element.querySelector("[x-data=featureTable]");

  const MAX_INTENSITY = 2;

  /* The document of a profile. Throws ChatError. */
  async function documentOf(name) {
    const response = await fetch(`/admin/playground/profile?${new URLSearchParams({ name })}`).catch(() => null);
    if (!response) throw new millm.ChatError("The server cannot be reached: is it running?", 0, "connection_lost");
    if (response.redirected) throw new millm.ChatError("You are logged out: log in again.", 401, "not_logged_in");
    if (response.status === 404) throw new millm.ChatError(`The profile “${name}” no longer exists.`, 404, "not_found");
    if (!response.ok) throw new millm.ChatError(`The server answered ${response.status}.`, response.status, null);
    return response.json();
  }

  millm.playgroundStrengths = () => ({
    invalid: {}, // by the id of a pane: true while a strength in its table is wrong

    /* Put the table of the page's template into a pane. */
    async mountStrengths(element, pane) {
      await this.$nextTick(); // Alpine makes no components of elements that are added while it adds this one
      const { innerHTML } = document.getElementById("strengths-template");
      element.innerHTML = innerHTML.replaceAll("strengths-PANE", `strengths-${pane.id}`);
      const options = document.getElementById(`strengths-${pane.id}-options`);
      options.textContent = JSON.stringify({ ...JSON.parse(options.textContent), strengths: pane.strengths });
      await this.$nextTick(); // Alpine has made the table then
      element.dataset.isMounted = "";
      this.tellSae(element, pane);
    },

    /* An Alpine effect: the features of the table are those of the attached SAE. What the table reads is not its. */
    tellSae(element, pane) {
      const detail = millm.saeOfTable(this.now.sae);
      queueMicrotask(() => {
        const table = "isMounted" in element.dataset && element.isConnected ? tableIn(element) : null;
        if (!table) return;
        table.dispatchEvent(new CustomEvent("features-sae", { detail }));
        this.invalid[pane.id] = !Alpine.$data(table).detail().valid;
      });
    },

    /* Give a pane the strengths of its profile, to be changed there. Its answers stay the same until then. */
    async copyProfile(pane) {
      const { name } = pane.choice;
      this.refusal = "";
      try {
        const { features, more } = await documentOf(name);
        const { intensity = 1, ...rest } = more;
        const whole = Number(pane.intensity) * intensity;
        if (Object.keys(rest).length || whole > MAX_INTENSITY) {
          const told = Object.keys(rest).join(", ") || `an intensity of ${whole}`;
          this.refusal = `“${name}” has more than a pane can hold (${told}): edit it, or a duplicate, as a profile.`;
          return;
        }
        Object.assign(pane, { strengths: features, intensity: whole, choice: { kind: "own", name: "" } });
        this.status = `The strengths of “${name}” are copied into the ${this.paneName(pane)}.`;
        this.keep();
        await this.$nextTick();
        document.getElementById(`steering-${pane.id}`).closest("section").querySelector("summary").focus();
      } catch (error) {
        if (!(error instanceof millm.ChatError)) throw error;
        this.refusal = error.message;
      }
    },

    strengthsChanged(pane, { strengths, valid, committed }) {
      pane.strengths = strengths;
      this.invalid[pane.id] = !valid;
      if (committed) this.keep();
    },

    /* True if the tables of these panes have no error; else says which one has. */
    strengthsAreValid(panes) {
      const wrong = panes.find(({ id, choice }) => choice.kind === "own" && this.invalid[id]);
      if (wrong) this.refusal = `Nothing was sent: correct the strengths of the ${this.paneName(wrong)}.`;
      return !wrong;
    },

    strengthsSummary({ strengths }) {
      const count = Object.keys(strengths).length;
      return `${count || "no"} feature${count === 1 ? "" : "s"}`;
    },
  });

  /* The form below the table: a name, and a profile of the pane's strengths and intensity. */
  const profileSaving = (pane) => ({
    isOpen: false,
    isSaving: false,
    name: "",
    error: "",

    async open() {
      Object.assign(this, { isOpen: true, error: "" });
      await this.$nextTick();
      this.$refs.name.focus();
    },

    /* The reason why nothing can be saved, "" if there is none. */
    blocked() {
      if (!this.now.sae) return "Attach an SAE first.";
      if (this.invalid[pane.id]) return "Correct the strengths first.";
      return Object.keys(pane.strengths).length ? "" : "Add a feature first.";
    },

    body() {
      const intensity = Number(pane.intensity);
      return {
        name: this.name.trim(),
        model_id: this.now.model,
        sae_id: this.now.sae.id,
        steering: pane.strengths,
        ...(intensity === 1 ? {} : { intensity }),
      };
    },

    async save() {
      this.error = this.name.trim() ? this.blocked() : "Type a name.";
      if (this.error || this.isSaving) return;
      this.isSaving = true;
      try {
        const { name } = await millm.read("/api/profiles", this.body());
        pane.choice = { kind: "profile", name };
        pane.intensity = 1; // the profile has that of the pane
        this.notice = `The strengths are saved as the profile “${name}”, which now steers the ${this.paneName(pane)}.`;
        this.keep();
        this.focus();
      } catch (error) {
        if (!(error instanceof millm.ReadingError)) throw error;
        this.error = error.fields.name ?? error.message;
        this.$refs.name.focus();
      } finally {
        this.isSaving = false;
      }
    },
  });

  document.addEventListener("alpine:init", () => Alpine.data("profileSaving", profileSaving));
})(window.millm);
