/** Alarm budgets: how many anomalies a week are welcome, and how many there are; nothing at all where none is configured. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { number, plural } from "../format.js";

const EVERY_MS = 60_000;

export class BudgetList {
  constructor() {
    this.element = h("section", { class: "block", hidden: true });
    this.load();
    this.timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
  }

  async load() {
    try {
      this.show(await api.budgets());
    } catch { /* the page says already that the hub is gone */ }
  }

  /** @param {import("../api.js").Budget[]} budgets */
  show(budgets) {
    this.element.hidden = !budgets.length;
    put(this.element, h("div", { class: "block-head" }, h("h2", null, "Alarm budgets"),
      h("p", { class: "quiet" }, "how many anomalies a week are welcome, and how many there are")),
      h("ul", { class: "panel budgets" }, budgets.map(line)));
  }

  dispose() {
    clearInterval(this.timer);
  }
}

/** @param {import("../api.js").Budget} one */
function line(one) {
  const known = one.rate !== null;
  return h("li", null,
    h("div", null, h("strong", null, one.name),
      h("small", { class: "quiet" }, `at most ${number(one.per_week)} a week, of ${plural(one.series, "series", "series")} together`)),
    h("div", null, h("b", null, known ? `${number(one.rate)} a week` : "not known yet"),
      h("small", { class: "quiet" }, known
        ? `${plural(one.alerts, "anomaly", "anomalies")} in ${number(one.weeks)} weeks; the true rate is from ${number(one.low)} to ${number(one.high)} (95 %)`
        : "no judged rows yet")),
    verdict(one, known));
}

/** What can be said of it with what is known: "so far" where chance could have made it; a few in a day do not break a budget of seven. */
function verdict({ low, high, rate, per_week: most }, known) {
  const said = !known ? null : low > most ? "over" : high <= most ? "kept" : rate > most ? "above so far" : "kept so far";
  return said && h("span", { class: `tag${said === "over" ? " major" : ""}` }, said);
}
