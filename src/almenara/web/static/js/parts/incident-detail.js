/** All of one incident: what can be done, its graph, its alarms and why each belongs to it, and what happened so far. */

import * as api from "../api.js";
import { Chart } from "../chart.js";
import { columnsOf } from "../columns.js";
import { h, put } from "../dom.js";
import { moment, plural } from "../format.js";
import * as hub from "../hub.js";
import { parseSeries, seriesLink, words } from "../selector.js";
import { around, whenSeen } from "./alarm-row.js";
import { labelChips } from "./labels.js";
import { choice, orderForm } from "./order.js";
import { mark, stateTag } from "./severity.js";
import { silenceForm } from "./silence-form.js";
import { sparkline } from "./sparkline.js";
import { failed, waiting } from "./states.js";
import { timeline } from "./timeline.js";
import { whoField } from "./who.js";

const EVERY_MS = 5000, REDRAW_MS = 20_000, MEMBERS = 8;

export class IncidentDetail {
  /** @param {number} id @param {(row: import("../api.js").IncidentRow) => void} onRow  told whenever it is known anew */
  constructor(id, onRow) {
    Object.assign(this, { id, onRow, story: null, chart: null, rows: new Map(), most: MEMBERS, shapes: {} });
    this.acts = h("div", { class: "acts" });
    this.note = h("p", { class: "quiet acts-note", role: "status" });
    this.form = h("div", { class: "order-holder" });
    this.graph = h("div", { class: "incident-graph" });
    this.members = h("ul", { class: "members" });
    this.membersTitle = h("h3", null, "Alarms");
    this.more = h("button", { type: "button", class: "button small", hidden: true, onclick: () => this.all() });
    this.story_ = h("div", null, waiting(2));
    this.element = h("div", { class: "incident-detail" }, h("div", { class: "acts-row" }, this.acts, this.note), this.form,
      h("div", { class: "incident-columns" },
        h("div", null, this.graph, this.membersTitle, this.members, this.more),
        h("section", { "aria-label": "What happened" }, h("h3", null, "What happened"), this.story_)));
    this.timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
    this.load();
  }

  /** Many calls are one question. */
  soon() {
    clearTimeout(this.due);
    this.due = setTimeout(() => this.load(), 200);
  }

  async load() {
    try {
      this.show(await api.incident(this.id));
    } catch (error) {
      if (!this.story) put(this.story_, failed(error, () => this.load()));
    }
  }

  show(story) {
    if (this.gone) return;
    this.story = story;
    this.once("acts", [story.state, story.acknowledgement, story.silenced, (hub.incidents() ?? []).length > 1], () => this.showActs(story));
    this.once("members", [story.members, story.first, story.strongest, this.most], () => this.showMembers(story));
    this.once("story", [story.lines, story.changes, story.messages, story.resolved_ms], () => put(this.story_, timeline(story, hub.now())));
    this.draw(story);
    const { lines, changes, messages, match, silenced, ...row } = story;
    this.onRow(row);
  }

  /** Only what changed is built anew, so that a focus stays where it is. */
  once(name, value, build) {
    const shape = JSON.stringify(value);
    if (this.shapes[name] === shape) return;
    this.shapes[name] = shape;
    build();
  }

  showActs({ state, acknowledgement: taken, silenced, match }) {
    const now = hub.now();
    const act = (name, form, primary = false) => h("button", { type: "button", class: `button${primary ? " primary" : ""}`, "data-act": name,
      onclick: () => this.open(form()) }, name);
    const open = state !== "resolved";
    const focused = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.act;
    put(this.acts, open && (taken ? act("Give back", () => this.giveBack()) : act("Acknowledge", () => this.acknowledge(), true)),
      open && act("Silence", () => silenceForm({ match: match ?? "", done: () => this.open(null), made: () => this.ordered() })),
      open && (hub.incidents() ?? []).length > 1 && act("Join", () => this.join()));
    const until = taken && (taken.until_ms ? ` until ${moment(taken.until_ms, now)}` : " until it is resolved");
    put(this.note, !open && "It is over.", taken && [h("strong", null, taken.who), ` took it on at ${moment(taken.time_ms, now)}${until}`, taken.note && `: ${taken.note}`, ". "],
      silenced.length > 0 && `Nobody is told: ${silenced.join("; ")}.`);
    if (focused) /** @type {HTMLElement} */ (this.acts.querySelector("button"))?.focus();
  }

  /** A form, or none, in the place that forms have. */
  open(form) {
    put(this.form, form);
    const first = /** @type {HTMLElement} */ (form && [...form.querySelectorAll("input:not([type=radio])")].find((one) => one.value === "" && !one.closest("[hidden]"))
      || form?.querySelector("button"));
    if (first) first.focus();
    else /** @type {HTMLElement} */ (this.acts.querySelector("button"))?.focus();
  }

  async ordered() {
    await this.load();
    hub.refresh();
  }

  order(verb, values) {
    return api.orderIncident(this.id, verb, values).then(() => this.ordered());
  }

  acknowledge() {
    return orderForm({ verb: "Acknowledge", done: () => this.open(null), fields: [
      whoField(),
      h("label", { class: "field" }, h("span", null, "Note"), h("input", { name: "note", maxlength: "500", placeholder: "on my way", autocomplete: "off" })),
      choice("duration", "Until", [["", "it is resolved"], ["1h", "1 h"], ["4h", "4 h"], ["12h", "12 h"]], ""),
    ], order: (values) => this.order("acknowledge", values) });
  }

  giveBack() {
    return orderForm({ verb: "Give back", done: () => this.open(null), fields: [whoField(), h("p", { class: "quiet" }, "Repeats and escalation go on.")],
      order: (values) => this.order("unacknowledge", values) });
  }

  join() {
    const others = (hub.incidents() ?? []).filter((one) => one.id !== this.id);
    return orderForm({ verb: "Join", done: () => this.open(null), fields: [
      h("label", { class: "field wide" }, h("span", null, "Alarms that become part of this one"), h("select", { name: "incident" },
        others.map((one) => h("option", { value: one.id }, `#${one.id} ${one.members[0]?.series || one.members[0]?.rule}${one.size > 1 ? ` and ${one.size - 1} more` : ""}`)))),
      whoField(),
    ], order: ({ incident, who }) => this.order("join", { incident: Number(incident), who }) });
  }

  split(alarm) {
    return orderForm({ verb: "Split off", done: () => this.open(null), fields: [
      h("p", { class: "wide" }, h("code", null, alarm.series || alarm.rule), " becomes an incident of its own, and people are told of it."),
      whoField(),
    ], order: ({ who }) => this.order("split", { alarms: [{ rule: alarm.rule, series: alarm.series }], who }) });
  }

  showMembers(story) {
    const { members, first, strongest, size } = story;
    this.membersTitle.textContent = size > 1 ? `${plural(size, "alarm")} in one incident` : "One alarm";
    const order = [...new Set([strongest, first, ...members.keys()].filter((at) => at !== null && at < members.length))];
    const canSplit = size > 1 && story.state !== "resolved";
    const next = new Map(order.slice(0, this.most).map((at) => {
      const alarm = members[at], key = JSON.stringify([alarm, at === first, at === strongest, canSplit]);
      return [key, this.rows.get(key) ?? this.member(alarm, size > 1 && at === first, size > 1 && at === strongest, canSplit)];
    }));
    this.rows = next;
    const before = new Set(this.members.children);
    if (before.size !== next.size || [...next.values()].some((one) => !before.has(one))) put(this.members, [...next.values()]);
    this.more.hidden = order.length <= this.most;
    this.more.textContent = `All ${plural(order.length, "alarm")}`;
  }

  all() {
    this.most = Infinity;
    this.showMembers(this.story);
  }

  member(alarm, isFirst, isStrongest, canSplit) {
    const labels = parseSeries(alarm.series), picture = h("span", { class: "alarm-spark" });
    const when = around(alarm);
    if (labels.__name__) {
      whenSeen(picture, () => api.view(alarm.series, when.start, when.end, 100).then((view) => put(picture, sparkline(view)), () => {}));
    }
    return h("li", null, mark(alarm.severity),
      h("div", { class: "member-text" },
        h("div", { class: "alarm-head" }, labels.__name__ ? h("a", { href: seriesLink(alarm.series, when) }, words(labels.__name__)) : h("strong", null, alarm.rule),
          labelChips(labels, 4), alarm.state !== "firing" && stateTag(alarm.state)),
        h("small", null, [isStrongest && "the strongest", isFirst && "likely the first", alarm.reason].filter(Boolean).join("; ") || `rule ${alarm.rule}`)),
      picture,
      canSplit && h("button", { type: "button", class: "button small", "aria-label": `Split off ${alarm.series || alarm.rule}`,
        onclick: () => this.open(this.split(alarm)) }, "Split off"));
  }

  /** The strongest alarm with its band, from before it began. */
  async draw(story) {
    const alarm = story.members[story.strongest ?? 0];
    if (!alarm || !parseSeries(alarm.series).__name__) return;
    const when = around({ ...alarm, since_ms: story.since_ms });
    if (alarm.series !== this.drawn) {
      this.drawn = alarm.series;
      this.chart?.destroy();
      const host = h("div", { class: "incident-chart" });
      put(this.graph, h("a", { class: "incident-chart-link", href: seriesLink(alarm.series, when), title: alarm.series, "aria-label": `Chart of ${alarm.series}` }, host));
      this.chart = new Chart(host, { compact: true });
      this.chart.ready.catch(() => {});
    } else if (story.state === "resolved" || performance.now() - this.drawnAt < REDRAW_MS) return;
    this.drawnAt = performance.now();
    try {
      const view = await api.view(alarm.series, when.start, when.end, 600);
      if (this.gone || alarm.series !== this.drawn) return;
      this.chart.window = [when.start, when.end];
      this.chart.setData(columnsOf(view), { unit: view.unit, anomalies: view.anomalies, alarms: view.alarms, thresholds: view.thresholds ?? [] });
      this.hasCurve = true;
    } catch {
      if (!this.hasCurve && !this.gone) put(this.graph, h("p", { class: "quiet" }, "No curve could be loaded."));
    }
  }

  dispose() {
    this.gone = true;
    clearInterval(this.timer);
    clearTimeout(this.due);
    this.chart?.destroy();
  }
}
