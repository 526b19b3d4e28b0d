// Follow the state of a job that is in flight, and show the page anew when it has changed. What a
// person has begun to write or to look at stays: then a line offers the new page.
const job = document.getElementById("job");
const MILLISECONDS = 2000;

function isInUse() {
  const touched = [...document.querySelectorAll("main form")].some((form) => form.dataset.touched);
  return touched || document.activeElement !== document.body || job.dataset.used === "true";
}

function offer(words) {
  const line = document.getElementById("changed");
  line.querySelector("span").textContent = words;
  line.hidden = false;
}

async function follow() {
  const answer = await fetch(job.dataset.address, { headers: { "X-Lobar-By-Itself": "true" } }).catch(() => null);
  if (answer && !answer.ok) return; // signed out, or the job is gone: the next click says so
  const now = answer ? await answer.json() : null;
  if (!now || now.state === job.dataset.state) {
    setTimeout(follow, MILLISECONDS);
  } else if (isInUse()) {
    offer(now.words);
  } else {
    location.reload();
  }
}

// What was done is said once: a reload or a bookmark does not say it again.
if (new URLSearchParams(location.search).has("done")) history.replaceState(null, "", location.pathname + location.hash);

if (job && job.dataset.address) {
  document.addEventListener("input", (event) => { if (event.target.form) event.target.form.dataset.touched = "true"; });
  for (const use of ["pointerdown", "wheel", "keydown"]) {
    document.addEventListener(use, () => { job.dataset.used = "true"; }, { passive: true });
  }
  setTimeout(follow, MILLISECONDS);
}
