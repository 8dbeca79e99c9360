"""Reading the pieces of JSON text (RFC 8259), compiled: white space, strings, numbers, words, ISO times.

buf is uint8[n]; positions are offsets into it and end is where the payload stops. What is not exactly as the standard
says, or needs more than 64 bits, is reported as `ODD` for the general reader to look at.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit
from almenara.codecs._decimal import EXACT, to_float

#: What a value is.
ODD, NUMBER, WHOLE, TRUE, FALSE, NULL = 0, 1, 2, 3, 4, 5

_LAST = (1 << 63) - 1
_MAX_DIGITS = 18
_WORD_TRUE, _WORD_FALSE, _WORD_NULL = (int.from_bytes(word, "big") for word in (b"true", b"alse", b"null"))
_DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
_DAYS_IN = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@njit(cache=True, nogil=True, _nrt=False)
def after_space(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(position of the first byte that is no white space, newlines before it)."""
    newlines = 0
    while pos < end and (buf[pos] == 32 or buf[pos] == 10 or buf[pos] == 13 or buf[pos] == 9):
        newlines += buf[pos] == 10
        pos += 1
    return pos, newlines


@njit(cache=True, nogil=True, _nrt=False)
def string_end(buf: np.ndarray, pos: int, end: int) -> int:
    """The position of the quote that ends the string whose content begins at pos, -1 if there is none."""
    while pos < end:
        c = buf[pos]
        if c == 34:
            return pos
        pos += 2 if c == 92 else 1
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def object_end(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(position after the object or list that begins at pos or -1, newlines in it), by its brackets alone."""
    depth, newlines = 0, 0
    while pos < end:
        c = buf[pos]
        if c == 34:
            pos = string_end(buf, pos + 1, end)
            if pos < 0:
                return -1, newlines
        elif c == 123 or c == 91:
            depth += 1
        elif c == 125 or c == 93:
            depth -= 1
            if depth == 0:
                return pos + 1, newlines
        newlines += c == 10
        pos += 1
    return -1, newlines


@njit(cache=True, nogil=True, _nrt=False)
def _four(buf: np.ndarray, pos: int) -> np.int64:
    return (
        np.int64(buf[pos]) << 24 | np.int64(buf[pos + 1]) << 16 | np.int64(buf[pos + 2]) << 8 | np.int64(buf[pos + 3])
    )


@njit(cache=True, nogil=True, _nrt=False)
def literal(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(TRUE, FALSE, NULL or ODD, position after it) of the word at pos."""
    if pos + 4 <= end:
        word = _four(buf, pos)
        if word == _WORD_TRUE:
            return TRUE, pos + 4
        if word == _WORD_NULL:
            return NULL, pos + 4
        if buf[pos] == 102 and pos + 5 <= end and _four(buf, pos + 1) == _WORD_FALSE:
            return FALSE, pos + 5
    return ODD, pos


@njit(cache=True, nogil=True, _nrt=False)
def number(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(NUMBER, WHOLE or ODD, value, the whole number exactly, position after it) of `-?int[.digits][e[+-]digits]`."""
    negative = pos < end and buf[pos] == 45
    pos += negative
    first = pos
    mantissa, q = np.int64(0), 0
    while pos < end and 48 <= buf[pos] <= 57:
        if pos - first > _MAX_DIGITS or (pos - first == _MAX_DIGITS and mantissa > (_LAST - 9) // 10):
            return ODD, 0.0, 0, pos
        mantissa = mantissa * 10 + (np.int64(buf[pos]) - 48)
        pos += 1
    digits = pos - first
    if digits == 0 or (buf[first] == 48 and digits > 1):
        return ODD, 0.0, 0, pos
    if pos == end or (buf[pos] != 46 and buf[pos] != 101 and buf[pos] != 69):
        whole = -mantissa if negative else mantissa
        return WHOLE, np.float64(whole), whole, pos
    if buf[pos] == 46:
        pos += 1
        first = pos
        while pos < end and 48 <= buf[pos] <= 57:
            if digits + pos - first >= _MAX_DIGITS:
                return ODD, 0.0, 0, pos
            mantissa = mantissa * 10 + (np.int64(buf[pos]) - 48)
            pos += 1
        q = first - pos
        if q == 0:
            return ODD, 0.0, 0, pos
    if pos < end and (buf[pos] == 101 or buf[pos] == 69):
        pos += 1
        down = pos < end and buf[pos] == 45
        pos += pos < end and (buf[pos] == 45 or buf[pos] == 43)
        first, e = pos, 0
        while pos < end and 48 <= buf[pos] <= 57:
            e = e * 10 + (int(buf[pos]) - 48) if e < 100_000 else e
            pos += 1
        if pos == first:
            return ODD, 0.0, 0, pos
        q += -e if down else e
    value, how = to_float(mantissa, q, False)
    if how != EXACT:
        return ODD, 0.0, 0, pos
    return NUMBER, (-value if negative else value), 0, pos


@njit(cache=True, nogil=True, _nrt=False)
def scaled(kind: int, value: float, whole: int, unit_ns: int) -> tuple:
    """(time in ns, whether it has one) of a number as a time; unit_ns 0: the unit is told by the size."""
    size = abs(value)
    if unit_ns == 0:
        unit_ns = 1
        if size < 1e10:
            unit_ns = 1_000_000_000
        elif size < 1e13:
            unit_ns = 1_000_000
        elif size < 1e16:
            unit_ns = 1000
    if size * unit_ns >= 9.2e18:
        return 0, False
    if kind == WHOLE:
        return whole * unit_ns, True
    if unit_ns < 1000:
        return np.int64(np.rint(value)), unit_ns == 1
    return np.int64(np.rint(value * (unit_ns // 1000))) * 1000, True  # a float64 of seconds tells no more than us


@njit(cache=True, nogil=True, _nrt=False)
def _digits(buf: np.ndarray, pos: int, count: int) -> np.int64:
    """The number of so many digits, -1 where one is none."""
    n = np.int64(0)
    for k in range(pos, pos + count):
        if not 48 <= buf[k] <= 57:
            return np.int64(-1)
        n = n * 10 + (np.int64(buf[k]) - 48)
    return n


@njit(cache=True, nogil=True, _nrt=False)
def _zone(buf: np.ndarray, pos: int, stop: int) -> tuple:
    """(seconds east of UTC, whether it can be read) of `Z`, `+01:00` or nothing, which is UTC."""
    if pos == stop or (pos + 1 == stop and buf[pos] == 90):
        return 0, True
    if pos + 6 != stop or (buf[pos] != 43 and buf[pos] != 45) or buf[pos + 3] != 58:
        return 0, False
    hours, minutes = _digits(buf, pos + 1, 2), _digits(buf, pos + 4, 2)
    if not 0 <= hours <= 23 or not 0 <= minutes <= 59:
        return 0, False
    east = hours * 3600 + minutes * 60
    return (-east if buf[pos] == 45 else east), True


@njit(cache=True, nogil=True, _nrt=False)
def iso_time(buf: np.ndarray, pos: int, stop: int) -> tuple:
    """(time in ns, whether it can be read) of `2026-05-01T12:00:00[.123][Z|+01:00]`, years 1970 to 2261."""
    if stop - pos < 19 or buf[pos + 4] != 45 or buf[pos + 7] != 45 or buf[pos + 13] != 58 or buf[pos + 16] != 58:
        return 0, False
    year, month, day = _digits(buf, pos, 4), _digits(buf, pos + 5, 2), _digits(buf, pos + 8, 2)
    hour, minute, second = _digits(buf, pos + 11, 2), _digits(buf, pos + 14, 2), _digits(buf, pos + 17, 2)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if (
        not 1970 <= year <= 2261
        or not 1 <= month <= 12
        or not 1 <= day <= _DAYS_IN[month - 1] + (leap and month == 2)
        or not 0 <= hour <= 23
        or not 0 <= minute <= 59
        or not 0 <= second <= 59
        or (buf[pos + 10] != 84 and buf[pos + 10] != 32)
    ):
        return 0, False
    leaps = (year - 1) // 4 - (year - 1) // 100 + (year - 1) // 400 - 477  # before this year, since 1970
    days = (year - 1970) * 365 + leaps + _DAYS_BEFORE[month - 1] + (leap and month > 2) + day - 1
    at, fraction = pos + 19, np.int64(0)
    if at < stop and buf[at] == 46:
        at += 1
        first = at
        while at < stop and 48 <= buf[at] <= 57 and at - first < 9:
            fraction = fraction * 10 + (np.int64(buf[at]) - 48)
            at += 1
        if at == first:
            return 0, False
        for _ in range(9 - (at - first)):
            fraction *= 10
    east, right = _zone(buf, at, stop)
    return (days * 86_400 + hour * 3600 + minute * 60 + second - east) * 1_000_000_000 + fraction, right
