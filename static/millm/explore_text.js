/* The first tab of Explore: a text or a chat, its tokens coloured by a feature, and the features of each token. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const TOP_K = 10;
  const LISTED = 12; // features of the whole text
  const ROLES = ["user", "assistant", "system"];
  const TURN = /^(user|assistant|system):[ \t]*/gim;

  /* The turns of a pasted chat, whose lines begin with "User:" or "Assistant:"; empty for another text. */
  function parseChat(text) {
    const [before, ...parts] = text.split(TURN);
    if (before.trim() || parts.length < 4) return [];
    const turns = [];
    for (let at = 0; at < parts.length; at += 2) {
      turns.push({ role: parts[at].toLowerCase(), content: parts[at + 1].trim() });
    }
    return turns;
  }

  const isTurn = (one) => ROLES.includes(one?.role) && typeof one.content === "string";

  function textReading() {
    const { user, max_characters: most } = millm.explorePage();
    const key = `millm.reading.${user}`;
    const blank = { kind: "text", text: "", turns: [{ role: "user", content: "" }], stage: "after" };
    const kept = millm.loadValues(key, blank);
    if (!kept.turns.length || !kept.turns.every(isTurn)) kept.turns = blank.turns;
    return {
      ...millm.reader(),
      ...millm.collecting(),
      ...millm.tokenView(),
      ...kept,
      chosenSteering: { id: 0, choice: { kind: "none", name: "" } },
      result: null, // the answer of REST
      asked: null, // the request of `result` without its options
      profile: "", // of `result`
      chosen: null, // the feature {index, label} that colours
      values: [], // its activation on each token
      exact: new Map(), // by feature: {values, label} of all tokens
      at: 0, // the position of the chosen token
      typed: "", // the index of a feature to colour by

      init() {
        this.$watch("[kind, text, turns, stage]", () => this.keep());
      },

      keep() {
        const { kind, text, turns, stage } = this;
        millm.storeValues(key, { kind, text, turns, stage });
      },

      label: ({ kind, name }) => (kind === "none" ? "Unsteered" : name),

      // --- the inputs ---

      get isSteered() {
        return this.chosenSteering.choice.kind === "profile";
      },

      addTurn() {
        const role = this.turns.at(-1)?.role === "user" ? "assistant" : "user";
        this.turns.push({ role, content: "" });
        this.$nextTick(() => this.$refs.turns.querySelector("li:last-child textarea").focus());
      },

      removeTurn(number) {
        this.turns.splice(number, 1);
        this.$nextTick(() => document.getElementById("add-turn").focus()); // the pressed button is gone, with its $refs
      },

      pasted(event) {
        const turns = parseChat(event.clipboardData.getData("text"));
        if (!turns.length) return;
        event.preventDefault();
        Object.assign(this, { turns, kind: "chat", status: `A chat of ${turns.length} turns was pasted.` });
      },

      length() {
        const texts = this.kind === "text" ? [this.text] : this.turns.map((turn) => turn.content);
        return texts.reduce((sum, text) => sum + text.length, 0);
      },

      /* The reason why nothing is sent, "" if there is none. */
      refusal() {
        if (!this.sae()) return "No SAE is attached, so there are no features to read.";
        if (this.kind === "text" && !this.text.trim()) return "Type or paste a text.";
        if (this.kind === "chat" && !this.turns.some((turn) => turn.content.trim())) return "Type the turns of a chat.";
        return this.tooLong();
      },

      tooLong() {
        const length = this.length();
        if (length <= most) return "";
        const number = (value) => value.toLocaleString("en");
        return `The text has ${number(length)} characters, expected at most ${number(most)}: read a part of it.`;
      },

      body() {
        const { kind, text, turns, stage } = this;
        return {
          sae: this.sae(),
          ...(kind === "text" ? { texts: text } : { messages: turns.map(({ role, content }) => ({ role, content })) }),
          ...(this.isSteered ? { profile: this.chosenSteering.choice.name, stage } : {}),
        };
      },

      // --- a reading ---

      async readText() {
        this.error = this.refusal();
        if (this.error) return;
        const asked = this.body();
        const result = await this.ask("/api/activations", { ...asked, top_k: TOP_K });
        if (!result) return;
        Object.assign(this, { result, asked, profile: asked.profile ?? "" });
        this.exact.clear();
        this.drawTokens(this.$refs.tokens, this.tokens());
        this.status = this.told();
        const { features } = result.texts[0];
        const again = features.find(({ index }) => index === this.chosen?.index);
        const [first] = features;
        this.at = (again ?? first)?.position ?? 0;
        if (again ?? first) await this.choose(again ?? first);
        else Object.assign(this, { chosen: null, values: [] });
      },

      /* The result, while its SAE is that of the table. */
      shown() {
        return this.result && this.result.sae === this.sae() ? this.result : null;
      },

      isStale() {
        return this.shown() !== null && JSON.stringify(this.asked) !== JSON.stringify(this.body());
      },

      tokens() {
        return this.result?.texts[0].tokens ?? [];
      },

      told() {
        return `${this.tokens().length} tokens were read.`;
      },

      steered() {
        if (!this.profile) return "Read unsteered.";
        return `Read under the profile ${this.profile}, ${this.result.stage} its steering is added.`;
      },

      // --- the feature that colours ---

      /* Colour by the activations among the top features of each token at once, then by those of all tokens. */
      async choose({ index, label }) {
        const known = this.exact.get(index);
        const top = ({ features }) => features.find((one) => one.index === index)?.activation ?? 0;
        const values = known?.values ?? this.tokens().map(top);
        Object.assign(this, { chosen: { index, label: known?.label ?? label }, values });
        if (known) return;
        const { asked } = this;
        const found = await this.ask("/api/activations", { ...asked, features: [index] });
        if (!found || asked !== this.asked) return;
        const [{ tokens, features }] = found.texts;
        this.status = this.told();
        this.exact.set(index, {
          values: tokens.map((token) => token.features[0]?.activation ?? 0),
          label: features[0].label,
        });
        if (this.chosen.index === index) await this.choose({ index });
      },

      async chooseTyped() {
        const index = Number(this.typed);
        const { d_sae: count } = this.table().options;
        if (!/^\d+$/.test(this.typed.trim()) || (count && index >= count)) {
          this.error = `Got “${this.typed}” as the index of a feature, expected a number from 0 to ${count - 1}.`;
          return;
        }
        this.typed = "";
        await this.choose({ index, label: "" });
      },

      isChosen({ index }) {
        return this.chosen?.index === index;
      },

      maximum() {
        return Math.max(0, ...this.values);
      },

      /* The lists of features: of the chosen token, and of the whole text. */
      ofToken() {
        const features = this.shown() ? (this.tokens()[this.at]?.features ?? []) : [];
        return features.map((one) => ({ ...one, value: one.activation }));
      },

      ofText() {
        const features = this.shown()?.texts[0].features ?? [];
        return features.slice(0, LISTED).map((one) => ({ ...one, value: one.maximum }));
      },

      /* From the largest activation that was measured, or from that in this text. */
      async suggestion({ index }) {
        const inText = this.shown().texts[0].features.find((one) => one.index === index)?.maximum ?? this.maximum();
        return millm.SUGGESTED * Math.max(inText, await this.table().maximumOf(index));
      },
    };
  }

  document.addEventListener("alpine:init", () => Alpine.data("textReading", textReading));
})(window.millm);
