"use strict";
// The theme button, and what is folded unfolds on paper: of every page.
(() => {
  const theme = document.getElementById("theme");
  const root = document.documentElement;
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
  try { // storage is refused to local files by some browsers
    const kept = localStorage.getItem("ifdkit-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* then the choice lasts as long as the page */ }
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("ifdkit-theme", root.dataset.theme); } catch { /* as above */ }
    nameTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  nameTheme();
  theme.hidden = false;

  addEventListener("beforeprint", () => { // on paper nothing unfolds
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
