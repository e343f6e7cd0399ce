/* The tokens of an answer, shaded by their probability. They are no Alpine template, which takes milliseconds for each.
 * One of them is in the order of the Tab key; arrow keys move between them. The token under the pointer or with the
 * focus has a tooltip with the alternatives.
 */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  const NEXT = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 };
  const NAMES = { " ": "space", "\n": "new line", "\t": "tab" };
  const GAP_PX = 4;

  const painted = new WeakMap(); // by element: the tokens that it shows

  const share = (logprob) => {
    const percent = 100 * Math.exp(logprob);
    return percent > 0 && percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(1)} %`;
  };

  const name = (text) => text.trim() || NAMES[text] || "white space";

  function element(token) {
    const [text, logprob] = token;
    const made = document.createElement("span");
    Object.assign(made, { className: "playground-token", textContent: text, tabIndex: -1, token });
    made.setAttribute("role", "button");
    made.setAttribute("aria-label", `${name(text)}, ${share(logprob)}`);
    made.style.setProperty("--doubt", (1 - Math.exp(logprob)).toFixed(3));
    return made;
  }

  millm.forgetTokens = (container) => {
    painted.delete(container);
    delete container.dataset.cut;
    container.removeAttribute("role");
    container.removeAttribute("aria-label");
  };

  /* Add the tokens that are new; all if they are another answer's. */
  millm.paintTokens = (container, tokens) => {
    const { length } = tokens; // an effect runs again when it grows
    const own = Alpine.raw(tokens);
    if (painted.get(container) !== own) {
      container.replaceChildren();
      container.setAttribute("role", "group");
      container.setAttribute("aria-label", "Tokens: arrow keys move between them");
      painted.set(container, own);
    }
    const fresh = own.slice(container.childElementCount, length).map((one) => element(Alpine.raw(one)));
    if (!container.childElementCount && fresh.length) fresh[0].tabIndex = 0;
    container.append(...fresh);
  };

  const tokenOf = (target) => target.closest?.(".playground-token");

  millm.playgroundTokens = () => {
    let pointed = null; // the element of the tooltip's token

    return {
      tip: null, // {name, share, logprob, alternatives: [{name, share, isChosen}]}

      async showTip({ target }) {
        const one = tokenOf(target);
        if (!one || one === pointed) return;
        this.hideTip();
        pointed = one;
        pointed.setAttribute("aria-describedby", "token-tip");
        const [text, logprob, alternatives] = one.token;
        this.tip = {
          name: JSON.stringify(text),
          share: share(logprob),
          logprob: logprob > -0.0005 ? "0" : logprob.toFixed(3),
          alternatives: alternatives.map(([other, own]) => ({
            name: JSON.stringify(other),
            share: share(own),
            isChosen: other === text,
          })),
        };
        await this.$nextTick();
        this.placeTip();
      },

      /* Below its token, or above it where there is more room. */
      placeTip() {
        if (!pointed || !this.tip) return;
        const { tip } = this.$refs;
        const { left, top, bottom } = pointed.getClientRects()[0];
        const isAbove = bottom > 0.6 * innerHeight;
        const wanted = {
          left: Math.max(GAP_PX, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - GAP_PX)),
          top: isAbove ? top - GAP_PX - tip.offsetHeight : bottom + GAP_PX,
        };
        Object.assign(tip.style, { left: `${wanted.left}px`, top: `${wanted.top}px` });
        const is = tip.getBoundingClientRect(); // elsewhere, where a container has coordinates of its own
        tip.style.left = `${2 * wanted.left - is.left}px`;
        tip.style.top = `${2 * wanted.top - is.top}px`;
      },

      hideTip() {
        pointed?.removeAttribute("aria-describedby");
        pointed = null;
        this.tip = null;
      },

      /* The pointer leaves the tokens: the tooltip stays while a token has the focus. */
      leaveTokens() {
        const focused = tokenOf(document.activeElement);
        this.hideTip();
        if (focused?.matches(":focus-visible")) this.showTip({ target: focused });
      },

      moveToken(event) {
        const one = tokenOf(event.target);
        if (!one || !(event.key in NEXT || event.key === "Home" || event.key === "End")) return;
        event.preventDefault();
        const all = [...one.parentElement.children];
        const last = all.length - 1;
        const wanted = { Home: 0, End: last }[event.key] ?? all.indexOf(one) + NEXT[event.key];
        const next = all[Math.min(Math.max(wanted, 0), last)];
        one.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      },
    };
  };
})(window.millm);
