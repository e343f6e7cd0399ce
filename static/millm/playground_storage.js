/* The playground's conversation and settings in the browser's storage, for each user. Invalid parts are ignored: of
 * another version, of another user, or cut off. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const VERSION = 1;
  const MAX_CHARACTERS = 1_000_000; // browsers keep about five million characters for a site
  const KINDS = ["live", "none", "profile"];
  const ENDED = ["done", "stopped", "failed"];

  const isText = (value) => typeof value === "string";
  const number = (value) => (Number.isFinite(value) ? value : null);
  const text = (value) => (isText(value) ? value : null);

  const choice = (found, other) =>
    KINDS.includes(found?.kind) && isText(found.name) ? { kind: found.kind, name: found.name } : other;

  const intensity = (found, other) => (Number.isFinite(found) && found >= 0 && found <= 2 ? found : other);

  function answer(found) {
    if (!isText(found?.text) || !isText(found.system) || !isText(found.request?.model)) return null;
    const { profile, steering } = found.steering || {};
    return {
      state: ENDED.includes(found.state) ? found.state : "stopped", // the page was left during the answer
      text: found.text,
      system: found.system,
      request: found.request,
      steering: isText(profile) && isText(steering) ? { profile, steering } : null,
      finish: text(found.finish),
      error: text(found.error) || "",
      promptTokens: number(found.promptTokens),
      answerTokens: number(found.answerTokens),
      firstMs: number(found.firstMs),
      lastMs: number(found.lastMs),
    };
  }

  const turn = (found, id) => ({
    id,
    text: found.text,
    cut: found.cut === true,
    answers: [answer(found.answers?.[0]), answer(found.answers?.[1])],
  });

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
      if (found?.version !== VERSION || !Array.isArray(found.turns)) return defaults;
      const settings = Object.entries(defaults.settings).map(([name, value]) => {
        const kept = found.settings?.[name];
        return [name, typeof kept === typeof value ? kept : value];
      });
      return {
        settings: Object.fromEntries(settings),
        choices: defaults.choices.map((one, index) => choice(found.choices?.[index], one)),
        intensities: defaults.intensities.map((one, index) => intensity(found.intensities?.[index], one)),
        compares: found.compares !== false,
        showsSettings: found.showsSettings === true,
        draft: text(found.draft) || "",
        turns: found.turns.filter((one) => isText(one?.text)).map(turn),
      };
    }

    /* Store the state. Returns true if all of it is stored: the oldest turns are left out if it is too long. */
    save(state) {
      const kept = { ...state, version: VERSION };
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
