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
/** @typedef {{who: string, time_ms: number, until_ms: number|null, note: string}} Acknowledgement */
/**
 * @typedef {Object} IncidentRow  size: of how many alarms `members` are some; first, strongest: places among them
 * @property {number} id @property {number} since_ms @property {number|null} resolved_ms @property {string} state @property {string} severity
 * @property {number} size @property {(AlarmRow & {reason: string})[]} members @property {number|null} first @property {number|null} strongest
 * @property {Acknowledgement|null} acknowledgement @property {boolean} [is_silenced]  all of its alarms that go on
 */
/**
 * @typedef {Object} Message  one message to a notifier; outcome: waiting, sent or given up
 * @property {number} id @property {number} incident @property {string} notifier @property {string} kind @property {string} reason
 * @property {string} policy @property {number} queued_ms @property {number|null} due_ms @property {number} tries @property {string} outcome
 * @property {number|null} done_ms @property {string} error
 */
/** @typedef {{time_ms: number, kind: string, who: string, text: string}} Line */
/** @typedef {{lines: Line[], changes: AlarmRow[], messages: Message[], match: string|null, silenced: string[]}} IncidentStory */
/**
 * @typedef {Object} Silence  stage: pending, active or expired
 * @property {string} id @property {string} match @property {number} starts_ms @property {number|null} ends_ms @property {string[]} windows
 * @property {string} who @property {string} comment @property {string|null} maintenance @property {string} stage
 * @property {number|null} until_ms @property {number|null} next_ms
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

/**
 * A browser has six connections to a hub, and the live stream holds one. Curves take three at most, so that what a person orders never
 * waits behind them; of those that wait, the ones that were asked for by hand go first.
 */
const MOST_CURVES = 3;
const waitingCurves = [];
let curvesOnTheWay = 0;

function inTurn(first, signal, fn) {
  return new Promise((resolve, reject) => {
    const turn = { start() {
      signal?.removeEventListener("abort", turn.leave);
      curvesOnTheWay++;
      fn().then(resolve, reject).finally(() => {
        curvesOnTheWay--;
        waitingCurves.shift()?.start();
      });
    }, leave() {
      waitingCurves.splice(waitingCurves.indexOf(turn), 1);
      reject(new DOMException("no longer wanted", "AbortError"));
    } };
    if (curvesOnTheWay < MOST_CURVES) return turn.start();
    if (signal?.aborted) return reject(new DOMException("no longer wanted", "AbortError"));
    signal?.addEventListener("abort", turn.leave, { once: true });
    if (first) waitingCurves.unshift(turn);
    else waitingCurves.push(turn);
  });
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

/** @returns {Promise<View>} start, end in ms; width in pixels; signal: of one that was asked for by hand */
export async function view(text, start, end, width, signal) {
  const query = new URLSearchParams({ series: text, start: String(Math.floor(start)), end: String(Math.ceil(end)),
    width: String(Math.max(50, Math.round(width))) });
  const found = await inTurn(Boolean(signal), signal, () => ask(`view?${query}`, { signal }));
  const unit = unitOf(found.unit, parseSeries(found.series).__name__);
  return { ...found, unit: found.rate ? perSecond(unit) : unit };
}

/** The incidents that are open, worst first as a page sorts them, with some of their alarms. @returns {Promise<IncidentRow[]>} */
export const openIncidents = () => ask("incidents?open=true&members=4&limit=1000");
/** @returns {Promise<IncidentRow[]>} the latest, open or not */
export const latestIncidents = (limit) => ask(`incidents?members=4&limit=${limit}`);
/** @returns {Promise<IncidentRow & IncidentStory>} */
export const incident = (id, signal) => ask(`incidents/${id}?members=1000`, { signal });
/** @param {"acknowledge"|"unacknowledge"|"split"|"join"} verb @returns {Promise<IncidentRow>} */
export const orderIncident = (id, verb, body) => ask(`incidents/${id}/${verb}`, posted(body));
/** @returns {Promise<Message[]>} */
export const outbox = (limit, outcome = "all") => ask(`outbox?${new URLSearchParams({ limit, outcome })}`);
/** @returns {Promise<Silence[]>} */
export const silences = () => ask("silences");
export const makeSilence = (body) => ask("silences", posted(body));
export const endSilence = (id, who) => ask(`silence/${encodeURIComponent(id)}?${new URLSearchParams({ who })}`, { method: "DELETE" });
/** What a silence would hold back now, and what it would have in the last week. */
export const previewSilence = (match, signal) => ask(`silences/preview?${new URLSearchParams({ "match[]": match })}`, { signal });

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
