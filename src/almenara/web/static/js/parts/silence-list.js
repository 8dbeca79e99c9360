/** Silences and maintenance windows: what holds now, what is planned, what is over; made and ended here. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { duration, fullTime, moment, plural } from "../format.js";
import * as hub from "../hub.js";
import { orderForm } from "./order.js";
import { silenceForm } from "./silence-form.js";
import { failed, nothing, waiting } from "./states.js";
import { whoField } from "./who.js";

const EVERY_MS = 10_000, OVER_SHOWN = 20;
const STAGES = [["active", "Active"], ["pending", "Planned"], ["expired", "Over"]];

export class SilenceList {
  /** @param {string} match  what the form begins with; empty: the form is closed */
  constructor(match = "") {
    this.form = h("div", { class: "order-holder" });
    this.button = h("button", { type: "button", class: "button primary", onclick: () => this.open("") }, "New silence");
    this.lists = h("div", null, waiting(2));
    this.element = h("section", { class: "block" }, h("div", { class: "block-head tall" },
      h("p", { class: "quiet" }, "Alarms that are silenced go on and are shown; people are told nothing of them."), this.button), this.form, this.lists);
    this.timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
    this.load();
    if (match) this.open(match);
  }

  open(match) {
    const done = () => {
      put(this.form);
      this.button.focus();
    };
    put(this.form, h("div", { class: "panel" }, h("h2", null, "New silence"), silenceForm({ match, planned: true, done, made: () => this.load() })));
    this.form.querySelector("input").focus();
  }

  async load() {
    try {
      const found = await api.silences(), shape = JSON.stringify(found);
      if (this.gone || shape === this.shape || this.lists.contains(document.activeElement?.closest("form") ?? null)) return;
      this.shape = shape;
      this.show(found);
    } catch (error) {
      if (!this.shape) put(this.lists, failed(error, () => this.load()));
    }
  }

  /** @param {import("../api.js").Silence[]} silences */
  show(silences) {
    put(this.lists, STAGES.map(([stage, title]) => {
      const found = silences.filter((one) => one.stage === stage);
      if (stage === "expired") found.sort((a, b) => b.ends_ms - a.ends_ms).splice(OVER_SHOWN);
      if (!found.length && stage !== "active") return null;
      return h("section", { class: "stage" }, h("h2", null, title), found.length ? h("ul", { class: "panel silences" }, found.map((one) => this.line(one)))
        : nothing("Nothing is silenced", "People are told of every alarm."));
    }));
  }

  line(one) {
    const now = hub.now(), line = h("li");
    const fill = () => put(line,
      h("div", { class: "silence-what" }, h("code", null, one.match), one.comment && h("p", null, one.comment)),
      h("div", { class: "silence-when" }, h("b", { title: one.ends_ms ? fullTime(one.ends_ms) : "" }, when(one, now)), h("small", null, by(one))),
      one.maintenance || one.stage === "expired" ? h("span", { class: "tag" }, one.maintenance ? "maintenance" : "over")
        : h("button", { type: "button", class: "button small", "aria-label": `End the silence of ${one.match}`, onclick: () => this.end(one, line, fill) }, "End"));
    fill();
    return line;
  }

  end(one, line, fill) {
    put(line, orderForm({ verb: "End it", done: () => {
      fill();
      this.load();
    }, fields: [h("p", { class: "wide" }, "People are told again of ", h("code", null, one.match)), whoField()], order: ({ who }) => api.endSilence(one.id, who) }));
    /** @type {HTMLElement} */ (line.querySelector("button")).focus();
  }

  dispose() {
    this.gone = true;
    clearInterval(this.timer);
  }
}

const FAR_MS = 180 * 86_400_000;
const near = (ms, now) => (Math.abs(ms - now) < FAR_MS ? moment(ms, now) : fullTime(ms));

function when({ stage, starts_ms: starts, ends_ms: ends, until_ms: until, next_ms: next }, now) {
  if (stage === "expired") return `ended ${near(ends, now)}`;
  if (stage === "pending") return `from ${near(next ?? starts, now)}${ends ? ` for ${duration(ends - (next ?? starts))}` : ""}`;
  return until ? `until ${near(until, now)} (${duration(until - now)} left)` : "until it is ended";
}

function by({ who, windows }) {
  const weekly = windows.length ? `; ${plural(windows.length, "window")}: ${windows.slice(0, 3).join(", ")}` : "";
  return `${who || "somebody"}${weekly}`;
}
