/** What a page says while it waits, when it has nothing to show, and when something went wrong. */

import { h, icon } from "../dom.js";

/** Grey bars in the place of what is coming, so that nothing jumps. */
export function waiting(rows = 3) {
  return h("div", { class: "waiting", role: "status", "aria-label": "Loading" }, Array.from({ length: rows }, () => h("i")));
}

/** @param {string} title @param {any} text */
export function nothing(title, text = null) {
  return h("div", { class: "panel nothing" }, h("h3", null, title), text && h("p", { class: "quiet" }, text));
}

/** @param {Error} error @param {() => void} again */
export function failed(error, again) {
  return h("div", { class: "panel failed", role: "alert" }, h("h3", null, "This could not be loaded"), h("p", null, error.message),
    h("button", { type: "button", class: "button", onclick: again }, "Try again"));
}

/** Nothing is wrong, because nothing is there yet. */
export function idle(title, text) {
  return h("div", { class: "panel calm idle" }, icon("M12 7v5.5M12 16.5v.5"), h("div", null, h("h3", null, title), h("p", null, text)));
}

/** Everything is as expected. */
export function calm(title, text) {
  return h("div", { class: "panel calm" }, icon("M5 12.5l4.5 4.5L19 7.5"),
    h("div", null, h("h3", null, title), h("p", null, text)));
}
