/* The page of the live steering: it posts the user's changes, and shows the changes of other users.
 *
 * The server's state (profiles.live.live_steering) is `live`. The table (features.js) shows `wanted`, which is an edited
 * `base`. A change posts only the differences of the two, so that changes of others to other features are kept.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const POLL_MS = 2000;
  const SETTLED_MS = 300;

  const equal = (one, other) => JSON.stringify(one) === JSON.stringify(other); // of strengths, which may be objects

  const same = (one, other) => {
    const keys = Object.keys(one);
    return keys.length === Object.keys(other).length && keys.every((key) => equal(one[key], other[key]));
  };

  /* The changes from `before` to `after` in the server's format: a strength of 0 removes a feature. */
  function changes(before, after) {
    const gone = Object.keys(before).filter((index) => !(index in after));
    const set = Object.entries(after).filter(([index, strength]) => !equal(before[index], strength));
    return Object.fromEntries([...gone.map((index) => [index, 0]), ...set]);
  }

  function liveSteering() {
    return {
      live: JSON.parse(document.getElementById("live-state").textContent),
      status: "",
      problem: "",
      name: "",
      nameError: "",
      undo: null, // {token, version} of the last change, where it can be undone
      saved: null, // {id, name, url} of the profile that was saved here
      queue: Promise.resolve(), // posts, one after the other
      waiting: 0,
      moving: false, // true while a slider is dragged or a box typed in
      invalid: false, // true: a row has an error
      setting: false, // true while this script sets the table, whose events are then ignored
      dial: null, // the intensity while it is moved
      dialTimer: null,
      posted: 0, // counts posts, so that an older answer to a poll is not shown

      init() {
        this.base = this.wanted = this.live.values;
        this.sae = this.live.sae; // the SAE of the table's features
        this.unit = this.live.unit;
        this.updateTryIt(this.live);
        millm.poll(() => this.refresh(), POLL_MS);
      },

      /* --- the table --- */
      edited({ strengths, valid, committed }) {
        if (this.setting) return;
        this.moving = !committed;
        this.invalid = !valid;
        if (!committed || !valid) return;
        this.wanted = strengths;
        this.apply();
      },

      /* A slider that is moved back, or a box that is left unchanged, ends without a change. */
      letGo({ type }) {
        const typing = type === "pointerup" && document.activeElement?.matches("input:not([type=range])");
        if (!typing) this.moving = false;
      },

      async apply() {
        if (this.waiting) return; // the waiting change calls this function when it ends
        const sent = this.wanted;
        const features = changes(this.base, sent);
        const sae = this.sae?.id ?? "";
        if (!Object.keys(features).length) return;
        const state = await this.post("set", () => ({ features: JSON.stringify(features), sae }));
        if (state) this.base = sent;
        else this.setTable(this.live);
        await this.finish(state);
      },

      setTable({ values, labels, sae, unit }) {
        this.setting = true;
        const table = this.$refs.table.querySelector(".features");
        const send = (name, detail) => table.dispatchEvent(new CustomEvent(name, { detail }));
        send("features-sae", millm.saeOfTable(sae));
        send("features-unit", { unit });
        send("features-set", { strengths: values, labels });
        this.base = this.wanted = values;
        this.sae = sae;
        this.unit = unit;
        this.setting = this.moving = this.invalid = false;
        window.dispatchEvent(
          new CustomEvent("features-changed", { detail: { strengths: values, valid: true, committed: true } }),
        );
      },

      updateTryIt({ model, sae, more }) {
        const reasons = [model ? "" : "No model is loaded.", sae ? "" : "No SAE is attached."].filter(Boolean);
        Object.assign(Alpine.store("profile"), { reasons, here: { model_id: model }, settings: more });
      },

      /* --- the server --- */
      show(state) {
        const saeChanged = JSON.stringify(state.sae) !== JSON.stringify(this.sae);
        this.live = state;
        this.updateTryIt(state);
        const editing = this.moving || this.invalid || !same(this.base, this.wanted);
        if (!editing && (saeChanged || state.unit !== this.unit || !same(state.values, this.wanted)))
          this.setTable(state);
      },

      async refresh() {
        const posted = this.posted;
        try {
          const state = await this.ask(this.$root.dataset.stateUrl, { headers: { Accept: "application/json" } });
          if (posted !== this.posted) return;
          const { version, changed } = state;
          if (version > this.live.version)
            this.status = `Changed by ${changed.by}, version ${version}: ${changed.reason}.`;
          this.show(state);
          if (this.lost) this.problem = "";
          this.lost = Alpine.store("profile").unreachable = false;
        } catch (error) {
          this.problem = `${error.message} This page shows version ${this.live.version}.`;
          this.lost = Alpine.store("profile").unreachable = true;
        }
      },

      async ask(url, options) {
        const response = await fetch(url, options).catch(() => {
          throw new Error("The server could not be reached.");
        });
        if (!response.headers.get("Content-Type")?.startsWith("application/json")) {
          const refused = response.redirected || response.status === 403;
          throw new Error(
            refused
              ? "Your session has ended, or you lack the permission: reload the page."
              : `The server answered ${response.status}.`,
          );
        }
        const body = await response.json();
        if (!response.ok) throw Object.assign(new Error(body.detail), { field: body.field });
        return body;
      },

      /* Post `action` after earlier posts have ended. Returns the new state, or null if it was refused. */
      post(action, fields) {
        this.waiting += 1;
        this.queue = this.queue.then(() => this.send(action, fields()));
        return this.queue;
      },

      async send(action, fields) {
        this.posted += 1;
        this.problem = this.refusedField = "";
        try {
          const state = await this.ask(this.$root.dataset.doUrl.replace("ACTION", action), {
            method: "POST",
            headers: { "X-CSRFToken": millm.csrfToken(), Accept: "application/json" },
            body: new URLSearchParams(fields),
          });
          this.status = `${state.done}, version ${state.version}.`;
          this.undo = state.undo ? { token: state.undo, version: state.version } : null;
          return state;
        } catch (error) {
          this.status = "";
          this.refusedField = error.field;
          this.problem = `Not done: ${error.message}`;
          return null;
        } finally {
          this.posted += 1;
          this.waiting -= 1;
        }
      },

      async act(action, fields = () => ({ sae: this.live.sae?.id ?? "" })) {
        const state = await this.post(action, fields);
        await this.finish(state);
        return state;
      },

      async finish(state) {
        if (state) this.show(state);
        else await this.refresh();
        this.apply();
      },

      /* True while nothing was changed since the change that can be undone. */
      mayUndo() {
        return this.undo?.version === this.live.version && !this.waiting;
      },

      async turn(box) {
        await this.act(box.checked ? "enable" : "disable");
        box.checked = this.live.enabled;
      },

      /* Keys move the dial by many small changes: the last one is sent. */
      turnDial() {
        clearTimeout(this.dialTimer);
        this.dialTimer = setTimeout(() => this.sendDial(), SETTLED_MS);
      },

      async sendDial() {
        const intensity = this.dial;
        await this.act("intensity", () => ({ intensity, sae: this.live.sae?.id ?? "" }));
        if (this.dial === intensity) this.dial = null;
      },

      /* True where the live steering has a feature, of any SAE. */
      isSet() {
        return Object.keys(this.live.values).length > 0 || Boolean(this.live.more.also);
      },

      async saveAs() {
        this.nameError = "";
        const state = await this.act("save-as", () => ({ name: this.name, version: this.live.version }));
        if (state) {
          this.saved = state.saved;
          this.name = "";
        } else if (this.refusedField === "name") {
          this.nameError = this.problem.replace("Not done: name: ", "");
          this.problem = "";
        }
      },

      /* Activate the saved profile, which the live steering equals. */
      async activateSaved() {
        if (await this.act("activate", () => ({ profile: this.saved.id }))) this.saved = null;
      },

      /* --- display --- */
      icon() {
        return { steered: "tune", unsteered: "do_not_disturb_on", refused: "error" }[this.live.outcome.kind];
      },

      at(time) {
        return millm.time(time);
      },
    };
  }

  /* The store that tryit.js reads: the reasons why it is blocked, and the model that answers. */
  millm.featureTable = () => document.querySelector("[x-data=featureTable]");
  const store = { reasons: [], unreachable: false, here: {}, async check() {} };

  document.addEventListener("alpine:init", () => {
    Alpine.store("profile", store);
    Alpine.data("liveSteering", liveSteering);
  });
})(window.millm);
