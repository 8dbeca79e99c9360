"""Sparkplug B, which gateways and PLCs of industrial plants speak over MQTT: spBv1.0/GROUP/TYPE/NODE[/DEVICE].

Standard: Eclipse Sparkplug 3.0, https://sparkplug.eclipse.org/specification/version/3.0/. Births name their metrics and
give them short aliases; the data messages that follow may carry aliases only.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from typing import Literal

from almenara.codecs import _wire as wire
from almenara.codecs._labels import REASONS, BadLabels, key_of, utf8
from almenara.codecs._sparkplug import Metric, metrics_of, written
from almenara.model.batch import Batch, Decoded, Event, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesTable, label_name
from almenara.plugin.contracts import Context

_BIRTHS, _DATA, _DEATHS = ("NBIRTH", "DBIRTH"), ("NDATA", "DDATA"), ("NDEATH", "DDEATH")
_MAX_ALIASES = 500_000
_MAX_SERIES = 200_000
_MS = 1_000_000
_SHOWN = 20
_REBIRTH = "its birth was not heard since this hub started; ask the node for one (NCMD, Node Control/Rebirth = true)"

Source = tuple[str, str, str]  # group, node, device ("" = the node itself)
Birth = dict[bytes, tuple[int, int]]  # metric name -> alias (-1 none), data type


class Births:
    """What births said of the metrics of each source. Decoder threads share it, since each has a codec of its own and
    the birth and the data of one device come to different ones.

    Bounded: the source that was heard of longest ago is forgotten first. Nothing of it is kept over a restart.
    """

    def __init__(self, limit: int = _MAX_ALIASES):
        self._limit, self._count = limit, 0
        self._known: OrderedDict[Source, tuple[Birth, dict[int, tuple[bytes, int]]]] = OrderedDict()
        self._lock = threading.Lock()

    def born(self, source: Source, birth: Birth) -> None:
        """Replace what is known of a source; the birth of a node ends those of its devices."""
        aliases = {alias: (name, type) for name, (alias, type) in birth.items() if alias >= 0}
        with self._lock:
            for other in [source] if source[2] else self._under(source):
                self._count -= len(self._known.pop(other, ({}, {}))[0])
            self._known[source] = birth, aliases
            self._count += len(birth)
            while self._count > self._limit:
                self._count -= len(self._known.popitem(last=False)[1][0])

    def of(self, source: Source) -> tuple[Birth, dict[int, tuple[bytes, int]]]:
        """(metrics by name, metrics by alias) of a source; both empty where its birth was not heard."""
        with self._lock:
            if source not in self._known:
                return {}, {}
            self._known.move_to_end(source)
            return self._known[source]

    def ends(self, source: Source) -> list[tuple[Source, Birth]]:
        """What a death ends: the metrics of a device, or of a node and all its devices."""
        with self._lock:
            found = [source] if source[2] else self._under(source)
            return [(one, self._known[one][0]) for one in found if one in self._known]

    def _under(self, node: Source) -> list[Source]:
        return [one for one in self._known if one[:2] == node[:2]]


#: What all decoders of a process share.
_SHARED = Births()


class Sparkplug:
    """Sparkplug B payloads. A metric becomes the series of its name, with the labels `group`, `node` and `device`.

    Times are milliseconds: the metric's, else the payload's, else the time of receipt; historical values are rows at
    their own time. Booleans are 0 and 1, DateTime stays in milliseconds, null is NaN, known to be missing. A death ends
    the series that the births of its node or device named: each gets a NaN at the time of receipt.

    Topics under `spBv1.0/` are read so without any configuration.

    Data messages may name metrics by alias only. Births are remembered while the hub runs, for all its decoders; after
    a restart such metrics are rejected as `unknown_alias` until their node is born again.

    Rejected by name: `unknown_alias`, `string_field`, `dataset`, `template`, `bytes`, `array`, `extension`, `no_value`,
    `not_finite`, `time_out_of_range`, `not_utf8`, `no_name`, `key_too_long`; `command` (messages to nodes, not from).

    Options:
        strings: What becomes of texts: "reject" them, or keep each as an "event".
    """

    def __init__(self, *, strings: Literal["reject", "event"] = "reject"):
        if strings not in ("reject", "event"):
            raise ValueError(f'strings: found {strings!r}, expected "reject" or "event"')
        self._strings, self._births = strings, _SHARED
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._ids: dict[tuple[Source, bytes, bytes], int] = {}

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all metrics; DecodeError where the payload is damaged."""
        if len(self._ids) > _MAX_SERIES:
            self._forget()
        kind, source = _source(context.topic)
        if kind not in _BIRTHS + _DATA + _DEATHS + ("",):
            return Decoded(Batch.of([]), rejected=[Rejected(f"message {kind[:20]}", "command")])
        try:
            ms, metrics = metrics_of(bytes(payload))
        except wire.Damaged as error:
            raise DecodeError(f"no Sparkplug B payload: {error}") from error
        if kind in _BIRTHS:
            self._births.born(source, {m.name: (m.alias, m.type) for m in metrics if m.name})
        rows = _Rows(self._table, context.received_ns)
        if kind in _DEATHS:
            self._end(source, rows)
        else:
            self._read(source, ms, metrics, rows)
        return rows.decoded()

    def _end(self, source: Source, rows: _Rows) -> None:
        for one, birth in self._births.ends(source):
            for name in birth:
                try:
                    rows.add(self._id(one, name, Metric()), rows.received_ns, math.nan)
                except BadLabels:
                    continue  # it was refused when it was born

    def _read(self, source: Source, ms: int, metrics: list[Metric], rows: _Rows) -> None:
        by_name, by_alias = self._births.of(source)
        for at, metric in enumerate(metrics):
            name, type = metric.name, metric.type
            if not name and metric.alias >= 0:
                if metric.alias not in by_alias:
                    rows.refuse(at, metric.name, "unknown_alias", f"alias {metric.alias}: {_REBIRTH}")
                    continue
                name, born = by_alias[metric.alias]
                type = type or born
            elif not type and name in by_name:
                type = by_name[name][1]
            try:
                self._one(source, name, type, ms, metric, at, rows)
            except BadLabels as bad:
                rows.refuse(at, name, REASONS[bad.code], str(bad))
            except wire.Damaged:
                rows.refuse(at, name, "bad_labels", "its properties are damaged")

    def _one(self, source: Source, name: bytes, type: int, ms: int, metric: Metric, at: int, rows: _Rows) -> None:
        """A row, an event or a rejection. Raises BadLabels, Damaged."""
        ms = metric.ms if metric.ms >= 0 else ms
        time = ms * _MS if ms >= 0 else rows.received_ns
        reason = "time_out_of_range" if time >= 1 << 63 else metric.reason(type)
        value = math.nan if reason or metric.null else metric.number(type)
        if reason == "string_field" and self._strings == "event" and isinstance(metric.value, bytes):
            labels = _labels(source) | {"metric": utf8(name, "the name")}
            rows.events.append(Event(time, tuple(sorted(labels.items())), metric.value.decode(errors="replace")))
        elif reason or math.isinf(value):
            rows.refuse(at, name, reason or "not_finite", "")
        else:
            rows.add(self._id(source, name, metric), time, value)

    def _id(self, source: Source, name: bytes, metric: Metric) -> int:
        """The id of a metric's series. Raises BadLabels, Damaged."""
        known = source, name, metric.properties
        id = self._ids.get(known)
        if id is None:
            given = {label_name(key): text for key, text in metric.labels().items()}
            id = self._table.intern(key_of(utf8(name, "the name"), given | _labels(source)))
            if len(self._ids) <= _MAX_SERIES:  # properties such as a quality make new ones of an old series
                self._ids[known] = id
        return id

    def encode(self, batch: Batch) -> bytes:
        """A data payload with one metric of type Double a row, by name; labels stand among its properties, their keys
        behind `label:`. Times are cut to milliseconds; infinite values are left out."""
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        series = {int(id): batch.series[int(id)] for id in set(batch.id)}
        return b"".join(
            written(series[int(id)].name, int(time) // _MS, float(value), series[int(id)].labels)
            for id, time, value in rows
            if not math.isinf(value)
        )


class _Rows:
    """What a payload gave so far."""

    def __init__(self, table: SeriesTable, received_ns: int):
        self.received_ns, self.events = received_ns, list[Event]()
        self._table, self._rejected = table, list[Rejected]()
        self._ids, self._times, self._values = array("i"), array("q"), array("d")
        self._more: dict[str, int] = {}

    def add(self, id: int, time: int, value: float) -> None:
        """A row."""
        self._ids.append(id)
        self._times.append(time)
        self._values.append(value)

    def refuse(self, at: int, name: bytes, reason: str, detail: str) -> None:
        """A metric that is no row; the first are listed one by one."""
        if len(self._rejected) < _SHOWN:
            shown = name.decode(errors="replace")[:80]
            self._rejected.append(Rejected(f"metric {shown}" if shown else f"metric {at + 1}", reason, 1, detail))
        else:
            self._more[reason] = self._more.get(reason, 0) + 1

    def decoded(self) -> Decoded:
        """All of it."""
        more = [Rejected("more metrics", reason, rows) for reason, rows in self._more.items()]
        batch = Batch(self._table, self._ids, self._times, self._values)
        return Decoded(batch, self.events, self._rejected + more)


def _source(topic: str) -> tuple[str, Source]:
    """(type of message, source) of a topic; "" where it is not one of Sparkplug: the payload then speaks for itself."""
    space, *levels = topic.split("/")
    if space != "spBv1.0":
        return "", ("", "", "")
    if len(levels) not in (3, 4) or levels[0] == "STATE":
        return levels[0] if levels[:1] == ["STATE"] else "without a node", ("", "", "")
    return levels[1], (levels[0], levels[2], levels[3] if len(levels) == 4 else "")


def _labels(source: Source) -> dict[str, str]:
    return {label: text for label, text in zip(("group", "node", "device"), source, strict=True) if text}
