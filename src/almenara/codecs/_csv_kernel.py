"""The compiled loop over the rows of a CSV payload; called by `almenara.codecs._csv_reader`, which checks its arrays.

A row's name and label cells, as they stand, tell its series: the memo knows them, guessed from what followed last time
and confirmed by comparing bytes. At a row with new ones the call ends for Python to learn them. Rows with a cell that
is not as expected are listed for Python.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from almenara._compiled import njit
from almenara.codecs._bytes import hash_bytes, same
from almenara.codecs._csv_layout import DROP, TIME, VALUE
from almenara.codecs._decimal import EXACT, to_float
from almenara.codecs._json_tokens import ODD, iso_time, number, scaled

OFFSET, LENGTH, NEXT, HASH = 0, 1, 2, 3  # columns of entries; entry e has the ids [e * values, (e + 1) * values)
# The cursor; SIZE is the length of the identity of the row at POS.
POS, LINE, ROW, SLOW, STATUS, ENTRY, SIZE = 0, 1, 2, 3, 4, 5, 6
CURSOR = 7
DONE, ROWS_FULL, LIST_FULL, NEW = 0, 1, 2, 3
SCRATCH = 8192
_MAX_DIGITS = 18


class Memo(NamedTuple):
    """arena: uint8; entries: int64[n, 4]; ids: int32; slots: int32[power of two], -1 empty."""

    arena: np.ndarray
    entries: np.ndarray
    ids: np.ndarray
    slots: np.ndarray


class Output(NamedTuple):
    """id, time, value: columns; slow: int64[k, 4], (start, stop, row, line); scratch: uint8[SCRATCH]; cells:
    float64[columns], of one row."""

    id: np.ndarray
    time: np.ndarray
    value: np.ndarray
    slow: np.ndarray
    scratch: np.ndarray
    cells: np.ndarray


class Rule(NamedTuple):
    """roles: int64[columns]; bytes of the separator and the decimal mark; unit_ns of times, 0 auto."""

    roles: np.ndarray
    separator: int
    decimal: int
    unit_ns: int
    plain_time: bool
    received: int
    seed: int


@njit(cache=True, nogil=True, _nrt=False)
def enter(memo: Memo, first: int, count: int) -> None:
    """Enter entries first..count into the hash table, which has room for them."""
    mask = len(memo.slots) - 1
    for entry in range(first, count):
        at = memo.entries[entry, HASH] & mask
        while memo.slots[at] >= 0:
            at = (at + 1) & mask
        memo.slots[at] = entry


@njit(cache=True, nogil=True, _nrt=False)
def _find(memo: Memo, text: np.ndarray, size: int, previous: int, seed: int) -> int:
    entries = memo.entries
    guess = int(entries[previous, NEXT]) if previous >= 0 else -1
    if guess >= 0 and entries[guess, LENGTH] == size and same(text, 0, size, memo.arena, entries[guess, OFFSET], size):
        return guess
    hashed = hash_bytes(text, 0, size, seed)
    mask = len(memo.slots) - 1
    at = hashed & mask
    while memo.slots[at] >= 0:
        entry = memo.slots[at]
        row = entries[entry]
        if row[HASH] == hashed and row[LENGTH] == size and same(text, 0, size, memo.arena, row[OFFSET], size):
            if previous >= 0:
                entries[previous, NEXT] = entry
            return entry
        at = (at + 1) & mask
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def row_end(buf: np.ndarray, pos: int, end: int, separator: int) -> tuple:
    """(position after the row that begins at pos, newlines in it); a newline in a quoted cell does not end it."""
    newlines, opening = 0, True
    while pos < end:
        c = buf[pos]
        pos += 1
        if c == 34 and opening:
            while pos < end and not (buf[pos] == 34 and (pos + 1 == end or buf[pos + 1] != 34)):
                newlines += buf[pos] == 10
                pos += 2 if buf[pos] == 34 else 1
            pos += 1
        elif c == 10:
            return pos, newlines + 1
        opening = c == separator
    return end, newlines


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _cell(buf: np.ndarray, pos: int, end: int, separator: int) -> tuple:
    """(start, stop, position of what ends it) of the content of the cell at pos; stop -1 where its quotes are odd."""
    start = pos
    if pos < end and buf[pos] == 34:
        pos += 1
        while pos < end:
            if buf[pos] == 34:
                if pos + 1 < end and buf[pos + 1] == 34:
                    pos += 1
                else:
                    break
            pos += 1
        after = pos + 1
        if after < end and buf[after] == 13 and (after + 1 == end or buf[after + 1] == 10):
            after += 1
        if pos >= end or (after < end and buf[after] != separator and buf[after] != 10):
            return start, -1, pos
        return start + 1, pos, after  # the content; its quotes stand around it
    while pos < end and buf[pos] != separator and buf[pos] != 10:
        pos += 1
    stop = pos
    if stop > start and buf[stop - 1] == 13 and (pos == end or buf[pos] == 10):
        stop -= 1
    while start < stop and buf[start] == 32:
        start += 1
    while start < stop and buf[stop - 1] == 32:
        stop -= 1
    return start, stop, pos


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _number(buf: np.ndarray, pos: int, stop: int, decimal: int) -> tuple:
    """(value, whether it can be read) of `[+-]digits[.digits][e[+-]digits]`, up to 18 digits."""
    negative = buf[pos] == 45
    pos += buf[pos] == 45 or buf[pos] == 43
    mantissa, digits, q, point = np.int64(0), 0, 0, False
    while pos < stop:
        digit = np.int64(buf[pos]) - 48
        if 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
            digits += 1
            q -= point
        elif buf[pos] == decimal and not point:
            point = True
        else:
            break
        pos += 1
    if digits == 0 or digits > _MAX_DIGITS:
        return 0.0, False
    if pos < stop and (buf[pos] == 101 or buf[pos] == 69):
        pos += 1
        down = pos < stop and buf[pos] == 45
        pos += pos < stop and (buf[pos] == 45 or buf[pos] == 43)
        first, e = pos, 0
        while pos < stop and 48 <= buf[pos] <= 57 and e < 10_000:
            e = e * 10 + int(buf[pos]) - 48
            pos += 1
        if pos == first:
            return 0.0, False
        q += -e if down else e
    value, how = to_float(mantissa, q, False)
    return (-value if negative else value), pos == stop and how == EXACT


@njit(cache=True, nogil=True, _nrt=False)
def _time(buf: np.ndarray, start: int, stop: int, rule: Rule) -> tuple:
    if not rule.plain_time:
        return 0, False
    if stop - start > 10 and buf[start + 4] == 45:
        return iso_time(buf, start, stop)
    kind, value, whole, pos = number(buf, start, stop)
    if kind == ODD or pos != stop:
        return 0, False
    return scaled(kind, value, whole, rule.unit_ns)


@njit(cache=True, nogil=True, _nrt=False)
def _row(buf: np.ndarray, pos: int, end: int, rule: Rule, out: Output, s: np.ndarray) -> tuple:
    """(whether it is as expected, its time, position after it): values go to out.cells, -inf where there is none."""
    columns, size, time = len(rule.roles), 0, np.int64(rule.received)
    for column in range(columns):
        start, stop, pos = _cell(buf, pos, end, rule.separator)
        role = rule.roles[column]
        last = column == columns - 1
        if stop < 0 or (last != (pos == end or buf[pos] == 10)):
            return False, time, pos
        pos += 1
        if role == VALUE:
            out.cells[column] = -np.inf
            if stop > start:
                value, right = _number(buf, start, stop, rule.decimal)
                if not right:
                    return False, time, pos
                out.cells[column] = value
        elif role == TIME:
            time, right = _time(buf, start, stop, rule)
            if not right:
                return False, time, pos
        elif role != DROP:
            quoted = start > 0 and pos > stop + 1 and buf[start - 1] == 34  # what is doubled in it must not be mistaken
            start, stop = start - quoted, stop + quoted
            if size + stop - start + 1 > SCRATCH:
                return False, time, pos
            for k in range(start, stop):
                out.scratch[size] = buf[k]
                size += 1
            out.scratch[size] = 255  # which no UTF-8 text has
            size += 1
    s[SIZE] = size
    return True, time, min(pos, end)


@njit(cache=True, nogil=True, _nrt=False)
def parse(buf: np.ndarray, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> None:
    """Read rows from s[POS] on; s[STATUS] says why it ended."""
    end, columns, values = len(buf), len(rule.roles), 0
    for column in range(columns):
        values += rule.roles[column] == VALUE
    while s[POS] < end:
        start = s[POS]
        if buf[start] == 10 or (buf[start] == 13 and start + 1 < end and buf[start + 1] == 10):
            s[POS], s[LINE] = start + 1 + (buf[start] == 13), s[LINE] + 1
            continue
        right, time, _ = _row(buf, start, end, rule, out, s)
        entry = np.int64(-1)
        if right:
            entry = _find(memo, out.scratch, s[SIZE], s[ENTRY], rule.seed)
            if entry < 0:
                s[STATUS] = NEW
                return
        if s[ROW] + values > len(out.id):
            s[STATUS] = ROWS_FULL
            return
        stop, newlines = row_end(buf, start, end, rule.separator)
        if entry < 0:
            if s[SLOW] == len(out.slow):
                s[STATUS] = LIST_FULL
                return
            row = out.slow[s[SLOW]]
            row[0], row[1], row[2], row[3] = start, stop, s[ROW], s[LINE]
            s[SLOW] += 1
        else:
            s[ENTRY] = entry
            ids, row_at = entry * values, s[ROW]
            for column in range(columns):
                if rule.roles[column] == VALUE:
                    if out.cells[column] != -np.inf and memo.ids[ids] >= 0:
                        out.id[row_at], out.time[row_at] = memo.ids[ids], time
                        out.value[row_at] = out.cells[column]
                        row_at += 1
                    ids += 1
            s[ROW] = row_at
        s[POS], s[LINE] = stop, s[LINE] + newlines
    s[STATUS] = DONE
