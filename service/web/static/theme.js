// The theme of the pages: dark unless the viewer chose another. Without this script the style
// sheet follows the device.
"use strict";

(() => {
  const WORDS = { dark: "Dark", light: "Light", device: "As the device" };
  const KEY = "lobar-theme";

  const chosen = () => {
    try {
      const kept = localStorage.getItem(KEY);
      return kept in WORDS ? kept : "dark";
    } catch {
      return "dark"; // a browser that keeps nothing
    }
  };

  const show = (theme) => {
    const root = document.documentElement;
    if (theme === "device") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };

  const label = (button, theme) => {
    button.textContent = `Theme: ${WORDS[theme].toLowerCase()}`;
    button.setAttribute("aria-label", `Theme: ${WORDS[theme].toLowerCase()}, press for the next`);
  };

  const choose = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // it holds for this page only
    }
    show(theme);
  };

  let theme = chosen();
  show(theme);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const names = Object.keys(WORDS);
    label(button, theme);
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = names[(names.indexOf(theme) + 1) % names.length];
      choose(theme);
      label(button, theme);
    });
  });
})();
