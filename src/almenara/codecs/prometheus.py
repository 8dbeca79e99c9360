"""The text that Prometheus scrapes and this hub shows at /metrics: `http_requests_total{code="200"} 1027`.

Standard: text exposition format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping

from almenara.codecs._bounds import check_count
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, Metadata, SeriesTable, encode_key
from almenara.plugin.contracts import Context

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(,|$)')
_FLOAT = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.)")
_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_SHOWN = 20  # rejected lines that are reported one by one; the rest are only counted
_DETAIL = 80

#: Series that a decoder remembers before it starts afresh.
_MAX_SERIES = 200_000


class _Bad(ValueError):
    """A line that is left out; args: reason, detail."""


class Prometheus:
    """Prometheus text format 0.0.4. Buckets, sums and counts of a histogram are rows like any other.

    Time stamps are milliseconds; lines without one get the time of receipt. NaN is a value known to be missing. TYPE
    and HELP become the metadata of the series they speak of. Rejected by name: `bad_line`, `not_finite` (infinite
    values), `not_utf8`, `key_too_long`, `too_many_labels`, `time_out_of_range`.

    Options:
        timestamps: Write the time of each row; without it a reader takes rows as measured when it reads them.
    """

    def __init__(self, *, timestamps: bool = True):
        self._timestamps = timestamps
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._ids: dict[bytes, int] = {}  # series as written -> id

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all lines that can be read; DecodeError if there are samples and none of them can."""
        if len(self._ids) > _MAX_SERIES:
            self._forget()
        check_count(payload, b"\n")
        ids, times, values = array("i"), array("q"), array("d")
        rejected: list[tuple[int, str, str]] = []
        told = _Told()
        for number, line in enumerate(payload.split(b"\n"), 1):
            line = line.strip()
            if line[:1] == b"#":
                told.read(line)
            elif line:
                try:
                    id, time, value = self._sample(line, context.received_ns)
                except _Bad as bad:
                    rejected.append((number, *bad.args))
                    continue
                ids.append(id)
                times.append(time)
                values.append(value)
        if rejected and not ids and all(reason in ("bad_line", "not_utf8") for _, reason, _ in rejected):
            number, _, detail = rejected[0]
            raise DecodeError(f"no line can be read as Prometheus text; line {number}: {detail}")
        batch = Batch(self._table, ids, times, values)
        return Decoded(batch, rejected=_summary(rejected), metadata=told.metadata(self._table, set(ids)))

    def _sample(self, line: bytes, received_ns: int) -> tuple[int, int, float]:
        """(id, time, value) of a line that is no comment."""
        stop = line.rfind(b"}") + 1 or len(line.split(None, 1)[0])
        series, rest = line[:stop], line[stop:].split()
        if not 1 <= len(rest) <= 2:
            raise _Bad("bad_line", f"found {_show(line)}, expected name{{labels}} value [milliseconds]")
        id = self._ids.get(series)
        if id is None:
            id = self._ids[series] = self._table.intern(_key(series))
        text = rest[0].decode("ascii", "replace")
        if not _FLOAT.fullmatch(text):
            raise _Bad("bad_line", f"found {text[:24]!r}, expected a number")
        value = float(text)
        if math.isinf(value):
            raise _Bad("not_finite", f"found {text[:24]!r}, expected a finite number")
        return id, (_time(rest[1]) if len(rest) == 2 else received_ns), value

    def encode(self, batch: Batch, metadata: Mapping[bytes, Metadata] | None = None) -> bytes:
        """The rows by metric, times cut to milliseconds; with metadata (by series key) also TYPE and HELP.

        Left out: infinite values. Without `timestamps` only the last row of a series is written.
        """
        rows = list(zip(batch.id, batch.time, batch.value, strict=True))
        if not self._timestamps:
            rows = list({int(i): (i, t, v) for i, t, v in rows}.values())
        lines: dict[str, list[str]] = {}  # by metric, because all lines of one must stand together
        metric: dict[int, str] = {}
        for i, t, v in rows:
            if math.isinf(v):
                continue
            if i not in metric:
                metric[i], header = _family(batch, i, metadata or {})
                lines.setdefault(metric[i], [header])
            time = f" {int(t) // 1_000_000}" if self._timestamps else ""
            lines[metric[i]].append(f"{batch.series[i]} {'NaN' if v != v else repr(float(v))}{time}\n")
        return "".join("".join(some) for some in lines.values()).encode()


class _Told:
    """What the TYPE and HELP lines of one payload say."""

    def __init__(self) -> None:
        self._kind: dict[str, str] = {}
        self._help: dict[str, str] = {}

    def read(self, line: bytes) -> None:
        """Take in a comment; what is neither TYPE nor HELP is only a comment."""
        parts = line.decode(errors="replace")[1:].strip().split(None, 2)
        if len(parts) == 3 and parts[0] == "TYPE" and parts[2].strip() in _TYPES:
            self._kind[parts[1]] = parts[2].strip()
        elif len(parts) == 3 and parts[0] == "HELP":
            self._help[parts[1]] = _unescape(parts[2])

    def metadata(self, table: SeriesTable, ids: set[int]) -> dict[bytes, Metadata]:
        """Metadata by key of these series, where there is any."""
        found: dict[bytes, Metadata] = {}
        made: dict[str, Metadata | None] = {}
        for id in ids if self._kind or self._help else ():
            name = table.keys[id].partition(b"\xff")[0].decode()
            if name not in made:
                made[name] = self._of(name)
            metadata = made[name]
            if metadata is not None:
                found[table.keys[id]] = metadata
        return found

    def _of(self, name: str) -> Metadata | None:
        base, _, part = name.rpartition("_")
        whole = self._kind.get(base)
        if name not in self._kind and part in ("bucket", "sum", "count") and whole in ("histogram", "summary"):
            return Metadata(kind="histogram" if whole == "histogram" else "counter", help=self._help.get(base, ""))
        kind = self._kind.get(name, "")
        if name not in self._kind and name not in self._help:
            return None
        return Metadata(kind={"untyped": "", "summary": "gauge"}.get(kind, kind), help=self._help.get(name, ""))


def _key(series: bytes) -> bytes:
    """The key of a series as written."""
    if len(series) > 2 * MAX_KEY_BYTES:
        raise _Bad("key_too_long", f"found {len(series)} bytes, expected at most {MAX_KEY_BYTES}")
    try:
        text = series.decode()
    except UnicodeDecodeError as error:
        raise _Bad("not_utf8", f"found {_show(series)}, expected UTF-8 ({error.reason})") from None
    name, brace, inside = text.partition("{")
    if not _NAME.fullmatch(name.rstrip()) or (brace and not inside.endswith("}")):
        raise _Bad("bad_line", f"found {_show(series)}, expected a metric name and {{labels}}")
    labels: dict[str, str] = {}
    pos, inside = 0, inside[:-1].strip() if brace else ""
    while pos < len(inside):
        match = _LABEL.match(inside, pos)
        if match is None or match[1] in labels:
            raise _Bad("bad_line", f'found {inside[pos:][:24]!r}, expected label="value", each label once')
        labels[match[1]] = _unescape(match[2])
        pos = match.end()
    if len(labels) > MAX_LABELS:
        raise _Bad("too_many_labels", f"found {len(labels)}, expected at most {MAX_LABELS}")
    key = encode_key(name.rstrip(), labels)
    if len(key) > MAX_KEY_BYTES:
        raise _Bad("key_too_long", f"found {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
    return key


def _time(text: bytes) -> int:
    if not re.fullmatch(rb"[+-]?\d{1,30}", text):
        raise _Bad("bad_line", f"found {_show(text)}, expected milliseconds")
    time = int(text) * 1_000_000
    if not -(1 << 63) <= time < 1 << 63:
        raise _Bad("time_out_of_range", f"found {_show(text)}, expected milliseconds within 64 bits of nanoseconds")
    return time


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda m: {"n": "\n"}.get(m[1], m[1]), text) if "\\" in text else text


def _show(text: bytes) -> str:
    return repr(text[:24].decode(errors="replace"))


def _summary(rejected: list[tuple[int, str, str]]) -> list[Rejected]:
    """The first lines one by one, then how many more there were of each reason."""
    listed = [Rejected(f"line {number}", reason, 1, detail[:_DETAIL]) for number, reason, detail in rejected[:_SHOWN]]
    more: dict[str, int] = {}
    for _, reason, _ in rejected[_SHOWN:]:
        more[reason] = more.get(reason, 0) + 1
    return listed + [Rejected("more lines", reason, rows) for reason, rows in more.items()]


def _family(batch: Batch, id: int, metadata: Mapping[bytes, Metadata]) -> tuple[str, str]:
    """(name, HELP and TYPE lines if there is metadata) of the metric that a series belongs to."""
    known = metadata.get(batch.series.keys[id])
    name = batch.series[id].name
    if known is None:
        return name, ""
    if known.kind == "histogram":
        name = re.sub(r"_(bucket|sum|count)$", "", name)
    help_line = known.help.replace("\\", r"\\").replace("\n", r"\n")
    kind = known.kind if known.kind in _TYPES else "untyped"
    return name, (f"# HELP {name} {help_line}\n" if help_line else "") + f"# TYPE {name} {kind}\n"
