// Choose an opinion with a, d or u. The form is sent with its button only: a slip of the finger
// must not record a verdict, which nobody can take back.
const form = document.getElementById("verdict-form");
const KEYS = { a: "agree", d: "disagree", u: "unsure" };

function hasField(element) {
  return element instanceof Element && element.closest("input, select, textarea, [contenteditable]") !== null;
}

// Who disagrees says what is right; nobody else is asked.
function askWhatIsRight() {
  const disagrees = form.elements.opinion.value === "disagree";
  form.querySelector(".right-finding").hidden = !disagrees;
  form.elements.right_finding.required = disagrees;
}

function choose(opinion) {
  form.elements.opinion.value = opinion;
  askWhatIsRight();
  const next = opinion === "disagree" ? form.elements.right_finding : form.querySelector("button");
  next.focus();
  form.scrollIntoView({ block: "nearest" });
}

if (form) {
  form.addEventListener("change", askWhatIsRight);
  window.addEventListener("pageshow", askWhatIsRight); // the browser may have put back what was chosen
  askWhatIsRight();
}

document.addEventListener("keydown", (event) => {
  const opinion = KEYS[event.key];
  if (!form || !opinion || event.ctrlKey || event.metaKey || event.altKey || hasField(event.target)) return;
  event.preventDefault();
  choose(opinion);
});
