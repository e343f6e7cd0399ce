/* On every page of the admin. */
window.millm = window.millm || {};

(function (millm) {
  "use strict";

  millm.csrfToken = function () {
    const field = document.querySelector("[name=csrfmiddlewaretoken]");
    if (field) return field.value;
    const cookie = document.cookie.split("; ").find((one) => one.startsWith("csrftoken="));
    return cookie ? decodeURIComponent(cookie.slice("csrftoken=".length)) : "";
  };

  /* Send `fields` to `url` as a form does, and go where the answer leads. */
  millm.post = function (url, fields = {}) {
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

  /* Unfold shows its actions as links: those that change something (steering.admin_actions) are posted. */
  document.addEventListener("click", function (event) {
    const link = event.target.closest("a[data-post]");
    if (!link) return;
    event.preventDefault();
    millm.post(link.href);
  });
})(window.millm);
