/** Chooses which series the overview draws, from the names that exist: the host first, then a plant, then whatever there is. */

import * as api from "../api.js";
import { MADE, rankOfName, seriesText, words } from "../selector.js";

/** What a host is asked about: a title, and names that answer it, best first. */
const HOST = [
  ["CPU", [/cpu.*percent/, /cpu.*(used|usage|util|busy|percent)/, /cpu.*(ratio|load)/, /^(host_|node_|system_)?cpu$/]],
  ["Memory", [/mem(ory)?_(used|usage).*(percent|ratio)/, /mem(ory)?.*used/, /mem(ory)?.*(percent|available|free)/]],
  ["Load", [/load_?(avg_?)?_?(1|1m|one)$/, /load_?average/, /^(host_|node_|system_)?load/]],
  ["Disk used", [/(disk|filesystem|fs)_?(used|usage).*(percent|ratio)/, /(disk|filesystem).*(used|free|avail)/]],
  ["Network in", [/(net|network).*(recv|receive|rx|bytes_in|_in_)/]],
  ["Network out", [/(net|network).*(sent|send|transmit|tx|bytes_out|_out_)/]],
  ["Disk read", [/disk.*read.*bytes/, /disk.*read/]],
  ["Disk write", [/disk.*writ.*bytes/, /disk.*writ/]],
];
const MOST = 8;
const MOST_OF_PLANT = 12;

/** @returns {Promise<{title: string, note: string, items: {labels: import("../selector.js").LabelSet, title: string}[]}[]>} */
export async function chooseSections() {
  const names = (await api.metricNames()).filter((one) => rankOfName(one) === 0 && one !== "up");
  if (!names.length) return [];
  const [host, plant] = await Promise.all([chooseHost(names), choosePlant()]);
  const sections = [];
  if (plant.length) sections.push({ title: "Simulated plant", note: "last hour, with learned bands", items: plant });
  if (host.length) sections.push({ title: "This host", note: "last hour, with learned bands", items: host });
  const taken = new Set([...plant, ...host].map((one) => seriesText(one.labels)));
  const rest = plant.length ? [] : await chooseRest(names, taken);
  if (rest.length) sections.push({ title: host.length ? "Also arriving" : "Arriving", note: "last hour", items: rest });
  return sections;
}

/** The series without a part (no single core, no single disk) stands for its name; else the first by its text. */
function whole(found) {
  const total = found.find((one) => Object.values(one).some((v) => /^(total|all|cpu-total|_total)$/i.test(v)));
  const main = found.find((one) => ["mount", "mountpoint", "path"].some((k) => one[k] === "/"));
  const busy = found.filter((one) => !["lo", "lo0"].includes(one.interface ?? one.device ?? one.nic));
  return total ?? main ?? (busy.length ? busy : found).sort((a, b) => Object.keys(a).length - Object.keys(b).length
    || (seriesText(a) < seriesText(b) ? -1 : 1))[0];
}

async function chooseHost(names) {
  const items = await Promise.all(HOST.map(async ([title, patterns]) => {
    const fitting = [...new Set(patterns.flatMap((one) => names.filter((name) => one.test(name))))].slice(0, 4);
    for (const name of fitting) {
      const found = await api.series([`${name}{source!="simulated"}`], 200);
      if (found.length) return { title, labels: whole(found) };
    }
    return null;
  }));
  const taken = new Set();
  return items.filter((one) => one && !taken.has(one.labels.__name__) && taken.add(one.labels.__name__)).slice(0, MOST);
}

/** The cities of a simulated plant, and of its other kinds one series each, of different machines in turn. */
async function choosePlant() {
  const found = await api.series([`{source="simulated",__name__!~"${MADE}"}`], 500);
  const perName = new Map();
  for (const labels of found) {
    if (!perName.has(labels.__name__)) perName.set(labels.__name__, []);
    perName.get(labels.__name__).push(labels);
  }
  const cities = [...perName.values()].filter((list) => list[0].city).flatMap((list) => list.slice(0, 2));
  const others = [...perName.values()].filter((list) => !list[0].city).map((list, i) => list[i % list.length]);
  return [...cities, ...others].slice(0, MOST_OF_PLANT).map((labels) => ({ labels, title: words(labels.__name__) }));
}

async function chooseRest(names, taken) {
  const found = await Promise.all(names.slice(0, 24).map((one) => api.series([one], 2)));
  return found.flat().filter((one) => !taken.has(seriesText(one))
    && !HOST.some(([, patterns]) => patterns.some((p) => p.test(one.__name__))))
    .slice(0, MOST).map((labels) => ({ labels, title: words(labels.__name__) }));
}
