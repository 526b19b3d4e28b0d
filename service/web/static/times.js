// Show each time in the viewer's zone. Without this script they are in the server's.

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const digits = (number) => String(number).padStart(2, "0");

/** Return a moment as the server writes it, YYYY-MM-DD HH:MM:SS, in the viewer's zone. */
export function clockTime(moment) {
  const date = [moment.getFullYear(), digits(moment.getMonth() + 1), digits(moment.getDate())];
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(digits);
  return `${date.join("-")} ${time.join(":")}`;
}

function rewrite(root) {
  for (const each of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const moment = new Date(each.dateTime);
    if (!Number.isNaN(moment.getTime())) each.textContent = clockTime(moment);
    each.dataset.local = "";
  }
  for (const each of root.querySelectorAll("[data-zone]")) {
    if (each.textContent !== ZONE) each.textContent = ZONE;
  }
}

rewrite(document);
// fragments come by htmx, by server-sent events and by scripts of pages: all of them end here
new MutationObserver(() => rewrite(document)).observe(document.body, {
  childList: true,
  subtree: true,
});
