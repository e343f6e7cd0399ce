/* A combobox: a text field with a list of what a search finds, as a part of an Alpine component.
 * https://www.w3.org/WAI/ARIA/apg/patterns/combobox/
 *
 * The component has `find(text, signal)`, which returns the new `found` (the options) and `at` (the marked one, -1: none),
 * and whatever else of the component a search changes. A newer search, or the end of the list, drops what `find` returns.
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

    async search(text) {
      this.stopSearch();
      const own = new AbortController();
      this.searching = own;
      const changes = await this.find(text, own.signal);
      if (!own.signal.aborted) Object.assign(this, changes);
    },

    /* Search once no more is typed. */
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

    /* Mark the next option (1) or the one before (-1); `wraps`: from the last to the first too. */
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
