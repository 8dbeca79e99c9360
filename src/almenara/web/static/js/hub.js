/** What every page knows about the hub: its status, its clock, its open alarms, and the live stream. */

import * as api from "./api.js";

const listeners = { status: new Set(), alarms: new Set(), incidents: new Set(), connection: new Set() };
const state = { status: null, alarms: null, incidents: null, connected: null, retryAt: 0 };
let clockBase = null;  // hub time, our time, and how fast the hub's clock runs against ours
let stream = null;
let wanted = { selectors: [], onRows: null };
let retry = 0, wait = 1000, alarmsDue = 0, refreshedAt = 0;

/** Listen to "status", "alarms", "incidents" (those that are open) or "connection"; told at once if it is known. Gives the function that stops it. */
export function on(event, fn) {
  listeners[event].add(fn);
  const known = event === "connection" ? state.connected : state[event];
  if (known !== null) fn(known);
  return () => listeners[event].delete(fn);
}

function tell(event, value) {
  for (const fn of [...listeners[event]]) fn(value);
}

/** The hub's time in ms. In a demo it may run faster than ours. */
export function now() {
  if (!clockBase) return Date.now();
  return clockBase.hub + (performance.now() - clockBase.here) * clockBase.speed;
}

export const isConnected = () => state.connected === true;
export const status = () => state.status;
export const alarms = () => state.alarms;
export const incidents = () => state.incidents;

function setClock(hubMs) {
  const here = performance.now();
  let speed = clockBase?.speed ?? 1;
  if (clockBase && here - clockBase.here > 400) {
    const measured = (hubMs - clockBase.hub) / (here - clockBase.here);
    speed = measured > 1.5 ? measured : 1;
  }
  clockBase = { hub: hubMs, here, speed };
}

function setStatus(next) {
  state.status = { ...state.status, ...next };
  if (next.clock_ms) setClock(next.clock_ms);
  tell("status", state.status);
}

function setConnected(connected) {
  if (connected) wait = 1000;
  if (state.connected === connected) return;
  const back = connected && state.connected === false;
  state.connected = connected;
  tell("connection", connected);
  if (back) refresh();
}

/** Asks for status, alarms and incidents now. */
export async function refresh() {
  const [one, two, three] = await Promise.allSettled([api.status(), api.alarms(), api.openIncidents()]);
  if (one.status === "fulfilled") setStatus(one.value);
  if (two.status === "fulfilled") {
    state.alarms = two.value;
    tell("alarms", two.value);
  }
  if (three.status === "fulfilled") {
    state.incidents = three.value.sort(worstFirst);
    tell("incidents", state.incidents);
  }
  if (one.status === "rejected" && one.reason.status === 0) setConnected(false);
}

const RANK = { critical: 0, major: 1, minor: 2, warning: 3 };

/** The worst first; of those alike what nobody has taken on, then the newest. */
function worstFirst(a, b) {
  return (RANK[a.severity] ?? 4) - (RANK[b.severity] ?? 4) || Number(Boolean(a.acknowledgement)) - Number(Boolean(b.acknowledgement))
    || b.since_ms - a.since_ms;
}

/** Many transitions at once become one question, and in a storm one a second. */
function alarmsSoon() {
  if (alarmsDue) return;
  const wait = Math.max(150, refreshedAt + 1000 - performance.now());
  alarmsDue = setTimeout(() => {
    alarmsDue = 0;
    refreshedAt = performance.now();
    refresh();
  }, wait);
}

/**
 * Which rows the page wants to see live; the last call wins.
 * @param {string[]} selectors
 * @param {null | ((series: string[], rows: any[][]) => void)} onRows  label sets and [i, t, value, score, lower, upper] rows
 */
export function watch(selectors, onRows) {
  wanted = { selectors, onRows };
  connect();
}

function connect() {
  clearTimeout(retry);
  stream?.close();
  const query = new URLSearchParams(wanted.selectors.map((one) => ["match[]", one]));
  const current = new EventSource(`/api/v1/live?${query}`);
  stream = current;
  current.addEventListener("open", () => setConnected(true));
  current.addEventListener("status", (event) => {
    setConnected(true);
    setStatus(JSON.parse(event.data));
  });
  current.addEventListener("transitions", alarmsSoon);
  current.addEventListener("rows", (event) => {
    const { series, rows } = JSON.parse(event.data);
    if (current === stream) wanted.onRows?.(series, rows);
  });
  current.addEventListener("error", () => {
    if (current !== stream) return;
    current.close();
    setConnected(false);
    clearTimeout(retry);
    retry = setTimeout(connect, wait);
    state.retryAt = Date.now() + wait;
    wait = Math.min(wait * 1.6, 15_000);
  });
}

/** Seconds until the next try, while the hub is not reachable. */
export const secondsToRetry = () => Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));

/**
 * Starts, and then refreshes quietly every 15 s, which also catches what the stream might have lost. Gives a promise that is kept
 * with the first answer, because only then the hub's clock is known, or after a moment without one.
 */
export function start() {
  setInterval(() => document.hidden || refresh(), 15_000);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => event.persisted && connect());
  return Promise.race([refresh(), new Promise((resolve) => setTimeout(resolve, 2000))]);
}
