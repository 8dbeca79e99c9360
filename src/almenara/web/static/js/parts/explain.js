/** What a row, an anomaly and the marks of a chart mean, in plain sentences. */

import { nearest } from "../columns.js";
import { h } from "../dom.js";
import { duration, fullTime, hourMinute, dayMonth, moment, number, plural, quantity } from "../format.js";
import { mark, SEVERITIES, severityOf, severityTag } from "./severity.js";

/** One row of the columns with what is known about it. */
export function rowAt(columns, anomalies, i) {
  if (i < 0) return null;
  const time = columns.times[i];
  const at = nearest(anomalies.map((one) => one.time), time);
  const anomaly = at >= 0 && anomalies[at].time === time ? anomalies[at] : null;
  return { time, value: columns.values[i], yhat: known(columns.yhat[i], anomaly?.yhat), lower: known(columns.lower[i], anomaly?.lower),
    upper: known(columns.upper[i], anomaly?.upper), score: known(anomaly?.score, columns.score[i]), anomaly };
}

const known = (...values) => values.find((v) => v !== null && v !== undefined && !Number.isNaN(v)) ?? NaN;

/** The hub's sentence is "Fell suddenly: 3.2, 68% below the usual 10, expected 5 to 15 (sample 2 of this anomaly)". */
const SENTENCE = /^(.*): [-\d.,e+]+(, .* the usual \S+?)?(, expected .*?)?( \(sample \d+ of this anomaly\))?$/;

/** What stands before its figures, or nothing where it is of another kind. */
export const causeOf = (why = "") => SENTENCE.exec(why)?.[1] ?? "";

/** The hub's sentence with units: "Fell suddenly: 3.2 °C, expected 5 to 15 °C". */
export function sentenceOf({ value, lower, upper, why = "" }, unit = "") {
  const row = { value: known(value), lower: known(lower), upper: known(upper) };
  const outside = (row.value > row.upper || row.value < row.lower) && (!why || why.includes(", expected "));
  const cause = causeOf(why) || (why || !outside ? "" : row.value > row.upper ? "Higher than usual" : "Lower than usual");
  if (!cause || Number.isNaN(row.value)) return why;
  const passed = row.value > row.upper ? row.upper : row.lower;
  let digits = 3;  // as many as tell the value from the limit that it passed
  while (outside && digits < 9 && quantity(row.value, unit, digits) === quantity(passed, unit, digits)) digits++;
  const [, , usual = "", , sample = ""] = SENTENCE.exec(why) ?? [];
  return `${cause}: ${quantity(row.value, unit, digits)}${usual}${outside ? `, expected ${band(row, unit, digits)}` : ""}${sample}`;
}

/** "27.6 to 29.4 °C" */
function band(row, unit, digits = 3) {
  const [low, high] = [quantity(row.lower, unit, digits), quantity(row.upper, unit, digits)];
  const suffix = / \S+$/.exec(high)?.[0] ?? "";
  return `${suffix && low.endsWith(suffix) ? low.slice(0, -suffix.length) : low} to ${high}`;
}

/** How a value stands to its band. */
function standing(row) {
  if (Number.isNaN(row.lower)) return "No band yet: this series is still being learned.";
  if (Number.isNaN(row.value)) return "No value here.";
  if (row.score >= 1) {
    const cause = causeOf(row.anomaly?.why) || (row.value > row.upper ? "Above its learned band" : row.value < row.lower ? "Below its learned band" : "Unusual");
    return `${cause}. Score ${number(row.score)}, where 1 is the limit.`;
  }
  return row.value > row.upper ? "Slightly above its learned band." : row.value < row.lower ? "Slightly below its learned band."
    : "Inside its learned band.";
}

/**
 * The readout above a chart: the newest row, or the one under the pointer.
 * @param {{now: boolean, clock: number}} how  now: it is the newest of a window that follows the clock; clock: the hub's time, ms
 */
export function explain(row, view, { now, clock }) {
  if (!row) return null;
  const { unit } = view;
  const old = clock - row.time;
  const late = now && old > 90_000;
  const when = now ? (late ? `last sample ${duration(old)} ago` : "now") : moment(row.time, clock);
  return [
    h("span", { class: `now${row.score >= 1 ? " odd" : ""}`, title: fullTime(row.time) }, quantity(row.value, unit, 4)),
    h("span", { class: "readout-text" },
      h("span", null, h("time", null, when),
        !Number.isNaN(row.yhat) && h("span", null, " · ", h("b", null, quantity(row.yhat, unit)), " expected"),
        !Number.isNaN(row.lower) && h("span", null, !Number.isNaN(row.yhat) ? " (" : " · expected ", band(row, unit), !Number.isNaN(row.yhat) ? ")" : "")),
      h("span", { class: "standing" }, row.score >= 1 && severityTag(severityOf({ severity: row.anomaly?.severity, score: row.score })), " ",
        standing(row))),
  ];
}

/** What is marked in this chart; only what is there. @param {import("../api.js").View} view */
export function legendOf(view) {
  const used = new Set(view.anomalies.map(severityOf));
  return [
    h("li", null, h("i", { class: "key line" }), "measured"),
    view.lower.some((v) => v !== null) && h("li", null, h("i", { class: "key band" }), "learned band"),
    view.yhat.some((v) => v !== null) && h("li", null, h("i", { class: "key expected" }), "expected"),
    SEVERITIES.filter((one) => used.has(one)).map((one) => h("li", null, mark(one), one)),
    ["warning", "critical"].map((one) => limitsOf(view, one)),
    view.alarms.length > 0 && h("li", null, h("i", { class: "key span" }), "alarm"),
    view.decimated && h("li", { class: "quiet", title: "Zoom in to see every sample" }, "thinned; extremes kept"),
  ];
}

/** "warning limit 80 %", "critical limits 10 and 20 s": those that hold last. */
function limitsOf({ thresholds = [], unit }, severity) {
  const values = thresholds.filter((one) => one.severity === severity && one.values.length).map((one) => one.values[one.values.length - 1]);
  if (!values.length) return null;
  const text = values.sort((a, b) => a - b).map((value) => quantity(value, unit)).join(" and ");
  return h("li", null, h("i", { class: `key limit ${severity}` }), `${severity} ${values.length > 1 ? "limits" : "limit"} ${text}`);
}

/** @param {ReturnType<typeof import("../columns.js").episodes>} found */
export function anomalyList(found, view, linkTo) {
  if (!found.length) return null;
  return [
    h("h3", null, plural(found.length, "anomaly", "anomalies"), " in this window"),
    h("ul", { class: "anomalies" }, found.slice(0, 12).map(({ start, end, worst, rows }) => {
      const room = Math.max(15 * 60_000, (end - start) * 1.5);
      const many = hourMinute(start) !== hourMinute(end);
      return h("li", null, h("a", { href: linkTo(start - room, end + room) },
        h("time", { title: fullTime(worst.time) }, `${dayMonth(start)}, ${hourMinute(start)}${many ? ` to ${hourMinute(end)}` : ""}`),
        severityTag(severityOf(worst)),
        h("span", { class: "what" }, sentenceOf(worst, view.unit)),
        h("span", { class: "numbers" }, `${rows > 1 ? "worst " : ""}score ${number(worst.score)}`)));
    })),
    found.length > 12 && h("p", { class: "quiet" }, `and ${found.length - 12} more; zoom in to see them`),
  ];
}
