"""How unlikely is a deviation? A calibrated tail for each series and side, learned row by row in constant memory.

Deviations are given in units of their usual size. A running quantile u (exceeded with probability Q) parts the bulk
from the tail; above it a generalized Pareto distribution (Pickands 1975; Coles, An Introduction to Statistical
Modeling of Extreme Values, 2001, ch. 4) is fitted by the mean and the mean square of the excess over u:

    P(z > x) = Q * (1 + xi * (x - u) / beta) ** (-1 / xi)         beta = mean * (1 - xi)
    xi = (R - 2) / (2R - 2)  with  R = mean square / mean ** 2,   kept in [XI_MIN, XI_MAX]

One tail is TAIL numbers at `tails[at:at + TAIL]`. A score is log p / log p_limit with p two-sided, so it is linear
in z below u and 1 at `limit`. Compiled kernels; their slow twins are in tests/naive.py.
"""

from __future__ import annotations

import math

from almenara.analysis.compiled import bare, inlined

#: Probability of one side beyond u.
Q = 0.02
#: Columns of one tail: u, mean excess, mean square excess, xi, distance from u to the limit.
U, MEAN, SQUARE, XI, REACH, TAIL = 0, 1, 2, 3, 4, 5
XI_MIN, XI_MAX = 0.02, 0.4
U_MIN, U_MAX = 1.0, 60.0
Z_MAX = 1e6
LIMIT_MIN = 3.0
#: Among rejected rows less is needed to be rejected too: a score of STAY, near `tail_stay`.
STAY, STAY_REACH = 0.5, 0.3


def depth_of(p_limit: float) -> float:
    """log(p two-sided at u / p_limit): how far below u the limit lies, in e-folds."""
    return math.log(2 * Q / p_limit)


@bare
def tail_start(tails, at, depth):  # type: ignore[no-untyped-def]
    """A tail before anything was seen: a Gaussian's, in units of its mean absolute deviation."""
    tails[at + U] = 2.57
    tails[at + MEAN] = 0.46
    tails[at + SQUARE] = 0.44
    tails[at + XI] = 0.04
    _reach(tails, at, depth, False)


@bare
def _reach(tails, at, depth, fitted):  # type: ignore[no-untyped-def]
    mean = tails[at + MEAN]
    if fitted:
        ratio = max(tails[at + SQUARE] / (mean * mean), 1.2)
        tails[at + XI] = min(max((ratio - 2.0) / (2.0 * ratio - 2.0), XI_MIN), XI_MAX)
    xi = tails[at + XI]
    tails[at + REACH] = mean * (1.0 - xi) / xi * (math.exp(xi * depth) - 1.0)


@inlined
def tail_limit(tails, at):  # type: ignore[no-untyped-def]
    """The deviation whose score is 1."""
    return max(tails[at + U] + tails[at + REACH], LIMIT_MIN)


@inlined
def tail_stay(tails, at):  # type: ignore[no-untyped-def]
    """The deviation that still belongs to a run of rejected rows."""
    return tails[at + U] + STAY_REACH * tails[at + REACH]


@inlined
def tail_learn(tails, at, z, step, rate, heavy_rate, depth):  # type: ignore[no-untyped-def]
    """Learn a deviation z >= 0 on this side (0 when it fell on the other), cut at the limit. step: of the quantile;
    rate: weight
    of one excess in the mean; heavy_rate: in the mean square, 0 = the shape is not fitted."""
    u = tails[at + U]
    if z <= u:
        tails[at + U] = max(u - step * Q, U_MIN)
        return
    excess = min(z, tail_limit(tails, at)) - u
    if heavy_rate == 0.0:
        excess = min(excess, 4.0 * tails[at + MEAN])
    tails[at + U] = min(u + step * (1.0 - Q), U_MAX)
    tails[at + MEAN] = max(tails[at + MEAN] + rate * (excess - tails[at + MEAN]), 0.1)
    tails[at + SQUARE] += heavy_rate * (excess * excess - tails[at + SQUARE])
    _reach(tails, at, depth, heavy_rate > 0.0)


@inlined
def tail_score(tails, at, z, depth):  # type: ignore[no-untyped-def]
    """log p / log p_limit of a deviation z >= 0: 0 at 0, 1 at the limit."""
    base = -math.log(2.0 * Q)
    u = tails[at + U]
    if z <= u:
        return z / u * base / (depth + base)
    xi = tails[at + XI]
    beta = tails[at + MEAN] * (1.0 - xi)
    return (base + math.log1p(xi * (min(z, Z_MAX) - u) / beta) / xi) / (depth + base)
