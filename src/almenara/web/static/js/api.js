/** The hub's HTTP API, as promises. Every failure becomes an ApiError whose message can be shown as it is. */

import { perSecond, unitOf } from "./format.js";
import { parseSeries } from "./selector.js";

/** @typedef {import("./selector.js").LabelSet} LabelSet */
/**
 * @typedef {Object} Anomaly
 * @property {number} time @property {number} value @property {number} score @property {string} severity
 * @property {number|null} yhat @property {number|null} lower @property {number|null} upper @property {string} why
 */
/** @typedef {{start: number, end: number|null, rule: string, state: string, severity: string}} AlarmSpan */
/**
 * @typedef {Object} View  one series in one window; times in ms, null = known to be missing
 * @property {string} series @property {string} unit @property {string} kind @property {number[]} times
 * @property {(number|null)[]} values @property {(number|null)[]} yhat @property {(number|null)[]} lower
 * @property {(number|null)[]} upper @property {Anomaly[]} anomalies @property {AlarmSpan[]} alarms @property {boolean} decimated
 * @property {number|null} gap_ms  a live row that comes later begins a new line
 * @property {Threshold[]} [thresholds]
 */
/** @typedef {{severity: string, times: number[], values: number[]}} Threshold  from each time on its value holds */
/**
 * @typedef {Object} AlarmRow
 * @property {string} rule @property {string} series @property {string} state @property {number} since_ms @property {number} time_ms
 * @property {string} severity @property {number|null} value @property {number|null} score @property {number|null} yhat
 * @property {number|null} lower @property {number|null} upper @property {string} why @property {number|null} incident
 */
/**
 * @typedef {Object} Budget  how an alarm budget is kept; rates a week, null while nothing is known
 * @property {string} name @property {number} per_week @property {number} series @property {number} alerts @property {number} weeks
 * @property {number|null} rate @property {number|null} low @property {number|null} high
 */

export class ApiError extends Error {
  /** @param {number} status  0 where the hub was not reached */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function reach(path, options) {
  try {
    const answer = await fetch(`/api/v1/${path}`, { headers: { Accept: "application/json" }, ...options });
    if (answer.status === 401) location.assign("/login");
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The hub cannot be reached.", 0);
  }
}

async function ask(path, options) {
  return read(await reach(path, options));
}

async function read(answer) {
  const text = await answer.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch { /* not JSON: the status says enough */ }
  if (!answer.ok) throw new ApiError(body?.error ?? `The hub answered ${answer.status}.`, answer.status);
  return body;
}

/** Prometheus answers carry their data one level down. */
const data = async (path, signal) => (await ask(path, { signal })).data;

export const status = () => ask("status");
export const alarms = () => ask("alarms");
export const budgets = () => ask("budgets");
export const ledger = () => ask("ledger");
export const events = (limit) => ask(`events?limit=${limit}`);
export const metricNames = (signal) => data("label/__name__/values", signal);
export const labelNames = (signal) => data("labels", signal);

/** @param {string[]} selectors  any of them may match @returns {Promise<LabelSet[]>} */
export function series(selectors, limit, signal) {
  const query = new URLSearchParams(selectors.map((one) => ["match[]", one]));
  if (limit) query.set("limit", String(limit));
  return data(`series?${query}`, signal);
}

/** @returns {Promise<View>} start, end in ms; width in pixels */
export async function view(text, start, end, width, signal) {
  const query = new URLSearchParams({ series: text, start: String(Math.floor(start)), end: String(Math.ceil(end)),
    width: String(Math.max(50, Math.round(width))) });
  const found = await ask(`view?${query}`, { signal });
  const unit = unitOf(found.unit, parseSeries(found.series).__name__);
  return { ...found, unit: found.rate ? perSecond(unit) : unit };
}

const posted = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const breakSomething = (fault) => ask("demo/break", posted({ fault }));

export const detectors = () => ask("detectors");

/** The answer comes as a JSON object a line: how far it is, again and again, and in the end the result.
 * @param {(done: {series: number, of: number, rows: number}) => void} onProgress */
export async function backtest(asked, onProgress, signal) {
  const answer = await reach("backtest", { ...posted(asked), signal });
  if (!answer.ok) return read(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", result = null;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const said of lines.map((line) => JSON.parse(line))) {
      if (said.error) throw new ApiError(said.error, 500);
      if (said.progress) onProgress(said.progress);
      result = said.result ?? result;
    }
  }
  if (!result) throw new ApiError("The hub ended the backtest before it was done.", 0);
  return result;
}

export function csvLink(text, start, end) {
  return `/api/v1/export?${new URLSearchParams({ "match[]": text, format: "csv", start: iso(start), end: iso(end) })}`;
}

const iso = (ms) => new Date(ms).toISOString();
