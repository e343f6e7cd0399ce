/* Parser of feature strengths as people type them. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
  const LINE =
    /^["']?(\d+)["']?\s*(?:[:=,;]\s*|\s+)(?:(ablate)|(?:(clamp|scale|project)\s+(?:(?:to|by)\s+)?)?["']?([-+−]?\d*,\d+|[^\s"',;]+)["']?)\s*,?\s*(?:[—#].*)?$/;

  millm.parseNumber = (text) => {
    const plain = String(text)
      .trim()
      .replace("−", "-")
      .replace(/^([-+]?\d*),(\d+)$/, "$1.$2"); // a decimal comma
    return NUMBER.test(plain) && Number.isFinite(Number(plain)) ? Number(plain) : NaN;
  };

  /* An SAE of a page's state in the form of `features-sae`; null is an unknown one. */
  millm.saeOfTable = (sae) => ({ sae: sae?.id ?? "", d_sae: sae?.d_sae ?? null, norm: sae?.norm ?? null });

  /* The smallest of 10, 20, 50, 100, … that holds `value`. */
  millm.roundUp = (value) => {
    for (let decade = 10; ; decade *= 10) {
      for (const step of [1, 2, 5]) if (value <= step * decade) return step * decade;
    }
  };

  /* The entries of a JSON object with modes, such as {"123": {"mode": "ablate"}}; null of other texts. */
  function ofModes(pasted) {
    let found;
    try {
      found = Object.entries(JSON.parse(pasted)).map((entry) => millm.rowOfStrength(...entry));
    } catch {
      return null;
    }
    const isGood = ({ index, text }) => /^\d+$/.test(index) && !Number.isNaN(millm.parseNumber(text));
    const hasModes = found.some(({ mode }) => mode !== "add");
    return hasModes && found.every(isGood) ? found.map(({ index, text, mode }) => [index, text, mode]) : null;
  }

  /* Lines like `123: 4.0`, `123 4.0`, `123=4`, `123: clamp to 4`, or a JSON object.
   *
   * Returns {entries: [[index, text, mode]], problems: [{line, message}], lines: Map(index, line)}. */
  millm.parseStrengths = (pasted) => {
    const withModes = ofModes(pasted);
    if (withModes) return { entries: withModes, problems: [], lines: new Map(withModes.map(([index]) => [index, 1])) };
    const object = /^\s*\{([\s\S]*)\}\s*$/.exec(pasted);
    const entries = [];
    const problems = [];
    const lines = new Map();
    (object ? pasted.replace(/^\s*\{/, (open) => open.replace("{", "")).replace(/\}\s*$/, "") : pasted)
      .split("\n")
      .flatMap((line, number) => (object ? line.split(",") : [line]).map((part) => [number + 1, part.trim()]))
      .filter(([, part]) => part)
      .forEach(([line, part]) => {
        const [, index, ablate, named, number] = LINE.exec(part) || [];
        const [mode, text] = [ablate ?? named ?? "add", ablate ? "0" : number];
        const key = index && String(BigInt(index));
        if (!index || Number.isNaN(millm.parseNumber(text))) {
          problems.push({
            line,
            message: `got “${part.slice(0, 60)}”, expected an index and a strength, like 123: 4.0`,
          });
        } else if (lines.has(key)) {
          problems.push({ line, message: `feature ${key} is given twice, first in line ${lines.get(key)}` });
        } else {
          lines.set(key, line);
          entries.push([key, String(millm.parseNumber(text)), mode]);
        }
      });
    return { entries, problems, lines };
  };
})(window.millm);
