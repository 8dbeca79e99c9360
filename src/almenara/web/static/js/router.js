/** Which page is shown. The address says everything: page, series, range, zoom; so the back button and links just work. */

const routes = new Map();
let current = null;  // {path, dispose, update}

/** @param {(main: HTMLElement, url: URL) => {update?: (url: URL) => void, dispose: () => void}} render */
export function route(path, title, render) {
  routes.set(path, { title, render });
}

/** Go to an address inside the dashboard. `replace` writes over the present entry of the history. */
export function go(address, { replace = false } = {}) {
  const url = new URL(address, location.href);
  if (url.href !== location.href) history[replace ? "replaceState" : "pushState"](null, "", url);
  show(url);
}

function show(url) {
  const path = routes.has(url.pathname) ? url.pathname : "/";
  for (const tab of document.querySelectorAll("[data-tab]")) {
    if (/** @type {HTMLElement} */ (tab).dataset.tab === path) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (current?.path === path && current.update) {
    current.update(url);
    return;
  }
  current?.dispose();
  const { title, render } = routes.get(path);
  document.title = title;
  const main = document.getElementById("main");
  main.replaceChildren();
  main.className = `page${path.replace("/", "-")}`.replace(/-$/, "-home");
  current = { path, ...render(main, url) };
  scrollTo(0, 0);
}

/** Takes over clicks on links of the dashboard and the back button, and shows the present address. */
export function startRouter() {
  document.addEventListener("click", (event) => {
    const link = /** @type {Element} */ (event.target).closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const url = new URL(/** @type {HTMLAnchorElement} */ (link).href);
    if (url.origin !== location.origin || !routes.has(url.pathname) || url.hash || link.hasAttribute("download")) return;
    event.preventDefault();
    go(url.href);
  });
  addEventListener("popstate", () => show(new URL(location.href)));
  show(new URL(location.href));
}
