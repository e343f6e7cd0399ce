/* What a row of the feature table (features.js) does with its value: a mode, and the range of its slider.
 *
 * A strength is a number, which is added, or {mode, value, weight}, as steering.strengths.Value writes it.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const MODES = ["add", "clamp", "ablate", "scale", "project"];
  const SHARES = { scale: [0, 2], project: [0, 1] }; // the sliders of modes without a unit
  const UNITS = { max_activation: [0, 2], residual: [-1, 1] }; // that of raw values follows the values
  const FRESH = { scale: "2", project: "1" };
  const DEFAULTS = { project: 1, ablate: 0 };
  const WORDS = { add: "", clamp: "clamp to ", scale: "scale by ", project: "project " };

  const known = (strength) =>
    MODES.includes(strength.mode ?? "add") &&
    Object.keys(strength).every((key) => ["mode", "value", "weight"].includes(key));

  /* The row of a strength. An object that is none is kept as text, which the server refuses. */
  millm.rowOfStrength = (index, strength) => {
    if (typeof strength !== "object" || strength === null) return { index, text: String(strength), mode: "add" };
    if (!known(strength)) return { index, text: JSON.stringify(strength), mode: "add" };
    const { mode = "add", value = DEFAULTS[mode] ?? "", weight } = strength;
    return { index, text: String(value), mode, weight };
  };

  /* The strength of a row; a text that is no number stays in it as typed. */
  millm.strengthOfRow = ({ text, mode, weight }) => {
    const number = millm.parseNumber(text);
    const value = Number.isNaN(number) ? text : number;
    if (mode === "add") return value;
    const own = mode === "ablate" || value === DEFAULTS[mode] ? {} : { value };
    return { mode, ...own, ...(weight === undefined || weight === 1 ? {} : { weight }) };
  };

  /* The strength in words: `5`, `clamp to 5`, `ablate`. */
  millm.strengthInWords = ({ text, mode }) => (mode === "ablate" ? mode : WORDS[mode] + text);

  /* The value without its mode: `5`, `5, weight 0.5`. */
  millm.valueInWords = ({ text, mode, weight }) => {
    const share = weight === undefined || weight === 1 ? "" : `weight ${weight}`;
    return [mode === "ablate" ? "" : text, share].filter(Boolean).join(", ");
  };

  millm.featureModes = () => ({
    hasUnit: ({ mode }) => mode === "add" || mode === "clamp",

    /* The value of a row that changes nothing; null where each value changes something. */
    neutral: ({ mode }) => ({ add: 0, project: 0, scale: 1 })[mode] ?? null,

    /* The ends of a row's slider: those of its mode or of the unit, wider where the value lies beyond. */
    bounds({ mode, text }) {
      const fixed = SHARES[mode] ?? UNITS[this.options.unit];
      if (!fixed) return [-this.range, this.range];
      const value = millm.parseNumber(text) || 0;
      if (value >= fixed[0] && value <= fixed[1]) return fixed;
      const size = Math.min(this.options.max_strength, Math.ceil(Math.max(Math.abs(value), fixed[1])));
      return [fixed[0] < 0 || value < 0 ? -size : 0, size];
    },

    /* The text of the header's scale: the ends and the middle. */
    scale() {
      const [min, max] = this.bounds({ mode: "add", text: "0" });
      return [min, (min + max) / 2, max];
    },

    /* The first strength of a feature of which no activation is known, in the unit of the table. */
    fresh() {
      return { max_activation: String(millm.SUGGESTED), residual: "0.1" }[this.options.unit] ?? "1";
    },

    /* True where a value adds more to the residual stream than it has, if its direction has a length of 1. */
    isExcessive({ mode, text }) {
      const most = { raw: this.options.norm, residual: 1 }[this.options.unit];
      return this.hasUnit({ mode }) && Boolean(most) && Math.abs(millm.parseNumber(text)) > most;
    },

    /* The sentence below a row, of a value that is no error but will surprise; "" of others. */
    warning(row) {
      const neutral = this.neutral(row);
      if (millm.parseNumber(row.text) === neutral) return `${neutral} has no effect: it is left out when saved`;
      if (!this.isExcessive(row)) return "";
      const norm = this.options.norm ? `, ${Number(this.options.norm.toPrecision(3))}` : "";
      return `larger than the mean norm of the residual stream${norm}: answers are likely to be broken`;
    },

    /* A value keeps its number between modes that have the unit; scale and project begin at a number of their own. */
    setMode(row, mode) {
      if (row.mode === mode) return;
      if (this.hasUnit(row)) row.before = row.text;
      delete row.weight;
      row.mode = mode;
      const text = mode === "ablate" ? "0" : (FRESH[mode] ?? row.before ?? this.fresh());
      this.write(row, text, true, "");
      this.announce(`Feature ${row.index}: ${millm.strengthInWords(row)}.`);
    },

    setUnit({ unit }) {
      this.options.unit = unit;
      this.fit(true);
    },
  });
})(window.millm);
