"""Slow, obvious twins of the compiled kernels: what the tests compare them with. One section a room."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from almenara.model.series import encode_key, label_name, metric_name

# --- codecs -----------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = dict.fromkeys((b"t", b"T", b"true", b"True", b"TRUE"), 1.0) | dict.fromkeys(
    (b"f", b"F", b"false", b"False", b"FALSE"), 0.0
)


class _Wrong(Exception):
    """A line that cannot be read. args: reason, rows, position after which the next line begins."""


def influx(
    payload: bytes, scale: int, received: int
) -> tuple[list[tuple[bytes, int, float]], list[tuple[str, str, int]]]:
    """Rows (key, time, value) and rejections (where, reason, rows) of Influx line protocol, a byte at a time."""
    rows: list[tuple[bytes, int, float]] = []
    rejected: list[tuple[str, str, int]] = []
    pos, number = 0, 0
    while pos < len(payload):
        while payload[pos : pos + 1] in (b" ", b"\t"):
            pos += 1
        number += 1
        lines = 1
        if not _ends(payload, pos) and payload[pos : pos + 1] != b"#":
            try:
                stop, found, refused = _influx_line(payload, pos, scale, received)
                rows += found
                rejected += [(f"line {number}", reason, n) for reason, n in refused.items()]
                lines += payload.count(b"\n", pos, stop)
            except _Wrong as wrong:
                reason, n, stop = wrong.args
                rejected.append((f"line {number}", reason, n))
                lines += payload.count(b"\n", pos, stop)
            pos = stop
        number += lines - 1
        pos = payload.find(b"\n", pos) + 1 or len(payload)
    return rows, rejected


def _ends(payload: bytes, pos: int) -> bool:
    return payload[pos : pos + 1] in (b"", b"\n") or payload[pos : pos + 2] in (b"\r\n", b"\r")


def _until(payload: bytes, pos: int, stops: bytes) -> int:
    """The first unescaped one of `stops`, or the end of the line."""
    while not _ends(payload, pos) and payload[pos] not in stops:
        pos += 2 if payload[pos : pos + 2] in (b"\\,", b"\\ ", b"\\=") else 1
    return pos


def _cut(text: bytes, at: bytes) -> list[bytes]:
    """`text` cut at each unescaped `at`."""
    parts, pos = [b""], 0
    while pos < len(text):
        size = 2 if text[pos : pos + 2] in (b"\\,", b"\\ ", b"\\=") else 1
        if text[pos : pos + size] == at:
            parts.append(b"")
        else:
            parts[-1] += text[pos : pos + size]
        pos += size
    return parts


def _plain(text: bytes) -> str:
    out, pos = b"", 0
    while pos < len(text):
        pos += text[pos : pos + 2] in (b"\\,", b"\\ ", b"\\=")
        out += text[pos : pos + 1]
        pos += 1
    return out.decode()


def _influx_key(raw: bytes) -> tuple[str, dict[str, str]] | str:
    """(measurement, labels), or the reason why no series can have this key."""
    if len(raw) > 4096:
        return "key_too_long"
    try:
        raw.decode()
        labels: dict[str, str] = {}
        parts = _cut(raw, b",")
        if not parts[0]:
            return "bad_line"
        for tag in parts[1:]:
            first, *rest = _cut(tag, b"=")
            if not first or not rest:
                return "bad_line"
            name = label_name(_plain(first))
            if name in labels:
                return "duplicate_tag"
            labels[name] = _plain(b"=".join(rest))
        return (_plain(parts[0]), labels) if len(labels) <= 64 else "too_many_labels"
    except UnicodeDecodeError:
        return "not_utf8"


def _influx_line(payload: bytes, start: int, scale: int, received: int) -> tuple[int, list, Counter]:
    """(position of the end, rows, rejected rows by reason) of the line at start."""
    pos = _until(payload, start, b" ")
    if _ends(payload, pos):
        raise _Wrong("bad_line", 1, start)
    key = _influx_key(payload[start:pos])
    while payload[pos : pos + 1] == b" ":
        pos += 1
    found: list[tuple[bytes, float]] = []
    refused: Counter = Counter()
    count = 0
    while True:
        at, pos = pos, _until(payload, pos, b"=, ")
        if payload[pos : pos + 1] != b"=" or pos == at:
            raise _Wrong("bad_line", 1, at)
        name, at = payload[at:pos], pos + 1
        value, pos = _influx_value(payload, at)
        if not _ends(payload, pos) and payload[pos : pos + 1] not in (b",", b" "):
            raise _Wrong("bad_line", 1, at)
        count += 1
        if isinstance(value, str):
            refused[value] += 1
        elif isinstance(key, str):
            refused[key] += 1
        else:
            try:
                field = _plain(name)
                full = encode_key(metric_name(key[0] + ("" if field == "value" else "_" + field)), key[1])
                if len(full) > 4096 or len(name) >= 4096:
                    refused["key_too_long"] += 1
                else:
                    found.append((full, value))
            except UnicodeDecodeError:
                refused["not_utf8"] += 1
        if payload[pos : pos + 1] != b",":
            break
        pos += 1
    while payload[pos : pos + 1] == b" ":
        pos += 1
    at, stop = pos, pos
    while not _ends(payload, stop):
        stop += 1
    text = payload[at:stop].rstrip(b" ")
    if text and not re.fullmatch(rb"-?\d+", text):
        raise _Wrong("bad_line", 1, at)
    time = int(text) * scale if text else received
    if text and abs(time) >= 2**63:
        raise _Wrong("time_out_of_range", count, at)
    return stop, [(full, time, value) for full, value in found], refused


def _influx_value(payload: bytes, at: int) -> tuple[float | str, int]:
    """(value, or why it is none; position after it)."""
    pos = at
    if payload[at : at + 1] == b'"':
        pos += 1
        while payload[pos : pos + 1] != b'"':
            if pos >= len(payload):
                raise _Wrong("bad_line", 1, at)
            pos += 2 if payload[pos : pos + 2] in (b'\\"', b"\\\\") else 1
        return "string_field", pos + 1
    while not _ends(payload, pos) and payload[pos] not in b", ":
        pos += 1
    text = payload[at:pos]
    if re.fullmatch(rb"[+-]?\d+[iu]", text):
        whole = int(text[:-1])
        low, high = (-(2**63), 2**63) if text.endswith(b"i") else (0, 2**64)
        if not low <= whole < high:
            raise _Wrong("bad_line", 1, at)
        return float(whole), pos
    if _NUMBER.fullmatch(text):
        return (float(text) if math.isfinite(float(text)) else "not_finite"), pos
    if re.fullmatch(rb"[+-]?(nan|inf|infinity)", text, re.IGNORECASE):
        return "not_finite", pos
    if text in _WORDS:
        return _WORDS[text], pos
    raise _Wrong("bad_line", 1, at)


# --- pipeline


def sort_rows(ids: list[int], times: list[int], values: list[float]) -> list[tuple[int, int, float]]:
    """Rows by (id, time); of equal ones the last that came."""
    kept: dict[tuple[int, int], float] = {}
    for id, time, value in zip(ids, times, values, strict=True):
        kept[id, time] = value
    return [(*key, kept[key]) for key in sorted(kept)]


def became(
    rows: Sequence[tuple[int, int, float]], stored: dict[tuple[int, int], float]
) -> tuple[list[int], list[int], list[int]]:
    """(duplicates, overwritten, late): positions of rows (id, time, value) that come one by one to a store that has
    `stored`, and are not simply new. Late: before the last row that the store had of the series at first."""
    there, last = dict(stored), dict[int, int]()
    for id, time in stored:
        last[id] = max(time, last.get(id, time))
    found: tuple[list[int], list[int], list[int]] = ([], [], [])
    for at, (id, time, value) in enumerate(rows):
        if (id, time) in there:
            before = there[id, time]
            both_nan = math.isnan(before) and math.isnan(value)
            found[0 if both_nan or before.hex() == value.hex() else 1].append(at)
        elif id in last and time < last[id]:
            found[2].append(at)
        there[id, time] = value
    return found


# --- query ------------------------------------------------------------------------------------------------------------


def exact_sum(values: list[float]) -> float:
    """The sum without rounding on the way; infinities and NaN as IEEE has them."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


def interpolated_quantile(values: list[float], q: float) -> float:
    """The q-quantile between the two nearest of the sorted values."""
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(len(ordered) - 1, below + 1)
    return ordered[below] * (1 - (rank - below)) + ordered[above] * (rank - below)


def deviation(values: list[float]) -> float:
    """The population's standard deviation; NaN with an infinity."""
    if not all(map(math.isfinite, values)):
        return math.nan
    mean = exact_sum(values) / len(values)
    return math.sqrt(exact_sum([(v - mean) ** 2 for v in values]) / len(values))


def line(time_s: list[float], values: list[float]) -> tuple[float, float]:
    """(slope, level at time 0) of the line of least squares, by Cramer's rule."""
    n, x, y = len(values), exact_sum(time_s), exact_sum(values)
    xx, xy = exact_sum([t * t for t in time_s]), exact_sum([t * v for t, v in zip(time_s, values, strict=True)])
    slope = (n * xy - x * y) / (n * xx - x * x)
    return slope, (y - slope * x) / n


def over_windows(
    name: str, offsets: list[int], time: list[int], value: list[float], ends: list[int], window: int, q: float
) -> list[list[float]]:
    """One number a series and window (end - window, end]; NaN for empty windows."""
    out = []
    for i in range(len(offsets) - 1):
        points = [(time[n], value[n]) for n in range(offsets[i], offsets[i + 1])]
        windows = [[v for t, v in points if end - window < t <= end] for end in ends]
        out.append([one_window(name, inside, q) if inside else math.nan for inside in windows])
    return out


def one_window(name: str, inside: list[float], q: float) -> float:
    """One number of the values of one window."""
    if name == "resets":
        return sum(inside[n - 1] for n in range(1, len(inside)) if inside[n] < inside[n - 1])
    functions = {
        "sum_over_time": exact_sum,
        "avg_over_time": lambda values: exact_sum(values) / len(values),
        "min_over_time": min,
        "max_over_time": max,
        "stddev_over_time": deviation,
        "quantile_over_time": lambda values: interpolated_quantile(values, q),
    }
    return functions[name](inside)


def aggregate_groups(
    name: str, values: list[list[float]], present: list[list[bool]], group: list[int], groups: int, steps: int
) -> list[list[float]]:
    """sum, avg, min, max or count of what is present in each group at each step; NaN where nothing is."""
    out = []
    for g in range(groups):
        members = [i for i in range(len(group)) if group[i] == g]
        columns = [[values[i][j] for i in members if present[i][j]] for j in range(steps)]
        out.append([one_group(name, column) if column else math.nan for column in columns])
    return out


def one_group(name: str, column: list[float]) -> float:
    """One number of the values of one group at one time."""
    numbers = [v for v in column if v == v]
    if name in ("min", "max"):
        return (min if name == "min" else max)(numbers, default=math.nan)
    if name == "count":
        return len(column)
    return exact_sum(column) / (len(column) if name == "avg" else 1)


# --- analysis: occasions ----------------------------------------------------------------------------------------------


def in_spans(times: Sequence[int], spans: Sequence[tuple[date, date]], timezone: str) -> list[bool]:
    """Does each time, ns UTC, lie in a span? Dates are whole days of the zone, times have one of their own."""
    zone = ZoneInfo(timezone)

    def at(moment: date) -> datetime:
        if isinstance(moment, datetime):
            return moment.astimezone(UTC)
        return datetime(moment.year, moment.month, moment.day, tzinfo=zone).astimezone(UTC)

    moments = [(at(begin), at(end)) for begin, end in spans]
    rows = [datetime.fromtimestamp(time // 10**9, UTC) for time in times]
    return [any(begin <= row < end for begin, end in moments) for row in rows]


# --- analysis: periods ------------------------------------------------------------------------------------------------


def strongest_period(values: Sequence[float], step_s: float) -> tuple[float, float, float]:
    """(period in steps, gain, z) of almenara.analysis.folding.strongest, besides what the calendar explains."""
    x = np.array(values, float)
    n, came = len(x), ~np.isnan(x)
    if 2 * came.sum() < n or came.sum() < 32:
        return 0.0, 0.0, 0.0
    t = np.arange(n) - 0.5 * (n - 1)
    flat = np.where(came, x - np.polyval(np.polyfit(t[came], x[came], 1), t), 0.0)
    size = 4 * max(64, 1 << (n - 1).bit_length())
    power = np.abs(np.fft.rfft(flat * (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)), size)) ** 2
    if power.sum() <= 1e-300:
        return 0.0, 0.0, 0.0
    logs = np.log(np.maximum(power, 1e-12 * power.mean()))
    k = np.arange(1, len(logs))
    over = np.zeros(len(logs))
    at0, slope = _line(np.log(k[5:]), logs[6:], 1 / k[5:])
    over[1:] = logs[1:] - at0 - slope * np.log(k)
    lowest, found, free = math.ceil(4 * size / n), [], np.ones(len(logs), bool)
    peaks = 0
    while peaks < 3:
        tops = [
            j
            for j in range(lowest, len(logs) - 1)
            if free[j] and over[j] > 0 and logs[j] >= max(logs[j - 1], logs[j + 1])
        ]
        if not tops or over[top := max(tops, key=lambda j: over[j])] - 0.5772156649015329 < math.log(9):
            break
        free[max(top - 12, 0) : top + 12] = False
        if _of_calendar(size / top * step_s, n * step_s):
            continue
        peaks += 1
        for divisor in range(1, 9):
            k0 = top / divisor
            if k0 < lowest or size / k0 < 3 or (z := _comb_sure(logs, k0)) < 6.5:
                continue
            smooth = _without_slow(x, int(size / k0 + 0.5))
            period = _refined_period(smooth, size / k0)
            gain = _predicted_share(smooth, period)
            if n / period < 4 or gain < 0.15 or _of_calendar(period * step_s, n * step_s):
                continue
            parts = [period / j for j in range(2, 9) if period / j >= 3]
            known = [part for part in parts if _of_calendar(part * step_s, n * step_s)]
            if all(_predicted_share(smooth, part) < 0.5 * gain for part in known):
                found.append((period, gain, z))
    if not found:
        return 0.0, 0.0, 0.0
    best = max(gain for _, gain, _ in found)
    return min(one for one in found if one[1] >= 0.8 * best)


def _line(x: Any, y: Any, weight: Any) -> tuple[float, float]:
    """(at 0, slope) of the weighted least squares line."""
    x0, y0 = np.average(x, weights=weight), np.average(y, weights=weight)
    slope = np.sum(weight * (x - x0) * (y - y0)) / np.sum(weight * (x - x0) ** 2)
    return y0 - slope * x0, slope


def _comb_sure(logs: Any, k0: float) -> float:
    k = np.arange(max(6, int(0.5 * k0)), min(len(logs), int(8.5 * k0) + 1))
    near = np.abs(k - k0 * np.floor(k / k0 + 0.5)) < min(8.0, 0.4 * k0)
    k = k[~(near & (k > 0.5 * k0))]
    around = len(k) / 6
    if around < 3:
        return 0.0
    at0, slope = _line(np.log(k), logs[k], 1 / k)
    teeth = [int(h * k0 + 0.5) for h in range(1, 9) if int(h * k0 + 0.5) < len(logs)]
    ratios = [math.exp(min(logs[j] - at0 - slope * math.log(j) - 0.5772156649015329, 60.0)) for j in teeth]
    best = 0.0
    for lines in (1, 2, 4, 8):
        if lines <= len(ratios):
            a, b, root = 1 / (9 * lines), 1 / (9 * around), (sum(ratios[:lines]) / lines) ** (1 / 3)
            best = max(best, ((1 - b) * root - (1 - a)) / math.sqrt(b * root * root + a))
    return best


def _without_slow(x: Any, width: int) -> Any:
    begins = [min(max(i - width // 2, 0), len(x) - width) for i in range(len(x))]
    parts = [x[b : b + width] for b in begins]
    return np.array([v - np.nanmean(p) if (~np.isnan(p)).any() else np.nan for v, p in zip(x, parts, strict=True)])


def _bins_of(n: int, period: float) -> Any:
    bins = min(32, int(period))
    turn = (np.arange(n) + 0.5) / period
    return np.minimum(((turn - np.floor(turn)) * bins).astype(int), bins - 1)


def _between(x: Any, period: float) -> float:
    at = _bins_of(len(x), period)
    members = [x[(at == b) & ~np.isnan(x)] for b in range(32)]
    return sum(m.sum() ** 2 / len(m) for m in members if len(m))


def _refined_period(x: Any, period: float) -> float:
    cycles = len(x) / period
    scores = [_between(x, len(x) / (cycles + j / 12)) for j in range(-9, 10)]
    at = max(range(1, 18), key=lambda j: scores[j])
    left, best, right = scores[at - 1 : at + 2]
    bend = left - 2 * best + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return len(x) / (cycles + (at - 9 + min(max(shift, -0.5), 0.5)) / 12)


def _predicted_share(x: Any, period: float) -> float:
    n, at, came = len(x), _bins_of(len(x), period), ~np.isnan(x)
    blocks = min(int(n / period), 8)
    block, failed, total, left = np.arange(n) * blocks // n, 0, 0.0, 0.0
    for c in range(blocks):
        before = after = 0.0
        for i in np.flatnonzero((block == c) & came):
            others = x[came & (block != c) & (at == at[i])]
            before += x[i] ** 2
            after += (x[i] - others.sum() / (len(others) + 0.5)) ** 2
        failed, total, left = failed + (after >= before > 0), total + before, left + after
    return 0.0 if total <= 0 or failed > blocks // 8 else 1 - left / total


def _of_calendar(period_s: float, span_s: float) -> bool:
    def part_of(whole_s: int) -> bool:
        j = math.floor(whole_s / period_s + 0.5)
        return j >= 1 and abs(1 / period_s - j / whole_s) < 0.3 / span_s

    weekly = period_s >= 26 * 3600 or (period_s >= 14_400 and span_s >= 14 * 86_400)
    return (period_s >= 7200 and part_of(86_400)) or (weekly and part_of(604_800))


# --- detectors: seasonal ---------------------------------------------------------------------------------------------
# The detector in plain Python, one series at a time; `seasonal(...)` gives the rows that `Seasonal.step` gives.


class _Tail:
    """A tail of almenara.analysis.tails."""

    def __init__(self, p_limit: float, xi: float, unsure: float, share: float):
        self.u, self.beta, self.xi, self.seen, self.p_limit = 2.57, 0.44, xi, 0.0, p_limit
        self.set_reach(unsure, share)

    def set_reach(self, unsure: float, share: float) -> None:
        depth, base = math.log(0.04 / self.p_limit) + share, -math.log(0.04) - share
        self.shape = min(self.xi, min(self.xi, 0.4) + 1.5 * max(self.xi - 0.8, 0.0)) + unsure
        scale = self.beta / self.shape
        self.reach = scale * (math.exp(self.shape * depth) - 1)
        self.less = scale * (math.exp(self.shape * max(0.5 * (depth + base) - base, 0.0)) - 1)

    def limit(self) -> float:
        return max(self.u + self.reach, 3.0)

    def stay(self) -> float:
        return self.u + self.less

    def learn(self, z: float, step: float, weight: float, fit: bool) -> bool:
        if z <= self.u:
            self.u = max(self.u - step * 0.02 * self.u, 1.0)
            return False
        e, xi = (min(z, 1e9) - self.u) / self.beta, self.xi
        e = e if fit else min(e, 4.0)
        self.u = min(self.u + step * 0.98 * self.u, 1e6)
        part = e / (1 + xi * e)
        by_xi, by_beta = math.log1p(xi * e) / (xi * xi) - (1 + 1 / xi) * part, (1 + xi) * part - 1
        gain = weight / (self.seen + 10)
        self.seen = min(self.seen + weight, 120.0)
        move = gain * (1 + xi) * ((1 + xi) * by_xi - by_beta)
        if fit and xi + move > 0.02:
            self.xi = min(xi + _clip(move, 10 * gain), 2.0)
            move = gain * (1 + xi) * (2 * by_beta - by_xi)
        else:
            self.xi = 0.02 if fit else xi
            move = gain * (1 + 2 * xi) * by_beta
        self.beta = max(self.beta * math.exp(_clip(move, 10 * gain)), 0.1)
        return True

    def score(self, z: float, share: float) -> float:
        depth, base = math.log(0.04 / self.p_limit) + share, -math.log(0.04) - share
        if z <= self.u:
            return z / self.u * base / (depth + base)
        return (base + math.log1p(self.shape * (min(z, 1e9) - self.u) / self.beta) / self.shape) / (depth + base)


def _single(x: float) -> float:
    return float(np.float32(x))


def _clip(x: float, size: float) -> float:
    return min(max(x, -size), size)


def _decimals(y: float, known: int) -> int:
    while known < 7:
        scaled = abs(y) * 10.0**known
        if scaled > 1e15 or abs(scaled - math.floor(scaled + 0.5)) <= 1e-12 * scaled:
            break
        known += 1
    return known


class _Effect:
    """One calendar of one series, of almenara.analysis.effects. kind: 0 since the begin, 1 by half hour of the day, 2
    by hour of workdays and of days off."""

    def __init__(self, intervals: Sequence[tuple[int, int]], kind: int, part_s: int):
        self.intervals, self.kind, self.part_s = intervals, kind, part_s
        self.mean, self.dev, self.seen = [0.0] * 48, [0.0] * 48, [0] * 48
        self.on: tuple[int, int] | None = None
        self.part, self.rows = -1, []

    def begin_and_end(self, second: int) -> None:
        """The occasion that is on; what was open is learned when its occasion is over."""
        if self.on and second >= self.on[1]:
            self._commit()
            self.on = None
        if not self.on:
            self.on = next(((a, b) for a, b in self.intervals if a <= second < b), None)

    def place(self, second: int, local: int) -> tuple[int, int, float]:
        assert self.on
        first, n = 0, 24 if self.kind == 2 else 48
        x = (second - self.on[0] if self.kind == 0 else local % 86_400) / self.part_s
        if self.kind == 2 and (local // 86_400 + 3) % 7 >= 5:
            first = 24
        part = min(math.floor(x), n - 1)
        away = min(max(x - part - 0.5, -0.5), 0.5)
        other = part + (1 if away > 0 else -1)
        other = other % n if self.kind == 2 else other if 0 <= other < n else part
        return first + part, first + other, abs(away)

    def at(self, second: int, local: int, cadence: float, prior: float) -> tuple[float, float, float, int]:
        part, other, near = self.place(second, local)
        mean, seen = self.mean[part], self.seen[part]
        if not seen:
            return (self.mean[(part + 24) % 48] if self.kind == 2 else mean), 0.0, prior, 0
        if cadence < 0.5 * self.part_s and self.seen[other]:
            mean += near * (self.mean[other] - mean)
        return mean, self.dev[part], 0.4 * abs(mean) / (seen * seen), seen

    def weight(self, second: int, local: int) -> float:
        return 1 / (1 + self.seen[self.place(second, local)[0]])

    def gather(self, second: int, local: int, away: float, size: float, outside: bool, total: float) -> None:
        part = self.place(second, local)[0]
        if part != self.part:
            self._commit()
            self.part = part
            if not self.seen[part] and self.kind == 2:
                self.mean[part] = self.mean[(part + 24) % 48]
        most = (4 if outside and self.seen[part] >= 2 else 8) * size
        self.rows.append(_clip(away, most) / (1 + self.seen[part]) / total)

    def _commit(self) -> None:
        if self.rows:
            b, n = self.part, len(self.rows)
            away, square, seen = sum(self.rows) / n, sum(x * x for x in self.rows) / n, self.seen[self.part]
            if not seen:
                square = max(square - away * away, 0.0)
            rate = max(1 / (seen + 1), 0.15)
            self.mean[b] = _single(self.mean[b] + rate * away)
            self.dev[b] = _single(self.dev[b] + rate * (0.8 * math.sqrt(square) - self.dev[b]))
            self.seen[b] = min(seen + 1, 250)
        self.part, self.rows = -1, []


def _at_phase(profile: Any, turn: float) -> float:
    at = (turn - math.floor(turn)) * 32 - 0.5
    low = math.floor(at)
    return (1 - (at - low)) * float(profile[low % 32]) + (at - low) * float(profile[(low + 1) % 32])


def _profile_of(x: Any, period: float) -> list[float]:
    smooth, at = _without_slow(x, int(period + 0.5)), _bins_of(len(x), period)
    members = [smooth[(at == b) & ~np.isnan(smooth)] for b in range(min(32, int(period)))]
    means = [m.sum() / (len(m) + 0.5) for m in members]
    places = [(b + 0.5) * len(means) / 32 - 0.5 for b in range(32)]
    lows = [math.floor(p) for p in places]
    nexts = [means[(k + 1) % len(means)] for k in lows]
    read = [(1 - p + k) * means[k % len(means)] + (p - k) * v for p, k, v in zip(places, lows, nexts, strict=True)]
    return [v - sum(means) / len(means) for v in read]


class _Wave:
    """A period that is followed."""

    def __init__(self, period: float, origin: int, profile: Any):
        self.period, self.origin, self.bins, self.turns = period, origin, np.array(profile, np.float32), 0
        self.ahead = self.steep = self.left = self.without = 0.0

    def turn(self, time: int) -> float:
        return (time - self.origin) / 1e9 / self.period

    def at(self, time: int) -> float:
        return _at_phase(self.bins, self.turn(time))

    def correct(self, turns: int, size: float) -> None:
        late = _clip(self.ahead / max(self.steep + 64 * size * size, 1e-300), 0.1)
        gain = max(3 / (self.turns + 6), 0.1)
        self.origin += int((turns - gain * late) * self.period * 1e9)
        self.period *= 1 - 0.5 * gain * gain * late
        self.turns += 1
        self.ahead = self.steep = 0.0

    def learn(self, series: Any, time: int, away: float, error: float) -> None:
        at = (self.turn(time) - math.floor(self.turn(time))) * 32 - 0.5
        a, b, part = math.floor(at) % 32, (math.floor(at) + 1) % 32, at - math.floor(at)
        value = (1 - part) * float(self.bins[a]) + part * float(self.bins[b])
        slope = float(self.bins[b] - self.bins[a]) * 32
        self.ahead, self.steep = self.ahead + error * slope, self.steep + slope * slope
        each = min(series.cadence / (8 * self.period), 0.1)
        whole = _clip(away + value, 4 * series.ref_size + abs(value))
        self.left += each * (error * error - self.left)
        self.without += each * (whole * whole - self.without)
        rate = max(1 / (self.turns + 2), 0.04) * min(32 * series.cadence / self.period, 1.0)
        self.bins[a] = float(self.bins[a]) + rate * (1 - part) * error
        self.bins[b] = float(self.bins[b]) + rate * part * error


class _Own:
    """The periods of one series besides day and week: the search for them, and those found."""

    def __init__(self, series: Any):
        self.series, self.waves, self.on, self.search_at = series, [], False, 0

    def begin(self, time: int) -> None:
        self.on, self.start, self.ring = True, time, []
        self.step = max(int(self.series.cadence * 1e9), 1)
        self.end, self.sum, self.rows = time + self.step, 0.0, 0

    def at(self, time: int) -> float:
        return sum(wave.at(time) for wave in self.waves)

    def stop(self) -> None:
        self.on, self.waves = False, []

    def follow(self, time: int, y: float) -> None:
        ended = time >= self.end and self._push(time)
        away = y - self.series.base
        self.sum, self.rows = self.sum + _clip(away, 8 * self.series.ref_size), self.rows + 1
        if self.series.streak <= 3:
            error = _clip(away, 4 * self.series.ref_size)
            for wave in list(self.waves):
                if wave.turn(time) >= 1:
                    wave.correct(math.floor(wave.turn(time)), self.series.ref_size)
                    if wave.turns >= 12 and wave.left > 0.97 * wave.without:
                        self._drop(wave)
                        continue
                wave.learn(self.series, time, away, error)
        if ended:
            self.stop()

    def _drop(self, wave: Any) -> None:
        """The last one takes its place."""
        self.waves[self.waves.index(wave)] = self.waves[-1]
        self.waves.pop()

    def _push(self, time: int) -> bool:
        if (time - self.end) // self.step >= 128:
            self.begin(time)
            return False
        ended = self._append(time, self.sum / self.rows if self.rows else math.nan)
        self.end += self.step
        while time >= self.end and not ended:
            ended = self._append(time, math.nan)
            self.end += self.step
        self.sum, self.rows = 0.0, 0
        return ended

    def _append(self, time: int, mean: float) -> bool:
        self.ring.append(np.float32(mean))
        if len(self.ring) < 256:
            return False
        self._search(time)
        span_s = 256 * self.step / 1e9
        if span_s >= max(28 * 86_400, 0.5 * (time - self.series.first) / 1e9):
            if not self.waves:
                self.search_at = self.series.rows + self.series.rows // 2
                return True
            self.begin(self.end)
            self.end -= self.step
            return False
        pairs = zip(self.ring[::2], self.ring[1::2], strict=True)
        half = np.float32(0.5)
        self.ring = [b if np.isnan(a) else a if np.isnan(b) else half * (a + b) for a, b in pairs]
        self.step *= 2
        return False

    def _search(self, time: int) -> None:
        x = np.array(self.ring, float)
        for _ in range(2):
            period, _, _ = strongest_period(x, self.step / 1e9)
            profile = _profile_of(x, period) if period else []
            ratios = [wave.period / (period * self.step / 1e9) for wave in self.waves] if period else []
            if any(1 <= round(r) <= 8 and abs(r - round(r)) < 0.01 * round(r) for r in ratios):
                x -= [_at_phase(profile, (i + 0.5) / period) for i in range(256)]
                continue
            size = sum(abs(v) for v in profile) / 32
            if not period or size < 0.25 * self.series.ref_size:
                break
            if len(self.waves) == 2:
                least = min(self.waves, key=lambda wave: float(np.abs(wave.bins.astype(float)).mean()))
                if size < 1.5 * float(np.abs(least.bins.astype(float)).mean()):
                    break
                self._drop(least)
            x -= [_at_phase(profile, (i + 0.5) / period) for i in range(256)]
            self._take_up(time, period * self.step / 1e9, profile)
        self.ring = list(x.astype(np.float32))

    def _take_up(self, time: int, period: float, profile: Any) -> None:
        turns = math.floor((time - self.start) / 1e9 / period)
        wave = _Wave(period, self.start + int(turns * period * 1e9), profile)
        self.waves.append(wave)
        series, added = self.series, wave.at(time)
        series.base += added
        series.recent, series.held, series.anchor = series.recent - added, series.held - added, series.anchor - added
        series.ref_rows = min(series.ref_rows, 30)


class _Roots:
    """Between which roots deviations of a series are seen; `series` is the _Season it belongs to."""

    def __init__(self, series: Any):
        self.series, self.root, self.rows, self.sizes, self.level, self.bent = series, 0, 0, [0.0] * 3, 0.0, 0.0

    def mean(self) -> float:
        return self.series.level + self.series.centre

    def ground(self, expected: float) -> float:
        little = 0.375 / 10.0**self.series.decimals if self.series.decimals < 7 else 0.0
        return max(expected, self.mean() / 8, 1e-300) + little

    def bend(self, d: float, f: float, root: int | None = None) -> float:
        root = self.root if root is None else root
        if root <= 0:
            return d
        n, of = 2 * root, 1 + d / f
        return n * f * (of ** (1 / n) - 1) if of > 0 else d + f - n * f

    def straight(self, a: float, f: float) -> float:
        if self.root <= 0:
            return a
        n = 2 * self.root
        of = 1 + a / (n * f)
        return f * (of**n - 1) if of > 0 else a + n * f - f

    def spread(self, expected: float, root: int | None = None) -> float:
        root = self.root if root is None else root
        if root <= 0 or self.mean() <= 0:
            return 1.0
        return max(expected / self.mean(), 1 / 8) ** (root / 2)

    def see(self, expected: float, d: float, raw: float, outside: bool) -> None:
        series, mean = self.series, self.mean()
        if raw < 0 and not outside:
            self.root = -1
        if series.rows % 16 or not series.known or series.streak or self.root < 0 or mean <= 0:
            return
        if series.decimals < 7 and expected * 10.0**series.decimals < 2:
            return
        self.rows = min(self.rows + 1, 256)
        f = self.ground(expected)
        for k in range(3):
            away = abs(self.bend(d, f, k)) / self.spread(expected, k)
            away = min(away, 8 * self.sizes[k]) if self.rows > 16 else away
            self.sizes[k] = _single(self.sizes[k] + (away - self.sizes[k]) / self.rows)
        self.level = _single(self.level + (math.log(f / mean) - self.level) / self.rows)
        self.bent = _single(self.bent + (_clip(math.log(max(1 + d / f, 1e-9)), math.log(4)) - self.bent) / self.rows)

    def choose(self) -> bool:
        if self.root < 0 or self.rows < 64 or self.mean() <= 0 or min(self.sizes) <= 0:
            return False
        costs = [math.log(self.sizes[k]) + k / 2 * self.level + (0, 0.5, 0.75)[k] * self.bent for k in range(3)]
        best = costs.index(min(costs))
        if best == self.root or costs[best] > costs[self.root] - 0.05:
            return False
        self._change(best)
        return True

    def _change(self, root: int) -> None:
        series = self.series
        for h in range(24):
            expected = series.level + 0.5 * (series.day[2 * h] + series.day[2 * h + 1])
            by = self.spread(expected) / self.spread(expected, root)
            series.ratio[h] = _single(min(max(series.ratio[h] * by, 0.2), 6.0))
            series.ref_ratio[h] = _single(min(max(series.ref_ratio[h] * by, 0.2), 6.0))
        for tail, size, side in (
            (series.up, series.size, 1),
            (series.down, series.size, -1),
            (series.ref_up, series.ref_size, 1),
            (series.ref_down, series.ref_size, -1),
        ):
            f = self.mean()
            if size > 0:
                near, far = (self.straight(side * u * size, f) for u in (tail.u, tail.u + tail.beta))
                near, far = side * self.bend(near, f, root) / size, side * self.bend(far, f, root) / size
                beta = min(far - near, 2 * tail.beta)
                tail.u, tail.beta, tail.seen = max(min(near, 1.5 * tail.u), 1.0), max(beta, 0.1), min(tail.seen, 20.0)
        self.root = root


class _Season:
    """One series under `seasonal`."""

    def __init__(self, p_limit: float, accept_s: float):
        self.p_limit, self.accept_s, self.warm, self.ready = p_limit, accept_s, [], False
        self.runs = self.cluster = self.pending = 0.0
        self.day, self.day_seen, self.week, self.week_seen = [0.0] * 48, [0] * 48, [0.0] * 168, [0] * 168
        self.ratio, self.ref_ratio = [1.0] * 24, [1.0] * 24
        self.widen = self.ref_widen = self.power = 1.0
        self.cross, self.ref_size, self.flat_max, self.swing, self.centre = 0.5, 0.0, 0.0, 0.0, 0.0
        self.ref_rows = self.ref_bins = self.streak = self.flat_rows = self.beyond = self.coarse = 0
        self.run = self.run_rows = self.widened = 0
        self.run_mean = self.run_dev = 0.0
        self.known = False
        self.effects: list[_Effect] = []
        self.first_cause = 0
        self.quarter: int | None = None
        self.state, self.own, self.roots, self.wave = _States(self), _Own(self), _Roots(self), 0.0
        self._open(0)

    def _open(self, half: int) -> None:
        self.half = half
        self.sum = self.sum_size = self.sum_ref = self.most_up = self.most_down = 0.0
        self.bin_rows = self.bin_out = 0

    def row(self, time: int, y: float, second: int, local: int) -> tuple[float, float, float, float, int]:
        y = min(max(y, -1e30), 1e30)
        idle = self.ready and not self.own.on and not self.state.on
        if idle and time > self.time and self.known and self.rows >= self.own.search_at:
            self.own.begin(time)
        if self.ready:
            self.state.look(y, self.last, self.rows, local)
        else:
            self.state.look(y, self.warm[-1][2] if self.warm else 0.0, len(self.warm), local)
        if self.state.on:
            if time > self.time:
                self.own.stop()
            return self.state.row(time, y, local)
        if not self.ready:
            if not self.warm or time > self.warm[-1][0]:
                high = _single(y)
                self.warm.append((time, high + _single(y - high), y))
                if len(self.warm) == 30:
                    self._start(local)
            return math.nan, math.nan, math.nan, math.nan, -1
        fresh = time > self.time
        self.wave = self.own.at(time)
        judged, occasion = self.on_occasion(time, y, second, local)
        if fresh and self.own.on and self.known and not occasion:
            self.own.follow(time, y)
        return judged

    def on_occasion(self, time: int, y: float, second: int, local: int) -> tuple[Any, bool]:
        """A row where calendars may have an occasion: without its effect, scaled to the size of usual deviations;
        and whether there is one."""
        for one in self.effects:
            one.begin_and_end(second)
        on = [one for one in self.effects if one.on]
        if not on:
            return self._judge(time, y, local), False
        if time > self.time and local // 1800 != self.half:
            self._turn(local)
        season, known, unsure = self._season(local)
        if not known:
            return self._judge(time, y, local), True
        usual = self.level + season + self.wave
        ref_ratio = self.ref_ratio_now * (1 + 8 / (1 + self.ref_bins))
        ref = max(self.ref_size * ref_ratio + unsure, self._least(abs(usual)))
        prior = max(0.5 * abs(usual), self.swing, 4 * ref)
        told = [one.at(second, local, self.cadence, prior) for one in on]
        effect, spread, vague = (sum(column) for column in list(zip(*told, strict=True))[:3])
        which = max(range(len(on)), key=lambda k: abs(told[k][0]))
        apart = min(seen for *_, seen in told) < 2
        size = max(spread, ref) + vague
        scale = max(ref / size, 1e-9)
        away = y - usual - effect
        judge = copy.deepcopy(self) if apart else self
        if apart:
            scale = 1.0
            judge.size += (size - ref) / self.ratio_now
            judge.ref_size += (size - ref) / ref_ratio
        judge.recent, judge.held, judge.anchor = judge.recent * scale, judge.held * scale, judge.anchor * scale
        score, yhat, lower, upper, cause = judge._judge(time, usual + away * scale, local, y)
        judge.recent, judge.held, judge.anchor = judge.recent / scale, judge.held / scale, judge.anchor / scale
        yhat, lower, upper = (usual + effect + (v - usual) / scale for v in (yhat, lower, upper))
        if 0 <= cause < 6:
            half, below = 0.5 * effect, y < yhat
            gone = y - usual < half if below and effect > 0 else y - usual > half if not below and effect < 0 else False
            cause = self.first_cause + 4 * self.effects.index(on[which]) + (2 + (not below) if gone else below)
        if apart:
            self._rhythm(time, y, 0.0)
            self.base, self.known = usual, True
        total = sum(one.weight(second, local) for one in on)
        for one in on:
            one.gather(second, local, away, size, score >= 1, total)
        return (score, yhat, lower, upper, cause), True

    def _start(self, local: int) -> None:
        values = [v for _, v, _ in self.warm]
        steps = [abs(b - a) for a, b in pairwise(values)]
        cut = 5 * median(steps)
        self.size = 0.0
        for step in steps:
            self.size += (min(step, cut) if cut > 0 else step) / 29
        self.level = self.base = median(values)
        self.recent = self.anchor = median(values[-5:]) - self.level
        self.held, self.peak, self.drift = 0.0, 0.0, 0.7 * self.size
        self.time, self.last, self.first = self.warm[-1][0], self.warm[-1][2], self.warm[0][0]
        self.cadence = max((self.time - self.first) / 1e9 / 29, 1e-6)
        self.moves = sum(step > 0 for step in steps) / 29
        self.decimals = 0
        for v in values:
            self.decimals = _decimals(v, self.decimals)
        self.roots.root = -1 if min(values) < 0 else 0
        self.flat, self.rows, self.ready = self.time, 30, True
        self.begin_tails()
        self._open(local // 1800)

    def begin_tails(self) -> None:
        self.up, self.down = (_Tail(self.p_limit, 0.1, self._unsure(), self._share()) for _ in range(2))
        self.ref_up, self.ref_down = (_Tail(self.p_limit, 0.04, 0.0, self._share()) for _ in range(2))

    def _season(self, local: int) -> tuple[float, bool, float]:
        """What lies between bin centres is linear within a quarter of an hour: its begin, and the rise from there."""
        quarter = local // 900
        if quarter != self.quarter:
            self.quarter, begin = quarter, quarter * 900
            self.line = self._line(begin % 86_400, (begin + 3 * 86_400) % 604_800)
            self.ratio_line = self._at_hour(self.ratio, begin % 86_400)
            self.ref_ratio_line = self._at_hour(self.ref_ratio, begin % 86_400)
            if self.roots.root > 0:
                base, end = self.level + self.line[0], self.level + self.line[0] + self.line[1] * 900
                by = self.roots.spread(base), self.roots.spread(end)
                self.ratio_line = self._times(self.ratio_line, *by)
                self.ref_ratio_line = self._times(self.ref_ratio_line, *by)
        season, by, known, unsure, unsure_by = self.line
        x = float(local - quarter * 900)
        self.ratio_now = self.ratio_line[0] + self.ratio_line[1] * x
        self.ref_ratio_now = self.ref_ratio_line[0] + self.ref_ratio_line[1] * x
        return season + by * x, known, unsure + unsure_by * x

    @staticmethod
    def _times(line: tuple[float, float], begin: float, end: float) -> tuple[float, float]:
        """A line over a quarter of an hour, times what it is to be multiplied by where it begins and ends."""
        return line[0] * begin, ((line[0] + line[1] * 900) * end - line[0] * begin) / 900

    def _line(self, second: int, in_week: int) -> tuple[float, float, bool, float, float]:
        b, h = second // 1800, in_week // 3600
        if not self.day_seen[b]:
            return 0.0, 0.0, False, 0.0, 0.0
        if self.cadence >= 900:
            sure = 1 + 0.5 * self.week_seen[h]
            return self.day[b] + self.week[h], 0.0, True, 0.3 * self.swing / (sure * sure), 0.0
        x = second / 1800 - 0.5
        b0 = math.floor(x)
        part = x - b0
        b0, b1 = b0 % 48, (b0 + 1) % 48
        d0, d1 = self.day[b0 if self.day_seen[b0] else b], self.day[b1 if self.day_seen[b1] else b]
        x = in_week / 3600 - 0.5
        h0 = math.floor(x)
        of_week = x - h0
        h0, h1 = h0 % 168, (h0 + 1) % 168
        w0, w1 = self.week[h0], self.week[h1]
        k0, k1 = 1 + 0.5 * self.week_seen[h0], 1 + 0.5 * self.week_seen[h1]
        u0, u1 = 0.3 * self.swing / (k0 * k0), 0.3 * self.swing / (k1 * k1)
        season = d0 + (d1 - d0) * part + w0 + (w1 - w0) * of_week
        return season, (d1 - d0) / 1800 + (w1 - w0) / 3600, True, u0 + (u1 - u0) * of_week, (u1 - u0) / 3600

    @staticmethod
    def _at_hour(ratio: list[float], second: int) -> tuple[float, float]:
        x = second / 3600 - 0.5
        h = math.floor(x)
        r0, r1 = ratio[h % 24], ratio[(h + 1) % 24]
        return r0 + (r1 - r0) * (x - h), (r1 - r0) / 3600

    def _least(self, a: float) -> float:
        half = 0.5 / 10.0**self.decimals if self.decimals < 7 else 0.0
        least = half if a < half else min(half, 0.02 * a)
        return max(least, (1 - min(1.0, 10 * self.moves)) * 1e-3 * a, 1e-9 * a, 1e-200)

    def _judge(
        self, time: int, y: float, local: int, raw: float | None = None
    ) -> tuple[float, float, float, float, int]:
        raw = y if raw is None else raw
        fresh = time > self.time
        if fresh and local // 1800 != self.half:
            self._turn(local)
        season, known, unsure = self._season(local)
        base, recent, moved = self.level + season + self.wave, self.recent, 0.0
        if known != self.known:
            moved = self.base - base
            recent += moved
        gap, wide = (time - self.time) / 1e9 / (4 * self.cadence), 1.0
        if gap > 1:
            wide = math.sqrt(min(gap, 64.0))
            recent = recent / gap if known else recent
        least = self._least(abs(base))
        size = max(self.size * self.ratio_now * wide, least)
        judged = known and self.ref_rows >= 30
        ref_size, lean, low, high = 0.0, recent, math.inf, math.inf
        if known:
            ref_size = self.ref_size * self.ref_ratio_now * (1 + 8 / (1 + self.ref_bins)) + unsure
            ref_size = max(ref_size, least)
        if judged:
            low = self.ref_down.limit() * ref_size * self.ref_widen
            high = self.ref_up.limit() * ref_size * self.ref_widen
            f = self.roots.ground(base)
            low, high = -self.roots.straight(-low, f), self.roots.straight(high, f)
            lean = min(max(self.cross / self.power, 0.0), 1.0) * recent
            lean = min(max(lean, -0.85 * low), 0.85 * high)
        centre, wide, usual = lean, size, 0.0
        low_z, high_z = self.down.limit(), self.up.limit()
        if self.streak:
            centre = self.held + moved
            if judged:
                centre, usual = min(max(centre, -0.85 * low), 0.85 * high), max(size, ref_size)
            wide = self._grown(time, size, known, judged, ref_size, unsure)
            low_z, high_z = min(low_z, self.down.stay()), min(high_z, self.up.stay())
        low_z, high_z = low_z * self.widen, high_z * self.widen
        yhat, roots = base + centre, self.roots
        f, near, here = roots.ground(base), roots.ground(base + lean), roots.ground(yhat)
        lower, upper = yhat + roots.straight(-low_z * wide, here), yhat + roots.straight(high_z * wide, here)
        away, ref_away, near_away = y - yhat, y - base, y - base - lean
        bent_near, bent_ref = roots.bend(near_away, near), roots.bend(ref_away, f)
        z, above = abs(roots.bend(away, here)) / wide, away >= 0
        if usual > 0:
            lower = min(lower, base + roots.straight(-low_z * usual, f))
            upper = max(upper, base + roots.straight(high_z * usual, f))
            if abs(bent_ref) / usual < z:
                z, above = abs(bent_ref) / usual, ref_away >= 0
        lower, upper = max(lower, base - low), min(upper, base + high)
        share = self._share()
        score, ref_score = (self.up if above else self.down).score(z / self.widen, share), 0.0
        if self.streak:
            score = max(score, min(score / 0.5, self.peak))
        if judged:
            ref_score = (self.ref_up if ref_away >= 0 else self.ref_down).score(
                abs(bent_ref) / (ref_size * self.ref_widen), share
            )
        by_ref, score, cause = ref_score >= score, max(score, ref_score), -1
        outside = y < lower or y > upper
        score = min(max(score, 1.0), 10.0) if outside else min(score, 1 - 2.0**-53)
        moves = self.moves * min(self.rows, 512)
        if outside and self.rows < 2048 and raw != self.last and moves < 5:
            score = min(score, math.log((moves + 1) / (self.rows + 2)) / math.log(self.p_limit))
            if score < 1:
                outside, lower, upper = False, min(lower, y), max(upper, y)
        if outside:
            cause = (0 if ref_score >= 1 else 4 if judged else 2) + (y < lower)
        stuck = 0.0
        if raw == self.last and self.flat_rows >= 8 and self.moves >= 0.2 and time - self.first >= 172_800 * 10**9:
            stuck = (time - self.flat) / 1e9 / (3 * self.flat_max + 8 * self.cadence)
        if stuck > 1:
            score = min(max(score, stuck), 10.0)
            if not outside:
                outside, cause = True, 6
                if y >= yhat:
                    upper = math.nextafter(y, -math.inf)
                    yhat = min(yhat, upper)
                    lower = min(lower, yhat)
                else:
                    lower = math.nextafter(y, math.inf)
        if fresh:
            self._rhythm(time, raw, stuck)
            self.recent, self.base, self.known, self.anchor = recent, base, known, self.anchor + moved
            if not self.streak:
                self.held, self.peak = 0.0 if ref_score >= 1 else centre, score
            else:
                self.held, self.peak = self.held + moved, max(self.peak, score)
                if not outside and abs(away) < abs(ref_away - recent):
                    recent = centre
            if self._count(time, ref_away, outside, by_ref, stuck):
                self._gather(recent, size, ref_size, ref_away, bent_near, bent_ref, outside)
                if ref_score < 1:
                    self.recent = recent + 0.4 * _clip(ref_away - recent, 6 * size)
                if not outside or self.streak <= 3:
                    self.decimals = _decimals(raw, self.decimals)
                    if self.decimals and _decimals(raw, self.decimals - 1) == self.decimals:
                        self.coarse = 0
                    self._sizes(recent, size, ref_size, bent_near, bent_ref)
                self._tails(lean, bent_near, size, outside)
                if judged and (not outside or self.streak == 1):
                    self.most_up = max(self.most_up, bent_ref / ref_size)
                    self.most_down = max(self.most_down, -bent_ref / ref_size)
                roots.see(base + lean, near_away, raw, outside)
                if self.rows % 32 == 0:
                    gone = min(abs(self.recent - self.anchor), 4 * max(self.drift, self.size))
                    self.drift += (gone - self.drift) / min(self.rows // 32 + 4, 64)
                    self.anchor = self.recent
        return score, yhat, lower, upper, cause

    def _grown(self, time: int, size: float, known: bool, judged: bool, ref_size: float, unsure: float) -> float:
        growth = 0.2 * (unsure / ref_size if known else 1.0)
        if self.size > 0:
            growth += max((self.drift / self.size) ** 2 - 0.5, 0.0) / 32
        grown = size * math.sqrt(1 + growth * max((time - self.run) / 1e9 / self.cadence, 0.0))
        return max(size, min(grown, ref_size)) if judged else grown

    def _turn(self, local: int) -> None:
        season, known, _ = self._season(local)
        before = self.level + season
        self._commit(local // 1800)
        self.quarter = None
        if known and self.known:
            moved = before - (self.level + self._season(local)[0])
            self.recent += moved
            self.held += moved
            self.anchor += moved

    def _commit(self, half: int) -> None:
        b, h = self.half % 48, ((self.half // 48 + 3) % 7) * 24 + (self.half % 48) // 2
        if self.bin_rows:
            seen, hour, mean = self.day_seen[b], b // 2, self.sum / self.bin_rows
            rate = max(1 / (seen + 2), 0.05)
            spread = self.roots.spread(self.level + (self.day[b] + self.week[h] if seen else mean))

            def moved(ratio: float, total: float) -> float:
                return _single(min(max(ratio + rate * (total / (self.bin_rows * spread) - ratio), 0.2), 6.0))

            self.ratio[hour] = moved(self.ratio[hour], self.sum_size)
            if seen:
                self.ref_ratio[hour] = moved(self.ref_ratio[hour], self.sum_ref)
                self._adjust(b, h, mean)
            else:
                self.day[b] = _single(mean)
            rate = 1 / min(seen * 48.0 + 4, 48.0)
            self.coarse += self.last != 0 and self.flat_rows < self.bin_rows
            if self.coarse == 48:
                self.decimals, self.coarse = max(self.decimals - 1, 0), 0
            self.swing += rate * (abs(self.day[b] - self.centre) - self.swing)
            self.centre += rate * (self.day[b] - self.centre)
            self.day_seen[b], self.week_seen[h] = min(seen + 1, 250), min(self.week_seen[h] + 1, 250)
        if self.most_up > 0 or self.most_down > 0:
            up, down = self.most_up > self.ref_up.u, self.most_down > self.ref_down.u
            for tail, rows, most, again in (
                (self.ref_up, self.up, self.most_up, up and self.beyond == 1),
                (self.ref_down, self.down, self.most_down, down and self.beyond == 2),
            ):
                tail.xi, weight = max(min(3 * (rows.xi - 0.8), rows.xi), 0.04), 0.1 if again else 1.0
                tail.learn(most, 0.005 * weight, weight, False)
                tail.set_reach(0.0, self._share())
            self.beyond = 1 if up else 2 if down else 0
        self._open(half)
        if self.roots.choose():
            self.ref_up.set_reach(0.0, self._share())
            self.ref_down.set_reach(0.0, self._share())
        self.up.set_reach(self._unsure(), self._share())
        self.down.set_reach(self._unsure(), self._share())

    def _share(self) -> float:
        x = 0.5 + 0.5 * min(self.cadence / 1800, 1.0)
        return x * (1 - (1 - math.log(2)) * x)

    def _unsure(self) -> float:
        rate = min(max((self.size / max(abs(self.level), 1e-300) - 0.1) / (0.3 - 0.1), 0.0), 1.0)
        bursty = max(rate, 1 - min(self.moves / 0.5, 1.0))
        return (0.6 + (2.0 - 0.6) * bursty) / (1 + (self.rows / 300) * (self.rows / 300))

    def _learn(self, z: float, weight: float) -> None:
        weight *= 0.1 if self.cluster > 3 else 1.0
        for tail, side in ((self.up, z), (self.down, -z)):
            if tail.learn(side, 0.01 + 10 / self.rows, weight, True):
                self.cluster += 1
                tail.set_reach(self._unsure(), self._share())

    def _tails(self, lean: float, away: float, size: float, outside: bool) -> None:
        z = away / size
        self.cluster *= 1 - 1 / 32
        if self.streak == 0:
            if self.pending and abs(z) < (self.up if z >= 0 else self.down).u:
                self._learn(self.pending, 1.0)
            self.pending = 0.0
            self._learn(z, 1.0)
        elif outside and self.rows < 400:
            if self.streak == 1:
                self._learn(z, 1.0)
        elif outside and self.streak == 1:
            self.pending = z if abs(away) > 2 * abs(lean) else 0.0
        elif outside and self.pending:
            weight = min(max(self.runs / 8 - 1, 0.0), 1.0)
            if weight > 0:
                self._learn(self.pending, weight)
            self.pending = 0.0

    def _adjust(self, b: int, h: int, mean: float) -> None:
        self.ref_bins += 1
        if self.ref_bins > 48 and 2 * self.bin_out < self.bin_rows:
            up = min(max(mean, -2 * self.ref_size), 2 * self.ref_size) / 96
            self.level += up
            mean -= up
        move = _clip(mean, 6 * self.ref_size + self.swing) * max(1 / (self.day_seen[b] + 1), 0.05)
        self.day[b] = _single(self.day[b] + move)
        kept = 0.5 * move if self.cadence < 1800 else move
        for k in range(h % 24, 168, 24):
            if self.week_seen[k]:
                self.week[k] = _single(self.week[k] - kept)
        rest = mean - move + (kept if self.week_seen[h] else 0.0)
        square = rest * rest
        share = square / (square + self.ref_size * self.ref_size) if square > 0 else 0.0
        self.week[h] = _single(self.week[h] + max(1 / (0.5 * self.week_seen[h] + 1), 0.12) * share * rest)

    def _rhythm(self, time: int, y: float, stuck: float) -> None:
        n, self.rows = self.rows, self.rows + 1
        since = min(max((time - self.time) / 1e9, 0.25 * self.cadence), 4 * self.cadence)
        if y == self.last:
            self.flat_rows += 1
            if stuck <= 1:
                self.moves -= self.moves / min(n, 512)
        else:
            flat = (self.time - self.flat) / 1e9
            if time - self.first >= 172_800 * 10**9 and self.moves >= 0.2:
                flat = min(flat, 3 * self.flat_max + 8 * self.cadence)
            self.flat_max = max(self.flat_max * (1 - 2e-5), flat)
            self.flat, self.flat_rows = time, 0
            self.moves += (1 - self.moves) / min(n, 512)
        self.cadence = max(self.cadence + (since - self.cadence) / min(n, 32), 1e-6)
        self.last, self.time = y, time

    def _count(self, time: int, ref_away: float, outside: bool, by_ref: bool, stuck: float) -> bool:
        forget = 1 - 0.1 * self.p_limit
        self.widen, self.ref_widen = max(self.widen * forget, 1.0), max(self.ref_widen * forget, 1.0)
        self.runs *= 1 - 0.25 * self.p_limit
        if not outside:
            self.streak = max(self.streak - 1, 0)
            return True
        if self.streak == 0:
            self.runs += (time - self.run) / 1e9 >= min(3600, 60 * self.cadence)
            self.run, self.run_rows, self.run_mean, self.run_dev = time, 0, ref_away, 0.0
            if (time - self.widened) / 1e9 >= (86_400 if by_ref else min(3600, 60 * self.cadence)):
                self.widened = time
                if by_ref:
                    self.ref_widen = min(self.ref_widen * 1.08, 2.5)
                else:
                    self.widen = min(self.widen * 1.08, 8.0)
        self.streak, self.run_rows = min(self.streak + 1, 32), self.run_rows + 1
        rate = 1 / min(self.run_rows, 256)
        self.run_mean += rate * (ref_away - self.run_mean)
        self.run_dev += rate * (abs(ref_away - self.run_mean) - self.run_dev)
        patience = min(self.accept_s, max(30 * self.cadence, 0.25 * (time - self.first) / 1e9))
        if (time - self.run) / 1e9 < patience or self.run_rows < 3:
            return True
        if stuck > 1:
            self.flat_max = (time - self.flat) / 1e9
        if self.known:
            self.level, self.base, self.recent = self.level + self.run_mean, self.base + self.run_mean, 0.0
            self.ref_size = max(self.ref_size, self.run_dev)
        else:
            self.recent = self.run_mean
        self.size, self.streak, self.anchor = max(self.size, self.run_dev), 0, self.recent
        self._open(self.half)
        return False

    def _gather(
        self,
        recent: float,
        size: float,
        ref_size: float,
        ref_away: float,
        bent_near: float,
        bent_ref: float,
        outside: bool,
    ) -> None:
        if self.known:
            weeks = self.week_seen[((self.half // 48 + 3) % 7) * 24 + (self.half % 48) // 2] // 2
            most = (4.0, 16.0, 4.0, 2.0)[min(weeks, 3)]
            most = (most if outside else max(6.0, most)) * max(ref_size, size)
            if weeks == 0:
                so_far = self.sum / max(self.bin_rows, 1.0)
                self.sum += so_far + _clip(ref_away - so_far, most + 2 * self.swing)
            else:
                self.sum += _clip(ref_away, most)
        else:
            self.sum += recent + _clip(ref_away - recent, 6 * size)
        self.bin_rows, self.bin_out = self.bin_rows + 1, self.bin_out + outside
        if outside and self.streak > 3:
            bent_near, bent_ref = size, ref_size
        self.sum_size += min(abs(bent_near) / self.size, 8.0) if self.size > 0 else 1.0
        self.sum_ref += min(abs(bent_ref) / self.ref_size, 2.5) if self.ref_size > 0 else 1.0

    def _sizes(self, recent: float, size: float, ref_size: float, away: float, ref_away: float) -> None:
        seen = min(abs(away), 4 * size) / self.ratio_now
        self.size += (seen - self.size) / min(self.rows, 256)
        if self.known:
            self.ref_rows += 1
            if self.ref_rows == 1:
                self.ref_size = max(abs(ref_away), size)
            most = max(ref_size, size)
            seen = min(abs(ref_away), 4 * most) / self.ref_ratio_now
            pace = min(max(self.cadence / 300, 0.1), 1.0)
            self.ref_size += (seen - self.ref_size) / min(self.ref_rows + 10, 1024 / pace)
            x, e = _clip(ref_away / most, 4.0), _clip(recent / most, 4.0)
            self.cross += (x * e - self.cross) / 256
            self.power = max(self.power + (e * e - self.power) / 256, 1e-6)


class _Kind:
    """One value of a state."""

    def __init__(self, value: float):
        self.value, self.visits = value, 0
        self.forget()

    def forget(self) -> None:
        self.entries = self.held = self.open = self.now = self.stays = self.mean = self.dev = self.longest = 0.0
        self.share = [0] * 48


class _States:
    """A series under almenara.analysis.states; `owner` is the _Season it belongs to."""

    def __init__(self, owner: _Season):
        self.owner, self.on = owner, False
        self.kinds: list[_Kind] | None = []  # None: too many values

    def look(self, y: float, last: float, rows: int, local: int) -> None:
        """Before a row is judged, and before it is learned."""
        if self.kinds is None:
            if rows % 2048 == 0:
                self.kinds, self.since = [], rows
        elif y != last and rows:
            if self.on:
                full = len(self.kinds) == 8 and not self._find(y) and not self._free()
                if self.brief_share > 0.4 or full:
                    self._leave(local)
            else:
                self._moved(y, last, rows, local)

    since = 0

    def _find(self, y: float) -> _Kind | None:
        return next((k for k in self.kinds if k.value == y), None)

    def _free(self) -> _Kind | None:
        return next((k for k in self.kinds if k.entries < 0.1 and k is not self.kind), None)

    def _moved(self, y: float, last: float, rows: int, local: int) -> None:
        if not self.kinds:
            self.kinds, self.brief, self.begun = [_Kind(last)], 0, self.since
            self.kinds[0].visits = 1
        self.brief += rows - self.begun < 3
        kind = self._find(y)
        if kind is None:
            if len(self.kinds) == 8:
                self.kinds = None
                return
            kind = _Kind(y)
            self.kinds.append(kind)
        kind.visits = min(kind.visits + 1, 250)
        self.begun, seen = rows, rows - self.since
        visits, values = sum(k.visits for k in self.kinds), sorted(k.value for k in self.kinds)
        most = max(abs(values[0]), abs(values[-1]))
        apart = values[-1] - values[0] >= 0.3 * most and min(b - a for a, b in pairwise(values)) >= 0.1 * most
        again = 4 * sum(k.visits == 1 for k in self.kinds) <= visits
        if seen >= 240 and visits >= 4 and apart and again and 4 * self.brief < visits and 10 * visits <= seen:
            self._enter(kind, last, rows, local)

    def _enter(self, kind: _Kind, last: float, rows: int, local: int) -> None:
        self.on, self.hour, self.owner.streak, self.begun = True, local // 3600, 0, rows - 3
        self.entry = self.odd = self.odds = self.judged = self.brief_share = 0.0
        self.turns = self.peak = self.turn_times = self.turn_most = 0.0
        self.turn_mean, self.turn_dev, self.count = 0.9, 0.3, float(rows - self.since)
        self.accepted, self.seen = False, [0] * 48
        for k in self.kinds:
            k.forget()
            k.entries = k.held = float(k.visits)
        kind.entries -= 1
        self.kind = self._find(last)
        self._look_up()

    def _leave(self, local: int) -> None:
        owner, rows = self.owner, sum(k.held for k in self.kinds)
        size = sum(k.held * abs(k.value - self.usual) for k in self.kinds) / max(rows, 1.0)
        kept = {name: getattr(owner, name) for name in ("time", "first", "flat", "last", "rows", "cadence", "moves")}
        decimals = owner.decimals
        owner.__init__(owner.p_limit, owner.accept_s)  # type: ignore[misc]
        owner.__dict__ |= kept | {"decimals": decimals, "level": self.usual, "base": self.usual, "size": size}
        owner.recent = owner.anchor = owner.held = owner.peak = 0.0
        owner.drift, owner.ready = 0.7 * size, True
        owner.begin_tails()
        owner.state.kinds = None
        owner._open(local // 1800)

    def _look_up(self) -> None:
        day, hour = (24 if (self.hour // 24 + 3) % 7 >= 5 else 0), self.hour % 24
        self.sure = self.seen[day + hour] >= 4
        if not self.seen[day + hour]:
            day = 24 - day
        rows = sum(k.held for k in self.kinds)
        for k in self.kinds:
            beside = max(k.share[day + (hour - 1) % 24], k.share[day + (hour + 1) % 24])
            share = max(k.share[day + hour], 0.5 * beside) / 60_000
            k.now = _single(share if self.seen[day + hour] else k.held / max(rows, 1.0))
        self.usual = max(self.kinds, key=lambda k: k.now).value
        usual = [k.value for k in self.kinds if k.now >= 0.03] + [self.usual]
        self.low, self.high = min(usual), max(usual)

    def _commit(self, hour: int) -> None:
        rows = sum(k.open for k in self.kinds)
        if rows:
            at = (24 if (self.hour // 24 + 3) % 7 >= 5 else 0) + self.hour % 24
            rate, fade = max(1 / (self.seen[at] + 1), 0.05), 1 - 1 / 1024
            for k in self.kinds:
                share = k.share[at] / 60_000
                k.share[at] = int((share + rate * (k.open / rows - share)) * 60_000 + 0.5)
                k.held, k.entries, k.open = _single(k.held * fade + k.open), _single(k.entries * fade), 0.0
            self.seen[at] = min(self.seen[at] + 1, 250)
            self.count, self.odds, self.judged = self.count * fade, self.odds * fade, self.judged * fade
            self.turn_times *= fade
        if self.peak < self._turn_limit():
            self._calm()
        self.hour = hour
        self._look_up()

    def _turn_limit(self) -> float:
        return 1.25 * self.turn_most + 2

    def _calm(self) -> None:
        if self.peak > 0:
            peak, rate = min(self.peak, self._turn_limit()), max(1 / (self.turn_times + 4), 0.05)
            x = math.log1p(peak)
            self.turn_dev += rate * (min(abs(x - self.turn_mean), 2.0) - self.turn_dev)
            self.turn_mean += rate * (x - self.turn_mean)
            self.turn_most, self.turn_times = max(self.turn_most * 0.995, peak), self.turn_times + 1
        self.peak = 0.0

    def _often(self, kind: _Kind) -> float:
        return math.log(max(kind.entries - 0.5, 0.1) / (self.count + 1))

    def _new(self, y: float) -> float:
        changes, once = sum(k.entries for k in self.kinds), sum(k.entries < 1.5 for k in self.kinds)
        p = changes / (self.count + 1) * (0.5 * once + 0.1) / (changes + 1)
        values = [k.value for k in self.kinds]
        step = max(min((abs(a - b) for b in values if b != a), default=math.inf) for a in values)
        near = min(abs(y - a) for a in values)
        far = step / near if near > step else 1.0
        return math.log(p * max(far * far, 1e-12))

    def _flapping(self, turns: float, held: float, hour_s: float) -> float:
        if turns < self._turn_limit() or held > 3 * hour_s / turns:
            return 0.0
        far = (math.log1p(turns) - self.turn_mean) / max(self.turn_dev, 0.15)
        return min(math.log((self.turn_times + 1) / (self.count + 1)) + math.log(0.5) - far, 0.0)

    def _staying(self, kind: _Kind, held: float) -> float:
        if kind.stays < 4 or held < 1.25 * kind.longest + 2 * self.owner.cadence:
            return 0.0
        far = (math.log(held) - kind.mean) / (max(kind.dev, 0.1) * (1 + 3 / kind.stays))
        return min(self._often(kind) + math.log(0.5) - far, 0.0)

    def row(self, time: int, y: float, local: int) -> tuple[float, float, float, float, int]:
        owner = self.owner
        if local // 3600 != self.hour:
            self._commit(local // 3600)
        kind, moved, since = self._find(y), y != owner.last, (time - owner.flat) / 1e9
        hour_s, held = max(3600, 12 * owner.cadence), 0.0 if moved else since
        turns = self.turns * math.exp(-since / hour_s) + 1 if moved else self.turns
        entry = (self._often(kind) if kind else self._new(y)) if moved else self.entry
        share = kind.now if kind else 0.0
        odd, stay, flap = 0.0, 0.0, self._flapping(turns, held, hour_s)
        began = moved or self.odd == 0
        if share < 0.03 and self.sure:
            odd = math.log((self.odds + 0.2) / (self.judged + 1)) if began else self.odd
        rare = entry
        if moved or not self.accepted:
            if not moved and share < 0.9:
                stay = self._staying(kind, held)
            if share >= 0.03:
                rare = max(entry, math.log(share))
            least = min(rare, odd, stay, flap)
        else:
            rare, least = max(entry, math.log(max(share, 0.5))), flap
        score = least / math.log(0.5 * owner.p_limit)
        outside = score >= 1
        score = max(min(score, 10.0 if outside else 1 - 2.0**-53), 0.0)
        cause = -1
        if outside:
            cause = 10 if flap == least else 9 if stay == least else 7 if rare == least else 8
        verdict = score, *self._band(y, outside), cause
        if moved:
            kind = self._change(kind, y, since, hour_s, turns, entry, flap)
        if odd < 0 and began and cause != 10:
            self.odds += 1
        self.odd, self.count, self.judged = odd, self.count + 1, self.judged + self.sure
        kind.open += not outside or self.accepted
        owner._rhythm(time, y, 0.0)
        self._accept(time, outside, flap, turns)
        return verdict

    def _band(self, y: float, outside: bool) -> tuple[float, float, float]:
        yhat, lower, upper = self.usual, self.low, self.high
        if not outside:
            return yhat, min(lower, y), max(upper, y)
        if lower <= y <= upper and y >= yhat:
            upper = math.nextafter(y, -math.inf)
            yhat = min(yhat, upper)
            lower = min(lower, yhat)
        elif lower <= y <= upper:
            lower = math.nextafter(y, math.inf)
        return yhat, lower, upper

    def _change(
        self, kind: _Kind | None, y: float, since: float, hour_s: float, turns: float, entry: float, flap: float
    ) -> _Kind:
        if since >= hour_s:
            self._calm()
        self.peak = max(self.peak, turns)
        if flap == 0:
            self._stayed()
            self.brief_share += ((self.owner.rows - self.begun < 3) - self.brief_share) / 64
        if kind is None:
            if len(self.kinds) < 8:
                kind = _Kind(y)
                self.kinds.append(kind)
            else:
                kind = self._free()
                kind.forget()
                kind.value = y
            kind.entries = 1.0
        elif flap == 0:
            kind.entries = _single(kind.entries + 1)
        self.turns, self.entry, self.kind, self.begun, self.accepted = turns, entry, kind, self.owner.rows, False
        return kind

    def _stayed(self) -> None:
        owner, kind = self.owner, self.kind
        stay = max((owner.time - owner.flat) / 1e9 + owner.cadence, 1e-6)
        if kind.stays >= 4 and not self.accepted:
            stay = min(stay, 2 * kind.longest + 8 * owner.cadence)
        x, rate = math.log(stay), max(1 / (kind.stays + 1), 0.05)
        mean, dev = (kind.mean, kind.dev) if kind.stays else (x, 0.5)
        kind.dev = _single(dev + rate * (min(abs(x - mean), 4.0) - dev))
        kind.mean = _single(mean + rate * (x - mean))
        kind.longest, kind.stays = _single(max(kind.longest * 0.995, stay)), kind.stays + 1

    def _accept(self, time: int, outside: bool, flap: float, turns: float) -> None:
        owner = self.owner
        if not outside:
            owner.streak = max(owner.streak - 1, 0)
            return
        if owner.streak == 0:
            owner.run, owner.run_rows = time, 0
        owner.streak, owner.run_rows = min(owner.streak + 1, 32), owner.run_rows + 1
        patience = min(owner.accept_s, max(30 * owner.cadence, 0.25 * (time - owner.first) / 1e9))
        if (time - owner.run) / 1e9 >= patience and owner.run_rows >= 3:
            owner.streak, self.accepted = 0, True
            if flap < 0:
                self.turn_most = max(self.turn_most, turns)


def seasonal(
    times: Sequence[int],
    values: Sequence[float],
    timezone: str,
    p_limit: float,
    accept_after_s: float,
    calendars: Sequence[tuple[Sequence[tuple[int, int]], int, int]] = (),
    first_cause: int = 0,
) -> list[tuple[float, float, float, float, int]]:
    """(score, yhat, lower, upper, cause) of each row of one series, in order of time. calendars: (intervals in UTC
    seconds, kind, seconds of a part) of each that holds for it; first_cause: the first that names one."""
    series, zone, rows = _Season(p_limit, accept_after_s), ZoneInfo(timezone), []
    series.effects, series.first_cause = [_Effect(*one) for one in calendars], first_cause
    for time, y in zip(times, values, strict=True):
        if math.isnan(y):
            rows.append((math.nan, math.nan, math.nan, math.nan, -1))
            continue
        second = time // 10**9
        offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
        assert offset is not None
        rows.append(series.row(time, y, second, second + int(offset.total_seconds())))
    return rows


# --- web and charts


def extremes(time, value, start, end, buckets, keep=None):
    """Rows to draw, one bucket and one row at a time."""
    width = -(-(end - start) // buckets)
    rows = {}
    for i, t in enumerate(time):
        rows.setdefault((t - start) // width, []).append(i)
    chosen = {0, len(time) - 1} if len(time) else set()
    for members in rows.values():
        known = [i for i in members if value[i] == value[i]]
        if known:
            chosen.add(min(known, key=lambda i: value[i]))
            highest = max(value[i] for i in known)
            chosen.add([i for i in known if value[i] == highest][-1])
        missing = [i for i in members if value[i] != value[i]]
        chosen.update(missing[:1])
    chosen.update(i for i in range(len(time)) if keep is not None and keep[i])
    return sorted(chosen)


# --- alarm ------------------------------------------------------------------------------------------------------------


class AlarmTable:
    """The state table of one series' alarm, a row at a time. `told` collects (state, since, time)."""

    def __init__(self, hold: int, keep: int):
        self.hold, self.keep = hold, keep
        self.state, self.since, self.last_true, self.broken_off = "inactive", 0, 0, ""
        self.told: list[tuple[str, int, int]] = []

    def enter(self, state: str, time: int) -> None:
        self.told.append((state, self.since, time))
        self.state = "inactive" if state == "resolved" else state

    def row(self, time: int, true: bool) -> None:
        state, was_firing = self.state, self.broken_off == "firing"
        if true:
            self.last_true = time
        if state == "inactive":
            if true:
                self.since = time
                self.enter("pending" if self.hold else "firing", time)
        elif state == "pending":
            if not true:
                self.enter("inactive", time)
            elif time - self.since >= self.hold:
                self.enter("firing", time)
        elif state == "firing":
            if not true and time - self.last_true >= self.keep:
                self.enter("resolved", time)
        elif not true and not was_firing:
            self.enter("inactive", time)
        elif not true and time - self.last_true >= self.keep:
            self.enter("resolved", time)
        else:
            self.since = time
            self.enter("firing" if was_firing or not self.hold else "pending", time)

    def tick(self, now: int, last: int, said: bool, most: int) -> None:
        """The clock says `now`; the last row was at `last` and said `said`; silence past `most` is no data."""
        if self.state == "firing" and not said and now - self.last_true >= self.keep:
            self.enter("resolved", now)
        elif self.state in ("pending", "firing") and now - last > most:
            self.broken_off = self.state
            self.enter("no-data", now)
        elif self.state == "pending" and now - self.since >= self.hold:
            self.enter("firing", now)


# --- plot


def gap_middles(time: list[int], pixel: int) -> list[int]:
    """`almenara.plot.gaps.gaps`: the middles of times without rows, one distance after the other."""
    steps = [b - a for a, b in pairwise(time)]
    if not steps:
        return []
    usual = sorted(steps)[(len(steps) - 1) // 2]
    found = []
    for i, step in enumerate(steps):
        sides = (steps[max(0, i - 5) : i], steps[i + 1 : i + 6])
        near = [sorted([0] * (5 - len(side)) + side)[3] for side in sides]
        if step > max(3 * max(*near, usual), pixel):
            found.append(time[i] + step // 2)
    return found


# --- codecs: protobuf -------------------------------------------------------------------------------------------------


def remote_write(request: Any) -> tuple[list[tuple[bytes, int, float]], Counter[str]]:
    """Rows (key, time, value) and refused rows by reason of a parsed WriteRequest, one sample after the other."""
    rows: list[tuple[bytes, int, float]] = []
    refused: Counter[str] = Counter()
    for series in request.timeseries:
        names = [label_name(label.name) for label in series.labels if label.name != "__name__"]
        given = [label.value for label in series.labels if label.name == "__name__"]
        wrong = "duplicate_label" if len(set(names)) < len(names) else "" if given and given[-1] else "no_name"
        labels = [(label_name(label.name), label.value) for label in series.labels if label.name != "__name__"]
        refused["exemplar"] += len(series.exemplars)
        refused["native_histogram"] += len(series.histograms)
        for sample in series.samples:
            time = sample.timestamp * 1_000_000
            reason = wrong or ("not_finite" if math.isinf(sample.value) else "")
            reason = reason or ("" if -(1 << 63) <= time < 1 << 63 else "time_out_of_range")
            if reason:
                refused[reason] += 1
            else:
                rows.append((encode_key(metric_name(given[-1]), labels), time, sample.value))
    return rows, +refused


def otlp(request: Any, received: int) -> tuple[list[tuple[bytes, int, float]], Counter[str]]:
    """Rows and refused points by reason of a parsed ExportMetricsServiceRequest whose attributes are texts."""
    rows: list[tuple[bytes, int, float]] = []
    refused: Counter[str] = Counter()
    for resource in request.resource_metrics:
        told = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
        space, service = told.get("service.namespace", ""), told.get("service.name", "")
        above = {"job": f"{space}/{service}" if space and service else service}
        above["instance"] = told.get("service.instance.id", "")
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            kind = metric.WhichOneof("data")
            if kind is None:
                continue
            data = getattr(metric, kind)
            for one in data.data_points:
                if kind in ("sum", "histogram", "exponential_histogram") and data.aggregation_temporality != 2:
                    refused["delta_temporality"] += 1
                    continue
                labels = above | {label_name(pair.key): pair.value.string_value for pair in one.attributes}
                name = metric.name + ("_total" if kind == "sum" and data.is_monotonic else "")
                time = one.time_unix_nano or received
                refused["exemplar"] += len(one.exemplars) if kind != "summary" else 0
                for suffix, more, value in _otlp_values(kind, one, refused) if time < 1 << 63 else ():
                    value = math.nan if one.flags & 1 else value
                    if math.isinf(value):
                        refused["not_finite"] += 1
                    else:
                        rows.append((encode_key(name + suffix, labels | more), time, value))
                refused["time_out_of_range"] += time >= 1 << 63
    return rows, +refused


def _otlp_values(kind: str, one: Any, refused: Counter[str]) -> list[tuple[str, dict[str, str], float]]:
    """(suffix of the name, further labels, value) of each row of a point."""
    if kind in ("gauge", "sum"):
        which = one.WhichOneof("value")
        if which is None and not one.flags & 1:
            refused["no_value"] += 1
            return []
        return [("", {}, float(getattr(one, which)) if which else 0.0)]
    totals = [("_count", {}, float(one.count))]
    if kind == "summary" or one.HasField("sum"):
        totals.append(("_sum", {}, one.sum))
    if kind == "summary":
        return [("", {"quantile": _bound(q.quantile)}, q.value) for q in one.quantile_values] + totals
    if kind == "exponential_histogram":
        refused["exponential_histogram"] += 1
        return totals
    counts, bounds = list(one.bucket_counts), list(one.explicit_bounds)
    if len(counts) != len(bounds) + 1 and (counts or bounds):
        refused["bad_buckets"] += 1
        return []
    found, below = [], 0.0
    for bound, count in zip(bounds, counts, strict=False):
        below += float(count)
        found.append(("_bucket", {"le": _bound(bound)}, below))
    return [*found, ("_bucket", {"le": "+Inf"}, float(one.count)), *totals]


def _bound(value: float) -> str:
    return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value) or (f"{value:.0f}" if value % 1 == 0 else repr(value))


# --- codecs: Graphite plaintext ---------------------------------------------------------------------------------------


def graphite(payload: bytes, received: int) -> tuple[list[tuple[bytes, int, float]], list[tuple[int, str]]]:
    """(path, time, value) of every line, a line at a time; and (line number, reason) of those that cannot be read."""
    rows, rejected = [], []
    for number, line in enumerate(payload.split(b"\n"), 1):
        words = re.split(rb"[ \t]+", line.removesuffix(b"\r").strip(b" \t"))
        if words == [b""]:
            continue
        try:
            rows.append(_graphite_line(words, received))
        except ValueError as error:
            rejected.append((number, str(error)))
    return rows, rejected


def _graphite_line(words: list[bytes], received: int) -> tuple[bytes, int, float]:
    if len(words[0]) > 4096:
        raise ValueError("key_too_long")
    text = words[1].decode("latin-1") if len(words) > 1 else ""
    if re.fullmatch(r"[+-]?(nan|inf|infinity)", text, re.IGNORECASE):
        raise ValueError("not_finite")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) or len(words) > 3:
        raise ValueError("bad_line")
    time = _graphite_time(words[2].decode("latin-1"), received) if len(words) > 2 else received
    if math.isinf(float(text)):
        raise ValueError("not_finite")
    return words[0], time, float(text)


def _graphite_time(text: str, received: int) -> int:
    if text == "N":
        return received
    if re.match(r"-?\d{19}", text, re.ASCII):
        raise ValueError("time_out_of_range")
    found = re.fullmatch(r"(-?)(\d*)(?:\.(\d*))?", text, re.ASCII)
    if found is None or not (found[2] or found[3]):
        raise ValueError("bad_line")
    time = int(found[2] or 0) * 10**9 + int((found[3] or "")[:9].ljust(9, "0"))
    if found[1] and time == 10**9:
        return received
    if found[1] or int(found[2] or 0) > (2**63 - 1) // 10**9 - 1:
        raise ValueError("time_out_of_range")
    return time


# --- pipeline/kinds -------------------------------------------------------------------------------------------------


def rates(rows: Sequence[tuple[int, int, float, bool]], kind: Sequence[int]) -> tuple[list[float], list[int]]:
    """(id, time in ns, value, wanted) as judged: of a counter (kind 1, or 3 and recognised as one) its growth a second
    since the last one; and the rows in which a series was recognised, or was no counter any more."""
    known: dict[int, _Counted] = {}
    found, turned = [], []
    for row, (id, time, value, wanted) in enumerate(rows):
        counted = known.setdefault(id, _Counted(told=kind[id] == 1))
        if kind[id] not in (1, 3) or counted.none:
            found.append(value)
        elif not wanted or math.isnan(value) or (counted.last is not None and time <= counted.last[0]):
            found.append(math.nan if counted.is_counter else value)
        else:
            before = counted.is_counter
            rate = counted.add(time, value)
            found.append(rate if counted.is_counter else value)
            if counted.is_counter != before:
                turned.append(row)
    return found, turned


class _Counted:
    """A series that is a counter, or may be one."""

    def __init__(self, told: bool):
        self.told, self.is_counter, self.none = told, told, False
        self.last: tuple[int, float] | None = None
        self.rows = self.rises = self.resets = 0

    def add(self, time: int, value: float) -> float:
        before, self.last = self.last, (time, value)
        grown = math.nan if before is None else self._grown(before[1], value)
        if not self.told:
            self._look(None if before is None else before[1], value, grown)
        return math.nan if before is None else grown / ((time - before[0]) / 1e9)

    @staticmethod
    def _grown(before: float, now: float) -> float:
        if now >= before:
            return now - before
        likely = [
            now + (end - before)
            for end in (2.0**32, 2.0**64)
            if before < end and now >= 0 and now + (end - before) <= 0.1 * end
        ]
        return likely[0] if likely else math.nan

    def _look(self, before: float | None, now: float, grown: float) -> None:
        self.rows += 1
        fell = before is not None and math.isnan(grown)
        self.rises += grown > 0
        self.resets += fell
        if now < 0 or (fell and (now > 0.25 * before or 64 * self.resets > self.rows)):
            self.is_counter, self.none = False, True
        elif not self.is_counter and self.rows in (256, 2048, 16_384) and 2 * self.rises >= self.rows:
            self.is_counter = True
        elif not self.is_counter and self.rows >= 16_384:
            self.none = True


# --- analysis/runs ---------------------------------------------------------------------------------------------------


def starts(id: Sequence[int]) -> list[int]:
    """The first row of each series."""
    return [k for k, one in enumerate(id) if k == 0 or one != id[k - 1]]


def crossings(id: Sequence[int], score: Sequence[float], over: list[bool], keep_unsaid: bool) -> list[int]:
    """Rows over the limit, and the first back under it; `over` by series moves on."""
    found = []
    before = list(over)  # whether the row before, whatever it was, was over
    for k, (one, said) in enumerate(zip(id, score, strict=True)):
        if said >= 1 or (said < 1 and before[one]):
            found.append(k)
        before[one] = said >= 1
        if not (keep_unsaid and math.isnan(said)):
            over[one] = said >= 1
    return found


# --- analysis/alerts --------------------------------------------------------------------------------------------------


def nth_of_anomaly(id: Sequence[int], score: Sequence[float]) -> list[int]:
    """Of each row over the limit which one of its anomaly it is, by looking back over the judged rows of its series."""
    found = []
    for k, (one, said) in enumerate(zip(id, score, strict=True)):
        if not said >= 1:
            found.append(0)
            continue
        before = [j for j in range(k) if id[j] == one and not math.isnan(score[j])][-7:]
        over = [j for j in before if score[j] >= 1]
        found.append(found[over[-1]] + 1 if over else 1)
    return found


# --- analysis/tuning --------------------------------------------------------------------------------------------------


def tuned_row(y: float, score: float, yhat: float, lower: float, upper: float, cause: int, t: Any, outside: int,
              other: Sequence[int]) -> tuple[float, float, float, float, int]:  # fmt: skip
    """(score, yhat, lower, upper, cause) of one row as options want it; t: a Tuning."""
    low, high = t.data_range
    before = yhat
    if not math.isnan(score):
        below, above = (
            max(a, r / 100 * abs(yhat))
            for a, r in zip(t.min_dev_from_expected, t.min_rel_dev_from_expected, strict=True)
        )
        wrong_side = {"both": False, "above_expected": y <= yhat, "below_expected": y >= yhat}[t.detection_direction]
        if cause not in other and (wrong_side or (y >= yhat and y - yhat < above) or (y <= yhat and yhat - y < below)):
            score = 0.0
        lower, upper = min(lower, yhat - below), max(upper, yhat + above)
        yhat, lower, upper = (min(max(one, low), high) for one in (yhat, lower, upper))
    if y < low or y > high:
        cause = outside
        score = (
            t.anomaly_score_outside_data_range if math.isnan(score) else max(score, t.anomaly_score_outside_data_range)
        )
        if math.isnan(yhat):
            lower, upper = (low if math.isfinite(low) else math.nan), (high if math.isfinite(high) else math.nan)
    for rule in t.rules:
        numbers = {"actual": y, "typical": before, "diff_from_typical": abs(y - before)}
        tests = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}
        holds = all(tests[c.op](numbers[c.applies_to], c.number) for c in rule.conditions)
        if holds and "skip_result" in rule.actions and not math.isnan(score):
            score = 0.0
    if score < 1:
        cause = -1
        lower, upper = min(lower, y), max(upper, y)
    elif score >= 1 and lower <= y <= upper:
        if y >= yhat:
            upper = math.nextafter(y, -math.inf)
            yhat = min(yhat, upper)
            lower = min(lower, yhat)
        else:
            lower = math.nextafter(y, math.inf)
    return score, yhat, lower, upper, cause


# --- alarm/pace -------------------------------------------------------------------------------------------------------


def pace(rows: Sequence[tuple[int, float]], fresh_from: int) -> tuple[int, int, float, float, list[bool]]:
    """(last, first, gap, far, which rows count) of one series from its rows (time, value)."""
    last = first = 0
    gap = far = 0.0
    live = []
    for t, value in rows:
        counts = t >= fresh_from and t > last and not math.isnan(value)
        live.append(counts)
        if not counts:
            continue
        seen = float(t - last)
        if last <= 0:
            first = t
        elif gap == 0:
            gap = far = seen
        else:
            far = max(seen, far - (far - gap) / 512) if seen <= 3 * max(far, gap) else far * 1.25
            gap = gap + (min(seen, 4 * gap) - gap) / 8
        last = t
    return last, first, gap, far, live


# --- detectors: change ------------------------------------------------------------------------------------------------


class _Channel:
    """The means of hours, or the logarithms of their steps from row to row, of one series."""

    def __init__(self) -> None:
        self.level = self.prev = self.size = self.cross = self.power = 0.0
        self.learned = 0
        self.profile = [0.0] * 168
        self.ring = [0.0] * 8
        self.forget()

    def forget(self) -> None:
        self.sums = [[0.0] * 3, [0.0] * 3]
        self.firm = [0, 0]


class Change:
    """The detector `change` of one series, an hour of rows in a list at a time. `told`: (cause, from, to, hour)."""

    def __init__(self, p_limit: float, accept_after_s: float):
        self.need, self.accept = -math.log(p_limit), accept_after_s * 1e9
        self.channels = (_Channel(), _Channel())
        self.rows: list[float] = []
        self.steps: list[float] = []
        self.seen = [0] * 168
        self.hour = self.closed = self.until = self.hours = self.held = self.line = 0
        self.step = self.slope = self.score = self.often = self.last = 0.0
        self.told: list[tuple[float, float, float, float]] = []

    def row(self, time: int, y: float, local: int) -> tuple[float, float, float, float, int]:
        """(score, yhat, lower, upper, cause), NaN and -1 where nothing is said."""
        hour, changed = local // 3600, False
        if self.rows and hour != self.hour:
            changed = self.close(time)
            self.rows, self.steps = [], []
        if not self.rows:
            self.hour = hour
            if self.hours == 0:
                self.closed, self.last = hour, y
        said = (math.nan, math.nan, math.nan, math.nan, -1)
        if self.hours >= 24:
            said = self.say(y, self.channels[0].level + self.channels[0].profile[(hour + 72) % 168], changed)
        if changed:
            self.score = 0.0
        self.rows.append(y)
        self.steps.append(abs(y - self.last))
        self.last = y
        return said

    def say(self, y: float, yhat: float, changed: bool) -> tuple[float, float, float, float, int]:
        half = 4 * max(self.step, 1e-9 * abs(yhat))
        lower, upper, cause = min(yhat - half, y), max(yhat + half, y), -1
        if changed:
            cause = int(self.told[-1][0])
            if y >= yhat:
                upper = math.nextafter(y, -math.inf)
                yhat = min(yhat, upper)
            else:
                lower = math.nextafter(y, math.inf)
        return self.score, yhat, min(lower, yhat), max(upper, yhat), cause

    def close(self, time: int) -> bool:
        h = (self.hour + 72) % 168
        away = self.hour - self.closed
        if self.hours and away > 24:
            self.until, self.held, self.line = int(time + self.accept), 0, 0
            for one in self.channels:
                one.forget()
        if self.hours:
            self.channels[0].level += self.slope * min(away, 24)
        found = [(0.0, -1, 0)]
        steps = self.channels[1]
        self.rough = 1.0
        if steps.learned >= 24 and self.seen[h] > 0 and self.step > 0:
            self.rough = min(max(math.exp(min(steps.level + steps.profile[h], 300.0)) / self.step, 0.5), 4.0)
        for c, one in enumerate(self.channels):
            if c == 0:
                x = self.rows[0] + sum(y - self.rows[0] for y in self.rows) / len(self.rows)
            elif len(self.rows) <= 8:
                continue
            else:
                x = math.log(max(sum(self.steps) / len(self.rows), 1e-3 * self.step, 1e-200))
            found.append(self.look(c, one, x, h, time))
        best, c, g = found[0]
        for other in found[1:]:
            if other[0] > best:
                best, c, g = other
        self.score = min(max(0.0, best - math.log(12)) / (self.need * (1 + self.often)), 100.0)
        self.often *= 1 - 1 / 672
        changed = self.score >= 1 and c >= 0 and self.report(c, g, h)
        if changed:
            self.until = int(time + self.accept)
        elif self.score >= 1:
            self.score = 1 - 2**-20
        self.step += (sum(self.steps) / len(self.rows) - self.step) / min(self.hours + 1, 168)
        self.seen[h] = min(self.seen[h] + 1, 255)
        self.closed, self.hours, self.held = self.hour, self.hours + 1, min(self.held + 1, 1_000_000)
        return changed

    def look(self, c: int, one: _Channel, x: float, h: int, time: int) -> tuple[float, int, int]:
        """(highest sum, the channel if it may be reported, side) of one hour, which is then learned."""
        if one.learned == 0 and self.seen[h] == 0 and one.level == 0 and one.prev == 0:
            one.level = x
        r = x - one.level - one.profile[h]
        e = r - (_clip(one.cross / one.power, 0.98) if one.power > 0 else 0.0) * one.prev
        least = 0.25 * self.step if c == 0 else 0.25
        unit = self.rough if c == 0 else 1.0
        size = unit * max(1.2533 * one.size * math.sqrt(1 + 1 / max(1, self.seen[h])), least, 1e-9 * abs(x))
        one.ring[self.hours % 8] = r
        best, reported, side = 0.0, -1, 0
        if self.seen[h] > 0 and one.learned >= 24 and time >= self.until and size > 0:
            for g in range(2):
                z = _clip(e / size, 4.0) * (1 - 2 * g)
                sizes = zip(one.sums[g], (0.5, 1.0, 2.0), strict=True)
                one.sums[g] = [max(0.0, s + d * z - d * d / 2) for s, d in sizes]
                one.firm[g] = one.firm[g] + 1 if z > 0.5 else 0
                if max(one.sums[g]) > best:
                    best = max(one.sums[g])
                    reported, side = (c, g) if one.firm[g] >= 5 else (-1, 0)
        self.learn(c, one, h, r, e / unit, size, best < math.log(12))
        return best, reported, side

    def learn(self, c: int, one: _Channel, h: int, r: float, e: float, size: float, calm: bool) -> None:
        known = self.seen[h] > 0
        kept = _clip(r, 6 * size) if known and size > 0 else r
        rate = max(1 / 48, 1 / (self.held + 1)) if known else 0.0
        if known and c == 0 and self.line > 0:
            t = self.line + 1
            rate = max(1 / 48, 2 * (2 * t - 1) / (t * (t + 1)))
            self.slope += max(1 / 4608, 6 / (t * (t + 1))) * kept
            self.line += 1
        elif known and c == 0 and self.held >= 168:
            self.slope += kept / 4608
        one.level += rate * kept
        if not known or self.held >= 24:
            one.profile[h] = _single(one.profile[h] + max(1 / (self.seen[h] + 1), 1 / 6) * (kept - rate * kept))
        if known and calm:
            one.learned += 1
            rate = 1 / min(one.learned, 168)
            most = 4 * one.size if one.learned > 24 else abs(e)
            one.size += rate * (min(abs(e), most) - one.size)
            one.cross += rate * (kept * one.prev - one.cross)
            one.power += rate * (kept * kept - one.power)
        one.prev = kept

    def report(self, c: int, g: int, h: int) -> bool:
        one = self.channels[c]
        m = min(one.firm[g] - 1, 8)
        last = [one.ring[(self.hours - m + 1 + k) % 8] for k in range(m)]
        mean = sum(last) / m
        line = sum((k - (m - 1) / 2) ** 2 for k in range(m))
        slope = sum((k - (m - 1) / 2) * (r - mean) for k, r in enumerate(last)) / line
        rises = c == 0 and slope * m / mean > 0.2
        if rises and m < 8:
            return False
        if rises and slope * slope * line > 0.5 * sum((r - mean) ** 2 for r in last):
            ahead = mean + slope * (m - 1) / 2
            self.told.append((4 + g, 24 * self.slope, 24 * (self.slope + slope), self.hour - math.floor(ahead / slope)))
            self.slope, one.level, self.line = self.slope + slope, one.level + ahead, m
        else:
            before = one.level + one.profile[h]
            after = before + mean
            if c == 1:
                before, after = math.exp(before), math.exp(after)
                self.channels[0].size *= after / before
                self.step *= after / before
            self.told.append((2 * c + g, before, after, self.hour - one.firm[g] + 1))
            one.level += mean
        self.held, self.often = m, self.often + 1
        for other in self.channels:
            other.prev = 0.0
            other.forget()
        return True


def change(times: list[int], values: list[float], zone: str, p_limit: float, accept_after_s: float) -> Any:
    """((score, yhat, lower, upper, cause) of each row of one series, what was told)."""
    series, said = Change(p_limit, accept_after_s), []
    moments = [datetime.fromtimestamp(time // 10**9, UTC).astimezone(ZoneInfo(zone)) for time in times]
    local = [time // 10**9 + round(at.utcoffset().total_seconds()) for time, at in zip(times, moments, strict=True)]
    for time, y, at in zip(times, values, local, strict=True):
        if math.isnan(y):
            said.append((math.nan, math.nan, math.nan, math.nan, -1))
        else:
            said.append(series.row(time, min(max(y, -1e150), 1e150), at))
    return said, series.told


# --- which series move together, and which anomalies begin together ---------------------------------------------------


def centred_ranks(values: list[float]) -> list[float]:
    """Ranks of what is not NaN, around 0, variance 1; equal values have the mean of theirs; 0 where there is none."""
    there = [x for x in values if not math.isnan(x)]
    ranks = [
        0.0
        if math.isnan(x)
        else sum(y < x for y in there) + (sum(y == x for y in there) - 1) / 2 - (len(there) - 1) / 2
        for x in values
    ]
    size = math.sqrt(sum(r * r for r in ranks) / max(1, len(there)))
    return [r / size if size else 0.0 for r in ranks]


def correlation_at(x: list[float], y: list[float], lag: int) -> tuple[int, float]:
    """(how many moments both have, the rank correlation) of x with what y was `lag` steps later."""
    a, b = centred_ranks(x), centred_ranks(y)
    both = [(a[s], b[s + lag]) for s in range(len(x)) if 0 <= s + lag < len(y) and not math.isnan(x[s] + y[s + lag])]
    size = math.sqrt(sum(u * u for u, _ in both) * sum(v * v for _, v in both))
    return len(both), sum(u * v for u, v in both) / size if size > 1e-6 else 0.0


def begun_together(a: list[int], b: list[int], span: float, tolerance: int, episode: int) -> tuple[int, int, float]:
    """(how often, of how many, the chance of so many or more) anomalies of two series began together."""

    def episodes(times: list[int]) -> list[int]:
        times = sorted(times)
        return [t for k, t in enumerate(times) if k == 0 or t - times[k - 1] > episode]

    few, many = sorted((episodes(a), episodes(b)), key=len)
    left, k = list(many), 0
    for t in few:
        met = [u for u in left if abs(t - u) <= tolerance]
        if met:
            left = [u for u in left if u > met[0]]
            k += 1
    q = 1 - math.exp(-len(many) * (2 * tolerance + 1) / span)
    n = len(few)
    p = sum(math.comb(n, e) * q**e * (1 - q) ** (n - e) for e in range(k, n + 1)) if k else 1.0
    return k, n, p
