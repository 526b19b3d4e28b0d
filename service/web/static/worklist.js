// Keep the worklist up to date, and move through it with the keyboard. Without this script the page
// works as it was loaded.

const list = document.getElementById("worklist");
const state = document.getElementById("live-state");
const pause = document.getElementById("live-pause");
const keys = document.getElementById("keys");
const announcement = document.getElementById("announcement");
const search = document.getElementById("search");

const REFRESH_MILLISECONDS = 1000; // between two refreshes at least
const RETRY_MILLISECONDS = 30000; // after the server refused the stream

let events = null;
let isPaused = false;
let isOut = false; // signed out
let isRefreshing = false;
let isStale = false;
let current = null; // the id of the job whose row has the focus, or had it last

const rows = () => [...list.querySelectorAll("tr[data-job]")];
const linkOf = (row) => row.querySelector("a[href]");
const revision = () => list.querySelector("#revision")?.dataset.revision;

function show(words, kind) {
  state.textContent = words;
  state.className = kind;
}

// -- live ------------------------------------------------------------------------------------------

function connect() {
  if (events || isPaused || isOut || document.hidden) return;
  show("Connecting", "waiting");
  events = new EventSource("/events");
  events.addEventListener("open", () => show("Live", "live"));
  events.addEventListener("changed", (event) => {
    if (event.data !== revision()) refreshSoon();
  });
  events.addEventListener("signed-out", signedOut);
  events.addEventListener("error", () => {
    show("Not connected", "lost");
    if (events?.readyState !== EventSource.CLOSED) return; // the browser tries again
    disconnect();
    setTimeout(connect, RETRY_MILLISECONDS);
  });
}

function disconnect() {
  events?.close();
  events = null;
}

function signedOut() {
  isOut = true;
  disconnect();
  show("Signed out: reload the page to sign in", "lost");
}

function refreshSoon() {
  isStale = true;
  if (!isRefreshing) refresh();
}

async function refresh() {
  isRefreshing = true;
  while (isStale && !isPaused && !isOut && !document.hidden) {
    if (hasSelection()) {
      await pauseFor(REFRESH_MILLISECONDS); // a person is copying something
      continue;
    }
    isStale = false;
    await refreshOnce();
    await pauseFor(REFRESH_MILLISECONDS);
  }
  isRefreshing = false;
}

const pauseFor = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function hasSelection() {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && list.contains(selection.anchorNode);
}

async function refreshOnce() {
  try {
    // the second header: nobody asked for this, so it keeps no session from being idle
    const headers = { "HX-Request": "true", "X-Lobar-By-Itself": "true" };
    const answer = await fetch(list.dataset.address, { headers });
    if (answer.status === 401 || answer.redirected) return signedOut();
    if (!answer.ok) return show("Not connected", "lost");
    replaceRows(await answer.text());
    show("Live", "live");
  } catch {
    show("Not connected", "lost");
  }
}

function replaceRows(text) {
  const before = new Set(rows().map((row) => row.dataset.job));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const focusedHref = focused?.getAttribute("href");
  const [left, top] = [window.scrollX, window.scrollY];
  list.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  rove();
  if (focusedHref) {
    const again = [...list.querySelectorAll("a[href]")].find(
      (link) => link.getAttribute("href") === focusedHref,
    );
    again?.focus({ preventScroll: true });
  }
  window.scrollTo(left, top);
  const added = rows().filter((row) => !before.has(row.dataset.job)).length;
  if (added) announcement.textContent = `${added} new in the list`;
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  if (isPaused) {
    disconnect();
    show("Paused", "waiting");
  } else {
    connect(); // the first message has the revision, and refreshes what is old
  }
});

document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
window.addEventListener("pagehide", disconnect);
window.addEventListener("pageshow", connect);

// -- keyboard --------------------------------------------------------------------------------------

/** Leave one link of the rows in the order of the tab key. */
function rove() {
  const all = rows();
  const chosen = all.find((row) => row.dataset.job === current) ?? all[0];
  for (const row of all) linkOf(row).tabIndex = row === chosen ? 0 : -1;
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const active = all.findIndex((row) => row.contains(document.activeElement));
  const last = all.findIndex((row) => row.dataset.job === current);
  const from = active >= 0 ? active : last >= 0 ? last - step : step > 0 ? -1 : all.length;
  const place = Math.min(Math.max(from + step, 0), all.length - 1);
  linkOf(all[place]).focus();
  announcement.textContent = `Row ${place + 1} of ${all.length}`;
}

list.addEventListener("focusin", (event) => {
  const row = event.target.closest("tr[data-job]");
  if (!row) return;
  current = row.dataset.job;
  rove();
});

function openKeys() {
  if (!keys.open) keys.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  if (event.target.closest("input, select, textarea, button, [contenteditable]")) return;
  const action = {
    j: () => move(1),
    ArrowDown: () => move(1),
    k: () => move(-1),
    ArrowUp: () => move(-1),
    "/": () => search.focus(),
    "?": openKeys,
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// a click anywhere in a row opens it, unless text was selected or a link was meant
list.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-job]");
  if (row && !event.target.closest("a") && !hasSelection()) linkOf(row).click();
});

document.getElementById("keys-open").addEventListener("click", openKeys);
for (const id of ["live-pause", "keys-open"]) document.getElementById(id).hidden = false;
document.documentElement.classList.add("has-worklist-keys");
rove();
connect();
