"""The compiled loop that reads JSON messages; called by `almenara.codecs._json_fast`, which checks every array.

One pass over the bytes of many payloads. What a record is, its keys, labels and topic without values and time, is
written down as a short text of bytes, its *identity*; the memo knows which series an identity stands for, guessed from
what followed last time and confirmed by comparing bytes. Only identities that the general reader has once read without
any doubt are in the memo, so whatever equals one byte for byte needs no further look: escapes, UTF-8, limits. What the
memo does not know, and all that is odd, is listed for the general reader, record by record where that can be told.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from almenara._compiled import njit
from almenara.codecs._bytes import hash_bytes, same, store8
from almenara.codecs._json_records import DROP, EVENT, LABEL, MAX_DEPTH, MAX_KEYS, MAX_WORD, STATE, TIME, VALUE
from almenara.codecs._json_tokens import (
    FALSE,
    NULL,
    ODD,
    TRUE,
    WHOLE,
    after_space,
    iso_time,
    literal,
    number,
    object_end,
    scaled,
    string_end,
)

# Columns of the memo: `nodes` (a key inside an object) is int64[n, 8], `entries` (an identity) int64[n, 6].
OFFSET, LENGTH, NEXT, HASH = 0, 1, 2, 3  # of both; offset and length into the arena; NEXT: what came after it last time
PARENT, ROLE, FIRST, SEEN = 4, 5, 6, 7  # of a node: of what object, what it is, its first key last time, in what record
IDS, COUNT = 4, 5  # of an entry: where its series ids begin, and how many there are

SCRATCH = 16_384  # longest identity

# The cursor: where the next call goes on; what the last one said. SLOW, PENDING: how much of these lists is filled.
PAYLOAD, ROW, SLOW, PENDING, STATUS, ENTRY = 0, 1, 2, 3, 4, 5
DONE, ROWS_FULL, LIST_FULL = 0, 1, 2  # STATUS
# Behind it the record being read: position, size of its identity, values, time, depth of the time, newlines, keys.
POS, SIZE, VALUES, AT, AT_DEPTH, NEWLINES, KEYS, STAMP = 6, 7, 8, 9, 10, 11, 12, 13
CURSOR = 14

# Columns of the slow list, int64[k, 8]. Start -1: the whole payload. Number: of the item or line, from 0 or 1.
S_PAYLOAD, S_START, S_STOP, S_ROW, S_PLACE, S_NUMBER, S_KNOWN, S_VALUES = 0, 1, 2, 3, 4, 5, 6, 7
ALONE, ITEM, LINE = 0, 1, 2  # S_PLACE
NEVER, NEW_KEY = -1, -2  # S_KNOWN: not to be learned; has keys to be learned; else where its identity begins

# What became of a record.
KNOWN, UNKNOWN, UNKNOWN_KEY, ASIDE, BROKEN = 0, 1, 2, 3, 4

SLOT, TEXT, SCALAR = 0, 1, 2  # in an identity, with the number of a node: a value, a text, another label
BARE = -1  # stands for a value without a key
HEAD = np.frombuffer(b'{"metric":{"__name__":"', np.uint8)
_BEFORE_TIME = np.frombuffer(b',"time":', np.uint8)
_BEFORE_VALUE = np.frombuffer(b',"value":', np.uint8)
_METRIC_AT = 10  # where in HEAD the labels begin


class Memo(NamedTuple):
    """What is known. arena: uint8, keys and identities; ids: int32, series of entries; slots: int32, hash tables."""

    arena: np.ndarray
    nodes: np.ndarray
    entries: np.ndarray
    ids: np.ndarray
    node_slots: np.ndarray
    entry_slots: np.ndarray


class Rule(NamedTuple):
    """Options. unit_ns of times, 0 auto; utc: texts without an offset are; words: int64[k] packed texts, numbers:
    float64[k] what they stand for."""

    unit_ns: int
    utc: bool
    only_listed: bool
    ignore_texts: bool
    seed: int
    words: np.ndarray
    numbers: np.ndarray


class Input(NamedTuple):
    """Many payloads. buf: uint8; offsets: int64[p + 1] of each in buf; topics, received: int64[p]."""

    buf: np.ndarray
    offsets: np.ndarray
    topics: np.ndarray
    received: np.ndarray


class Output(NamedTuple):
    """id: int32[n], time: int64[n], value: float64[n]; starts: int64[p + 1], the first row of each payload; slow, see
    above; pending: uint8, identities to learn; scratch: uint8[SCRATCH]; values: float64[MAX_KEYS], of one record."""

    id: np.ndarray
    time: np.ndarray
    value: np.ndarray
    starts: np.ndarray
    slow: np.ndarray
    pending: np.ndarray
    scratch: np.ndarray
    values: np.ndarray


@njit(cache=True, nogil=True, _nrt=False)
def enter(slots: np.ndarray, table: np.ndarray, first: int, count: int) -> None:
    """Enter rows first..count of `nodes` or `entries` into a hash table that has room for them."""
    mask = len(slots) - 1
    for index in range(first, count):
        at = table[index, HASH] & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = index


@njit(cache=True, nogil=True, _nrt=False)
def find(
    buf: np.ndarray, pos: int, stop: int, hashed: int, parent: int, table: np.ndarray, slots: np.ndarray,
    arena: np.ndarray,
) -> int:  # fmt: skip
    """The node of this parent, or (parent -1) the entry, that stands for buf[pos:stop]; -1 if there is none."""
    mask = len(slots) - 1
    at = hashed & mask
    while slots[at] >= 0:
        row = table[slots[at]]
        if (
            row[HASH] == hashed
            and row[LENGTH] == stop - pos
            and (parent < 0 or row[PARENT] == parent)
            and same(buf, pos, stop, arena, row[OFFSET], stop - pos)
        ):
            return slots[at]
        at = (at + 1) & mask
    return -1


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def same_entry(text: np.ndarray, size: int, entry: int, memo: Memo) -> bool:
    """Whether an entry stands for text[:size]."""
    return memo.entries[entry, LENGTH] == size and same(text, 0, size, memo.arena, memo.entries[entry, OFFSET], size)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _key(buf: np.ndarray, pos: int, end: int, parent: int, last: int, seed: int, memo: Memo) -> tuple:
    """(node or -1, position after its closing quote) of the key whose content begins at pos; last: the key before."""
    nodes = memo.nodes
    guess = nodes[last, NEXT] if last >= 0 else nodes[parent, FIRST]
    if guess >= 0:
        stop = pos + nodes[guess, LENGTH]
        if stop < end and buf[stop] == 34 and same(buf, pos, end, memo.arena, nodes[guess, OFFSET], stop - pos):
            return guess, stop + 1
    stop = string_end(buf, pos, end)
    if stop < 0:
        return -1, stop
    node = find(buf, pos, stop, hash_bytes(buf, pos, stop, seed + parent), parent, nodes, memo.node_slots, memo.arena)
    if node >= 0 and last >= 0:
        nodes[last, NEXT] = node
    elif node >= 0:
        nodes[parent, FIRST] = node
    return node, stop + 1


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _note(out: Output, s: np.ndarray, node: int, kind: int, buf: np.ndarray, pos: int, stop: int) -> int:
    """Write a key and, where it is a label, its text buf[pos:stop] into the identity: KNOWN, or ASIDE without room."""
    size = s[SIZE]
    if size + 16 + stop - pos > SCRATCH:
        return ASIDE
    store8(out.scratch, size, (np.int64(node) << 2) | np.int64(kind))
    size += 8
    if kind != SLOT:
        store8(out.scratch, size, np.int64(stop - pos))
        for k in range(stop - pos):
            out.scratch[size + 8 + k] = buf[pos + k]
        size += 8 + stop - pos
    s[SIZE] = size
    return KNOWN


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _value(out: Output, s: np.ndarray, value: float) -> None:
    out.values[s[VALUES]] = value
    s[VALUES] += 1


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _word(buf: np.ndarray, pos: int, stop: int, rule: Rule) -> int:
    """The index of the word that buf[pos:stop] is, -1 none."""
    if stop - pos > MAX_WORD:
        return -1
    packed = np.int64(0)
    for k in range(pos, stop):
        c = np.int64(buf[k])
        packed = packed << 8 | (c + 32 if 65 <= c <= 90 else c)
    for k in range(len(rule.words)):
        if rule.words[k] == packed:
            return k
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def _ascii(buf: np.ndarray, pos: int, stop: int) -> bool:
    """Whether a text that nobody will compare is surely right: ASCII without escapes and control characters."""
    for k in range(pos, stop):  # noqa: SIM110
        if buf[k] < 32 or buf[k] >= 127 or buf[k] == 92:
            return False
    return True


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _text(buf: np.ndarray, pos: int, stop: int, node: int, depth: int, rule: Rule, memo: Memo, out: Output,
          s: np.ndarray) -> int:  # fmt: skip
    """Take the text buf[pos:stop] of a key: KNOWN or ASIDE."""
    role = memo.nodes[node, ROLE]
    if role == DROP:
        return KNOWN if _ascii(buf, pos, stop) else ASIDE
    if role == TIME:
        if depth >= s[AT_DEPTH]:
            return KNOWN if _ascii(buf, pos, stop) else ASIDE
        s[AT], right = iso_time(buf, pos, stop)
        right = right and (rule.utc or buf[stop - 1] == 90 or buf[stop - 6] == 43 or buf[stop - 6] == 45)  # Z, +01:00
        s[AT_DEPTH] = depth
        return KNOWN if right else ASIDE
    if role in (VALUE, EVENT):
        return ASIDE
    if role == STATE:
        _value(out, s, 1.0)
    elif role != LABEL:
        word = _word(buf, pos, stop, rule)
        if word >= 0:
            if rule.only_listed:
                return KNOWN
            _value(out, s, rule.numbers[word])
            return _note(out, s, node, SLOT, buf, 0, 0)
        if rule.ignore_texts:
            return KNOWN if _ascii(buf, pos, stop) else ASIDE
    return _note(out, s, node, TEXT, buf, pos, stop)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _scalar(buf: np.ndarray, pos: int, end: int, node: int, depth: int, rule: Rule, memo: Memo, out: Output,
            s: np.ndarray) -> int:  # fmt: skip
    """Take the number or literal at pos of a key: KNOWN, ASIDE or BROKEN; s[POS] is then behind it."""
    value, whole = 0.0, np.int64(0)
    c = buf[pos]
    if c == 116 or c == 102 or c == 110:
        kind, stop = literal(buf, pos, end)
        value = 1.0 if kind == TRUE else 0.0
    else:
        kind, value, whole, stop = number(buf, pos, end)
    if kind == ODD:
        return ASIDE
    s[POS] = stop
    role = memo.nodes[node, ROLE]
    if role == DROP:
        return KNOWN
    if role == TIME:
        if kind == NULL or depth >= s[AT_DEPTH]:
            return KNOWN
        if kind in (TRUE, FALSE):
            return ASIDE
        s[AT], right = scaled(kind, value, whole, rule.unit_ns)
        s[AT_DEPTH] = depth
        return KNOWN if right else ASIDE
    if kind == NULL:
        return ASIDE
    if role == LABEL:
        return _note(out, s, node, SCALAR, buf, pos, stop)
    if role != VALUE and rule.only_listed:
        return KNOWN
    _value(out, s, value)
    return _note(out, s, node, SLOT, buf, 0, 0)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def read_record(buf: np.ndarray, pos: int, end: int, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> int:
    """Read the object at pos into an identity, values and a time: KNOWN, UNKNOWN_KEY, ASIDE or BROKEN."""
    nodes = memo.nodes
    s[STAMP] += 1
    s[VALUES], s[AT_DEPTH], s[KEYS] = 0, MAX_DEPTH + 1, 0
    parent, last, depth = np.int64(0), np.int64(-1), 0
    pos, newlines = after_space(buf, pos + 1, end)
    s[NEWLINES] += newlines
    opened = True
    while True:
        if opened and pos < end and buf[pos] == 125:  # an empty object
            closed = True
        else:
            if pos >= end or buf[pos] != 34:
                return BROKEN
            node, pos = _key(buf, pos + 1, end, parent, last, rule.seed, memo)
            if node < 0:
                return UNKNOWN_KEY
            s[KEYS] += 1
            if nodes[node, SEEN] == s[STAMP] or s[KEYS] >= MAX_KEYS:  # the last of two equal keys counts
                return ASIDE
            nodes[node, SEEN] = s[STAMP]
            last = node
            pos, newlines = after_space(buf, pos, end)
            s[NEWLINES] += newlines
            if pos >= end or buf[pos] != 58:
                return BROKEN
            pos, newlines = after_space(buf, pos + 1, end)
            s[NEWLINES] += newlines
            if pos >= end:
                return BROKEN
            if buf[pos] == 123:
                if depth >= MAX_DEPTH or nodes[node, ROLE] == DROP:
                    return ASIDE
                depth += 1
                parent, last, opened = node, np.int64(-1), True
                pos, newlines = after_space(buf, pos + 1, end)
                s[NEWLINES] += newlines
                continue
            if buf[pos] == 34:
                stop = string_end(buf, pos + 1, end)
                if stop < 0:
                    return BROKEN
                found = _text(buf, pos + 1, stop, node, depth, rule, memo, out, s)
                pos = stop + 1
            else:
                found = _scalar(buf, pos, end, node, depth, rule, memo, out, s)
                pos = s[POS]
            if found != KNOWN:
                return found
            closed = False
        opened = False
        while True:  # after a value, or at the end of an object
            if not closed:
                pos, newlines = after_space(buf, pos, end)
                s[NEWLINES] += newlines
                if pos < end and buf[pos] == 44:
                    pos, newlines = after_space(buf, pos + 1, end)
                    s[NEWLINES] += newlines
                    break
                if pos >= end or buf[pos] != 125:
                    return BROKEN
            closed = False
            pos += 1
            if depth == 0:
                s[POS] = pos
                return KNOWN
            depth -= 1
            last = parent
            parent = nodes[parent, PARENT]


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def read_row(buf: np.ndarray, pos: int, end: int, rule: Rule, memo: Memo, out: Output, s: np.ndarray) -> tuple:
    """(KNOWN, UNKNOWN or ASIDE, entry, where its labels stop) of a row exactly as `encode` writes it."""
    start = pos + _METRIC_AT
    entries = memo.entries
    entry = entries[s[ENTRY], NEXT] if s[ENTRY] >= 0 else np.int64(-1)
    if entry >= 0 and same(buf, start, end, memo.arena, entries[entry, OFFSET], entries[entry, LENGTH]):
        stop = start + entries[entry, LENGTH]
    else:
        stop, _ = object_end(buf, start, end)
        if stop < 0:
            return ASIDE, -1, 0
        entry = find(buf, start, stop, hash_bytes(buf, start, stop, rule.seed), -1, entries, memo.entry_slots,
                     memo.arena)  # fmt: skip
    pos = stop + 8
    if not same(buf, stop, end, _BEFORE_TIME, 0, 8):
        return ASIDE, -1, 0
    kind, _, s[AT], pos = number(buf, pos, end)
    if kind != WHOLE or not same(buf, pos, end, _BEFORE_VALUE, 0, 9):
        return ASIDE, -1, 0
    pos += 9
    if pos < end and buf[pos] == 110:
        kind, pos = literal(buf, pos, end)
        value = np.nan
        kind = kind if kind == NULL else ODD
    else:
        kind, value, _, pos = number(buf, pos, end)
    if kind == ODD or pos >= end or buf[pos] != 125:
        return ASIDE, -1, 0
    out.values[0] = value
    s[VALUES], s[AT_DEPTH], s[POS] = 1, 0, pos + 1
    return (KNOWN if entry >= 0 else UNKNOWN), entry, stop
