/* The settings of a document in the form of a profile, as profiles/admin/document_fields.py reads them. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const FLAGS = ["special_tokens", "tools", "thinking"];
  const fieldOf = (flag) => `skip_${flag}`;

  millm.SETTINGS = ["unit", "intensity", "positions", "positions_tokens", ...FLAGS.map(fieldOf), "when", "also"];

  function parsed(name, label, text) {
    if (!text.trim()) return {};
    try {
      return { [name]: JSON.parse(text) };
    } catch {
      throw new Error(`${label}: this is not JSON.`);
    }
  }

  function positions(which, tokens) {
    const [end, of] = which.split("-");
    if (!of) return which === "all" ? {} : { positions: which };
    if (!(Number.isInteger(Number(tokens)) && Number(tokens) >= 1))
      throw new Error("Number of tokens: expected a whole number from 1.");
    return { positions: { of, [end]: Number(tokens) } };
  }

  function intensity(text) {
    const number = text.trim() === "" ? 1 : Number(text);
    if (!(number >= 0 && number <= 2)) throw new Error("Intensity: expected a number from 0 to 2.");
    return number === 1 ? {} : { intensity: number };
  }

  /* The keys of the document that the fields differ in from its defaults: {settings, settingsProblem}. */
  millm.readSettings = (fields) => {
    const value = (name) => fields.namedItem(name).value;
    try {
      const settings = {
        ...parsed("also", "Further parts", value("also")),
        ...(value("unit") === "raw" ? {} : { unit: value("unit") }),
        ...intensity(value("intensity")),
        ...positions(value("positions"), value("positions_tokens")),
        ...Object.fromEntries(
          FLAGS.filter((flag) => fields.namedItem(fieldOf(flag)).checked).map((flag) => [flag, false]),
        ),
        ...parsed("when", "Condition", value("when")),
      };
      return { settings, settingsProblem: "" };
    } catch (error) {
      return { settings: {}, settingsProblem: error.message };
    }
  };
})(window.millm);
