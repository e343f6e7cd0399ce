/* The document of the playground: what the browser's storage, a file and a link keep of it.
 *
 *   {settings: {setting: value}, panes: [{steering: {kind, name | features}, intensity}], reference, view,
 *    showsSettings, draft, turns: [{text, cut, answers: [answer of each pane, or null]}]}
 *   answer: {state, request, system, steering, profile, profiles, fingerprint, error, promptTokens, answerTokens,
 *            firstMs, lastMs, samples: [{seed, text, reasoning, calls, finish, tokens}], chosen}; steering to profiles:
 *            the headers; calls: [{id, name, arguments}]
 *
 * In the page an answer is found by the id of its pane: turn.answers[pane.id].
 * millm.readPlayground(found, defaults, attempt) throws millm.StateError (a path, got, expected), or with the `attempt`
 * millm.leniently leaves out what is wrong.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const KINDS = ["live", "none", "profile", "own"];
  const VIEWS = ["text", "differences", "probabilities"];
  const ENDED = ["done", "stopped", "failed"];
  const FIELD = /^[a-z][a-z_]*$/; // of a request
  const SHOWN = 60; // characters of a wrong value

  millm.MAX_PANES = 6; // as many streams as a browser holds open to one server by HTTP/1.1

  millm.StateError = class extends Error {
    constructor(path, got, expected) {
      const shown = got === undefined ? "nothing" : String(JSON.stringify(got));
      super(`${path}: got ${shown.length > SHOWN ? `${shown.slice(0, SHOWN)}…` : shown}, expected ${expected}`);
    }
  };

  millm.strictly = (read) => read();

  millm.leniently = (read, otherwise) => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof millm.StateError)) throw error;
      return otherwise;
    }
  };

  // --- values ---

  function check(isGood, path, value, expected) {
    if (!isGood) throw new millm.StateError(path, value, expected);
    return value;
  }

  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const text = (path, value) => check(typeof value === "string", path, value, "a text");
  const object = (path, value) => check(isObject(value), path, value, "an object");
  const list = (path, value) => check(Array.isArray(value), path, value, "a list");
  const oneOf = (path, value, values) => check(values.includes(value), path, value, `one of ${values.join(", ")}`);
  const whole = (path, value) => check(Number.isInteger(value) && value >= 0, path, value, "a whole number from 0");
  const numberOrNull = (path, value) =>
    check(value === null || Number.isFinite(value), path, value ?? undefined, "a number or null");

  millm.stateValues = { check, isObject, text, object, list, oneOf, whole };

  // --- panes ---

  let lastId = 0;

  millm.newPane = (choice, intensity = 1, strengths = {}) => {
    lastId += 1;
    return { id: lastId, choice, intensity, strengths };
  };

  function features(path, found) {
    const entries = Object.entries(object(path, found));
    for (const [index, strength] of entries) {
      check(/^\d{1,10}$/.test(index), `${path}.${index}`, index, "the index of a feature");
      const isStrength = Number.isFinite(strength) || (isObject(strength) && typeof strength.mode === "string");
      check(isStrength, `${path}.${index}`, strength, "a number, or an object with a mode");
    }
    return Object.fromEntries(entries);
  }

  function pane(path, found) {
    const { steering, intensity = 1 } = object(path, found);
    const kind = oneOf(`${path}.steering.kind`, object(`${path}.steering`, steering).kind, KINDS);
    const name = kind === "profile" ? text(`${path}.steering.name`, steering.name) : "";
    const isIntensity = Number.isFinite(intensity) && intensity >= 0 && intensity <= 2;
    check(isIntensity, `${path}.intensity`, intensity, "a number from 0 to 2");
    const strengths =
      kind === "own" || steering.features ? features(`${path}.steering.features`, steering.features) : {};
    return millm.newPane({ kind, name }, intensity, strengths);
  }

  function panes(found) {
    const isGood = Array.isArray(found) && found.length >= 1 && found.length <= millm.MAX_PANES;
    check(isGood, "panes", found, `a list of 1 to ${millm.MAX_PANES} panes`);
    return found.map((one, place) => pane(`panes.${place}`, one));
  }

  const writtenPane = ({ choice: { kind, name }, intensity, strengths }) => ({
    steering: {
      kind,
      ...(kind === "profile" ? { name } : {}),
      ...(kind === "own" || Object.keys(strengths).length ? { features: strengths } : {}),
    },
    intensity: Number(intensity),
  });

  // --- settings ---

  /* A setting that is missing has its default; the form checks the range of each. */
  function settings(found, defaults) {
    object("settings", found);
    const entries = Object.entries(defaults).map(([name, value]) => {
      const own = found[name] ?? value;
      const kind = typeof value === "string" ? "a text" : "a number";
      check(typeof own === typeof value, `settings.${name}`, own, kind);
      return [name, own];
    });
    return Object.fromEntries(entries);
  }

  // --- answers ---

  /* A token as a file has it: [text, log-probability, [[text, log-probability] of each alternative]]. */
  function tokens(path, found) {
    const isPair = (one) => typeof one?.[0] === "string" && Number.isFinite(one[1]);
    const isToken = (one) => isPair(one) && Array.isArray(one[2]) && one[2].every(isPair);
    return check(found.every(isToken), path, found, "a list of [text, log-probability, alternatives]");
  }

  function call(path, found) {
    const { id, name, arguments: given } = object(path, found);
    const read = { id: text(`${path}.id`, id), name: text(`${path}.name`, name) };
    return { ...read, arguments: text(`${path}.arguments`, given) };
  }

  function sample(path, found) {
    const { seed, text: said, reasoning = "", calls = [], finish = null, tokens: own = null } = object(path, found);
    return {
      seed: whole(`${path}.seed`, seed),
      text: text(`${path}.text`, said),
      reasoning: text(`${path}.reasoning`, reasoning),
      calls: list(`${path}.calls`, calls).map((one, at) => call(`${path}.calls.${at}`, one)),
      finish: finish === null ? null : text(`${path}.finish`, finish),
      tokens: own === null ? null : tokens(`${path}.tokens`, list(`${path}.tokens`, own)),
    };
  }

  function answer(path, found) {
    const request = object(`${path}.request`, object(path, found).request);
    text(`${path}.request.model`, request.model);
    for (const name of Object.keys(request)) {
      check(FIELD.test(name), `${path}.request`, name, "names of fields"); // a copied request is Python that has them
    }
    const samples = list(`${path}.samples`, found.samples).map((one, at) => sample(`${path}.samples.${at}`, one));
    const chosen = whole(`${path}.chosen`, found.chosen ?? 0);
    check(chosen < samples.length, `${path}.chosen`, chosen, `less than the ${samples.length} samples`);
    const figures = ["promptTokens", "answerTokens", "firstMs", "lastMs"];
    const told = ["profile", "profiles", "fingerprint", "error"];
    const steering = found.steering ?? null;
    return {
      state: ENDED.includes(found.state) ? found.state : "stopped", // the page was left during the answer
      request,
      system: text(`${path}.system`, found.system),
      steering: steering === null ? null : text(`${path}.steering`, steering),
      ...Object.fromEntries(told.map((name) => [name, text(`${path}.${name}`, found[name] ?? "")])),
      ...Object.fromEntries(figures.map((name) => [name, numberOrNull(`${path}.${name}`, found[name] ?? null)])),
      samples,
      chosen,
    };
  }

  function turn(path, found, own, attempt) {
    const answers = list(`${path}.answers`, object(path, found).answers);
    check(answers.length <= own.length, `${path}.answers`, answers.length, `up to ${own.length} answers`);
    const read = (one, place) => (one === null ? null : attempt(() => answer(`${path}.answers.${place}`, one), null));
    return {
      text: text(`${path}.text`, found.text),
      cut: found.cut === true,
      answers: Object.fromEntries(answers.map((one, place) => [own[place].id, read(one, place)])),
    };
  }

  // --- the whole ---

  millm.readPlayground = (found, defaults, attempt) => {
    object("the document", found);
    const own = attempt(() => panes(found.panes), defaults.panes);
    const places = own.map((_, place) => place);
    const reference = attempt(() => oneOf("reference", found.reference ?? 0, places), 0);
    const turns = attempt(() => list("turns", found.turns ?? []), []).map((one, number) =>
      attempt(() => turn(`turns.${number}`, one, own, attempt), null),
    );
    return {
      settings: attempt(() => settings(found.settings, defaults.settings), defaults.settings),
      panes: own,
      reference: own[reference].id,
      view: attempt(() => oneOf("view", found.view ?? "text", VIEWS), "text"),
      showsSettings: found.showsSettings === true,
      draft: attempt(() => text("draft", found.draft ?? ""), ""),
      turns: turns.filter((one) => one !== null).map((one, id) => ({ id, ...one })),
    };
  };

  const writtenSample = ({ tokens: own, ...sample }, withTokens) => (withTokens ? { ...sample, tokens: own } : sample);

  /* The document of the page's state; `withTokens`: with the probabilities of the tokens. */
  millm.writtenPlayground = ({ settings, panes, reference, view, showsSettings, draft, turns }, withTokens) => ({
    settings: { ...settings },
    panes: panes.map(writtenPane),
    reference: panes.findIndex(({ id }) => id === reference),
    view,
    showsSettings,
    draft,
    turns: turns.map(({ text, cut, answers }) => ({
      text,
      cut,
      answers: panes.map(({ id }) => {
        const answer = answers[id];
        return answer ? { ...answer, samples: answer.samples.map((one) => writtenSample(one, withTokens)) } : null;
      }),
    })),
  });
})(window.millm);
