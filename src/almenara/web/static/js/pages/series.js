/** Series: find them, draw one or several over the same time, zoom, follow live. The address holds all of it. */

import { h, later, put } from "../dom.js";
import { fullTime, plural, zone } from "../format.js";
import * as hub from "../hub.js";
import { ChartCard } from "../parts/chart-card.js";
import { Finder } from "../parts/finder.js";
import { nothing } from "../parts/states.js";
import { go } from "../router.js";
import { seriesText } from "../selector.js";

const HOUR = 3_600_000, DAY = 24 * HOUR;
const RANGES = { "1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, all: Infinity };
const DEFAULT_RANGE = "6h";
const MOST_CARDS = 8;
const SHORTEST = 5000;  // ms: zooming in ends here

/** What the address asks for. */
function read(url) {
  const query = url.searchParams;
  const [start, end] = [Number(query.get("start")), Number(query.get("end"))];
  const fixed = end > start && start > 0 ? { start, end } : null;
  const range = RANGES[query.get("range")] ? query.get("range") : DEFAULT_RANGE;
  return { names: [...new Set(query.getAll("name"))].slice(0, MOST_CARDS), fixed, range, query: query.get("q") ?? "", where: query.getAll("where") };
}

function address(state) {
  const query = new URLSearchParams(state.names.map((one) => ["name", one]));
  if (state.fixed) {
    query.set("start", String(Math.round(state.fixed.start)));
    query.set("end", String(Math.round(state.fixed.end)));
  } else if (state.names.length) {
    query.set("range", state.range);
  }
  if (state.query) query.set("q", state.query);
  for (const one of state.where) query.append("where", one);
  return `/series?${query}`;
}

export function seriesPage(main, url) {
  let state = null, first = null, gone = false;
  /** @type {Map<string, ChartCard>} */
  const cards = new Map();
  const change = (more, options) => go(address({ ...state, ...more }), options);

  const finder = new Finder({
    onChoose: (text, add) => {
      change({ names: add && !state.names.includes(text) ? [...state.names, text].slice(-MOST_CARDS) : add ? state.names : [text] });
      if (!add) shelf.open = wide.matches;
    },
    onQuery: (query, where) => change({ query, where }, { replace: true }),
  });
  const wide = matchMedia("(min-width: 900px)");
  const shelf = h("details", { class: "shelf", open: true }, h("summary", null, "Choose a series"), finder.element);
  const ranges = h("div", { class: "segmented", role: "group", "aria-label": "Time range" }, Object.keys(RANGES).map((one) =>
    h("button", { type: "button", "data-range": one, onclick: () => change({ range: one, fixed: null }) }, one)));
  const tool = (text, label, fn) => h("button", { type: "button", class: "button square", "aria-label": label, title: label, onclick: fn }, text);
  const moves = h("div", { class: "moves", role: "group", "aria-label": "Move and zoom" },
    tool("‹", "Earlier", () => shift(-0.5)), tool("›", "Later", () => shift(0.5)), tool("+", "Zoom in", () => zoom(0.5)), tool("−", "Zoom out", () => zoom(2)));
  const when = h("p", { class: "when quiet" });
  const bar = h("div", { class: "bar" }, ranges, moves, when);
  const stack = h("div", { class: "stack" });
  const stage = h("div", { class: "stage" }, bar, stack);
  main.append(h("h1", { class: "offscreen" }, "Series"), shelf, stage);

  /** The window in ms; it follows the hub's clock unless the reader zoomed. */
  function window() {
    if (state.fixed) return [state.fixed.start, state.fixed.end];
    const now = hub.now();
    const start = state.range === "all" ? first ?? now - DAY : now - RANGES[state.range];
    return [start, now + (now - start) * 0.012];  // a little room, so that the newest mark is whole
  }

  function zoomTo(start, end) {
    if (end - start < SHORTEST) [start, end] = [(start + end - SHORTEST) / 2, (start + end + SHORTEST) / 2];
    change({ fixed: { start, end } });
  }

  function shift(part) {
    const [start, end] = window();
    const by = Math.min((end - start) * part, Math.max(0, hub.now() - end) || 0);
    zoomTo(start + (part < 0 ? (end - start) * part : by), end + (part < 0 ? (end - start) * part : by));
  }

  function zoom(factor) {
    const [start, end] = window();
    const middle = state.fixed || factor > 1 ? (start + end) / 2 : end - (end - start) * 0.25;
    const half = ((end - start) * factor) / 2;
    const last = Math.min(middle + half, hub.now());
    zoomTo(Math.max(1, last - 2 * half), last);
  }

  const hover = (time) => cards.forEach((one) => one.hover(time));
  const zoomSoon = later(60, zoomTo);

  function showCards() {
    for (const [text, one] of cards) {
      if (!state.names.includes(text)) {
        one.dispose();
        cards.delete(text);
      }
    }
    for (const text of state.names) {
      if (!cards.has(text)) {
        cards.set(text, new ChartCard(text, { onZoom: zoomSoon, onHover: hover,
          linkTo: (start, end) => address({ ...state, fixed: { start, end } }),
          onRemove: (one) => change({ names: state.names.filter((n) => n !== one) }) }));
      }
    }
    const elements = state.names.map((one) => cards.get(one).element);
    if (elements.some((one, i) => stack.children[i] !== one) || !elements.length) {
      put(stack, elements.length ? elements : nothing("Choose a series", wide.matches ? "Search on the left, by name or by label. Use + to draw several over the same time."
        : "Search above, by name or by label. Use + to draw several over the same time."));
    }
    stage.classList.toggle("several", elements.length > 1);
    bar.hidden = !elements.length;
    hub.watch(state.names, state.fixed ? null : onRows);
  }

  async function load() {
    showWhen();
    const [start, end] = window();
    const from = !state.fixed && state.range === "all" ? 0 : start;
    for (const one of cards.values()) one.setWindow(start, end);
    const firsts = await Promise.all([...cards.values()].map((one) => one.load(from, end)));
    if (gone || from !== 0) return;
    first = firsts.filter((one) => one !== null).reduce((a, b) => Math.min(a, b), end - 60_000);
    const whole = window();
    for (const one of cards.values()) one.setWindow(...whole);
    showWhen();
  }

  function showWhen() {
    const [start, end] = window();
    for (const button of ranges.children) {
      const on = !state.fixed && button.dataset.range === state.range;
      button.setAttribute("aria-pressed", String(on));
    }
    when.textContent = `${state.fixed ? `${fullTime(start)} to ${fullTime(end)}` : state.range === "all" && !first ? "From the first sample" : `Since ${fullTime(start)}, live`} · ${zone(new Date(end))}`;
  }

  const onRows = (series, rows) => {
    const here = series.map((labels) => cards.get(typeof labels === "string" ? labels : seriesText(labels)));
    for (const [i, t, v, score, lower, upper, yhat] of rows) here[i]?.row(t, v, score, lower, upper, yhat);
  };

  function update(next) {
    const wanted = read(next);
    const before = state;
    state = wanted;
    finder.set(state.query, state.where);
    finder.mark(state.names);
    const names = before?.names.join("\n") !== state.names.join("\n");
    const moved = JSON.stringify([before?.fixed, before?.range]) !== JSON.stringify([state.fixed, state.range]);
    if (names) showCards();
    if (moved && !names) hub.watch(state.names, state.fixed ? null : onRows);
    if (names || moved) {
      first = null;
      load();
    }
    document.title = state.names.length ? `${state.names.length === 1 ? state.names[0] : plural(state.names.length, "series", "series")} · Almenara` : "Series · Almenara";
  }

  update(url);
  if (state.names.length && !wide.matches) shelf.open = false;
  const timer = setInterval(() => {
    if (document.hidden || state.fixed || !hub.isConnected()) return;
    const [start, end] = window();  // one for all: they stay linked
    cards.forEach((one) => one.tick(start, end));
  }, 1000);
  let lost = false;
  const stop = hub.on("connection", (up) => {
    if (up && lost && cards.size) load();  // what came while the hub was out of reach
    lost = !up;
  });

  return { update, dispose() {
    gone = true;
    clearInterval(timer);
    stop();
    zoomSoon.cancel();
    finder.dispose();
    cards.forEach((one) => one.dispose());
  } };
}
