/* Texts about an answer of the playground. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

  millm.answerTexts = {
    /* True if later requests include the answer. */
    isCounted: (answer) => answer !== null && (answer.state === "done" || answer.state === "stopped"),

    steeredBy({ steering: made, request }) {
      if (!made) return "";
      const at = request?.intensity === undefined ? "" : `, at intensity ${request.intensity}`;
      if (!made.steering) return "unknown steering: the server did not report it";
      if (made.profile)
        return `steered by ${made.profile}${made.steering === "none" && !at ? ", which has no features" : at}`;
      return made.steering === "none" ? "unsteered" : `steered by hand-set strengths${at}`;
    },

    facts({ state, finish, promptTokens, answerTokens, firstMs, lastMs }) {
      const facts = [];
      if (state === "stopped") facts.push("stopped");
      if (finish === "length") facts.push("cut at max tokens");
      if (answerTokens !== null) facts.push(`${answerTokens} tokens, prompt ${promptTokens}`);
      if (answerTokens > 1 && lastMs > firstMs) {
        facts.push(`${(((answerTokens - 1) * 1000) / (lastMs - firstMs)).toFixed(1)} tokens/s`);
      }
      if (firstMs !== null) facts.push(`first token ${seconds(firstMs)}`);
      return facts.join(" · ");
    },

    /* The text in place of an empty answer. */
    empty({ state, text }) {
      if (text || state === "failed") return "";
      if (state === "done") return "An empty answer: the model ended at once.";
      return state === "stopped" ? "Stopped before the first token." : "Waiting for the first token…";
    },
  };
})(window.millm);
