/* The part of the feature table (features.js) that requests labels, of rows without one and of a search, and the
 * largest activation of a new row's feature, from which its first strength follows.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const TYPING_MS = 200;
  const INDICES_A_REQUEST = 100;
  const OFFERED = 8;

  millm.SUGGESTED = 0.5; // of the largest activation: enough to steer, and seldom too much for correct sentences

  millm.featureLabels = () => ({
    ...millm.combobox(), // its options are {index, label}
    query: "",
    searched: "", // the text that the options were found for
    refusal: "",
    labelTimer: null,

    searchable() {
      return Boolean(this.options.search && this.options.sae);
    },

    async readLabels(params, signal) {
      const url = `/api/saes/${encodeURIComponent(this.options.sae)}/labels?${new URLSearchParams(params)}`;
      const response = await fetch(url, { signal, headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(`labels: the server answered ${response.status}`);
      return (await response.json()).results;
    },

    /* Request the labels of new rows; one request for all rows that were added within a moment. */
    fetchLabels() {
      if (!this.searchable()) return;
      clearTimeout(this.labelTimer);
      this.labelTimer = setTimeout(async () => {
        const sae = this.options.sae;
        const missing = this.rows
          .map((row) => row.index)
          .filter((index) => this.isIndex(index) && !this.asked.has(index));
        missing.forEach((index) => this.asked.add(index));
        try {
          while (missing.length && sae === this.options.sae) {
            const indices = missing.splice(0, INDICES_A_REQUEST).map((index) => ["index", index]);
            const labels = await this.readLabels([...indices, ["page_size", 1000]]);
            if (sae !== this.options.sae) return;
            labels.forEach(({ index, label }) => (this.labels[index] = label));
          }
        } catch {
          this.announce("The labels could not be read.");
        }
      }, TYPING_MS);
    },

    /* The largest activation that is known of a feature; 0 where none is, or the user may not see it. */
    async maximumOf(index) {
      const { maximum_url: url, sae } = this.options;
      if (!url || !sae) return 0;
      const response = await fetch(`${url}?${new URLSearchParams({ sae, index })}`).catch(() => null);
      return response?.ok && !response.redirected ? ((await response.json()).maximum ?? 0) : 0;
    },

    /* The first strength of a feature: half of its largest activation, where that is known. */
    async suggested(index) {
      const maximum = this.options.unit === "raw" ? await this.maximumOf(index) : 0;
      const strength = Math.min(millm.SUGGESTED * maximum, this.options.max_strength);
      return strength > 0 ? String(Number(strength.toPrecision(3))) : this.fresh();
    },

    isIndex(text) {
      return /^\d+$/.test(text) && Number(text) < 2 ** 31;
    },

    typedQuery() {
      this.refusal = "";
      const query = this.query.trim();
      if (query && this.searchable()) this.searchSoon(query);
      else this.close();
    },

    async find(query, signal) {
      const wanted = this.isIndex(query) ? ["index", query] : ["search", query];
      try {
        const labels = await this.readLabels([wanted, ["page_size", OFFERED]], signal);
        const found = labels.filter(({ index }, at) => labels.findIndex((other) => other.index === index) === at);
        return { found, searched: query, at: this.isIndex(query) || !found.length ? -1 : 0 };
      } catch {
        return { refusal: "The search of labels failed; you can still add an index." };
      }
    },

    close() {
      this.closeList();
      this.found = [];
      this.searched = "";
    },

    nothingFound() {
      return Boolean(
        this.searched && this.searched === this.query.trim() && !this.found.length && !this.isIndex(this.searched),
      );
    },

    /* Enter in the box: add the marked option, or the typed index, maybe with its strength. */
    async addTyped() {
      const query = this.query.trim();
      if (/^\d+$/.test(query)) return this.add(String(BigInt(query)));
      const { entries, problems } = millm.parseStrengths(query);
      if (entries.length === 1 && !problems.length) return this.add(...entries[0]);
      await this.settle();
      if (query !== this.query.trim()) return; // typed meanwhile
      if (this.isSettled && this.at >= 0) this.add(String(this.found[this.at].index));
      else if (query)
        this.refusal = this.searchable() ? "Pick a suggestion or enter an index." : "Enter the index of a feature.";
    },

    async add(index, text, mode) {
      const there = this.rows.some((row) => row.index === index);
      if (!this.isIndex(index) || (this.options.d_sae && Number(index) >= this.options.d_sae)) {
        const last = (this.options.d_sae || 2 ** 31) - 1;
        this.refusal = `Feature ${index} is out of range: expected 0 to ${last}.`;
        return;
      }
      const label = this.found.find((one) => String(one.index) === index)?.label;
      if (label) {
        this.labels[index] = label;
        this.asked.add(index);
      }
      this.query = "";
      this.refusal = "";
      this.close();
      if (there && text === undefined) {
        this.announce(`Feature ${index} is in the table already.`);
        this.$nextTick(() => this.rowElement(index).querySelector("input").focus());
        return;
      }
      const sae = this.options.sae;
      const strength = text ?? (await this.suggested(index));
      if (sae !== this.options.sae) return; // another SAE was attached meanwhile
      this.put([[index, strength, mode]]);
      this.announce(`Feature ${index} ${there ? "changed" : "added"}.`);
    },

    /* For another part of the page: add a feature that is not in the table, remove one that is. The focus stays. */
    toggle({ index, label, strength }) {
      const key = String(index);
      const there = this.rows.some((row) => row.index === key);
      if (label) {
        this.labels[key] = label;
        this.asked.add(key);
      }
      const rows = this.plain().filter((row) => row.index !== key);
      this.rows = there ? rows : [...rows, { index: key, text: strength, mode: "add" }];
      this.sorted = "";
      this.changed();
      this.fetchLabels();
      this.announce(`Feature ${key} ${there ? "removed" : "added"}.`);
    },

    /* A list pasted into the box opens the field for lists. */
    pastedIntoBox(event) {
      const text = event.clipboardData.getData("text");
      if (!/\n\s*\S|^\s*\{/.test(text)) return;
      event.preventDefault();
      this.openPaste(text);
    },
  });
})(window.millm);
