"""CSV: a table of numbers with a header, wide (a column a series) or long (a column of names and one of values)."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Sequence
from typing import Literal
from zoneinfo import ZoneInfo

from almenara.codecs._csv_layout import Choice, Layout
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import SeriesTable, label_name
from almenara.model.time import format_time
from almenara.plugin.contracts import Context

_MAX_SERIES = 200_000
_HEAD_BYTES = 256 * 1024


class Csv:
    """CSV with separators `,` `;` tab or `|`, found by themselves. Columns of numbers are values, of texts labels.

    Wide: `time,host,cpu,memory` becomes the series `cpu{host=...}` and `memory{host=...}`. Long: with a column `value`
    and one called `series`, `metric` or `name`, that column names the series; `series` may hold labels, as in
    `temperature{city="Mumbai"}`, which is how `almenara export` writes. The time is the column called time, timestamp,
    ts, date or datetime: a number of any unit or an ISO 8601 text, or by `time_format`; without one all rows get the
    time of receipt. UTF-8, with or without a byte order mark, UTF-16 with one, otherwise Latin-1. Cells that are empty,
    NA, null or `-` have no row; NaN is a value known to be missing.

    Rejected by name and line: `bad_row` (another number of cells), `bad_time`, `not_a_number`, `not_finite`, `no_name`,
    `key_too_long`, `not_utf8`.

    Options:
        separator: One character; empty: found by itself.
        decimal: The decimal mark; auto: a comma where cells have one and the separator is none.
        header: Whether the first row has titles; auto: it has unless a cell of it is a number or a time.
        columns: Titles where there is no header.
        time_column: The column of the time; empty: by its title.
        time_format: Format of the time as in Python's strptime, such as %d.%m.%Y %H:%M:%S.
        time_unit: Unit of numeric times; auto tells s, ms, us and ns by their size.
        zone: Time zone of times without an offset, such as Europe/Berlin.
        value_columns: If given, only these are values.
        label_columns: Columns that are labels even where they hold numbers.
        drop_columns: Columns to leave out.
        name_column: The column that names the series; empty: by its title.
        topic_label: The label that gets the topic; empty for none.
    """

    def __init__(
        self,
        *,
        separator: str = "",
        decimal: Literal["auto", ".", ","] = "auto",
        header: Literal["auto", "yes", "no"] = "auto",
        columns: Sequence[str] = (),
        time_column: str = "",
        time_format: str = "",
        time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto",
        zone: str = "UTC",
        value_columns: Sequence[str] = (),
        label_columns: Sequence[str] = (),
        drop_columns: Sequence[str] = (),
        name_column: str = "",
        topic_label: str = "",
    ):
        separator = {"tab": "\t", "\\t": "\t"}.get(separator, separator)
        if len(separator) > 1 or separator in ('"', "\n", "\r") or not separator.isascii():
            raise ValueError(f"separator: found {separator!r}, expected one character, or tab")
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"zone: found {zone!r}, expected a time zone such as Europe/Berlin") from error
        self._choice = Choice(
            separator, decimal, header, columns, time_column, time_format, time_unit, zone, _lower(value_columns),
            _lower(label_columns), _lower(drop_columns), name_column, label_name(topic_label) if topic_label else "",
        )  # fmt: skip
        self._table = SeriesTable()

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all lines; DecodeError where there is no column of numbers, or one that was named is missing."""
        if len(self._table) > _MAX_SERIES:
            self._table = SeriesTable()
        payload = plain(payload)
        if not payload.strip():
            return Decoded(Batch.of(()))
        layout = self._layout(payload)
        start, line = self._first_row(payload, layout)
        try:
            from almenara.codecs._csv_reader import Reader
        except ImportError as error:
            raise MissingExtra("reading CSV", "hub") from error
        decoded = Reader(layout, self._table, context.topic, context.received_ns).compiled(payload, start, line)
        if not len(decoded.batch) and decoded.rejected:
            first = decoded.rejected[0]
            raise DecodeError(f"no row can be read as CSV; {first.where}: {first.detail or first.reason}")
        return decoded

    def in_parts(self, head: bytes, topic: str, received_ns: int) -> Callable[[bytes, int], Decoded]:
        """What reads a table of any size in blocks of whole lines, each with the number of its first line from 1; the
        columns are told by `head`, the first block. Raises DecodeError as `decode`."""
        if not (head := plain(head)).strip():
            return lambda text, line: Decoded(Batch.of(()))
        layout = self._layout(head)
        begin, below = self._first_row(head, layout)
        try:
            from almenara.codecs._csv_reader import Reader
        except ImportError as error:
            raise MissingExtra("reading CSV", "hub") from error

        def read(text: bytes, line: int) -> Decoded:
            start, line = (begin, below) if line == 1 else (0, line)
            return Reader(layout, self._table, topic, received_ns).compiled(text, start, line)

        return read

    def _layout(self, payload: bytes) -> Layout:
        head = payload[:_HEAD_BYTES]
        if len(payload) > len(head):
            head = head[: head.rfind(b"\n") + 1] or head
        try:
            return Layout(io.StringIO(head.decode(errors="replace"), newline="").readlines(), self._choice)
        except csv.Error as error:
            raise DecodeError(f"no CSV: {error}") from error

    def _first_row(self, payload: bytes, layout: Layout) -> tuple[int, int]:
        """(where data begins, the number of its line from 1)."""
        start, line = 0, 1
        while layout.has_header and start < len(payload):
            stop = payload.find(b"\n", start) + 1 or len(payload)
            blank, start, line = not payload[start:stop].strip(), stop, line + 1
            if not blank:
                break
        return start, line

    def encode(self, batch: Batch) -> bytes:
        """Long form with the columns time, series, value."""
        names = {int(id): '"' + str(batch.series[id]).replace('"', '""') + '"' for id in set(batch.id)}
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        lines = [f"{format_time(int(t))},{names[i]},{'NaN' if v != v else repr(float(v))}\n" for i, t, v in rows]
        return ("time,series,value\n" + "".join(lines)).encode()


def _lower(names: Sequence[str]) -> frozenset[str]:
    return frozenset(map(str.lower, names))


def plain(payload: bytes) -> bytes:
    """The payload as UTF-8 without a byte order mark, whose lines end with LF or CR LF."""
    payload = _utf8(payload)
    if payload.count(b"\r") != payload.count(b"\r\n"):
        return payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return payload


def _utf8(payload: bytes) -> bytes:
    if payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return payload.decode("utf-16", errors="replace").encode()
    payload = payload.removeprefix(codecs.BOM_UTF8)
    if payload.isascii():
        return payload
    try:
        payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1").encode()
    return payload
