/** Events: log lines, traps and messages of the last day, newest first; nothing at all where there are none. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { ago, fullTime, plural } from "../format.js";
import * as hub from "../hub.js";

const EVERY_MS = 10_000, SHOWN = 20;

export class EventList {
  constructor() {
    this.element = h("section", { class: "block", hidden: true });
    this.load();
    this.timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
  }

  async load() {
    try {
      this.show(await api.events(SHOWN));
    } catch { /* the page says already that the hub is gone */ }
  }

  show(events) {
    this.element.hidden = !events.length;
    put(this.element, h("div", { class: "block-head" }, h("h2", null, "Events"),
      h("p", { class: "quiet" }, events.length < SHOWN ? `${plural(events.length, "event")} in the last day` : `the newest ${SHOWN}`)),
      h("ol", { class: "panel events" }, events.map(line)));
  }

  dispose() {
    clearInterval(this.timer);
  }
}

function line({ time_ms: at, labels, text }) {
  const said = Object.entries(labels).map(([name, value]) => `${name}=${value}`).join("  ");
  return h("li", null, h("time", { class: "quiet", title: fullTime(at) }, ago(at, hub.now())),
    h("p", null, text, said && h("small", { class: "quiet" }, said)));
}
