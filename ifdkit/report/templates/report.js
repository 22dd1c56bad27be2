"use strict";
// The explorer of rows. Text of the datasets enters the page only as textContent,
// so it can never become markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const PAGE = 25;
  const STEPS = [1, 2, 4, 6, 8]; // nats from which a token has the next shade
  const LENGTH = data.fields.findIndex((field) => field.id === "response_tokens");

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // Numbers are written as by ifdkit/format.py; a test compares the two.

  function magnitude(x, digits) { // power of ten of the first digit once rounded
    return x === 0 ? 0 : Number(x.toExponential(digits - 1).split("e")[1]);
  }

  function fixed(x, decimals) {
    const text = x.toLocaleString("en", { minimumFractionDigits: decimals,
      maximumFractionDigits: decimals, roundingMode: "halfEven" });
    return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
  }

  function number(x) { // three significant digits
    if (x === null) return "–";
    const size = Math.abs(x);
    if (size !== 0 && (size < 1e-4 || size >= 999999.5)) {
      return x.toExponential(2).replace("e+", "e").replaceAll("-", "−");
    }
    return fixed(x, Number.isInteger(x) ? 0 : Math.max(0, 2 - magnitude(x, 3)));
  }

  function signed(x) { // below one, two significant digits with two to four decimals
    if (x === null) return "–";
    const isSmall = x !== 0 && Math.abs(x) < 0.995;
    const text = isSmall ? fixed(x, Math.min(4, Math.max(2, 1 - magnitude(x, 2)))) : number(x);
    return x > 0 && /[1-9]/.test(text) ? `+${text}` : text;
  }

  // ---- sorting and filtering

  if (!data.pairs.length) return;
  const textOf = (side) => side.tokens ? side.tokens.join("") : side.response;
  for (const pair of data.pairs) {
    const { before, after } = pair;
    pair.status = before.status === after.status
      ? before.status : `${before.status} → ${after.status}`;
    pair.searched = [before, after].flatMap(
      (side) => [side.id, side.instruction, textOf(side)],
    ).join("\n").toLowerCase();
  }
  const hasInstructions = data.has_text
    && data.pairs.some((pair) => pair.before.instruction || pair.after.instruction);
  const target = hasInstructions ? "Response" : "Document";
  const state = {
    metric: Math.max(0, data.fields.findIndex((field) => field.id === "ifd")),
    sort: null, descending: false, exactId: null, shown: PAGE,
  };
  const changeOf = (pair) => {
    const before = pair.before.numbers[state.metric];
    const after = pair.after.numbers[state.metric];
    return before === null || after === null ? null : after - before;
  };
  const COLUMNS = [
    { name: "Row", of: (pair) => pair.before.row },
    { name: "Before", of: (pair) => pair.before.numbers[state.metric], side: "before" },
    { name: "After", of: (pair) => pair.after.numbers[state.metric], side: "after" },
    { name: "Change", of: changeOf },
    ...(LENGTH < 0 ? [] : [
      { name: "Tokens before", of: (pair) => pair.before.numbers[LENGTH], later: true },
      { name: "Tokens after", of: (pair) => pair.after.numbers[LENGTH], later: true },
    ]),
    { name: "Status", of: (pair) => pair.status, later: true, words: true },
    { name: "Reason", of: (pair) => pair.why, later: true, words: true },
    ...(hasInstructions ? [{
      name: "Instruction", of: (pair) => pair.before.instruction, later: true, words: true,
    }] : []),
  ];

  function compare(a, b) { // undefined comes last in both directions
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    const order = typeof a === "string" ? a.localeCompare(b) : a - b;
    return state.descending ? -order : order;
  }

  function directionOf(pair) {
    const change = changeOf(pair);
    if (change === null) return "undefined";
    return change > 0 ? "up" : change < 0 ? "down" : "same";
  }

  function chosen() {
    const words = byId("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = ["direction", "status", "why"].map((id) => byId(id).value);
    const found = data.pairs.filter((pair) => {
      const has = [directionOf(pair), pair.status, pair.why];
      if (!wanted.every((want, i) => !want || want === has[i])) return false;
      if (state.exactId !== null) {
        return pair.before.id === state.exactId || pair.after.id === state.exactId;
      }
      return words.every((word) => pair.searched.includes(word));
    });
    if (state.sort !== null) {
      const { of } = COLUMNS[state.sort];
      found.sort((a, b) => compare(of(a), of(b)));
    }
    return found;
  }

  // ---- drawing

  function shaded(side) {
    const text = element("div", { className: "text", dir: "auto" });
    if (!side.tokens) {
      text.textContent = side.response || "(empty)";
      return text;
    }
    side.tokens.forEach((piece, i) => {
      const nats = side.nats[i];
      if (nats === null) text.append(element("span", { className: "unscored" }, piece));
      else {
        const step = STEPS.filter((limit) => nats >= limit).length;
        text.append(element("span", { className: `s${step}`, title: `${nats} nats` }, piece));
      }
    });
    return text;
  }

  function sideOf(pair, name) {
    const side = pair[name];
    const made = element("div", { className: "side" },
      element("h4", { className: `${name} mark` }, name === "before" ? "Before" : "After"),
      element("div", { className: "note" }, `row ${side.row}, turn ${side.turn} · `,
        element("bdi", { className: "code" }, side.id), ` · ${side.status}`));
    if (data.has_text) {
      const response = shaded(side);
      response.tabIndex = 0; // long texts scroll, so the keyboard has to reach them
      response.setAttribute("role", "region");
      response.setAttribute("aria-label", `${target} ${name}`);
      if (hasInstructions) {
        made.append(element("h5", {}, "Instruction"),
          element("div", { className: "text", dir: "auto", tabIndex: 0, role: "region",
            ariaLabel: `Instruction ${name}` }, side.instruction || "(empty)"));
      }
      made.append(element("h5", {}, target), response);
    }
    return made;
  }

  function numbersOf(pair) {
    const rows = data.fields.map((field, i) => {
      const [before, after] = [pair.before.numbers[i], pair.after.numbers[i]];
      const change = before === null || after === null ? null : after - before;
      return element("tr", {}, element("th", { scope: "row" }, field.label),
        ...[number(before), number(after), signed(change)].map((x) => element("td", {}, x)));
    });
    const heads = ["Metric", "Before", "After", "Change"].map(
      (name) => element("th", { scope: "col", className: name.toLowerCase() }, name));
    return element("table", {}, element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows));
  }

  function toggle(line, pair, opener) {
    const open = opener.getAttribute("aria-expanded") === "true";
    opener.setAttribute("aria-expanded", String(!open));
    if (open) return line.nextElementSibling.remove();
    const inside = element("div", { className: "detail-inside" },
      element("div", { className: "sides" }, sideOf(pair, "before"), sideOf(pair, "after")),
      element("p", { className: "note" }, `Reason: ${pair.why}`), numbersOf(pair));
    line.after(element("tr", { className: "detail" },
      element("td", { colSpan: COLUMNS.length }, inside)));
  }

  function lineOf(pair) {
    const opener = element("button", { type: "button", className: "opener" },
      String(pair.before.row));
    opener.setAttribute("aria-expanded", "false");
    const cells = COLUMNS.slice(1).map((column) => {
      const value = column.of(pair);
      const names = [column.later && "later", column.words && "words",
        column.name === "Instruction" && "snippet"].filter(Boolean).join(" ");
      const shown = column.name === "Change" ? signed(value)
        : column.words ? element("bdi", {}, value.slice(0, 120)) : number(value);
      return element("td", { className: names }, shown);
    });
    const line = element("tr", { className: "pair" },
      element("th", { scope: "row" }, opener), ...cells);
    line.addEventListener("click", (event) => {
      if (event.target === opener || !getSelection().toString()) toggle(line, pair, opener);
    });
    return line;
  }

  function draw() {
    const found = chosen();
    byId("pairs").replaceChildren(...found.slice(0, state.shown).map(lineOf));
    byId("more").hidden = found.length <= state.shown;
    byId("count").textContent =
      `${Math.min(state.shown, found.length)} of ${found.length} matching pairs shown`
      + (found.length < data.pairs.length ? `, out of ${data.pairs.length}` : "");
    [...byId("heads").children].forEach((head, i) => {
      if (i === state.sort) {
        head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      } else head.removeAttribute("aria-sort");
    });
  }

  function redraw() {
    state.shown = PAGE;
    draw();
  }

  function drawHeads() {
    byId("heads").replaceChildren(...COLUMNS.map((column, i) => {
      const button = element("button", { type: "button" }, column.name);
      button.addEventListener("click", () => {
        state.descending = state.sort === i ? !state.descending : i > 0 && !column.words;
        state.sort = i;
        redraw();
      });
      const names = [column.later && "later", column.words && "words", column.side];
      return element("th", { scope: "col", className: names.filter(Boolean).join(" ") }, button);
    }));
  }

  function offer(id, values) {
    for (const value of [...new Set(values)].sort()) {
      byId(id).append(element("option", { value }, value));
    }
  }

  // ---- wiring

  data.fields.forEach((field, i) => {
    byId("metric").append(element("option", { value: String(i) }, field.label));
  });
  byId("metric").value = String(state.metric);
  offer("status", data.pairs.map((pair) => pair.status));
  offer("why", data.pairs.map((pair) => pair.why));
  byId("metric").addEventListener("change", (event) => {
    state.metric = Number(event.target.value);
    redraw();
  });
  for (const id of ["direction", "status", "why"]) byId(id).addEventListener("change", redraw);
  byId("search").addEventListener("input", () => {
    state.exactId = null;
    redraw();
  });
  byId("search").form.addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    state.shown += PAGE;
    draw();
  });
  for (const button of document.querySelectorAll("button.find")) {
    button.addEventListener("click", () => {
      for (const id of ["direction", "status", "why"]) byId(id).value = "";
      byId("search").value = state.exactId = button.dataset.find;
      redraw();
      byId("rows").scrollIntoView();
      byId("search").focus({ preventScroll: true });
    });
  }
  drawHeads();
  draw();
  byId("explorer").hidden = false;
})();
