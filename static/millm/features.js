/* The table of features and their strengths, which are set by a slider or a number box.
 *
 * A page includes it by `{% include "millm/features.html" with features=... %}`, where `features` is the result of
 * `steering.admin.widgets.FeatureTable.context()`; a form field uses `FeatureStrengthsWidget`. Both need
 * `FeatureStrengthsWidget().media`. Options, in the JSON beside the table:
 *   strengths {index: strength}; a form field has them in its textarea, where each change is written as JSON. What a
 *   strength is, and a row of it: feature_modes.js
 *   unit: that of the values, which the range of the sliders follows
 *   labels {index: text}, errors {index: text}
 *   sae, d_sae: the SAE of the features ("" and null if it is unknown: then nothing is searched)
 *   norm: the mean norm of the residual stream at the SAE's hook point, null if it was not measured
 *   search: true if the user may read labels from /api/saes/<sae>/labels
 *   maximum_url: of the largest activation of a feature, from which its first strength follows; "" if the user may not
 *   read_only: true: without controls
 *   max_strength, max_features
 *
 * The element (x-data="featureTable") dispatches an event that bubbles:
 *   features-changed  detail {strengths, valid, committed}: the strengths without zeros and without rows that have an
 *                     error (`valid` is then false); `committed` is false while a slider is dragged or a box typed in
 * It listens to events, by element.dispatchEvent(new CustomEvent(name, {detail})):
 *   features-set      {strengths, labels?}: show these; one step of undo; no event is dispatched
 *   features-sae      {sae, d_sae, norm}: the features now belong to this SAE (see millm.saeOfTable)
 *   features-unit     {unit}: the values now count in this unit
 *   features-refused  {errors: {index: text}}: refusals of the server, shown beside the rows until the rows change
 * Alpine.$data(element).detail() is the current detail of features-changed.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const USUAL_SHARE = 0.25; // of the residual stream: in both demos answers change by it, and stay whole

  const parse = millm.parseNumber;

  function featureTable() {
    return {
      rows: [], // {index, text, mode, weight}, the first two as typed
      labels: {},
      refused: {},
      options: {},
      range: 10,
      status: "", // for screen readers
      broken: false, // true: the field's text is not a JSON object, and is edited as text
      // Declared, since an assignment would otherwise go to a property of this name of an outer component.
      field: null,
      asked: new Set(), // the indices whose labels were requested
      now: "", // the snapshot that is shown
      past: [], // the snapshots before it
      future: [],
      step: "",
      steppedAt: 0,
      pasting: false,
      pasted: "",
      problems: [],
      sorted: "",

      init() {
        this.options = JSON.parse(document.getElementById(this.$root.dataset.options).textContent);
        this.field = this.$root.querySelector("textarea[name]");
        this.labels = this.options.labels;
        this.refused = this.options.errors;
        this.read(this.field ? this.field.value : JSON.stringify(this.options.strengths));
        this.now = this.snapshot();
        if (this.field) this.keepSteps();
        this.asked = new Set(this.options.sae ? this.rows.map((row) => row.index) : []);
      },

      /* --- values --- */
      read(text) {
        let value = null;
        try {
          value = JSON.parse(text || "{}");
        } catch {
          /* shown by `broken` */
        }
        this.broken = value === null || typeof value !== "object" || Array.isArray(value);
        if (this.broken) return;
        // In the order of the text: JavaScript sorts the keys of an object that are numbers.
        const order = [...String(text || "").matchAll(/"(\d+)"\s*:/g)].map(([, index]) => index);
        const place = new Map(order.map((index, at) => [index, at]));
        const rows = Object.entries(value).map((entry) => millm.rowOfStrength(...entry));
        this.rows = rows.sort((one, other) => (place.get(one.index) ?? -1) - (place.get(other.index) ?? -1));
        this.fit(true);
      },

      retype(text) {
        this.read(text);
        if (this.broken) return;
        this.changed();
        this.fetchLabels();
      },

      /* The rows without Alpine's proxies, which slow down loops over all rows. */
      plain() {
        return Alpine.raw(this.rows);
      },

      snapshot() {
        return JSON.stringify(this.plain().map(({ index, text, mode, weight }) => ({ index, text, mode, weight })));
      },

      show(snapshot) {
        const old = new Map(this.plain().map((row) => [row.index, row]));
        this.rows = JSON.parse(snapshot).map((row) =>
          Object.assign(old.get(row.index) || {}, { weight: undefined }, row),
        );
        this.fit();
        this.fetchLabels();
      },

      /* The JSON that the form posts: numbers, and other texts as typed. */
      json() {
        const value = (row) => JSON.stringify(millm.strengthOfRow(row));
        const fields = this.plain().map((row) => `${JSON.stringify(row.index)}: ${value(row)}`);
        return `{${fields.join(", ")}}`;
      },

      /* A function that returns the error of a row, "" if there is none. */
      judge() {
        const { d_sae, max_strength } = this.options;
        const refused = { ...this.refused };
        return ({ index, text }) => {
          const number = parse(text);
          if (refused[index]) return refused[index];
          if (!/^\d+$/.test(index)) return `“${index}” is no index: expected a whole number from 0`;
          if (d_sae && Number(index) >= d_sae) return `out of range: the SAE has features 0 to ${d_sae - 1}`;
          if (Number.isNaN(number)) return `“${text}” is not a number`;
          if (Math.abs(number) > max_strength) return `expected a strength from -${max_strength} to ${max_strength}`;
          return "";
        };
      },

      tooMany() {
        const { max_features } = this.options;
        return this.rows.length > max_features ? `${this.rows.length} features: expected at most ${max_features}` : "";
      },

      /* --- changes: each calls changed(), which writes the field, keeps a step of undo and dispatches the event --- */
      changed(committed = true, step = "") {
        if (this.field) this.field.value = this.json();
        if (committed) {
          this.remember(step);
          this.fit();
        }
        this.$dispatch("features-changed", this.detail(committed));
      },

      detail(committed = true) {
        const error = this.judge();
        const good = this.plain().filter((row) => !error(row));
        const effective = good.filter((row) => parse(row.text) !== this.neutral(row));
        const entries = effective.map((row) => [row.index, millm.strengthOfRow(row)]);
        const valid = !this.broken && !this.tooMany() && good.length === this.rows.length;
        return { strengths: Object.fromEntries(entries), valid, committed };
      },

      write(row, text, committed, step) {
        row.text = text;
        delete this.refused[row.index];
        this.changed(committed, step);
      },

      nudge(row, steps) {
        const { max_strength } = this.options;
        const [min, max] = this.bounds(row);
        const next = (parse(row.text) || 0) + (steps * (max - min)) / 200;
        const kept = Math.min(max_strength, Math.max(-max_strength, next));
        this.write(row, String(Number(kept.toPrecision(10))), true, `box ${row.index}`);
      },

      remove(row) {
        const at = this.rows.indexOf(row);
        this.rows.splice(at, 1);
        this.announce(`Feature ${row.index} removed.`);
        this.changed();
        const next = this.rows[Math.min(at, this.rows.length - 1)];
        const focused = () => (next ? this.rowElement(next.index).querySelector("[data-part=remove]") : this.$refs.add);
        this.$nextTick(() => focused().focus());
      },

      /* Put entries [index, text, mode] into the table: append new rows, change the strength of existing ones. */
      put(entries) {
        const old = new Map(this.rows.map((row) => [row.index, row]));
        const given = entries.map(([index, text, mode = "add"]) => ({ index, text, mode }));
        const added = given.filter(({ index }) => !old.has(index));
        given
          .filter(({ index }) => old.has(index))
          .forEach((row) => Object.assign(old.get(row.index), row, { weight: undefined }));
        this.rows = [...this.plain(), ...added];
        entries.forEach(([index]) => delete this.refused[index]);
        this.sorted = "";
        this.changed();
        this.fetchLabels();
        const kept = entries.length - added.length;
        const done = [added.length && `${added.length} added`, kept && `${kept} changed`].filter(Boolean).join(", ");
        this.announce(`${done}.`);
        if (entries.length)
          this.$nextTick(() => this.rowElement(entries.at(-1)[0]).scrollIntoView({ block: "nearest" }));
      },

      sort(by) {
        const value = { index: (row) => Number(row.index), strength: (row) => -parse(row.text) }[by];
        const sign = this.sorted === by ? -1 : 1;
        this.rows = [...this.plain()].sort((one, other) => sign * (value(one) - value(other)) || 0);
        this.sorted = sign === 1 ? by : `-${by}`;
      },

      ariaSort(by) {
        const up = by === "index" ? this.sorted === "index" : this.sorted === "-strength";
        return this.sorted.endsWith(by) ? (up ? "ascending" : "descending") : "none";
      },

      /* --- events from the page --- */
      set({ strengths, labels = {} }) {
        Object.assign(this.labels, labels);
        Object.keys(labels).forEach((index) => this.asked.add(index));
        this.refused = {};
        const old = this.rows.map((row) => row.index).filter((index) => index in strengths);
        const order = [...new Set([...old, ...Object.keys(strengths)])];
        this.show(JSON.stringify(order.map((index) => millm.rowOfStrength(index, strengths[index]))));
        if (this.field) this.field.value = this.json();
        this.remember("");
      },

      setSae({ sae, d_sae, norm }) {
        if (sae !== this.options.sae) {
          this.labels = {};
          this.asked.clear();
          this.refused = {};
        }
        const isMeasured = norm !== this.options.norm;
        Object.assign(this.options, { sae, d_sae, norm });
        if (isMeasured) this.fit(true);
        this.fetchLabels();
      },

      /* --- display --- */
      announce(message) {
        this.status = message;
      },

      /* The range of all sliders. Where the norm of the residual stream is known, it begins at a quarter of it: so a
       * slider's place says the same in every profile of the SAE. It grows when a strength comes near its end. */
      fit(isFresh = false) {
        const { max_strength } = this.options;
        const sizes = this.plain()
          .filter((row) => this.hasUnit(row))
          .map((row) => Math.abs(parse(row.text)));
        const largest = Math.max(0, ...sizes.filter((size) => size <= max_strength));
        const usual = millm.roundUp((this.options.norm ?? 0) * USUAL_SHARE);
        const old = isFresh ? usual : this.range;
        const wanted = largest > old * 0.95 ? millm.roundUp(largest / 0.95) : old;
        this.range = Math.min(max_strength, wanted);
      },

      ...millm.featureSteps(),
      ...millm.featureModes(),
      ...millm.featureLists(),
      ...millm.featureRows(),
      ...millm.featureLabels(),
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("featureTable", featureTable));
})(window.millm);
