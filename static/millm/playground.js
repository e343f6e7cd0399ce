/* The playground: one conversation, answered by two panes. A turn is a message and the answer of each pane to it. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const POLL_MS = 5000;
  const AT_END_PX = 40;
  const BLANK = { state: "waiting", text: "", steering: null, finish: null, error: "" };
  const UNKNOWN = { promptTokens: null, answerTokens: null, firstMs: null, lastMs: null };

  const page = () => JSON.parse(document.getElementById("playground-page").textContent);

  function playground() {
    const { now, user, settings, max_seed: maxSeed, max_stops: maxStops } = page();
    const storage = new millm.PlaygroundStorage(user);
    const first = now.profiles.length ? { kind: "profile", name: now.profiles[0] } : { kind: "live", name: "" };
    const choices = [{ kind: "none", name: "" }, first];
    const controllers = [null, null];
    const intensities = [1, 1];
    const defaults = { settings, choices, intensities, compares: true, showsSettings: false, draft: "", turns: [] };

    return {
      ...storage.load(defaults),
      ...millm.answerTexts,
      now,
      running: [false, false],
      isEditing: false,
      aside: "", // the draft while a message is edited
      removed: null, // the turns that "Undo" restores
      notice: "",
      status: "", // for screen readers

      init() {
        this.keep();
        addEventListener("pagehide", () => this.keep());
        document.addEventListener("visibilitychange", () => document.hidden && this.keep());
        millm.poll(async (isSeenAgain) => {
          if (isSeenAgain || this.now.problem) await this.look();
        }, POLL_MS);
        this.$nextTick(() => this.shown().forEach((index) => this.scrollDown(index)));
      },

      keep() {
        const { settings, choices, intensities, compares, showsSettings, draft, turns } = this;
        const isKept = storage.save({ settings, choices, intensities, compares, showsSettings, draft, turns });
        if (!isKept) this.notice = "This conversation is too long: the browser keeps only a part of it after a reload.";
      },

      // --- the served model and the steerings ---

      /* Request the served model, the live steering and the profiles that `search` finds. Throws ChatError. */
      async refresh(search = "") {
        const { model } = this.now;
        this.now = await millm.pageNow("/admin/playground/now", search);
        if (model && this.now.model && this.now.model !== model) {
          this.notice = `${model} is no longer served: ${this.now.model} answers from now on.`;
        }
        return this.now;
      },

      async look() {
        try {
          await this.refresh();
        } catch (error) {
          this.now.problem = error.message;
        }
      },

      label(choice) {
        return { live: "As it is now", none: "Unsteered", profile: choice.name }[choice.kind];
      },

      // --- a request ---

      get isRunning() {
        return this.running.includes(true);
      },

      get stops() {
        const lines = this.settings.stop.split("\n").filter((line) => line !== "");
        return lines.map((line) => line.replaceAll("\\n", "\n"));
      },

      get settingsSummary() {
        const { temperature, top_p, max_tokens, seed, system } = this.settings;
        const sampling = [`temperature ${temperature}`, `top p ${top_p}`, `up to ${max_tokens} tokens`, `seed ${seed}`];
        return [this.now.model, ...sampling, system.trim() && "system prompt"].filter(Boolean).join(" · ");
      },

      shown() {
        return this.compares ? [0, 1] : [0];
      },

      /* A pane's request without its messages. */
      request(index) {
        const { temperature, top_p, max_tokens, seed, frequency_penalty, presence_penalty } = this.settings;
        const { kind, name } = this.choices[index];
        return {
          model: kind === "profile" ? `${this.now.model}:${name}` : String(this.now.model),
          ...{ temperature, top_p, max_tokens, seed },
          ...(frequency_penalty ? { frequency_penalty } : {}),
          ...(presence_penalty ? { presence_penalty } : {}),
          ...(this.stops.length ? { stop: this.stops } : {}),
          ...(kind === "none" ? { steering: { features: {} } } : this.intensity(index)),
        };
      },

      /* The intensity of a pane's steering as a field of its request, which 1 leaves out. */
      intensity(index) {
        const intensity = Number(this.intensities[index]);
        return intensity === 1 ? {} : { intensity };
      },

      /* The request of a pane's answer to a turn. It leaves out earlier messages that the pane has not answered. */
      body(index, turn) {
        const { request, system } = turn.answers[index];
        const { model, ...options } = request;
        const messages = system.trim() ? [{ role: "system", content: system }] : [];
        for (const before of this.turns.slice(0, this.turns.indexOf(turn))) {
          if (!this.isCounted(before.answers[index])) continue;
          messages.push({ role: "user", content: before.text });
          messages.push({ role: "assistant", content: before.answers[index].text });
        }
        return { model, messages: [...messages, { role: "user", content: turn.text }], ...options };
      },

      /* Make these panes answer the last turn, also if they have answered before. */
      async answer(indices) {
        if (this.isRunning || !this.turns.length || !(await this.settingsAreValid())) return;
        this.removed = null;
        this.focus();
        await Promise.all(indices.map((index) => this.answerIn(index)));
        this.status = "The answers are here.";
      },

      async answerIn(index) {
        const turn = this.turns.at(-1);
        turn.answers[index] = { ...BLANK, ...UNKNOWN, system: this.settings.system, request: this.request(index) };
        const answer = turn.answers[index];
        controllers[index] = new AbortController();
        this.running[index] = true;
        this.scrollDown(index);
        this.keep();
        try {
          const parts = millm.streamChat(this.body(index, turn), { signal: controllers[index].signal });
          for await (const part of parts) {
            this.take(answer, part);
            if (this.atEnd[index]) this.scrollDown(index);
          }
          answer.state = "done";
        } catch (error) {
          await this.failed(index, answer, error);
        } finally {
          this.running[index] = false;
          this.keep();
        }
      },

      take(answer, { headers, usage, text, finish_reason: finish, ms }) {
        if (headers) answer.steering = millm.steeredBy(headers);
        if (text) {
          answer.state = "streaming";
          answer.text += text;
          answer.firstMs ??= ms;
          answer.lastMs = ms;
        }
        if (finish) answer.finish = finish;
        if (usage) [answer.promptTokens, answer.answerTokens] = [usage.prompt_tokens, usage.completion_tokens];
      },

      async failed(index, answer, error) {
        answer.state = error.name === "AbortError" ? "stopped" : "failed";
        if (answer.state === "stopped") return;
        answer.error = error.message;
        if (!(error instanceof millm.ChatError)) throw error;
        await this.look();
        const { kind, name } = this.choices[index];
        const isGone = error.code === "model_not_found" && this.now.model && !this.now.problem;
        if (isGone && !answer.request.model.startsWith(`${this.now.model}:`)) {
          answer.error = `${answer.request.model} is no longer served. Retry to ask ${this.now.model}.`;
        } else if (isGone && kind === "profile") {
          answer.error = `The profile “${name}” no longer exists: choose another steering above, then retry.`;
        }
      },

      // --- actions of the user ---

      async settingsAreValid() {
        const { form } = this.$refs;
        const tooMany = this.stops.length > maxStops ? `Up to ${maxStops} texts, one per line.` : "";
        form.elements.namedItem("stop").setCustomValidity(tooMany);
        if (form.checkValidity()) return true;
        this.showsSettings = true;
        await this.$nextTick();
        form.reportValidity();
        return false;
      },

      async send() {
        if (this.isRunning || !this.draft.trim() || !(await this.settingsAreValid())) return;
        if (this.isEditing) this.turns.pop();
        this.notice = "";
        this.turns.push({ id: Date.now(), text: this.draft, cut: false, answers: [null, null] });
        this.endEdit();
        await this.answer(this.shown());
      },

      stop(indices = [0, 1]) {
        indices.forEach((index) => controllers[index]?.abort());
        this.focus();
      },

      newSeed() {
        this.settings.seed = crypto.getRandomValues(new Uint32Array(1))[0] % (maxSeed + 1);
      },

      edit() {
        [this.isEditing, this.aside, this.draft] = [true, this.draft, this.turns.at(-1).text];
        this.focus();
      },

      endEdit() {
        [this.isEditing, this.aside, this.draft] = [false, "", this.aside];
        this.focus();
      },

      /* Remove the turns from `start` on; "Undo" restores them. */
      remove(start, notice) {
        this.stop();
        if (this.isEditing) this.endEdit();
        this.removed = [...this.turns];
        this.turns.splice(start);
        this.notice = notice;
        this.keep();
      },

      undo() {
        [this.turns, this.removed, this.notice] = [this.removed, null, ""];
        this.keep();
        this.focus();
      },

      escape() {
        if (this.isRunning) this.stop();
        else if (this.isEditing) this.endEdit();
      },

      enter(event) {
        if (event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.send();
      },

      compare(compares) {
        if (!compares) this.stop([1]);
        this.compares = compares;
        this.keep();
      },

      async copyAs(index, turn, kind) {
        const makers = {
          answer: () => turn.answers[index].text,
          curl: () => millm.asCurl(this.body(index, turn), location.origin),
          Python: () => millm.asPython(this.body(index, turn), location.origin),
        };
        await millm.copyText(makers[kind]());
        this.status = `Copied: ${kind}.`;
        this.copied = `${index} ${turn.id} ${kind}`;
        setTimeout(() => (this.copied = ""), 2000);
      },

      copied: "",

      isCopied(index, turn, kind) {
        return this.copied === `${index} ${turn.id} ${kind}`;
      },

      focus() {
        this.$refs.message.focus();
      },

      // --- scrolling: a pane follows the answer only while its end is in view ---

      atEnd: [true, true],
      tops: [0, 0],

      scrolled(index, { scrollHeight, scrollTop, clientHeight }) {
        const isUp = scrollTop < this.tops[index];
        this.tops[index] = scrollTop;
        if (scrollHeight - scrollTop - clientHeight < AT_END_PX) this.atEnd[index] = true;
        else if (isUp) this.atEnd[index] = false;
      },

      scrollDown(index) {
        const answers = document.getElementById(`answers-${index}`);
        this.atEnd[index] = true;
        this.$nextTick(() => answers.scrollTo(0, answers.scrollHeight));
      },
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("playground", playground));
})(window.millm);
