// Sends each file in a request of its own, and shows what comes of it in the page.

const AT_ONCE = 2;
const MOST_FILES = 2000; // of one drop
const MOST_FOLLOWED = 50; // jobs in one request
const MOST_TRIES = 5; // where the server says when to try again
const SYSTEM_FILE = /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*)$/i;

const form = document.getElementById("upload-form");
const section = document.getElementById("transfers");
const list = section.querySelector("ol");
const summary = document.getElementById("transfers-summary");
const maximumBytes = Number(form.dataset.maximumBytes);
const transfers = [];
let polling = null;

const WORDS = {
  0: "The connection broke off. Check the network, and try again.",
  401: "You are not signed in any more. Sign in on another page, and try again.",
  403: "This may not be sent from here. Reload the page, and try again.",
  413: `It is larger than the ${form.dataset.maximumSize} that are taken. Send it uncompressed by itself, or over DICOM.`,
  503: "Lobar is busy or its ledger does not answer. Try again in a moment.",
};

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function button(text, label, onClick) {
  const made = element("button", "quiet", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", onClick);
  return made;
}

class Transfer {
  constructor(file, name) {
    this.file = file;
    this.name = name;
    this.tries = 0;
    this.item = element("li", "transfer");
    this.item.append(element("p", "file", name));
    this.bar = element("progress");
    this.bar.max = 1;
    this.bar.value = 0;
    this.bar.setAttribute("aria-label", `Sent of ${name}`);
    this.words = element("p", "sentence");
    this.results = element("div", "results");
    this.cancelButton = button("Cancel", `Cancel ${name}`, () => this.cancel());
    this.retryButton = button("Try again", `Try ${name} again`, () => this.queue());
    this.item.append(this.bar, this.words, this.results, this.cancelButton, this.retryButton);
    list.append(this.item);
    if (file.size > maximumBytes) this.end("refused", WORDS[413]);
    else this.queue();
  }

  queue() {
    this.state = "queued";
    this.results.replaceChildren();
    this.show("Waiting to be sent.");
    next();
  }

  show(words) {
    this.words.textContent = words;
    this.item.dataset.state = this.state;
    const open = this.isOpen();
    this.bar.hidden = this.state !== "sending";
    this.cancelButton.hidden = !open;
    this.retryButton.hidden = !["failed", "cancelled"].includes(this.state);
    summarise();
  }

  isOpen() {
    return ["queued", "sending", "paused"].includes(this.state);
  }

  send() {
    this.state = "sending";
    this.tries += 1;
    this.bar.value = 0;
    this.request = new XMLHttpRequest();
    this.request.open("POST", "/upload");
    this.request.setRequestHeader("X-Lobar-Script", "1");
    if (form.dataset.csrfToken) {
      this.request.setRequestHeader("X-CSRF-Token", form.dataset.csrfToken);
    }
    this.request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) this.bar.value = event.loaded / event.total;
      this.show(`Sending: ${Math.round(100 * this.bar.value)} %`);
    });
    this.request.upload.addEventListener("load", () => this.show("Sent. It is being checked."));
    this.request.addEventListener("load", () => this.answered());
    this.request.addEventListener("error", () => this.end("failed", WORDS[0]));
    const body = new FormData();
    body.append("files", this.file, this.name);
    this.show("Sending: 0 %");
    this.request.send(body);
  }

  answered() {
    const page = new DOMParser().parseFromString(this.request.responseText, "text/html");
    const outcomes = page.querySelector("ul.outcomes");
    if (this.request.status !== 200 || !outcomes) {
      const words = WORDS[this.request.status];
      const status = this.request.status;
      this.end("failed", words || `Lobar answered ${status}. Try again, or tell the person who runs it.`);
      return;
    }
    const waiting = outcomes.querySelector("[data-retry-after]");
    if (waiting && outcomes.children.length === 1 && this.tries < MOST_TRIES) {
      this.pause(Number(waiting.dataset.retryAfter));
      return;
    }
    if (outcomes.children.length === 1) outcomes.querySelector(".file")?.remove();
    this.results.replaceChildren(document.adoptNode(outcomes));
    this.end(waiting ? "failed" : "done", "");
    follow();
  }

  pause(seconds) {
    this.state = "paused";
    this.show(`Lobar is busy with other pictures; it is sent again in ${seconds} s.`);
    this.timer = setTimeout(() => this.queue(), 1000 * seconds);
  }

  cancel() {
    clearTimeout(this.timer);
    const wasSending = this.state === "sending";
    this.end("cancelled", "Cancelled. Nothing of it was kept, unless it had been sent completely.");
    if (wasSending) this.request.abort();
  }

  end(state, words) {
    this.state = state;
    this.show(words);
    next();
  }
}

function next() {
  const sending = transfers.filter((each) => each.state === "sending").length;
  transfers
    .filter((each) => each.state === "queued")
    .slice(0, Math.max(0, AT_ONCE - sending))
    .forEach((each) => each.send());
}

function summarise() {
  const ended = transfers.filter((each) => !each.isOpen()).length;
  const refused = list.querySelectorAll("[data-state=refused], [data-state=failed], .tone-alarm").length;
  const unread = list.querySelectorAll(".reading[data-final=false]").length;
  const words = [`${ended} of ${transfers.length} files sent`];
  if (unread) words.push(`${unread} still under way`);
  if (refused) words.push(`${refused} not taken or not read`);
  const text = `${words.join(", ")}.`;
  if (summary.textContent !== text) summary.textContent = text;
}

// Poll while any job is not final: each second at first, then every three.
function follow() {
  if (polling === null) polling = setTimeout(() => poll(1), 300);
}

async function poll(round) {
  const open = [...list.querySelectorAll(".reading[data-job][data-final=false]")];
  if (!open.length) {
    polling = null;
    return;
  }
  const all = [...new Set(open.map((each) => each.dataset.job))];
  const first = (round * MOST_FOLLOWED) % all.length; // each has its turn
  const ids = [...all.slice(first), ...all.slice(0, first)].slice(0, MOST_FOLLOWED);
  try {
    const query = ids.map((id) => `job=${encodeURIComponent(id)}`).join("&");
    const answer = await fetch(`/upload/results?${query}`, { headers: { "X-Lobar-By-Itself": "true" } });
    if (answer.status === 401) {
      summary.textContent = WORDS[401];
      polling = null;
      return;
    }
    if (answer.ok) replace(open, await answer.text());
  } catch {
    // the next round tries again
  }
  summarise();
  polling = setTimeout(() => poll(round + 1), document.hidden || round > 20 ? 3000 : 1000);
}

function replace(open, text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const fresh of page.querySelectorAll(".reading[data-job]")) {
    for (const old of open.filter((each) => each.dataset.job === fresh.dataset.job)) {
      if (old.textContent.trim() !== fresh.textContent.trim()) {
        old.replaceWith(document.importNode(fresh, true));
      }
    }
  }
}

function add(files) {
  const wanted = files.filter(({ name }) => !SYSTEM_FILE.test(name));
  section.hidden = section.hidden && !wanted.length;
  for (const { file, name } of wanted.slice(0, MOST_FILES)) {
    transfers.push(new Transfer(file, name));
  }
  if (wanted.length > MOST_FILES) {
    const left = wanted.length - MOST_FILES;
    list.append(element("li", "sentence", `${left} more files were left out: send them after these.`));
  }
  next();
  summarise();
}

function chosen(input) {
  const files = [...input.files];
  input.value = "";
  add(files.map((file) => ({ file, name: file.webkitRelativePath || file.name })));
}

async function dropped(transfer) {
  const entries = [...transfer.items]
    .filter((each) => each.kind === "file")
    .map((each) => each.webkitGetAsEntry?.() ?? null);
  if (entries.includes(null)) {
    add([...transfer.files].map((file) => ({ file, name: file.name })));
    return;
  }
  const found = [];
  for (const entry of entries) await walk(entry, found);
  add(found);
}

async function walk(entry, found) {
  if (found.length > MOST_FILES) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    if (file) found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}

function prepare() {
  const input = document.getElementById("files");
  const folder = document.getElementById("folder");
  form.querySelector("button").hidden = true;
  form.querySelector(".invitation").hidden = false;
  form.querySelectorAll(".plain").forEach((each) => each.remove());
  form.querySelector(".folder").hidden = !("webkitdirectory" in folder);
  input.addEventListener("change", () => chosen(input));
  folder.addEventListener("change", () => chosen(folder));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) form.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer) dropped(event.dataTransfer);
  });
  window.addEventListener("beforeunload", (event) => {
    if (transfers.some((each) => each.isOpen())) event.preventDefault();
  });
}

prepare();
