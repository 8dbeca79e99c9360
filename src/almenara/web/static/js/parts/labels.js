/** A series' labels as small chips. */

import { h } from "../dom.js";
import { labelPairs } from "../selector.js";

/** @param {import("../selector.js").LabelSet} labels @param {number} most */
export function labelChips(labels, most = 12) {
  const pairs = labelPairs(labels);
  return h("span", { class: "chips" },
    pairs.slice(0, most).map(([k, v]) => h("span", { class: "chip", title: `${k}="${v}"` }, h("span", null, k), h("b", null, v))),
    pairs.length > most && h("span", { class: "chip more" }, `+${pairs.length - most}`));
}
