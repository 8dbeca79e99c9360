/** Backtest: what would other options have flagged over the stored history, beside today's? The address holds the question. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { count, dayMonth, fullTime, number, plural } from "../format.js";
import * as hub from "../hub.js";
import { dayBars } from "../parts/day-bars.js";
import { mark, severityTag } from "../parts/severity.js";
import { calm, failed, nothing, waiting } from "../parts/states.js";
import { go } from "../router.js";

const SPANS = { "7d": "a week", "30d": "30 days", "90d": "90 days", "365d": "a year" };
const WORDS = { today: "Today's options", asked: "These options", both: "Both" };
const FIRST = ["p_limit"];  // asked for at once; the other options stand behind a fold
const HOUR = 3_600_000;
const MOST = 100;

export function backtestPage(main, url) {
  const form = h("form", { class: "panel try", onsubmit: (event) => { event.preventDefault(); run(); } });
  const answer = h("div", { "aria-live": "polite" });
  main.append(h("div", { class: "page-head" }, h("h1", null, "Backtest"),
    h("p", { class: "quiet" }, "Try other options on the history that is stored. Nothing is changed, nobody is alarmed.")), form, answer);
  hub.watch([], null);
  put(form, waiting(2));
  let running = null, gone = false, known = [];

  const load = async () => {
    try {
      known = await api.detectors();
      if (!gone) ask(url);
    } catch (error) {
      if (!gone) put(form, failed(error, load));
    }
  };

  /** The form, filled with what the address says. */
  function ask(at) {
    const query = at.searchParams;
    const detector = known.find((one) => one.name === query.get("detector")) ?? known[0];
    const fields = detector.options.map((one) => field(one, query.get(`option.${one.name}`)));
    const [first, more] = [fields.filter((one) => FIRST.includes(one.dataset.name)), fields.filter((one) => !FIRST.includes(one.dataset.name))];
    const open = detector.options.some((one) => !FIRST.includes(one.name) && query.has(`option.${one.name}`));
    put(form,
      h("label", { class: "field wide" }, h("span", null, "Series"),
        h("input", { name: "match", value: query.get("match") ?? "", placeholder: "every series", autocomplete: "off", spellcheck: "false" }),
        h("small", null, "A selector such as temperature{city=\"Mumbai\"}")),
      h("fieldset", { class: "field" }, h("legend", null, "The last"), h("div", { class: "segmented" }, Object.entries(SPANS).map(([value, text]) =>
        h("label", null, h("input", { type: "radio", name: "since", value, checked: value === (query.get("since") ?? "30d") }), h("span", null, text))))),
      known.length > 1 && h("label", { class: "field" }, h("span", null, "Detector"), h("select", { name: "detector", onchange: () => ask(address()) },
        known.map((one) => h("option", { value: one.name, selected: one === detector }, one.name)))),
      h("label", { class: "field" }, h("span", null, "Anomalies a week"),
        h("input", { name: "budget", type: "number", min: "0", step: "any", value: query.get("budget") ?? "", placeholder: "no budget" }),
        h("small", null, "At most about so many, of all these series together")),
      first,
      more.length > 0 && h("details", { class: "more-options", open }, h("summary", null, "More options"), h("div", { class: "try-more" }, more)),
      h("div", { class: "actions" }, h("button", { class: "button primary" }, "Try it"), h("p", { class: "quiet" }, "What is left empty stays as it is today.")));
  }

  /** The address of the question in the form. */
  function address() {
    const at = new URL("/backtest", location.href);
    for (const one of /** @type {any} */ (form).elements) {
      if (!one.name || !one.value || (one.type === "radio" && !one.checked)) continue;
      at.searchParams.set(one.dataset.option ? `option.${one.dataset.option}` : one.name, one.value);
    }
    return at;
  }

  async function run() {
    const at = address(), query = at.searchParams;
    go(at.href, { replace: true });
    const options = Object.fromEntries([...query].filter(([name]) => name.startsWith("option.")).map(([name, text]) => [name.slice(7), valueOf(text)]));
    const asked = { match: query.get("match") ? [query.get("match")] : [], since: query.get("since"), detector: query.get("detector") ?? "", options,
      budget_per_week: query.has("budget") ? Number(query.get("budget")) : null };
    running?.abort();
    const mine = running = new AbortController();
    const bar = /** @type {HTMLProgressElement} */ (h("progress", { max: 1, "aria-label": "Judging history" })), said = h("p", { class: "quiet" }, "Reading");
    put(answer, h("div", { class: "panel running" }, bar, said, h("button", { class: "button small", type: "button", onclick: () => { mine.abort(); put(answer); } }, "Stop")));
    try {
      const result = await api.backtest(asked, ({ series, of, rows }) => {
        bar.value = series / of;
        said.textContent = `${count(series)} of ${plural(of, "series", "series")} judged, ${count(rows)} rows`;
      }, mine.signal);
      if (!gone && running === mine) show(result);
    } catch (error) {
      if (!gone && running === mine && error.name !== "AbortError") put(answer, failed(error, run));
    }
  }

  function show(result) {
    const [today, other] = result.detectors;
    const days = result.detectors.map((one) => ({ name: WORDS[one.name], days: new Map(one.by_day) }));
    put(answer,
      h("section", { class: "block sides" }, side(today, other), other && side(other, today)),
      h("section", { class: "block panel" }, h("h2", null, "Anomalies a day"), dayBars(days, result.start_ms, result.end_ms)),
      h("section", { class: "block" }, differences(result)),
      h("p", { class: "quiet" }, `${count(result.rows)} rows of ${plural(result.series, "series", "series")}, with what was learned from before; ${dayMonth(result.start_ms)} to ${dayMonth(result.end_ms)}.`));
  }

  load();
  return { update() {}, dispose() {
    gone = true;
    running?.abort();
  } };
}

/** A number where the text is one. */
const valueOf = (text) => text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text === "true" || text === "false" ? text === "true" : text;

function field(option, given) {
  const today = option.value ?? option.default;
  return h("label", { class: "field", "data-name": option.name }, h("span", null, option.name.replaceAll("_", " ")),
    h("input", { "data-option": option.name, name: `option.${option.name}`, value: given ?? "", placeholder: today === null || today === "" ? "none" : `today ${today}`, autocomplete: "off" }),
    h("small", null, option.help));
}

function side(one, other) {
  const [low, high] = one.per_week_interval;
  return h("article", { class: `panel side ${one.name}` }, h("h2", null, h("i", { class: "swatch", "aria-hidden": "true" }), WORDS[one.name]),
    h("p", { class: "figure" }, h("b", null, number(one.per_week)), " anomalies a week"),
    h("p", { class: "quiet" }, `${count(one.anomalies)} in all; the true rate is from ${number(low)} to ${number(high)} (95 %)`),
    h("p", null, one.anomalies ? `In ${plural(one.series, "series", "series")}` : "In no series",
      other && one.anomalies > 0 && `; ${count(one.also)} of them flagged by the other too`));
}

function differences(result) {
  const compared = result.detectors.length > 1;
  const groups = compared ? ["asked", "today", "both"] : ["today"];
  const list = h("ul", { class: "anomalies tried" });
  const found = (group) => result.anomalies.filter((one) => one.by === group);
  const buttons = groups.map((group) => h("button", { type: "button", onclick: () => choose(group) },
    { asked: "Only these options", today: compared ? "Only today's" : "The worst", both: "Both" }[group], h("small", null, count(found(group).length))));
  const body = h("div");
  function choose(group) {
    buttons.forEach((one, at) => one.setAttribute("aria-pressed", String(groups[at] === group)));
    const rows = found(group);
    put(list, rows.slice(0, MOST).map(line));
    put(body, rows.length ? list : group === "both" ? nothing("No anomaly is flagged by both") : calm("Nothing", "No anomaly is flagged by these alone."),
      rows.length > MOST && h("p", { class: "quiet" }, `The ${MOST} worst of ${count(rows.length)}.`));
  }
  choose(groups.find((group) => found(group).length) ?? groups[0]);
  return [h("div", { class: "block-head" }, h("h2", null, compared ? "Where they differ" : "What was flagged")),
    h("div", { class: "segmented", role: "group", "aria-label": "Flagged by" }, buttons), body];
}

function line(one) {
  const room = Math.max(2 * HOUR, one.ends_ms - one.begins_ms);
  const query = new URLSearchParams({ name: one.series, start: String(one.begins_ms - room), end: String(one.ends_ms + room) });
  return h("li", null, h("a", { href: `/series?${query}` }, h("time", null, fullTime(one.begins_ms)),
    h("span", { class: "what" }, h("strong", null, one.series), h("br"), one.why), severityTag(one.severity),
    h("span", { class: "numbers" }, plural(one.rows, "row"))));
}
