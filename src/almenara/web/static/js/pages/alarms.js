/** Alarms: what is open now, and what has been. */

import { h, put } from "../dom.js";
import { plural } from "../format.js";
import * as hub from "../hub.js";
import { AlarmList } from "../parts/alarm-row.js";
import { BudgetList } from "../parts/budgets.js";
import { EventList } from "../parts/events.js";
import { mark, SEVERITIES } from "../parts/severity.js";
import { calm, nothing, waiting } from "../parts/states.js";
import { sortOpen } from "./home.js";

export function alarmsPage(main) {
  const open = h("section", { class: "block" }, waiting(2));
  const recent = h("section", { class: "block" });
  main.append(h("div", { class: "page-head" }, h("h1", null, "Alarms"), legend()), open);
  const [now, before, events, budgets] = [new AlarmList(), new AlarmList(), new EventList(), new BudgetList()];
  main.append(events.element, recent, budgets.element);
  hub.watch([], null);
  const stop = hub.on("alarms", (found) => {
    now.show(sortOpen(found.open));
    put(open, found.open.length ? [h("div", { class: "block-head" }, h("h2", null, plural(found.open.length, "open alarm"))), now.element]
      : calm("Nothing is wrong", "No alarm is open."));
    const over = ended(found.recent);
    before.show(over);
    put(recent, h("div", { class: "block-head" }, h("h2", null, "Earlier")),
      over.length ? before.element : nothing("No earlier alarms", "Alarms that have ended are listed here."));
  });
  return { dispose() {
    stop();
    now.dispose();
    before.dispose();
    events.dispose();
    budgets.dispose();
  } };
}

/** The journal has a line for each change of state; a reader wants one card for each alarm that has ended, with what was wrong. */
function ended(recent) {
  const keyOf = (one) => `${one.rule}\n${one.series}\n${one.since_ms}`;
  const fired = new Map(recent.filter((one) => one.state === "firing").map((one) => [keyOf(one), one]));
  const over = new Map(recent.filter((one) => one.state === "resolved").map((one) => [keyOf(one), one]));
  return [...over].map(([key, one]) => {
    const { value, lower, upper, yhat, score, why } = fired.get(key) ?? one;
    return { ...one, value, lower, upper, yhat, score, why };
  });
}

function legend() {
  return h("ul", { class: "legend", "aria-label": "Severity" }, SEVERITIES.map((one) => h("li", null, mark(one), one)));
}
