/* Polls the server while the page is visible, and at once when it becomes visible again. */
window.millm = window.millm || {};

((millm) => {
  "use strict";

  /* `ask(isSeenAgain)` returns the ms until the next call; nothing stands for `ms`, false ends the polling. */
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
