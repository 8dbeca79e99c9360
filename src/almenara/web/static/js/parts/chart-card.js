/** One series, drawn large: its value in words, the chart, what is marked, its anomalies in sentences, and ways to take it along. */

import * as api from "../api.js";
import { Chart } from "../chart.js";
import { append, cadence, columnsOf, dropBefore, episodes, isApart, Recent } from "../columns.js";
import { h, put } from "../dom.js";
import * as hub from "../hub.js";
import { parseSeries } from "../selector.js";
import { anomalyList, explain, legendOf, rowAt } from "./explain.js";
import { labelChips } from "./labels.js";
import { failed } from "./states.js";

const REFETCH_MS = 30_000;

export class ChartCard {
  /**
   * @param {string} text
   * @param {{onZoom: (start: number, end: number) => void, onHover: (time: number|null) => void, onRemove: (text: string) => void,
   *   linkTo: (start: number, end: number) => string}} options
   */
  constructor(text, { onZoom, onHover, onRemove, linkTo }) {
    Object.assign(this, { text, linkTo, onHover, view: null, columns: null, anomalies: [], window: [0, 1], recent: new Recent() });
    const labels = parseSeries(text);
    this.readout = h("div", { class: "readout", "aria-live": "off" });
    this.host = h("div", { class: "chart", tabindex: "0", role: "img", "aria-label": text, onkeydown: (event) => this.keys(event) });
    this.message = h("div", { class: "chart-message", hidden: true });
    this.csv = h("a", { class: "button small", download: "" }, "CSV");
    this.remove = h("button", { type: "button", class: "button small", "aria-label": `Remove ${text}`, onclick: () => onRemove(text) }, "Remove");
    this.legend = h("ul", { class: "legend" });
    this.odd = h("div", { class: "card-anomalies" });
    this.element = h("article", { class: "panel chart-card" },
      h("header", null, h("div", { class: "card-title" }, h("h2", null, labels.__name__), labelChips(labels)),
        h("div", { class: "card-tools" }, this.csv,
          h("button", { type: "button", class: "button small", onclick: () => this.chart.savePng(text) }, "PNG"), this.remove)),
      this.readout, h("div", { class: "chart-holder" }, this.host, this.message), this.legend, this.odd);
    this.chart = new Chart(this.host, { onZoom, onHover });
    this.chart.ready.catch((error) => this.say(failed(error, () => location.reload())));
  }

  say(content) {
    this.message.hidden = !content;
    put(this.message, content);
  }

  /** Fetches the window; start 0 means from the first sample. Gives the first time there is, or null. */
  async load(start, end) {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.asked = [start, end];
    this.element.setAttribute("aria-busy", "true");
    try {
      const view = await this.fetch(start, end, abort.signal);
      this.fetchedAt = performance.now();
      this.take(view);
      return view.times[0] ?? null;
    } catch (error) {
      if (error.name !== "AbortError") {
        this.fetchedAt = performance.now();
        if (!this.view) this.say(error.status === 404 ? h("p", { class: "quiet" }, "There is no such series (any more).")
          : failed(error, () => this.load(start, end).then(() => this.chart.setWindow(...this.window))));
      }
      return null;
    } finally {
      if (abort === this.abort) this.element.removeAttribute("aria-busy");
    }
  }

  /** A view; from 0 it is asked for again and again, ever closer to the first sample, because pixels are wide from there. */
  async fetch(start, end, signal) {
    for (let tries = 0; ; tries++) {
      const view = await api.view(this.text, start, end, this.host.clientWidth || 800, signal);
      const first = view.times[0];
      if (this.asked[0] !== 0 || tries === 4 || first === undefined || first - start < (end - start) / 20) return view;
      start = first;
    }
  }

  take(view) {
    this.view = view;
    this.columns = columnsOf(view);
    this.anomalies = view.anomalies.slice();
    const [start, end] = this.asked;
    if (hub.now() - end < 0.02 * (end - start)) for (const row of this.recent.rows) this.add(row);
    this.say(view.times.length ? null : h("p", { class: "quiet" }, "No samples in this window."));
    this.csv.setAttribute("href", api.csvLink(this.text, this.asked[0] || (view.times[0] ?? 0), this.asked[1]));
    this.chart.setData(this.columns, { unit: view.unit, anomalies: this.anomalies, alarms: view.alarms,
      thresholds: view.thresholds ?? [] });
    put(this.legend, legendOf(view));
    this.list();
    this.hover(null);
  }

  /** Moves the chart to a window, without asking the hub. */
  setWindow(start, end) {
    this.window = [start, end];
    this.chart.setWindow(start, end);
  }

  /** One live row; drawn by the next `tick`. */
  row(...row) {
    this.recent.add(row);
    if (this.columns) this.add(row);
  }

  add([time, value, score, lower, upper, yhat]) {
    if (isApart(this.columns, this.view.gap_ms, time)) this.fetchedAt = Math.min(this.fetchedAt, performance.now() - REFETCH_MS + 3000);
    if (!append(this.columns, this.view.gap_ms, time, value, score, lower, upper, yhat)) return;
    if (score >= 1) this.anomalies.push({ time, value, score, severity: "", yhat: yhat ?? null, lower, upper, why: "" });
    this.changed = true;
  }

  /** Once a second while the window follows the clock. */
  tick(start, end) {
    this.window = [start, end];
    if (!this.columns) return;
    if (performance.now() - this.fetchedAt > REFETCH_MS) {
      this.fetchedAt = performance.now();
      this.load(start, end);
    }
    if (this.changed) {
      this.changed = false;
      dropBefore(this.columns, start);
      this.say(null);
      this.chart.window = this.window;
      this.chart.setData(this.columns, { anomalies: this.anomalies });
      this.list();
    } else {
      this.chart.setWindow(start, end);
    }
    if (!this.hovered) this.hover(null);
  }

  /** Shows the row nearest to `time` in words, or the newest one for null. */
  hover(time) {
    this.hovered = time !== null;
    if (!this.columns) return;
    const i = this.chart.pointAt(time);
    const now = i < 0;
    const row = rowAt(this.columns, this.anomalies, now ? this.columns.times.length - 1 : i);
    const clock = hub.now();
    const live = clock - this.window[1] < 0.02 * (this.window[1] - this.window[0]);
    put(this.readout, explain(row, this.view, { now: now && live, clock }));
    if (now) this.host.setAttribute("aria-label", `${this.text}: ${this.readout.textContent}`);
  }

  list() {
    const gap = Math.max(60_000, 4 * cadence(this.columns.times) || 0, (this.window[1] - this.window[0]) / 400);  // the hub thins them, too
    const found = episodes(this.anomalies.filter((one) => one.time >= this.window[0] || this.window[0] === 0), gap);
    const shape = JSON.stringify(found.map((one) => [one.start, one.end, one.worst.score]));
    if (shape === this.listed) return;
    this.listed = shape;
    put(this.odd, anomalyList(found, this.view, this.linkTo));
  }

  /** Arrow keys walk from sample to sample, so that the chart can be read without a mouse. */
  keys(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.onHover(null);
    if (!step || !this.columns?.times.length) return;
    event.preventDefault();
    const { times } = this.columns;
    const inside = times.map((t, i) => i).filter((i) => times[i] >= this.window[0] && times[i] <= this.window[1]);
    const at = this.hovered && this.at !== undefined ? this.at + step * (event.shiftKey ? 10 : 1) : inside[inside.length - 1];
    this.at = Math.min(Math.max(at, inside[0] ?? 0), inside[inside.length - 1] ?? 0);
    this.onHover(times[this.at]);
  }

  dispose() {
    this.abort?.abort();
    this.chart.destroy();
    this.element.remove();
  }
}
