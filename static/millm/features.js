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
 *   search: true if the user may read labels from /api/saes/<sae>/labels
 *   read_only: true: without controls
 *   max_strength, max_features
 *
 * The element (x-data="featureTable") dispatches an event that bubbles:
 *   features-changed  detail {strengths, valid, committed}: the strengths without zeros and without rows that have an
 *                     error (`valid` is then false); `committed` is false while a slider is dragged or a box typed in
 * It listens to events, by element.dispatchEvent(new CustomEvent(name, {detail})):
 *   features-set      {strengths, labels?}: show these; one step of undo; no event is dispatched
 *   features-sae      {sae, d_sae}: the features now belong to this SAE
 *   features-unit     {unit}: the values now count in this unit
 *   features-refused  {errors: {index: text}}: refusals of the server, shown beside the rows until the rows change
 * Alpine.$data(element).detail() is the current detail of features-changed.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const SAME_STEP_MS = 800;
  const UNDO_STEPS = 200;

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
      step: "",
      steppedAt: 0,
      past: [],
      future: [],
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
        this.rows = Object.entries(value).map((entry) => millm.rowOfStrength(...entry));
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

      /* Quick steps of the same slider, such as by its arrow keys, are one step of undo. */
      remember(step) {
        const next = this.snapshot();
        if (next === this.now) return;
        const same = step && step === this.step && performance.now() - this.steppedAt < SAME_STEP_MS;
        if (!same) this.past = [...this.past.slice(1 - UNDO_STEPS), this.now];
        this.future = [];
        this.now = next;
        this.step = step;
        this.steppedAt = performance.now();
      },

      undo() {
        this.travel(this.past, this.future, "Undone.");
      },

      redo() {
        this.travel(this.future, this.past, "Redone.");
      },

      travel(from, to, message) {
        if (!from.length) return;
        to.push(this.now);
        this.now = from.pop();
        this.step = "";
        this.show(this.now);
        this.announce(message);
        this.changed();
      },

      shortcut(event) {
        const typing = event.target.matches("textarea, input:not([type=range])");
        if (typing || this.options.read_only || !(event.ctrlKey || event.metaKey)) return;
        const key = event.key.toLowerCase();
        if (key !== "z" && key !== "y") return;
        event.preventDefault();
        if (key === "y" || event.shiftKey) this.redo();
        else this.undo();
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

      setSae({ sae, d_sae }) {
        if (sae !== this.options.sae) {
          this.labels = {};
          this.asked.clear();
          this.refused = {};
        }
        Object.assign(this.options, { sae, d_sae });
        this.fetchLabels();
      },

      /* --- display --- */
      announce(message) {
        this.status = message;
      },

      /* The range of all sliders: it contains the largest strength, and grows when a strength comes near its end. */
      fit(isFresh = false) {
        const { max_strength } = this.options;
        const sizes = this.plain()
          .filter((row) => this.hasUnit(row))
          .map((row) => Math.abs(parse(row.text)));
        const largest = Math.max(0, ...sizes.filter((size) => size <= max_strength));
        const old = isFresh ? 0 : this.range;
        const wanted = largest > old * 0.95 ? millm.roundUp(largest * (isFresh ? 1.5 : 1.9)) : old || 10;
        this.range = Math.min(max_strength, wanted);
      },

      ...millm.featureModes(),
      ...millm.featureLists(),
      ...millm.featureRows(),
      ...millm.featureLabels(),
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("featureTable", featureTable));
})(window.millm);
