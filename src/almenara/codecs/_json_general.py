"""JSON messages to rows by the plain way, one Python object after the other: what the compiled reader must equal."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from almenara.codecs._json_columns import columns_of
from almenara.codecs._json_records import Inexact, Record, Refusals, Rules
from almenara.codecs._json_text import load, load_any
from almenara.model.batch import Batch, Decoded, Event
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, SeriesTable, encode_key, label_name, metric_name
from almenara.model.time import ns_from_datetime, parse_time
from almenara.plugin.contracts import Context

UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_LOCAL = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
#: What may stand in braces in the name of a series.
FIELD = re.compile(r"\{(topic|key|level\[(-?\d+)\])\}")

#: What is remembered before everything is forgotten: records, and characters of their labels.
MAX_RECORDS = 100_000
MAX_CHARACTERS = 32 << 20


@dataclass(frozen=True, slots=True)
class Naming:
    """How series are named. unit: of numeric times, `auto` by their size; zone: of texts without an offset, None UTC.
    strip: what is left off where a joined name begins with it."""

    topic_label: str
    name: str
    unit: str
    zone: tzinfo | None = None
    strip: tuple[str, ...] = ()

    def short(self, path: str) -> str:
        """A joined name without what is left off."""
        for prefix in self.strip:
            if path.startswith(prefix) and len(path) > len(prefix):
                return path[len(prefix) :]
        return path


class Rows:
    """The columns of a batch while they grow, and events."""

    def __init__(self, table: SeriesTable):
        self.table, self.id, self.time, self.value = table, array("i"), array("q"), array("d")
        self.events: list[Event] = []

    def extend(self, ids: Sequence[int], time: int, values: Sequence[float]) -> None:
        """Add a row a value, all at one time."""
        for id, value in zip(ids, values, strict=True):
            self.id.append(id)
            self.time.append(time)
            self.value.append(value)

    def batch(self) -> Batch:
        """What there is."""
        return Batch(self.table, self.id, self.time, self.value)


class General:
    """Reads any JSON message; one growing table of series for all of them, until `forget`."""

    def __init__(self, rules: Rules, naming: Naming):
        self.rules, self.naming = rules, naming
        self.forget()

    def forget(self) -> None:
        """Begin with an empty table."""
        self.table = SeriesTable()
        self._ids: dict[tuple[Any, ...], tuple[int, ...]] = {}  # labels and keys -> series
        self._shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}  # the same of objects that hold no other, as sent
        self._characters = 0

    @property
    def full(self) -> bool:
        """Whether it remembers too much."""
        return max(len(self._ids), len(self._shapes)) > MAX_RECORDS or self._characters > MAX_CHARACTERS

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all records; DecodeError where the payload is no JSON, or a text alone."""
        try:
            return self._decode(payload, context, exact=False)
        except Inexact:
            return self._decode(payload, context, exact=True)

    def one(self, text: bytes, where: str, context: Context, rows: Rows, refusals: Refusals) -> tuple[Any, list[int]]:
        """Add what one object of a payload holds: (the object, the ids of its rows, [] unless it is a plain record).

        Raises ValueError where the text is no object, and Inexact."""
        document = load(text)
        if type(document) is not dict:
            raise ValueError("found no object")
        self.rules.exact = False
        return document, self._object(document, where, context, rows, refusals)

    def _decode(self, payload: bytes, context: Context, exact: bool) -> Decoded:
        documents, bad = self._documents(payload, context.topic, exact)
        self.rules.exact = exact
        refusals, rows = Refusals(), Rows(self.table)
        for where, detail in bad:
            refusals.add("bad_json", where, detail)
        for where, document in documents:
            if type(document) is list:
                for index, one in enumerate(document):
                    at = f"{where}, item {index}" if where else f"item {index}"
                    if type(one) is dict:
                        self._object(one, at, context, rows, refusals)
                    else:
                        refusals.add("list", at, "expected a list of objects")
            elif type(document) is dict:
                self._object(document, where, context, rows, refusals)
            else:
                self._bare(document, context, rows, refusals)
        return Decoded(rows.batch(), rows.events, refusals.listed())

    def _documents(
        self, payload: bytes, topic: str, exact: bool
    ) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        """The JSON documents of a payload and the lines that are none; a word such as ON counts as its number."""
        word = payload.strip().decode(errors="replace").strip('"') if len(payload) < 20 else ""
        if word not in ("true", "false") and (number := self.rules.word(word)) is not None:
            return [("", number)], []
        try:
            documents, bad = load_any(payload, exact)
        except ValueError as error:
            problem = f"found {payload[:24]!r}, expected JSON ({str(error)[:60]})"
            raise DecodeError(f"{topic or 'payload'}: {problem}; send a number, or an object of numbers") from error
        if documents and type(documents[0][1]) is str:
            problem = f"found the text {documents[0][1][:24]!r}, expected a number or an object"
            raise DecodeError(f"{topic or 'payload'}: {problem}; send numbers without quotes")
        return documents, bad

    def _object(
        self, document: dict[str, Any], where: str, context: Context, rows: Rows, refusals: Refusals
    ) -> list[int]:
        """Add the rows of an object; their ids where it is one plain record of which nothing was refused, else []."""
        flat = self.rules.flat(document, context.topic)
        ids = self._shapes.get(flat.shape) if flat is not None else None
        if flat is not None and ids is not None:
            try:
                time = context.received_ns if flat.time is None else self._time(flat.time)
            except ValueError as error:
                refusals.add("bad_time", where, str(error), len(ids))
                return []
            rows.extend(ids, time, flat.values)
            return list(ids)
        metric = document.get("metric")
        if type(metric) is dict and "__name__" in metric:
            return self._row(metric, document, where, context, rows, refusals)
        if (found := columns_of(document, self.rules, refusals, where)) is not None:
            self._columns(found, where, context, rows, refusals)
            return []
        before, first = refusals.total, len(rows.id)
        records = list(self.rules.records(document, where, refusals))
        for record in records:
            self._record(record, where, context, rows, refusals)
        if len(records) != 1 or refusals.total != before or records[0].events or records[0].lists:
            return []
        if flat is not None:
            self._shapes[flat.shape] = ids = tuple(rows.id[first:])
            self._characters += sum(len(text) for text in flat.shape if text) + 100
        return list(rows.id[first:])

    def _bare(self, value: Any, context: Context, rows: Rows, refusals: Refusals) -> None:
        """A number or boolean without a key."""
        outer, _, name = context.topic.rstrip("/").rpartition("/")
        if name == "state":  # as ESPHome has it: room/sensor/temperature/state
            name = outer.rpartition("/")[2] or name
        name = name or "value"
        for record in Rules({}, {}).records({name: value}, "", refusals):
            self._record(record, "", context, rows, refusals)

    def _columns(
        self, found: tuple[Record, list[Any], list[Any]], where: str, context: Context, rows: Rows, refusals: Refusals
    ) -> None:
        """Rows of lists that stand beside a list of times; None in a list is a missing value, left out by name."""
        record, times, columns = found
        try:
            at = self._times(times)
        except ValueError as error:
            refusals.add("bad_time", where, str(error), len(times) * len(columns))
            return
        for id, values in zip(self._intern(record, where, context.topic, refusals), columns, strict=True):
            if id < 0:
                continue
            kept = [k for k, value in enumerate(values) if value is not None] if None in values else None
            column = array("d", values if kept is None else [values[k] for k in kept])
            rows.value.extend(column)
            rows.time.extend(at if kept is None else array("q", [at[k] for k in kept]))
            rows.id.extend(array("i", [id]) * len(column))

    def _times(self, times: list[Any]) -> array[int]:
        """Times of a list in ns. Raises ValueError."""
        if set(map(type, times)) == {int}:
            first, last = self._time(min(times)), self._time(max(times))
            factor = round(first / min(times)) if min(times) > 0 else 0
            if factor and first == min(times) * factor and last == max(times) * factor:  # one unit for all
                return array("q", [time * factor for time in times] if factor > 1 else times)
        return array("q", map(self._time, times))

    def _record(self, record: Record, where: str, context: Context, rows: Rows, refusals: Refusals) -> None:
        try:
            time = context.received_ns if record.time is None else self._time(record.time)
        except ValueError as error:
            refusals.add("bad_time", where, str(error), len(record.values) + len(record.events))
            return
        known = (context.topic, *record.labels.items(), *(key for key, _ in record.values), *record.states.items())
        ids = self._ids.get(known)
        if ids is None:
            ids = self._intern(record, where, context.topic, refusals)
            if min(ids, default=0) >= 0:
                self._ids[known] = ids
                self._characters += sum(len(self.table.keys[id]) for id in ids) + 100
        good = [at for at, id in enumerate(ids) if id >= 0]
        rows.extend([ids[at] for at in good], time, [record.values[at][1] for at in good])
        for key, text in record.events:
            labels = {**self._labels(record, context.topic), "event": key}
            rows.events.append(Event(time, tuple(sorted(labels.items())), text))

    def _time(self, sent: Any) -> int:
        """A time as sent in ns. Raises ValueError."""
        unit = self.naming.unit
        if type(sent) is bool or (type(sent) is str and len(sent) > 64) or type(sent) not in (int, float, str):
            raise ValueError(f"found {str(sent)[:20]!r}, expected a time")
        if unit != "auto" and type(sent) is str and re.fullmatch(r"[+-]?\d+", sent):
            sent = int(sent)
        if type(sent) is str and self.naming.zone is not None and _LOCAL.fullmatch(sent.strip()):
            time = ns_from_datetime(datetime.fromisoformat(sent.strip()).replace(tzinfo=self.naming.zone))
        elif unit == "auto" or type(sent) is str:
            time = parse_time(sent)
        elif type(sent) is int:
            time = sent * UNIT_NS[unit]
        else:
            factor = UNIT_NS[unit]
            scaled = sent * max(factor // 1000, 1)
            time = round(scaled) * (1000 if factor > 1 else 1) if math.isfinite(scaled) else 1 << 63
        if not -(1 << 63) <= time < 1 << 63:
            raise ValueError("found a time past 64 bits of nanoseconds")
        return time

    def _labels(self, record: Record, topic: str) -> dict[str, str]:
        short = self.naming.short
        labels = {label_name(short(key)): text for key, text in record.labels.items()}
        if self.naming.topic_label:
            labels[self.naming.topic_label] = topic
        return labels

    def _intern(self, record: Record, where: str, topic: str, refusals: Refusals) -> tuple[int, ...]:
        """The ids of the series of a record; -1 for those that cannot be."""
        labels = self._labels(record, topic)
        ids = []
        for at, (key, _) in enumerate(record.values):
            key = self.naming.short(key)
            state = {label_name(key): record.states[at]} if at in record.states else {}
            ids.append(self._id(self._series_name(key, topic), {**labels, **state}, where, refusals))
        return tuple(ids)

    def _id(self, name: str, labels: dict[str, str], where: str, refusals: Refusals) -> int:
        try:
            key = encode_key(metric_name(name), labels)
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and UTF-8 cannot
            refusals.add("not_utf8", where)
            return -1
        if len(key) > MAX_KEY_BYTES:
            refusals.add("key_too_long", where, f"found {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
            return -1
        return self.table.intern(key)

    def _series_name(self, key: str, topic: str) -> str:
        if self.naming.name == "{key}":
            return key
        levels = topic.split("/")

        def part(match: re.Match[str]) -> str:
            if match[2] is None:
                return key if match[1] == "key" else topic
            at = int(match[2])
            return levels[at] if -len(levels) <= at < len(levels) else ""

        return FIELD.sub(part, self.naming.name)

    def _row(
        self, metric: dict[str, Any], document: dict[str, Any], where: str, context: Context, rows: Rows,
        refusals: Refusals,
    ) -> list[int]:  # fmt: skip
        """A row as `encode` writes it; its id, or nothing."""
        time, value = document.get("time", context.received_ns), document.get("value", "")
        right = type(time) is int and -(1 << 63) <= time < 1 << 63 and (value is None or type(value) in (int, float))
        if not right or not all(type(text) is str for text in metric.values()):
            refusals.add("bad_row", where, "expected texts in metric, time in ns and a number or null as value")
            return []
        known = (None, *metric.items())
        ids = self._ids.get(known)
        if ids is None:
            labels = {label_name(key): text for key, text in metric.items() if key != "__name__"}
            ids = (self._id(metric["__name__"], labels, where, refusals),)
            if ids[0] < 0:
                return []
            self._ids[known] = ids
            self._characters += len(self.table.keys[ids[0]]) + 100
        try:
            number = math.nan if value is None else float(value)
        except OverflowError:
            number = math.inf
        if value is not None and not math.isfinite(number):
            refusals.add("not_finite", where)
            return []
        rows.extend(ids, time, (number,))
        return list(ids)
