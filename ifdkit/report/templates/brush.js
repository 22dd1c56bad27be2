// A rectangle drawn on a plot of IFD against length chooses the rows inside it. The event "brush"
// has its ranges; "unbrush" removes the rectangle. Touch is left to scrolling.
(() => {
  let area = null;

  function at(svg, event) { // pixels of the figure
    const point = new DOMPoint(event.clientX, event.clientY);
    return point.matrixTransform(svg.getScreenCTM().inverse());
  }

  function within(value, low, size) {
    return Math.min(Math.max(value, low), low + size);
  }

  function rangesOf(plot, a, b) {
    const [left, top, width, height] = plot.box;
    const share = (value, low, size) => (within(value, low, size) - low) / size;
    const tokens = [a.x, b.x].map((x) => plot.tokens[0]
      * (plot.tokens[1] / plot.tokens[0]) ** share(x, left, width));
    const values = [a.y, b.y].map((y) => plot.values[1]
      - (plot.values[1] - plot.values[0]) * share(y, top, height));
    const ascending = (pair) => pair.sort((x, y) => x - y);
    return { side: plot.side, tokens: ascending(tokens), values: ascending(values) };
  }

  function clear() {
    area?.remove();
    area = null;
  }

  for (const svg of document.querySelectorAll("svg[data-brush]")) {
    const plot = JSON.parse(svg.dataset.brush);
    const [left, top, width, height] = plot.box;
    let start = null;
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) return;
      clear();
      start = at(svg, event);
      area = document.createElementNS(svg.namespaceURI, "rect");
      area.setAttribute("class", "brush-area");
      svg.append(area);
      svg.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    svg.addEventListener("pointermove", (event) => {
      if (!start) return;
      const end = at(svg, event);
      const xs = [start.x, end.x].map((x) => within(x, left, width)).sort((x, y) => x - y);
      const ys = [start.y, end.y].map((y) => within(y, top, height)).sort((x, y) => x - y);
      const sizes = { x: xs[0], y: ys[0], width: xs[1] - xs[0], height: ys[1] - ys[0] };
      for (const [name, value] of Object.entries(sizes)) area.setAttribute(name, value);
    });
    svg.addEventListener("pointerup", (event) => {
      if (!start) return;
      const end = at(svg, event);
      const isClick = Math.abs(end.x - start.x) < 4 && Math.abs(end.y - start.y) < 4;
      const detail = isClick ? null : rangesOf(plot, start, end);
      start = null;
      if (isClick) clear();
      document.dispatchEvent(new CustomEvent("brush", { detail }));
    });
  }
  document.addEventListener("unbrush", clear);
})();
