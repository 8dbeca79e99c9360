/** Asks the hub for series by words and labels. The hub does the matching, so it stays quick with many thousands. */

import * as api from "../api.js";
import { containing, labelPairs, MADE, rankOfName, seriesText } from "../selector.js";

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

/** All metric names, sorted; what was measured first. @returns {Promise<string[]>} */
export async function names(signal) {
  return (await keep("names", () => api.metricNames(signal))).slice().sort().sort((a, b) => rankOfName(a) - rankOfName(b));
}

/** The series of one name. */
export const seriesOf = (name) => api.series([name], MOST);

/**
 * Series in which every word occurs, in the name or in a label value, and that have all these labels: what was measured before
 * what the hub makes of it; names that are a word before names that begin with one, before names that hold one, before labels.
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
  const and = (matcher) => selectors.map((one) => one.replace(/}$/, `,${matcher}}`));
  const begun = longest ? [containing("__name__", longest, { begin: true })].map((one) => (exact ? one.replace(/}$/, `,${exact}}`) : one)) : [];
  const answers = await Promise.all([begun, and(`__name__!~"${MADE}"`), and(`__name__=~"${MADE}"`)]
    .map((some) => (some.length ? api.series(some, MOST, signal) : [])));
  const answer = [...new Map(answers.flat().map((labels) => [seriesText(labels), labels])).values()];
  const found = answer.filter((labels) => words.every((word) => Object.values(labels).some((v) => v.toLowerCase().includes(word)))
    && needed.every(([k, v]) => labels[k] === v));
  const rank = ({ __name__: name }) => 10 * rankOfName(name) + Math.min(3, ...words.map((word) => fit(name.toLowerCase(), word)));
  const cut = found.length > MOST || answers.some((one) => one.length >= MOST);
  return { found: found.sort((a, b) => rank(a) - rank(b)).slice(0, MOST), cut };
}

const fit = (name, word) => (name === word ? 0 : name.startsWith(word) ? 1 : name.includes(word) ? 2 : 3);

/**
 * Labels worth filtering by: shared by some of the results, but not by all; the most shared first.
 * @returns {[string, string][]}
 */
export function facets(found, where, most = 6) {
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
