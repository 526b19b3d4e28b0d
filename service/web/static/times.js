// Show each time in the viewer's zone. Without this script they are in the server's.

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const digits = (number) => String(number).padStart(2, "0");

/** Return a moment as the server writes it, YYYY-MM-DD HH:MM:SS, in the viewer's zone. */
export function clockTime(moment) {
  const date = [moment.getFullYear(), digits(moment.getMonth() + 1), digits(moment.getDate())];
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(digits);
  return `${date.join("-")} ${time.join(":")}`;
}

/** Return a moment in the form that its element asks for: the time of day, or no day if it is today. */
function written(moment, form) {
  const [day, time] = clockTime(moment).split(" ");
  const minute = time.slice(0, 5);
  if (form === "clock") return minute;
  if (form !== "short") return `${day} ${time}`;
  return clockTime(new Date()).startsWith(day) ? minute : `${day} ${minute}`;
}

function rewrite(root) {
  for (const each of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const moment = new Date(each.dateTime);
    if (!Number.isNaN(moment.getTime())) {
      each.textContent = written(moment, each.dataset.form);
    }
    each.dataset.local = "";
  }
  for (const each of root.querySelectorAll("[data-zone]")) {
    if (each.textContent !== ZONE) each.textContent = ZONE;
  }
}

rewrite(document);
// fragments come by the scripts of pages: all of them end here
new MutationObserver(() => rewrite(document)).observe(document.body, {
  childList: true,
  subtree: true,
});
