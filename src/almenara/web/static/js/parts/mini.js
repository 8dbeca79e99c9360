/** A small chart on the overview: what it is, its value now, its curve with the learned band. A link to the full chart. */

import * as api from "../api.js";
import { Chart } from "../chart.js";
import { append, columnsOf, dropBefore, isApart, Recent } from "../columns.js";
import { h, put } from "../dom.js";
import { quantity } from "../format.js";
import * as hub from "../hub.js";
import { labelPairs, seriesLink, seriesText } from "../selector.js";
import { mark, severityOf } from "./severity.js";

const REFETCH_MS = 30_000;

export class MiniChart {
  /** @param {import("../selector.js").LabelSet} labels @param {string} title @param {number} span ms that it shows */
  constructor(labels, title, span) {
    this.text = seriesText(labels);
    this.span = span;
    this.value = h("span", { class: "mini-value" }, "\u00a0");
    const name = title.charAt(0).toUpperCase() + title.slice(1);
    const host = h("div", { class: "mini-chart" });
    const detail = labelPairs(labels).filter(([k]) => k !== "source").map(([, v]) => v).join(" · ");
    this.element = h("a", { class: "mini", href: seriesLink(this.text, { range: "6h" }), title: this.text },
      h("div", { class: "mini-head" }, h("span", { class: "mini-title" }, name, " ", h("small", null, detail)), this.value), host);
    this.chart = new Chart(host, { compact: true });
    this.chart.ready.catch((error) => this.say(error.message));
    this.anomalies = [];
    this.recent = new Recent();
    this.loaded = this.load();
  }

  async load() {
    const end = hub.now();
    try {
      const view = await api.view(this.text, end - this.span, end, 260);
      this.columns = columnsOf(view);
      this.fetchedAt = performance.now();
      this.unit = view.unit;
      this.gap = view.gap_ms;
      this.anomalies = view.anomalies;
      for (const row of this.recent.rows) this.add(row);
      this.chart.window = this.window();
      this.chart.setData(this.columns, { unit: view.unit, anomalies: this.anomalies, alarms: view.alarms });
      this.tell();
    } catch (error) {
      if (!this.columns) this.say(error.message);
    }
  }

  say(problem) {
    put(this.chart.host, h("p", { class: "mini-problem" }, problem));
  }

  /** What is shown: up to now, and a little room so that the newest mark is whole. */
  window() {
    const end = hub.now();
    return [end - this.span, end + this.span * 0.02];
  }

  /** One live row. */
  row(...row) {
    this.recent.add(row);
    if (this.columns) this.add(row);
  }

  add([time, value, score, lower, upper, yhat]) {
    if (isApart(this.columns, this.gap, time)) this.fetchedAt = Math.min(this.fetchedAt, performance.now() - REFETCH_MS + 3000);
    if (!append(this.columns, this.gap, time, value, score, lower, upper, yhat)) return;
    if (score >= 1) this.anomalies.push({ time, value, score, lower, upper, yhat: yhat ?? null, severity: "", why: "" });
    this.changed = true;
  }

  /** Moves on with the hub's clock; asks again now and then, so that decimation and expected line stay right. */
  tick() {
    if (!this.columns) return;
    if (performance.now() - this.fetchedAt > REFETCH_MS) {
      this.fetchedAt = performance.now();
      this.load();
      return;
    }
    const [start, end] = (this.chart.window = this.window());
    if (this.changed) {
      dropBefore(this.columns, start);
      this.chart.setData(this.columns, { anomalies: this.anomalies });
      this.tell();
      this.changed = false;
    } else {
      this.chart.setWindow(start, end);
    }
  }

  tell() {
    const last = this.columns.values.length - 1;
    const score = this.columns.score[last];
    const odd = score >= 1;
    this.element.classList.toggle("odd", odd);
    put(this.value, odd && mark(severityOf({ severity: "", score })), odd && h("span", { class: "offscreen" }, "Outside its band: "),
      quantity(this.columns.values[last], this.unit));
  }

  dispose() {
    this.chart.destroy();
  }
}
