/** A form with which somebody orders something: fields, a button that says what it does, and what went wrong. */

import { h } from "../dom.js";
import { keepWho } from "./who.js";

/** Choices beside each other, of which one holds. @param {[string, string][]} choices  value and words */
export function choice(name, legend, choices, chosen) {
  return h("fieldset", { class: "field" }, h("legend", null, legend), h("div", { class: "segmented" }, choices.map(([value, text]) =>
    h("label", null, h("input", { type: "radio", name, value, checked: value === chosen }), h("span", null, text)))));
}

/**
 * @param {{fields: any[], verb: string, order: (values: Record<string, string>) => Promise<any>, done: () => void, more?: any, danger?: boolean}} of
 *   more: what stands below the buttons, so that they do not move when it grows
 */
export function orderForm({ fields, verb, order, done, more = null }) {
  const problem = h("p", { class: "order-problem", role: "alert", hidden: true });
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "button primary" }, verb));
  const form = /** @type {HTMLFormElement} */ (h("form", { class: "order", onsubmit: async (event) => {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(form)].map(([key, value]) => [key, String(value).trim()]));
    if (values.who) keepWho(values.who);
    button.disabled = true;
    problem.hidden = true;
    try {
      await order(values);
      done();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      button.disabled = false;
    }
  }, onkeydown: (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    done();
  } }, h("div", { class: "order-fields" }, fields),
  h("div", { class: "actions" }, button, h("button", { type: "button", class: "button", onclick: done }, "Cancel"), problem), more));
  return form;
}
