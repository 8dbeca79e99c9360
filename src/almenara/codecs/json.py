"""JSON as devices and scripts send it: an object of readings, a list of them, one a line, or a bare number."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Sequence
from typing import Any, Literal

from almenara.codecs._json_records import Inexact, Record, Refusals, Rules
from almenara.codecs._json_text import load_any
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, SeriesTable, encode_key, label_name, metric_name
from almenara.model.time import parse_time
from almenara.plugin.contracts import Context

_UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_FIELD = re.compile(r"\{(topic|key|level\[(-?\d+)\])\}")

#: What a decoder remembers before it starts afresh: records, and characters of their labels.
_MAX_RECORDS = 100_000
_MAX_CHARACTERS = 32 << 20


class Json:
    """JSON: numbers become values, texts labels, booleans 0 and 1; nested keys are joined with `_`.

    `{"id":"CITIMUM","temperature":20.04,"time":1700000000,"city":"Mumbai"}` on the topic `sensors/mumbai` becomes
    `temperature{city="Mumbai",id="CITIMUM",topic="sensors/mumbai"}` at that time. A list of objects is many records;
    those inside an object inherit its labels and time. A bare number (or true, false) is named after the last level of
    the topic. `{"metric":{"__name__":...,labels},"time":ns,"value":number}` is a row as `encode` writes it, where null
    stands for a value known to be missing; it gets no topic label.

    Rejected by name: `null`, `list` (of anything but objects), `not_finite`, `not_a_number`, `no_value`, `bad_time`,
    `too_deep`, `too_many_keys`, `too_many_labels`, `key_too_long`, `not_utf8`, `bad_json` (a line), `bad_row`.

    Options:
        time_keys: Keys of the time: a number, or a text such as 2026-05-01T12:00:00Z. Case does not matter.
        label_keys: Keys that are labels even where they hold a number.
        value_keys: If given, only these are values, even where they hold a number as text; other numbers are ignored.
        drop_keys: Keys to ignore.
        topic_label: The label that gets the topic; empty for none.
        name: Name of a series; {key}, {topic}, {level[0]}, {level[-1]} stand for the key, the topic and its levels.
        time_unit: Unit of numeric times; auto tells s, ms, us and ns by their size.
    """

    def __init__(
        self,
        *,
        time_keys: Sequence[str] = ("time", "timestamp", "ts"),
        label_keys: Sequence[str] = ("id", "name", "device", "host"),
        value_keys: Sequence[str] = (),
        drop_keys: Sequence[str] = (),
        topic_label: str = "topic",
        name: str = "{key}",
        time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto",
    ):
        if "{" in _FIELD.sub("", name) or "}" in _FIELD.sub("", name):
            raise ValueError(f"name: found {name!r}, expected only {{key}}, {{topic}} and {{level[0]}} in braces")
        self._rules = Rules(time_keys, label_keys, value_keys, drop_keys)
        self._topic_label, self._name, self._unit = label_name(topic_label) if topic_label else "", name, time_unit
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._ids: dict[tuple[Any, ...], tuple[int, ...]] = {}  # labels and keys -> series
        self._shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}  # the same of objects that hold no other, as sent
        self._characters = 0

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all records; DecodeError where the payload is no JSON, or a text alone."""
        if max(len(self._ids), len(self._shapes)) > _MAX_RECORDS or self._characters > _MAX_CHARACTERS:
            self._forget()
        try:
            return self._decode(payload, context, exact=False)
        except Inexact:
            return self._decode(payload, context, exact=True)

    def _decode(self, payload: bytes, context: Context, exact: bool) -> Decoded:
        documents, bad = _documents(payload, context.topic, exact)
        self._rules.exact = exact
        refusals, rows = Refusals(), _Rows(self._table)
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
        return Decoded(rows.batch(), rejected=refusals.listed())

    def _object(self, document: dict[str, Any], where: str, context: Context, rows: _Rows, refusals: Refusals) -> None:
        flat = self._rules.flat(document, context.topic)
        ids = self._shapes.get(flat.shape) if flat is not None else None
        if flat is not None and ids is not None:
            try:
                time = context.received_ns if flat.time is None else self._time(flat.time)
            except ValueError as error:
                refusals.add("bad_time", where, str(error), len(ids))
            else:
                rows.extend(ids, time, flat.values)
            return
        metric = document.get("metric")
        if type(metric) is dict and "__name__" in metric:
            self._row(metric, document, where, context, rows, refusals)
            return
        records = list(self._rules.records(document, where, refusals))
        for record in records:
            self._record(record, where, context, rows, refusals)
        if flat is not None and len(records) == 1:
            ids = self._ids.get(_known(records[0], context.topic), ())
            if len(ids) == len(flat.values):
                self._shapes[flat.shape] = ids
                self._characters += sum(len(text) for text in flat.shape if text) + 100

    def _bare(self, value: Any, context: Context, rows: _Rows, refusals: Refusals) -> None:
        """A number or boolean without a key."""
        name = context.topic.rstrip("/").rpartition("/")[2] or "value"
        rules = Rules((), (), (), ())
        for record in rules.records({name: value}, "", refusals):
            self._record(record, "", context, rows, refusals)

    def _record(self, record: Record, where: str, context: Context, rows: _Rows, refusals: Refusals) -> None:
        try:
            time = context.received_ns if record.time is None else self._time(record.time)
        except ValueError as error:
            refusals.add("bad_time", where, str(error), len(record.values))
            return
        known = _known(record, context.topic)
        ids = self._ids.get(known)
        if ids is None:
            ids = self._intern(record, where, context.topic, refusals)
            if min(ids) >= 0:
                self._ids[known] = ids
                self._characters += sum(len(self._table.keys[id]) for id in ids) + 100
        for id, (_, value) in zip(ids, record.values, strict=True):
            if id >= 0:
                rows.add(id, time, value)

    def _time(self, sent: Any) -> int:
        """A time as sent in ns. Raises ValueError."""
        if type(sent) is bool or (type(sent) is str and len(sent) > 64):
            raise ValueError(f"found {str(sent)[:20]!r}, expected a time")
        if self._unit != "auto" and type(sent) is str and re.fullmatch(r"[+-]?\d+", sent):
            sent = int(sent)
        if self._unit == "auto" or type(sent) is str:
            time = parse_time(sent)
        elif type(sent) is int:
            time = sent * _UNIT_NS[self._unit]
        else:
            scaled = sent * _UNIT_NS[self._unit]
            time = round(scaled) if math.isfinite(scaled) else 1 << 63
        if not -(1 << 63) <= time < 1 << 63:
            raise ValueError("found a time past 64 bits of nanoseconds")
        return time

    def _intern(self, record: Record, where: str, topic: str, refusals: Refusals) -> tuple[int, ...]:
        """The ids of the series of a record; -1 for those that cannot be."""
        labels = {label_name(key): text for key, text in record.labels.items()}
        if self._topic_label:
            labels[self._topic_label] = topic
        return tuple(self._id(self._series_name(key, topic), labels, where, refusals) for key, _ in record.values)

    def _id(self, name: str, labels: dict[str, str], where: str, refusals: Refusals) -> int:
        try:
            key = encode_key(metric_name(name), labels)
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and UTF-8 cannot
            refusals.add("not_utf8", where)
            return -1
        if len(key) > MAX_KEY_BYTES:
            refusals.add("key_too_long", where, f"found {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
            return -1
        return self._table.intern(key)

    def _series_name(self, key: str, topic: str) -> str:
        if self._name == "{key}":
            return key
        levels = topic.split("/")

        def part(match: re.Match[str]) -> str:
            if match[2] is None:
                return key if match[1] == "key" else topic
            at = int(match[2])
            return levels[at] if -len(levels) <= at < len(levels) else ""

        return _FIELD.sub(part, self._name)

    def _row(
        self,
        metric: dict[str, Any],
        document: dict[str, Any],
        where: str,
        context: Context,
        rows: _Rows,
        refusals: Refusals,
    ) -> None:
        """A row as `encode` writes it."""
        time, value = document.get("time", context.received_ns), document.get("value", "")
        right = type(time) is int and -(1 << 63) <= time < 1 << 63 and (value is None or type(value) in (int, float))
        if not right or not all(type(text) is str for text in metric.values()):
            refusals.add("bad_row", where, "expected texts in metric, time in ns and a number or null as value")
            return
        known = (None, *metric.items())
        ids = self._ids.get(known)
        if ids is None:
            labels = {label_name(key): text for key, text in metric.items() if key != "__name__"}
            ids = (self._id(metric["__name__"], labels, where, refusals),)
            if ids[0] < 0:
                return
            self._ids[known] = ids
            self._characters += len(self._table.keys[ids[0]]) + 100
        try:
            number = math.nan if value is None else float(value)
        except OverflowError:
            number = math.inf
        if value is not None and not math.isfinite(number):
            refusals.add("not_finite", where)
            return
        rows.add(ids[0], time, number)

    def encode(self, batch: Batch) -> bytes:
        """One object a line: `{"metric":{"__name__":"temperature","city":"Mumbai"},"time":ns,"value":20.04}`."""
        heads = {int(id): _head(batch, id) for id in set(batch.id)}
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        return "".join(
            f'{heads[i]}{int(t)},"value":{"null" if v != v else repr(float(v))}}}\n' for i, t, v in rows
        ).encode()


class _Rows:
    """The columns of a batch while they grow."""

    def __init__(self, table: SeriesTable):
        self._table, self._id, self._time, self._value = table, array("i"), array("q"), array("d")

    def add(self, id: int, time: int, value: float) -> None:
        self._id.append(id)
        self._time.append(time)
        self._value.append(value)

    def extend(self, ids: Sequence[int], time: int, values: Sequence[float]) -> None:
        for id, value in zip(ids, values, strict=True):
            self._id.append(id)
            self._time.append(time)
            self._value.append(value)

    def batch(self) -> Batch:
        return Batch(self._table, self._id, self._time, self._value)


def _known(record: Record, topic: str) -> tuple[Any, ...]:
    """What tells the series of a record."""
    return (topic, *record.labels.items(), *(key for key, _ in record.values))


def _head(batch: Batch, id: int) -> str:
    series = batch.series[id]
    metric = json.dumps({"__name__": series.name, **dict(series.labels)}, ensure_ascii=False, separators=(",", ":"))
    return f'{{"metric":{metric},"time":'


def _documents(payload: bytes, topic: str, exact: bool) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
    """The JSON documents of a payload and the lines that are none; True, TRUE and the like count as booleans."""
    word = payload.strip().lower() if len(payload) < 20 else b""
    if word in (b"true", b"false"):
        return [("", word == b"true")], []
    try:
        documents, bad = load_any(payload, exact)
    except ValueError as error:
        problem = f"found {payload[:24]!r}, expected JSON ({str(error)[:60]})"
        raise DecodeError(f"{topic or 'payload'}: {problem}; send a number, or an object of numbers") from error
    if documents and type(documents[0][1]) is str:
        problem = f"found the text {documents[0][1][:24]!r}, expected a number or an object"
        raise DecodeError(f"{topic or 'payload'}: {problem}; send numbers without quotes")
    return documents, bad
