"""Drives the compiled reader of CSV over one payload, learns its series, and reads what it left in plain Python."""

from __future__ import annotations

import csv
import io
import math
import secrets
from array import array

import numpy as np

from almenara.codecs import _csv_kernel as kernel
from almenara.codecs._bytes import hash_bytes
from almenara.codecs._csv_layout import DROP, MISSING, TIME, VALUE, Layout
from almenara.codecs._json_records import Refusals
from almenara.model.batch import Batch, Decoded
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, SeriesTable

_UNIT_NS = {"auto": 0, "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


#: A longer row is refused: the plain reader would hold up everything else while it cuts it into cells.
_MOST_ROW_BYTES = 1 << 20


class Reader:
    """Reads the rows of one payload, whose layout is known."""

    def __init__(self, layout: Layout, table: SeriesTable, topic: str, received_ns: int):
        self._layout, self._table, self._topic, self._received = layout, table, topic, received_ns
        self._refusals = Refusals()
        self._ids: dict[tuple[str, ...], list[int]] = {}
        self._id, self._time, self._value = array("i"), array("q"), array("d")
        self._where: list[tuple[int, int]] = []  # (compiled row, rows of ours that belong before it)
        self._seed = secrets.randbits(61)
        self._entries = self._used = 0
        self._memo = kernel.Memo(
            np.empty(4096, np.uint8), np.empty((64, 4), np.int64), np.empty(256, np.int32), np.full(256, -1, np.int32)
        )

    def compiled(self, payload: bytes, start: int, line: int) -> Decoded:
        """All rows from position `start` on, which is the beginning of this line."""
        buf, layout = np.frombuffer(payload, np.uint8), self._layout
        roles = np.array(layout.roles, np.int64)
        unit = _UNIT_NS[layout.choice.time_unit]
        rule = kernel.Rule(roles, ord(layout.separator), 44 if layout.comma else 46, unit, layout.plain_time,
                           self._received, self._seed)  # fmt: skip
        rows = (len(buf) - start) // 4 + len(roles) + 64
        out = kernel.Output(
            np.empty(rows, np.int32), np.empty(rows, np.int64), np.empty(rows, np.float64),
            np.empty((1024, 4), np.int64), np.empty(kernel.SCRATCH, np.uint8), np.empty(len(roles), np.float64),
        )  # fmt: skip
        s = np.zeros(kernel.CURSOR, np.int64)
        s[kernel.POS], s[kernel.LINE], s[kernel.ENTRY] = start, line, -1
        while True:
            kernel.parse(buf, rule, self._memo, out, s)
            for begin, stop, row, at in out.slow[: s[kernel.SLOW]].tolist():
                before = len(self._id)
                if stop - begin > _MOST_ROW_BYTES:
                    self._refusals.add(
                        "bad_row", f"line {at}", f"found {stop - begin} bytes, expected at most {_MOST_ROW_BYTES}"
                    )
                else:
                    self.plainly(payload[begin:stop].decode(), at)
                self._where.append((row, len(self._id) - before))
            s[kernel.SLOW] = 0
            if s[kernel.STATUS] == kernel.DONE:
                return self._merged(out, int(s[kernel.ROW]))
            if s[kernel.STATUS] == kernel.NEW:
                begin, at = int(s[kernel.POS]), int(s[kernel.LINE])
                stop, newlines = kernel.row_end(buf, begin, len(buf), rule.separator)
                identity, text = out.scratch[: s[kernel.SIZE]].tobytes(), payload[begin:stop].decode()
                if not self._learn(identity, text):
                    self.plainly(text, at)  # which says why its series cannot be
                    s[kernel.POS], s[kernel.LINE] = stop, at + newlines
            elif s[kernel.STATUS] == kernel.ROWS_FULL:
                out = out._replace(id=_twice(out.id), time=_twice(out.time), value=_twice(out.value))

    def _merged(self, out: kernel.Output, rows: int) -> Decoded:
        columns = [out.id[:rows], out.time[:rows], out.value[:rows]]
        if self._id:
            before, count = np.array(self._where, np.int64).T
            at = np.repeat(before, count)
            ours = (np.asarray(column) for column in (self._id, self._time, self._value))
            columns = [np.insert(column, at, more) for column, more in zip(columns, ours, strict=True)]
        return Decoded(Batch(self._table, *columns), rejected=self._refusals.listed())

    def _learn(self, identity: bytes, text: str) -> bool:
        """Take in the series of a row that the compiled reader has read but for its series; whether it can have one."""
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=self._layout.separator))
        refusals, self._refusals = self._refusals, Refusals()
        ids = self._ids_of(cells, 0) if len(cells) == len(self._layout.roles) else [-1]
        self._refusals = refusals
        if min(ids) < 0:
            return False
        memo, entry, offset = self._memo, self._entries, self._used
        self._entries, self._used = entry + 1, offset + len(identity)
        arena, entries = _room(memo.arena, self._used), _room(memo.entries, entry + 1)
        known = _room(memo.ids, (entry + 1) * len(ids))
        arena[offset : self._used] = np.frombuffer(identity, np.uint8)
        entries[entry] = (offset, len(identity), -1, hash_bytes(arena, offset, self._used, self._seed))
        known[entry * len(ids) : (entry + 1) * len(ids)] = ids
        slots, first = memo.slots, entry
        if 2 * (entry + 1) > len(slots):
            slots, first = np.full(4 * len(slots), -1, np.int32), 0
        self._memo = kernel.Memo(arena, entries, known, slots)
        kernel.enter(self._memo, first, entry + 1)
        return True

    def plainly(self, text: str, line: int) -> None:
        """Rows in plain Python, which is what `compiled` must equal; the first begins at this line."""
        reader, before = csv.reader(io.StringIO(text, newline=""), delimiter=self._layout.separator), 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._refusals.add("bad_row", f"line {line + before}", str(error))
                cells = []
            if cells:
                self._row(cells, line + before)
            before = reader.line_num

    def _row(self, cells: list[str], line: int) -> None:
        """One row in plain Python."""
        layout, where = self._layout, f"line {line}"
        if len(cells) != len(layout.roles):
            self._refusals.add("bad_row", where, f"found {len(cells)} cells, expected {len(layout.roles)}")
            return
        try:
            time = self._received if layout.time_at < 0 else layout.time(cells[layout.time_at], self._received)
        except (ValueError, OverflowError) as error:
            self._refusals.add("bad_time", where, str(error), len(layout.values))
            return
        for id, at in zip(self._ids_of(cells, line), layout.values, strict=True):
            cell = cells[at].strip()
            if id < 0 or cell.lower() in MISSING:
                continue
            value = layout.number(cell)
            if value is None:
                self._refusals.add("not_a_number", f"{where}, column {layout.names[at]}"[:80], f"found {cell[:30]!r}")
            elif math.isinf(value):
                self._refusals.add("not_finite", f"{where}, column {layout.names[at]}"[:80])
            else:
                self._id.append(id)
                self._time.append(time)
                self._value.append(value)

    def _ids_of(self, cells: list[str], line: int) -> list[int]:
        """The series of a row's values, -1 where there can be none."""
        layout = self._layout
        telling = tuple(cell for cell, role in zip(cells, layout.roles, strict=True) if role not in (VALUE, TIME, DROP))
        found = self._ids.get(telling)
        if found is not None:
            return found
        none, where = [-1] * len(layout.values), f"line {line}"
        try:
            keys = layout.keys(cells, self._topic)
        except UnicodeEncodeError:
            self._refusals.add("not_utf8", where, rows=len(none))
            return none
        except ValueError as error:
            self._refusals.add("no_name", where, str(error), len(none))
            return none
        if max(map(len, keys)) > MAX_KEY_BYTES or keys[0].count(b"\xff") > MAX_LABELS:
            self._refusals.add("key_too_long", where, rows=len(none))
            return none
        found = self._ids[telling] = [self._table.intern(key) for key in keys]
        return found


def _room(array: np.ndarray, size: int) -> np.ndarray:
    if size <= len(array):
        return array
    return np.concatenate([array, np.empty((max(size, 2 * len(array)) - len(array), *array.shape[1:]), array.dtype)])


def _twice(column: np.ndarray) -> np.ndarray:
    return np.concatenate([column, np.empty_like(column)])
