/** Where the marks of an axis stand and what they say; times in the browser's own zone, daylight saving included. */

import { clock, dayMonth, hourMinute, number, scaleFor } from "./format.js";

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [1, 2, 5, 10, 15, 30].map((n) => n * SECOND)
  .concat([1, 2, 5, 10, 15, 30].map((n) => n * MINUTE), [1, 2, 3, 6, 12].map((n) => n * HOUR),
    [1, 2, 7, 14].map((n) => n * DAY), [30, 91, 182, 365, 730, 1826, 3652].map((n) => n * DAY));

/** @typedef {{at: number, label: string}} Tick */

/**
 * @param {number} start  ms @param {number} end  ms @param {number} most  how many labels fit
 * @returns {Tick[]}
 */
export function timeTicks(start, end, most) {
  const wanted = (end - start) / Math.max(1, most);
  const step = STEPS.find((one) => one >= wanted) ?? STEPS[STEPS.length - 1];
  const times = step >= 30 * DAY ? monthly(start, end, Math.max(1, Math.round(step / (30.4 * DAY))))
    : step >= DAY ? daily(start, end, Math.round(step / DAY)) : withinDays(start, end, step);
  return times.map((at) => ({ at, label: label(at, step) }));
}

/** Local midnight of the first day, then in steps of the local clock: right on the days when the clock changes. */
function withinDays(start, end, step) {
  const found = [];
  const day = new Date(start);
  day.setHours(0, 0, 0, 0);
  for (; day.getTime() <= end; day.setDate(day.getDate() + 1)) {
    const midnight = day.getTime();
    const first = Math.max(0, Math.floor((start - midnight) / step) - Math.ceil(HOUR / step));
    for (let n = first; n * step < DAY; n++) {
      const at = new Date(day.getFullYear(), day.getMonth(), day.getDate(), 0, 0, 0, n * step).getTime();
      if (at > end) break;
      if (at >= start && at !== found[found.length - 1]) found.push(at);
    }
  }
  return found;
}

function daily(start, end, days) {
  const day = new Date(start);
  day.setHours(0, 0, 0, 0);
  const number = Math.floor((day.getTime() - day.getTimezoneOffset() * MINUTE) / DAY);
  day.setDate(day.getDate() - (((number % days) + days) % days));
  return walk(day, start, end, () => day.setDate(day.getDate() + days));
}

function monthly(start, end, months) {
  const first = new Date(start);
  const month = Math.floor((first.getFullYear() * 12 + first.getMonth()) / months) * months;
  const day = new Date(Math.floor(month / 12), month % 12, 1);
  return walk(day, start, end, () => day.setMonth(day.getMonth() + months));
}

function walk(day, start, end, next) {
  const found = [];
  for (; day.getTime() <= end; next()) if (day.getTime() >= start) found.push(day.getTime());
  return found;
}

function label(at, step) {
  const day = new Date(at);
  if (step >= 300 * DAY) return String(day.getFullYear());
  if (step >= 30 * DAY) {
    return day.getMonth() === 0 ? String(day.getFullYear()) : day.toLocaleDateString("en-GB", { month: "short" });
  }
  const midnight = day.getHours() === 0 && day.getMinutes() === 0 && day.getSeconds() === 0;
  if (step >= DAY || midnight) return dayMonth(at);
  return step < MINUTE ? clock(at) : hourMinute(at);
}

/**
 * Round numbers between two limits, all in the same scale.
 * @returns {Tick[]}
 */
export function numberTicks(low, high, most, unit = "") {
  const rough = (high - low) / Math.max(1, most);
  if (!(rough > 0) || !Number.isFinite(rough)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((one) => one >= rough) ?? 10 * power;
  const { factor, suffix } = scaleFor(Math.max(Math.abs(low), Math.abs(high)), unit);
  const digits = Math.max(3, Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / step)) + 2);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) {
    found.push({ at: n * step, label: number((n * step) / factor, digits) + suffix });
  }
  return found;
}
