"""Elasticsearch's `_bulk` bodies, as Metricbeat sends them: a line that says what to do, a line with a document.

Format: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from almenara.codecs._bounds import check_count
from almenara.codecs._bulk_fields import IGNORE, LABEL, MESSAGE, SURROUNDING, TIME, VALUE, about, name_of, role_of
from almenara.codecs._json_records import Refusals
from almenara.codecs._json_text import load
from almenara.model.batch import Batch, Decoded, Event, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, Metadata, SeriesTable, encode_key, label_name, metric_name
from almenara.model.time import format_time, parse_time
from almenara.plugin.contracts import Context

#: Documents of one payload that are named one by one when they are refused.
MAX_NAMED = 500
_MAX_SERIES, _MAX_PATHS = 200_000, 20_000
_MAX_DEPTH, _MAX_LEAVES = 20, 2000
_WITH_DOCUMENT = ("index", "create")


class Bulk:
    """Reads Elasticsearch's `_bulk` bodies, as Metricbeat sends them.

    Each number of a document becomes a series named by its path, `system.cpu.user.pct` as `system_cpu_user_pct`; texts
    that say whose it is become labels: `host.name` as `host_name`, and so on. Labels are the texts at places that
    Elastic's Common Schema and Metricbeat use to tell things apart (host, agent, service, container, pod, interface,
    mount point...), keys such as `name`, `id`, `device` of a module, and everything below `labels` and `fields`, which
    keep their own names. `@timestamp` is the time. Numbers that describe the document (event.duration,
    metricset.period, process.pid...) are left out. A document without numbers but with a `message` becomes an event.

    Rejected by name: `bad_json`, `not_supported` (update and delete), `bad_time`, `no_value`, `too_large` a document;
    `string_field`, `list`, `not_finite` one field; `key_too_long`, `too_many_labels`, `not_utf8` all of a document.

    Options:
        label_fields: Further dotted paths that are labels, such as system.process.cmdline.
        drop_fields: Dotted paths to leave out, with everything below them.
    """

    def __init__(self, *, label_fields: Sequence[str] = (), drop_fields: Sequence[str] = ()):
        self._labels, self._dropped = frozenset(label_fields), frozenset(drop_fields)
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._roles: dict[str, int] = {}
        self._ids: dict[tuple[Any, ...], tuple[int, ...]] = {}  # labels and paths -> series
        self._about: list[Metadata] = []  # by series

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all documents; DecodeError where there are lines and none is an action."""
        if len(self._table) > _MAX_SERIES or len(self._roles) > _MAX_PATHS or len(self._ids) > _MAX_SERIES:
            self._forget()
        check_count(payload, b"\n")
        rows = _Rows()
        for number, (action, line) in enumerate(actions(payload)):
            self._document(number, action, line, context, rows)
        metadata = {self._table.keys[id]: self._about[id] for id in dict.fromkeys(rows.id)}
        return Decoded(Batch(self._table, rows.id, rows.time, rows.value), rows.events, rows.listed(), metadata)

    def _document(self, number: int, action: str, line: bytes, context: Context, rows: _Rows) -> None:
        if action not in _WITH_DOCUMENT:
            rows.refuse(number, "not_supported", f"found {action!r}, expected index or create")
            return
        try:
            document = load(line)
        except ValueError as error:
            rows.refuse(number, "bad_json", str(error))
            return
        if type(document) is not dict:
            rows.refuse(number, "bad_json", "expected an object")
            return
        found = _Leaves()
        if not self._walk(document, "", 0, found, number, rows.fields):
            rows.refuse(number, "too_large", f"more than {_MAX_LEAVES} fields or {_MAX_DEPTH} levels")
            return
        try:
            time = context.received_ns if found.time is None else parse_time(found.time)
            if not -(1 << 63) <= time < 1 << 63:
                raise ValueError("found a time past 64 bits of nanoseconds")
        except (ValueError, TypeError) as error:
            rows.refuse(number, "bad_time", str(error))
            return
        self._keep(number, found, time, rows)

    def _keep(self, number: int, found: _Leaves, time: int, rows: _Rows) -> None:
        try:
            if found.paths:
                rows.extend(self._series(found), time, found.values)
            elif found.message is not None:
                labels = {label_name(name_of(path)): text for path, text in found.labels}
                rows.events.append(Event(time, tuple(sorted(labels.items())), found.message))
            else:
                rows.refuse(number, "no_value", "found no number")
        except _Unnameable as error:
            rows.refuse(number, str(error), "")

    def _walk(
        self, inside: dict[str, Any], prefix: str, depth: int, found: _Leaves, number: int, fields: Refusals
    ) -> bool:
        """Sort the leaves of an object; whether it is within the limits."""
        if depth > _MAX_DEPTH or found.count + len(inside) > _MAX_LEAVES:
            return False
        found.count += len(inside)
        for key, value in inside.items():
            path = f"{prefix}.{key}" if prefix else key
            kind = type(value)
            if kind is dict:
                if not self._walk(value, path, depth + 1, found, number, fields):
                    return False
                continue
            role = self._roles.get(path)
            if role is None:
                role = self._roles[path] = role_of(path, self._labels, self._dropped)
            if role == VALUE and (kind is float or kind is int or kind is bool):
                found.number(path, value, number, fields)
            elif role == LABEL and kind in (str, int, float, bool):
                found.labels.append((path, value if kind is str else json.dumps(value)))
            elif role == TIME:
                found.time = value
            elif role == MESSAGE and kind is str:
                found.message = value
            elif role != IGNORE and value is not None:
                found.other(path, kind, number, fields)
        return True

    def _series(self, found: _Leaves) -> tuple[int, ...]:
        """The ids of the values of a document. Raises _Unnameable."""
        known = (*found.labels, *found.paths)
        ids = self._ids.get(known)
        if ids is None:
            labels = {label_name(name_of(path)): text for path, text in found.labels}
            if labels.get("agent_name") == labels.get("host_name"):
                labels.pop("agent_name", None)  # the usual case: one agent a host, which has its name
            if len(labels) > MAX_LABELS:
                raise _Unnameable("too_many_labels")
            ids = self._ids[known] = tuple([self._intern(path, labels) for path in found.paths])
        return ids

    def _intern(self, path: str, labels: dict[str, str]) -> int:
        try:
            key = encode_key(metric_name(name_of(path)), labels)
        except UnicodeEncodeError as error:
            raise _Unnameable("not_utf8") from error
        if len(key) > MAX_KEY_BYTES:
            raise _Unnameable("key_too_long")
        id = self._table.intern(key)
        if id == len(self._about):
            self._about.append(about(path))
        return id

    def encode(self, batch: Batch) -> bytes:
        """Two lines a row; names and labels stand under `metrics` and `labels`. Left out: rows that are not finite."""
        lines = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            if math.isfinite(value):
                series = batch.series[id]
                document = {
                    "@timestamp": format_time(int(time)),
                    "labels": dict(series.labels),
                    "metrics": {series.name: float(value)},
                }
                lines.append('{"create":{}}\n' + json.dumps(document, separators=(",", ":")) + "\n")
        return "".join(lines).encode()


def actions(payload: bytes) -> Iterator[tuple[str, bytes]]:
    """(action, the line of its document) one after the other; an action that is none is `?`, and its line is left.

    Raises DecodeError where the first line is no action."""
    lines = [line for line in payload.split(b"\n") if line.strip()]
    at = 0
    while at < len(lines):
        action = _action(lines[at])
        if not action and at == 0:
            raise DecodeError(
                f'found {lines[0][:40]!r}, expected an action such as {{"create":{{}}}} on the first line'
            )
        at += 1
        if action in ("delete", ""):
            yield action or "?", b""
            continue
        yield action, lines[at] if at < len(lines) else b""
        at += 1


def _action(line: bytes) -> str:
    """The one key of an action line; empty where it is none."""
    try:
        found = load(line) if len(line) < 10_000 else None
    except ValueError:
        return ""
    if type(found) is dict and len(found) == 1:
        action = next(iter(found))
        return action if action in ("index", "create", "update", "delete") else ""
    return ""


class _Unnameable(ValueError):
    """No series can have such a key. Its text is the reason."""


class _Leaves:
    """What was found in one document."""

    def __init__(self) -> None:
        self.count = 0
        self.time: Any = None
        self.message: str | None = None
        self.labels: list[tuple[str, str]] = []
        self.paths: list[str] = []
        self.values: list[float] = []

    def number(self, path: str, value: Any, number: int, fields: Refusals) -> None:
        """Take a number."""
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            self.paths.append(path)
            self.values.append(found)
        else:
            fields.add("not_finite", f"document {number}, field {path}")

    def other(self, path: str, kind: type, number: int, fields: Refusals) -> None:
        """Note what is neither number nor label and stands where readings do."""
        if path.partition(".")[0] not in SURROUNDING:
            fields.add("list" if kind is list else "string_field", f"document {number}, field {path}")


class _Rows:
    """What came of all documents."""

    def __init__(self) -> None:
        self.id, self.time, self.value = array("i"), array("q"), array("d")
        self.events: list[Event] = []
        self.fields = Refusals()
        self._named: list[Rejected] = []
        self._more: dict[str, int] = {}

    def extend(self, ids: Sequence[int], time: int, values: Sequence[float]) -> None:
        """Add the rows of a document."""
        self.id.extend(ids)
        self.value.extend(values)
        self.time.extend([time] * len(ids))

    def refuse(self, number: int, reason: str, detail: str) -> None:
        """Leave out a document."""
        if len(self._named) < MAX_NAMED:
            self._named.append(Rejected(f"document {number}", reason, 1, detail[:80]))
        else:
            self._more[reason] = self._more.get(reason, 0) + 1

    def listed(self) -> list[Rejected]:
        """Documents that were left out, the first ones by number, then fields."""
        return self._named + [Rejected("more documents", r, n) for r, n in self._more.items()] + self.fields.listed()
