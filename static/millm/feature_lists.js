/* The part of the feature table (features.js) that reads a pasted list of strengths, and copies the table as one. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  millm.featureLists = () => ({
    paste() {
      const { entries, problems, lines } = millm.parseStrengths(this.pasted);
      const wrong = entries.map((entry) => ({ line: lines.get(entry[0]), message: this.beyond(...entry) }));
      this.problems = [...problems, ...wrong.filter(({ message }) => message)].sort((a, b) => a.line - b.line);
      if (this.problems.length) return;
      if (!entries.length) {
        this.problems = [{ line: 1, message: "the list is empty: expected lines like 123: 4.0" }];
        return;
      }
      this.put(entries);
      this.pasting = false;
      this.pasted = "";
    },

    /* The error of an index or a strength beyond what the table takes, "" if there is none. */
    beyond(index, text) {
      const { d_sae, max_strength } = this.options;
      if (!this.isIndex(index) || (d_sae && Number(index) >= d_sae))
        return `feature ${index} is out of range: expected 0 to ${(d_sae || 2 ** 31) - 1}`;
      if (Math.abs(millm.parseNumber(text)) > max_strength)
        return `got the strength ${text}, expected -${max_strength} to ${max_strength}`;
      return "";
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
