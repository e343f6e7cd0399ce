/* The settings of the playground: their errors, each below its field, presets, and a new seed. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const PENALTIES = { frequency_penalty: 0, presence_penalty: 0 }; // in all presets

  millm.playgroundSettings = (maxSeed, maxStops) => ({
    wrong: {}, // {setting: error}

    /* Check the settings; `sends`: before a message, with the focus on the first wrong field. */
    async settingsAreValid(sends = true) {
      const { form } = this.$refs;
      const count = this.stops().length;
      const tooMany = count > maxStops ? `Got ${count} texts, expected up to ${maxStops}.` : "";
      form.elements.namedItem("stop").setCustomValidity(tooMany);
      form.elements.namedItem("tools").setCustomValidity(this.toolsProblem());
      const wrong = [...form.elements].filter((field) => field.name && !field.checkValidity());
      this.wrong = Object.fromEntries(wrong.map((field) => [field.name, field.validationMessage]));
      for (const field of form.elements) field.setAttribute("aria-invalid", wrong.includes(field));
      if (!wrong.length || !sends) return !wrong.length;
      this.showsSettings = true;
      this.status = "Nothing was sent: correct the settings.";
      await this.$nextTick();
      wrong[0].focus();
      return false;
    },

    newSeed() {
      this.settings.seed = crypto.getRandomValues(new Uint32Array(1))[0] % (maxSeed + 1);
    },

    stops() {
      const lines = this.settings.stop.split("\n").filter((line) => line !== "");
      return lines.map((line) => line.replaceAll("\\n", "\n"));
    },

    /* The functions that the model may call, as the request has them; none where the setting is not valid. */
    tools() {
      return this.toolsProblem() || !this.settings.tools.trim() ? [] : JSON.parse(this.settings.tools);
    },

    /* What is wrong with the setting; the server checks each function. */
    toolsProblem() {
      const written = this.settings.tools;
      if (!written.trim()) return "";
      try {
        return Array.isArray(JSON.parse(written)) ? "" : "Expected a list: [{…}].";
      } catch (error) {
        return `Expected JSON: ${error.message}.`;
      }
    },

    /* The name of the preset that the settings equal, "own" if there is none. */
    preset() {
      const isSet = (values) => Object.entries(values).every(([name, value]) => this.settings[name] === value);
      const found = Object.entries(this.now.presets).find(([, values]) => isSet({ ...values, ...PENALTIES }));
      return found ? found[0] : "own";
    },

    async usePreset(name) {
      Object.assign(this.settings, this.now.presets[name], PENALTIES);
      await this.$nextTick(); // the fields have the new values then
      this.settingsAreValid(false);
      this.keep();
    },

    settingsSummary() {
      const { temperature, top_p, max_tokens, seed, n, system, tools } = this.settings;
      const name = this.preset() === "own" ? "" : this.preset();
      const sampling = [name, `temperature ${temperature}`, `top p ${top_p}`, `up to ${max_tokens} tokens`];
      const seeds = n > 1 ? `seeds ${seed} to ${seed + n - 1}` : `seed ${seed}`;
      const more = [system.trim() && "system prompt", tools.trim() && "functions"];
      const shown = [this.now.model, ...sampling, seeds, ...more].filter(Boolean).join(" · ");
      return Object.keys(this.wrong).length ? `${shown} · not valid` : shown;
    },
  });
})(window.millm);
