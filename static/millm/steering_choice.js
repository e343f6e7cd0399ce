/* The choice of a steering: a combobox (combobox.js) in the scope of a page that has
 *   choices: the chosen steerings {kind: "live", "none" or "profile", name}; label(choice): its text; keep(): store it
 *   refresh(search): requests and returns `now`, with the profiles that have `search` in their name
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  /* The state of a page from `url`: the served model, and the profiles with `search` in their name. Throws ChatError. */
  millm.pageNow = async (url, search) => {
    let response;
    try {
      response = await fetch(`${url}?${new URLSearchParams({ search })}`);
    } catch {
      throw new millm.ChatError("The server cannot be reached: is it running?", 0, "connection_lost");
    }
    if (response.redirected) throw new millm.ChatError("You are logged out: log in again.", 401, "not_logged_in");
    if (!response.ok) throw new millm.ChatError(`The server answered ${response.status}.`, response.status, null);
    return response.json();
  };

  const steeringChoice = (index, kinds = ["live", "none"]) => ({
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
      const offered = kinds.map((kind) => ({ kind, name: "" }));
      const fixed = offered.filter((option) => this.label(option).toLowerCase().includes(text.toLowerCase()));
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
