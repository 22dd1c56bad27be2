// The rows: only those on the screen are elements, whatever their number.

import { element, byId, number } from "./text.js";

const ROW = 58; // pixels
const MAX_HEIGHT = 8_000_000; // browsers cap the height of an element; beyond it, it is scaled
const PAGE = 100;

export class List {
  // `fetchPage(begin, count)` → rows of the server; `open(index)`; `sortBy(name)`
  constructor({ fetchPage, open, sortBy }) {
    this.fetchPage = fetchPage;
    this.open = open;
    this.root = byId("list");
    this.head = element("div", { class: "row head", role: "row" });
    this.space = element("div", { class: "space", role: "presentation" });
    this.window = element("div", { class: "window", role: "presentation" });
    const scroller = element("div", { class: "scroller", role: "rowgroup", tabindex: "0", "aria-label": "Rows" }, this.space, this.window);
    this.scroller = scroller;
    this.root.append(element("div", { role: "rowgroup" }, this.head), scroller);
    this.sortBy = sortBy;
    this.reset(0, []);
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    scroller.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    new ResizeObserver(() => {
      this.root.style.setProperty("--bar", `${scroller.offsetWidth - scroller.clientWidth}px`);
      this.draw();
    }).observe(scroller);
  }

  reset(n, columns, { keep = false } = {}) {
    this.n = n;
    this.columns = columns;
    this.pages = new Map();
    this.version = (this.version ?? 0) + 1;
    this.space.style.height = `${Math.min(n * ROW, MAX_HEIGHT)}px`;
    this.root.setAttribute("aria-rowcount", n + 1);
    if (!keep) { this.current = -1; this.first = 0; this.scroller.scrollTop = 0; }
    this.drawHead();
    this.draw();
  }

  get visible() { return Math.max(1, this.scroller.clientHeight / ROW); }
  get isScaled() { return this.n * ROW > MAX_HEIGHT; }
  get maxFirst() { return Math.max(0, this.n - this.visible); }

  scrolled() {
    if (this.isScaled) {
      if (Math.abs(this.scroller.scrollTop - this.expectedTop) < 2) return; // set by ourselves
      const range = MAX_HEIGHT - this.scroller.clientHeight;
      this.first = this.maxFirst * (this.scroller.scrollTop / range);
    } else {
      this.first = this.scroller.scrollTop / ROW;
    }
    this.draw();
  }

  wheeled(event) {
    if (!this.isScaled) return;
    event.preventDefault(); // a step of the wheel is a few rows, not a share of a million
    this.scrollTo(this.first + event.deltaY / ROW);
  }

  scrollTo(first) {
    this.first = Math.min(this.maxFirst, Math.max(0, first));
    const range = MAX_HEIGHT - this.scroller.clientHeight;
    this.expectedTop = this.isScaled
      ? Math.round(range * (this.first / Math.max(1, this.maxFirst)))
      : this.first * ROW;
    this.scroller.scrollTop = this.expectedTop;
    this.draw();
  }

  reveal(index) {
    if (index < this.first + 0.2) this.scrollTo(index - 1);
    else if (index > this.first + this.visible - 1.2) this.scrollTo(index - this.visible + 2);
    else this.draw();
  }

  async row(index) {
    const page = Math.floor(index / PAGE);
    if (!this.pages.has(page)) {
      const version = this.version;
      this.pages.set(page, this.fetchPage(page * PAGE, PAGE).catch((error) => {
        if (version === this.version) this.pages.delete(page);
        throw error;
      }));
    }
    const rows = await this.pages.get(page);
    return rows[index - page * PAGE];
  }

  drawHead() {
    const cells = this.columns.map((column) => element("span", {
      role: "columnheader", class: column.is_number ? "cell number" : "cell",
      "aria-sort": column.sorted ?? null,
    }, element("button", { type: "button", title: column.definition || column.label,
      onclick: () => this.sortBy(column.name) }, column.short, column.sorted ? (column.sorted === "ascending" ? " ↑" : " ↓") : "")));
    this.head.replaceChildren(
      element("span", { role: "columnheader", class: "mark" }, element("span", { class: "hidden" }, "Mark")),
      element("span", { role: "columnheader", class: "words" }, "Instruction and response"), ...cells);
    this.root.style.setProperty("--cells", this.columns.length);
  }

  draw() {
    const begin = Math.max(0, Math.floor(this.first) - 3);
    const end = Math.min(this.n, Math.ceil(this.first + this.visible) + 3);
    // The window is moved against the scroll position, so that a scaled list stays exact.
    this.window.style.transform = `translateY(${this.scroller.scrollTop + (begin - this.first) * ROW}px)`;
    const wanted = new Map();
    for (const line of this.window.children) wanted.set(line.dataset.key, line);
    const lines = [];
    for (let index = begin; index < end; index += 1) {
      const key = `${this.version}:${index}`;
      const line = wanted.get(key) ?? this.line(index, key);
      line.classList.toggle("current", index === this.current);
      line.setAttribute("aria-selected", index === this.current ? "true" : "false");
      lines.push(line);
    }
    const isSame = lines.length === this.window.children.length && lines.every((line, i) => line === this.window.children[i]);
    if (!isSame) this.window.replaceChildren(...lines);
  }

  line(index, key) {
    const line = element("div", { class: "row", role: "row", "aria-rowindex": index + 2, id: `row-${index}` });
    line.dataset.key = key;
    line.append(element("span", { role: "gridcell", class: "words" }, "…"));
    line.addEventListener("click", () => this.open(index));
    this.row(index).then((row) => { if (row) this.fill(line, row); }, () => {});
    return line;
  }

  fill(line, row) {
    const [instruction, response] = row.texts;
    const sign = { star: "★", drop: "✕" }[row.mark] ?? "";
    line.dataset.mark = row.mark ?? "";
    const flags = row.findings ? element("span", { class: "flag", title: `${row.findings} findings` }, "●", element("span", { class: "hidden" }, ` ${row.findings} findings`)) : null;
    line.replaceChildren(
      element("span", { role: "gridcell", class: "mark" }, sign, row.mark ? element("span", { class: "hidden" }, row.mark) : null),
      element("span", { role: "gridcell", class: "words" },
        element("span", { class: "one" }, flags, instruction ?? row.id),
        element("span", { class: "two" }, response ?? "")),
      ...row.cells.map((value, i) => element("span", { role: "gridcell", class: this.columns[i]?.is_number ? "cell number" : "cell" },
        this.columns[i]?.is_number ? number(value) : value ?? "–")),
    );
  }

  // A row's mark changed: its line is drawn again.
  async marked(index, mark) {
    const row = await this.row(index);
    row.mark = mark;
    const line = byId(`row-${index}`);
    if (line) this.fill(line, row);
  }

  select(index) {
    this.current = index;
    this.reveal(index);
  }
}
