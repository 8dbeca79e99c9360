/** Counts a day as bars, one beside the other for each of those that are compared. */

import { h, s } from "../dom.js";
import { count, dayMonth } from "../format.js";

const DAY = 86_400_000, WIDE = 1000, HIGH = 100;

/** @param {{name: string, days: Map<number, number>}[]} sides  ms of a UTC day to a count */
export function dayBars(sides, start, end) {
  const first = Math.floor(start / DAY) * DAY;
  const step = Math.max(1, Math.ceil((end - first) / DAY / 120)) * DAY;  // of a long time several days are put together
  const bins = Math.max(1, Math.ceil((end - first) / step));
  const counts = sides.map(({ days }) => {
    const sums = new Array(bins).fill(0);
    for (const [day, n] of days) sums[Math.min(bins - 1, Math.floor((day - first) / step))] += n;
    return sums;
  });
  const top = Math.max(1, ...counts.flat());
  const wide = WIDE / bins, bar = Math.min(20, (wide * 0.8) / sides.length);
  const bars = counts.flatMap((sums, side) => sums.map((n, bin) => n > 0 && s("rect", {
    class: `bar side-${side}`, x: (bin * wide + (wide - bar * sides.length) / 2 + side * bar).toFixed(1), y: (HIGH * (1 - n / top)).toFixed(1),
    width: Math.max(1.5, bar - 1).toFixed(1), height: ((HIGH * n) / top).toFixed(1),
  }, s("title", null, `${dayMonth(first + bin * step)}: ${count(n)}, ${sides[side].name.toLowerCase()}`))));
  const every = Math.ceil(bins / 6);
  const labels = Array.from({ length: Math.ceil(bins / every) }, (_, k) =>
    h("span", { style: `left:${(((k * every + 0.5) / bins) * 100).toFixed(2)}%` }, dayMonth(first + k * every * step)));
  const picture = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "day-bars", role: "img", preserveAspectRatio: "none",
    "aria-label": sides.map(({ name }, k) => `${name}: ${count(counts[k].reduce((a, b) => a + b, 0))}`).join(", ") }, bars.filter(Boolean));
  return h("div", { class: "day-bars-holder" }, h("p", { class: "quiet most" }, `at most ${count(top)}${step > DAY ? ` in ${step / DAY} days` : ""}`),
    picture, h("div", { class: "days", "aria-hidden": "true" }, labels),
    sides.length > 1 && h("ul", { class: "legend" }, sides.map(({ name }, k) => h("li", null, h("i", { class: `swatch side-${k}`, "aria-hidden": "true" }), name))));
}
