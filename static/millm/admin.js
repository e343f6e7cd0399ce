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

  /* Unfold shows actions as links. Actions that change something (steering.admin.actions) are posted. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-post]");
    if (!link) return;
    event.preventDefault();
    millm.post(link.href);
  });

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
