/** Starts the dashboard: header, live connection, pages. */

import { h, put } from "./dom.js";
import { clock, count, duration, fullTime, moment, plural, zone } from "./format.js";
import * as hub from "./hub.js";
import { alarmsPage } from "./pages/alarms.js";
import { backtestPage } from "./pages/backtest.js";
import { home } from "./pages/home.js";
import { seriesPage } from "./pages/series.js";
import { sourcesPage } from "./pages/sources.js";
import { route, startRouter } from "./router.js";
import { isDark, onTheme, toggleTheme } from "./theme.js";

/** For so long it is shown that the hub was away. */
const SHOWN_MS = 86_400_000;

const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

function header() {
  const live = element("live"), lost = element("lost"), time = element("clock"), badge = element("alarm-count"), theme = element("theme"), away = element("away"), wrong = element("problems");
  const setTheme = () => theme.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  theme.addEventListener("click", toggleTheme);
  onTheme(setTheme);
  setTheme();

  const say = (kind, text) => {
    live.className = `live ${kind}`;
    put(live, live.firstElementChild, Object.assign(document.createElement("span"), { textContent: text }));
  };
  hub.on("connection", (up) => {
    say(up ? "up" : "down", up ? "Live" : "Not connected");
    lost.hidden = up;
  });
  hub.on("status", ({ ready, series, rows_per_s, version }) => {
    live.title = `Almenara ${version}: ${count(series)} series, ${count(rows_per_s)} rows a second`;
    if (hub.isConnected() && ready?.length) say("busy", "Starting");
    else if (hub.isConnected()) say("up", "Live");
  });
  hub.on("status", ({ outage, clock_ms }) => {
    away.hidden = !outage || clock_ms - outage.until_ms > SHOWN_MS || localStorage.getItem("almenara-outage") === String(outage.until_ms);
    if (away.hidden) return;
    const seen = () => {
      localStorage.setItem("almenara-outage", String(outage.until_ms));
      away.hidden = true;
    };
    const from = moment(outage.since_ms, clock_ms), to = moment(outage.until_ms, clock_ms);
    const said = `Nobody was watching from ${from} to ${to} (${duration(outage.until_ms - outage.since_ms)}). `;
    put(away, said, h("button", { type: "button", class: "button", onclick: seen }, "Seen"));
  });
  hub.on("incidents", (open) => {
    badge.hidden = !open.length;
    badge.textContent = count(open.length);
    badge.setAttribute("aria-label", `${open.length} open`);
  });
  hub.on("status", ({ problems = [] }) => {
    wrong.hidden = !problems.length;
    if (wrong.hidden) return;
    wrong.title = problems.join("\n");
    wrong.setAttribute("aria-label", `${plural(problems.length, "problem")}: ${problems.join("; ")}`);
    put(wrong, h("b", null, "!"), h("span", null, plural(problems.length, "problem")));
  });
  setInterval(() => {
    const now = hub.now();
    time.textContent = clock(now);
    time.title = `${fullTime(now)}, ${zone()}`;
    if (!lost.hidden) lost.textContent = `The hub cannot be reached. Trying again in ${hub.secondsToRetry()} s. What you see is what was last known.`;
  }, 500);
}

route("/", "Almenara", home);
route("/series", "Series · Almenara", seriesPage);
route("/alarms", "Alarms · Almenara", alarmsPage);
route("/sources", "Sources · Almenara", sourcesPage);
route("/backtest", "Backtest · Almenara", backtestPage);
header();
hub.start().then(startRouter);
