/** Alarms: incidents, what is silenced, and who was told of what. The address says which, and which incident is open. */

import * as api from "../api.js";
import { h, put } from "../dom.js";
import { plural } from "../format.js";
import * as hub from "../hub.js";
import { AlarmList } from "../parts/alarm-row.js";
import { BudgetList } from "../parts/budgets.js";
import { EventList } from "../parts/events.js";
import { IncidentCard, IncidentList } from "../parts/incident.js";
import { problemList, SentList } from "../parts/sent.js";
import { mark, SEVERITIES } from "../parts/severity.js";
import { SilenceList } from "../parts/silence-list.js";
import { calm, nothing, waiting } from "../parts/states.js";
import { go } from "../router.js";

const EVERY_MS = 5000, EARLIER = 50;
const VIEWS = { "": "Incidents", silences: "Silences", sent: "Sent" };

export function alarmsPage(main, url) {
  const tabs = h("nav", { class: "segmented views", "aria-label": "Alarms" }, Object.entries(VIEWS).map(([view, title]) =>
    h("a", { href: view ? `/alarms?view=${view}` : "/alarms", "data-view": view }, title)));
  const body = h("div");
  main.append(h("div", { class: "page-head" }, h("h1", null, "Alarms"), tabs), body);
  hub.watch([], null);
  let shown = null, view = null;
  const show = (at) => {
    const wanted = at.searchParams.get("view") ?? "";
    if (wanted !== view) {
      view = wanted;
      shown?.dispose();
      shown = view === "silences" ? new SilenceList(at.searchParams.get("match") ?? "") : view === "sent" ? new SentList() : new Incidents();
      put(body, shown.element);
    }
    for (const tab of tabs.children) {
      if (/** @type {HTMLElement} */ (tab).dataset.view === view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    if (shown instanceof Incidents) shown.ask(Number(at.searchParams.get("incident")));
  };
  show(url);
  return { update: show, dispose: () => shown?.dispose() };
}

class Incidents {
  constructor() {
    this.element = h("div");
    this.title = h("h2", null, "\u00a0");
    this.now = new IncidentList((row) => this.card(row));
    this.asked = h("section", { class: "block", hidden: true, "aria-label": "Asked for" });
    this.open_ = h("section", { class: "block", "aria-label": "Open incidents" }, waiting(2));
    this.pending = h("section", { class: "block", hidden: true });
    this.over = h("section", { class: "block" });
    this.problems = h("section", { class: "block" });
    [this.events, this.budgets, this.alarms, this.earlier] = [new EventList(), new BudgetList(), new AlarmList(), new IncidentList((row) => this.card(row))];
    put(this.element, this.asked, this.open_, this.pending, this.problems, this.over, this.events.element, this.budgets.element, legend());
    this.wanted = 0;
    this.stops = [
      hub.on("incidents", (rows) => this.show(rows)),
      hub.on("alarms", ({ open }) => this.showPending(open)),
      hub.on("status", ({ problems = [] }) => {
        this.problems.hidden = !problems.length;
        put(this.problems, problemList(problems));
      }),
    ];
    this.timer = setInterval(() => document.hidden || hub.refresh(), EVERY_MS);
  }

  card(row) {
    return new IncidentCard(row, (id, open) => {
      this.wanted = open ? id : 0;
      go(open ? `/alarms?incident=${id}` : "/alarms", { replace: true });
      if (!open) this.now.arrange();
    });
  }

  show(rows) {
    this.title.textContent = plural(rows.length, "open incident");
    this.now.show(rows);
    const any = rows.length > 0 || this.now.cards.size > 0;
    if (any !== this.any) {
      this.any = any;
      put(this.open_, any ? [h("div", { class: "block-head" }, this.title, this.now.sort), this.now.element] : calm("Nothing is wrong", "No incident is open."));
    }
    const shape = rows.map((one) => one.id).sort().join();
    if (shape !== this.shape) {
      this.shape = shape;
      this.loadEarlier();
    }
    if (this.wanted) this.ask(this.wanted);
  }

  async loadEarlier() {
    try {
      const over = (await api.latestIncidents(EARLIER)).filter((one) => one.state === "resolved").sort((a, b) => b.resolved_ms - a.resolved_ms);
      if (this.gone) return;
      this.earlier.show(over);
      if (this.anyOver === over.length > 0) return;
      this.anyOver = over.length > 0;
      put(this.over, h("div", { class: "block-head" }, h("h2", null, "Earlier")),
        this.anyOver ? this.earlier.element : nothing("No earlier incidents", "Incidents that are over are listed here."));
    } catch { /* the page says already that the hub is gone */ }
  }

  /** Alarms that belong to no incident (yet). */
  showPending(open) {
    const found = open.filter((one) => !one.incident);
    this.alarms.show(found);
    if (this.pending.hidden === !found.length && this.pending.childElementCount) return;
    this.pending.hidden = !found.length;
    put(this.pending, h("div", { class: "block-head" }, h("h2", null, "Not an incident yet"),
      h("p", { class: "quiet" }, "true, but not for as long as the rule asks")), this.alarms.element);
  }

  /** Opens an incident, wherever it is on the page, and puts it on the page where it is not. */
  async ask(id) {
    this.wanted = id;
    if (!id) return;
    for (const cards of [this.now.cards, this.earlier.cards]) {
      if (!cards.has(id)) continue;
      this.reveal(cards.get(id), this.revealed !== id);
      return;
    }
    if (this.asking === id || hub.incidents() === null) return;
    this.asking = id;
    try {
      const row = await api.incident(id);
      if (this.gone || this.wanted !== id) return;
      this.alone?.dispose();
      this.alone = this.card(row);
      put(this.asked, this.alone.element);
      this.asked.hidden = false;
      this.reveal(this.alone, false);
    } catch (error) {
      if (this.gone) return;
      put(this.asked, nothing(`Incident #${id}`, error.message));
      this.asked.hidden = false;
    }
  }

  reveal(card, scroll) {
    this.revealed = this.wanted;
    card.toggle(true);
    if (scroll) card.element.scrollIntoView({ block: "nearest" });
  }

  dispose() {
    this.gone = true;
    clearInterval(this.timer);
    this.stops.forEach((stop) => stop());
    [this.now, this.earlier, this.alarms, this.events, this.budgets, this.alone].forEach((one) => one?.dispose());
  }
}

function legend() {
  return h("ul", { class: "legend", "aria-label": "Severity" }, SEVERITIES.map((one) => h("li", null, mark(one), one)));
}
