/* The dashboard: what htmx brings every few seconds, the charts, and the choice of another profile (combobox.js). */
((millm) => {
  "use strict";

  let fresh = new Date(); // when the page was last brought up to date

  /* --- the choice of another profile --- */

  const profileSwitch = () => ({
    ...millm.combobox(),
    name: "",

    open() {
      if (this.isOpen) return;
      this.isOpen = true;
      this.search(this.name.trim());
    },

    typed() {
      document.getElementById("dashboard-refusal").textContent = "";
      this.isOpen = true;
      this.searchSoon(this.name.trim());
    },

    async find(search, signal) {
      let found = { names: [], has_more: false };
      let hint = "";
      try {
        const response = await fetch(`${this.$root.dataset.offered}?${new URLSearchParams({ search })}`, { signal });
        if (!response.ok || response.redirected) throw new Error(`the server answered ${response.status}`);
        found = await response.json();
        if (found.has_more) hint = "There are more: type a part of the name.";
        else if (!found.names.length && search) hint = "No profile that fits here has this in its name.";
        else if (!found.names.length) hint = "No other profile fits what is served.";
      } catch {
        hint = "The profiles could not be searched just now; a name can be typed all the same.";
      }
      return { found: found.names, at: -1, hint };
    },

    enter(event) {
      if (!this.isOpen || this.at < 0) return; // the form is sent
      event.preventDefault();
      this.choose(this.found[this.at]);
    },

    choose(name) {
      this.name = name;
      this.closeList();
      this.$refs.name.setSelectionRange(name.length, name.length);
    },

    /* Refused, the name stays for another try. */
    sent({ detail }) {
      this.closeList();
      if (detail.successful && !document.getElementById("dashboard-refusal").textContent) this.name = "";
    },
  });

  document.addEventListener("alpine:init", () => Alpine.data("profileSwitch", profileSwitch));

  /* --- what htmx brings --- */

  function drawCharts() {
    const data = document.getElementById("dashboard-data");
    if (!data) return; // Redis is away: the last figures stay
    for (const [name, series] of Object.entries(JSON.parse(data.textContent))) {
      const chart = Chart.getChart(document.querySelector(`[data-chart="${name}"] canvas`));
      if (!chart) continue; // Unfold draws it once the page is loaded
      chart.data.datasets.forEach((dataset, index) => (dataset.data = series[index]));
      chart.update("none");
    }
  }

  /* Why the page is not up to date; empty where it is. */
  function problem(xhr) {
    if (!xhr.status) return "the server does not answer. This page goes on by itself when it does.";
    if (!new URL(xhr.responseURL).pathname.includes("/dashboard/")) return "nobody is logged in any more.";
    if (xhr.status === 403) return "you may not do this any more.";
    if (xhr.status >= 500)
      return `the server answered ${xhr.status}, its database may be away. This page goes on by itself when it is back.`;
    return xhr.status === 200 ? "" : `the server answered ${xhr.status}.`;
  }

  function tellState(xhr) {
    const stale = document.getElementById("dashboard-stale");
    const why = problem(xhr);
    if (!why) fresh = new Date();
    stale.hidden = !why;
    const told = `Not up to date since ${fresh.toLocaleTimeString()}: ${why}`;
    const text = stale.querySelector("span");
    if (why && text.textContent !== told) text.textContent = told;
  }

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRFToken"] = millm.csrfToken();
  });

  /* What is as it was stays, with a selection or a pointer that is on it. */
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    event.detail.shouldSwap = target.innerHTML.trim() !== fragment.innerHTML.trim();
  });

  document.addEventListener("htmx:sendError", (event) => {
    if (event.target.closest("#dashboard")) tellState(event.detail.xhr);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.target.closest("#dashboard") || !event.detail.xhr.status) return; // 0: a change took its place
    tellState(event.detail.xhr);
    drawCharts();
    if (event.target.id === "dashboard-deactivate-form") document.getElementById("dashboard-profile").focus();
  });
})(window.millm);
