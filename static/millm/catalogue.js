/* The list of SAEs in a repository or a folder, beside the form that registers one of them. */
document.addEventListener("alpine:init", () => {
  "use strict";

  const SHOWN = 50;

  function bytes(size) {
    const units = ["bytes", "kB", "MB", "GB"];
    const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(size, 1)) / 3));
    return `${Number((size / 1000 ** power).toPrecision(3))} ${units[power]}`;
  }

  Alpine.data("catalogue", () => ({
    found: null, // the answer of /api/saes/catalogue; each SAE has a `text` for the search
    query: "",
    chosen: null,
    looking: false,
    refusal: "",

    field(name) {
      return this.$root.querySelector(`[name=${name}]`);
    },

    forget() {
      this.found = this.chosen = null;
      this.refusal = this.query = "";
      this.request?.abort();
      this.looking = false;
    },

    async look() {
      this.forget();
      const source = this.field("source").value.trim();
      if (!source) {
        this.refusal = "Enter a hub id or a folder first.";
        this.field("source").focus();
        return;
      }
      const own = new AbortController();
      this.request = own;
      this.looking = true;
      try {
        const query = new URLSearchParams({ source, revision: this.field("revision").value.trim() });
        const answer = await fetch(`${this.$root.dataset.url}?${query}`, {
          signal: own.signal,
          headers: { Accept: "application/json" },
        });
        if (answer.ok) this.show(await answer.json());
        else this.refusal = await this.refused(answer);
      } catch (error) {
        if (error.name === "AbortError") return;
        this.refusal = "The server does not answer: try again.";
      }
      this.looking = false;
    },

    async refused(answer) {
      try {
        const errors = await answer.json();
        return String(errors.detail || Object.values(errors).flat().join(" ")).replace(/^source: /, "");
      } catch {
        return `The server answered ${answer.status}.`;
      }
    },

    show(found) {
      this.found = found.map((sae) => ({ ...sae, text: `${sae.path} ${this.about(sae)}`.toLowerCase() }));
      if (found.length === 1) this.choose(found[0]);
    },

    about(sae) {
      const parts = [
        sae.layer === null ? "" : `layer ${sae.layer}`,
        sae.hook_point,
        sae.width === null ? "" : `${sae.width.toLocaleString("en")} features`,
        sae.sparsity === null ? "" : `L0 ${sae.sparsity}`,
        sae.format,
        sae.size === null ? "" : bytes(sae.size),
      ];
      return parts.filter(Boolean).join(" · ");
    },

    get matching() {
      const words = this.query.toLowerCase().split(/\s+/).filter(Boolean);
      return (this.found || []).filter((sae) => words.every((word) => sae.text.includes(word)));
    },

    get shown() {
      return this.matching.slice(0, SHOWN);
    },

    get heading() {
      const count = this.found?.length;
      return count ? `${count} SAE${count === 1 ? "" : "s"} inside: choose one` : "No readable SAE is inside";
    },

    get message() {
      const count = this.matching.length;
      if (!this.found?.length)
        return "Readable formats: SAELens, Gemma Scope, Llama Scope, sparsify and dictionary_learning.";
      if (count > SHOWN) return `The first ${SHOWN} of ${count} are shown: narrow the search.`;
      return this.query ? `${count} found.` : "";
    },

    choose(sae) {
      this.chosen = sae.path;
      this.field("path").value = sae.path;
    },
  }));
});
