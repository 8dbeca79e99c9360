/** Who is sitting here: the name that orders are recorded with. It is asked for once and kept in this browser. */

import { h } from "../dom.js";

const KEY = "almenara-who";

export function whoIsHere() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function keepWho(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch { /* storage is off: it is asked for each time */ }
}

/** The field of a form; its value is `who`. */
export function whoField() {
  return h("label", { class: "field" }, h("span", null, "Your name"),
    h("input", { name: "who", value: whoIsHere(), required: true, maxlength: "100", autocomplete: "name" }));
}
