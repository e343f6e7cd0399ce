/* A vector of the two boxes of sentences: made, attached, tried (templates/millm/make_vector.html).
 *
 * Lies within featureContrast (contrast.js), whose boxes and refusals by field it uses, and within explore (explore.js).
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const FIELDS = ["positive", "negative", "layer", "method", "id", "label"];
  const ids = { positive: "contrast-positive", negative: "contrast-negative" };

  function vectorMaking() {
    return {
      ...millm.reader(),
      layer: null, // as typed; null: the default
      method: "difference",
      id: "",
      label: "",
      made: null, // the answer of REST
      isAttached: false,
      strength: "1", // of "Try it": 1 adds the vector as it is

      shownLayer() {
        return this.layer ?? this.now.layer ?? "";
      },

      /* The reasons why nothing is sent, by field. */
      refusals() {
        const { layers } = this.now;
        const layer = String(this.shownLayer());
        const [first, other] = [millm.sentences(this.positive), millm.sentences(this.negative)];
        const isLayer = /^\d+$/.test(layer) && (!layers || Number(layer) < layers);
        const range = layers ? `from 0 to ${layers - 1}` : "from 0";
        const isUnpaired = this.method === "pca" && first.length !== other.length;
        return {
          ...(isUnpaired && {
            negative: `Got ${other.length} sentences for ${first.length}, expected pairs, line by line: or choose another method.`,
          }),
          ...(!first.length && { positive: "Type sentences of the kind that you want, one per line." }),
          ...(!other.length && { negative: "Type sentences of another kind, one per line." }),
          ...(!isLayer && { layer: `Got ${layer || "nothing"}, expected a layer ${range}.` }),
        };
      },

      /* Show refusals at their fields, and move to the first; false where there is none. */
      refuse(wrong) {
        this.wrong = wrong;
        const field = FIELDS.find((name) => name in wrong);
        if (field) this.$nextTick(() => document.getElementById(ids[field] ?? `vector-${field}`).focus());
        return Boolean(field);
      },

      async make() {
        this.error = "";
        if (this.refuse(this.refusals())) return;
        const { method, id, label } = this;
        const made = await this.ask("/api/vectors", {
          positive: millm.sentences(this.positive),
          negative: millm.sentences(this.negative),
          layer: Number(this.shownLayer()),
          method,
          id: id.trim(),
          label: label.trim(),
        });
        if (!made) {
          if (this.refuse(this.refused)) this.error = "";
          return;
        }
        Object.assign(this, { made, isAttached: false, strength: "1", status: `${made.sae.id} is made.` });
      },

      figures() {
        const { norm, residual_norm: residual, auc } = this.made.made;
        const [own, other] = [millm.shortNumber(norm), millm.shortNumber(residual)];
        const share = `${Math.round((100 * norm) / residual)} % of the residual stream’s ${other}`;
        return [
          { name: "Norm", value: residual ? `${own}, ${share}` : own },
          { name: "AUC", value: auc === null ? "needs two sentences a side" : auc.toFixed(2) },
        ];
      },

      /* The address of the set's page, from that of a set named SAE. */
      pageUrl() {
        return this.$root.dataset.setUrl.replace("SAE", encodeURIComponent(this.made.sae.id));
      },

      async attach() {
        const { id } = this.made.sae;
        const answer = await this.ask(`/api/saes/${encodeURIComponent(id)}/attach`, { also: true }, "Attaching …");
        if (!answer) return;
        Object.assign(this, { isAttached: true, status: `${id} is attached: it steers nothing yet.` });
        this.$nextTick(() => document.getElementById("vector-strength").focus()); // the pressed button is gone
      },

      // --- "Try it" ---

      isTried() {
        return this.parts().some((part) => part.sae === this.made.sae.id);
      },

      /* Add the vector to what "Try it" steers by; true where its strength is a number. */
      use() {
        const strength = millm.parseNumber(this.strength);
        const isNumber = Number.isFinite(strength);
        this.wrong = isNumber
          ? {}
          : { strength: `Got “${this.strength}”, expected a number; 1 is the vector as made.` };
        if (isNumber) {
          Alpine.store("profile").settings = { also: [{ sae: this.made.sae.id, features: { 0: strength } }] };
        }
        return isNumber;
      },

      tryIt() {
        if (!this.use()) return;
        const panel = document.querySelector("[x-data=tryIt]");
        panel.scrollIntoView({ block: "nearest" });
        Alpine.$data(panel).run();
      },
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("vectorMaking", vectorMaking));
})(window.millm);
