/** Who was told of what: the outbox, newest first, and what keeps notifiers from working. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { duration, fullTime, moment, plural } from "../format.js";
import * as hub from "../hub.js";
import { failed, nothing, waiting } from "./states.js";

const EVERY_MS = 5000, SHOWN = 200;
const OUTCOMES = [["all", "All"], ["waiting", "Waiting"], ["sent", "Sent"], ["given up", "Given up"]];

export class SentList {
  constructor() {
    this.outcome = "all";
    this.list = h("div", null, waiting(3));
    this.problems = h("div");
    this.element = h("section", { class: "block" }, this.problems, h("div", { class: "segmented filter", role: "group", "aria-label": "Which messages" },
      OUTCOMES.map(([value, text]) => h("button", { type: "button", "data-outcome": value, "aria-pressed": String(value === "all"), onclick: () => this.choose(value) }, text))),
    this.list);
    this.stop = hub.on("status", ({ problems = [] }) => put(this.problems, problemList(problems)));
    this.timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
    this.load();
  }

  choose(outcome) {
    this.outcome = outcome;
    for (const one of this.element.querySelectorAll("[data-outcome]")) one.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (one).dataset.outcome === outcome));
    this.load();
  }

  async load() {
    const asked = this.outcome;
    try {
      const found = await api.outbox(SHOWN, asked), shape = JSON.stringify([asked, found]);
      if (this.gone || asked !== this.outcome || shape === this.shape) return;
      this.shape = shape;
      put(this.list, found.length ? h("ul", { class: "panel sent" }, found.map(line))
        : nothing("No messages", asked === "all" ? "Once an alarm fires, who is told of it is listed here." : "None of this kind."));
    } catch (error) {
      if (!this.shape) put(this.list, failed(error, () => this.load()));
    }
  }

  dispose() {
    this.gone = true;
    this.stop();
    clearInterval(this.timer);
  }
}

/** What does not work, as the hub says it; nothing where all works. @param {string[]} problems */
export function problemList(problems) {
  return problems.length > 0 && h("div", { class: "panel problems" }, h("h2", null, plural(problems.length, "problem")),
    h("ul", null, problems.map((one) => h("li", null, one))));
}

/** @param {import("../api.js").Message} one */
function line(one) {
  const now = hub.now(), at = one.done_ms ?? one.queued_ms;
  const late = one.done_ms && one.done_ms - one.queued_ms > 5000 && `${duration(one.done_ms - one.queued_ms)} after it was due`;
  const tries = one.tries > 1 && `${plural(one.tries, "try", "tries")}`;
  const next = one.due_ms && one.due_ms > now && `next try at ${moment(one.due_ms, now)}`;
  const more = [one.error, tries, next, late, one.reason].filter(Boolean).join("; ");
  return h("li", null, h("time", { class: "quiet", title: fullTime(at) }, moment(at, now)),
    h("span", { class: `tag outcome ${one.outcome.replace(" ", "-")}` }, one.outcome === "waiting" && one.tries ? "trying again" : one.outcome),
    h("div", null, h("strong", null, one.notifier), " · ", one.kind, one.incident > 0 && [" · ", h("a", { href: `/alarms?incident=${one.incident}` }, `incident #${one.incident}`)],
      more && h("small", null, more)));
}
