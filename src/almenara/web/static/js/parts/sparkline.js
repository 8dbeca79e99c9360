/** A line the size of a word: the last stretch of a series with its learned band. */

import { s } from "../dom.js";
import { bandPolygons, columnsOf, valueRange } from "../columns.js";

const WIDE = 132, HIGH = 36;

/** @param {import("../api.js").View} view @returns {SVGElement} */
export function sparkline(view) {
  const columns = columnsOf(view);
  const { times, values } = columns;
  const picture = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" });
  if (times.length < 2) return picture;
  const [start, end] = [times[0], times[times.length - 1]];
  const [low, high] = valueRange(columns, start, end);
  const x = (t) => (((t - start) / (end - start)) * WIDE).toFixed(1);
  const y = (v) => (HIGH - ((Math.min(Math.max(v, low), high) - low) / (high - low)) * HIGH).toFixed(1);
  const { xs, ys } = bandPolygons(columns);
  xs.forEach((run, i) => picture.append(s("polygon", { class: "band", points: run.map((t, j) => `${x(t)},${y(ys[i][j])}`).join(" ") })));
  let path = "", pen = "M";
  values.forEach((v, i) => {
    if (Number.isNaN(v)) pen = "M";
    else {
      path += `${pen}${x(times[i])} ${y(v)}`;
      pen = "L";
    }
  });
  picture.append(s("path", { class: "line", d: path }));
  return picture;
}
