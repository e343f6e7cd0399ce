/* The part of the feature table (features.js) that reads a pasted list of strengths, and copies the table as one. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  millm.featureLists = () => ({
    paste() {
      const { entries, problems } = millm.parseStrengths(this.pasted);
      this.problems = problems;
      if (problems.length) return;
      if (!entries.length) {
        this.problems = [{ line: 1, message: "the list is empty: expected lines like 123: 4.0" }];
        return;
      }
      this.put(entries);
      this.pasting = false;
      this.pasted = "";
    },

    openPaste(text = "") {
      this.pasting = true;
      this.pasted = text;
      this.problems = [];
      this.$nextTick(() => this.$refs.paste.focus());
    },

    async copy() {
      await navigator.clipboard.writeText(
        this.rows.map((row) => `${row.index}: ${millm.strengthInWords(row)}\n`).join(""),
      );
      this.announce("Copied.");
    },
  });
})(window.millm);
