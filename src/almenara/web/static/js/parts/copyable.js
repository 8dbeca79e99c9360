/** A command line that is ready to copy. */

import { copy, h } from "../dom.js";

/** @param {string} text */
export function copyable(text) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}`, onclick: async () => {
    button.textContent = (await copy(text)) ? "Copied" : "Select and copy";
    setTimeout(() => (button.textContent = "Copy"), 1600);
  } }, "Copy");
  return h("div", { class: "command" }, h("code", { tabindex: "0" }, text), button);
}
