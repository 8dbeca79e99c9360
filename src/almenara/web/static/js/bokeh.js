/** BokehJS, loaded from the hub when the first chart needs it. */

const FILES = ["/static/bokeh/bokeh.min.js", "/static/bokeh/bokeh-api.min.js"];
let loading = null;

function script(source) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = source;
    element.addEventListener("load", resolve);
    element.addEventListener("error", () => reject(new Error("The chart library could not be loaded from the hub.")));
    document.head.append(element);
  });
}

/** @returns {Promise<any>} the global `Bokeh` with its plotting interface */
export function loadBokeh() {
  loading ??= (async () => {
    for (const file of FILES) await script(file);
    const { Bokeh } = /** @type {any} */ (window);
    Bokeh.set_log_level("error");
    return Bokeh;
  })().catch((error) => {
    loading = null;  // the next chart tries again
    throw error;
  });
  return loading;
}
