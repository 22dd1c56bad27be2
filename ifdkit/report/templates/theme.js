"use strict";
// For every page: the theme button, and folds that open for printing.
(() => {
  const theme = document.getElementById("theme");
  const root = document.documentElement;
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
  try { // some browsers refuse storage to local files
    const kept = localStorage.getItem("ifdkit-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* the choice lasts as long as the page */ }
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("ifdkit-theme", root.dataset.theme); } catch { /* as above */ }
    nameTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  nameTheme();
  theme.hidden = false;

  addEventListener("beforeprint", () => { // a reader of paper cannot open them
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
