// The map: a point for each row, an arrow for each pair. Points are written into the pixels of the
// canvas, so that 100,000 of them take a few milliseconds. Shift and dragging, or the keys, filter.

import { RangeKeys } from "./keys.js";
import { byId, count, element, number } from "./text.js";

const ARROWS = 3000; // more of them than this are drawn as points alone
const NEAR = 10; // pixels from the pointer to the point that it means
const CLASSES = ["#4477aa", "#ee6677", "#228833", "#b8a000", "#66ccee", "#aa3377", "#e07b39", "#7a5195", "#5f9ea0", "#999999"];
const RAMP = { light: [[43, 92, 150], [190, 190, 190], [165, 74, 6]], dark: [[134, 183, 236], [90, 95, 104], [240, 164, 97]] };

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function ramp(stops, share) {
  const at = share * 2, i = at < 1 ? 0 : 1, t = at - i;
  return stops[i].map((x, k) => Math.round(x + (stops[i + 1][k] - x) * t));
}

export class MapView extends RangeKeys {
  constructor(acts) {
    const canvas = byId("map");
    super(canvas, (ranges) => acts.brushed(ranges, this.columns), true);
    Object.assign(this, { acts, data: null, isShown: false, asked: 0, columns: [], zoom: { k: 1, x: 0, y: 0 } });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.data) return;
      canvas.setPointerCapture(event.pointerId);
      this.from = { x: event.offsetX, y: event.offsetY, zoom: { ...this.zoom }, isBox: event.shiftKey };
      this.isMoved = false;
    });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
    canvas.addEventListener("dblclick", () => this.reset());
    byId("map-in").addEventListener("click", () => this.scale(1.5));
    byId("map-out").addEventListener("click", () => this.scale(1 / 1.5));
    byId("map-reset").addEventListener("click", () => this.reset());
    byId("map-colour").addEventListener("change", () => this.refresh());
  }

  offer(state) {
    const select = byId("map-colour");
    const names = state.columns.filter((one) => !one.name.startsWith("map_") && (one.is_number || state.facets.some((facet) => facet.name === one.name)));
    if (!state.has_map || names.length === select.options.length) return;
    const chosen = select.value;
    select.replaceChildren(...names.map((one) => element("option", { value: one.name }, one.label)));
    select.value = names.some((one) => one.name === chosen) ? chosen
      : ["ifd_change", "ifd", "topic"].find((name) => names.some((one) => one.name === name)) ?? names[0]?.name;
    this.columns = state.kind === "comparison" ? ["map_x_after", "map_y_after"] : ["map_x", "map_y"];
  }

  show(isShown) {
    this.isShown = isShown;
    byId("map-view").hidden = !isShown;
    if (isShown) this.refresh();
  }

  async refresh() {
    if (!this.isShown) return;
    this.asked += 1;
    const mine = this.asked, q = this.acts.query();
    const [bytes, topics] = await Promise.all([
      fetch(`/api/map?${new URLSearchParams({ q, colour: byId("map-colour").value })}`).then((one) => (one.ok ? one.arrayBuffer() : null)),
      fetch(`/api/topics?${new URLSearchParams({ q })}`).then((one) => (one.ok ? one.json() : [])),
    ]);
    if (mine !== this.asked || !bytes) return;
    this.read(bytes);
    this.draw();
    this.legend();
    this.table(topics);
    this.canvas.dataset.ready = String(this.asked);
  }

  read(bytes) {
    const length = new DataView(bytes).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    const at = (i) => 4 + length + 4 * head.n * i;
    const places = Array.from({ length: head.places }, (_, i) => new Float32Array(bytes, at(i), head.n));
    this.data = { n: head.n, classes: head.classes, x: places.at(-2), y: places.at(-1), from: places.length === 4 ? places : null,
      colour: new Float32Array(bytes, at(head.places), head.n), chosen: new Uint8Array(bytes, at(head.places + 1), head.n) };
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [xs, ys] of this.data.from ? [[places[0], places[1]], [places[2], places[3]]] : [[places[0], places[1]]]) {
      for (let i = 0; i < head.n; i += 1) {
        if (xs[i] < x0) x0 = xs[i];
        if (xs[i] > x1) x1 = xs[i];
        if (ys[i] < y0) y0 = ys[i];
        if (ys[i] > y1) y1 = ys[i];
      }
    }
    this.extent = { x: [x0, Math.max(x1, x0 + 1e-9)], y: [y0, Math.max(y1, y0 + 1e-9)] };
  }

  // Factor and offset from shares 0…1 of the extent to CSS pixels.
  line(name) {
    const { canvas: { clientWidth: w, clientHeight: h }, zoom: { k, x, y } } = this;
    return name === "x" ? [k * (w - 24), k * 12 + x] : [-k * (h - 24), k * (h - 12) + y];
  }

  share(name, pixel) { const [factor, offset] = this.line(name); return (pixel - offset) / factor; }

  pixel(name, share) { const [factor, offset] = this.line(name); return factor * share + offset; }

  // Factors and offsets from places to CSS pixels: a ⋅ x + b and c ⋅ y + d.
  frame() {
    const { x: [x0, x1], y: [y0, y1] } = this.extent, [across, left] = this.line("x"), [up, bottom] = this.line("y");
    const a = across / (x1 - x0), c = up / (y1 - y0);
    return { w: this.canvas.clientWidth, h: this.canvas.clientHeight, a, b: left - a * x0, c, d: bottom - c * y0 };
  }

  axes() {
    return ["x", "y"].map((name, i) => {
      const [first, last] = this.extent[name];
      return { name: this.columns[i], label: `Map ${name}`, at: (share) => first + share * (last - first) };
    });
  }

  seen(name) {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const [first, last] = (name === "x" ? [0, w] : [h, 0]).map((end) => this.share(name, end));
    return first < 1 && last > 0 ? [Math.max(0, first), Math.min(1, last)] : [0, 1];
  }

  colours() {
    const isDark = rgbOf(style("page"))[0] < 128, stops = RAMP[isDark ? "dark" : "light"];
    const faint = rgbOf(style("faint"));
    const table = this.data.classes ? CLASSES.map(rgbOf) : Array.from({ length: 256 }, (_, i) => ramp(stops, i / 255));
    const of = this.data.classes ? (value) => table[Math.min(value, table.length - 1)] : (value) => table[Math.round(value * 255)];
    return { faint, unknown: rgbOf(style("muted")), of };
  }

  draw() {
    if (!this.data || !this.isShown || !this.canvas.clientWidth) return;
    const scale = devicePixelRatio || 1, { w, h, a, b, c, d } = this.frame();
    const width = (this.canvas.width = Math.round(w * scale)), height = (this.canvas.height = Math.round(h * scale));
    const context = this.canvas.getContext("2d"), { n, x, y, colour, chosen, from } = this.data;
    const pixels = context.createImageData(width, height), out = new Uint32Array(pixels.data.buffer);
    const { faint, unknown, of } = this.colours();
    const packed = ([r, g, bl]) => (255 << 24) | (bl << 16) | (g << 8) | r;
    const size = Math.max(1, Math.round(scale * (n > 20000 ? 1.5 : n > 2000 ? 3 : 5)));
    const isAll = !chosen.includes(0);
    for (const pass of isAll ? [1] : [0, 1]) {
      for (let i = 0; i < n; i += 1) {
        if (chosen[i] !== pass || x[i] !== x[i]) continue;
        const px = Math.round((a * x[i] + b) * scale - size / 2), py = Math.round((c * y[i] + d) * scale - size / 2);
        if (px < 0 || py < 0 || px + size >= width || py + size >= height) continue;
        const ink = packed(pass === 0 ? faint : colour[i] < 0 ? unknown : of(colour[i]));
        for (let row = py; row < py + size; row += 1) out.fill(ink, row * width + px, row * width + px + size);
      }
    }
    context.putImageData(pixels, 0, 0);
    context.scale(scale, scale);
    if (from) this.arrows(context, from);
    if (this.box) this.shade(context);
    this.canvas.setAttribute("aria-label", `Map of ${count(n)} rows`);
  }

  shade(context) {
    const [left, right, bottom, top] = ["x", "y"].flatMap((name) => this.box[name].map((share) => this.pixel(name, share)));
    context.fillStyle = style("brush");
    context.strokeStyle = style("focus");
    context.fillRect(left, top, right - left, bottom - top);
    context.strokeRect(left, top, right - left, bottom - top);
  }

  arrows(context, [x0, y0, x1, y1]) {
    const { w, h, a, b, c, d } = this.frame(), { n, chosen } = this.data, shown = [];
    for (let i = 0; i < n && shown.length <= ARROWS; i += 1) {
      if (!chosen[i] || x0[i] !== x0[i] || x1[i] !== x1[i]) continue;
      const px = a * x1[i] + b, py = c * y1[i] + d;
      if (px >= 0 && py >= 0 && px <= w && py <= h) shown.push(i);
    }
    if (shown.length > ARROWS) return;
    context.strokeStyle = style("muted");
    context.globalAlpha = 0.45;
    context.lineWidth = 0.8;
    context.beginPath();
    for (const i of shown) {
      const [fx, fy, tx, ty] = [a * x0[i] + b, c * y0[i] + d, a * x1[i] + b, c * y1[i] + d];
      const long = Math.hypot(tx - fx, ty - fy);
      if (long < 3) continue;
      context.moveTo(fx, fy);
      context.lineTo(tx, ty);
      const angle = Math.atan2(ty - fy, tx - fx), head = Math.min(6, long / 2);
      for (const turn of [2.6, -2.6]) {
        context.moveTo(tx, ty);
        context.lineTo(tx + head * Math.cos(angle + turn), ty + head * Math.sin(angle + turn));
      }
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  scale(by, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const k = Math.min(200, Math.max(0.5, this.zoom.k * by)), f = k / this.zoom.k;
    this.zoom = { k, x: x - f * (x - this.zoom.x), y: y - f * (y - this.zoom.y) };
    this.soon();
  }

  reset() {
    this.zoom = { k: 1, x: 0, y: 0 };
    this.draw();
  }

  // The colours of the page have changed.
  redraw() {
    this.draw();
    if (this.data) this.legend();
  }

  // Many events of one frame draw once.
  soon() {
    this.frameAsked ??= requestAnimationFrame(() => { this.frameAsked = null; this.draw(); });
  }

  move(event) {
    const { from } = this, { offsetX: x, offsetY: y } = event;
    if (!from) return this.point(event);
    if (Math.hypot(x - from.x, y - from.y) > 3) this.isMoved = true;
    if (from.isBox) {
      const between = (name, one, other) => [this.share(name, one), this.share(name, other)].sort((p, q) => p - q);
      this.box = { x: between("x", from.x, x), y: between("y", from.y, y) };
    } else this.zoom = { ...this.zoom, x: from.zoom.x + x - from.x, y: from.zoom.y + y - from.y };
    this.soon();
    return undefined;
  }

  release(event) {
    const { from } = this;
    this.from = null;
    if (!from) return;
    if (from.isBox) {
      if (!this.isMoved) this.box = null;
      this.brushed(this.box && this.ranges());
    } else if (!this.isMoved) {
      const found = this.nearest(event.offsetX, event.offsetY);
      if (found >= 0) this.acts.openAt(found);
    }
  }

  nearest(left, top) {
    if (!this.data) return -1;
    const { a, b, c, d } = this.frame(), { n, x, y, chosen } = this.data;
    let best = NEAR * NEAR, found = -1;
    for (let i = 0; i < n; i += 1) {
      if (!chosen[i]) continue;
      const dx = a * x[i] + b - left, dy = c * y[i] + d - top, far = dx * dx + dy * dy;
      if (far < best) { best = far; found = i; }
    }
    return found;
  }

  point(event) {
    const tip = byId("tip"), found = this.nearest(event.offsetX, event.offsetY);
    tip.hidden = found < 0;
    if (found < 0) return;
    const { colour, classes } = this.data, value = colour[found];
    const label = byId("map-colour").selectedOptions[0]?.textContent ?? "";
    tip.textContent = `row ${count(found)} · ${label}: ${value < 0 ? "undefined" : classes ? classes[value] : `above ${Math.round(100 * value)} % of the rows`}`;
    tip.style.left = `${Math.max(8, Math.min(innerWidth - tip.offsetWidth - 8, event.clientX - tip.offsetWidth / 2))}px`;
    tip.style.top = `${event.clientY - 38}px`;
  }

  legend() {
    const swatch = (rgb, text) => {
      const dot = element("i");
      dot.style.background = `rgb(${rgb.join(",")})`;
      return element("span", {}, dot, text);
    };
    const { of } = this.colours(), { classes } = this.data;
    byId("map-legend").replaceChildren(...(classes
      ? classes.map((name, i) => swatch(of(i), name))
      : [swatch(of(0), "lowest"), swatch(of(0.5), "median"), swatch(of(1), "highest")]));
  }

  table(topics) {
    if (!topics.length) { byId("topics").replaceChildren(); return; }
    const has = (name) => topics.some((one) => one[name] !== undefined);
    const signed = (x) => (x === null || x === undefined ? "–" : `${x > 0 ? "+" : ""}${number(x)}`);
    const columns = [
      ["Rows", (one) => (one.chosen === one.n ? count(one.n) : `${count(one.chosen)} of ${count(one.n)}`)],
      has("ifd") && ["IFD, median", (one) => number(one.ifd)],
      has("response_tokens") && ["Tokens, median", (one) => number(one.response_tokens)],
      has("share_rose") && ["Rose", (one) => (one.share_rose === null ? "–" : `${Math.round(100 * one.share_rose)} %`)],
      has("change") && [topics[0].is_at_common_length ? "Change at equal length" : "Change", (one) => [signed(one.change),
        ...(one.change_ci95 ? [element("small", { title: "95 % confidence interval" }, `${signed(one.change_ci95[0])} to ${signed(one.change_ci95[1])}`)] : [])]],
      has("p_holm") && ["p, Holm", (one) => (one.p_holm === null ? "–" : one.p_holm < 0.001 ? "< 0.001" : one.p_holm.toFixed(3))],
    ].filter(Boolean);
    byId("topics").replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Topic"), ...columns.map(([name]) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...topics.map((one) => element("tr", {},
        element("th", { scope: "row" }, element("button", { type: "button", "aria-pressed": String(this.acts.isTopic(one.title)), onclick: () => this.acts.topic(one.title) }, one.title)),
        ...columns.map(([, of]) => element("td", {}, ...[of(one)].flat())))))));
  }
}
