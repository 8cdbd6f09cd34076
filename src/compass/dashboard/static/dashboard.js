// Keeps a page up to date: when the server says that something has changed, the page is fetched again, and those of its
// parts that differ are replaced. Without it everything works, by loading the page anew.
"use strict";

const state = document.getElementById("live-state");
const parts = () => [...document.querySelectorAll("[data-live]")];
let due = null;
let known = null;
let last = -Infinity;
const BETWEEN = 2000; // Milliseconds between two refreshes, at least.

function say(text, lost) {
  if (!state || (!state.hidden && state.textContent === text)) return;
  state.hidden = false;
  state.textContent = text;
  state.classList.toggle("lost", lost);
}

/** Whether somebody is choosing prompts, which a new list would undo. */
function busy(part) {
  return part.querySelector("input[type=checkbox]:checked") !== null || part.querySelector("input[type=text]:focus") !== null;
}

async function refresh() {
  due = null;
  last = performance.now();
  let answer;
  try {
    answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
  } catch {
    return;
  }
  if (answer.redirected && new URL(answer.url).pathname.endsWith("/login")) location.reload();
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts()) {
    const next = fresh.getElementById(part.id);
    if (!next || next.innerHTML === part.dataset.seen || busy(part)) continue;
    const open = [...part.querySelectorAll("details[open]")].map((found) => found.id).filter(Boolean);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const again = focused && (focused.id || focused.getAttribute("href"));
    const html = next.innerHTML;
    part.replaceChildren(...next.childNodes);
    part.dataset.seen = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (again) {
      const same = focused.id ? document.getElementById(again) : part.querySelector(`a[href="${CSS.escape(again)}"]`);
      same?.focus({ preventScroll: true });
    }
  }
}

if (parts().length && "EventSource" in window) {
  for (const part of parts()) part.dataset.seen = part.innerHTML;
  const events = new EventSource("/dashboard/events");
  events.addEventListener("open", () => say("Live", false));
  events.addEventListener("error", () => say("Not connected", true));
  events.addEventListener("ended", () => location.reload());
  events.addEventListener("changed", (event) => {
    // The first one says how things stand: the page has just been loaded.
    const wait = Math.max(300, BETWEEN - (performance.now() - last));
    if (known !== null && event.data !== known && due === null) due = setTimeout(refresh, wait);
    known = event.data;
  });
  addEventListener("pagehide", () => events.close());
}
