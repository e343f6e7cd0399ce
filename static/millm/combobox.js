/* A combobox: a text field with a list of search results, as a part of an Alpine component.
 * https://www.w3.org/WAI/ARIA/apg/patterns/combobox/
 *
 * The component has `find(text, signal)`, which returns the new `found` (the options), `at` (the index of the marked
 * option, -1: none) and other changed properties. A newer search, or closing the list, drops the result of `find`.
 * Enter awaits settle(), so that it takes an option of the typed text and never one of an older text.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const TYPING_MS = 200;

  millm.combobox = () => ({
    isOpen: false,
    found: [],
    at: -1,
    hint: "", // below the list
    // Declared, since an assignment would otherwise go to an outer component, which several comboboxes share.
    searching: null,
    searchTimer: null,
    wanted: "", // the text of the newest search
    isSettled: true, // true: `found` is the result of the newest search

    async search(text) {
      this.stopSearch();
      Object.assign(this, { wanted: text, isSettled: false });
      const own = new AbortController();
      this.searching = own;
      const changes = await this.find(text, own.signal);
      if (!own.signal.aborted) Object.assign(this, changes, { isSettled: true });
    },

    /* Search after the user stops typing. */
    searchSoon(text) {
      this.stopSearch();
      Object.assign(this, { wanted: text, isSettled: false });
      this.searchTimer = setTimeout(() => this.search(text), TYPING_MS);
    },

    /* Wait for the result of the newest search, without waiting for the end of typing. */
    async settle() {
      if (!this.isSettled) await this.search(this.wanted);
    },

    stopSearch() {
      clearTimeout(this.searchTimer);
      this.searching?.abort();
    },

    closeList() {
      this.stopSearch();
      this.isOpen = false;
      this.isSettled = true;
      this.at = -1;
      this.hint = "";
    },

    /* Mark the next option (1) or the previous one (-1); with `wraps`, the first follows the last. */
    move(step, wraps = true) {
      const last = this.found.length - 1;
      if (last < 0) return;
      const at = this.at < 0 && step < 0 ? last : this.at + step;
      this.at = wraps ? (at + last + 1) % (last + 1) : Math.min(Math.max(at, 0), last);
      this.$nextTick(() => {
        const marked = this.$root.querySelector("[role=combobox]").getAttribute("aria-activedescendant");
        document.getElementById(marked)?.scrollIntoView({ block: "nearest" });
      });
    },
  });
})(window.millm);
