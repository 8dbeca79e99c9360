/** The form that makes a silence, and what it would hold back, told while it is typed. */

import * as api from "../api.js";
import { h, later, put } from "../dom.js";
import { count, plural } from "../format.js";
import { choice, orderForm } from "./order.js";
import { whoField } from "./who.js";

const SPANS = [["1h", "1 h"], ["4h", "4 h"], ["1d", "1 day"], ["1w", "1 week"], ["", "other"]];

/** @param {{match: string, done: () => void, made: () => void, planned?: boolean}} of  planned: whether it may begin later */
export function silenceForm({ match, done, made, planned = false }) {
  const preview = h("div", { class: "preview", role: "status" });
  const what = /** @type {HTMLInputElement} */ (h("input", { name: "match", value: match, required: true, autocomplete: "off", spellcheck: "false",
    placeholder: '{site="madrid", alertname=~"disk.*"}', oninput: () => look() }));
  const other = h("label", { class: "field", hidden: true }, h("span", null, "How long"), h("input", { name: "other", placeholder: "2h30m", autocomplete: "off" }));
  const spans = choice("span", "For", SPANS, "1h");
  spans.addEventListener("change", () => {
    other.hidden = Boolean(/** @type {HTMLInputElement} */ (spans.querySelector(":checked")).value);
    if (!other.hidden) other.querySelector("input").focus();
  });
  let asking = null;
  const look = later(250, async () => {
    asking?.abort();
    const mine = (asking = new AbortController());
    if (!what.value.trim()) return put(preview);
    try {
      put(preview, told(await api.previewSilence(what.value, mine.signal)));
    } catch (error) {
      if (error.name !== "AbortError") put(preview, h("p", { class: "quiet" }, error.message));
    }
  });
  look();
  return orderForm({ verb: "Silence", done, more: preview, fields: [
    h("label", { class: "field wide" }, h("span", null, "Alarms whose labels fit"), what),
    spans, other,
    planned && h("label", { class: "field" }, h("span", null, "Begins"), h("input", { name: "starts", type: "datetime-local" }), h("small", null, "now, where it is empty")),
    h("label", { class: "field" }, h("span", null, "Why"), h("input", { name: "comment", maxlength: "500", placeholder: "a new seal", autocomplete: "off" })),
    whoField(),
  ], order: async ({ match: selector, span, other: typed, comment, who, starts }) => {
    await api.makeSilence({ match: selector, duration: span || typed, comment, who, ...(starts && { starts: new Date(starts).toISOString() }) });
    made();
  } });
}

/** What a preview says, in sentences and a few names. */
function told({ open, open_count: now, lately, lately_count: then, series_count: of }) {
  const names = open.length ? open.map((one) => one.series || one.rule) : lately.map((one) => one.series || one.rule);
  return [
    h("p", null, h("strong", null, now ? `${plural(now, "open alarm")} ${now === 1 ? "is" : "are"} held back` : "No open alarm is held back"),
      `; of the last week it would have been ${plural(then, "alarm")}. It speaks of ${plural(of, "series", "series")}.`),
    names.length > 0 && h("ul", null, names.slice(0, 4).map((name) => h("li", null, h("code", null, name))),
      names.length > 4 && h("li", { class: "quiet" }, `and ${count(names.length - 4)} more`)),
  ];
}
