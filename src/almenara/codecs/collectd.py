"""collectd: the binary protocol of its plugin `network`, and the JSON and PUTVAL lines of its plugin `write_http`.

Protocol: https://collectd.org/wiki/index.php/Binary_protocol
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from almenara.codecs._collectd_binary import Left, Name, Notification, Values, read_parts
from almenara.codecs._collectd_text import ROW, read_json, read_putval
from almenara.codecs._collectd_types import BUILT_IN, read_types
from almenara.model.batch import Batch, Decoded, Event, Rejected
from almenara.model.errors import ConfigError, DecodeError, Problem
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, Metadata, SeriesTable, encode_key, metric_name
from almenara.model.time import NS
from almenara.plugin.contracts import Context

_MAX_SERIES = 200_000
_SHOWN = 20  # rejections that are reported one by one; the rest are only counted
_COUNTING = ("counter", "derive")


class Collectd:
    """collectd's binary packets, JSON and PUTVAL lines; which one it is shows in the first byte.

    Plugin `interface`, type `if_octets`, value `rx` become `collectd_interface_if_octets_rx_total`, with the labels
    `host`, `instance` (the plugin's) and `type_instance`; a plugin that has the name of its type is named once, a value
    called `value` not at all. Counters and derives are counters and end in `_total`, gauges and absolutes gauges.
    Notifications become events. NaN is a value known to be missing.

    Rejected by name: `bad_part`, `key_too_long`, `not_finite`, `encrypted`, `bad_signature`, `not_signed`.

    Options:
        types_db: Files such as /usr/share/collectd/types.db that name the values of further types; those of
            collectd 5.12 are known.
        auth_file: Lines `user: password`; then only packets that one of them signed are taken, and no text.
    """

    def __init__(self, *, types_db: Sequence[Path] = (), auth_file: Path | None = None):
        self._types = dict(BUILT_IN)
        for path in types_db:
            self._types |= read_types(path)
        self._passwords = _passwords(auth_file) if auth_file else {}
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._ids: dict[tuple[Name, tuple[str, ...], tuple[str, ...]], tuple[list[int], dict[bytes, Metadata]]] = {}

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all values that can be read; DecodeError where there are none."""
        if len(self._table) > _MAX_SERIES or len(self._ids) > _MAX_SERIES:
            self._forget()
        found = _Found(context.received_ns)
        try:
            for one in self._parts(bytes(payload)):
                self._take(one, found)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"cannot be read as collectd's JSON: {str(error)[:100]}") from error
        rejected = found.rejected()
        if rejected and not found.ids and not found.events:
            raise DecodeError(f"nothing can be read as collectd; {rejected[0].where}: {rejected[0].detail}")
        batch = Batch(self._table, found.ids, found.times, found.values)
        return Decoded(batch, found.events, rejected, found.metadata)

    def _parts(self, payload: bytes) -> Iterable[Values | Notification | Left | dict[str, Any]]:
        first = payload.lstrip()[:1]
        if first not in (b"[", b"P", b"p"):
            return read_parts(payload, self._passwords, bool(self._passwords))
        if self._passwords:
            return [Left(0, "not_signed", "only signed packets are taken")]
        return read_json(payload) if first == b"[" else read_putval(payload)

    def _take(self, one: Values | Notification | Left | dict[str, Any], found: _Found) -> None:
        if isinstance(one, Left):
            found.left.append(one)
        elif isinstance(one, Notification):
            found.events.append(_event(one, found.received_ns))
        elif isinstance(one, Values):
            self._take_values(one, found)
        else:
            self._take_row(one, found)

    def _take_values(self, one: Values, found: _Found) -> None:
        shape = one.name, one.kinds, one.names
        if shape not in self._ids:
            self._ids[shape] = self._learn(one)
        ids, metadata = self._ids[shape]
        for at, (id, value) in enumerate(zip(ids, one.values, strict=True)):
            if id < 0:
                found.left.append(Left(at, "key_too_long", f"{one.name.plugin[:40]}: over {MAX_KEY_BYTES} bytes"))
            elif math.isinf(value):
                found.left.append(Left(at, "not_finite", f"{one.name.plugin[:40]}: an infinite value"))
            else:
                found.add(id, one.time, value)
        found.metadata |= metadata

    def _learn(self, one: Values) -> tuple[list[int], dict[bytes, Metadata]]:
        """Ids and metadata of the series of a list of values; -1 for one that no series can have."""
        host, plugin, plugin_instance, type_, instance = one.name
        base = "_".join(["collectd", *([plugin] if plugin and plugin != type_ else []), type_])
        labels = {"host": host, "instance": plugin_instance, "type_instance": instance}
        ids, metadata = [], {}
        for kind, name in zip(one.kinds, self._names(one), strict=True):
            parts = [base, *([name] if name != "value" else []), *(["total"] if kind in _COUNTING else [])]
            key = encode_key(metric_name("_".join(parts)), labels)
            if len(key) > MAX_KEY_BYTES:
                ids.append(-1)
                continue
            ids.append(self._table.intern(key))
            if kind:
                metadata[key] = Metadata("", "counter" if kind in _COUNTING else "gauge", "")
        return ids, metadata

    def _names(self, one: Values) -> tuple[str, ...]:
        if one.names:
            return one.names
        names = self._types.get(one.name.type, ("value",))
        return names if len(names) == len(one.values) else tuple(f"value_{n}" for n in range(len(one.values)))

    def _take_row(self, row: dict[str, Any], found: _Found) -> None:
        try:
            labels = {str(k): str(v) for k, v in row["labels"].items()}
            key, time, value = encode_key(str(row["name"]), labels), int(row["time_ns"]), float(row["value"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            found.left.append(Left(0, "bad_part", f"meta: found no row under {ROW}"))
            return
        if len(key) > MAX_KEY_BYTES or len(labels) > MAX_LABELS or math.isinf(value):
            found.left.append(Left(0, "bad_part", "meta: found a row that is too large or not finite"))
        elif not 0 < time < 2**63:
            found.left.append(Left(0, "bad_part", "meta: found a time out of range"))
        else:
            found.add(self._table.intern(key), time, value)

    def encode(self, batch: Batch) -> bytes:
        """JSON as of `write_http`. A series as such stands under `meta`, for collectd has no free labels. Left out:
        infinite values."""
        lists = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            series, value = batch.series[int(id)], float(value)
            if math.isinf(value):
                continue
            row = {"name": series.name, "labels": dict(series.labels), "time_ns": int(time), "value": str(value)}
            known = {"values": [None if math.isnan(value) else value], "dstypes": ["gauge"], "dsnames": ["value"]}
            known |= {"time": int(time) / NS, "host": dict(series.labels).get("host", ""), "plugin": "almenara"}
            lists.append(known | {"type": "gauge", "type_instance": series.name, "meta": {ROW: row}})
        return json.dumps(lists).encode()


class _Found:
    """What one payload gave so far."""

    def __init__(self, received_ns: int):
        self.received_ns = received_ns
        self.ids, self.times, self.values = array("i"), array("q"), array("d")
        self.events: list[Event] = []
        self.metadata: dict[bytes, Metadata] = {}
        self.left: list[Left] = []

    def add(self, id: int, time: int, value: float) -> None:
        """A row; time 0 = now."""
        if not 0 <= time < 2**63:
            self.left.append(Left(0, "bad_part", "a time out of range"))
            return
        self.ids.append(id)
        self.times.append(time or self.received_ns)
        self.values.append(value)

    def rejected(self) -> list[Rejected]:
        """The first few one by one; then how many more there were of each reason."""
        shown = [Rejected(f"part at {one.at}", one.reason, 1, one.detail) for one in self.left[:_SHOWN]]
        more: dict[str, int] = {}
        for one in self.left[_SHOWN:]:
            more[one.reason] = more.get(one.reason, 0) + 1
        return shown + [Rejected("more parts", reason, count) for reason, count in more.items()]


def _event(one: Notification, received_ns: int) -> Event:
    labels = one.name._asdict() | {"severity": one.severity, "app": "collectd"}
    time = one.time if 0 < one.time < 2**63 else received_ns
    return Event(time, tuple(sorted((k, v) for k, v in labels.items() if v)), one.text)


def _passwords(path: Path) -> dict[str, str]:
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("auth_file", f"{path} cannot be read: {error}")]) from error
    pairs = (line.partition(":") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    found = {user.strip(): password.strip() for user, colon, password in pairs if colon}
    if not found:
        raise ConfigError([Problem("auth_file", f"{path} has no line `user: password`")])
    return found
