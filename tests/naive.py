"""Slow, obvious twins of the compiled kernels: what the tests compare them with. One section a room."""

from __future__ import annotations

import math
import re
from collections import Counter

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
