// The explorer of rows: pairs of a comparison, or examples of an audit. Text of the datasets
// enters the page only as textContent, so it can never become markup.
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
  const FILTERS = ["direction", "status", "tag"];
  const [LENGTH, IFD] = [fieldAt("response_tokens"), fieldAt("ifd")];

  // ---- sorting and filtering

  if (!data.rows.length) return;
  const sidesOf = (row) => data.sides.map((name) => row[name]);
  const firstOf = (row) => row[data.sides[0]];
  const isPaired = data.sides.length > 1;
  const textOf = (side) => side.tokens ? side.tokens.join("") : side.response;
  for (const row of data.rows) {
    row.status = [...new Set(sidesOf(row).map((side) => side.status))].join(" → ");
    row.searched = [row.place, ...row.evidence, ...sidesOf(row).flatMap(
      (side) => [side.id, side.instruction, textOf(side)],
    )].join("\n").toLowerCase();
  }
  const hasInstructions = data.has_text
    && data.rows.some((row) => sidesOf(row).some((side) => side.instruction));
  const target = hasInstructions ? "Response" : "Document";
  const state = {
    metric: Math.max(0, IFD), brush: null,
    sort: null, descending: false, exactId: null, shown: PAGE, finding: "", heat: "given",
  };
  const titleOf = new Map(data.findings.map(({ kind, title }) => [kind, title]));
  for (const row of data.rows) {
    const reasons = row.reasons.filter((why) => !why.startsWith("finding: "));
    row.tags = [...row.findings.map((kind) => titleOf.get(kind)), ...reasons];
  }
  const valueOf = (side, field) => field < 0 ? null : side.numbers[field];
  const changeIn = (row, field) => {
    const [before, after] = sidesOf(row).map((side) => valueOf(side, field));
    return before === null || after === null ? null : after - before;
  };
  const titled = (name) => name[0].toUpperCase() + name.slice(1);
  const shownMetric = {
    name: "Value", of: (row) => valueOf(firstOf(row), state.metric), isMetric: true,
  };
  const COLUMNS = [
    { name: "Row", of: (row) => firstOf(row).row },
    ...(!data.fields.length ? [] : !isPaired ? [shownMetric] : [
      ...data.sides.map((name) => (
        { name: titled(name), of: (row) => valueOf(row[name], state.metric), side: name })),
      { name: "Change", of: (row) => changeIn(row, state.metric), signed: true },
    ]),
    ...(LENGTH < 0 ? [] : data.sides.map((name) => ({
      name: isPaired ? `Tokens ${name}` : "Tokens",
      of: (row) => valueOf(row[name], LENGTH), later: true,
    }))),
    { name: "Status", of: (row) => row.status, later: true, words: true },
    { name: "Tags", of: (row) => row.tags.join(", "), later: isPaired, words: true, tags: true },
    ...(hasInstructions ? [{
      name: "Instruction", of: (row) => firstOf(row).instruction, later: true, words: true,
      snippet: true,
    }] : []),
  ];

  function compare(a, b) { // undefined comes last in both directions
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    const order = typeof a === "string" ? a.localeCompare(b) : a - b;
    return state.descending ? -order : order;
  }

  function directionOf(row) {
    const change = changeIn(row, state.metric);
    if (change === null) return "undefined";
    return change > 0 ? "up" : change < 0 ? "down" : "same";
  }

  function isBrushed(row) {
    const { side, tokens, values } = state.brush;
    const [length, ifd] = [LENGTH, IFD].map((field) => valueOf(row[side], field));
    return length !== null && ifd !== null && length >= tokens[0] && length <= tokens[1]
      && ifd >= values[0] && ifd <= values[1];
  }

  function chosen() {
    const words = byId("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const [direction, status, tag] = FILTERS.map((id) => byId(id)?.value);
    const found = data.rows.filter((row) => {
      if (direction && direction !== directionOf(row)) return false;
      if (status && status !== row.status) return false;
      if (tag && !row.tags.includes(tag)) return false;
      if (state.finding && !row.findings.includes(state.finding)) return false;
      if (state.brush && !isBrushed(row)) return false;
      if (state.exactId !== null) return sidesOf(row).some((side) => side.id === state.exactId);
      return words.every((word) => row.searched.includes(word));
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
    const has = (name) => data.rows.some((row) => sidesOf(row).some(
      (side) => side[name]?.some((x) => x !== null)));
    const known = ["given", "alone"].filter(has);
    const offered = known.length === 2 ? [...known, "saved"] : known.length ? known : ["given"];
    if (!offered.includes(state.heat)) state.heat = offered[0];
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
      shade("muted", hasInstructions ? HEATS[state.heat][1] : "Surprise, nats:"),
      ...shades, shade("unscored", "not scored"));
  }

  const drawnSides = (row) => data.sides.map((name) => sideOf(row, name));

  function redrawSides(detail) {
    detail.querySelector(".sides").replaceChildren(...drawnSides(detail.row));
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

  function sideOf(row, name) {
    const side = row[name];
    const suffix = isPaired ? ` ${name}` : "";
    const made = element("div", { className: "side" });
    if (isPaired) made.append(element("h4", { className: `${name} mark` }, titled(name)));
    made.append(element("div", { className: "note" },
      row.place || `row ${side.row}, turn ${side.turn}`, " · ",
      element("bdi", { className: "code" }, side.id), ` · ${side.status}`));
    if (data.has_text) {
      const response = shaded(side);
      response.tabIndex = 0; // long texts scroll, so the keyboard has to reach them
      response.setAttribute("role", "region");
      response.setAttribute("aria-label", `${target}${suffix}`);
      if (hasInstructions) {
        made.append(element("h5", {}, "Instruction"),
          element("div", { className: "text", dir: "auto", tabIndex: 0, role: "region",
            ariaLabel: `Instruction${suffix}` }, side.instruction || "(empty)"));
      }
      made.append(element("h5", {}, target), response);
    }
    return made;
  }

  function numbersOf(row) {
    const hasPercentiles = Boolean(firstOf(row).percentiles);
    const heads = ["Metric", ...(isPaired ? [...data.sides.map(titled), "Change"] : ["Value"]),
      ...(hasPercentiles ? ["Percentile"] : [])];
    const rows = data.fields.map((field, i) => {
      const values = sidesOf(row).map((side) => number(side.numbers[i]));
      if (isPaired) values.push(signed(changeIn(row, i)));
      if (hasPercentiles) values.push(number(firstOf(row).percentiles[i]));
      return element("tr", {}, element("th", { scope: "row" }, field.label),
        ...values.map((x) => element("td", {}, x)));
    });
    return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map(
      (name) => element("th", { scope: "col", className: name.toLowerCase() }, name)))),
    element("tbody", {}, ...rows));
  }

  function evidenceOf(row) {
    if (!row.evidence.some(Boolean)) {
      return element("p", { className: "note" }, `Tags: ${row.tags.join(", ") || "none"}`);
    }
    return element("ul", { className: "evidence" }, ...row.findings.map((kind, i) => element(
      "li", {}, element("strong", {}, titleOf.get(kind)), ...(row.evidence[i]
        ? [" ", element("q", {}, element("bdi", {}, row.evidence[i]))] : []))));
  }

  function toggle(line, row, opener) {
    const open = opener.getAttribute("aria-expanded") === "true";
    opener.setAttribute("aria-expanded", String(!open));
    if (open) return line.nextElementSibling.remove();
    const inside = element("div", { className: `detail-inside${isPaired ? "" : " alone"}` },
      element("div", { className: "sides" }, ...drawnSides(row)),
      element("div", {}, evidenceOf(row), ...(data.fields.length ? [numbersOf(row)] : [])));
    const detail = element("tr", { className: "detail" },
      element("td", { colSpan: COLUMNS.length }, inside));
    detail.row = row;
    line.after(detail);
  }

  function cellOf(column, row) {
    const value = column.of(row);
    if (column.tags) {
      return element("span", { className: "tags" }, ...row.tags.map(
        (tag) => element("span", { className: "tag" }, tag)));
    }
    if (column.words) return element("bdi", {}, value.slice(0, 120));
    return column.signed ? signed(value) : number(value);
  }

  function lineOf(row) {
    const opener = element("button", { type: "button", className: "opener" },
      String(firstOf(row).row));
    opener.setAttribute("aria-expanded", "false");
    const cells = COLUMNS.slice(1).map((column) => {
      const names = [column.later && "later", column.words && "words",
        column.snippet && "snippet"].filter(Boolean).join(" ");
      return element("td", { className: names }, cellOf(column, row));
    });
    const line = element("tr", { className: "pair" },
      element("th", { scope: "row" }, opener), ...cells);
    line.addEventListener("click", (event) => {
      if (event.target === opener || !getSelection().toString()) toggle(line, row, opener);
    });
    return line;
  }

  function draw() {
    const found = chosen();
    byId("pairs").replaceChildren(...found.slice(0, state.shown).map(lineOf));
    byId("more").hidden = found.length <= state.shown;
    byId("count").textContent =
      `${Math.min(state.shown, found.length)} of ${found.length} matching ${data.noun}s shown`
      + (found.length < data.rows.length ? `, out of ${data.rows.length}` : "");
    [...byId("heads").children].forEach((head, i) => {
      if (COLUMNS[i].isMetric) {
        head.firstChild.textContent = data.fields[state.metric].label;
      }
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
  byId("metric").parentElement.hidden = !data.fields.length;
  byId("metric").value = String(state.metric);
  offer("status", data.rows.map((row) => row.status));
  offer("tag", data.rows.flatMap((row) => row.tags));
  byId("metric").addEventListener("change", (event) => {
    state.metric = Number(event.target.value);
    redraw();
  });
  for (const id of FILTERS) byId(id)?.addEventListener("change", redraw);
  byId("search").addEventListener("input", () => {
    state.exactId = null;
    redraw();
  });
  byId("search").form.addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    state.shown += PAGE;
    draw();
  });
  function clearFilters() {
    for (const id of FILTERS) if (byId(id)) byId(id).value = "";
    byId("search").value = state.finding = "";
    state.exactId = null;
    unbrush();
  }
  function showFound(focused) { // from the top of the section, with the focus on an element of it
    drawChips();
    redraw();
    byId("rows").scrollIntoView();
    focused().focus({ preventScroll: true });
  }
  for (const button of document.querySelectorAll("button.find")) {
    button.addEventListener("click", () => {
      clearFilters();
      byId("search").value = state.exactId = button.dataset.find;
      showFound(() => byId("search"));
    });
  }
  function drawChips() {
    byId("chips").replaceChildren(...data.findings.map(({ kind, title }) => {
      const n = data.rows.filter((row) => row.findings.includes(kind)).length;
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

  for (const item of document.querySelectorAll("[data-kind]")) {
    const title = titleOf.get(item.dataset.kind);
    if (!title) continue;
    const button = element("button", { type: "button", className: "chip" }, "Show rows");
    button.setAttribute("aria-label", `Show rows: ${title}`);
    button.addEventListener("click", () => {
      clearFilters();
      state.finding = item.dataset.kind;
      showFound(() => byId("chips").querySelector("[aria-pressed=true]"));
    });
    item.prepend(button);
  }
  drawHeads();
  drawChips();
  drawHeat();
  draw();
  byId("explorer").hidden = false;
})();
