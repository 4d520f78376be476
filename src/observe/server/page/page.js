// Refreshes the content. Without this script, the page looks the same and is reloaded every 30 s.
"use strict";
const refresh = async () => {
  if (document.hidden || document.activeElement?.matches("main input, main select, main button")) return;
  try {
    const answer = await fetch(location.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    const main = document.querySelector("main");
    const open = [...main.querySelectorAll("details")].map((details) => details.open);
    [...fresh.querySelectorAll("details")].forEach((details, place) => { details.open = open[place] ?? false; });
    if (main.innerHTML !== fresh.innerHTML) main.replaceWith(fresh);
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
};
setInterval(refresh, 3000);
