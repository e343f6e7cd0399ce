/* The playground: one conversation, answered by several panes. A turn is a message and the answer of each pane to it. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const POLL_MS = 5000;
  /* Their answers change visibly under a profile of the demo. */
  const QUESTIONS = ["What makes you happy?", "How do I spend a weekend?", "Tell me a story."];

  const page = () => JSON.parse(document.getElementById("playground-page").textContent);

  function playground() {
    const { now, user, settings, max_seed: maxSeed, max_stops: maxStops } = page();
    const storage = new millm.PlaygroundStorage(user);
    const first = now.profiles.length ? { kind: "profile", name: now.profiles[0] } : { kind: "live", name: "" };
    const panes = [millm.newPane({ kind: "none", name: "" }), millm.newPane(first)];
    const blank = { view: "text", showsSettings: false, draft: "", turns: [] };
    const defaults = { ...blank, settings, panes, reference: panes[0].id };

    return {
      ...storage.load(defaults),
      ...millm.answerTexts,
      ...millm.playgroundPanes(),
      ...millm.playgroundSettings(maxSeed, maxStops),
      ...millm.playgroundRequests(),
      ...millm.playgroundDifferences(),
      ...millm.playgroundTokens(),
      ...millm.playgroundStrengths(),
      ...millm.playgroundFile(defaults),
      ...millm.playgroundLink(defaults),
      now,
      questions: QUESTIONS,
      isEditing: false,
      draftBefore: "", // while a message is edited
      before: null, // the state that "Undo" restores
      notice: "",
      refusal: "",
      status: "", // for screen readers
      copied: "",

      init() {
        this.followLink();
        this.followFragment();
        addEventListener("hashchange", () => this.followFragment());
        this.keep();
        addEventListener("pagehide", () => this.keep());
        document.addEventListener("visibilitychange", () => document.hidden && this.keep());
        millm.poll(async (isSeenAgain) => {
          if (isSeenAgain || this.now.problem) await this.look();
        }, POLL_MS);
        this.$nextTick(() => this.panes.forEach((pane) => this.scrollDown(pane)));
      },

      /* Take the steerings that the query of this page names; a reload keeps what is chosen then. */
      followLink() {
        const { left, right } = millm.linkedSteerings();
        if (!left && !right) return;
        if (this.panes.length < 2) this.panes.push(millm.newPane({ ...first }));
        if (left) this.panes[0].choice = left;
        if (right) this.panes[1].choice = right;
        history.replaceState(null, "", location.pathname);
      },

      keep() {
        if (storage.save(this)) return;
        this.notice = "This conversation is too long: the browser keeps only a part of it after a reload.";
      },

      // --- the served model and the steerings ---

      /* Request the served model, the live steering and the profiles that `search` finds. Throws ChatError. */
      async refresh(search = "") {
        const { model } = this.now;
        this.now = { ...this.now, ...(await millm.pageNow("/admin/playground/now", search)) };
        if (model && this.now.model && this.now.model !== model) {
          this.notice = `The server switched from ${model} to ${this.now.model}.`;
        }
        return this.now;
      },

      async look() {
        try {
          await this.refresh();
        } catch (error) {
          this.now.problem = error.message;
        }
      },

      // --- actions of the user ---

      async send() {
        if (this.isRunning() || !this.draft.trim()) return;
        if (!this.strengthsAreValid(this.panes) || !(await this.settingsAreValid())) return;
        if (this.isEditing) this.turns.pop();
        this.notice = "";
        this.turns.push({ id: Date.now(), text: this.draft, cut: false, answers: {} });
        this.endEdit();
        await this.answer(this.panes);
      },

      edit() {
        [this.isEditing, this.draftBefore, this.draft] = [true, this.draft, this.turns.at(-1).text];
        this.focus();
      },

      endEdit() {
        [this.isEditing, this.draftBefore, this.draft] = [false, "", this.draftBefore];
        this.focus();
      },

      /* Before a change that "Undo" takes back. */
      setAside(notice) {
        if (this.isEditing) this.endEdit();
        const { settings, panes, reference, view, draft, turns } = this;
        this.before = { settings, panes: [...panes], reference, view, draft, turns: [...turns] };
        Object.assign(this, { notice, refusal: "" });
      },

      /* Remove the turns from `start` on. */
      remove(start, notice) {
        this.stop();
        this.setAside(notice);
        this.turns.splice(start);
        this.keep();
      },

      /* Replace the state by that of a file or a link. */
      restore(state, notice) {
        this.stop();
        this.setAside(notice);
        const { settings: own, panes: given, reference, view, draft, turns } = state;
        Object.assign(this, { settings: own, panes: given, reference, view, draft, turns });
        this.keep();
      },

      undo() {
        Object.assign(this, this.before, { before: null, notice: "" });
        this.keep();
        this.focus();
      },

      escape() {
        if (this.tip) this.hideTip();
        else if (this.isRunning()) this.stop();
        else if (this.isEditing) this.endEdit();
      },

      enter(event) {
        if (event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.send();
      },

      async copyAs(pane, turn, kind) {
        const answer = turn.answers[pane.id];
        const sample = answer.samples[answer.chosen];
        const makers = {
          answer: () => sample.text,
          curl: () => millm.asCurl(this.bodyOf(pane, turn, sample), location.origin),
          Python: () => millm.asPython(this.bodyOf(pane, turn, sample), location.origin),
        };
        await millm.copyText(makers[kind]());
        this.status = `Copied: ${kind}.`;
        this.copied = `${pane.id} ${turn.id} ${kind}`;
        setTimeout(() => (this.copied = ""), 2000);
      },

      isCopied(pane, turn, kind) {
        return this.copied === `${pane.id} ${turn.id} ${kind}`;
      },

      focus() {
        this.$refs.message.focus();
      },
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("playground", playground));
})(window.millm);
