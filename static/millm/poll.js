/* Ask the server again and again while the page is seen, and at once when it is seen again. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  /* `ask(isSeenAgain)` returns the ms until it is called again, nothing: `ms`, or false: it is not called again. */
  millm.poll = (ask, ms) => {
    let timer;
    let isAsking = false;

    async function turn(isSeenAgain) {
      clearTimeout(timer);
      if (document.hidden || isAsking) return;
      isAsking = true;
      let wait;
      try {
        wait = await ask(isSeenAgain);
      } finally {
        isAsking = false;
        if (wait === false) document.removeEventListener("visibilitychange", seen);
        else timer = setTimeout(turn, wait ?? ms, false);
      }
    }

    const seen = () => turn(true);
    document.addEventListener("visibilitychange", seen);
    timer = setTimeout(turn, ms, false);
  };
})(window.millm);
