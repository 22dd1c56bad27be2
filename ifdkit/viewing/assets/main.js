// The page: what is filtered and sorted, and what follows from it.

import { get, post, isAborted } from "./api.js";
import { Histogram, Scatter } from "./brushes.js";
import { Detail } from "./detail.js";
import { rangeText } from "./keys.js";
import { MapView } from "./map.js";
import { List } from "./list.js";
import { element, byId, count } from "./text.js";

const POLL_MS = 700;
const TYPING_MS = 140;

const query = { search: "", where: "", finding: "", mark: "", facets: {}, ranges: {} };
let state = null;
let sort = { name: "", descending: false };
let figures = { histogram: "", x: "", y: "" };
let total = 0;

if (location.search) history.replaceState(null, "", "/"); // the token does not stay in the address

const asJson = (without = []) => JSON.stringify({
  search: query.search, where: query.where, finding: query.finding, mark: query.mark,
  facets: Object.entries(query.facets).filter(([, value]) => value),
  ranges: Object.entries(query.ranges).filter(([name]) => !without.includes(name)).map(([name, [low, high]]) => [name, low, high]),
});

const list = new List({
  fetchPage: async (begin, n) => {
    const answer = await fetchRows(begin, n);
    return answer.rows;
  },
  open: (index) => open(index),
  sortBy: (name) => {
    sort = { name, descending: sort.name === name ? !sort.descending : true };
    drawSort();
    refresh({ figures: false });
  },
});
const detail = new Detail({
  mark: (mark) => setMark(mark),
  close: () => close(),
  filterFinding: (kind) => { query.finding = kind; drawMenus(); refresh(); },
  step: (by) => step(by),
  openAt: (position) => openAt(position),
});
const histogram = new Histogram((ranges) => brushed(ranges, [figures.histogram]));
const map = new MapView({
  brushed: (ranges, names) => brushed(ranges, names),
  openAt: (position) => openAt(position),
  topic: (title) => { query.facets.topic = query.facets.topic === title ? "" : title; drawMenus(); refresh(); },
  query: () => asJson(),
  isTopic: (title) => query.facets.topic === title,
});
const scatter = new Scatter((ranges) => brushed(ranges, [figures.x, figures.y]));

// Requests for pages of rows run side by side, so they are not made with `get`, which aborts.
async function fetchRows(begin, n) {
  const values = { q: asJson(), sort: sort.name, descending: sort.descending, begin, count: n, columns: shownColumns().map((one) => one.name).join(",") };
  const response = await fetch(`/api/rows?${new URLSearchParams(values)}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function shownColumns() {
  const wide = byId("main").clientWidth;
  const room = wide < 420 ? 1 : wide < 560 ? 2 : wide < 760 ? 3 : wide < 1000 ? 4 : 6;
  const preferred = state.kind === "comparison"
    ? ["ifd_change", "ifd_after", "response_tokens_change", "ifd_before", "coherence_after", "ppl_response_conditional_after"]
    : ["ifd", "response_tokens", "ppl_response_conditional", "coherence", "response_words", "instruction_words", "status"];
  const names = [...new Set([sort.name, ...preferred, ...state.columns.map((one) => one.name)])].filter((name) => name && name !== "id");
  const known = new Map(state.columns.map((one) => [one.name, one]));
  return names.filter((name) => known.has(name) && name !== "turn").slice(0, room).map((name) => ({
    ...known.get(name), sorted: name === sort.name ? (sort.descending ? "descending" : "ascending") : null,
  }));
}

let asked = 0;
async function refresh({ keep = false, figures: withFigures = true } = {}) {
  asked += 1;
  const mine = asked;
  const error = byId("where-error");
  try {
    const answer = await fetchRows(0, 100);
    if (mine !== asked) return;
    error.textContent = "";
    byId("where").removeAttribute("aria-invalid");
    total = answer.n;
    const of = answer.total === answer.n ? "" : ` of ${count(answer.total)}`;
    byId("count").textContent = `${count(answer.n)}${of} ${state.kind === "comparison" ? "pairs" : "rows"}`;
    list.reset(answer.n, shownColumns(), { keep });
    list.pages.set(0, Promise.resolve(answer.rows));
    if (!answer.n) byId("list").dataset.empty = "No row matches."; else delete byId("list").dataset.empty;
    document.body.dataset.ready = "true";
  } catch (problem) {
    if (mine !== asked || isAborted(problem)) return;
    error.textContent = problem.message;
    byId("where").setAttribute("aria-invalid", "true");
    return;
  }
  drawRanges();
  if (withFigures) await Promise.all([drawFigures(), map.refresh()]);
}

async function drawFigures() {
  const column = new Map(state.columns.map((one) => [one.name, one]));
  try {
    if (figures.histogram) {
      const data = await get("histogram", { q: asJson([figures.histogram]), column: figures.histogram });
      histogram.show(column.get(figures.histogram), data);
      const undefinedRows = data.undefined ? `${count(data.undefined)} rows without a number. ` : "";
      byId("histogram-note").textContent = `${undefinedRows}${histogram.note}`;
    }
    if (figures.x && figures.y) {
      const data = await get("grid", { q: asJson([figures.x, figures.y]), x: figures.x, y: figures.y });
      scatter.show(column.get(figures.x), column.get(figures.y), data);
    }
  } catch (problem) {
    if (!isAborted(problem)) byId("where-error").textContent = problem.message;
  }
}

function brushed(ranges, names) {
  for (const name of names) delete query.ranges[name];
  for (const [name, low, high] of ranges ?? []) query.ranges[name] = [low, high];
  followRanges();
}

function followRanges() {
  for (const figure of [histogram, scatter, map]) figure.follow(query.ranges);
  refresh();
}

function drawRanges() {
  const labels = new Map(state.columns.map((one) => [one.name, one.short]));
  byId("ranges").replaceChildren(...Object.entries(query.ranges).map(([name, range]) => element("button", {
    type: "button", class: "chip", title: "Take this range away",
    onclick: () => { delete query.ranges[name]; followRanges(); },
  }, `${labels.get(name) ?? name} ${rangeText(range, ["≤", "≥"])}\u00a0✕`)));
}

function menu(id, label, values, chosen, change) {
  const select = element("select", { id, onchange: (event) => change(event.target.value) },
    ...values.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
  return element("div", { class: "field" }, element("label", { for: id }, label), select);
}

function drawMenus() {
  const made = state.facets.map((one) => menu(`facet-${one.name}`, one.name.replaceAll("_", " "),
    [["", "any"], ...one.values.map((value) => [value, value])], query.facets[one.name] ?? "",
    (value) => { query.facets[one.name] = value; refresh(); }));
  if (state.findings.length) {
    made.push(menu("finding", "Finding", [["", "any"], ...state.findings.map((one) => [one.kind,
      `${one.title}: ${count(one.count)}${one.listed < one.count ? ` (first ${one.listed} listed)` : ""}`])], query.finding,
      (value) => { query.finding = value; refresh(); }));
  }
  made.push(menu("mark", "Mark", [["", "any"], ["star", `★ star: ${count(state.marks.star)}`], ["drop", `✕ drop: ${count(state.marks.drop)}`], ["none", "none"]],
    query.mark, (value) => { query.mark = value; refresh(); }));
  byId("menus").replaceChildren(...made);
}

function drawSort() {
  byId("sort").value = sort.name;
  const button = byId("direction");
  button.textContent = sort.descending ? "↓" : "↑";
  button.setAttribute("aria-label", `Order: ${sort.descending ? "descending" : "ascending"}`);
}

function fillSelects() {
  const numbers = state.columns.filter((one) => one.is_number && one.name !== "row" && one.name !== "turn");
  const has = (name) => numbers.some((one) => one.name === name);
  const first = (...names) => names.find(has) ?? numbers[0]?.name ?? "";
  const last = state.kind === "comparison" ? "_after" : "";
  if (!has(figures.histogram)) figures.histogram = first("ifd_change", "ifd", "response_words");
  if (!has(figures.x)) figures.x = first(`response_tokens${last}`, "response_words");
  if (!has(figures.y)) figures.y = first(`ifd${last}`, "instruction_words");
  for (const [id, name] of [["histogram-column", "histogram"], ["x-column", "x"], ["y-column", "y"]]) {
    const select = byId(id);
    select.replaceChildren(...numbers.map((one) => element("option", { value: one.name }, one.label)));
    select.value = figures[name];
    select.onchange = () => {
      figures[name] = select.value;
      histogram.box = null; scatter.box = null;
      drawFigures();
    };
  }
  byId("sort").replaceChildren(element("option", { value: "" }, "Order of the file"),
    ...[{ name: "id", label: "id" }, ...state.columns].map((one) => element("option", { value: one.name }, one.label)));
  drawSort();
}

let opened = 0;
async function open(index) {
  if (index < 0 || index >= total) return;
  opened += 1;
  const mine = opened;
  list.select(index);
  const line = await list.row(index);
  if (!line || mine !== opened) return;
  try {
    const row = await get("row", { at: line.position });
    if (mine !== opened) return;
    await showDetail(row, line.position, mine, { index, n: total });
  } catch (problem) {
    if (!isAborted(problem)) byId("where-error").textContent = problem.message;
  }
}

async function openAt(position) {
  opened += 1;
  const mine = opened;
  list.select(-1);
  try {
    const row = await get("row", { at: position });
    if (mine === opened) await showDetail(row, position, mine);
  } catch (problem) {
    if (!isAborted(problem)) byId("where-error").textContent = problem.message;
  }
}

async function showDetail(row, position, mine, place = { index: position, n: state.loaded }) {
  detail.show(row, state, place);
  const tokens = row.sides.length ? await get("tokens", { at: position }) : [];
  if (mine === opened) detail.showTokens(tokens);
  if (!state.has_neighbors) return;
  const near = await get("near", { at: position });
  if (mine === opened) detail.showNear(near);
}

function step(by) { open(Math.min(total - 1, Math.max(0, list.current + by))); }

function close() {
  opened += 1;
  detail.clear();
  list.scroller.focus();
}

// A row that was opened from the map or from its neighbors has no line in the list.
async function markOpened(mark) {
  const { row } = detail;
  if (!row) return;
  const next = row.mark === mark ? null : mark;
  try {
    const answer = await post("mark", { at: row.position, mark: next });
    state.marks = answer.marks;
    detail.setMark(next);
    drawMenus();
  } catch (problem) {
    byId("where-error").textContent = problem.message;
  }
}

async function setMark(mark) {
  const index = list.current;
  if (index < 0) {
    await markOpened(mark);
    return;
  }
  const line = await list.row(index);
  const next = line.mark === mark ? null : mark;
  try {
    const answer = await post("mark", { at: line.position, mark: next });
    state.marks = answer.marks;
    await list.marked(index, next);
    if (detail.row?.position === line.position) detail.setMark(next);
    drawMenus();
  } catch (problem) {
    byId("where-error").textContent = problem.message;
  }
}

let typing = 0;
function onType(id, field) {
  byId(id).addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { query[field] = byId(id).value; refresh(); }, TYPING_MS);
  });
  byId(id).addEventListener("keydown", (event) => {
    if (event.key === "Enter") { clearTimeout(typing); query[field] = byId(id).value; refresh(); }
    if (event.key === "Escape") { list.scroller.focus(); event.stopPropagation(); }
  });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const acts = {
    j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
    s: () => setMark("star"), x: () => setMark("drop"), Escape: () => close(),
    "/": () => showFilters(true) ?? byId("search").focus(), w: () => showFilters(true) ?? byId("where").focus(),
    "?": () => byId("help").click(),
  };
  const isInList = !event.target.closest("#detail") || !event.key.startsWith("Arrow");
  if (acts[event.key] && isInList) {
    event.preventDefault();
    acts[event.key]();
  }
});

function showFilters(isShown) {
  byId("filters").classList.toggle("open", isShown);
  byId("toggle-filters").setAttribute("aria-expanded", String(isShown));
}

function toggle(button, target) {
  byId(button).addEventListener("click", () => {
    byId(target).hidden = !byId(target).hidden;
    byId(button).setAttribute("aria-expanded", String(!byId(target).hidden));
  });
}

function drawState() {
  document.title = `${state.title} · ifdkit view`;
  byId("title").textContent = state.title;
  byId("marks-file").textContent = `Marks are kept in ${state.marks_file}; ifdkit select --ids takes this file.`;
  const progress = byId("progress");
  progress.hidden = state.stage === "done";
  progress.classList.toggle("error", state.stage === "failed");
  progress.textContent = {
    reading: `Reading: ${count(state.loaded)} of ${count(state.expected)} rows. What is there can be used.`,
    checking: "All rows are here. Looking for findings…",
    mapping: "The map shows principal components until its other layout is ready.",
    failed: state.problem,
  }[state.stage] ?? "";
  byId("notes").replaceChildren(
    ...(state.headline ? [element("p", { class: "headline" }, state.headline)] : []),
    ...[...state.notes, ...(state.has_map || state.stage !== "done" || !state.map_note ? [] : [state.map_note])].map((note) => element("p", { class: "note" }, note)));
  drawMenus();
  byId("shown").hidden = !state.has_map;
  map.offer(state);
}

function showMap(isShown) {
  byId("show-map").setAttribute("aria-pressed", String(isShown));
  byId("show-rows").setAttribute("aria-pressed", String(!isShown));
  byId("list").hidden = byId("sorting").hidden = isShown;
  map.show(isShown);
}

async function poll() {
  const before = state;
  try {
    state = await get("state");
  } catch (problem) {
    byId("progress").hidden = false;
    byId("progress").textContent = "The server has stopped.";
    return;
  }
  drawState();
  const isNew = !before || before.columns.length !== state.columns.length;
  if (isNew) fillSelects();
  if (state.loaded && (isNew || before.loaded !== state.loaded)) refresh({ keep: Boolean(before?.loaded) });
  if (before && before.map_layout !== state.map_layout) brushed(null, map.columns);
  if (["reading", "checking", "mapping"].includes(state.stage)) setTimeout(poll, POLL_MS);
}

byId("show-map").addEventListener("click", () => showMap(true));
byId("show-rows").addEventListener("click", () => showMap(false));
onType("search", "search");
onType("where", "where");
toggle("help", "keys");
byId("toggle-filters").addEventListener("click", () => showFilters(!byId("filters").classList.contains("open")));
byId("sort").addEventListener("change", () => { sort.name = byId("sort").value; drawSort(); refresh({ figures: false }); });
byId("direction").addEventListener("click", () => { sort.descending = !sort.descending; drawSort(); refresh({ figures: false }); });
byId("clear").addEventListener("click", () => {
  Object.assign(query, { search: "", where: "", finding: "", mark: "", facets: {}, ranges: {} });
  byId("search").value = ""; byId("where").value = "";
  drawMenus();
  followRanges();
});
for (const one of [matchMedia("(prefers-color-scheme: dark)")]) one.addEventListener("change", redraw);
byId("theme").addEventListener("click", redraw);
function redraw() { requestAnimationFrame(() => { histogram.draw(); scatter.draw(); map.redraw(); }); }
let width = 0;
new ResizeObserver(() => {
  const now = byId("main").clientWidth;
  if (state?.loaded && width && Math.abs(now - width) > 40) list.reset(total, shownColumns(), { keep: true });
  width = now;
}).observe(byId("main"));
poll();
