/* "Try it": a prompt answered with and without the strengths of the table, saved or not (templates/millm/tryit.html).
 *
 * Needs chat.js, features.js, and a store "profile" (profile_form.js or live.js) with the reasons that block it, and where
 * the document has more than features, with its settings.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const KEPT = "millm.tryit";
  const SETTLED_MS = 150;

  const side = () => ({ text: "", error: "", state: "", tokens: null, key: "" });

  function tryIt() {
    return {
      prompt: "Tell me something.",
      seed: 1,
      maxTokens: 60,
      again: false,
      plain: side(),
      steered: side(),
      running: null,
      strengths: {},
      valid: true,

      init() {
        Object.assign(this, JSON.parse(sessionStorage.getItem(KEPT) || "{}"));
        this.keepAnswers();
        this.$watch("[prompt, seed, maxTokens, again]", () => {
          const { prompt, seed, maxTokens, again } = this;
          sessionStorage.setItem(KEPT, JSON.stringify({ prompt, seed, maxTokens, again }));
        });
        this.$watch("JSON.stringify($store.profile.settings)", () => this.changed());
        this.$nextTick(() => Object.assign(this, Alpine.$data(millm.featureTable()).detail()));
      },

      /* A refused form shows the answers that stood there when it was sent. */
      keepAnswers() {
        const key = `${KEPT}.${location.pathname}`;
        const kept = JSON.parse(sessionStorage.getItem(key) || "{}");
        if (document.querySelector(".errornote")) {
          Object.assign(this.plain, kept.plain);
          Object.assign(this.steered, kept.steered);
        }
        addEventListener("pagehide", () => {
          const [plain, steered] = [this.plain, this.steered].map((one) => (one.state === "done" ? one : side()));
          sessionStorage.setItem(key, JSON.stringify({ plain, steered }));
        });
      },

      /* The reasons why nothing can be sent; empty if it can. */
      blocked() {
        const { reasons, settings = {}, settingsProblem } = Alpine.store("profile");
        if (reasons.length) return reasons;
        if (!this.valid) return ["Correct the strengths first."];
        if (settingsProblem) return [settingsProblem];
        if (!Object.keys(this.strengths).length && !settings.also?.length) return ["No strengths yet: add a feature."];
        if (!this.prompt.trim()) return ["Type a prompt."];
        if (!(Number.isInteger(Number(this.maxTokens)) && this.maxTokens >= 1))
          return ["Max tokens: expected a whole number from 1."];
        if (this.seed === "" || !Number.isInteger(Number(this.seed))) return ["Seed: expected a whole number."];
        return [];
      },

      /* The document of the page: the features of the table and the settings. */
      wanted() {
        return { features: this.strengths, ...Alpine.store("profile").settings };
      },

      body(steering) {
        return {
          model: Alpine.store("profile").here.model_id,
          messages: [{ role: "user", content: this.prompt }],
          seed: Number(this.seed),
          max_tokens: Number(this.maxTokens),
          steering,
        };
      },

      /* True where the steering changes nothing in the answer. */
      isSame() {
        const [plain, steered] = [this.plain, this.steered];
        return plain.state === "done" && steered.state === "done" && plain.text === steered.text;
      },

      stale(one, steering) {
        return one.state !== "" && one.key !== JSON.stringify(this.body(steering));
      },

      /* The unsteered answer to an unchanged request is the same, so it is not requested again. */
      async run() {
        this.stop();
        const own = new AbortController();
        this.running = own;
        await Alpine.store("profile").check(); // the SAE may have been detached since the page was opened
        if (own.signal.aborted) return;
        if (!this.blocked().length && !Alpine.store("profile").unreachable) {
          const answered = this.plain.state === "done" && !this.stale(this.plain, { features: {} });
          const asked = [this.answer(this.steered, this.wanted(), own.signal)];
          if (!answered) asked.push(this.answer(this.plain, { features: {} }, own.signal));
          await Promise.all(asked);
        }
        if (this.running === own) this.running = null;
      },

      async answer(one, steering, signal) {
        const body = this.body(steering);
        Object.assign(one, side(), { state: "running", key: JSON.stringify(body) });
        try {
          for await (const { text, finish_reason, usage } of millm.streamChat(body, { signal })) {
            if (signal.aborted) return;
            if (text) one.text += text;
            if (finish_reason === "length") one.text += " …";
            if (usage) one.tokens = usage.completion_tokens;
          }
          one.state = "done";
        } catch (error) {
          if (signal.aborted) return;
          one.state = "failed";
          one.error = error instanceof millm.ChatError ? error.message : "The server could not be reached.";
        }
      },

      stop() {
        this.running?.abort();
        this.running = null;
        [this.plain, this.steered].filter((one) => one.state === "running").forEach((one) => (one.state = "stopped"));
      },

      featuresChanged({ strengths, valid, committed }) {
        Object.assign(this, { strengths, valid });
        if (committed) this.changed();
      },

      changed() {
        if (!this.again) return;
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.again && !this.blocked().length && this.run(), SETTLED_MS);
      },
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("tryIt", tryIt));
})(window.millm);
