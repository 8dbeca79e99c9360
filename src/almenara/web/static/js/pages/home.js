/** The overview: is anything wrong, how the host and the plant are doing, what was odd lately, how to begin. */

import { h, put } from "../dom.js";
import { count, hourMinute, plural } from "../format.js";
import { cadence, episodes } from "../columns.js";
import * as hub from "../hub.js";
import { doors, DemoCard } from "../parts/doors.js";
import { sentenceOf } from "../parts/explain.js";
import { IncidentLink, IncidentList } from "../parts/incident.js";
import { MiniChart } from "../parts/mini.js";
import { severityOf, severityTag } from "../parts/severity.js";
import { calm, failed, idle, nothing, waiting } from "../parts/states.js";
import { parseSeries, seriesLink, seriesText, words } from "../selector.js";
import { chooseSections } from "./home-choice.js";

const HOUR = 3_600_000;
const YOUNG = 60;  // a hub with fewer series than this still shows its doors

export function home(main) {
  const alarms = h("section", { class: "block", "aria-label": "Incidents" }, waiting(1));
  const demo = new DemoCard();
  demo.element.hidden = true;
  const charts = h("div", null, waiting(4));
  const recent = h("section", { class: "block", "aria-label": "Recent anomalies" });
  const begin = h("section", { class: "block", "aria-label": "Begin" });
  main.append(h("h1", { class: "offscreen" }, "Overview"), demo.element, alarms, begin, charts, recent);

  hub.watch([], null);  // until it is known which series are drawn
  const list = new IncidentList((row) => new IncidentLink(row));
  /** @type {Map<string, MiniChart>} */
  let minis = new Map();
  const title = h("h2"), more = h("a", { href: "/alarms", class: "more" });
  let gone = false, doorState = "", seriesSeen = -1, choosing = false;

  const showAlarms = () => {
    const open = hub.incidents();
    if (!open) return;
    list.show(open.slice(0, 6));
    if (!open.length) {
      const n = hub.status()?.series ?? 0;
      put(alarms, n ? calm("Nothing is wrong", `${plural(n, "series", "series")} watched; every sample is judged as it arrives.`)
        : idle("Nothing to watch yet", "Send one sample, and its series is watched from then on."));
      return;
    }
    title.textContent = plural(open.length, "open incident");
    more.textContent = open.length > 6 ? `All ${count(open.length)} incidents` : "All alarms";
    if (!alarms.contains(list.element)) put(alarms, h("div", { class: "block-head" }, title, more), list.element);
  };

  const showBegin = (status) => {
    demo.show(status.demo);
    const young = status.series < YOUNG;
    const wanted = JSON.stringify([young, status.addresses, !!status.demo]);
    if (wanted === doorState) return;
    doorState = wanted;
    put(begin, young ? [h("div", { class: "block-head" }, h("h2", null, "Begin here")), doors(status)]
      : h("details", { class: "more-doors" }, h("summary", null, "Send samples or import history"), doors(status)));
    if (young) alarms.after(begin);
    else recent.after(begin);
  };

  const showRecent = () => {
    const found = [...minis.values()].flatMap((mini) => episodes(mini.anomalies, Math.max(60_000, 5 * cadence(mini.columns?.times ?? []) || 0))
      .map((one) => ({ ...one, mini }))).sort((a, b) => b.end - a.end).slice(0, 8);
    put(recent, minis.size > 0 && h("div", { class: "block-head" }, h("h2", null, "Recent anomalies"),
      h("span", { class: "quiet" }, "in the series above, last hour")),
    found.length ? h("ul", { class: "anomalies" }, found.map(anomalyRow))
      : minis.size > 0 && nothing("No anomalies", "Every value stayed inside its learned band."));
  };

  const showCharts = async () => {
    if (choosing) return;
    choosing = true;
    try {
      const sections = await chooseSections();
      if (gone) return;
      const old = minis;
      minis = new Map();
      put(charts, sections.map(({ title, note, items }) => h("section", { class: "block", "aria-label": title },
        h("div", { class: "block-head" }, h("h2", null, title), note && h("span", { class: "quiet" }, note)),
        h("div", { class: "minis" }, items.map(({ labels, title: name }) => {
          const text = seriesText(labels);
          const mini = old.get(text) ?? new MiniChart(labels, name, HOUR);
          old.delete(text);
          minis.set(text, mini);
          mini.loaded.then(() => gone || showRecent());
          return mini.element;
        })))));
      old.forEach((one) => one.dispose());
      hub.watch([...minis.keys()], onRows);
    } catch (error) {
      if (!gone && !minis.size) put(charts, failed(error, showCharts));
    } finally {
      choosing = false;
    }
  };

  const onRows = (series, rows) => {
    const here = series.map((labels) => minis.get(typeof labels === "string" ? labels : seriesText(labels)));
    for (const [i, t, v, score, lower, upper, yhat] of rows) here[i]?.row(t, v, score, lower, upper, yhat);
  };

  const stops = [
    hub.on("incidents", showAlarms),
    hub.on("status", (status) => {
      showBegin(status);
      const step = status.series < 200 ? status.series : 200;  // while the hub is young, look again when series arrive
      if (step !== seriesSeen) {
        seriesSeen = step;
        showAlarms();
        showCharts();
      }
    }),
    hub.on("connection", (up) => up && seriesSeen < 0 && hub.refresh()),
  ];
  const timer = setInterval(() => {
    if (document.hidden || !hub.isConnected()) return;
    minis.forEach((one) => one.tick());
  }, 1000);
  const slow = setInterval(showRecent, 5000);

  return { dispose() {
    gone = true;
    stops.forEach((stop) => stop());
    clearInterval(timer);
    clearInterval(slow);
    list.dispose();
    demo.dispose();
    minis.forEach((one) => one.dispose());
  } };
}

function anomalyRow({ start, end, worst, mini }) {
  const labels = parseSeries(mini.text);
  const detail = Object.entries(labels).filter(([k]) => k !== "__name__" && k !== "source").map(([, v]) => v).join(" · ");
  const when = hourMinute(start) === hourMinute(end) ? hourMinute(start) : `${hourMinute(start)} to ${hourMinute(end)}`;
  const room = Math.max(10 * 60_000, end - start);
  return h("li", null, h("a", { href: seriesLink(mini.text, { start: start - room, end: end + room }) },
    h("time", null, when), h("span", { class: "what" }, h("strong", null, words(labels.__name__)), " ", h("small", null, detail)),
    severityTag(severityOf(worst)), h("span", { class: "numbers" }, sentenceOf(worst, mini.unit))));
}
