/** Dark and light: the system's preference unless the reader chose; and the colours that charts take from the style sheet. */

const changed = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

/** Calls `fn` whenever the colours change; gives the function that stops it. */
export function onTheme(fn) {
  changed.add(fn);
  return () => changed.delete(fn);
}

export function toggleTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("almenara-theme", next);
  } catch { /* storage is off: it holds for this page only */ }
  changed.forEach((fn) => fn());
}

dark.addEventListener("change", () => changed.forEach((fn) => fn()));

/** A colour of the style sheet: color("--data"). */
export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
