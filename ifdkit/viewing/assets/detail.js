// One row, opened: conversation, surprise of its tokens, numbers, findings.

import { element, byId, number } from "./text.js";

const STEPS = [1, 2, 4, 6, 8]; // nats from which a token has the next shade
const SAVED = [0.5, 1, 2, 4]; // nats saved (or added) from which it has the next shade
const VIEWS = {
  text: ["Text", "The response as it is"],
  diff: ["Changes", "Words that are not on the other side"],
  conditional: ["Given", "Surprise of each token given the instruction, nats"],
  direct: ["Alone", "Surprise of each token without the instruction, nats"],
  saved: ["Saved", "What the instruction saved: alone − given, nats"],
};

export class Detail {
  constructor(acts) {
    this.root = byId("detail");
    this.acts = acts;
    this.view = "text";
    this.tip = byId("tip");
    this.root.addEventListener("pointermove", (event) => this.point(event));
    this.root.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  show(row, state, place) {
    Object.assign(this, { row, state, place, tokens: null, near: null });
    this.root.classList.add("open");
    this.draw();
    this.root.scrollTop = 0;
  }

  showTokens(tokens) {
    this.tokens = tokens;
    // The first row that has tokens shows them: that is what the viewer is for.
    if (!this.isChosen && tokens.some((one) => one.conditional?.length)) this.view = "conditional";
    this.draw();
  }

  showNear(near) {
    this.near = near;
    this.draw();
  }

  nearest() {
    if (!this.near?.length) return null;
    return element("section", { class: "near numbers", "aria-label": "Nearest rows" }, element("h2", {}, "Nearest rows"),
      element("ol", {}, ...this.near.map((one) => element("li", {}, element("button", {
        type: "button", onclick: () => this.acts.openAt(one.position),
      }, element("span", { class: "muted" }, `${one.cosine.toFixed(2)} · ${one.id} · `), one.texts[0] ?? "")))));
  }

  clear() {
    this.row = null;
    this.root.classList.remove("open");
    this.root.replaceChildren(element("p", { class: "empty" }, "Choose a row, or press ", element("kbd", {}, "j"), "."));
  }

  setMark(mark) { if (this.row) { this.row.mark = mark; this.draw(); } }

  draw() {
    if (!this.row) return;
    const top = this.root.scrollTop;
    this.root.replaceChildren(...[this.head(), this.findings(), this.switch(), this.sides(), this.numbers(), this.nearest(), this.values()].filter(Boolean));
    this.root.scrollTop = top;
  }

  head() {
    const { row } = this;
    const button = (mark, sign, name, key) => element("button", {
      type: "button", class: `mark-${mark}`, "aria-pressed": String(row.mark === mark), title: `${name} (${key})`,
      onclick: () => this.acts.mark(row.mark === mark ? null : mark),
    }, `${sign} ${name}`);
    return element("header", { class: "detail-head" },
      element("div", {}, element("h2", {}, row.id), element("p", { class: "muted" }, `row ${this.place.index + 1} of ${this.place.n.toLocaleString("en-US")}`)),
      element("div", { class: "buttons" },
        element("button", { type: "button", title: "Previous (k)", "aria-label": "Previous row", onclick: () => this.acts.step(-1) }, "↑"),
        element("button", { type: "button", title: "Next (j)", "aria-label": "Next row", onclick: () => this.acts.step(1) }, "↓"),
        button("star", "★", "Star", "s"), button("drop", "✕", "Drop", "x"),
        element("button", { type: "button", title: "Close (Esc)", "aria-label": "Close", onclick: this.acts.close }, "Close")));
  }

  findings() {
    if (!this.row.findings.length) return null;
    return element("div", { class: "chips" }, ...this.row.findings.map((one) => element("button", {
      type: "button", class: "chip", title: "Show the rows with this finding", onclick: () => this.acts.filterFinding(one.kind),
    }, one.title)));
  }

  switch() {
    if (!this.row.sides.length) return null;
    const has = (name) => this.tokens?.some((one) => one[name]?.length);
    const offered = ["text"];
    if (this.row.sides.length === 2) offered.push("diff");
    if (has("conditional")) offered.push("conditional");
    if (has("direct")) offered.push("direct");
    if (this.tokens?.some((one) => one.is_parallel)) offered.push("saved");
    this.shown = offered.includes(this.view) ? this.view : "text";
    const group = element("div", { class: "switch", role: "group", "aria-label": "What is shown of the response" },
      ...offered.map((name) => element("button", {
        type: "button", "aria-pressed": String(name === this.shown), title: VIEWS[name][1],
        onclick: () => { this.view = name; this.isChosen = true; this.draw(); },
      }, VIEWS[name][0])));
    return element("div", { class: "views" }, group, this.legend(),
      this.tokens ? null : element("p", { class: "muted reason" }, "Reading the tokens…"));
  }

  legend() {
    const shade = (name, text) => element("span", { class: name }, text);
    if (this.shown === "saved") {
      return element("p", { class: "legend" }, "nats ", shade("a3", "+2"), shade("a2", "+1"), shade("a1", "+0.5"), " cost · saved ", shade("b1", "0.5"), shade("b2", "1"), shade("b3", "2"), shade("b4", "4"));
    }
    if (this.shown === "conditional" || this.shown === "direct") {
      return element("p", { class: "legend" }, "nats ", ...STEPS.map((limit, i) => shade(`s${i + 1}`, `${limit}`)));
    }
    if (this.shown === "diff") return element("p", { class: "legend" }, element("del", {}, "only before"), " ", element("ins", {}, "only after"));
    return null;
  }

  sides() {
    const names = this.state.sides;
    if (!this.row.sides.length) return element("p", { class: "empty" }, "The texts of this row are not available.");
    return element("div", { class: "sides" }, ...this.row.sides.map((side, i) => {
      const name = names[i];
      const isLastUser = (j) => j === side.turns.length - 1;
      const turns = side.turns.map((turn, j) => element("div", { class: `turn ${turn.role}` },
        element("h3", {}, turn.role === "user" && isLastUser(j) ? "Instruction" : turn.role),
        this.shown === "diff" && isLastUser(j) && side.instruction_diff
          ? this.changed(side.instruction_diff, name)
          : element("div", { class: "text" }, turn.text + (turn.input ? `\n${turn.input}` : ""))));
      return element("section", { class: `side ${name}`, "aria-label": name || "Conversation" },
        name ? element("h2", { class: `mark-of ${name}` }, name === "before" ? "Before" : "After") : null,
        ...turns,
        element("div", { class: "turn response" }, element("h3", {}, "Response"), this.response(side, this.tokens?.[i], name),
          this.tokens?.[i]?.reason ? element("p", { class: "muted reason" }, this.tokens[i].reason) : null));
    }));
  }

  response(side, tokens, name) {
    if (this.shown === "diff" && side.response_diff) return this.changed(side.response_diff, name);
    const shown = this.shown === "saved" ? (tokens?.is_parallel ? tokens.direct : null) : tokens?.[this.shown];
    if (!shown?.length) return element("div", { class: "text" }, side.response || "(empty)");
    const text = element("div", { class: "text tokens" });
    text.append(...shown.map(([piece, nats], i) => {
      const direct = tokens.is_parallel || this.shown === "direct" ? tokens.direct[i]?.[1] : null;
      const given = tokens.is_parallel || this.shown === "conditional" ? tokens.conditional[i]?.[1] : null;
      const saved = direct != null && given != null ? direct - given : null;
      const value = this.shown === "saved" ? saved : nats;
      const span = element("span", { class: value === null ? "unscored" : this.shade(value) }, piece);
      span.dataset.tip = value === null ? "not scored" : [["given", given], ["alone", direct], ["saved", saved]]
        .filter(([, one]) => one !== null && one !== undefined).map(([word, one]) => `${word} ${one.toFixed(2)}`).join("  ").replaceAll("-", "−") + " nats";
      return span;
    }));
    return text;
  }

  shade(value) {
    if (this.shown !== "saved") return `s${STEPS.filter((limit) => value >= limit).length}`;
    const steps = SAVED.filter((limit) => Math.abs(value) >= limit).length;
    return steps ? `${value > 0 ? "b" : "a"}${steps}` : "s0";
  }

  changed(pieces, name) {
    const tag = name === "before" ? "del" : "ins";
    return element("div", { class: "text" }, ...pieces.map(([text, isCommon]) => isCommon ? text : element(tag, {}, text)));
  }

  point(event) {
    const text = event.target.closest?.("[data-tip]")?.dataset.tip;
    this.tip.hidden = !text;
    if (!text) return;
    this.tip.textContent = text;
    const width = this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, event.clientX - width / 2))}px`;
    this.tip.style.top = `${event.clientY - 38}px`;
  }

  numbers() {
    const byName = new Map(this.row.numbers.map((one) => [one.name, one]));
    const column = new Map(this.state.columns.map((one) => [one.name, one]));
    const bar = (one) => {
      if (one?.percentile == null) return element("td", {}, "–");
      const line = element("span", { class: "bar" }, element("i"));
      line.firstChild.style.width = `${one.percentile}%`;
      return element("td", { class: "percentile" }, line, `${Math.round(one.percentile)} %`);
    };
    const names = this.row.numbers.map((one) => one.name);
    let head, lines;
    if (this.state.kind === "comparison") {
      const bases = [...new Set(names.filter((name) => /_(before|after)$/.test(name)).map((name) => name.replace(/_(before|after)$/, "")))];
      head = ["", "Before", "After", "Change", "Percentile of the change"];
      lines = bases.map((base) => [column.get(`${base}_after`)?.label.replace(/, after$/, "") ?? base, column.get(`${base}_after`)?.definition,
        ...["before", "after", "change"].map((part) => element("td", {}, number(byName.get(`${base}_${part}`)?.value))), bar(byName.get(`${base}_change`))]);
    } else {
      head = ["", "Value", "Percentile in the dataset"];
      lines = this.row.numbers.map((one) => [column.get(one.name)?.label ?? one.name, column.get(one.name)?.definition, element("td", {}, number(one.value)), bar(one)]);
    }
    if (!lines.length) return null;
    return element("section", { class: "numbers", "aria-label": "Numbers", tabindex: "0" }, element("h2", {}, "Numbers"),
      element("table", {}, element("thead", {}, element("tr", {}, ...head.map((text, i) => element(i ? "th" : "td", i ? { scope: "col" } : {}, text)))),
        element("tbody", {}, ...lines.map(([label, definition, ...cells]) => element("tr", {}, element("th", { scope: "row", title: definition || null }, label), ...cells)))));
  }

  values() {
    if (!this.row.values.length) return null;
    return element("section", { class: "values", "aria-label": "Fields" }, element("h2", {}, "Fields"),
      element("dl", {}, ...this.row.values.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])));
  }
}
