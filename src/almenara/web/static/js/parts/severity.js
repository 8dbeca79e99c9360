/** How severity and state look: always colour, shape and word together. */

import { h, s } from "../dom.js";

export const SEVERITIES = ["warning", "minor", "major", "critical"];
export const LIMITS = { warning: 1, minor: 1.25, major: 1.5, critical: 2 };

const SHAPES = {
  warning: () => s("circle", { cx: 8, cy: 8, r: 5 }),
  minor: () => s("path", { d: "M8 2 14 13.5H2z" }),
  major: () => s("path", { d: "M8 1 14 8 8 15 2 8z" }),
  critical: () => s("path", { d: "M8 .8 10.1 5.9 15.6 6.3 11.4 9.9 12.7 15.3 8 12.4 3.3 15.3 4.6 9.9.4 6.3 5.9 5.9z" }),
};

/** The severity of an anomaly: as the hub says, else by its score. */
export function severityOf({ severity, score }) {
  if (SEVERITIES.includes(severity)) return severity;
  return SEVERITIES.findLast((one) => score >= LIMITS[one]) ?? "warning";
}

/** The shape alone, for lists and legends. */
export function mark(severity) {
  const known = SHAPES[severity] ? severity : "warning";
  return s("svg", { viewBox: "0 0 16 16", class: `mark ${known}`, "aria-hidden": "true" }, SHAPES[known]());
}

/** Shape and word. */
export function severityTag(severity) {
  return h("span", { class: `tag severity ${severity}` }, mark(severity), severity);
}

const STATES = {
  pending: ["pending", "true, but not yet for long enough"],
  firing: ["firing", "true for as long as the rule asks"],
  "no-data": ["no data", "the series has gone silent"],
  resolved: ["resolved", "over"],
};

/** The state of an alarm as a word, with its meaning as a hint. */
export function stateTag(state) {
  const [word, hint] = STATES[state] ?? [state, ""];
  return h("span", { class: `tag state ${state}`, title: hint }, word);
}
