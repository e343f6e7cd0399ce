/* A combobox: a text field with a list of search results, as a part of an Alpine component.
 * https://www.w3.org/WAI/ARIA/apg/patterns/combobox/
 *
 * The component has `find(text, signal)`, which returns the new `found` (the options), `at` (the index of the marked
 * option, -1: none) and other changed properties. A newer search, or closing the list, drops the result of `find`.
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

    async search(text) {
      this.stopSearch();
      const own = new AbortController();
      this.searching = own;
      const changes = await this.find(text, own.signal);
      if (!own.signal.aborted) Object.assign(this, changes);
    },

    /* Search after the user stops typing. */
    searchSoon(text) {
      this.stopSearch();
      this.searchTimer = setTimeout(() => this.search(text), TYPING_MS);
    },

    stopSearch() {
      clearTimeout(this.searchTimer);
      this.searching?.abort();
    },

    closeList() {
      this.stopSearch();
      this.isOpen = false;
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
