/* The choice of a steering: a combobox (combobox.js) of `steered`, which has
 *   id: a number in the ids of elements; choice: {kind: "live", "none", "own" or "profile", name}
 * in the scope of a page that has
 *   label(choice): its text; keep(): store it
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

  /* The steerings that the link of the playground names: ?left=unsteered&right=live, or &profile=ocean on the right. */
  millm.linkedSteerings = () => {
    const query = new URLSearchParams(location.search);
    const fixed = { unsteered: { kind: "none", name: "" }, live: { kind: "live", name: "" } };
    const profile = query.get("profile");
    const right = profile ? { kind: "profile", name: profile } : fixed[query.get("right")];
    return { left: fixed[query.get("left")], right };
  };

  const steeringChoice = (steered, kinds) => ({
    ...millm.combobox(),
    typed: "",

    id(part) {
      return `steering-${steered.id}-${part}`;
    },

    isChosen({ kind, name }) {
      return kind === steered.choice.kind && name === steered.choice.name;
    },

    about(option) {
      if (option.kind === "live") return this.now.live;
      if (option.kind === "none") return "the model alone";
      if (option.kind === "own") return "set in this pane";
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

    async enter() {
      await this.settle();
      if (this.isOpen && this.isSettled && this.found[this.at]) this.choose(this.found[this.at]);
    },

    choose({ kind, name }) {
      steered.choice = { kind, name };
      this.close();
      this.keep();
    },

    close() {
      this.closeList();
      this.showChoice();
    },

    /* An Alpine effect: the text is that of the choice, but while the user types. A typed text is no steering. */
    showChoice() {
      if (!this.isOpen) this.typed = this.label(steered.choice);
    },

    escape(event) {
      if (!this.isOpen) return;
      event.stopPropagation(); // else Escape would stop the answers
      event.target.setSelectionRange(0, 0); // a click on selected text would undo the select() of open()
      this.close();
    },
  });

  document.addEventListener("alpine:init", () => Alpine.data("steeringChoice", steeringChoice));
})(window.millm);
