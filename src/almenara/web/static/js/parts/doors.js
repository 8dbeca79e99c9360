/** The three doors of a young hub: watch the demo, send one sample, import history. And the demo's own controls. */

import * as api from "../api.js";
import { h, icon, put } from "../dom.js";
import { duration } from "../format.js";
import * as hub from "../hub.js";
import { copyable } from "./copyable.js";

const PLAY = "M8 5.5v13l10.5-6.5z";
const SEND = "M4 12h13M12 6l6 6-6 6";
const LOAD = "M12 4v11M7 10.5l5 5 5-5M5 20h14";

function door(path, title, ...content) {
  return h("section", { class: "door" }, h("h3", null, icon(path), title), content);
}

/** @param {{http?: string, mqtt?: string}} addresses */
export function sendDoor(addresses) {
  const http = addresses.http ?? location.host;
  const [host, port] = (addresses.mqtt ?? "").split(/:(?=\d+$)/);
  return door(SEND, "Send one sample",
    h("p", null, "Paste one of these into a terminal. The series appears on this page at once."),
    copyable(`curl --data-binary 'cpu,host=a usage=3.5' http://${http}/write`),
    addresses.mqtt && copyable(`mosquitto_pub -h ${host} -p ${port} -t sensors/mumbai -m '{"id":"CITIMUM","temperature":20.04,"city":"Mumbai"}'`));
}

function importDoor(status) {
  const http = status.addresses?.http ?? location.host;
  const ready = status.features?.includes?.("import");
  return door(LOAD, "Import my history",
    h("p", null, ready ? "Bands are learned from the past, so history makes the first day useful."
      : "Bands are learned from the past. Today, history goes in as line protocol over HTTP:"),
    ready ? copyable("almenara import FILE...") : copyable(`curl --data-binary @history.lp 'http://${http}/write'`),
    !ready && h("p", { class: "quiet" }, "The command ", h("code", null, "almenara import FILE..."), " comes with a later release."));
}

function demoDoor() {
  return door(PLAY, "Watch the demo",
    h("p", null, "A simulated plant with three weeks of history. You break something and watch it being noticed."),
    copyable("almenara up --demo"));
}

/** The three doors as cards. */
export function doors(status) {
  return h("div", { class: "doors" }, !status.demo && demoDoor(), sendDoor(status.addresses ?? {}), importDoor(status));
}

const readable = (name) => name.replaceAll("_", " ");

/** The demo's card: break something, and what to watch. Call its `show(demo)` whenever the status changes. */
export class DemoCard {
  constructor() {
    this.running = h("ul", { class: "injected" });
    this.note = h("p", { class: "quiet", role: "status" });
    this.menu = h("div", { class: "menu", role: "menu", hidden: true });
    this.button = h("button", { type: "button", class: "button primary", "aria-haspopup": "menu", "aria-expanded": "false",
      onclick: () => this.open(this.menu.hidden) }, "Break something");
    this.element = h("section", { class: "panel demo" },
      h("div", { class: "demo-text" }, h("h2", null, "A simulated plant is running"),
        h("p", null, "Two cities, four pumps and a web shop, with three weeks of history. Break something, then watch: the line leaves "
          + "its shaded band, marks appear, an alarm waits as pending and then fires. When the fault ends, it resolves by itself.")),
      h("div", { class: "menu-holder" }, this.button, this.menu), h("div", { class: "demo-state" }, this.note, this.running));
    this.names = "";
    this.outside = (event) => this.element.contains(event.target) || this.open(false);
    this.escape = (event) => event.key === "Escape" && (this.open(false), this.button.focus());
    document.addEventListener("pointerdown", this.outside);
    this.element.addEventListener("keydown", this.escape);
  }

  open(wanted) {
    this.menu.hidden = !wanted;
    this.button.setAttribute("aria-expanded", String(wanted));
    if (wanted) this.menu.querySelector("button")?.focus();
  }

  /** @param {{faults: Record<string, string>, injected: {fault: string, since: number}[]} | null} demo */
  show(demo) {
    this.element.hidden = !demo;
    if (!demo) return;
    const names = Object.keys(demo.faults).join("\n");
    if (names !== this.names) {
      this.names = names;
      put(this.menu, Object.entries(demo.faults).map(([name, sentence]) => h("button", { type: "button", role: "menuitem",
        onclick: () => this.injectFault(name) }, h("strong", null, readable(name)), h("span", null, sentence))));
    }
    this.note.hidden = !this.note.textContent;
    put(this.running, demo.injected.slice(-5).map(({ fault, since }) => h("li", null,
      h("strong", null, readable(fault)), ` for ${duration(hub.now() - since)}`)));
  }

  async injectFault(name) {
    this.open(false);
    this.button.focus();
    this.note.hidden = false;
    this.note.textContent = `Breaking: ${readable(name)} …`;
    try {
      await api.breakSomething(name);
      this.note.textContent = `${readable(name)}: it is broken now. Watch the curves below; the alarm follows.`;
      hub.refresh();
    } catch (error) {
      this.note.textContent = `That did not work: ${error.message}`;
    }
  }

  dispose() {
    document.removeEventListener("pointerdown", this.outside);
  }
}
