"""Decimal text to float64, compiled, bit for bit what Python's `float()` gives.

Three ways, the cheapest that is exact: a mantissa of up to 2**53 with |exponent| <= 22 is one exact multiplication or
division (Clinger, "How to read floating point numbers accurately", 1990); other numbers take one 128-bit product with a
table of powers of five (Lemire, "Number parsing at a gigabyte per second", 2021); the few that neither decides
(subnormal, overflowing, more than 18 digits next to a tie) are reported as `HARD` for the caller to give to `float()`.
"""

from __future__ import annotations

import math

import numpy as np

from almenara._compiled import njit

EXACT, HARD, BAD = 0, 1, 2

_MAX_DIGITS = 18  # what an int64 holds without a check
_LOWEST, _HIGHEST = -342, 308
_ALL = (1 << 64) - 1


def _powers_of_five() -> np.ndarray:
    """uint64[651, 2]: the top 128 bits of 5**q for q in -342..308, rounded up where q is negative."""
    rows = []
    for q in range(_LOWEST, _HIGHEST + 1):
        if q < 0:
            power = 5**-q
            bits = power.bit_length()
            scaled = (1 << (bits + 127 if q >= -27 else 2 * bits + 128)) // power + 1
        else:
            scaled = 5**q << 128
        scaled >>= max(scaled.bit_length() - 128, 0)
        rows.append((scaled >> 64, scaled & _ALL))
    return np.array(rows, dtype=np.uint64)


_FIVES = _powers_of_five()
_TENS = np.array([10.0**k for k in range(23)])


@njit(cache=True, nogil=True, _nrt=False)
def _high_and_low(a: np.uint64, b: np.uint64) -> tuple:
    """The 128-bit product of two uint64 as (high, low)."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a1, a0, b1, b0 = a >> half, a & mask, b >> half, b & mask
    low, middle, other = a0 * b0, a1 * b0, a0 * b1
    carry = (low >> half) + (middle & mask) + (other & mask)
    high = a1 * b1 + (middle >> half) + (other >> half) + (carry >> half)
    return high, (carry << half) | (low & mask)


@njit(cache=True, nogil=True, _nrt=False)
def _leading_zeros(w: np.uint64) -> int:
    n = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if w >> np.uint64(64 - shift) == np.uint64(0):
            w = w << np.uint64(shift)
            n += shift
    return n


@njit(cache=True, nogil=True, _nrt=False)
def _lemire(mantissa: int, q: int) -> tuple:
    """(value, HARD or EXACT) of mantissa * 10**q, mantissa > 0, rounded to nearest, ties to even."""
    if q < _LOWEST or q > _HIGHEST:
        return 0.0, HARD
    one = np.uint64(1)
    zeros = _leading_zeros(np.uint64(mantissa))
    w = np.uint64(mantissa) << np.uint64(zeros)
    hi, lo = _high_and_low(w, _FIVES[q - _LOWEST, 0])
    if hi & np.uint64(0x1FF) == np.uint64(0x1FF):
        second, _ = _high_and_low(w, _FIVES[q - _LOWEST, 1])
        lo += second
        if second > lo:
            hi += one
    if lo == np.uint64(_ALL) and not -27 <= q <= 55:
        return 0.0, HARD
    upper = hi >> np.uint64(63)
    shift = upper + np.uint64(9)
    m = hi >> shift
    power2 = ((217706 * q) >> 16) + 63 + np.int64(upper) - zeros
    if not -1022 <= power2 < 1023:
        return 0.0, HARD
    if lo <= one and -4 <= q <= 23 and m & np.uint64(3) == one and m << shift == hi:
        m = m & ~one
    m = (m + (m & one)) >> one
    return math.ldexp(np.float64(m), power2 - 52), EXACT


@njit(cache=True, nogil=True, _nrt=False)
def to_float(mantissa: int, q: int, truncated: bool) -> tuple:
    """(value, EXACT or HARD) of mantissa * 10**q, mantissa >= 0; truncated: further non-zero digits were left out."""
    if truncated:
        value, how = _lemire(mantissa, q)
        above, how_above = _lemire(mantissa + 1, q)
        return value, (EXACT if how == EXACT and how_above == EXACT and value == above else HARD)
    if mantissa == 0:
        return 0.0, EXACT
    if mantissa <= 1 << 53 and -22 <= q <= 22:
        return (mantissa / _TENS[-q] if q < 0 else mantissa * _TENS[q]), EXACT
    return _lemire(mantissa, q)


@njit(cache=True, nogil=True, _nrt=False)
def _exponent(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(exponent, next position) of the digits after `e`; next position -1 where there are none."""
    negative = pos < end and buf[pos] == 45
    if pos < end and (buf[pos] == 45 or buf[pos] == 43):
        pos += 1
    first, e = pos, np.int64(0)
    while pos < end and 48 <= buf[pos] <= 57:
        e = e * 10 + np.int64(buf[pos]) - 48 if e < 100_000 else e
        pos += 1
    if pos == first:
        return 0, -1
    return (-e if negative else e), pos


@njit(cache=True, nogil=True, _nrt=False)
def scan(buf: np.ndarray, pos: int, end: int) -> tuple:
    """Read `[+-]digits[.digits][e[+-]digits]` at pos: (value, next position, EXACT | HARD | BAD).

    buf: uint8[n]. Stops at the first byte that does not belong; what follows is the caller's to check.
    """
    negative = pos < end and buf[pos] == 45
    if pos < end and (buf[pos] == 45 or buf[pos] == 43):
        pos += 1
    mantissa, digits, q, truncated = np.int64(0), 0, 0, False
    seen, point = 0, False
    while pos < end:
        digit = np.int64(buf[pos]) - 48
        if 0 <= digit <= 9:
            seen += 1
            if digits < _MAX_DIGITS:
                mantissa = mantissa * 10 + digit
                digits += mantissa != 0  # leading zeros are no digits
                q -= point
            else:
                truncated |= digit != 0
                q += not point
        elif digit == -2 and not point:
            point = True
        else:
            break
        pos += 1
    if seen == 0:
        return 0.0, pos, BAD
    if pos < end and (buf[pos] == 101 or buf[pos] == 69):
        e, pos = _exponent(buf, pos + 1, end)
        if pos < 0:
            return 0.0, end, BAD
        q += e
    value, how = to_float(mantissa, q, truncated)
    return (-value if negative else value), pos, how
