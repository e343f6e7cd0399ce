/* The tokens of a text as buttons, a part of explore_text.js. They are no Alpine template, which takes milliseconds for
 * each token. One of them is in the order of the Tab key; arrow keys move between them.
 * https://www.w3.org/WAI/ARIA/apg/patterns/toolbar/
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const NEXT = { ArrowRight: 1, ArrowLeft: -1 };
  const SHOWN = { "\n": "⏎", "\t": "⇥", "\r": "␍" };

  const shown = (text) => text.replace(/[\n\t\r]/g, (character) => SHOWN[character]) || "…"; // "…": a part of a character

  function button({ position, text, special }) {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", className: "explore-token", tabIndex: -1, textContent: shown(text) });
    made.setAttribute("aria-pressed", "false");
    made.dataset.position = position;
    if (special) made.dataset.special = "";
    return made;
  }

  millm.tokenView = () => {
    let buttons = [];
    let current = null;

    function mark(one, isCurrent) {
      one?.setAttribute("aria-pressed", String(isCurrent));
      if (one) one.tabIndex = isCurrent ? 0 : -1;
    }

    return {
      drawTokens(container, tokens) {
        buttons = tokens.map(button);
        const breaks = ({ text }) => (text.includes("\n") ? [document.createElement("br")] : []);
        container.replaceChildren(...tokens.flatMap((token, position) => [buttons[position], ...breaks(token)]));
      },

      /* Two Alpine effects, which run again when the activations or the chosen token change. */
      paintTokens() {
        const { values } = this;
        const tokens = this.tokens();
        const maximum = this.maximum();
        buttons.forEach((one, position) => {
          const value = values[position] ?? 0;
          const name = tokens[position].special ? "special token" : millm.shortNumber(value);
          one.style.setProperty("--heat", maximum ? value / maximum : 0);
          one.title = name;
          one.setAttribute("aria-label", `${shown(tokens[position].text).trim() || "space"}, ${name}`);
        });
      },

      markToken() {
        const next = this.tokens().length ? buttons[this.at] : null;
        mark(current, false);
        mark(next, true);
        current = next;
      },

      pick({ target }) {
        const picked = target.closest("[data-position]");
        if (picked) this.at = Number(picked.dataset.position);
      },

      keyed(event) {
        const last = buttons.length - 1;
        const wanted = { Home: 0, End: last }[event.key] ?? this.at + (NEXT[event.key] ?? 0);
        if (!(event.key in NEXT || event.key === "Home" || event.key === "End")) return;
        event.preventDefault();
        this.at = Math.min(Math.max(wanted, 0), last);
        buttons[this.at].focus();
      },
    };
  };
})(window.millm);
