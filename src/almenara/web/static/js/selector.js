/** Series as text and back: `temperature{city="Mumbai",id="CITIMUM"}`, written exactly as the hub writes it. */

/** @typedef {Record<string, string>} LabelSet  with the name under `__name__` */

const quote = (text) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
const byCode = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** @param {LabelSet} labels @returns {string} */
export function seriesText(labels) {
  const inside = Object.keys(labels).filter((k) => k !== "__name__").sort(byCode).map((k) => `${k}=${quote(labels[k])}`);
  return (labels.__name__ ?? "") + (inside.length ? `{${inside.join(",")}}` : "");
}

/** @param {string} text @returns {LabelSet} */
export function parseSeries(text) {
  const brace = text.indexOf("{");
  const found = { __name__: brace < 0 ? text.trim() : text.slice(0, brace).trim() };
  const pair = /([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"/gs;
  if (brace >= 0) {
    for (const [, key, value] of text.slice(brace).matchAll(pair)) {
      found[key] = value.replace(/\\(.)/gs, (_, c) => (c === "n" ? "\n" : c));
    }
  }
  return found;
}

/** The labels of a series without its name, sorted. @returns {[string, string][]} */
export function labelPairs(labels) {
  return Object.entries(labels).filter(([k]) => k !== "__name__").sort(([a], [b]) => byCode(a, b));
}

/** A matcher `label=~".*words.*"`, case ignored, with everything special in `word` taken literally. `begin`: at the beginning only. */
export function containing(label, word, { begin = false } = {}) {
  const literal = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return `{${label}=~${quote(`(?i)${begin ? "" : ".*"}${literal}.*`)}}`;
}

/** Names of the series that the hub makes of its judgement. */
export const MADE = "anomaly(_yhat|_lower|_upper)?";
const IS_MADE = new RegExp(`^${MADE}$`), IS_OWN = /^(almenara|puma)_/;

/** What was measured comes first (0), then what hub and agent say of themselves, then what the hub makes of its judgement. */
export const rankOfName = (name) => (IS_MADE.test(name) ? 2 : IS_OWN.test(name) ? 1 : 0);

const UNIT_WORDS = /_(bytes_per_second|bytes_per_s|bits_per_second|per_s|per_second|bytes|percent|seconds|ms|celsius|bar|volts|amperes|watts|hertz|meters)(_total)?$/;

/** Metric names as words, without the unit that the numbers carry: `disk_used_percent` -> `disk used`. */
export function words(name) {
  return name.replace(UNIT_WORDS, "").replaceAll("_", " ").trim() || name;
}

/** Where a series is drawn. @param {{range?: string, start?: number, end?: number}} when */
export function seriesLink(text, when = {}) {
  const query = new URLSearchParams({ name: text });
  if (when.start) {
    query.set("start", String(Math.round(when.start)));
    query.set("end", String(Math.round(when.end)));
  } else if (when.range) {
    query.set("range", when.range);
  }
  return `/series?${query}`;
}
