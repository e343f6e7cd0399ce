/* Undo and redo of the table of features (features.js). */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const SAME_STEP_MS = 800;
  const UNDO_STEPS = 200;
  const KEPT_STEPS = 20; // of a form that is sent: the browser keeps some megabytes for a page
  const KEPT = "millm.features";

  millm.featureSteps = () => ({
    /* A refused form shows what was sent, and goes back over the steps that led there. */
    keepSteps() {
      const key = `${KEPT}.${location.pathname}`;
      const kept = JSON.parse(sessionStorage.getItem(key) || "{}");
      if (document.querySelector(".errornote") && kept.now === this.now)
        Object.assign(this, { past: kept.past, future: kept.future });
      addEventListener("pagehide", () => {
        const [past, future] = [this.past, this.future].map((steps) => steps.slice(-KEPT_STEPS));
        sessionStorage.setItem(key, JSON.stringify({ now: this.now, past, future }));
      });
    },

    /* Quick steps of the same slider, such as by its arrow keys, are one step of undo. */
    remember(step) {
      const next = this.snapshot();
      if (next === this.now) return;
      const same = step && step === this.step && performance.now() - this.steppedAt < SAME_STEP_MS;
      if (!same) this.past = [...this.past.slice(1 - UNDO_STEPS), this.now];
      this.future = [];
      this.now = next;
      this.step = step;
      this.steppedAt = performance.now();
    },

    undo() {
      this.travel(this.past, this.future, "Undone.");
    },

    redo() {
      this.travel(this.future, this.past, "Redone.");
    },

    travel(from, to, message) {
      if (!from.length) return;
      to.push(this.now);
      this.now = from.pop();
      this.step = "";
      this.show(this.now);
      this.announce(message);
      this.changed();
    },

    shortcut(event) {
      const typing = event.target.matches("textarea, input:not([type=range])");
      if (typing || this.options.read_only || !(event.ctrlKey || event.metaKey)) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) this.redo();
      else this.undo();
    },
  });
})(window.millm);
