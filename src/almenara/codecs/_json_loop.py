"""The compiled loop over JSON payloads: an object, a list of objects, one object a line, or a bare number each.

Rows of records that the memo knows go straight into columns; all others are listed. A payload whose form is not as
expected is listed whole, and what was taken of it is taken back. A call ends after a payload: when all are read, or
when a column or a list is too short for the next one, which is then read again.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit
from almenara.codecs._bytes import hash_bytes, same, store8
from almenara.codecs._json_kernel import (
    ALONE,
    AT,
    AT_DEPTH,
    BARE,
    BROKEN,
    DONE,
    ENTRY,
    HEAD,
    IDS,
    ITEM,
    KNOWN,
    LINE,
    LIST_FULL,
    NEVER,
    NEW_KEY,
    NEWLINES,
    NEXT,
    PAYLOAD,
    PENDING,
    POS,
    ROW,
    ROWS_FULL,
    SIZE,
    SLOT,
    SLOW,
    STATUS,
    UNKNOWN,
    UNKNOWN_KEY,
    VALUES,
    Input,
    Memo,
    Output,
    Rule,
    find,
    read_record,
    read_row,
    same_entry,
)
from almenara.codecs._json_records import MAX_DEPTH
from almenara.codecs._json_tokens import NULL, ODD, TRUE, after_space, literal, number, object_end

_BAD = 3  # besides DONE, ROWS_FULL, LIST_FULL: the payload is one for the general reader


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _slow(out: Output, s: np.ndarray, p: int, start: int, stop: int, place: int, at: int, known: int) -> int:
    if s[SLOW] == len(out.slow):
        return LIST_FULL
    entry = out.slow[s[SLOW]]
    entry[0], entry[1], entry[2], entry[3] = p, start, stop, s[ROW]
    entry[4], entry[5], entry[6], entry[7] = place, at, known, s[VALUES]
    s[SLOW] += 1
    return DONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _keep(entry: int, received: int, memo: Memo, out: Output, s: np.ndarray) -> int:
    """Write the rows of the record just read."""
    count, ids, row = s[VALUES], memo.entries[entry, IDS], s[ROW]
    if row + count > len(out.id):
        return ROWS_FULL
    time = s[AT] if s[AT_DEPTH] <= MAX_DEPTH else received
    for k in range(count):
        out.id[row + k], out.time[row + k], out.value[row + k] = memo.ids[ids + k], time, out.values[k]
    s[ROW] = row + count
    if s[ENTRY] >= 0:
        memo.entries[s[ENTRY], NEXT] = entry
    s[ENTRY] = entry
    return DONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _identified(rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> int:
    """The entry of the identity in scratch, -1 if it is new."""
    size = s[SIZE]
    if s[ENTRY] >= 0:
        guess = memo.entries[s[ENTRY], NEXT]
        if guess >= 0 and same_entry(out.scratch, size, guess, memo):
            return guess
    hashed = hash_bytes(out.scratch, 0, size, rule.seed)
    return find(out.scratch, 0, size, hashed, -1, memo.entries, memo.entry_slots, memo.arena)


@njit(cache=True, nogil=True, _nrt=False)
def _pend(text: np.ndarray, start: int, stop: int, out: Output, s: np.ndarray) -> int:
    """Where an identity was put for Python to learn it, with its length before it; NEVER if there is no room."""
    at, size = s[PENDING], stop - start
    if at + 8 + size > len(out.pending):
        return NEVER
    store8(out.pending, at, np.int64(size))
    for k in range(size):
        out.pending[at + 8 + k] = text[start + k]
    s[PENDING] = at + 8 + size
    return at


@njit(cache=True, nogil=True, _nrt=False)
def _object(inp: Input, p: int, pos: int, end: int, place: int, at: int, rule: Rule, memo: Memo, out: Output,
            s: np.ndarray) -> int:  # fmt: skip
    """Take the object at pos, then s[POS] is behind it: DONE, ROWS_FULL, LIST_FULL or _BAD."""
    buf = inp.buf
    lines, entry, known = s[NEWLINES], np.int64(-1), NEVER
    if same(buf, pos, end, HEAD, 0, len(HEAD)):
        found, entry, stop = read_row(buf, pos, end, rule, memo, out, s)
        if found == UNKNOWN:
            known = _pend(buf, pos + 10, stop, out, s)
    else:
        s[SIZE] = 8
        store8(out.scratch, 0, inp.topics[p])
        found = read_record(buf, pos, end, rule, memo, out, s)
        if found == KNOWN:
            entry = _identified(rule, memo, out, s)
            if entry < 0:
                found, known = UNKNOWN, _pend(out.scratch, 0, s[SIZE], out, s)
        elif found == UNKNOWN_KEY:
            known = NEW_KEY
    if found == KNOWN:
        return _keep(entry, inp.received[p], memo, out, s)
    if found == BROKEN:
        return _BAD
    if found != UNKNOWN:
        s[POS], newlines = object_end(buf, pos, end)
        s[NEWLINES] = lines + newlines
        if s[POS] < 0:
            return _BAD
    return _slow(out, s, p, pos, s[POS], place, at, known)


@njit(cache=True, nogil=True, _nrt=False)
def _list(inp: Input, p: int, pos: int, end: int, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> int:
    """Take a list of objects; pos is behind its bracket."""
    buf, index = inp.buf, 0
    pos, _ = after_space(buf, pos, end)
    if pos < end and buf[pos] == 93:
        pos, _ = after_space(buf, pos + 1, end)
        return DONE if pos == end else _BAD
    while pos < end and buf[pos] == 123:
        status = _object(inp, p, pos, end, ITEM, index, rule, memo, out, s)
        if status != DONE:
            return status
        index += 1
        pos, _ = after_space(buf, s[POS], end)
        if pos >= end or (buf[pos] != 44 and buf[pos] != 93):
            return _BAD
        last = buf[pos] == 93
        pos, _ = after_space(buf, pos + 1, end)
        if last:
            return DONE if pos == end else _BAD
    return _BAD


@njit(cache=True, nogil=True, _nrt=False)
def _lines(inp: Input, p: int, pos: int, end: int, line: int, rule: Rule, memo: Memo, out: Output,
           s: np.ndarray) -> int:  # fmt: skip
    """Take one object, or one a line; the first begins at pos in this line."""
    buf, first_slow, objects = inp.buf, s[SLOW], 0
    while True:
        s[NEWLINES] = 0
        status = _object(inp, p, pos, end, ALONE, line, rule, memo, out, s)
        if status != DONE:
            return status
        objects += 1
        inside = s[NEWLINES]
        pos, newlines = after_space(buf, s[POS], end)
        if pos == end and objects == 1:
            return DONE
        if inside > 0 or (pos < end and (newlines == 0 or buf[pos] != 123)):
            return _BAD
        if pos == end:
            for k in range(first_slow, s[SLOW]):
                out.slow[k, 4] = LINE
            return DONE
        line += newlines


@njit(cache=True, nogil=True, _nrt=False)
def _bare(inp: Input, p: int, pos: int, end: int, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> int:
    """Take a number or boolean alone."""
    if inp.buf[pos] == 116 or inp.buf[pos] == 102:
        kind, stop = literal(inp.buf, pos, end)
        value = 1.0 if kind == TRUE else 0.0
    else:
        kind, value, _, stop = number(inp.buf, pos, end)
    after, _ = after_space(inp.buf, stop, end)
    if kind in (ODD, NULL) or after != end:
        return _BAD
    out.values[0] = value
    store8(out.scratch, 0, inp.topics[p])
    store8(out.scratch, 8, np.int64(BARE) << 2 | SLOT)
    s[SIZE], s[VALUES], s[AT_DEPTH] = 16, 1, MAX_DEPTH + 1
    entry = _identified(rule, memo, out, s)
    if entry >= 0:
        return _keep(entry, inp.received[p], memo, out, s)
    return _slow(out, s, p, -1, -1, ALONE, 0, _pend(out.scratch, 0, 16, out, s))


@njit(cache=True, nogil=True, _nrt=False)
def _payload(inp: Input, p: int, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> int:
    pos, end = inp.offsets[p], inp.offsets[p + 1]
    pos, newlines = after_space(inp.buf, pos, end)
    if pos == end:
        return DONE
    if inp.buf[pos] == 123:
        return _lines(inp, p, pos, end, newlines + 1, rule, memo, out, s)
    if inp.buf[pos] == 91:
        return _list(inp, p, pos + 1, end, rule, memo, out, s)
    return _bare(inp, p, pos, end, rule, memo, out, s)


@njit(cache=True, nogil=True, _nrt=False)
def parse(inp: Input, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> None:
    """Read payloads from s[PAYLOAD] on; s[STATUS] says why it ended."""
    while s[PAYLOAD] < len(inp.topics):
        p, row, slow, pending = s[PAYLOAD], s[ROW], s[SLOW], s[PENDING]
        out.starts[p] = row
        status = _payload(inp, p, rule, memo, out, s)
        if status == _BAD:
            s[ROW], s[SLOW], s[PENDING], s[VALUES] = row, slow, pending, 0
            status = _slow(out, s, p, -1, -1, ALONE, 0, NEVER)
        if status != DONE:
            s[ROW], s[SLOW], s[PENDING], s[STATUS] = row, slow, pending, status
            return
        s[PAYLOAD] = p + 1
    out.starts[s[PAYLOAD]] = s[ROW]
    s[STATUS] = DONE
