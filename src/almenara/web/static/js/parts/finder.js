/** Finds series while one types: words match names and labels, chips narrow down by label, names group the results. */

import { later, h, put } from "../dom.js";
import { count, plural } from "../format.js";
import { labelPairs, rankOfName, seriesText } from "../selector.js";
import { facets, MOST, names, search, seriesOf } from "./finder-search.js";
import { labelChips } from "./labels.js";

const SHOWN = 40;  // rows of a group before "show more"

export class Finder {
  /**
   * @param {{onChoose: (text: string, add: boolean) => void, onQuery: (query: string, where: string[]) => void}} options
   *   add: beside the series that are drawn already
   */
  constructor({ onChoose, onQuery }) {
    Object.assign(this, { onChoose, onQuery, query: "", where: [], chosen: new Set() });
    this.input = h("input", { type: "search", class: "search", placeholder: "Search by name or label", "aria-label": "Search series",
      autocomplete: "off", spellcheck: "false", enterkeyhint: "search", oninput: () => this.typed() });
    this.filters = h("div", { class: "filters" });
    this.note = h("p", { class: "quiet finder-note", role: "status" });
    this.results = h("div", { class: "results" });
    this.element = h("div", { class: "finder" }, this.input, this.filters, this.note, this.results);
    this.element.addEventListener("keydown", (event) => this.keys(event));
    this.searchSoon = later(120, () => this.run());
    this.queryDone = later(400, () => this.onQuery(this.query, this.where));
  }

  /** Shows what the address says. */
  set(query, where) {
    if (this.started && query === this.query && where.join("\n") === this.where.join("\n")) return;
    Object.assign(this, { query, where, started: true });
    if (this.input.value.trim() !== query) this.input.value = query;
    this.run();
  }

  /** Which series are drawn now. @param {string[]} texts */
  mark(texts) {
    this.chosen = new Set(texts);
    for (const row of this.results.querySelectorAll(".result")) {
      row.classList.toggle("chosen", this.chosen.has(/** @type {HTMLElement} */ (row).dataset.series));
    }
  }

  typed() {
    this.query = this.input.value.trim();
    this.searchSoon();
    this.queryDone();
  }

  filter(where) {
    this.where = where;
    this.onQuery(this.query, where);
    this.run();
  }

  async run() {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.element.setAttribute("aria-busy", "true");
    try {
      if (!this.query && !this.where.length) this.showNames(await names(abort.signal));
      else this.showFound(await search(this.query, this.where, abort.signal));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.note.textContent = error.message;
    }
    this.element.removeAttribute("aria-busy");
  }

  showNames(all) {
    this.note.textContent = all.length ? plural(all.length, "name") : "No series yet. Send one sample and it appears here.";
    put(this.filters);
    put(this.results, all.slice(0, 500).map((name) => {
      const body = h("div", { class: "group-body" });
      return h("details", { class: "group", ontoggle: async (event) => {
        if (!event.target.open || body.childElementCount) return;
        try {
          this.fillGroup(body, await seriesOf(name), event.target);
        } catch (error) {
          put(body, h("p", { class: "quiet" }, error.message));
        }
      } }, h("summary", null, h("span", { class: "group-name" }, name)), body);
    }), all.length > 500 && h("p", { class: "quiet finder-note" }, "Type to see more."));
  }

  showFound({ found, cut }) {
    this.note.textContent = found.length ? (cut ? `The first ${count(MOST)} series; type more to narrow down` : plural(found.length, "series", "series"))
      : "Nothing found. Every word must occur in the name or in a label.";
    const measured = found.filter((labels) => rankOfName(labels.__name__) < 2);
    this.showFilters(measured.length ? measured : found);
    const groups = new Map();
    for (const labels of found) {
      if (!groups.has(labels.__name__)) groups.set(labels.__name__, []);
      groups.get(labels.__name__).push(labels);
    }
    const made = [...groups.keys()].filter((name) => rankOfName(name) === 2).length;
    put(this.results, [...groups].map(([name, list], i) => {
      const body = h("div", { class: "group-body" });
      this.fillGroup(body, list);
      return h("details", { class: "group", open: (groups.size <= 12 || i < 6) && (rankOfName(name) < 2 || made === groups.size) },
        h("summary", null, h("span", { class: "group-name" }, name), h("span", { class: "group-count" }, count(list.length))), body);
    }));
  }

  fillGroup(body, list, group = null) {
    if (group && !group.querySelector(".group-count")) {
      group.querySelector("summary").append(h("span", { class: "group-count" }, `${count(list.length)}${list.length >= MOST ? "+" : ""}`));
    }
    const rest = list.slice(SHOWN);
    put(body, list.slice(0, SHOWN).map((one) => this.row(one)),
      rest.length && h("button", { type: "button", class: "button small", onclick: (event) => {
        event.target.replaceWith(...rest.splice(0, 400).map((one) => this.row(one)));
      } }, `Show ${count(Math.min(rest.length, 400))} more`));
  }

  row(labels) {
    const text = seriesText(labels);
    const pairs = labelPairs(labels);
    return h("div", { class: `result${this.chosen.has(text) ? " chosen" : ""}`, "data-series": text },
      h("button", { type: "button", class: "result-main", title: text, onclick: () => this.onChoose(text, false) },
        pairs.length ? labelChips(labels, 6) : h("span", { class: "quiet" }, "without labels")),
      h("button", { type: "button", class: "result-add", title: "Show beside what is drawn", "aria-label": `Add ${text} beside what is drawn`,
        onclick: () => this.onChoose(text, true) }, "+"));
  }

  showFilters(found) {
    const chip = (text, on, where) => h("button", { type: "button", class: `chip-button${on ? " on" : ""}`, "aria-pressed": String(on),
      onclick: () => this.filter(where) }, text, on && h("i", { "aria-hidden": "true" }, "×"));
    put(this.filters, this.where.map((one) => chip(one.replace("=", ": "), true, this.where.filter((w) => w !== one))),
      facets(found, this.where).map(([key, value]) => chip(`${key}: ${value}`, false, [...this.where, `${key}=${value}`])));
  }

  /** Arrow keys walk through the results. */
  keys(event) {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const stops = [this.input, ...this.element.querySelectorAll("details[open] .result-main, .group > summary")]
      .filter((one) => one.offsetParent !== null);
    const next = stops[stops.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  dispose() {
    this.abort?.abort();
    this.searchSoon.cancel();
    this.queryDone.cancel();
  }
}
