/* The choice of a pane's steering: a combobox (combobox.js) in the scope of the playground. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const FIXED = ["live", "none"].map((kind) => ({ kind, name: "" }));

  /* The served model, the live steering, and the profiles with `search` in their name. Throws ChatError. */
  millm.playgroundNow = async (search) => {
    let response;
    try {
      response = await fetch(`/admin/playground/now?${new URLSearchParams({ search })}`);
    } catch {
      throw new millm.ChatError("The server cannot be reached: is it running?", 0, "connection_lost");
    }
    if (response.redirected) throw new millm.ChatError("You are logged out: log in again.", 401, "not_logged_in");
    if (!response.ok) throw new millm.ChatError(`The server answered ${response.status}.`, response.status, null);
    return response.json();
  };

  const steeringChoice = (index) => ({
    ...millm.combobox(),
    typed: "",

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

    async find(text) {
      const fixed = FIXED.filter((option) => this.label(option).toLowerCase().includes(text.toLowerCase()));
      let profiles = [];
      let hint = "";
      try {
        const now = await this.refresh(text.trim());
        profiles = now.profiles.map((name) => ({ kind: "profile", name }));
        if (now.has_more) hint = "There are more: type a part of the name.";
        else if (!fixed.length && !profiles.length) hint = "No profile that fits has this in its name.";
      } catch (error) {
        hint = error.message;
      }
      const found = [...fixed, ...profiles];
      return { found, at: Math.max(0, text ? 0 : found.findIndex((option) => this.isChosen(option))), hint };
    },

    enter() {
      if (this.isOpen && this.found[this.at]) this.choose(this.found[this.at]);
    },

    choose({ kind, name }) {
      this.choices[index] = { kind, name };
      this.close();
      this.keep();
    },

    /* Also without a choice: the typed text is not a steering. */
    close() {
      this.closeList();
      this.typed = this.label(this.choices[index]);
    },

    escape(event) {
      if (!this.isOpen) return;
      event.stopPropagation(); // else Escape would stop the answers
      this.close();
    },
  });

  document.addEventListener("alpine:init", () => Alpine.data("steeringChoice", steeringChoice));
})(window.millm);
