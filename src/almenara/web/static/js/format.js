/** Numbers, units, times and durations as people read them. Everything not known is an en dash. */

const NONE = "–";
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const SMALL = [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
const NAMES = { bytes: "B", byte: "B", By: "B", percent: "%", celsius: "°C", seconds: "s", second: "s", ratio: "", 1: "",
  "bytes/s": "B/s", "By/s": "B/s", bytes_per_second: "B/s", hertz: "Hz", volts: "V", amperes: "A", watts: "W", meters: "m" };
const PLAIN = new Set(["%", "°C", "°F", "bar", "d", "h", "min"]);  // never with a prefix

/** @param {string} unit  as the hub knows it @returns {string} as it is shown */
export function unitSymbol(unit) {
  return NAMES[unit] ?? unit ?? "";
}

const SUFFIXES = [[/_bytes_per_second$|_bytes_per_s$/, "B/s"], [/_bits_per_second$/, "bit/s"], [/_per_(s|second)$/, "/s"], [/_bytes(_total)?$/, "B"], [/_percent$/, "%"],
  [/_(milliseconds|ms)$/, "ms"], [/_seconds(_total)?$/, "s"], [/_celsius$/, "°C"], [/_bar$/, "bar"], [/_volts$/, "V"], [/_amperes$/, "A"],
  [/_watts$/, "W"], [/_hertz$/, "Hz"], [/_meters$/, "m"]];

/** The unit of a series: as the hub knows it, else what its name ends in, as Prometheus' naming rules have it. */
export function unitOf(unit, name) {
  return unit || (SUFFIXES.find(([pattern]) => pattern.test(name))?.[1] ?? "");
}

/** The unit of how fast something counts: "B" -> "B/s", "s" -> "" (seconds in a second), "" -> "/s". */
export function perSecond(unit) {
  const symbol = unitSymbol(unit);
  return symbol === "s" ? "" : `${symbol}/s`;
}

/**
 * One scale for all numbers of an axis.
 * @param {number} size  the largest number shown
 * @returns {{factor: number, suffix: string}} shown = number / factor, then suffix
 */
export function scaleFor(size, unit) {
  const symbol = unitSymbol(unit);
  const magnitude = Math.abs(size);
  if (!PLAIN.has(symbol)) {
    for (const [factor, prefix] of PREFIXES) {
      if (magnitude >= factor && (symbol || magnitude >= 1e4)) return { factor, suffix: join(prefix, symbol) };
    }
    if (symbol === "s" && magnitude > 0 && magnitude < 1) {
      const [factor, prefix] = SMALL.find(([f]) => magnitude >= f) ?? SMALL[3];
      return { factor, suffix: join(prefix, symbol) };
    }
  }
  return { factor: 1, suffix: join("", symbol) };
}

function join(prefix, symbol) {
  return symbol || prefix ? (symbol ? " " : "") + prefix + symbol : "";
}

/** A plain number with at most `digits` significant digits, no needless zeros. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return value.toExponential(2).replace("-", "−");
  const decimals = size >= 100 ? Math.max(0, digits - 3) : size >= 10 ? Math.max(0, digits - 2) : size >= 1 || size === 0 ? digits - 1
    : digits - 1 - Math.floor(Math.log10(size));
  const text = value.toLocaleString("en-GB", { maximumFractionDigits: Math.min(decimals, 8), signDisplay: "negative" });
  return text.replace("-", "−");
}

/** A number with its unit: 6.21 GB, 52.3 °C, 210 ms, 12.3k. */
export function quantity(value, unit = "", digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  const { factor, suffix } = scaleFor(value, unit);
  return number(value / factor, digits) + suffix;
}

/** A whole count with separators: 14,256,000. */
export function count(value) {
  return value === null || value === undefined ? NONE : Math.round(value).toLocaleString("en-GB");
}

/** "1 row", "3 rows". */
export function plural(n, word, many = `${word}s`) {
  return `${count(n)} ${n === 1 ? word : many}`;
}

const time = (options) => new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...options });
const CLOCK = time({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT = time({ hour: "2-digit", minute: "2-digit" });
const DAY = time({ day: "numeric", month: "short" });
const FULL = time({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const clock = (ms) => CLOCK.format(ms);
export const hourMinute = (ms) => SHORT.format(ms);
export const dayMonth = (ms) => DAY.format(ms);
export const fullTime = (ms) => FULL.format(ms);

/** Time of day for today, with the day before it for other days. */
export function moment(ms, now = Date.now()) {
  return DAY.format(ms) === DAY.format(now) ? CLOCK.format(ms) : `${DAY.format(ms)}, ${SHORT.format(ms)}`;
}

/** The browser's time zone, in words: Europe/Madrid (UTC+1). */
export function zone(at = new Date()) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const minutes = -at.getTimezoneOffset();
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const offset = minutes === 0 ? "" : `${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
  return !timeZone || timeZone === "UTC" ? `UTC${offset}` : `${timeZone} (UTC${offset})`;
}

/** How long, in one or two units: 45 s, 9 min, 2 h 05 min, 3 d 4 h. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** "9 min ago"; "just now" within two seconds. */
export function ago(ms, now) {
  return now - ms < 2000 ? "just now" : `${duration(now - ms)} ago`;
}
