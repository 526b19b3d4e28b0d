// Choose an opinion with a, d or u. The form is sent with its button only: a slip of the finger
// must not record a verdict, which nobody can take back.
const form = document.getElementById("verdict-form");
const KEYS = { a: "agree", d: "disagree", u: "unsure" };

function hasField(element) {
  return element instanceof Element && element.closest("input, select, textarea, [contenteditable]") !== null;
}

function choose(opinion) {
  form.elements.opinion.value = opinion;
  const next = opinion === "disagree" ? form.elements.right_finding : form.querySelector("button");
  next.focus();
  form.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const opinion = KEYS[event.key];
  if (!form || !opinion || event.ctrlKey || event.metaKey || event.altKey || hasField(event.target)) return;
  event.preventDefault();
  choose(opinion);
});
