/** One alarm as a card: how bad, since when, what happened in one sentence, and its curve. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { ago, duration, moment, unitOf } from "../format.js";
import * as hub from "../hub.js";
import { parseSeries, seriesLink, words } from "../selector.js";
import { sentenceOf } from "./explain.js";
import { labelChips } from "./labels.js";
import { mark, severityTag, stateTag } from "./severity.js";
import { sparkline } from "./sparkline.js";

const MINUTE = 60_000;

/** The window around an alarm: half an hour before, as long after. */
export function around(alarm) {
  const end = alarm.state === "resolved" ? alarm.time_ms : hub.now();
  const length = Math.max(30 * MINUTE, end - alarm.since_ms);
  return { start: alarm.since_ms - length, end: end + (alarm.state === "resolved" ? length / 2 : 0) };
}

const key = (alarm) => `${alarm.rule}\n${alarm.series}\n${alarm.since_ms}\n${alarm.state}`;

/** In a storm only the cards that are looked at ask for their curves. */
export function whenSeen(element, fn) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((one) => one.isIntersecting)) return;
    observer.disconnect();
    fn();
  });
  observer.observe(element);
}

/** @param {import("../api.js").AlarmRow} alarm */
function card(alarm) {
  const labels = parseSeries(alarm.series);
  const open = alarm.state !== "resolved";
  const picture = h("div", { class: "alarm-spark" });
  const sentence = h("p", { class: "alarm-why" });
  const say = (unit) => (sentence.textContent = sentenceOf(alarm, unit) || `Rule ${alarm.rule}`);
  say(unitOf("", labels.__name__));
  const since = h("span", { class: "since", title: moment(alarm.since_ms, 0) });
  const element = h("a", { class: `alarm ${open ? "open" : "over"} ${alarm.severity} ${alarm.state}`,
    href: seriesLink(alarm.series, around(alarm)) },
  h("span", { class: "alarm-mark" }, mark(alarm.severity)),
  h("div", { class: "alarm-text" },
    h("div", { class: "alarm-head" }, h("strong", null, words(labels.__name__)), labelChips(labels, 4)),
    sentence,
    h("div", { class: "alarm-foot" }, stateTag(alarm.state), severityTag(alarm.severity), since)),
  picture);
  const tick = () => {
    const now = hub.now();
    since.textContent = open ? `since ${moment(alarm.since_ms, now)} (${duration(now - alarm.since_ms)})`
      : `${moment(alarm.since_ms, now)}, lasted ${duration(alarm.time_ms - alarm.since_ms)}, ended ${ago(alarm.time_ms, now)}`;
  };
  tick();
  whenSeen(picture, async () => {
    const { start, end } = around(alarm);
    try {
      const view = await api.view(alarm.series, start, end, 132);
      put(picture, sparkline(view));
      say(view.unit);
    } catch { /* the card is complete without its curve */ }
  });
  return { element, tick };
}

/** A list of alarms that keeps the cards that stay. */
export class AlarmList {
  constructor() {
    this.element = h("div", { class: "alarms" });
    this.cards = new Map();
    this.timer = setInterval(() => this.cards.forEach((one) => one.tick()), 1000);
  }

  /** @param {import("../api.js").AlarmRow[]} alarms */
  show(alarms) {
    const next = new Map(alarms.map((one) => [key(one), this.cards.get(key(one)) ?? card(one)]));
    const same = next.size === this.cards.size && [...next.keys()].every((one) => this.cards.has(one));
    this.cards = next;
    if (!same || !this.element.childElementCount) put(this.element, [...next.values()].map((one) => one.element));
  }

  dispose() {
    clearInterval(this.timer);
  }
}
