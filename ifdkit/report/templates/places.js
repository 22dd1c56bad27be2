// Search in the rows that an audit lists: what does not match is hidden, and folds open.
(() => {
  const search = document.getElementById("place-search");
  if (!search) return;
  const items = [...document.querySelectorAll(".places li, .phrases li")];
  const textOf = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  const folds = [...document.querySelectorAll("details")].filter(
    (fold) => fold.querySelector(".places li, .phrases li"));
  const opened = new Set();

  search.addEventListener("input", () => {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const item of items) {
      item.hidden = !words.every((word) => textOf.get(item).includes(word));
      n += !item.hidden;
    }
    for (const fold of folds) {
      const matches = words.length && fold.querySelector("li:not([hidden])");
      if (matches && !fold.open) {
        fold.open = true;
        opened.add(fold);
      } else if (!matches && opened.delete(fold)) fold.open = false;
    }
    document.getElementById("place-count").textContent =
      words.length ? `${n} of ${items.length} listed rows match` : "";
  });
  search.form.addEventListener("submit", (event) => event.preventDefault());
  search.form.hidden = false;
})();
