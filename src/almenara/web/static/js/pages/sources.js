/** Sources: who sends what, what was refused and why, and what to do about it. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { ago, count, fullTime, plural } from "../format.js";
import * as hub from "../hub.js";
import { doors } from "../parts/doors.js";
import { failed, nothing, waiting } from "../parts/states.js";

export function sourcesPage(main) {
  const body = h("div", null, waiting(3));
  main.append(h("div", { class: "page-head" }, h("h1", null, "Sources"),
    h("p", { class: "quiet" }, "Every device and program that has sent something, and what became of each row.")), body);
  hub.watch([], null);
  let gone = false, last = null;

  const load = async () => {
    try {
      last = await api.ledger();
      if (!gone) show();
    } catch (error) {
      if (!gone && !last) put(body, failed(error, load));
    }
  };
  const show = () => {
    const { sources, total } = last;
    if (!sources.length) {
      put(body, nothing("Nobody has sent anything yet", "As soon as a device or a program does, it is listed here."),
        h("section", { class: "block" }, doors(hub.status() ?? {})));
      return;
    }
    const order = sources.slice().sort((a, b) => Number(!a.problem) - Number(!b.problem) || b.last_ms - a.last_ms);
    put(body, sums(total), h("div", { class: "sources" }, order.map(card)));
  };

  load();
  const timer = setInterval(() => document.hidden || load(), 3000);
  const stop = hub.on("connection", (up) => up && load());
  return { dispose() {
    gone = true;
    clearInterval(timer);
    stop();
  } };
}

const HINTS = {
  stored: "Rows under a series and time where there was nothing; events too",
  duplicate: "Rows whose series, time and value were there already",
  overwritten: "Rows that took the place of another value under the same series and time",
  rejected: "Rows the hub does not take; the reasons are below",
  dropped: "Rows that were taken from a sender and are lost; the reasons are below",
};
const SIGNS = { stored: "=", duplicate: "+", overwritten: "+", rejected: "+", dropped: "+" };

/** A figure, or the sum over its reasons. */
const amount = (figure) => typeof figure === "number" ? figure : Object.values(figure).reduce((sum, n) => sum + n, 0);

/** The sum of all sources: received = stored + duplicate + overwritten + rejected + dropped. */
function sums(total) {
  const term = (name, sign) => h("div", { class: sign ? "term" : null, "data-sign": sign, title: HINTS[name] ?? null },
    h("dt", null, name), h("dd", null, count(amount(total[name]))));
  return h("section", { class: "panel ledger", "aria-label": "All sources" },
    h("dl", { class: "facts sums" }, term("received", null), Object.entries(SIGNS).map(([name, sign]) => term(name, sign))),
    h("p", { class: "quiet" }, `${count(total.late)} of those stored came late${total.events ? `, ${count(total.events)} are events` : ""}.`));
}

function card(source) {
  const now = hub.now();
  const rejected = ["rejected", "dropped"].flatMap((word) => Object.entries(source[word] ?? {})).filter(([, n]) => n > 0);
  return h("article", { class: `panel source${source.problem ? " problem" : ""}` },
    h("header", null, h("h2", null, nameOf(source)), h("span", { class: "tag" }, source.transport),
      h("span", { class: "quiet seen", title: source.last_ms ? fullTime(source.last_ms) : null },
        source.last_ms ? `last seen ${ago(source.last_ms, now)}` : "never seen")),
    source.problem && h("div", { class: "remedy", role: "note" }, h("p", null, h("strong", null, source.problem)),
      source.remedy && h("p", null, h("span", { class: "remedy-word" }, "What to do: "), source.remedy)),
    h("dl", { class: "facts" },
      fact("Received", count(source.received)), fact("Messages", count(source.payloads)),
      fact("Stored", count(source.stored), source.events > 0 ? `${count(source.events)} of them events` : HINTS.stored),
      source.late > 0 && fact("Late", count(source.late), "Of those stored: earlier than a row that was stored before"),
      source.duplicate > 0 && fact("Duplicate", count(source.duplicate), HINTS.duplicate),
      source.overwritten > 0 && fact("Overwritten", count(source.overwritten), HINTS.overwritten),
      source.best_effort_rows > 0 && fact("Best effort", count(source.best_effort_rows), "Rows sent at MQTT QoS 0: they may be lost on the way, so they are counted apart"),
      fact("Rejected", count(amount(source.rejected)), "", amount(source.rejected) > 0),
      amount(source.dropped) > 0 && fact("Dropped", count(amount(source.dropped)), HINTS.dropped, true)),
    rejected.length > 0 && h("ul", { class: "reasons", "aria-label": "Rejected and dropped, by reason" },
      rejected.map(([reason, n]) => h("li", null, h("b", null, plural(n, "row")), ` ${reason}`)),
      source.last_rejected && h("li", { class: "quiet" }, `last: ${source.last_rejected}`)));
}

/** What follows the link in the name, `mqtt:sensors/hall`; the link is shown beside it. */
function nameOf({ name, transport }) {
  return (name.startsWith(`${transport}:`) ? name.slice(transport.length + 1) : name) || "unnamed";
}

function fact(name, value, hint = "", bad = false) {
  return h("div", { class: bad ? "bad" : null, title: hint || null }, h("dt", null, name), h("dd", null, value));
}
