// Keeps the status page current, and leaves alone what a person is working in.

const SECONDS = 5;
const live = document.getElementById("status-live");

function isInUse(section) {
  if (section.contains(document.activeElement)) return true;
  if (section.querySelector("details[open]")) return true;
  return [...section.querySelectorAll("input:not([type=hidden])")].some((each) => each.value !== "");
}

async function renew() {
  try {
    const answer = await fetch("/status/live", { headers: { "X-Lobar-By-Itself": "true" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const fresh of page.querySelectorAll("section[id]")) {
      const old = document.getElementById(fresh.id);
      if (old && live.contains(old) && !isInUse(old)) old.replaceWith(document.importNode(fresh, true));
    }
  } catch {
    // the next round tries again
  }
}

async function follow() {
  if (!document.hidden) await renew();
  setTimeout(follow, 1000 * SECONDS);
}

setTimeout(follow, 1000 * SECONDS);
