"use strict";
// The explorer of rows. Text of the datasets enters the page only as textContent,
// so it can never become markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const PAGE = 12;
  const STEPS = [1, 2, 4, 6, 8]; // nats from which a token has the next shade
  const SAVED = [0.5, 1, 2, 4]; // nats saved (or added) from which it has the next shade
  const HEATS = {
    given: ["Given", "Surprise given the instruction, nats:"],
    alone: ["Alone", "Surprise without the instruction, nats:"],
    saved: ["Saved", "What the instruction saved, alone − given, nats:"],
  };
  const fieldAt = (id) => data.fields.findIndex((field) => field.id === id);
  const [LENGTH, IFD] = [fieldAt("response_tokens"), fieldAt("ifd")];

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

  // ---- the figures of the metrics, folded until they are asked for

  function fold(opener, isOpen) {
    opener.setAttribute("aria-expanded", String(isOpen));
    byId(opener.getAttribute("aria-controls")).hidden = !isOpen;
  }
  const unfolders = [...document.querySelectorAll(".metric .opener")];
  for (const opener of unfolders) {
    fold(opener, false);
    opener.closest("tr").addEventListener("click", (event) => {
      if (event.target !== opener && getSelection().toString()) return;
      fold(opener, opener.getAttribute("aria-expanded") !== "true");
    });
  }
  addEventListener("beforeprint", () => unfolders.forEach((opener) => fold(opener, true)));

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
    metric: Math.max(0, IFD), brush: null,
    sort: null, descending: false, exactId: null, shown: PAGE, finding: "", heat: "given",
  };
  const titleOf = Object.fromEntries(data.findings.map(({ kind, title }) => [kind, title]));
  for (const pair of data.pairs) {
    const reasons = pair.reasons.filter((why) => !why.startsWith("finding: "));
    pair.tags = [...pair.findings.map((kind) => titleOf[kind]), ...reasons];
  }
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
    { name: "Tags", of: (pair) => pair.tags.join(", "), later: true, words: true },
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

  function isBrushed(pair) {
    const { side, tokens, values } = state.brush;
    const [length, ifd] = [LENGTH, IFD].map((field) => pair[side].numbers[field]);
    return length !== null && ifd !== null && length >= tokens[0] && length <= tokens[1]
      && ifd >= values[0] && ifd <= values[1];
  }

  function chosen() {
    const words = byId("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const [direction, status, tag] = ["direction", "status", "tag"].map((id) => byId(id).value);
    const found = data.pairs.filter((pair) => {
      if (direction && direction !== directionOf(pair)) return false;
      if (status && status !== pair.status) return false;
      if (tag && !pair.tags.includes(tag)) return false;
      if (state.finding && !pair.findings.includes(state.finding)) return false;
      if (state.brush && !isBrushed(pair)) return false;
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

  function shadeOf(nats) {
    if (state.heat !== "saved") return `s${STEPS.filter((limit) => nats >= limit - 1e-9).length}`;
    const step = SAVED.filter((limit) => Math.abs(nats) >= limit - 1e-9).length;
    return step ? `${nats > 0 ? "b" : "s"}${step}` : "s0";
  }

  function drawHeat() {
    if (!byId("heat")) return;
    const has = (name) => data.pairs.some(({ before, after }) => [before, after].some(
      (side) => side[name]?.some((x) => x !== null)));
    const offered = has("alone") ? ["given", "alone", "saved"] : ["given"];
    byId("heat").replaceChildren(...offered.map((name) => {
      const button = element("button", { type: "button" }, HEATS[name][0]);
      button.setAttribute("aria-pressed", String(state.heat === name));
      button.addEventListener("click", () => {
        state.heat = name;
        drawHeat();
        for (const detail of byId("pairs").querySelectorAll(".detail")) redrawSides(detail);
        byId("heat").children[offered.indexOf(name)].focus();
      });
      return button;
    }));
    const shade = (name, text) => element("span", { className: name }, text);
    const shades = state.heat === "saved"
      ? [shade("s3", "−2"), shade("s2", "−1"), shade("s1", "−0.5"), shade("s0", "0"),
        shade("b1", "+0.5"), shade("b2", "+1"), shade("b3", "+2"), shade("b4", "+4")]
      : [shade("s0", "0–1"), shade("s1", "1–2"), shade("s2", "2–4"), shade("s3", "4–6"),
        shade("s4", "6–8"), shade("s5", "8+")];
    byId("heat-legend").replaceChildren(
      shade("muted", HEATS[state.heat][1]), ...shades, shade("unscored", "not scored"));
  }

  function redrawSides(detail) {
    detail.querySelector(".sides").replaceChildren(
      sideOf(detail.pair, "before"), sideOf(detail.pair, "after"));
  }

  function shaded(side) {
    const text = element("div", { className: "text", dir: "auto" });
    if (!side.tokens) {
      text.textContent = side.response || "(empty)";
      return text;
    }
    side.tokens.forEach((piece, i) => {
      const [given, alone] = [side.given[i], side.alone[i]];
      const saved = given === null || alone === null ? null : alone - given;
      const nats = { given, alone, saved }[state.heat];
      const known = [["given", given], ["alone", alone]].filter(([, x]) => x !== null);
      const said = known.map(([name, x]) => `${name} ${x.toFixed(1)}`);
      if (saved !== null) said.push(`saved ${signed(saved)}`);
      const span = element("span", { className: nats === null ? "unscored" : shadeOf(nats) }, piece);
      span.dataset.tip = said.length ? `${said.join(" · ")} nats` : "not scored";
      text.append(span);
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
      element("p", { className: "note" }, `Tags: ${pair.tags.join(", ") || "none"}`), numbersOf(pair));
    const detail = element("tr", { className: "detail" },
      element("td", { colSpan: COLUMNS.length }, inside));
    detail.pair = pair;
    line.after(detail);
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
        : column.name === "Tags" ? element("span", { className: "tags" }, ...pair.tags.map(
          (tag) => element("span", { className: "tag" }, tag)))
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
  offer("tag", data.pairs.flatMap((pair) => pair.tags));
  byId("metric").addEventListener("change", (event) => {
    state.metric = Number(event.target.value);
    redraw();
  });
  for (const id of ["direction", "status", "tag"]) byId(id).addEventListener("change", redraw);
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
      for (const id of ["direction", "status", "tag"]) byId(id).value = "";
      byId("search").value = state.exactId = button.dataset.find;
      state.finding = "";
      unbrush();
      drawChips();
      redraw();
      byId("rows").scrollIntoView();
      byId("search").focus({ preventScroll: true });
    });
  }
  function drawChips() {
    byId("chips").replaceChildren(...data.findings.map(({ kind, title }) => {
      const n = data.pairs.filter((pair) => pair.findings.includes(kind)).length;
      const chip = element("button", { type: "button", className: "chip" }, `${title} ${n}`);
      chip.setAttribute("aria-pressed", String(state.finding === kind));
      chip.addEventListener("click", () => {
        state.finding = state.finding === kind ? "" : kind;
        drawChips();
        redraw();
        byId("chips").children[data.findings.findIndex((one) => one.kind === kind)].focus();
      });
      return chip;
    }));
    if (!state.brush) return;
    const { side, tokens, values } = state.brush;
    const chip = element("button", { type: "button", className: "chip", id: "brushed" },
      `${side}: ${tokens.map(Math.round).map(number).join(" to ")} tokens, `
      + `IFD ${values.map(number).join(" to ")} ×`);
    chip.setAttribute("aria-pressed", "true");
    chip.addEventListener("click", () => {
      unbrush();
      drawChips();
      redraw();
      byId("search").focus();
    });
    byId("chips").append(chip);
  }

  function unbrush() {
    state.brush = null;
    document.dispatchEvent(new CustomEvent("unbrush"));
  }
  document.addEventListener("brush", (event) => {
    state.brush = event.detail;
    drawChips();
    redraw();
  });

  for (const item of document.querySelectorAll(".findings li[data-kind]")) {
    if (!titleOf[item.dataset.kind]) continue;
    const button = element("button", { type: "button", className: "chip" }, "Show rows");
    button.setAttribute("aria-label", `Show rows: ${titleOf[item.dataset.kind]}`);
    button.addEventListener("click", () => {
      for (const id of ["direction", "status", "tag", "search"]) byId(id).value = "";
      state.exactId = null;
      state.finding = item.dataset.kind;
      unbrush();
      drawChips();
      redraw();
      byId("rows").scrollIntoView();
      byId("chips").querySelector("[aria-pressed=true]").focus({ preventScroll: true });
    });
    item.prepend(button);
  }
  drawHeads();
  drawChips();
  drawHeat();
  draw();
  byId("explorer").hidden = false;
})();
