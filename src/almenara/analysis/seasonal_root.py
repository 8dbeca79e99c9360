"""Deviations of what grows with its level: judged between roots of values where that fits a series better.

Spread of counts grows with the square root of what is expected, that of rates and sizes with what is expected itself,
and both reach farther up than down. So a series has a `root`: 0, deviations are differences; 1, of square roots; 2, of
fourth roots, near to logarithms but finite at 0. In the unit of the value, about what is expected f (Box and Cox 1964):

    bent(d) = n * f * ((1 + d / f) ** (1 / n) - 1),    n = 2 or 4

which is d where d is small. Sizes are those at the series' mean, times (f / mean) ** 0, 1/2 or 1. Which root a series
has is the one that makes its deviations most likely, were they of Laplace's distribution. A series with values below
0 has none. Compiled kernels; their slow twins are in tests/naive.py.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.compiled import bare, inlined
from almenara.analysis.seasonal_slot import DECIMALS_MAX, DOWN, POWERS, REF_DOWN, REF_UP, ROOTS, UP
from almenara.analysis.tails import BETA, BETA_MIN, SEEN, U_MIN, U

FLOOR = 0.125  # least of what is expected, in means, that deviations are seen from
ANSCOMBE = 0.375
SAMPLE_ROWS = 16  # every so many rows one is looked at
SAMPLES_MIN, SAMPLES = 64, 256
BEST_BY = 0.05  # log likelihood a row by which another root must be better
NEAR = math.log(4.0)  # a value that is farther, as a factor, from what is expected is no more evidence than this
SEEN_LEFT = 20.0  # excesses that a tail keeps when the root changes
U_MORE, BETA_MORE = 1.5, 2.0  # most that begin and scale of a tail grow then
SPREAD, BENT = (0.0, 0.5, 1.0), (0.0, 0.5, 0.75)  # powers of the level, and one less the root, by root


@inlined
def ground(s, expected):  # type: ignore[no-untyped-def]
    """What deviations are seen from: what is expected, or a part of the mean, and a little of the last decimal: a count
    of 0 is no infinite distance from one of 1 (Anscombe 1948)."""
    little = ANSCOMBE / POWERS[s.decimals] if s.decimals < DECIMALS_MAX else 0.0
    return max(expected, FLOOR * (s.level + s.centre), 1e-300) + little


@bare
def bent(root, d, f):  # type: ignore[no-untyped-def]
    """A difference from f > 0 as a deviation between roots; below -f as steep as differences."""
    if root <= 0:
        return d
    of = 1.0 + d / f
    n = 2.0 * root
    if of <= 0.0:
        return d + f - n * f
    of = math.sqrt(of)
    return n * f * ((of if root == 1 else math.sqrt(of)) - 1.0)


@bare
def straight(root, a, f):  # type: ignore[no-untyped-def]
    """The difference from f that `bent` makes a deviation `a` of."""
    if root <= 0:
        return a
    n = 2.0 * root
    of = 1.0 + a / (n * f)
    if of <= 0.0:
        return a + n * f - f
    of *= of
    return f * ((of if root == 1 else of * of) - 1.0)


@bare
def spread(s, root, expected):  # type: ignore[no-untyped-def]
    """Size of deviations where so much is expected, relative to that at the mean."""
    mean = s.level + s.centre
    if root <= 0 or mean <= 0.0:
        return 1.0
    share = max(expected / mean, FLOOR)
    return math.sqrt(share) if root == 1 else share


@bare
def weigh_roots(s, expected, d):  # type: ignore[no-untyped-def]
    """Take one row as evidence for a root: d, its difference from what was expected."""
    mean = s.level + s.centre
    if mean <= 0.0 or (s.decimals < DECIMALS_MAX and expected * POWERS[s.decimals] < 2.0):
        return
    s.root_rows = min(s.root_rows + 1, SAMPLES)
    rate, f = 1.0 / s.root_rows, ground(s, expected)
    for k in range(ROOTS):
        away, size = abs(bent(k, d, f)) / spread(s, k, expected), np.float64(s.root_size[k])
        if s.root_rows > 16:
            away = min(away, 8.0 * size)
        s.root_size[k] = size + rate * (away - size)
    s.root_level += rate * (math.log(f / mean) - s.root_level)
    s.root_bent += rate * (min(max(math.log(max(1.0 + d / f, 1e-9)), -NEAR), NEAR) - s.root_bent)


@bare
def choose_root(s):  # type: ignore[no-untyped-def]
    """Is another root better by now? True when it was changed: then tails are to be judged by anew."""
    if s.root < 0 or s.root_rows < SAMPLES_MIN or s.level + s.centre <= 0.0:
        return False
    best, least, mine = 0, 0.0, 0.0
    for k in range(ROOTS):
        size = np.float64(s.root_size[k])
        if size <= 0.0:
            return False
        cost = math.log(size) + SPREAD[k] * s.root_level + BENT[k] * s.root_bent
        if k == 0 or cost < least:
            best, least = k, cost
        if k == s.root:
            mine = cost
    if best == s.root or least > mine - BEST_BY:
        return False
    _change_root(s, best)
    return True


@bare
def _change_root(s, root):  # type: ignore[no-untyped-def]
    """Say what is known of deviations in those of another root: sizes by hour, and where tails begin."""
    for h in range(24):
        expected = s.level + 0.5 * (np.float64(s.day[2 * h]) + np.float64(s.day[2 * h + 1]))
        by = spread(s, s.root, expected) / spread(s, root, expected)
        s.ratio[h] = min(max(s.ratio[h] * by, 0.2), 6.0)
        s.ref_ratio[h] = min(max(s.ref_ratio[h] * by, 0.2), 6.0)
    _move_tail(s, root, UP, s.size, 1.0)
    _move_tail(s, root, DOWN, s.size, -1.0)
    _move_tail(s, root, REF_UP, s.ref_size, 1.0)
    _move_tail(s, root, REF_DOWN, s.ref_size, -1.0)
    s.root = root


@bare
def _move_tail(s, root, at, size, side):  # type: ignore[no-untyped-def]
    if size <= 0.0:
        return
    f, u, beta = s.level + s.centre, s.tails[at + U], s.tails[at + BETA]
    near = side * bent(root, straight(s.root, side * u * size, f), f) / size
    far = side * bent(root, straight(s.root, side * (u + beta) * size, f), f) / size
    # Where a tail began beyond 0 nothing is known of it.
    s.tails[at + U] = max(min(near, U_MORE * u), U_MIN)
    s.tails[at + BETA] = max(min(far - near, BETA_MORE * beta), BETA_MIN)
    s.tails[at + SEEN] = min(s.tails[at + SEEN], SEEN_LEFT)
