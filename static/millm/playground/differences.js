/* What the answers of a pane are compared with, and the text of an answer in the chosen view. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const ELEMENTS = { same: "span", removed: "del", added: "ins" };

  function part({ kind, text }) {
    const made = document.createElement(ELEMENTS[kind]);
    made.textContent = text;
    return made;
  }

  millm.playgroundDifferences = () => ({
    referencePane() {
      return this.panes.find(({ id }) => id === this.reference) ?? this.panes[0];
    },

    /* The sample of the reference that another pane's sample is compared with: that of its seed, else the chosen one.
     * Null where there is none, or one of both has not ended. */
    counterpart({ id }, turn, { seed }) {
      const reference = this.referencePane();
      const [own, other] = [turn.answers[id], turn.answers[reference.id]];
      if (reference.id === id || !this.isCounted(own) || !this.isCounted(other)) return null;
      return other.samples.find((one) => one.seed === seed) ?? other.samples[other.chosen];
    },

    isSame(pane, turn, sample) {
      const other = this.counterpart(pane, turn, sample);
      return other?.text === sample.text && millm.callsAsText(other) === millm.callsAsText(sample);
    },

    /* An Alpine effect: the text, its differences from the reference, or its tokens. */
    paintText(element, pane, turn, sample) {
      const { view } = this;
      const other = view === "differences" ? this.counterpart(pane, turn, sample) : null;
      element.dataset.view = view;
      if (view === "probabilities" && sample.tokens) return millm.paintTokens(element, sample.tokens);
      millm.forgetTokens(element);
      if (!other) element.textContent = sample.text;
      else {
        const { parts, isWhole } = millm.diffWords(other.text, sample.text);
        element.replaceChildren(...parts.map(part));
        if (!isWhole) element.dataset.cut = "";
      }
    },

    /* A remark on the view below an answer, "" if there is none. */
    viewNote(pane, turn, sample) {
      const answer = turn.answers[pane.id];
      if (!this.isCounted(answer)) return "";
      if (this.view === "probabilities") {
        return sample.tokens ? "" : "This answer has no probabilities: regenerate it to see them.";
      }
      if (this.view !== "differences" || this.panes.length < 2) return "";
      if (pane === this.referencePane())
        return sample === answer.samples[0] ? "The other panes are compared with this one." : "";
      const other = this.counterpart(pane, turn, sample);
      if (!other) return "There is no answer to compare this one with.";
      return millm.diffWords(other.text, sample.text).isWhole ? "" : "The texts are too long to compare word by word.";
    },
  });
})(window.millm);
