/** Asks the hub for series by words and labels. The hub does the matching, so it stays quick with many thousands. */

import * as api from "../api.js";
import { containing, labelPairs } from "../selector.js";

/** At most this many series come back from one search. */
export const MOST = 1000;
const MOST_LABELS = 24;  // label names that a word is looked for in
const KEEP_MS = 20_000;

const kept = new Map();

async function keep(key, ask) {
  const have = kept.get(key);
  if (have && performance.now() - have.at < KEEP_MS) return have.value;
  const value = await ask();
  kept.set(key, { at: performance.now(), value });
  return value;
}

/** All metric names, sorted. @returns {Promise<string[]>} */
export async function names(signal) {
  return (await keep("names", () => api.metricNames(signal))).slice().sort();
}

/** The series of one name. */
export const seriesOf = (name) => api.series([name], MOST);

/**
 * Series in which every word occurs, in the name or in a label value, and that have all these labels.
 * @param {string} query  words @param {string[]} where  "label=value"
 * @returns {Promise<{found: import("../selector.js").LabelSet[], cut: boolean}>}
 */
export async function search(query, where, signal) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const needed = where.map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]);
  const longest = words.slice().sort((a, b) => b.length - a.length)[0];
  const exact = needed.map(([k, v]) => `${k}="${v.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`).join(",");
  let selectors = [`{${exact}}`];
  if (longest) {
    const labels = (await keep("labels", () => api.labelNames(signal))).filter((one) => one !== "__name__").slice(0, MOST_LABELS);
    selectors = ["__name__", ...labels].map((one) => containing(one, longest))
      .map((one) => (exact ? one.replace(/}$/, `,${exact}}`) : one));
  }
  const answer = await api.series(selectors, MOST, signal);
  const found = answer.filter((labels) => words.every((word) => Object.values(labels).some((v) => v.toLowerCase().includes(word)))
    && needed.every(([k, v]) => labels[k] === v));
  const rank = (labels) => (labels.__name__.toLowerCase().startsWith(longest ?? "") ? 0 : 1);
  return { found: found.sort((a, b) => rank(a) - rank(b)), cut: answer.length >= MOST };
}

/**
 * Labels worth filtering by: shared by some of the results, but not by all; the most shared first.
 * @returns {[string, string][]}
 */
export function facets(found, where, most = 10) {
  const seen = new Map();
  for (const labels of found) {
    for (const [key, value] of labelPairs(labels)) {
      const pair = `${key}=${value}`;
      if (!where.includes(pair)) seen.set(pair, (seen.get(pair) ?? 0) + 1);
    }
  }
  return [...seen].filter(([, n]) => n > 1 && n < found.length).sort((a, b) => b[1] - a[1]).slice(0, most)
    .map(([pair]) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]);
}
