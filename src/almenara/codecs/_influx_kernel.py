"""The compiled loop that reads Influx line protocol; called by `almenara.codecs.influx`, which checks every array.

One pass over the bytes writes rows straight into columns. What series a field belongs to is guessed from what followed
last time and confirmed by comparing bytes; a hash is made only where the guess was wrong. Keys never seen before are
listed for Python, which learns them and calls again from the first line that had one. All side lists are bounded: when
one is full the pass stops before the line it could not take, so that a call always ends between two lines.

buf, the payload, is uint8[n]; positions are offsets into it. Trap: numba keeps compiled code by the date of one file,
so after a change in `_bytes`, `_decimal` or `_influx_tokens` this file has to be saved too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from almenara._compiled import njit
from almenara.codecs._bytes import hash_bytes, put, same
from almenara.codecs._influx_tokens import (
    KEY_TOO_LONG,
    NO_END,
    NO_FIELDS,
    NO_NAME,
    NO_QUOTE,
    NO_TIME,
    NOT_FINITE,
    STRING,
    TIME_RANGE,
    after_newline,
    after_string,
    escaped_until,
    line_ends,
    read_time,
    read_value,
)
from almenara.model.series import MAX_KEY_BYTES

SHOWN = 8  # rejections of one code that are reported one by one; the rest are only counted

# Columns of the memo: `lines` is int64[lines, 6], `fields` int64[fields, 6].
OFFSET, LENGTH, NEXT, HASH = 0, 1, 2, 3  # of both; offset and length into the arena; NEXT: what came after it last time
FIRST, CODE = 4, 5  # of a line: its first field last time; 0 or why every row of it is refused
LINE, ID = 4, 5  # of a field: its line; its id in the series table, or -code

# The cursor: where the next call goes on, and what the last one said. LINE_NO counts the lines
# dealt with. PREVIOUS is the line whose successor is guessed, -1 none. NEW and SLOW: how much of these lists is filled.
POS, LINE_NO, ROW, PREVIOUS, NEW, SLOW, STATUS = 0, 1, 2, 3, 4, 5, 6
DONE, ROWS_FULL, LIST_FULL = 0, 1, 2  # STATUS
# Behind it stands the line being read: ROW, NEW, SLOW, LINE_NO, and how many values of each sort, the last where.
VALUES, NEWLINES, STRINGS, STRING_AT, NANS, NAN_AT, UNNAMED, UNNAMED_AT, UNNAMED_CODE = 0, 3, 6, 7, 8, 9, 10, 11, 12
CURSOR = 13


class Memo(NamedTuple):
    """What is known of keys. arena: uint8, their bytes; slots: int32[power of two], open hash tables, -1 empty."""

    arena: np.ndarray
    lines: np.ndarray
    fields: np.ndarray
    line_slots: np.ndarray
    field_slots: np.ndarray


class Columns(NamedTuple):
    """Where rows go. id: int32[n], time: int64[n], value: float64[n]."""

    id: np.ndarray
    time: np.ndarray
    value: np.ndarray


class Lists(NamedTuple):
    """What Python has to see.

    new: int64[k, 5], (line or -1, key start, key stop, name start, name stop), a name with its `=`. slow: int64[k, 4],
    (row, start, stop, line number) of numbers to give to `float()`. rejected: int64[CODES * SHOWN, 4], (rows, line
    number, position, line start), SHOWN a code. counts, shown: int64[CODES], rows
    rejected and entries in use.
    """

    new: np.ndarray
    slow: np.ndarray
    rejected: np.ndarray
    counts: np.ndarray
    shown: np.ndarray


@njit(cache=True, nogil=True, _nrt=False)
def hash_lines(lines: np.ndarray, first: int, count: int, arena: np.ndarray, seed: int) -> None:
    """Fill in the hashes of lines first..count."""
    for line in range(first, count):
        offset = lines[line, OFFSET]
        lines[line, HASH] = hash_bytes(arena, offset, offset + lines[line, LENGTH], seed)


@njit(cache=True, nogil=True, _nrt=False)
def hash_fields(fields: np.ndarray, first: int, count: int, arena: np.ndarray, lines: np.ndarray) -> None:
    """Fill in the hashes of fields first..count; the same name has another hash in another line."""
    for field in range(first, count):
        offset = fields[field, OFFSET]
        fields[field, HASH] = hash_bytes(
            arena, offset, offset + fields[field, LENGTH], lines[fields[field, LINE], HASH]
        )


@njit(cache=True, nogil=True, _nrt=False)
def put_all(slots: np.ndarray, table: np.ndarray, first: int, count: int) -> None:
    """Enter rows first..count of `lines` or `fields` into a hash table that has room for them."""
    for index in range(first, count):
        put(slots, table[index, HASH], index)


@njit(cache=True, nogil=True, _nrt=False)
def _find_line(buf: np.ndarray, pos: int, stop: int, seed: int, memo: Memo) -> int:
    """The line key buf[pos:stop] in the memo, -1 if it is new."""
    hashed = hash_bytes(buf, pos, stop, seed)
    mask = len(memo.line_slots) - 1
    at = hashed & mask
    while memo.line_slots[at] >= 0:
        line = memo.line_slots[at]
        row = memo.lines[line]
        if (
            row[HASH] == hashed
            and row[LENGTH] == stop - pos
            and same(buf, pos, stop, memo.arena, row[OFFSET], stop - pos)
        ):
            return line
        at = (at + 1) & mask
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def _find_field(buf: np.ndarray, pos: int, stop: int, line: int, memo: Memo) -> int:
    """The field name buf[pos:stop], with its `=`, of this line key; -1 if it is new."""
    hashed = hash_bytes(buf, pos, stop, memo.lines[line, HASH])
    mask = len(memo.field_slots) - 1
    at = hashed & mask
    while memo.field_slots[at] >= 0:
        field = memo.field_slots[at]
        row = memo.fields[field]
        if (
            row[HASH] == hashed
            and row[LINE] == line
            and row[LENGTH] == stop - pos
            and same(buf, pos, stop, memo.arena, row[OFFSET], stop - pos)
        ):
            return field
        at = (at + 1) & mask
    return -1


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _line_key(buf: np.ndarray, pos: int, end: int, previous: int, seed: int, memo: Memo) -> tuple:
    """(line or -1, where its key stops or -1) of the line that begins at pos."""
    lines = memo.lines
    guess = lines[previous, NEXT] if previous >= 0 else -1
    if guess >= 0:
        stop = pos + lines[guess, LENGTH]
        if stop < end and buf[stop] == 32 and same(buf, pos, end, memo.arena, lines[guess, OFFSET], stop - pos):
            return guess, stop
    stop = escaped_until(buf, pos, end, 32)
    if stop < 0 or stop - pos > MAX_KEY_BYTES:
        return -1, stop
    line = _find_line(buf, pos, stop, seed, memo)
    if line >= 0 and previous >= 0:
        lines[previous, NEXT] = line
    return line, stop


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _field_name(buf: np.ndarray, pos: int, end: int, line: int, last: int, memo: Memo) -> tuple:
    """(field or -1, position after the `=` or 0) of the field whose name begins at pos; last: the field before it."""
    fields = memo.fields
    if line >= 0:
        guess = fields[last, NEXT] if last >= 0 else memo.lines[line, FIRST]
        if guess >= 0 and same(buf, pos, end, memo.arena, fields[guess, OFFSET], fields[guess, LENGTH]):
            return guess, pos + fields[guess, LENGTH]
    stop = escaped_until(buf, pos, end, 61) + 1
    if line < 0 or stop <= pos + 1 or stop - pos > MAX_KEY_BYTES or (stop < end and buf[stop] == 34):
        return -1, stop
    field = _find_field(buf, pos, stop, line, memo)
    if field >= 0 and last >= 0:
        fields[last, NEXT] = field
    elif field >= 0:
        memo.lines[line, FIRST] = field
    return field, stop


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _keep(
    field: int, value: float, hard: bool, where: tuple, memo: Memo, out: Columns, lists: Lists, s: np.ndarray
) -> int:
    """Take one value: as a row, a key to learn or a rejected row. Returns DONE, ROWS_FULL or LIST_FULL.

    where: (line, line start, key stop, name start, value start, value stop).
    """
    line, start, key_stop, name_at, value_at, stop = where
    if field < 0:
        if value_at - name_at > MAX_KEY_BYTES:
            s[UNNAMED], s[UNNAMED_AT], s[UNNAMED_CODE] = s[UNNAMED] + 1, name_at, KEY_TOO_LONG
            return DONE
        if s[NEW] == len(lists.new):
            return LIST_FULL
        entry = lists.new[s[NEW]]
        entry[0], entry[1], entry[2], entry[3], entry[4] = line, start, key_stop, name_at, value_at
        s[NEW] += 1
        return DONE
    id = memo.fields[field, ID]
    if id < 0:
        s[UNNAMED], s[UNNAMED_AT], s[UNNAMED_CODE] = s[UNNAMED] + 1, name_at, -id
        return DONE
    row = s[ROW]
    if s[NEW] > 0:
        return DONE  # this pass only learns
    if row == len(out.id):
        return ROWS_FULL
    if hard:
        if s[SLOW] == len(lists.slow):
            return LIST_FULL
        entry = lists.slow[s[SLOW]]
        entry[0], entry[1], entry[2], entry[3] = row, value_at, stop, s[LINE_NO]
        s[SLOW] += 1
    out.id[row], out.value[row] = id, value
    s[ROW] = row + 1
    return DONE


@njit(cache=True, nogil=True, _nrt=False)
def _read_fields(
    buf: np.ndarray,
    pos: int,
    line: int,
    start: int,
    key_stop: int,
    refused: bool,
    memo: Memo,
    out: Columns,
    lists: Lists,
    s: np.ndarray,
) -> tuple:
    """(position after the last field, code, position of what is wrong, status) of the fields that begin at pos."""
    end, last, known = len(buf), -1, -1 if refused else line
    while True:
        name_at, newlines, status = pos, 0, DONE
        field, pos = _field_name(buf, pos, end, known, last, memo)
        if pos <= name_at + 1:
            return pos, NO_NAME, name_at, DONE
        value_at = pos
        if pos < end and buf[pos] == 34:
            pos, newlines = after_string(buf, pos + 1, end)
            if pos < 0:
                return pos, NO_QUOTE, value_at, DONE
            s[STRINGS], s[STRING_AT] = s[STRINGS] + 1, name_at
        else:
            value, code, pos, hard = read_value(buf, pos, end)
            if code == NOT_FINITE:
                s[NANS], s[NAN_AT] = s[NANS] + 1, name_at
            elif code != 0:
                return pos, code, value_at, DONE
            elif not refused:
                where = (line, start, key_stop, name_at, value_at, pos)
                status = _keep(field, value, hard, where, memo, out, lists, s)
                last = field if field >= 0 else last
        s[VALUES] += 1
        ends = line_ends(buf, pos, end) or buf[pos] == 32
        if status != DONE or (not ends and buf[pos] != 44):
            return pos, (NO_END if status == DONE else 0), value_at, status
        s[NEWLINES] += newlines
        if ends:
            return pos, 0, 0, DONE
        pos += 1


@njit(cache=True, nogil=True, _nrt=False)
def _read_tail(buf: np.ndarray, pos: int, scale: int, received: int) -> tuple:
    """(time in ns, code, position) of what follows the fields, up to the end of the line."""
    end, time, code = len(buf), received, 0
    while pos < end and buf[pos] == 32:
        pos += 1
    at = pos
    if not line_ends(buf, pos, end):
        time, code, pos = read_time(buf, pos, end, scale)
        while pos < end and buf[pos] == 32:
            pos += 1
        if not line_ends(buf, pos, end):
            return time, NO_TIME, at
    return time, code, (pos if code == 0 else at)


@njit(cache=True, nogil=True, _nrt=False)
def _reject(lists: Lists, code: int, line_no: int, at: int, start: int, rows: int) -> None:
    lists.counts[code] += rows
    if lists.shown[code] < SHOWN:
        entry = lists.rejected[code * SHOWN + lists.shown[code]]
        entry[0], entry[1], entry[2], entry[3] = rows, line_no, at, start
        lists.shown[code] += 1


@njit(cache=True, nogil=True, _nrt=False)
def parse(
    buf: np.ndarray, scale: int, received: int, seed: int, memo: Memo, out: Columns, lists: Lists, cursor: np.ndarray
) -> None:
    """Read lines from cursor[POS] on until the payload ends or a list is full; see `Columns`, `Lists` and the cursor.

    scale: ns of one unit of the time stamps. received: the time of lines without one, ns. cursor: int64[2 * CURSOR];
    it moves only over lines that are wholly dealt with, and stays before the first one that had a new key.
    """
    end, pos, line_no, previous = len(buf), cursor[POS], cursor[LINE_NO], cursor[PREVIOUS]
    new, s, cursor[STATUS], cursor[SLOW] = 0, cursor[CURSOR:], DONE, 0
    while pos < end:
        while pos < end and (buf[pos] == 32 or buf[pos] == 9):
            pos += 1
        start, line_no = pos, line_no + 1
        rows, refused, code, at, time, line = cursor[ROW], 0, 0, pos, received, previous
        s[:] = 0
        if not (line_ends(buf, pos, end) or buf[pos] == 35):
            s[ROW], s[NEW], s[SLOW], s[LINE_NO] = rows, new, cursor[SLOW], line_no
            line, key_stop = _line_key(buf, pos, end, previous, seed, memo)
            if key_stop < 0:
                code = NO_FIELDS
            else:
                pos = key_stop + 1
                while pos < end and buf[pos] == 32:
                    pos += 1
                refused = memo.lines[line, CODE] if line >= 0 else (KEY_TOO_LONG * (key_stop - start > MAX_KEY_BYTES))
                pos, code, at, status = _read_fields(buf, pos, line, start, key_stop, refused != 0, memo, out, lists, s)
                if status != DONE:
                    cursor[STATUS] = status
                    break
                if code == 0:
                    time, code, at = _read_tail(buf, pos, scale, received)
            new = s[NEW] if code == 0 else new
            line_no_after = line_no + s[NEWLINES]
            if new == 0 and code != 0:
                _reject(lists, code, line_no, at, start, max(s[VALUES], 1) if code == TIME_RANGE else 1)
            elif new == 0:
                if refused != 0 and s[VALUES] > s[STRINGS] + s[NANS]:
                    _reject(lists, refused, line_no, start, start, s[VALUES] - s[STRINGS] - s[NANS])
                if s[STRINGS]:
                    _reject(lists, STRING, line_no, s[STRING_AT], start, s[STRINGS])
                if s[NANS]:
                    _reject(lists, NOT_FINITE, line_no, s[NAN_AT], start, s[NANS])
                if s[UNNAMED]:
                    _reject(lists, s[UNNAMED_CODE], line_no, s[UNNAMED_AT], start, s[UNNAMED])
                for k in range(rows, s[ROW]):
                    out.time[k] = time
                cursor[ROW], cursor[SLOW] = s[ROW], s[SLOW]
            line_no, previous, pos = line_no_after, line, (at if code else pos)
        pos = after_newline(buf, pos, end)
        if new == 0:
            cursor[POS], cursor[LINE_NO], cursor[PREVIOUS] = pos, line_no, previous
    cursor[NEW] = new
