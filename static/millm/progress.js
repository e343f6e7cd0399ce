/* Rows with which something is under way move by themselves (inference.admin.progress).
 *
 * While an element with data-under-way="<id>" is on the page, its data-progress is asked for these rows; the answer's
 * elements with data-live take the place of those here. Only what differs is touched: selection, focus and the movement
 * of a bar are kept. When nothing is under way any more, nothing is asked.
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
      for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
      for (const { name, value } of fresh.attributes)
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      const children = [...fresh.childNodes];
      [...old.childNodes].forEach((child, at) => update(child, children[at]));
    } else {
      old.nodeValue = fresh.nodeValue;
    }
  }

  function told(root) {
    return [...root.querySelectorAll("[data-told]")].map((one) => one.dataset.told);
  }

  const announcer = document.createElement("p");
  announcer.className = "for-screen-readers";
  announcer.setAttribute("role", "status");

  /* Whether something changed. */
  function show(html) {
    const answer = new DOMParser().parseFromString(html, "text/html");
    const before = new Set(told(document));
    let changed = false;
    for (const fresh of answer.querySelectorAll("[data-live]")) {
      const old = document.querySelector(`[data-live="${CSS.escape(fresh.dataset.live)}"]`);
      if (!old || old.isEqualNode(fresh)) continue;
      changed = true;
      update(old, fresh);
    }
    const news = told(document).filter((one) => !before.has(one));
    if (news.length) announcer.textContent = news.join(". ");
    return changed;
  }

  let wait = SOON_MS;

  async function ask() {
    const underWay = [...document.querySelectorAll("[data-under-way]")];
    if (!underWay.length) return false;
    const url = new URL(underWay[0].dataset.progress, location.href);
    underWay.forEach((one) => url.searchParams.append("id", one.dataset.underWay));
    try {
      const answer = await fetch(url);
      if (answer.redirected || answer.status === 403) {
        announcer.className = "progress-lost";
        announcer.textContent = "Your session has ended: reload the page to see how far it is.";
        return false;
      }
      wait = answer.ok && show(await answer.text()) ? SOON_MS : Math.min(wait * 1.3, LATER_MS);
    } catch {
      wait = LATER_MS; // the server is away: it may come back
    }
    return wait;
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector("#content").prepend(announcer);
    millm.poll(ask, SOON_MS);
  });
})(window.millm);
