"""What StatsD lines add up to between two flushes: counters, gauges, timers and sets, with the tags of DogStatsD.

Formats: https://github.com/statsd/statsd/blob/master/docs/metric_types.md and
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from almenara.model.series import MAX_KEY_BYTES, encode_key, label_name, metric_name

#: Samples of all timers, for percentiles, and members of all sets that are kept between two flushes; a long member
#: counts for several.
MOST_KEPT = 2_000_000
_MEMBER_BYTES = 64
#: Bytes of all events that are kept between two flushes, of a line that is known again, and of rows in one payload.
_MOST_EVENT_BYTES, _MOST_KNOWN_BYTES, _BLOCK_BYTES = 8 << 20, 1024, 4 << 20

_EVENT = re.compile(r"_e\{(\d{1,6}),(\d{1,6})\}:")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_EVENT_SEVERITY = {"error": 3, "warning": 4, "success": 5, "info": 6}
_STATES = {"0", "1", "2", "3"}

#: A flushed value: (name, labels as text, kind, value, whether it stood at 0 when the interval began).
Row = tuple[str, str, str, float, bool]


class Bad(ValueError):
    """A line that is left out; args: reason."""


class Count:
    """A counter: goes up by value / rate, never starts afresh."""

    def __init__(self, room: list[int]) -> None:
        self.total, self.is_new = 0.0, True

    def take(self, text: bytes, rate: float) -> None:
        """Add."""
        self.total = _finite(self.total + _number(text) / rate)

    def flush(self, name: str, labels: str, percentiles: Sequence[float]) -> Iterator[Row]:
        """What was counted since the beginning."""
        yield f"{name}_total", labels, "counter", self.total, self.is_new
        self.is_new = False


class Gauge:
    """The last value; a sign in front makes it a change."""

    def __init__(self, room: list[int]) -> None:
        self.value, self.is_told = 0.0, True

    def take(self, text: bytes, rate: float) -> None:
        """Set or change."""
        number = _number(text)
        self.value = _finite(self.value + number) if text[:1] in (b"+", b"-") else number
        self.is_told = False

    def flush(self, name: str, labels: str, percentiles: Sequence[float]) -> Iterator[Row]:
        """The value, where one came."""
        if not self.is_told:
            yield name, labels, "gauge", self.value, False
        self.is_told = True


class Timer:
    """Timers, histograms and distributions: how many, their sum, and what they were between two flushes.

    Percentiles are those of the samples for which there was room; all else is exact."""

    def __init__(self, room: list[int]) -> None:
        self.room = room
        self.count, self.sum, self.is_new = 0.0, 0.0, True
        self.samples = array("d")
        self.low, self.high = math.inf, -math.inf
        self.here, self.here_sum = 0.0, 0.0

    def take(self, text: bytes, rate: float) -> None:
        """One or more (`1:2:3`) values."""
        for one in text.split(b":"):
            number = _number(one)
            self.here_sum = _finite(self.here_sum + number / rate)
            self.here += 1 / rate
            self.low, self.high = min(self.low, number), max(self.high, number)
            if self.room[0] > 0:
                self.room[0] -= 1
                self.samples.append(number)

    def flush(self, name: str, labels: str, percentiles: Sequence[float]) -> Iterator[Row]:
        """Count and sum since the beginning; the rest of this interval, where anything came."""
        self.count += self.here
        self.sum = self.sum + self.here_sum if math.isfinite(self.sum + self.here_sum) else self.here_sum
        yield f"{name}_count", labels, "counter", self.count, self.is_new
        yield f"{name}_sum", labels, "gauge" if self.low < 0 else "counter", self.sum, self.is_new
        self.room[0] += len(self.samples)
        if self.here:
            yield f"{name}_min", labels, "gauge", self.low, False
            yield f"{name}_max", labels, "gauge", self.high, False
            yield f"{name}_mean", labels, "gauge", self.here_sum / self.here, False
            ordered = sorted(self.samples)
            for percent in percentiles if ordered else ():
                rank = max(1, math.ceil(percent / 100 * len(ordered)))  # nearest rank, as StatsD's upper_90
                yield f"{name}_p{percent:g}".replace(".", "_"), labels, "gauge", ordered[rank - 1], False
        del self.samples[:]
        self.low, self.high, self.here, self.here_sum, self.is_new = math.inf, -math.inf, 0.0, 0.0, False


class Members:
    """A set: how many different members were named between two flushes."""

    def __init__(self, room: list[int]) -> None:
        self.members: set[bytes] = set()
        self.room, self.taken = room, 0

    def take(self, text: bytes, rate: float) -> None:
        """Name a member."""
        if len(text) > 1024:
            raise Bad("bad_value")
        if text not in self.members:
            if self.room[0] <= 0:
                raise Bad("too_many_members")
            cost = 1 + len(text) // _MEMBER_BYTES
            self.room[0] -= cost
            self.taken += cost
            self.members.add(text)

    def flush(self, name: str, labels: str, percentiles: Sequence[float]) -> Iterator[Row]:
        """Their number."""
        self.room[0] += self.taken
        if self.members:
            yield f"{name}_unique", labels, "gauge", float(len(self.members)), False
        self.members, self.taken = set(), 0


_TYPES: dict[str, Any] = {"c": Count, "g": Gauge, "ms": Timer, "h": Timer, "d": Timer, "s": Members}


class Aggregate:
    """All names of one StatsD port. What is left out is counted in `dropped`."""

    def __init__(self, dropped: Counter[str], max_names: int, forget_after: int, percentiles: Sequence[float]) -> None:
        self._dropped, self._max_names, self._forget_after = dropped, max_names, forget_after
        self._percentiles = percentiles
        self._by_line: dict[tuple[bytes, bytes], tuple[Any, float, list[int]]] = {}  # (name, type and tags) as sent
        self._metrics: dict[tuple[str, str, type], tuple[Any, list[int]]] = {}
        self._room = [MOST_KEPT]
        self._checks: dict[tuple[str, str], int] = {}
        self.events: list[bytes] = []  # as syslog messages, since the last flush
        self._event_bytes = 0

    def take(self, datagram: bytes) -> None:
        """Every line of a datagram."""
        for line in datagram.split(b"\n"):
            if not line or line == b"\r":
                continue
            try:
                self._take(line)
            except Bad as bad:
                self._dropped[bad.args[0]] += 1

    def _take(self, line: bytes) -> None:
        name, colon, rest = line.partition(b":")
        value, bar, about = rest.partition(b"|")
        known = self._by_line.get((name, about))
        if known is None:
            if line.startswith((b"_e{", b"_sc|")):
                self._take_other(line.decode(errors="replace").strip())
                return
            if not colon or not bar:
                raise Bad("bad_line")
            known = self._learn(name, about)
        metric, rate, idle = known
        metric.take(value, rate)
        idle[0] = 0

    def _learn(self, name: bytes, about: bytes) -> tuple[Any, float, list[int]]:
        """The metric of a name with its type, rate and tags."""
        try:
            plain_name, (kind, *fields) = name.decode().strip(), about.decode().strip().split("|")
        except UnicodeDecodeError:
            raise Bad("not_utf8") from None
        if kind not in _TYPES or not plain_name:
            raise Bad("bad_line")
        rate, tags = 1.0, ""
        for one in fields:
            if one[:1] == "@":
                rate = _rate(one[1:])
            elif one[:1] == "#":
                tags = one[1:]
        key = metric_name(plain_name), labels_text(tags), _TYPES[kind]
        if key not in self._metrics:
            if len(self._metrics) >= self._max_names:
                raise Bad("too_many_names")
            check_size(key[0], key[1])
            self._metrics[key] = (_TYPES[kind](self._room), [0])
        metric, idle = self._metrics[key]
        found = metric, rate, idle
        if len(self._by_line) < 4 * self._max_names and len(name) + len(about) <= _MOST_KNOWN_BYTES:
            self._by_line[name, about] = found
        return found

    def flush(self, now_ns: int, began_ns: int) -> Iterator[bytes]:
        """What came since the last flush as Prometheus text, in blocks. A new counter stands at 0 when the interval
        began."""
        now_ms, began_ms = now_ns // 1_000_000, began_ns // 1_000_000
        block = _Block()
        for key, known in list(self._metrics.items()):
            metric, idle = known
            for name, labels, kind, value, is_new in metric.flush(key[0], key[1], self._percentiles):
                block.add(
                    name,
                    kind,
                    (f"{name}{labels} 0 {began_ms}\n" if is_new else "") + f"{name}{labels} {value!r} {now_ms}\n",
                )
            idle[0] += 1
            if idle[0] > self._forget_after and self._metrics.get(key) is known:
                del self._metrics[key]
                self._by_line.clear()
            if block.size > _BLOCK_BYTES:
                yield block.text()
                block = _Block()
        checks, self._checks = self._checks, {}
        for (name, labels), state in checks.items():
            block.add(f"{name}_status", "gauge", f"{name}_status{labels} {state} {now_ms}\n")
            if block.size > _BLOCK_BYTES:
                yield block.text()
                block = _Block()
        if block.size:
            yield block.text()

    def take_events(self) -> bytes:
        """Events since the last time, as syslog messages with their lengths in front."""
        events, self.events, self._event_bytes = self.events, [], 0
        return b"".join(b"%d %b" % (len(one), one) for one in events)

    def _take_other(self, line: str) -> None:
        """An event or a service check of DogStatsD."""
        if line.startswith("_sc|"):
            _, name, state, *fields = line.split("|") if line.count("|") >= 2 else ("", "", "")
            if not name or state not in _STATES or len(self._checks) >= self._max_names:
                raise Bad("bad_line" if name == "" or state not in _STATES else "too_many_names")
            tags = next((one[1:] for one in fields if one[:1] == "#"), "")
            host = next((f"host:{one[2:]}" for one in fields if one[:2] == "h:"), "")
            key = metric_name(name), labels_text(",".join(filter(None, (tags, host))))
            check_size(*key)
            self._checks[key] = int(state)
            return
        if len(self.events) >= 10_000 or self._event_bytes >= _MOST_EVENT_BYTES:
            raise Bad("too_many_events")
        self.events.append(event_message(line))
        self._event_bytes += len(self.events[-1])


class _Block:
    """Rows of one payload while it grows, and the kinds of their names."""

    def __init__(self) -> None:
        self.size = 0
        self._kinds: dict[str, str] = {}
        self._lines: list[str] = []

    def add(self, name: str, kind: str, lines: str) -> None:
        """Add lines of a name."""
        self._kinds.setdefault(name, kind)
        self._lines.append(lines)
        self.size += len(lines)

    def text(self) -> bytes:
        """The payload."""
        head = "".join(f"# TYPE {name} {kind}\n" for name, kind in self._kinds.items())
        return (head + "".join(self._lines)).encode()


def event_message(line: str) -> bytes:
    """An event of DogStatsD, `_e{5,4}:title|text|...`, as a syslog message of RFC 5424. Raises Bad."""
    found = _EVENT.match(line)
    sizes = [int(size) for size in found.groups()] if found else []
    raw = line[found.end() :].encode() if found else b""
    if not found or len(raw) < sum(sizes) + 1 or raw[sizes[0] : sizes[0] + 1] != b"|":
        raise Bad("bad_line")
    title = raw[: sizes[0]].decode(errors="replace")
    text = raw[sizes[0] + 1 : sum(sizes) + 1].decode(errors="replace").replace("\\n", "\n")
    fields = raw[sum(sizes) + 1 :].decode(errors="replace").split("|")[1:]
    said = {one[:2]: one[2:] for one in fields if one[1:2] == ":"}
    tags = next((one[1:] for one in fields if one[:1] == "#"), "")
    when = said.get("d:", "")
    moment = datetime.fromtimestamp(int(when), UTC).isoformat() if re.fullmatch(r"\d{1,10}", when) else "-"
    host = re.sub(r"\s", "_", said.get("h:", "")) or "-"
    pairs = {"title": title} | dict(_pairs(tags))
    pairs |= {"source_type": said["s:"]} if "s:" in said else {}
    data = "".join(f' {label}="{_written(value)}"' for label, value in pairs.items())
    priority = 8 + _EVENT_SEVERITY.get(said.get("t:", "info"), 6)
    return f"<{priority}>1 {moment} {host} dogstatsd - - [dogstatsd@32473{data}] {text}".encode()


def _written(value: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", value)


def _pairs(tags: str) -> Iterator[tuple[str, str]]:
    """(label, value) of `a:b,c`; a tag without a value is the label with the value `true`."""
    for tag in filter(None, tags.split(",")):
        label, colon, value = tag.partition(":")
        yield label_name(label), value if colon else "true"


def labels_text(tags: str) -> str:
    """Tags as Prometheus text writes labels."""
    pairs = sorted(dict(_pairs(tags)).items())
    inside = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in pairs if value)
    return f"{{{inside}}}" if inside else ""


def check_size(name: str, labels: str) -> None:
    """Raises Bad where a series would be too long for every reader."""
    if len(encode_key(name)) + len(labels.encode()) > MAX_KEY_BYTES - 64:
        raise Bad("key_too_long")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise Bad("bad_line") from None
    if not 1e-6 <= rate <= 1:
        raise Bad("bad_line")
    return rate


def _number(text: bytes) -> float:
    try:
        number = float(text)
    except ValueError:
        raise Bad("bad_value") from None
    if not math.isfinite(number):
        raise Bad("bad_value")
    return number


def _finite(number: float) -> float:
    """A sum that is still a number; else the line is left out, and the sum stays as it was. Raises Bad."""
    if not math.isfinite(number):
        raise Bad("bad_value")
    return number
