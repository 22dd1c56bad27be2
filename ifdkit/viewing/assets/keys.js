// The keys of a brush: the arrow keys move a range, with Shift its upper end, and Escape takes it
// away. What a range covers, in numbers and in words.

import { byId, number } from "./text.js";

const STEP = 1 / 40, WIDTH = 0.1; // of what an axis shows: a key's step, and a range that a key begins
const KEYS = { ArrowLeft: ["x", -1], ArrowRight: ["x", 1], ArrowUp: ["y", 1], ArrowDown: ["y", -1] };
const KEY_PAUSE_MS = 150; // a held key filters once
const OPEN = 1e308; // the end of a range that has none

export function rangeText([low, high], [upTo, from] = ["up to", "from"]) {
  const isBelow = low <= -OPEN, isAbove = high >= OPEN;
  if (isBelow && isAbove) return "any";
  if (isBelow) return `${upTo} ${number(high)}`;
  return isAbove ? `${from} ${number(low)}` : `${number(low)} to ${number(high)}`;
}

// `[first, last]` is what the axis shows; a range outside of it comes into it.
function movedRange([low, high], by, isExtended, [first, last]) {
  const size = last - first, tiny = 1e-6 * size, step = by * STEP * size;
  const snapped = (x) => [first, last].find((end) => Math.abs(x - end) < tiny) ?? x;
  if (isExtended) return [low, snapped(Math.min(1, Math.max(low + STEP * size, Math.min(last, high + step))))];
  if (low <= first && high >= last) return by > 0 ? [first, first + WIDTH * size] : [last - WIDTH * size, last];
  const shift = Math.min(last - high, Math.max(first - low, step));
  return [snapped(low + shift), snapped(high + shift)];
}

// A figure with one axis or two. Its `box` has a range in shares 0…1 of each axis, or is null; a
// subclass has `data`, `axes()` with name, label and `at` (the value at a share), and `draw()`.
export class RangeKeys {
  constructor(canvas, brushed, isTwo) {
    Object.assign(this, { canvas, brushed, isTwo, box: null });
    canvas.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // The part of an axis that is on the screen.
  seen() { return [0, 1]; }

  press(event) {
    const [name, by] = KEYS[event.key] ?? [], isMove = name && (name === "x" || this.isTwo);
    const isClear = event.key === "Escape" && this.box;
    if (!this.data || event.ctrlKey || event.metaKey || event.altKey || !(isMove || isClear)) return;
    event.preventDefault();
    event.stopPropagation(); // the arrow keys and Escape have meanings for the list of rows too
    if (isClear) this.box = null;
    else {
      const box = this.box ?? (this.isTwo ? { x: [0, 1], y: [0, 1] } : { x: [0, 1] });
      this.box = { ...box, [name]: movedRange(box[name], by, event.shiftKey, this.seen(name)) };
    }
    this.draw();
    byId("brush-status").textContent = this.told();
    clearTimeout(this.keyed);
    this.keyed = setTimeout(() => this.brushed(this.box && this.ranges()), KEY_PAUSE_MS);
  }

  // Column, least and most of each axis; a range at the border of an axis includes everything beyond.
  everyRange() {
    return this.axes().map(({ name, at }, i) => {
      const [low, high] = this.box[i ? "y" : "x"];
      return [name, low <= 0 ? -OPEN : at(low), high >= 1 ? OPEN : at(high)];
    });
  }

  // An axis that is covered whole is left out if another is not.
  ranges() {
    const every = this.everyRange();
    const narrow = every.filter(([, low, high]) => low > -OPEN || high < OPEN);
    return narrow.length ? narrow : every;
  }

  told() {
    if (!this.box) return "No range";
    const axes = this.axes();
    return this.everyRange().map(([, ...range], i) => `${axes[i].label}: ${rangeText(range)}`).join(", ");
  }

  // The ranges that the rows are filtered by: the box loses those that were taken away elsewhere.
  follow(ranges) {
    if (!this.box) return;
    const gone = this.axes().map(({ name }) => !(name in ranges));
    if (gone.every(Boolean)) this.box = null;
    else gone.forEach((isGone, i) => { if (isGone) this.box = { ...this.box, [i ? "y" : "x"]: [0, 1] }; });
  }
}
