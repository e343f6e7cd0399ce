/* Shared by all pages of the admin. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  millm.csrfToken = () => {
    // The cookie first: after a login in another tab the cookie is new, the page's field is not.
    const cookie = document.cookie.split("; ").find((one) => one.startsWith("csrftoken="));
    if (cookie) return decodeURIComponent(cookie.slice("csrftoken=".length));
    const field = document.querySelector("[name=csrfmiddlewaretoken]");
    return field ? field.value : "";
  };

  /* A time as the pages of the server write it: 28 Nov 2026, 21:43:09, in UTC. */
  millm.time = (text) => {
    const parts = new Date(text).toUTCString().split(" "); // Sat, 28 Nov 2026 21:43:09 GMT
    return `${Number(parts[1])} ${parts[2]} ${parts[3]}, ${parts[4]}`;
  };

  /* Post `fields` to `url` as a form, and follow the redirect. */
  millm.post = (url, fields = {}) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = url;
    for (const [name, value] of Object.entries({ ...fields, csrfmiddlewaretoken: millm.csrfToken() })) {
      const input = document.createElement("input");
      input.type = "hidden";
      input.name = name;
      input.value = value;
      form.append(input);
    }
    document.body.append(form);
    form.submit();
  };

  /* The link that skips the navigation. It leaves the address as it is: Unfold takes its end for the name of a tab. */
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".skip-link")) return;
    event.preventDefault();
    document.getElementById("content").focus();
  });

  /* Unfold shows actions as links. Actions that change something (steering.admin.actions) are posted. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-post]");
    if (!link) return;
    event.preventDefault();
    millm.post(link.href);
  });

  /* Place a tooltip below its badge, or above it if there is more room: a sticky footer would hide it. */
  function placeTooltip(badge, tip) {
    const { top, bottom } = badge.getBoundingClientRect();
    const isAbove = bottom > 0.6 * window.innerHeight;
    const wanted = isAbove ? top - 4 - tip.offsetHeight : bottom + 4;
    tip.style.top = `${wanted}px`;
    const off = tip.getBoundingClientRect().top - wanted; // where a container has coordinates of its own
    tip.style.top = `${wanted - off}px`;
  }

  for (const opening of ["pointerover", "focusin"]) {
    document.addEventListener(opening, (event) => {
      const badge = event.target.closest?.(".millm-tip");
      const tip = badge?.querySelector("[role=tooltip]");
      if (tip) requestAnimationFrame(() => tip.offsetHeight && placeTooltip(badge, tip));
    });
  }

  /* The menu of a row (unfold/helpers/actions_row.html) opens below its button, or above it if there is more room. */
  document.addEventListener(
    "beforetoggle",
    (event) => {
      const menu = event.target;
      if (event.newState !== "open" || !menu.matches("[data-menu]")) return;
      const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`).getBoundingClientRect();
      const above = button.bottom > 0.6 * window.innerHeight;
      menu.style.top = above ? "auto" : `${button.bottom + 4}px`;
      menu.style.bottom = above ? `${window.innerHeight - button.top + 4}px` : "auto";
      menu.style.right = `${document.documentElement.clientWidth - button.right}px`;
    },
    true,
  );
})(window.millm);
