/* The dashboard: parts that htmx loads every few seconds, the charts, and the choice of another profile (combobox.js). */
((millm) => {
  "use strict";

  let updatedAt = new Date(); // the time of the last update

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
        else if (!found.names.length && search) hint = "No profile that fits has this text in its name.";
        else if (!found.names.length) hint = "No other profile fits the served model and SAE.";
      } catch {
        hint = "The search failed; you can still type a name.";
      }
      const { names } = found;
      return { found: names, at: search && names.length ? Math.max(0, names.indexOf(search)) : -1, hint };
    },

    /* Take the marked profile, which the next Enter activates. A whole name, or one that no option has, is sent. */
    async enter(event) {
      if (!this.isOpen || !this.name.trim()) return; // the form is sent
      event.preventDefault();
      await this.settle();
      const marked = this.isSettled ? this.found[this.at] : undefined;
      if (marked === undefined || marked === this.name.trim()) this.$root.requestSubmit();
      else this.choose(marked);
    },

    choose(name) {
      this.name = name;
      this.closeList();
      this.$refs.name.setSelectionRange(name.length, name.length);
    },

    /* After a refusal the name stays, for another try. */
    sent({ detail }) {
      this.closeList();
      if (detail.successful && !document.getElementById("dashboard-refusal").textContent) this.name = "";
    },
  });

  document.addEventListener("alpine:init", () => Alpine.data("profileSwitch", profileSwitch));

  /* --- parts that htmx loads --- */

  function drawCharts() {
    const data = document.getElementById("dashboard-data");
    if (!data) return; // Redis is unavailable: the last figures stay
    for (const [name, series] of Object.entries(JSON.parse(data.textContent))) {
      const chart = Chart.getChart(document.querySelector(`[data-chart="${name}"] canvas`));
      if (!chart) continue; // Unfold draws the chart when the page has loaded
      chart.data.datasets.forEach((dataset, index) => (dataset.data = series[index]));
      chart.update("none");
    }
  }

  /* The reason why the page is not up to date; empty if it is. */
  function problem(xhr) {
    if (!xhr.status) return "the server does not answer. This page continues by itself when it does.";
    if (!new URL(xhr.responseURL).pathname.includes("/dashboard/")) return "you are logged out.";
    if (xhr.status === 403) return "you no longer have the permission.";
    if (xhr.status >= 500)
      return `the server answered ${xhr.status}; its database may be unavailable. This page continues by itself.`;
    return xhr.status === 200 ? "" : `the server answered ${xhr.status}.`;
  }

  function showState(xhr) {
    const stale = document.getElementById("dashboard-stale");
    const why = problem(xhr);
    if (!why) updatedAt = new Date();
    stale.hidden = !why;
    const message = `Not up to date since ${millm.time(updatedAt)} UTC: ${why}`;
    const text = stale.querySelector("span");
    if (why && text.textContent !== message) text.textContent = message;
  }

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRFToken"] = millm.csrfToken();
  });

  /* Unchanged parts are not replaced, so that they keep the selection and the pointer. */
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    event.detail.shouldSwap = target.innerHTML.trim() !== fragment.innerHTML.trim();
  });

  document.addEventListener("htmx:sendError", (event) => {
    if (event.target.closest("#dashboard")) showState(event.detail.xhr);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.target.closest("#dashboard") || !event.detail.xhr.status) return; // 0: htmx dropped the request for a change
    showState(event.detail.xhr);
    drawCharts();
    if (event.target.id === "dashboard-deactivate-form") document.getElementById("dashboard-profile").focus();
  });
})(window.millm);
