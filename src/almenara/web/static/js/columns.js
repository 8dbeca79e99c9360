/** The columns of one drawn series, and what a chart needs to know of them: runs without gaps, ranges, nearest row. */

/**
 * @typedef {Object} Columns  all of one length; NaN = missing
 * @property {number[]} times @property {number[]} values @property {number[]} yhat @property {number[]} lower
 * @property {number[]} upper @property {number[]} score
 */

const orNaN = (list, n) => Array.from({ length: n }, (_, i) => list?.[i] ?? NaN);

/** @param {import("./api.js").View} view @returns {Columns} */
export function columnsOf(view) {
  const n = view.times.length;
  const score = new Array(n).fill(NaN);
  for (const one of view.anomalies) {
    const i = nearest(view.times, one.time);
    if (i >= 0 && view.times[i] === one.time) score[i] = one.score;
  }
  return { times: view.times.slice(), values: orNaN(view.values, n), yhat: orNaN(view.yhat, n), lower: orNaN(view.lower, n),
    upper: orNaN(view.upper, n), score };
}

/** Appends one live row if it is newer than the last; gives whether it did. More than `gap` ms after it the line begins anew. */
export function append(columns, gap, time, value, score, lower, upper, yhat) {
  const last = columns.times[columns.times.length - 1];
  if (time <= last) return false;
  if (isApart(columns, gap, time)) push(columns, (time + last) / 2, NaN);
  push(columns, time, value, score, lower, upper, yhat);
  return true;
}

/** Whether rows are missing before a live row: none came, or they came while nobody listened; then the hub is asked again soon. */
export const isApart = ({ times }, gap, time) => gap > 0 && times.length > 0 && time - times[times.length - 1] > gap;

/** The latest live rows, so that those that come while a view is on its way are not lost when it arrives. */
export class Recent {
  rows = [];

  add(row) {
    this.rows.push(row);
    if (this.rows.length > 1000) this.rows.splice(0, 500);
  }
}

function push(columns, time, value, score, lower, upper, yhat) {
  columns.times.push(time);
  columns.values.push(value ?? NaN);
  columns.score.push(score ?? NaN);
  columns.lower.push(lower ?? NaN);
  columns.upper.push(upper ?? NaN);
  columns.yhat.push(yhat ?? NaN);
}

/** Rows with a value between rows without one, of which a line shows nothing. @returns {{x: number[], y: number[]}} */
export function lonePoints({ times, values }) {
  const known = (i) => !Number.isNaN(values[i] ?? NaN);
  const at = values.map((_, i) => i).filter((i) => known(i) && !known(i - 1) && !known(i + 1));
  return { x: at.map((i) => times[i]), y: at.map((i) => values[i]) };
}

/** Drops rows before `time`, but keeps one so that the line goes on to the edge. */
export function dropBefore(columns, time) {
  const first = Math.max(0, firstAfter(columns.times, time) - 1);
  if (first > 0) for (const column of Object.values(columns)) column.splice(0, first);
}

/** The index of the first time at or after `time`. */
export function firstAfter(times, time) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index of the time nearest to `time`, -1 where there is none. */
export function nearest(times, time) {
  if (!times.length) return -1;
  const after = Math.min(firstAfter(times, time), times.length - 1);
  return after > 0 && time - times[after - 1] < times[after] - time ? after - 1 : after;
}

/** The band as polygons, one for each run where it is known. @returns {{xs: number[][], ys: number[][]}} */
export function bandPolygons({ times, lower, upper }) {
  const xs = [], ys = [];
  for (let i = 0; i < times.length;) {
    let end = i;
    while (end < times.length && lower[end] <= upper[end]) end++;
    if (end > i) {
      const x = times.slice(i, end);
      xs.push(x.concat(x.slice().reverse()));
      ys.push(lower.slice(i, end).concat(upper.slice(i, end).reverse()));
    }
    i = Math.max(end, i + 1);
  }
  return { xs, ys };
}

/**
 * Thresholds as one line with steps, up to `end`: a value holds until the next one. @param {import("./api.js").Threshold[]} thresholds
 * @returns {{x: number[], y: number[]}}
 */
export function stepsOf(thresholds, end) {
  const x = [], y = [];
  for (const { times, values } of thresholds) {
    times.forEach((time, i) => {
      x.push(time, Math.max(time, times[i + 1] ?? end));
      y.push(values[i], values[i]);
    });
    x.push(NaN);
    y.push(NaN);
  }
  return { x, y };
}

/** The median distance of neighbours in ms, NaN with fewer than three rows. */
export function cadence(times) {
  if (times.length < 3) return NaN;
  const gaps = times.slice(1).map((t, i) => t - times[i]).sort((a, b) => a - b);
  return gaps[gaps.length >> 1];
}

/**
 * Limits of the value axis in a window: all values; the band too, but a wild band may not flatten the line. A band that holds none
 * of the values is seen whole, for then it is what the reader has come for. Of the limits those are seen that are near.
 * @param {number[]} limits  thresholds @returns {[number, number]}
 */
export function valueRange({ times, values, lower, upper }, start, end, limits = []) {
  let low = Infinity, high = -Infinity, bandLow = Infinity, bandHigh = -Infinity;
  const last = Math.min(times.length, firstAfter(times, end) + 1);
  for (let i = Math.max(0, firstAfter(times, start) - 1); i < last; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
    if (lower[i] < bandLow) bandLow = lower[i];
    if (upper[i] > bandHigh) bandHigh = upper[i];
  }
  if (low > high) [low, high] = bandLow <= bandHigh ? [bandLow, bandHigh] : [0, 1];
  const apart = bandLow > high || bandHigh < low;
  const reach = apart ? Infinity : 1.5 * (high - low) || Math.abs(high) * 0.5 || 1;
  const positive = low >= 0;
  low = Math.min(low, Math.max(bandLow, low - reach));
  high = Math.max(high, Math.min(bandHigh, high + reach));
  const [from, to] = [low - 1.5 * (high - low), high + 1.5 * (high - low)];
  const near = limits.filter((limit) => limit >= from && limit <= to);
  [low, high] = [Math.min(low, ...near), Math.max(high, ...near)];
  const pad = (high - low) * 0.09 || Math.abs(high) * 0.1 || 1;
  return [positive && low - pad < 0 ? Math.min(0, low) : low - pad, high + pad];
}

/**
 * Of anomalies that would be drawn over each other, the worst. @param {number} room  ms that one mark covers
 * @param {import("./api.js").Anomaly[]} anomalies @returns {import("./api.js").Anomaly[]}
 */
export function worstPerMark(anomalies, room) {
  const found = [];
  let since = -Infinity;
  for (const one of anomalies) {
    if (one.time - since >= room) {
      found.push(one);
      since = one.time;
    } else if (one.score > found[found.length - 1].score) {
      found[found.length - 1] = one;
    }
  }
  return found;
}

/**
 * Anomalies that follow each other belong to one episode, told by its worst row.
 * @param {import("./api.js").Anomaly[]} anomalies
 * @param {number} gap  ms that may lie between two rows of an episode
 * @returns {{start: number, end: number, worst: import("./api.js").Anomaly, rows: number}[]}  newest first
 */
export function episodes(anomalies, gap) {
  const found = [];
  for (const one of anomalies.slice().sort((a, b) => a.time - b.time)) {
    const last = found[found.length - 1];
    if (last && one.time - last.end <= gap) {
      last.end = one.time;
      last.rows += 1;
      if (one.score > last.worst.score) last.worst = one;
    } else {
      found.push({ start: one.time, end: one.time, worst: one, rows: 1 });
    }
  }
  return found.reverse();
}
