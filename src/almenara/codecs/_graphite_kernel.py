"""The compiled loop that reads Graphite plaintext; called by `almenara.codecs._graphite_reader`, which checks arrays.

One pass over the bytes writes rows straight into columns. Which series a path belongs to is guessed from what followed
last time and confirmed by comparing bytes; a hash is made only where the guess was wrong. Rows of paths never seen
before are written with the id -1 and listed for Python. All side lists are bounded: when one is full the pass stops
before the line it could not take, and the next call goes on there.

buf, the payload, is uint8[n]; positions are offsets into it. Trap: numba keeps compiled code by the date of one file,
so after a change in `_bytes` or `_decimal` this file has to be saved too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from almenara._compiled import njit
from almenara.codecs._bytes import hash_bytes, put, same
from almenara.codecs._decimal import BAD, HARD, scan
from almenara.codecs._graphite_path import KEY_TOO_LONG, NO_TIME, NO_VALUE, NOT_FINITE, TIME_RANGE
from almenara.model.series import MAX_KEY_BYTES

SHOWN = 8  # rejections of one code that are reported one by one; the rest are only counted

# Columns of `paths`, int64[paths, 5]. NEXT: the path that came after it last time, -1 none. ID: its series, or -code.
OFFSET, LENGTH, NEXT, HASH, ID = 0, 1, 2, 3, 4

# The cursor: where the next call goes on, and how much of each list is filled.
POS, LINE_NO, ROW, PREVIOUS, NEW, SLOW, FULL = 0, 1, 2, 3, 4, 5, 6
CURSOR = 7

_LAST = (1 << 63) - 1
_NS = 1_000_000_000


class Memo(NamedTuple):
    """What is known of paths. arena: uint8, their bytes; slots: int32[power of two], an open hash table, -1 empty."""

    arena: np.ndarray
    paths: np.ndarray
    slots: np.ndarray


class Columns(NamedTuple):
    """Where rows go, one for each line at most. id: int32[n], time: int64[n], value: float64[n]."""

    id: np.ndarray
    time: np.ndarray
    value: np.ndarray


class Lists(NamedTuple):
    """What Python has to see.

    new: int64[k, 4], (row, path start, path stop, line number). slow: int64[k, 4], (row, start, stop, line number) of
    numbers to give to `float()`. rejected: int64[CODES * SHOWN, 3], (line number, position, line start), SHOWN a
    code. counts: int64[CODES].
    """

    new: np.ndarray
    slow: np.ndarray
    rejected: np.ndarray
    counts: np.ndarray


@njit(cache=True, nogil=True, _nrt=False)
def enter(memo: Memo, first: int, count: int, seed: int) -> None:
    """Hash paths first..count and put them into the slots, which have room for them."""
    for index in range(first, count):
        row = memo.paths[index]
        row[HASH] = hash_bytes(memo.arena, row[OFFSET], row[OFFSET] + row[LENGTH], seed)
        put(memo.slots, row[HASH], index)


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _is_blank(c: int) -> bool:
    return c == 32 or c == 9


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _line_ends(buf: np.ndarray, pos: int, end: int) -> bool:
    return pos >= end or buf[pos] == 10 or (buf[pos] == 13 and (pos + 1 == end or buf[pos + 1] == 10))


@njit(cache=True, nogil=True, _nrt=False)
def _after_blanks(buf: np.ndarray, pos: int, end: int) -> int:
    while pos < end and _is_blank(buf[pos]):
        pos += 1
    return pos


@njit(cache=True, nogil=True, _nrt=False)
def _after_word(buf: np.ndarray, pos: int, end: int) -> int:
    while not _line_ends(buf, pos, end) and not _is_blank(buf[pos]):
        pos += 1
    return pos


@njit(cache=True, nogil=True, _nrt=False)
def _find(buf: np.ndarray, pos: int, stop: int, seed: int, memo: Memo) -> int:
    """The path buf[pos:stop] in the memo, -1 if it is new."""
    hashed = hash_bytes(buf, pos, stop, seed)
    mask = len(memo.slots) - 1
    at = hashed & mask
    while memo.slots[at] >= 0:
        path = memo.slots[at]
        row = memo.paths[path]
        equal = row[HASH] == hashed and row[LENGTH] == stop - pos
        if equal and same(buf, pos, stop, memo.arena, row[OFFSET], stop - pos):
            return path
        at = (at + 1) & mask
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def _path(buf: np.ndarray, pos: int, end: int, previous: int, seed: int, memo: Memo) -> tuple:
    """(path or -1, where it stops) of the line that begins at pos."""
    guess = memo.paths[previous, NEXT] if previous >= 0 else -1
    if guess >= 0:
        length = memo.paths[guess, LENGTH]
        if (
            pos + length < end
            and _is_blank(buf[pos + length])
            and same(buf, pos, end, memo.arena, memo.paths[guess, OFFSET], length)
        ):
            return guess, pos + length
    stop = _after_word(buf, pos, end)
    if stop - pos > MAX_KEY_BYTES:
        return -1, stop
    path = _find(buf, pos, stop, seed, memo)
    if path >= 0 and previous >= 0:
        memo.paths[previous, NEXT] = path
    return path, stop


@njit(cache=True, nogil=True, _nrt=False)
def _is_no_number(buf: np.ndarray, pos: int, stop: int) -> bool:
    """Whether buf[pos:stop] is nan, inf or infinity, signed or not."""
    pos += buf[pos] == 43 or buf[pos] == 45
    if stop - pos > 8:
        return False
    word = np.int64(0)
    for k in range(pos, stop):
        word = word << 8 | np.int64(buf[k]) | 32
    return word == 0x6E616E or word == 0x696E66 or word == 0x696E66696E697479


@njit(cache=True, nogil=True, _nrt=False)
def _value(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(value, code, position after it, it has to go to `float()`)."""
    value, stop, how = scan(buf, pos, end)
    if how != BAD and (_line_ends(buf, stop, end) or _is_blank(buf[stop])):
        return value, 0, stop, how == HARD
    stop = _after_word(buf, pos, end)
    if stop > pos and _is_no_number(buf, pos, stop):
        return 0.0, NOT_FINITE, stop, False
    return 0.0, NO_VALUE, stop, False


@njit(cache=True, nogil=True, _nrt=False)
def _time(buf: np.ndarray, pos: int, end: int, received: int) -> tuple:
    """(time in ns, code) of the rest of a line: seconds with up to 9 decimals; nothing, N or -1 mean now."""
    pos = _after_blanks(buf, pos, end)
    if _line_ends(buf, pos, end):
        return received, 0
    negative = buf[pos] == 45
    stop = _after_word(buf, pos, end)
    if not _line_ends(buf, _after_blanks(buf, stop, end), end):
        return 0, NO_TIME
    if stop - pos == 1 and buf[pos] == 78:
        return received, 0
    pos += negative
    seconds, fraction, digits, scale = np.int64(0), np.int64(0), 0, _NS
    while pos < stop and 48 <= buf[pos] <= 57:
        if digits == 18:
            return 0, TIME_RANGE
        seconds = seconds * 10 + np.int64(buf[pos]) - 48
        digits += 1
        pos += 1
    if pos < stop and buf[pos] == 46:
        pos += 1
        while pos < stop and 48 <= buf[pos] <= 57:
            scale //= 10
            fraction += (np.int64(buf[pos]) - 48) * scale
            digits += 1
            pos += 1
    if digits == 0 or pos < stop:
        return 0, NO_TIME
    if negative:
        return (received, 0) if seconds == 1 and fraction == 0 else (0, TIME_RANGE)
    if seconds > _LAST // _NS - 1:
        return 0, TIME_RANGE
    return seconds * _NS + fraction, 0


@njit(cache=True, nogil=True, _nrt=False)
def _reject(lists: Lists, code: int, line_no: int, at: int, start: int) -> None:
    if lists.counts[code] < SHOWN:
        entry = lists.rejected[code * SHOWN + lists.counts[code]]
        entry[0], entry[1], entry[2] = line_no, at, start
    lists.counts[code] += 1


@njit(cache=True, nogil=True, _nrt=False)
def parse(
    buf: np.ndarray, received: int, seed: int, memo: Memo, out: Columns, lists: Lists, cursor: np.ndarray
) -> None:
    """Read lines from cursor[POS] on until the payload ends or a list is full (cursor[FULL]).

    received: the time of lines that mean now, ns. out has room for a row of every line that is left.
    """
    end, pos, line_no, row, previous = len(buf), cursor[POS], cursor[LINE_NO], cursor[ROW], cursor[PREVIOUS]
    new, slow = 0, 0
    cursor[FULL] = 0
    while pos < end:
        if new == len(lists.new) or slow == len(lists.slow):
            cursor[FULL] = 1
            break
        line_no += 1
        pos = start = _after_blanks(buf, pos, end)
        if not _line_ends(buf, pos, end):
            path, pos = _path(buf, pos, end, previous, seed, memo)
            stop, value_at = pos, _after_blanks(buf, pos, end)
            value, code, pos, hard = _value(buf, value_at, end)
            at = value_at
            if code == 0:
                at = _after_blanks(buf, pos, end)
                time, code = _time(buf, pos, end, received)
            if stop - start > MAX_KEY_BYTES:
                code, at = KEY_TOO_LONG, start
            elif code == 0 and path >= 0 and memo.paths[path, ID] < 0:
                code, at = -memo.paths[path, ID], start
            if code != 0:
                _reject(lists, code, line_no, at, start)
            else:
                if path < 0:
                    entry = lists.new[new]
                    entry[0], entry[1], entry[2], entry[3] = row, start, stop, line_no
                    new += 1
                if hard:
                    entry = lists.slow[slow]
                    entry[0], entry[1], entry[2], entry[3] = row, value_at, pos, line_no
                    slow += 1
                out.id[row] = memo.paths[path, ID] if path >= 0 else -1
                out.time[row], out.value[row] = time, value
                row += 1
            previous = path
        while pos < end and buf[pos] != 10:
            pos += 1
        pos = min(pos + 1, end)
    cursor[POS], cursor[LINE_NO], cursor[ROW], cursor[PREVIOUS] = pos, line_no, row, previous
    cursor[NEW], cursor[SLOW] = new, slow
