/* Explore: the state of the server, the two tabs, and the list of collected features (a table of features.js). */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const POLL_MS = 5000;
  const TABS = ["text", "contrast"];
  const MAX_LINK = 8000; // characters; proxies refuse longer lines of a request

  millm.explorePage = () => JSON.parse(document.getElementById("explore-page").textContent);
  millm.featureTable = () => document.querySelector("[x-data=featureTable]");

  function explore() {
    const { now, user } = millm.explorePage();
    return {
      now,
      tab: TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : TABS[0],
      problem: "", // of "New profile of these"

      init() {
        this.update(now);
        this.$nextTick(() => this.load());
        window.addEventListener("hashchange", () => this.open(location.hash.slice(1), false));
        millm.poll(async (isSeenAgain) => {
          if (isSeenAgain || this.now.problem) await this.look();
        }, POLL_MS);
      },

      // --- the served model and the attached SAE ---

      /* Request the state; `search` searches the profiles. Throws ChatError. */
      async refresh(search = "") {
        this.update(await millm.pageNow("/admin/explore/now", search));
        return this.now;
      },

      update(next) {
        const old = this.now.sae?.id;
        this.now = next;
        const reasons = next.problem && next.problem.page !== "saes" ? [next.problem.told] : []; // vectors steer without an SAE
        Object.assign(Alpine.store("profile"), { reasons, here: { model_id: next.model }, check: () => this.look() });
        if (next.sae?.id !== old) this.load();
      },

      async look() {
        try {
          await this.refresh();
          Alpine.store("profile").unreachable = false;
        } catch (error) {
          this.now.problem = { told: error.message, page: "" };
          Alpine.store("profile").unreachable = true;
        }
      },

      // --- tabs: https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ ---

      open(tab, focuses = true) {
        if (!TABS.includes(tab)) return;
        this.tab = tab;
        history.replaceState(null, "", `#${tab}`);
        if (focuses) this.$nextTick(() => document.getElementById(`tab-${tab}`).focus());
      },

      step(by) {
        this.open(TABS[(TABS.indexOf(this.tab) + by + TABS.length) % TABS.length]);
      },

      // --- collected features, kept for each user and SAE until the browser's tab is closed ---

      key() {
        return `millm.explore.${user}.${this.now.sae?.id}`;
      },

      load() {
        const { sae } = this.now;
        const table = millm.featureTable();
        const send = (name, detail) => table.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
        send("features-sae", millm.saeOfTable(sae));
        const { strengths, labels } = millm.loadValues(this.key(), { strengths: {}, labels: {} });
        send("features-set", { strengths: sae ? strengths : {}, labels });
        send("features-changed", Alpine.$data(table).detail());
      },

      changed({ strengths, valid }) {
        Object.assign(this, { strengths, valid, problem: "" });
        const { labels } = Alpine.$data(millm.featureTable());
        const own = Object.fromEntries(Object.keys(strengths).map((index) => [index, labels[index] ?? ""]));
        if (this.now.sae) millm.storeValues(this.key(), { strengths, labels: own });
      },

      strengths: {},
      valid: true,

      get collectedCount() {
        return Object.keys(this.strengths).length;
      },

      get isEmpty() {
        return !this.collectedCount;
      },

      /* The vectors that "Try it" adds to the collected features; made by vector_making.js. */
      parts() {
        return Alpine.store("profile").settings.also ?? [];
      },

      leaveOut() {
        Alpine.store("profile").settings = {};
      },

      showCollected() {
        const title = document.getElementById("collected-title");
        title.scrollIntoView();
        title.focus();
      },

      /* Open the form of a new profile with the collected features, and the vector beside them. */
      makeProfile(url) {
        const fields = { sae_id: this.now.sae.id, steering: JSON.stringify(this.strengths) };
        if (this.parts().length) fields.also = JSON.stringify(this.parts());
        const query = new URLSearchParams(fields);
        const link = `${url}?${query}`;
        if (link.length <= MAX_LINK) location.assign(link);
        else
          this.problem =
            "These are too many features for a link: copy the list, and paste it in the form of a profile.";
      },
    };
  }

  /* The store that tryit.js reads: the reasons why it is blocked, the model that answers, a vector beside the features. */
  const store = { reasons: [], unreachable: false, here: {}, settings: {}, async check() {} };

  document.addEventListener("alpine:init", () => {
    Alpine.store("profile", store);
    Alpine.data("explore", explore);
  });
})(window.millm);
