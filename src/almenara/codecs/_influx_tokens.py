"""Reading the pieces of a line of Influx line protocol, compiled: escaped texts, strings, values and times.

buf, the payload, is uint8[n]; positions are offsets into it and end is where it stops.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit
from almenara.codecs._decimal import BAD, HARD, scan

#: What can be wrong with a line or a field. 1..7 are seen here, the others by `_influx_memo` when it learns a key.
NO_FIELDS, NO_NAME, NO_VALUE, NO_QUOTE, NO_END, NO_TIME, NO_INTEGER = 1, 2, 3, 4, 5, 6, 7
BAD_KEY, NOT_UTF8, KEY_TOO_LONG, DUPLICATE_TAG, TOO_MANY_LABELS = 8, 9, 10, 11, 12
TIME_RANGE, STRING, NOT_FINITE = 13, 14, 15
CODES = 16

_ALL = (1 << 64) - 1
_LAST = (1 << 63) - 1


def _packed(*words: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(word, "big") for word in words)


_TRUE = _packed(b"t", b"T", b"true", b"True", b"TRUE")
_FALSE = _packed(b"f", b"F", b"false", b"False", b"FALSE")
_NO_NUMBERS = _packed(b"nan", b"inf", b"infinity")


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def line_ends(buf: np.ndarray, pos: int, end: int) -> bool:
    """Whether pos is at the end of the payload, LF or CR LF."""
    return pos >= end or buf[pos] == 10 or (buf[pos] == 13 and (pos + 1 == end or buf[pos + 1] == 10))


@njit(cache=True, nogil=True, _nrt=False)
def after_newline(buf: np.ndarray, pos: int, end: int) -> int:
    while pos < end and buf[pos] != 10:
        pos += 1
    return min(pos + 1, end)


@njit(cache=True, nogil=True, _nrt=False)
def escaped_until(buf: np.ndarray, pos: int, end: int, stop_at: int) -> int:
    r"""The position of the first `stop_at` byte of this line that no backslash escapes, -1 if the line has none.

    A backslash escapes only a comma, a space or an equals sign, as in Influx. A field name may not have `,` or ` `.
    """
    while not line_ends(buf, pos, end):
        c = buf[pos]
        if c == stop_at:
            return pos
        if stop_at == 61 and (c == 32 or c == 44):
            return -1
        if c == 92 and pos + 1 < end and (buf[pos + 1] == 44 or buf[pos + 1] == 32 or buf[pos + 1] == 61):
            pos += 1
        pos += 1
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def after_string(buf: np.ndarray, pos: int, end: int) -> tuple:
    r"""(position after the closing quote or -1, newlines inside) of the quoted string whose content begins at pos."""
    newlines = 0
    while pos < end:
        c = buf[pos]
        if c == 34:
            return pos + 1, newlines
        if c == 92 and pos + 1 < end and (buf[pos + 1] == 34 or buf[pos + 1] == 92):
            pos += 1
        newlines += c == 10
        pos += 1
    return -1, newlines


@njit(cache=True, nogil=True, _nrt=False)
def _word(buf: np.ndarray, pos: int, stop: int) -> tuple:
    """(value, code) of a value that is no number: a boolean, or one that is not finite."""
    signed = buf[pos] == 43 or buf[pos] == 45
    if stop - pos - signed > 8:
        return 0.0, NO_VALUE
    exact, lower = np.int64(0), np.int64(0)
    for k in range(pos + signed, stop):
        exact = exact << 8 | np.int64(buf[k])
        lower = lower << 8 | np.int64(buf[k]) | 32
    for word in _NO_NUMBERS:
        if lower == word:
            return 0.0, NOT_FINITE
    for word in _TRUE:
        if exact == word and not signed:
            return 1.0, 0
    for word in _FALSE:
        if exact == word and not signed:
            return 0.0, 0
    return 0.0, NO_VALUE


@njit(cache=True, nogil=True, _nrt=False)
def _integer(buf: np.ndarray, pos: int, stop: int) -> tuple:
    """(value, code) of `[+-]digits`, rounded to the nearest float64; buf[stop] is the `i` or `u` that follows."""
    negative = buf[pos] == 45
    if negative or buf[pos] == 43:
        pos += 1
    top = np.uint64(0x7FFFFFFFFFFFFFFF) + np.uint64(negative)
    if buf[stop] == 117:
        top = np.uint64(0) if negative else np.uint64(0xFFFFFFFFFFFFFFFF)
    n = np.uint64(0)
    for k in range(pos, stop):
        if not 48 <= buf[k] <= 57:
            return 0.0, NO_VALUE
        digit = np.uint64(buf[k] - 48)
        if n > np.uint64(1844674407370955161) or n * np.uint64(10) > np.uint64(_ALL) - digit:
            return 0.0, NO_INTEGER
        n = n * np.uint64(10) + digit
    if n > top:
        return 0.0, NO_INTEGER
    return (-np.float64(n) if negative and n > np.uint64(0) else np.float64(n)), 0


@njit(cache=True, nogil=True, _nrt=False)
def read_value(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(value, code, position after it, it has to go to `float()`) of a field value that is no string."""
    value, stop, how = scan(buf, pos, end)
    if how != BAD:
        if stop < end and (buf[stop] == 105 or buf[stop] == 117):
            value, code = _integer(buf, pos, stop)
            return value, code, stop + 1, False
        return value, 0, stop, how == HARD
    stop = pos
    while not line_ends(buf, stop, end) and buf[stop] != 44 and buf[stop] != 32:
        stop += 1
    if stop == pos:
        return 0.0, NO_VALUE, pos, False
    value, code = _word(buf, pos, stop)
    return value, code, stop, False


@njit(cache=True, nogil=True, _nrt=False)
def read_time(buf: np.ndarray, pos: int, end: int, scale: int) -> tuple:
    """(time in ns, code, position after it) of the whole number at pos times scale."""
    negative = buf[pos] == 45
    pos += negative
    first, n, fits = pos, np.int64(0), True
    while pos < end and 48 <= buf[pos] <= 57:
        digit = np.int64(buf[pos]) - 48
        if pos - first >= 18 and n > (_LAST - digit) // 10:
            fits = False
        n = n * 10 + digit
        pos += 1
    if pos == first:
        return 0, NO_TIME, pos
    if not fits or n > _LAST // scale:
        return 0, TIME_RANGE, pos
    return (-n if negative else n) * scale, 0, pos
