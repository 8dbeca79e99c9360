/** One chart: values, learned band, expected line, anomalies and alarm spans, drawn by BokehJS on a canvas. */

import { loadBokeh } from "./bokeh.js";
import { bandPolygons, lonePoints, nearest, stepsOf, valueRange, worstPerMark } from "./columns.js";
import { severityOf } from "./parts/severity.js";
import { color, onTheme } from "./theme.js";
import { numberTicks, timeTicks } from "./ticks.js";

/** Colour and shape go together, so that severity is told without colour too. */
const MARKERS = { warning: "circle", minor: "triangle", major: "diamond", critical: "star" };
const MARKER_SIZE = { warning: 8, minor: 10, major: 12, critical: 15 };
const SEVERITIES = Object.keys(MARKERS);
const FAR = 8.64e15;  // the end of time in JavaScript: an alarm that is still open

export class Chart {
  /**
   * @param {HTMLElement} host  keeps its height from the style sheet, so nothing moves when the chart arrives
   * @param {{compact?: boolean, onZoom?: (start: number, end: number) => void, onHover?: (time: number|null) => void}} options
   */
  constructor(host, { compact = false, onZoom = null, onHover = null } = {}) {
    Object.assign(this, { host, compact, onZoom, onHover, unit: "", columns: null, anomalies: [], alarms: [], thresholds: [], window: [0, 1] });
    this.ready = loadBokeh().then((Bokeh) => this.build(Bokeh));
    this.stopTheme = onTheme(() => this.paint());
    this.resize = new ResizeObserver(() => this.plot && this.setWindow(...this.window));
    this.resize.observe(host);
  }

  async build(Bokeh) {
    if (this.gone) return;
    const touch = matchMedia("(pointer: coarse)").matches;
    const source = (names) => new Bokeh.ColumnDataSource({ data: Object.fromEntries(names.map((n) => [n, []])) });
    this.sources = { line: source(["x", "y", "yhat"]), band: source(["xs", "ys"]), spans: source(["x0", "x1", "fill"]),
      marks: source(["x", "y", "marker", "size", "fill"]), point: source(["x", "y"]), lone: source(["x", "y"]),
      warning: source(["x", "y"]), critical: source(["x", "y"]) };
    this.x = new Bokeh.Range1d({ start: this.window[0], end: this.window[1] });
    this.y = new Bokeh.Range1d({ start: 0, end: 1 });
    this.zoomTool = !this.compact && this.onZoom && !touch ? new Bokeh.BoxZoomTool({ dimensions: "width" }) : null;
    const plot = new Bokeh.Plotting.figure({ sizing_mode: "stretch_both", x_range: this.x, y_range: this.y, toolbar_location: null,
      tools: this.zoomTool ? [this.zoomTool] : [], background_fill_color: null, border_fill_color: null,
      outline_line_color: null, min_border: 0, min_border_right: 10, min_border_top: 8, lod_threshold: null });
    const { line, band, spans, marks, point, lone, warning, critical } = this.sources;
    const limit = (source) => plot.line({ x: { field: "x" }, y: { field: "y" }, source, line_width: 1.2, line_dash: [2, 3] });
    this.glyphs = {
      spans: plot.vstrip({ x0: { field: "x0" }, x1: { field: "x1" }, source: spans, fill_color: { field: "fill" }, fill_alpha: 0.13,
        line_color: null }),
      band: plot.patches({ xs: { field: "xs" }, ys: { field: "ys" }, source: band, line_color: null }),
      warning: limit(warning),
      critical: limit(critical),
      yhat: plot.line({ x: { field: "x" }, y: { field: "yhat" }, source: line, line_width: 1, line_dash: [5, 4] }),
      line: plot.line({ x: { field: "x" }, y: { field: "y" }, source: line, line_width: this.compact ? 1.5 : 1.8, line_join: "round" }),
      dots: plot.scatter({ x: { field: "x" }, y: { field: "y" }, source: line, marker: "circle", size: 4, line_color: null }),
      lone: plot.scatter({ x: { field: "x" }, y: { field: "y" }, source: lone, marker: "circle", size: 4, line_color: null }),
      marks: plot.scatter({ x: { field: "x" }, y: { field: "y" }, source: marks, marker: { field: "marker" }, size: { field: "size" },
        fill_color: { field: "fill" }, line_width: 1.2 }),
      point: plot.scatter({ x: { field: "x" }, y: { field: "y" }, source: point, marker: "circle", size: 9, line_width: 2 }),
    };
    this.cross = new Bokeh.Span({ dimension: "height", location: null, line_width: 1, level: "overlay" });
    plot.add_layout(this.cross);
    this.xTicker = new Bokeh.FixedTicker({ ticks: [] });
    this.yTicker = new Bokeh.FixedTicker({ ticks: [] });
    this.dressAxes(plot);
    if (this.onHover) {
      plot.on_event("mousemove", (event) => this.onHover(event.x));
      plot.on_event("tap", (event) => this.onHover(event.x));
      plot.on_event("mouseleave", () => this.onHover(null));
    }
    if (this.zoomTool) this.x.properties.start.change.connect(() => this.zoomed());
    this.plot = plot;
    this.paint();
    this.draw();
    this.view = await Bokeh.Plotting.show(plot, this.host);
    this.view.canvas_view.el.style.setProperty("--outline-style", "none");  // the host shows where the focus is
    /** @type {any} */ (this.host).chart = this;  // so that tests and the console find what is drawn
    if (this.gone) this.destroy();
  }

  dressAxes(plot) {
    const font = getComputedStyle(document.body).fontFamily;
    for (const [axis, ticker] of [[plot.xaxes[0], this.xTicker], [plot.yaxes[0], this.yTicker]]) {
      axis.setv({ ticker, axis_line_color: null, major_tick_line_color: null, minor_tick_line_color: null,
        major_label_text_font: font, major_label_text_font_size: this.compact ? "10.5px" : "11.5px" });
    }
    for (const [grid, ticker] of [[plot.xgrids[0], this.xTicker], [plot.ygrids[0], this.yTicker]]) grid.setv({ ticker });
    plot.xgrids[0].setv({ visible: false });
  }

  /** Takes the colours from the style sheet, now and whenever the theme changes. */
  paint() {
    if (!this.plot) return;
    const [data, surface, muted] = ["--data", "--surface", "--muted"].map(color);
    this.glyphs.band.glyph.setv({ fill_color: color("--band"), fill_alpha: 1 });
    this.glyphs.yhat.glyph.setv({ line_color: color("--expected") });
    this.glyphs.line.glyph.setv({ line_color: data });
    for (const one of ["warning", "critical"]) this.glyphs[one].glyph.setv({ line_color: color(`--mark-${one}`) });
    this.glyphs.dots.glyph.setv({ fill_color: data });
    this.glyphs.lone.glyph.setv({ fill_color: data });
    this.glyphs.marks.glyph.setv({ line_color: surface });
    this.glyphs.point.glyph.setv({ line_color: data, fill_color: surface });
    this.cross.setv({ line_color: muted });
    for (const axis of this.plot.axes) axis.setv({ major_label_text_color: muted });
    for (const grid of this.plot.grids) grid.setv({ grid_line_color: color("--grid") });
    this.drawMarks();
  }

  /** @param {import("./columns.js").Columns} columns @param {{unit?: string, anomalies?: any[], alarms?: any[],
   *   thresholds?: import("./api.js").Threshold[]}} more */
  setData(columns, { unit = this.unit, anomalies = this.anomalies, alarms = this.alarms, thresholds = this.thresholds } = {}) {
    Object.assign(this, { columns, unit, anomalies, alarms, thresholds });
    this.draw();
  }

  draw() {
    if (!this.plot || !this.columns) return;
    const { times, values, yhat } = this.columns;
    // Copies: Bokeh compares new data with old, and would not draw what was appended to the very arrays it holds.
    this.sources.line.data = { x: times.slice(), y: values.slice(), yhat: yhat.slice() };
    this.sources.band.data = bandPolygons(this.columns);
    this.sources.lone.data = lonePoints(this.columns);
    this.glyphs.dots.visible = times.length < this.host.clientWidth / 12;  // few samples: each is seen, also a single one
    this.setWindow(...this.window);
    this.drawMarks();
  }

  drawMarks() {
    const fills = Object.fromEntries(SEVERITIES.map((one) => [one, color(`--mark-${one}`)]));
    const room = ((this.window[1] - this.window[0]) / Math.max(100, this.host.clientWidth)) * (this.compact ? 9 : 12);
    const rows = worstPerMark(this.anomalies, room).map((one) => [one, severityOf(one)]);
    this.sources.marks.data = { x: rows.map(([a]) => a.time), y: rows.map(([a]) => a.value ?? NaN),
      marker: rows.map(([, s]) => MARKERS[s]), size: rows.map(([, s]) => MARKER_SIZE[s] * (this.compact ? 0.75 : 1)),
      fill: rows.map(([, s]) => fills[s]) };
    const spans = this.alarms;
    this.sources.spans.data = { x0: spans.map((a) => a.start), x1: spans.map((a) => a.end ?? FAR),
      fill: spans.map((a) => fills[a.severity] ?? fills.warning) };
  }

  /** Shows the time from start to end (ms); the value axis follows what is seen. */
  setWindow(start, end) {
    this.window = [start, end];
    if (!this.plot) return;
    this.moving = true;
    const wide = Math.max(120, this.host.clientWidth - 60);
    const high = this.host.clientHeight;
    const limits = this.thresholds.flatMap((one) => one.values.slice(-1));
    const [low, top] = this.columns ? valueRange(this.columns, start, end, limits) : [0, 1];
    for (const one of ["warning", "critical"]) {
      this.sources[one].data = stepsOf(this.thresholds.filter(({ severity }) => severity === one), end);
    }
    this.x.setv({ start, end });
    this.y.setv({ start: low, end: top });
    this.setTicks(this.plot.xaxes[0], this.xTicker, timeTicks(start, end, wide / (this.compact ? 75 : 90)));
    this.setTicks(this.plot.yaxes[0], this.yTicker, numberTicks(low, top, this.compact ? 4 : Math.max(3, high / 55), this.unit));
    this.moving = false;
  }

  setTicks(axis, ticker, ticks) {
    axis.major_label_overrides = new Map(ticks.map((one) => [one.at, one.label]));
    ticker.ticks = ticks.map((one) => one.at);
  }

  /** The reader dragged over a part of the chart. */
  zoomed() {
    if (this.moving) return;
    const { start, end } = this.x;
    if (start === this.window[0] && end === this.window[1]) return;
    queueMicrotask(() => this.onZoom(this.x.start, this.x.end));
  }

  /** Puts the crosshair on the row nearest to `time`; gives its index, or -1 where there is none (or null was given). */
  pointAt(time) {
    if (!this.plot) return -1;
    const i = time === null || !this.columns ? -1 : nearest(this.columns.times, time);
    const inside = i >= 0 && this.columns.times[i] >= this.window[0] && this.columns.times[i] <= this.window[1];
    this.cross.location = inside ? this.columns.times[i] : null;
    const seen = inside && !Number.isNaN(this.columns.values[i]);
    this.sources.point.data = seen ? { x: [this.columns.times[i]], y: [this.columns.values[i]] } : { x: [], y: [] };
    return inside ? i : -1;
  }

  /** Saves what is drawn as a PNG file, with the series above it. */
  async savePng(name) {
    const drawn = this.view.export("png", true).canvas;
    const scale = drawn.width / this.host.clientWidth;
    const head = Math.round(34 * scale);
    const canvas = Object.assign(document.createElement("canvas"), { width: drawn.width, height: drawn.height + head });
    const pen = canvas.getContext("2d");
    pen.fillStyle = color("--surface");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = color("--ink");
    pen.font = `600 ${Math.round(14 * scale)}px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillText(name, 10 * scale, 22 * scale, canvas.width - 20 * scale);
    pen.drawImage(drawn, 0, head);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name.replace(/[^\w.-]+/g, "_").slice(0, 80)}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  destroy() {
    this.gone = true;
    this.stopTheme();
    this.resize.disconnect();
    this.view?.remove();
    const { documents } = /** @type {any} */ (window).Bokeh ?? { documents: [] };
    const at = documents.indexOf(this.plot?.document);  // Bokeh would keep it for ever
    if (at >= 0) documents.splice(at, 1);
    this.host.replaceChildren();
  }
}
