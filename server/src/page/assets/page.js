// Follows the balance. Without this program the page shows the figures of when it was loaded.
"use strict";
(() => {
  const figures = document.querySelectorAll("[data-live]");
  if (figures.length === 0 || !("EventSource" in window)) return;
  const source = new EventSource("/events");
  let first = true;
  source.addEventListener("balance", async (event) => {
    const balance = JSON.parse(event.data);
    let changed = false;
    for (const figure of figures) {
      const text = balance[figure.dataset.live];
      if (figure.textContent !== text) {
        figure.textContent = text;
        changed = true;
      }
    }
    document.getElementById("live").hidden = false;
    // What was spent has changed too. A part of the page that has the focus stays as it is.
    const part = document.getElementById("spending");
    if (changed && !first && !part.contains(document.activeElement)) {
      const answer = await fetch("/", { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("spending");
      if (fresh) part.replaceChildren(...fresh.childNodes);
    }
    first = false;
  });
  window.addEventListener("pagehide", () => source.close());
})();
