/* The choice of a pane's steering: a combobox, in the scope of the playground.
 * https://www.w3.org/WAI/ARIA/apg/patterns/combobox/ */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const FIXED = ["live", "none"].map((kind) => ({ kind, name: "" }));

  /* What is served and steers now, and the profiles with `search` in their name. Throws ChatError. */
  millm.playgroundNow = async (search) => {
    let response;
    try {
      response = await fetch(`/admin/playground/now?${new URLSearchParams({ search })}`);
    } catch {
      throw new millm.ChatError("The server cannot be reached: is it running?", 0, "connection_lost");
    }
    if (response.redirected) throw new millm.ChatError("Nobody is logged in: log in again.", 401, "not_logged_in");
    if (!response.ok) throw new millm.ChatError(`The server answered ${response.status}.`, response.status, null);
    return response.json();
  };

  const steeringChoice = (index) => ({
    isOpen: false,
    typed: "",
    options: [],
    at: 0,
    hint: "",
    asked: 0,

    init() {
      this.typed = this.label(this.choices[index]);
    },

    id(option) {
      return `steering-${index}-${option}`;
    },

    isChosen({ kind, name }) {
      return kind === this.choices[index].kind && name === this.choices[index].name;
    },

    about(option) {
      if (option.kind === "live") return this.now.live;
      if (option.kind === "none") return "the model alone";
      return option.name === this.now.active ? "active profile" : "profile";
    },

    open(event) {
      if (this.isOpen) return;
      this.isOpen = true;
      event.target.select();
      return this.search("");
    },

    async search(text) {
      const asked = ++this.asked;
      const fixed = FIXED.filter((option) => this.label(option).toLowerCase().includes(text.toLowerCase()));
      let found = { profiles: [], has_more: false };
      let problem = "";
      try {
        found = await this.refresh(text.trim());
      } catch (error) {
        problem = error.message;
      }
      if (asked !== this.asked) return; // something else was typed since
      this.options = [...fixed, ...found.profiles.map((name) => ({ kind: "profile", name }))];
      this.at = Math.max(0, text ? 0 : this.options.findIndex((option) => this.isChosen(option)));
      this.hint = problem || (found.has_more ? "There are more: type a part of the name." : "");
      if (!this.options.length && !problem) this.hint = "No profile that fits has this in its name.";
    },

    move(step, event) {
      if (!this.isOpen) return this.open(event);
      this.at = Math.min(Math.max(this.at + step, 0), this.options.length - 1);
      this.$nextTick(() => document.getElementById(this.id(this.at))?.scrollIntoView({ block: "nearest" }));
    },

    enter() {
      if (this.isOpen && this.options[this.at]) this.choose(this.options[this.at]);
    },

    choose({ kind, name }) {
      this.choices[index] = { kind, name };
      this.close();
      this.keep();
    },

    /* Also without a choice: what was typed is no steering. */
    close() {
      this.isOpen = false;
      this.typed = this.label(this.choices[index]);
    },

    escape(event) {
      if (!this.isOpen) return;
      event.stopPropagation(); // it stops answers otherwise
      this.close();
    },
  });

  document.addEventListener("alpine:init", () => Alpine.data("steeringChoice", steeringChoice));
})(window.millm);
