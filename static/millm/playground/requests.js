/* The requests of the playground, and the answers that stream in. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const ALTERNATIVES = 5; // to each token, where the probabilities are shown
  const UNKNOWN = { promptTokens: null, answerTokens: null, firstMs: null, lastMs: null };
  const TOLD = { steering: null, profile: "", profiles: "", fingerprint: "", error: "" };

  /* Tokens as state.js keeps them. A part of a character has no text: its bytes stand for it. */
  const decoder = new TextDecoder("utf-8", { fatal: true });

  function textOf({ bytes, token }) {
    if (!bytes) return token;
    try {
      return decoder.decode(new Uint8Array(bytes));
    } catch {
      return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
    }
  }

  const short = (logprob) => Number(logprob.toFixed(4));
  const token = (entry) => [
    textOf(entry),
    short(entry.logprob),
    entry.top_logprobs.map((one) => [textOf(one), short(one.logprob)]),
  ];

  millm.playgroundRequests = () => {
    const controllers = new Map(); // by the id of a pane

    return {
      isRunning() {
        return Object.values(this.running).includes(true);
      },

      /* A pane's request without its messages. */
      request({ choice: { kind, name }, strengths, intensity }) {
        const { temperature, top_p, max_tokens, seed, n, frequency_penalty, presence_penalty } = this.settings;
        const document = { none: { features: {} }, own: { features: { ...strengths } } }[kind];
        return {
          model: kind === "profile" ? `${this.now.model}:${name}` : String(this.now.model),
          ...{ temperature, top_p, max_tokens, seed },
          ...(n > 1 ? { n } : {}),
          ...(frequency_penalty ? { frequency_penalty } : {}),
          ...(presence_penalty ? { presence_penalty } : {}),
          ...(this.stops().length ? { stop: this.stops() } : {}),
          ...(this.tools().length ? { tools: this.tools() } : {}),
          ...(this.view === "probabilities" ? { logprobs: true, top_logprobs: ALTERNATIVES } : {}),
          ...(document ? { steering: document } : {}),
          ...(kind !== "none" && Number(intensity) !== 1 ? { intensity: Number(intensity) } : {}),
        };
      },

      /* The request of a pane's answer to a turn. It leaves out earlier messages that the pane has not answered. */
      body({ id }, turn) {
        const { request, system } = turn.answers[id];
        const { model, ...options } = request;
        const messages = system.trim() ? [{ role: "system", content: system }] : [];
        for (const before of this.turns.slice(0, this.turns.indexOf(turn))) {
          const answer = before.answers[id];
          if (!this.isCounted(answer)) continue;
          messages.push({ role: "user", content: before.text });
          messages.push(millm.messageOf(answer.samples[answer.chosen]));
        }
        return { model, messages: [...messages, { role: "user", content: turn.text }], ...options };
      },

      /* The request of one of several answers: its seed alone gives the same text. */
      bodyOf(pane, turn, sample) {
        const { n, ...body } = this.body(pane, turn);
        return { ...body, seed: sample.seed };
      },

      /* Make these panes answer the last turn, also if they have answered before. */
      async answer(panes) {
        if (this.isRunning() || !this.turns.length) return;
        if (!this.strengthsAreValid(panes) || !(await this.settingsAreValid())) return;
        Object.assign(this, { before: null, refusal: "" });
        this.focus();
        await Promise.all(panes.map((pane) => this.answerIn(pane)));
        this.status = this.outcome(panes.map(({ id }) => this.turns.at(-1)?.answers[id]?.state));
      },

      async answerIn(pane) {
        const { id } = pane;
        const turn = this.turns.at(-1);
        const request = this.request(pane);
        const samples = Array.from({ length: request.n ?? 1 }, (_, at) => ({
          ...{ seed: request.seed + at, text: "", reasoning: "", calls: [], finish: null },
          tokens: request.logprobs ? [] : null,
        }));
        const { system } = this.settings;
        turn.answers[id] = { state: "waiting", request, system, ...TOLD, ...UNKNOWN, samples, chosen: 0 };
        const answer = turn.answers[id];
        controllers.set(id, new AbortController());
        this.running[id] = true;
        this.scrollDown(pane);
        this.keep();
        try {
          const parts = millm.streamChat(this.body(pane, turn), { signal: controllers.get(id).signal });
          for await (const part of parts) {
            this.take(answer, part);
            if (this.atEnd[id]) this.scrollDown(pane);
          }
          answer.state = "done";
        } catch (error) {
          await this.failed(pane, answer, error);
        } finally {
          this.running[id] = false;
          this.keep();
        }
      },

      take(answer, part) {
        const { headers, usage, index, text, logprobs, finish_reason: finish, fingerprint, ms } = part;
        if (headers) Object.assign(answer, millm.steeredBy(headers));
        if (fingerprint) answer.fingerprint = fingerprint;
        const sample = answer.samples[index];
        if (text || part.reasoning || part.calls?.length) {
          answer.state = "streaming";
          sample.text += text;
          sample.reasoning += part.reasoning;
          part.calls.forEach((call) => millm.addCall(sample.calls, call));
          answer.firstMs ??= ms;
          answer.lastMs = ms;
        }
        if (logprobs) sample.tokens?.push(...logprobs.map(token));
        if (finish) sample.finish = finish;
        if (usage) [answer.promptTokens, answer.answerTokens] = [usage.prompt_tokens, usage.completion_tokens];
      },

      async failed({ choice: { kind, name } }, answer, error) {
        answer.state = error.name === "AbortError" ? "stopped" : "failed";
        if (answer.state === "stopped") return;
        answer.error = error.message;
        if (!(error instanceof millm.ChatError)) throw error;
        await this.look();
        const isGone = error.code === "model_not_found" && this.now.model && !this.now.problem;
        if (isGone && !answer.request.model.startsWith(`${this.now.model}:`)) {
          answer.error = `${answer.request.model} is no longer served. Retry to ask ${this.now.model}.`;
        } else if (isGone && kind === "profile") {
          answer.error = `The profile “${name}” no longer exists: choose another steering above, then retry.`;
        }
      },

      stop(panes = this.panes) {
        for (const { id } of panes) controllers.get(id)?.abort();
        this.focus();
      },
    };
  };
})(window.millm);
