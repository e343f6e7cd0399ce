/* Texts about an answer of the playground, and the one of several answers that the conversation goes on with. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

  /* Add a delta of OpenAI's `tool_calls` to `calls`. */
  millm.addCall = (calls, { index, id, function: given }) => {
    calls[index] ??= { id, name: "", arguments: "" };
    calls[index].name += given.name ?? "";
    calls[index].arguments += given.arguments ?? "";
  };

  /* The calls of an answer as text, without their ids, which are new in each answer. */
  millm.callsAsText = ({ calls }) => calls.map((call) => `${call.name}(${call.arguments})`).join("\n");

  /* An answer as a message of a later request. Its reasoning is left out, as OpenAI's clients do. */
  millm.messageOf = ({ text, calls }) => {
    if (!calls.length) return { role: "assistant", content: text };
    const made = calls.map(({ id, name, arguments: given }) => ({
      ...{ id, type: "function" },
      function: { name, arguments: given },
    }));
    return { role: "assistant", content: text || null, tool_calls: made };
  };

  millm.answerTexts = {
    /* True if later requests include the answer. */
    isCounted: (answer) => Boolean(answer) && (answer.state === "done" || answer.state === "stopped"),

    steeredBy({ profile, steering, request }) {
      if (steering === null) return ""; // no header has arrived
      const at = request.intensity === undefined ? "" : `, at intensity ${request.intensity}`;
      if (!steering) return "unknown steering: the server did not report it";
      if (profile) return `steered by ${profile}${steering === "none" && !at ? ", which has no features" : at}`;
      if (steering === "none") return "unsteered";
      return `steered by ${request.steering ? "own" : "hand-set"} strengths${at}`;
    },

    facts({ state, samples, promptTokens, answerTokens, firstMs, lastMs }) {
      const facts = [];
      if (state === "stopped") facts.push("stopped");
      if (samples.length === 1 && samples[0].finish === "length") facts.push("stopped at max tokens");
      if (answerTokens !== null) facts.push(`${answerTokens} tokens, prompt ${promptTokens}`);
      if (answerTokens > 1 && lastMs > firstMs) {
        facts.push(`${(((answerTokens - 1) * 1000) / (lastMs - firstMs)).toFixed(1)} tokens/s`);
      }
      if (firstMs !== null) facts.push(`first token ${seconds(firstMs)}`);
      return facts.join(" · ");
    },

    /* The outcome of all asked panes, for screen readers; `states` has the state of each answer. */
    outcome(states) {
      const count = (state) => states.filter((one) => one === state).length;
      const panes = (number) => (states.length === 1 ? "The answer" : `${number} of ${states.length} answers`);
      const parts = [
        count("done") && `${panes(count("done"))} finished`,
        count("stopped") && `${panes(count("stopped"))} stopped`,
        count("failed") && `${panes(count("failed"))} failed`,
      ];
      return `${parts.filter(Boolean).join(", ")}.`;
    },

    /* The text in place of an empty answer. */
    empty({ state }, { text, reasoning, calls, finish }) {
      if (text || reasoning || calls.length || state === "failed") return "";
      if (state === "done" || finish) return "An empty answer: the model ended at once.";
      return state === "stopped" ? "Stopped before the first token." : "Waiting for the first token…";
    },

    /* The header of one of several answers. */
    sampleFacts: ({ seed, finish }) => `Seed ${seed}${finish === "length" ? " · stopped at max tokens" : ""}`,
  };
})(window.millm);
