// Numbers under the pointer: whatever has data-tip. They follow the focus too.
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;
  function show(target, x, y) {
    shown = target;
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 8))}px`;
    tip.style.top = `${y - height - 12 < 0 ? y + 18 : y - height - 12}px`;
  }
  function hide() {
    shown = null;
    tip.hidden = true;
  }
  addEventListener("pointermove", (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (target) show(target, event.clientX, event.clientY);
    else if (shown) hide();
  });
  addEventListener("scroll", hide, { capture: true, passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
