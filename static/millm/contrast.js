/* The contrast of two boxes of sentences, whose features go into the table of the page (templates/millm/contrast.html).
 * A page has it beside a table of features (features.js), and defines millm.featureTable().
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const TOP = 20;
  const SHOWN = 8; // of each side, before the user wants all
  const MINUS = "−";

  millm.sentences = (text) =>
    text
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);

  function featureContrast(user) {
    const key = `millm.contrast.${user}`;
    return {
      ...millm.reader(),
      ...millm.collecting(),
      ...millm.loadValues(key, { positive: "", negative: "", pool: "mean", maxPercent: 100 }),
      found: null,
      asked: "", // the inputs of `found`
      most: SHOWN,
      wrong: {}, // {field: message} of the boxes and of the form below them (vector_making.js)

      init() {
        this.$watch("[positive, negative, pool, maxPercent]", () => millm.storeValues(key, this.inputs()));
      },

      inputs() {
        const { positive, negative, pool, maxPercent } = this;
        return { positive, negative, pool, maxPercent };
      },

      count(text) {
        const { length } = millm.sentences(text);
        return length === 1 ? "1 sentence" : `${length} sentences`;
      },

      /* The reason why nothing is sent, "" if there is none. */
      refusal() {
        if (!this.sae()) return this.$root.dataset.noSae;
        if (!millm.sentences(this.positive).length) return "Type sentences of the kind that you want, one per line.";
        if (!millm.sentences(this.negative).length) return "Type sentences of another kind, one per line.";
        const percent = this.maxPercent;
        if (percent === "" || !(percent >= 0 && percent <= 100)) {
          return `Got ${percent || "nothing"} as the largest share of tokens, expected a number from 0 to 100.`;
        }
        return "";
      },

      async compare() {
        this.wrong = {};
        this.error = this.refusal();
        if (this.error) return;
        const asked = JSON.stringify(this.inputs());
        const found = await this.ask("/api/features/contrast", {
          positive: millm.sentences(this.positive),
          negative: millm.sentences(this.negative),
          pool: this.pool,
          max_density: this.maxPercent / 100,
          top: TOP,
          sae: this.sae(),
        });
        if (!found) return;
        Object.assign(this, { found, asked, most: SHOWN });
        this.status = `${found.features.length} features found for the first side, ${found.opposed.length} for the other.`;
      },

      /* The result, while its SAE is that of the table. */
      shown() {
        return this.found && this.found.sae === this.sae() ? this.found : null;
      },

      isStale() {
        return this.shown() !== null && this.asked !== JSON.stringify(this.inputs());
      },

      sides() {
        const { features, opposed } = this.shown() ?? { features: [], opposed: [] };
        return [
          { id: "wanted", title: "For the first side", none: "No feature fires more on the first side.", features },
          {
            id: "opposed",
            title: "For the other side",
            none: "No feature fires more on the other side.",
            features: opposed,
          },
        ];
      },

      /* Of the largest activation that is known, where there is one: the difference of means is too weak to be seen. */
      suggestion({ difference, maximum }) {
        if (maximum) return Math.sign(difference) * millm.SUGGESTED * maximum;
        return this.shown().pool === "max" ? millm.SUGGESTED * difference : difference;
      },

      /* The width of a bar, from 0 to 1: the difference beside the largest one of both sides. */
      share({ difference }) {
        const { features, opposed } = this.shown();
        return Math.abs(difference) / Math.max(...[...features, ...opposed].map((one) => Math.abs(one.difference)));
      },

      signed(value) {
        return `${value < 0 ? MINUS : "+"}${millm.shortNumber(Math.abs(value))}`;
      },

      percent(share) {
        const percent = share * 100;
        return `${percent > 0 && percent < 1 ? percent.toFixed(1) : Math.round(percent)} %`;
      },

      shares({ positive_share: first, negative_share: other }) {
        return `${this.percent(first)} / ${this.percent(other)}`;
      },
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("featureContrast", featureContrast));
})(window.millm);
