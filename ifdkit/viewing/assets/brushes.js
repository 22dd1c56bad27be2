// The histogram and the scatter plot. Dragging over one filters by what it covers; `keys.js` has the
// keys.

import { RangeKeys } from "./keys.js";
import { byId, number, count } from "./text.js";

const PAD = { left: 8, right: 8, top: 8, bottom: 22 };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function prepared(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  return { context, width, height, inner: { w: width - PAD.left - PAD.right, h: height - PAD.top - PAD.bottom } };
}

// The value at a share 0…1 of an axis.
function axis({ edges, log }) {
  const first = edges[0], last = edges[edges.length - 1];
  return { at: log ? (s) => first * (last / first) ** s : (s) => first + s * (last - first) };
}

class Brush extends RangeKeys {
  constructor(canvas, brushed, isTwo) {
    super(canvas, brushed, isTwo);
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.data) return;
      canvas.setPointerCapture(event.pointerId);
      this.from = this.place(event);
      this.box = null;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.from) {
        const at = this.place(event);
        this.box = this.isTwo
          ? { x: [this.from.x, at.x].sort((a, b) => a - b), y: [this.from.y, at.y].sort((a, b) => a - b) }
          : { x: [this.from.x, at.x].sort((a, b) => a - b) };
        this.draw();
      }
    });
    canvas.addEventListener("pointerup", () => {
      const { box } = this;
      this.from = null;
      const isClick = !box || box.x[1] - box.x[0] < 0.012;
      this.brushed(isClick ? null : this.ranges());
    });
    canvas.addEventListener("pointercancel", () => { this.from = null; });
  }

  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const cut = (s) => Math.min(1, Math.max(0, s));
    return {
      x: cut((event.clientX - left - PAD.left) / (width - PAD.left - PAD.right)),
      y: cut(1 - (event.clientY - top - PAD.top) / (height - PAD.top - PAD.bottom)),
    };
  }

  shade(context, inner, height) {
    if (!this.box) return;
    const { x, y = [0, 1] } = this.box;
    context.fillStyle = colour("brush");
    context.strokeStyle = colour("focus");
    const rect = [PAD.left + x[0] * inner.w, PAD.top + (1 - y[1]) * inner.h, (x[1] - x[0]) * inner.w, (y[1] - y[0]) * inner.h];
    context.fillRect(...rect);
    context.strokeRect(...rect);
  }

  labels(context, inner, one, { height }) {
    context.fillStyle = colour("muted");
    context.textBaseline = "bottom";
    for (const [share, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
      context.textAlign = align;
      context.fillText(number(one.at(share)), PAD.left + share * inner.w, height - 3);
    }
  }
}

export class Histogram extends Brush {
  constructor(brushed) {
    super(byId("histogram"), brushed, false);
    this.note = "";
  }

  show(column, data) { this.column = column; this.data = data; this.draw(); }

  axes() { return [{ ...this.column, ...axis(this.data) }]; }

  draw() {
    if (!this.data || !this.canvas.clientWidth) return;
    const made = prepared(this.canvas), { context, inner } = made, { data } = this;
    const most = Math.max(1, ...data.all), step = inner.w / data.all.length;
    const chosen = data.chosen.reduce((a, b) => a + b, 0);
    // The chosen rows are drawn to their own scale if they would be too flat to see.
    const top = Math.max(1, ...data.chosen), isFlat = chosen > 0 && top < most / 8;
    this.note = isFlat ? "chosen rows drawn to their own scale" : "";
    for (const [values, name, largest] of [[data.all, "faint", most], [data.chosen, "after", isFlat ? top : most]]) {
      context.fillStyle = colour(name);
      values.forEach((n, i) => {
        const h = n ? Math.max(1, (n / largest) * inner.h) : 0;
        context.fillRect(PAD.left + i * step, PAD.top + inner.h - h, Math.max(1, step - 1), h);
      });
    }
    context.fillStyle = colour("rule");
    context.fillRect(PAD.left, PAD.top + inner.h, inner.w, 1);
    this.labels(context, inner, axis(data), made);
    this.shade(context, inner);
    this.canvas.setAttribute("aria-label", `Histogram of ${this.column.label}: ${count(chosen)} rows between ${number(data.edges[0])} and ${number(data.edges.at(-1))}`);
  }
}

export class Scatter extends Brush {
  constructor(brushed) { super(byId("scatter"), brushed, true); }

  axes() { return this.columns.map((column, i) => ({ ...column, ...axis(this.data[i ? "y" : "x"]) })); }

  show(x, y, data) { this.columns = [x, y]; this.data = data; this.draw(); }

  draw() {
    if (!this.data || !this.canvas.clientWidth) return;
    const made = prepared(this.canvas), { context, inner } = made, { data } = this;
    const across = data.x.edges.length - 1, up = data.y.edges.length - 1;
    const w = inner.w / across, h = inner.h / up;
    const paint = (values, name) => {
      const most = Math.log1p(Math.max(1, ...values));
      context.fillStyle = colour(name);
      values.forEach((n, i) => {
        if (!n) return;
        context.globalAlpha = 0.25 + 0.75 * (Math.log1p(n) / most);
        const x = PAD.left + (i % across) * w, y = PAD.top + inner.h - (Math.floor(i / across) + 1) * h;
        context.fillRect(x, y, Math.max(3, w - 0.5), Math.max(3, h - 0.5));
      });
      context.globalAlpha = 1;
    };
    paint(data.all, "faint");
    paint(data.chosen, "after");
    context.fillStyle = colour("rule");
    context.fillRect(PAD.left, PAD.top + inner.h, inner.w, 1);
    context.fillRect(PAD.left, PAD.top, 1, inner.h);
    this.labels(context, inner, axis(data.x), made);
    const one = axis(data.y);
    context.textAlign = "left";
    context.fillStyle = colour("muted");
    context.textBaseline = "top";
    context.fillText(number(one.at(1)), PAD.left + 4, PAD.top);
    context.textBaseline = "bottom";
    context.fillText(number(one.at(0)), PAD.left + 4, PAD.top + inner.h - 2);
    this.shade(context, inner);
    this.canvas.setAttribute("aria-label", `Scatter plot of ${this.columns[1].label} against ${this.columns[0].label}`);
  }
}
