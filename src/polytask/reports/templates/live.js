"use strict";
(() => {
  const root = document.documentElement;
  const main = document.getElementById("content");
  const tip = document.getElementById("tip");
  let seen = "";

  function draw(state) {
    document.querySelector(".cards").innerHTML = state.cards;
    document.querySelector("nav").innerHTML = state.nav;
    main.innerHTML = state.main;
    seen = state.version;
    root.dispatchEvent(new Event("polytask:drawn"));
  }

  function gone() {
    const shown = main.querySelector(".state");
    if (!shown) return;
    shown.className = "state gone";
    shown.textContent = document.getElementById("words").getAttribute(`data-live-gone-${root.lang}`);
    seen = "";
  }

  // What is being read stays as it is until the pointer has left it.
  async function ask() {
    if (tip.hidden) {
      try {
        const answer = await fetch(`state?seen=${encodeURIComponent(seen)}`);
        if (answer.status === 200) draw(await answer.json());
      } catch {
        gone();
      }
    }
    setTimeout(ask, 1000);
  }
  ask();
})();
