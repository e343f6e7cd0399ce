/* Updates the rows of which a load or a download is in progress (inference.admin.progress).
 *
 * While the page has elements with data-in-progress="<id>", the script requests these rows from data-progress. Elements
 * with data-live in the answer replace those of the page. Only differences are changed: selection, focus and the
 * animation of a bar are kept. Without such elements, the script sends no request.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const SOON_MS = 1000;
  const LATER_MS = 5000;

  function update(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    const isSame = old.nodeName === fresh.nodeName && old.childNodes.length === fresh.childNodes.length;
    if (!isSame) {
      old.replaceWith(fresh);
    } else if (old.nodeType === Node.ELEMENT_NODE) {
      for (const { name } of [...old.attributes])
        if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name); // what a user opened stays open
      for (const { name, value } of fresh.attributes)
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      const children = [...fresh.childNodes];
      [...old.childNodes].forEach((child, at) => update(child, children[at]));
    } else {
      old.nodeValue = fresh.nodeValue;
    }
  }

  function announcements(root) {
    return [...root.querySelectorAll("[data-announcement]")].map((element) => element.dataset.announcement);
  }

  const announcer = document.createElement("p");
  announcer.className = "for-screen-readers";
  announcer.setAttribute("role", "status");

  /* Returns true if something changed. */
  function show(html) {
    const answer = new DOMParser().parseFromString(html, "text/html");
    const before = new Set(announcements(document));
    let changed = false;
    for (const fresh of answer.querySelectorAll("[data-live]")) {
      const old = document.querySelector(`[data-live="${CSS.escape(fresh.dataset.live)}"]`);
      if (!old || old.isEqualNode(fresh)) continue;
      changed = true;
      update(old, fresh);
    }
    const news = announcements(document).filter((announcement) => !before.has(announcement));
    if (news.length) announcer.textContent = news.join(". ");
    return changed;
  }

  let wait = SOON_MS;

  async function ask() {
    const rows = [...document.querySelectorAll("[data-in-progress]")];
    if (!rows.length) return false;
    const url = new URL(rows[0].dataset.progress, location.href);
    rows.forEach((row) => url.searchParams.append("id", row.dataset.inProgress));
    try {
      const answer = await fetch(url);
      if (answer.redirected || answer.status === 403) {
        announcer.className = "progress-lost";
        announcer.textContent = "Your session has ended: reload the page to see the progress.";
        return false;
      }
      wait = answer.ok && show(await answer.text()) ? SOON_MS : Math.min(wait * 1.3, LATER_MS);
    } catch {
      wait = LATER_MS; // the server is unavailable, and may be available again later
    }
    return wait;
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector("#content").prepend(announcer);
    millm.poll(ask, SOON_MS);
  });
})(window.millm);
