/** One incident as a card: how bad, what, since when, who has taken it on. Opened, it tells everything, and takes orders. */

import * as api from "../api.js";
import { h, icon, put } from "../dom.js";
import { ago, duration, fullTime, moment, plural, unitOf } from "../format.js";
import * as hub from "../hub.js";
import { parseSeries, words } from "../selector.js";
import { around, whenSeen } from "./alarm-row.js";
import { sentenceOf } from "./explain.js";
import { IncidentDetail } from "./incident-detail.js";
import { labelChips } from "./labels.js";
import { mark, severityTag } from "./severity.js";
import { sparkline } from "./sparkline.js";

const PERSON = "M12 12a3.8 3.8 0 1 0 0-7.6 3.8 3.8 0 0 0 0 7.6zM5 20c.6-4 3.4-5.6 7-5.6s6.4 1.6 7 5.6";
const MUTE = "M6 17V11a6 6 0 0 1 9.5-4.9M18 11v6l1.5 2h-15M10.5 21.5h3M4 3.5l16 17";

/** The alarm that an incident is named by. @param {import("../api.js").IncidentRow} row */
export const strongestOf = (row) => row.members[row.strongest ?? 0];

/** What a card says: the parts of it that change are changed in place. */
class Summary {
  constructor() {
    this.mark = h("span", { class: "alarm-mark" });
    this.head = h("span", { class: "alarm-head" });
    this.sentence = h("span", { class: "alarm-why" });
    this.foot = h("span", { class: "alarm-foot" });
    this.since = h("span", { class: "since" });
    this.picture = h("span", { class: "alarm-spark" });
    this.unit = null;
    this.shape = "";
    this.parts = [this.mark, h("span", { class: "alarm-text" }, this.head, this.sentence, this.foot), this.picture];
  }

  /** @param {import("../api.js").IncidentRow} row */
  show(row) {
    this.row = row;
    const alarm = strongestOf(row), shape = JSON.stringify([row.id, row.severity, row.state, row.size, row.acknowledgement, row.is_silenced, alarm]);
    if (shape === this.shape) return;
    this.shape = shape;
    const labels = parseSeries(alarm?.series ?? "");
    put(this.mark, mark(row.severity));
    put(this.head, h("strong", null, labels.__name__ ? words(labels.__name__) : alarm?.rule ?? "no alarm"), labelChips(labels, 4),
      row.size > 1 && h("span", { class: "tag" }, `and ${plural(row.size - 1, "more alarm")}`));
    this.say();
    const taken = row.acknowledgement;
    put(this.foot, h("span", { class: "incident-number" }, `#${row.id}`), severityTag(row.severity),
      row.state === "resolved" && h("span", { class: "tag state resolved" }, "resolved"),
      taken && h("span", { class: "tag taken", title: taken.note }, icon(PERSON), taken.who),
      row.is_silenced && h("span", { class: "tag", title: "people are told nothing of it" }, icon(MUTE), "silenced"), this.since);
    this.tick();
    if (!this.drawn && alarm) this.draw(alarm);
  }

  say() {
    const alarm = strongestOf(this.row);
    if (!alarm) return;
    const unit = this.unit ?? unitOf("", parseSeries(alarm.series).__name__);
    this.sentence.textContent = sentenceOf(alarm, unit) || alarm.annotations?.summary || `Rule ${alarm.rule}`;
  }

  draw(alarm) {
    this.drawn = true;
    if (!parseSeries(alarm.series).__name__) return;  // an alarm of another system has no rows here
    whenSeen(this.picture, async () => {
      const { start, end } = around({ ...alarm, since_ms: this.row.since_ms });
      try {
        const view = await api.view(alarm.series, start, end, 132);
        put(this.picture, sparkline(view));
        this.unit = view.unit;
        this.say();
      } catch { /* the card is complete without its curve */ }
    });
  }

  tick() {
    const now = hub.now(), { since_ms: since, resolved_ms: over } = this.row;
    this.since.title = fullTime(since);
    this.since.textContent = over ? `${moment(since, now)}, lasted ${duration(over - since)}, ended ${ago(over, now)}`
      : `since ${moment(since, now)} (${duration(now - since)})`;
  }
}

const looks = (row) => `alarm incident ${row.state === "resolved" ? "over" : "open"} ${row.severity}${row.acknowledgement ? " taken" : ""}`;

/** A card that leads to the page of alarms, for other pages. */
export class IncidentLink {
  constructor(row) {
    this.summary = new Summary();
    this.element = h("a", { href: `/alarms?incident=${row.id}` }, this.summary.parts);
    this.show(row);
  }

  show(row) {
    this.element.className = looks(row);
    this.summary.show(row);
  }

  tick() {
    this.summary.tick();
  }

  dispose() {}

  get isOpen() {
    return false;
  }
}

/** A card that opens. */
export class IncidentCard {
  /** @param {import("../api.js").IncidentRow} row @param {(id: number, open: boolean) => void} onToggle */
  constructor(row, onToggle) {
    this.id = row.id;
    this.onToggle = onToggle;
    this.summary = new Summary();
    this.detail = null;
    this.body = h("div", { class: "incident-body", id: `incident-${row.id}`, hidden: true });
    this.head = h("button", { type: "button", class: "incident-head", "aria-expanded": "false", "aria-controls": this.body.id,
      onclick: () => this.toggle(!this.isOpen, true) }, this.summary.parts, icon("M7 10l5 5 5-5"));
    this.element = h("article", { "data-incident": row.id }, this.head, this.body);
    this.show(row);
  }

  get isOpen() {
    return !this.body.hidden;
  }

  show(row) {
    const before = this.row;
    this.row = row;
    this.element.className = looks(row);
    this.summary.show(row);
    if (this.isOpen && before && JSON.stringify(before) !== JSON.stringify(row)) this.detail?.soon();
  }

  toggle(wanted, byHand = false) {
    if (wanted === this.isOpen) return;
    this.body.hidden = !wanted;
    this.head.setAttribute("aria-expanded", String(wanted));
    this.detail?.dispose();
    this.detail = wanted ? new IncidentDetail(this.id, (row) => this.show(row)) : null;
    put(this.body, this.detail?.element);
    if (byHand) this.onToggle(this.id, wanted);
  }

  tick() {
    this.summary.tick();
  }

  dispose() {
    this.detail?.dispose();
  }
}

/**
 * Incidents in their order. Nothing moves under a pointer or away from a focus: while somebody is at the list, or reads an incident, what
 * is new comes last and what is over stays; the order is made when they leave, or press the button that says so.
 */
export class IncidentList {
  /** @param {(row: import("../api.js").IncidentRow) => IncidentCard | IncidentLink} make */
  constructor(make) {
    this.make = make;
    this.cards = new Map();
    this.wanted = [];
    this.element = h("div", { class: "alarms incidents" });
    this.sort = h("button", { type: "button", class: "button small sort", onclick: () => this.arrange(true) }, "New ones below: sort");
    this.sort.style.visibility = "hidden";
    this.element.addEventListener("pointerleave", () => this.settle());
    this.element.addEventListener("focusout", () => this.settle());
    this.timer = setInterval(() => this.cards.forEach((one) => one.tick()), 1000);
  }

  get isBusy() {
    return this.element.matches(":hover, :focus-within") || [...this.cards.values()].some((one) => one.isOpen);
  }

  settle() {
    setTimeout(() => this.arrange(), 0);  // when the focus is where it goes
  }

  /** @param {import("../api.js").IncidentRow[]} rows  in the order that they should have */
  show(rows) {
    this.wanted = rows.map((one) => one.id);
    for (const row of rows) {
      const known = this.cards.get(row.id);
      if (known) known.show(row);
      else {
        const made = this.make(row);
        this.cards.set(row.id, made);
        this.element.append(made.element);
      }
    }
    this.arrange();
  }

  arrange(now = false) {
    const order = this.wanted.map((id) => this.cards.get(id)).filter(Boolean);
    const present = [...this.cards.values()].map((one) => one.element);
    const stale = order.some((one, i) => this.element.children[i] !== one.element) || present.length !== order.length;
    this.sort.style.visibility = stale && this.isBusy && !now ? "visible" : "hidden";
    if (!stale || (this.isBusy && !now)) return;
    for (const [id, one] of this.cards) {
      if (this.wanted.includes(id) || one.isOpen) continue;
      one.dispose();
      one.element.remove();
      this.cards.delete(id);
    }
    order.forEach((one, i) => {
      if (this.element.children[i] !== one.element) this.element.insertBefore(one.element, this.element.children[i] ?? null);
    });
  }

  dispose() {
    clearInterval(this.timer);
    this.cards.forEach((one) => one.dispose());
  }
}
