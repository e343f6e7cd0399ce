/* The playground's document in the browser's storage, for each user. Invalid parts are ignored: of another version, of
 * another user, or cut off. The probabilities of tokens are not kept: they would fill the storage. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const VERSION = 2;
  const MAX_CHARACTERS = 1_000_000; // browsers keep about five million characters for a site

  /* The document of version 1, which had two panes and one answer to a message. */
  function ofVersion1({ choices, intensities, compares, turns, ...kept }) {
    const places = compares === false ? [0] : [0, 1];
    const answer = (found) =>
      found?.request && {
        ...found,
        ...found.steering,
        samples: [{ seed: found.request.seed, text: found.text, finish: found.finish }],
      };
    return {
      ...kept,
      panes: places.map((place) => ({ steering: choices?.[place], intensity: intensities?.[place] })),
      turns: turns?.map?.((turn) => ({
        ...turn,
        answers: places.map((place) => answer(turn?.answers?.[place]) ?? null),
      })),
    };
  }

  millm.PlaygroundStorage = class {
    constructor(user) {
      this.key = `millm.playground.${user}`;
    }

    /* The stored state, completed by `defaults`. */
    load(defaults) {
      let found = null;
      try {
        found = JSON.parse(localStorage.getItem(this.key));
      } catch {
        /* the storage is missing or has no JSON: use the defaults */
      }
      if (found?.version === 1) found = { ...ofVersion1(found), version: VERSION };
      return found?.version === VERSION ? millm.readPlayground(found, defaults, millm.leniently) : defaults;
    }

    /* Store the state. Returns true if all of it is stored: the oldest turns are left out if it is too long. */
    save(state) {
      const kept = { ...millm.writtenPlayground(state, false), version: VERSION };
      let written = JSON.stringify(kept);
      const isWhole = written.length <= MAX_CHARACTERS;
      while (written.length > MAX_CHARACTERS && kept.turns.length) {
        kept.turns = kept.turns.slice(Math.ceil(kept.turns.length / 8)).map((one) => ({ ...one, cut: true }));
        written = JSON.stringify(kept);
      }
      if (written === this.written) return isWhole; // unchanged: do not overwrite the state of another tab
      try {
        localStorage.setItem(this.key, written);
      } catch {
        return false;
      }
      this.written = written;
      return isWhole;
    }
  };
})(window.millm);
