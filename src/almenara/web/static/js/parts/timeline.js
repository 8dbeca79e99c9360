/** What became of an incident, newest first: alarms that fired and ended, who was told, what held a message back, who did what. */

import { h, icon } from "../dom.js";
import { fullTime, moment, plural } from "../format.js";
import { parseSeries, words } from "../selector.js";

const SHOWN = 25, TOGETHER_MS = 60_000;
const PATHS = {
  fired: "M12 3.5 21 19.5H3zM12 10v4.5M12 17v.2", over: "M5 12.5l4.5 4.5L19 7.5", told: "M4 7h16v11H4zM4 7.5l8 6 8-6",
  held: "M9 6v12M15 6v12", person: "M12 12a3.8 3.8 0 1 0 0-7.6 3.8 3.8 0 0 0 0 7.6zM5 20c.6-4 3.4-5.6 7-5.6s6.4 1.6 7 5.6",
  failed: "M6 6l12 12M18 6 6 18", waits: "M12 3.8a8.2 8.2 0 1 0 0 16.4 8.2 8.2 0 0 0 0-16.4zM12 8v4.4l3 1.8",
};
const HELD = new Set(["inhibited", "silenced", "quiet hours", "flapping", "nothing new"]);
const STATES = { firing: "fired", resolved: "ended", "no-data": "fell silent", pending: "pending" };
const KINDS = { firing: "that it fires", update: "what is new", repeat: "that it goes on", reminder: "again, as was asked for", escalation: "since nobody took it on",
  resolved: "that it is over", digest: "in a digest" };

/** @param {import("../api.js").IncidentRow & import("../api.js").IncidentStory} story */
export function timeline(story, now) {
  const found = [...alarms(story.changes), ...story.lines.map(said), ...story.messages.filter((one) => one.outcome === "waiting").map(waits)];
  if (story.resolved_ms) found.push({ at: story.resolved_ms, look: "over", text: "Resolved" });
  const all = together(found.sort((a, b) => b.at - a.at));
  const list = h("ol", { class: "timeline" }, all.slice(0, SHOWN).map((one) => entry(one, now)));
  if (all.length > SHOWN) {
    const more = h("li", null, h("button", { type: "button", class: "button small", onclick: () => {
      more.remove();
      list.append(...all.slice(SHOWN).map((one) => entry(one, now)));
    } }, `${plural(all.length - SHOWN, "earlier entry", "earlier entries")}`));
    list.append(more);
  }
  return list;
}

function entry({ at, look, text, detail = "", names = [] }, now) {
  return h("li", { class: look }, icon(PATHS[look]), h("div", null, h("p", null, names.length > 0 && h("strong", null, names.join(", "), " "), text),
    detail && h("small", null, detail)), h("time", { title: fullTime(at), datetime: new Date(at).toISOString() }, moment(at, now)));
}

/** Alarms that changed in the same way within a minute are one entry. */
function alarms(changes) {
  const found = [];
  for (const one of changes.slice().sort((a, b) => b.time_ms - a.time_ms)) {
    const last = found.at(-1);
    if (last && last.state === one.state && last.at - one.time_ms < TOGETHER_MS) last.of.push(one);
    else found.push({ at: one.time_ms, state: one.state, of: [one] });
  }
  return found.map(({ at, state, of }) => ({ at, look: state === "resolved" ? "over" : "fired",
    text: of.length === 1 ? `${title(of[0])} ${STATES[state] ?? state}` : `${plural(of.length, "alarm")} ${STATES[state] ?? state}`,
    detail: of.length > 1 ? `${of.slice(0, 3).map(title).join("; ")}${of.length > 3 ? " and others" : ""}` : "" }));
}

function title({ series, rule }) {
  const { __name__: name, ...labels } = parseSeries(series);
  const values = Object.values(labels).slice(0, 3).join(", ");
  return `${name ? words(name) : rule}${values ? ` (${values})` : ""}`;
}

const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** One line of the incident's journal. @param {import("../api.js").Line} line */
function said({ time_ms: at, kind, who, text }) {
  if (HELD.has(kind) || (kind === "acknowledged" && text.startsWith("acknowledged by "))) {
    return { at, look: "held", names: who ? [who] : [], text: who ? "not told" : upper(kind), detail: upper(text), merge: `${kind} ${text}` };
  }
  if (kind === "sent") {
    const [, news, rest] = /^([\w-]+)(.*)$/.exec(text) ?? ["", "", text];
    return { at, look: "told", names: [who], text: `told ${KINDS[news] ?? news}`, detail: rest.replace(/^[ ,(]+|\)$/g, ""), merge: `sent ${text}` };
  }
  if (kind === "given up") return { at, look: "failed", names: [who], text: "could not be told; given up", detail: text };
  if (kind === "acknowledged") {
    const [, until, note] = /^acknowledged(?: until (\S+))?(?:: (.*))?$/s.exec(text) ?? ["", "", text];
    return { at, look: "person", names: [who], text: `took it on${until ? ` until ${moment(Date.parse(until))}` : ""}`, detail: note };
  }
  if (kind === "unacknowledged") return { at, look: "person", names: who ? [who] : [], text: who ? "gave it back" : upper(text) };
  if (kind === "split" || kind === "joined") return { at, look: "person", names: who ? [who] : [], text };
  return { at, look: kind === "untold" ? "held" : "waits", names: [], text: upper(text) };
}

function waits({ queued_ms: at, notifier, due_ms: due, tries, error }) {
  return { at: due ?? at, look: error ? "failed" : "waits", names: [notifier], text: tries ? `not told yet, tried ${plural(tries, "time")}` : "about to be told", detail: error };
}

/** The same news for several notifiers is one entry. */
function together(entries) {
  const found = [];
  for (const one of entries) {
    const last = found.at(-1);
    if (one.merge && last?.merge === one.merge && last.at - one.at < TOGETHER_MS) last.names = [...new Set([...last.names, ...one.names])];
    else found.push(one);
  }
  return found;
}
