// The figures of the metrics are folded until they are asked for.
(() => {
  function fold(opener, isOpen) {
    opener.setAttribute("aria-expanded", String(isOpen));
    document.getElementById(opener.getAttribute("aria-controls")).hidden = !isOpen;
  }
  const openers = [...document.querySelectorAll(".metric .opener")];
  for (const opener of openers) {
    fold(opener, false);
    opener.closest("tr").addEventListener("click", (event) => {
      if (event.target !== opener && getSelection().toString()) return;
      fold(opener, opener.getAttribute("aria-expanded") !== "true");
    });
  }
  addEventListener("beforeprint", () => openers.forEach((opener) => fold(opener, true)));
})();
