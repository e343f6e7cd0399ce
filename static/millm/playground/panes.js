/* The panes of the playground: their names, their number, and how far each is scrolled. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth"];
  const AT_END_PX = 40;

  millm.playgroundPanes = () => ({
    // By the id of a pane:
    running: {},
    atEnd: {}, // false while the user reads further up: the pane then stays where it is
    tops: {},

    paneName(pane) {
      return `${ORDINALS[this.panes.indexOf(pane)]} pane`;
    },

    label(choice) {
      return { live: "Live steering", none: "Unsteered", profile: choice.name, own: "Own strengths" }[choice.kind];
    },

    mayAdd() {
      return this.panes.length < millm.MAX_PANES;
    },

    /* The new pane has the steering of the last one, to be changed. */
    async addPane() {
      const { choice, intensity, strengths } = this.panes.at(-1);
      const made = millm.newPane({ ...choice }, intensity, JSON.parse(JSON.stringify(strengths)));
      this.panes.push(made);
      this.status = `The ${this.paneName(this.panes.at(-1))} is open.`;
      this.keep();
      await this.$nextTick();
      document.getElementById(`steering-${made.id}`).focus();
    },

    removePane(pane) {
      this.stop([pane]);
      const name = this.paneName(pane);
      this.setAside(`The ${name} is closed.`);
      this.panes.splice(this.panes.indexOf(pane), 1);
      if (this.reference === pane.id) this.reference = this.panes[0].id;
      this.keep();
      this.focus();
    },

    setIntensity(pane, intensity) {
      pane.intensity = intensity;
      this.keep();
    },

    // --- scrolling: a pane follows the answer only while its end is in view ---

    scrolled({ id }, { scrollHeight, scrollTop, clientHeight }) {
      const isUp = scrollTop < (this.tops[id] ?? 0);
      this.tops[id] = scrollTop;
      if (scrollHeight - scrollTop - clientHeight < AT_END_PX) this.atEnd[id] = true;
      else if (isUp) this.atEnd[id] = false;
    },

    resized(pane) {
      if (this.atEnd[pane.id] !== false) this.scrollDown(pane);
    },

    scrollDown({ id }) {
      this.atEnd[id] = true;
      this.$nextTick(() => {
        const answers = document.getElementById(`answers-${id}`);
        answers?.scrollTo(0, answers.scrollHeight);
      });
    },
  });
})(window.millm);
