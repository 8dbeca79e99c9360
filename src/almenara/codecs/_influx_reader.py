"""Drives the compiled reader of line protocol over a payload: room for rows, new keys, hard numbers, rejections."""

from __future__ import annotations

import numpy as np

from almenara.codecs import _influx_kernel as kernel
from almenara.codecs import _influx_tokens as tokens
from almenara.codecs._bounds import check_new
from almenara.codecs._influx_memo import BadKey, Memory, parse_key
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError

_EXPECTED = {
    tokens.NO_FIELDS: "measurement,tags and after a space field=value",
    tokens.NO_NAME: "field=value",
    tokens.NO_VALUE: "a number, a boolean or a quoted string",
    tokens.NO_QUOTE: "a string that ends with a quote",
    tokens.NO_END: "a comma, a space or the end of the line after the value",
    tokens.NO_TIME: "a whole number as time",
    tokens.NO_INTEGER: "an integer of 64 bits",
    tokens.TIME_RANGE: "a time within 64 bits of nanoseconds",
    tokens.KEY_TOO_LONG: "a key of at most 4096 bytes",
    tokens.NOT_UTF8: "UTF-8",
    tokens.STRING: "a number or a boolean",
    tokens.NOT_FINITE: "a finite number",
}
_REASON = {
    tokens.NOT_UTF8: "not_utf8",
    tokens.KEY_TOO_LONG: "key_too_long",
    tokens.DUPLICATE_TAG: "duplicate_tag",
    tokens.TOO_MANY_LABELS: "too_many_labels",
    tokens.TIME_RANGE: "time_out_of_range",
    tokens.STRING: "string_field",
    tokens.NOT_FINITE: "not_finite",
}
#: Characters that are kept of what is wrong, and of the line it is wrong in.
_DETAIL, _LINE = 80, 60


class Reader:
    """Reads one payload after the other; what it remembers of keys is in `memory`."""

    def __init__(self, max_series: int, max_bytes: int):
        self._limits = max_series, max_bytes
        self._memory = Memory(*self._limits)
        self._rows_per_byte = 0.0  # of the last payload: how much room the next one will want

    def read(self, payload: bytes, scale: int, received_ns: int) -> Decoded:
        """All rows of a payload. scale: ns of one unit of its time stamps."""
        if self._memory.full:
            self._memory = Memory(*self._limits)
        columns, lists, cursor = self._parse(np.frombuffer(payload, np.uint8), payload, scale, received_ns)
        rows = int(cursor[kernel.ROW])
        rejected = _rejections(payload, lists)
        if rows == 0 and rejected and {r.reason for r in rejected} <= {"bad_line", "not_utf8"}:
            first = rejected[0]
            raise DecodeError(
                f"no line of {int(cursor[kernel.LINE_NO])} can be read as Influx line protocol; "
                f"{first.where}: {first.detail}"
            )
        kept: tuple[np.ndarray, ...] = tuple(column[:rows] for column in columns)
        if lists.counts[tokens.NOT_FINITE]:  # a hard number may have turned out to be past the largest float
            finite = np.isfinite(columns.value[:rows])
            kept = tuple(column[finite] for column in kept)
        self._rows_per_byte = rows / max(len(payload), 1)
        return Decoded(Batch(self._memory.table, *kept), rejected=rejected)

    def _parse(
        self, buf: np.ndarray, payload: bytes, scale: int, received_ns: int
    ) -> tuple[kernel.Columns, kernel.Lists, np.ndarray]:
        columns = _columns(int(len(buf) * self._rows_per_byte * 1.1) + 1024)
        lists, cursor = _lists(1024), np.zeros(2 * kernel.CURSOR, np.int64)
        cursor[kernel.PREVIOUS] = -1
        known = len(self._memory.table)
        while True:
            kernel.parse(buf, scale, received_ns, self._memory.seed, self._memory.view, columns, lists, cursor)
            new, slow, status = (int(cursor[k]) for k in (kernel.NEW, kernel.SLOW, kernel.STATUS))
            for row, start, stop, line_no in lists.slow[:slow].tolist():
                columns.value[row] = value = float(payload[start:stop])
                if not np.isfinite(value):
                    _reject(lists, tokens.NOT_FINITE, line_no, start, payload.rfind(b"\n", 0, start) + 1)
            if new:
                self._memory.learn(payload, lists.new[:new])
                check_new(len(self._memory.table) - known)
            elif status == kernel.ROWS_FULL:
                columns = _longer(columns)
            elif status == kernel.LIST_FULL and slow == 0:
                lists = lists._replace(
                    new=np.empty((2 * len(lists.new), 5), np.int64), slow=np.empty((2 * len(lists.slow), 4), np.int64)
                )
            elif status == kernel.DONE:
                return columns, lists, cursor


def _columns(rows: int) -> kernel.Columns:
    return kernel.Columns(np.empty(rows, np.int32), np.empty(rows, np.int64), np.empty(rows, np.float64))


def _longer(columns: kernel.Columns) -> kernel.Columns:
    """The columns with their rows, twice as long."""
    return kernel.Columns(*(np.concatenate([column, np.empty_like(column)]) for column in columns))


def _lists(size: int) -> kernel.Lists:
    return kernel.Lists(
        np.empty((size, 5), np.int64),
        np.empty((size, 4), np.int64),
        np.zeros((tokens.CODES * kernel.SHOWN, 4), np.int64),
        np.zeros(tokens.CODES, np.int64),
        np.zeros(tokens.CODES, np.int64),
    )


def _reject(lists: kernel.Lists, code: int, line_no: int, at: int, start: int) -> None:
    lists.counts[code] += 1
    if lists.shown[code] < kernel.SHOWN:
        lists.rejected[code * kernel.SHOWN + lists.shown[code]] = (1, line_no, at, start)
        lists.shown[code] += 1


def _rejections(payload: bytes, lists: kernel.Lists) -> list[Rejected]:
    """The first few of each kind one by one, by line; then how many more there were of each reason."""
    listed: list[tuple[int, Rejected]] = []
    more: dict[str, int] = {}
    for code in np.flatnonzero(lists.counts).tolist():
        reason, left = _REASON.get(code, "bad_line"), int(lists.counts[code])
        first = code * kernel.SHOWN
        for rows, line_no, at, start in lists.rejected[first : first + lists.shown[code]].tolist():
            listed.append((line_no, Rejected(f"line {line_no}", reason, rows, _detail(payload, code, at, start))))
            left -= rows
        if left:
            more[reason] = more.get(reason, 0) + left
    listed.sort(key=lambda pair: pair[0])
    return [one for _, one in listed] + [Rejected("more lines", reason, rows) for reason, rows in more.items()]


def _detail(payload: bytes, code: int, at: int, start: int) -> str:
    """What is wrong, and the line."""
    line = payload[start : start + 4 * _LINE].split(b"\n")[0].decode(errors="replace")
    shown = line if len(line) <= _LINE else line[:_LINE] + "..."
    return f"{_wrong(payload, code, at, start)[:_DETAIL]} in {shown!r}"


def _wrong(payload: bytes, code: int, at: int, start: int) -> str:
    if code in (tokens.BAD_KEY, tokens.NOT_UTF8, tokens.DUPLICATE_TAG, tokens.TOO_MANY_LABELS):
        try:
            parse_key(_key_at(payload, start))
        except BadKey as error:
            return str(error)
    found = payload[at : at + 40].split(b"\n")[0].decode(errors="replace")
    return f"found {found[:24]!r}, expected {_EXPECTED[code]}"


def _key_at(payload: bytes, start: int) -> bytes:
    r"""The line key that begins at start: up to the first space that no backslash escapes."""
    stop = payload.find(b" ", start)
    while stop > start and payload[stop - 1] == 92:
        stop = payload.find(b" ", stop + 1)
    return payload[start : stop if stop >= 0 else None]
