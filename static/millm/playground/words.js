/* The difference of two texts, word by word: a longest common subsequence (Wagner and Fischer 1974).
 *
 * millm.diffWords(before, after) returns {parts: [{kind: "same", "removed" or "added", text}], isWhole}. Where the texts
 * are too long, `isWhole` is false, and all between their common beginning and their common end is removed and added.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const MAX_CELLS = 4_000_000; // 8 MB, some 2000 words a side

  /* Words and punctuation marks, each with the space before it. Languages without spaces have words too. */
  millm.words = (text) => {
    const found = [];
    let space = "";
    for (const { segment } of new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)) {
      if (segment.trim()) {
        found.push(space + segment);
        space = "";
      } else space += segment;
    }
    return space ? [...found, space] : found;
  };

  /* The lengths of the longest common subsequences of all ends of both lists, row by row. */
  function lengths(before, after) {
    const width = after.length + 1;
    const table = new Uint16Array((before.length + 1) * width);
    for (let i = before.length - 1; i >= 0; i--) {
      for (let j = after.length - 1; j >= 0; j--) {
        const at = i * width + j;
        table[at] = before[i] === after[j] ? table[at + width + 1] + 1 : Math.max(table[at + width], table[at + 1]);
      }
    }
    return table;
  }

  function* steps(before, after) {
    const width = after.length + 1;
    const table = lengths(before, after);
    let [i, j] = [0, 0];
    while (i < before.length && j < after.length) {
      if (before[i] === after[j]) {
        yield ["same", before[i++]];
        j += 1;
      } else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) yield ["removed", before[i++]];
      else yield ["added", after[j++]];
    }
    for (; i < before.length; i++) yield ["removed", before[i]];
    for (; j < after.length; j++) yield ["added", after[j]];
  }

  /* Parts of each kind in one, those that are removed before those that are added. */
  function joined(all) {
    const parts = [];
    let open = {};
    const close = () => {
      for (const kind of ["removed", "added"]) if (open[kind]) parts.push({ kind, text: open[kind] });
      open = {};
    };
    for (const [kind, text] of all) {
      if (kind !== "same") open[kind] = (open[kind] ?? "") + text;
      else {
        close();
        if (parts.at(-1)?.kind === "same") parts.at(-1).text += text;
        else parts.push({ kind, text });
      }
    }
    close();
    return parts;
  }

  millm.diffWords = (before, after, most = MAX_CELLS) => {
    const [old, fresh] = [millm.words(before), millm.words(after)];
    const shorter = Math.min(old.length, fresh.length);
    let start = 0;
    while (start < shorter && old[start] === fresh[start]) start += 1;
    let end = 0;
    while (end < shorter - start && old.at(-1 - end) === fresh.at(-1 - end)) end += 1;
    const middle = [old.slice(start, old.length - end), fresh.slice(start, fresh.length - end)];
    const isWhole = (middle[0].length + 1) * (middle[1].length + 1) <= most;
    const kinds = ["removed", "added"];
    const changed = isWhole
      ? steps(...middle)
      : kinds.flatMap((kind, side) => middle[side].map((word) => [kind, word]));
    const same = (words) => words.map((word) => ["same", word]);
    const parts = joined([...same(old.slice(0, start)), ...changed, ...same(old.slice(old.length - end))]);
    return { parts, isWhole };
  };
})(window.millm);
