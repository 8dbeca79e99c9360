"""How unlikely is a deviation? A calibrated tail for each series and side, learned row by row in constant memory.

Deviations are given in units of their usual size. A running quantile u (exceeded with probability Q) parts the bulk
from the tail; above it is a generalized Pareto distribution (Pickands 1975; Coles, An Introduction to Statistical
Modeling of Extreme Values, 2001, ch. 4):

    P(z > x) = Q * (1 + xi * (x - u) / beta) ** (-1 / xi)

xi and beta follow their likelihood, one excess at a time: a step of natural gradient (Amari 1998), the inverse of
Fisher's information times the score, divided by the excesses seen so far plus PRIOR. So what a tail begins as counts as
PRIOR excesses, and any weight of tail can be learned, also one whose mean is not finite. What a few rows cannot show is
not claimed: the shape by which is judged is xi plus what the evidence leaves open, and shrinks to xi as rows come.

One tail is TAIL numbers at `tails[at:at + TAIL]`. A score is log p / log p_limit with p two-sided and for both views
together (`tail_share`), so it is linear in z below u and 1 at `limit`. depth: e-folds from u to the limit; base: from
p = 1 to u. Compiled kernels; their slow twins are in tests/naive.py.
"""

from __future__ import annotations

import math

from almenara.analysis.compiled import apart, bare, inlined, within

#: Probability of one side beyond u, and -log of both.
Q = 0.02
BASE = -math.log(2 * Q)
BIN_S, LOG_2 = 1800.0, math.log(2)
#: Columns of one tail: u, beta, xi, excesses seen, the shape judged by, distance from u to the limit and to a
#: score of STAY, which is enough among rejected rows.
U, BETA, XI, SEEN, SHAPE, REACH, LESS, TAIL = 0, 1, 2, 3, 4, 5, 6, 7
STAY = 0.5
XI_MIN, XI_MAX = 0.02, 2.0
#: Faults and unrest make a tail look heavier than it is, up to BURSTS: what is between is judged as PLAIN.
PLAIN, BURSTS, STEEP = 0.4, 0.8, 1.5
PRIOR, SEEN_MAX = 10.0, 120.0
STEP_MAX = 10.0  # most that xi and log beta may move for one excess, in weights of an excess
U_MIN, U_MAX = 1.0, 1e6
BETA_MIN = 0.1
FIXED_MAX = 4.0
Z_MAX = 1e9
LIMIT_MIN = 3.0


def depth_of(p_limit: float) -> float:
    """log(p two-sided at u / p_limit): how far below u the limit lies, in e-folds, where one view judges."""
    return math.log(2 * Q / p_limit)


@inlined
def tail_share(cadence):  # type: ignore[no-untyped-def]
    """log of how many views judge a row on their own: 2 where a bin is a row, 1.5 where its many rows make one extreme;
    log(1 + x) within 0.02."""
    x = 0.5 + 0.5 * min(cadence / BIN_S, 1.0)
    return x * (1.0 - (1.0 - LOG_2) * x)


@bare
def tail_start(tails, at, xi, depth, base, unsure):  # type: ignore[no-untyped-def]
    """A tail before anything was seen: a Gaussian's, in units of its mean absolute deviation, but for its shape."""
    tails[at + U] = 2.57
    tails[at + BETA] = 0.44
    tails[at + XI] = xi
    tails[at + SEEN] = 0.0
    tail_reach(tails, at, depth, base, unsure)


@bare
def tail_reach(tails, at, depth, base, unsure):  # type: ignore[no-untyped-def]
    """Judge from now on by the shape learned plus `unsure`."""
    xi = tails[at + XI]
    shape = min(xi, min(xi, PLAIN) + STEEP * max(xi - BURSTS, 0.0)) + unsure
    tails[at + SHAPE] = shape
    scale = tails[at + BETA] / shape
    tails[at + REACH] = scale * (math.exp(shape * depth) - 1.0)
    tails[at + LESS] = scale * (math.exp(shape * max(STAY * (depth + base) - base, 0.0)) - 1.0)


@inlined
def tail_limit(tails, at):  # type: ignore[no-untyped-def]
    """The deviation whose score is 1."""
    return max(tails[at + U] + tails[at + REACH], LIMIT_MIN)


@inlined
def tail_stay(tails, at):  # type: ignore[no-untyped-def]
    """The deviation that still belongs to a run of rejected rows."""
    return tails[at + U] + tails[at + LESS]


@apart
def _fit(tails, at, excess, weight, fit):  # type: ignore[no-untyped-def]
    """One step of xi and log beta towards what makes this excess likely."""
    xi, beta = tails[at + XI], tails[at + BETA]
    e = excess / beta if fit else min(excess / beta, FIXED_MAX)
    part = e / (1.0 + xi * e)
    by_xi = math.log1p(xi * e) / (xi * xi) - (1.0 + 1.0 / xi) * part
    by_beta = (1.0 + xi) * part - 1.0
    gain = weight / (tails[at + SEEN] + PRIOR)
    most = STEP_MAX * gain
    tails[at + SEEN] = min(tails[at + SEEN] + weight, SEEN_MAX)
    move = gain * (1.0 + xi) * ((1.0 + xi) * by_xi - by_beta)
    if fit and xi + move > XI_MIN:
        tails[at + XI] = min(xi + min(max(move, -most), most), XI_MAX)
        move = gain * (1.0 + xi) * (2.0 * by_beta - by_xi)
    else:  # at the end of its range xi stands still, and beta is fitted alone
        tails[at + XI] = XI_MIN if fit else xi
        move = gain * (1.0 + 2.0 * xi) * by_beta
    tails[at + BETA] = max(beta * math.exp(min(max(move, -most), most)), BETA_MIN)


@within
def tail_learn(tails, at, z, step, weight, fit):  # type: ignore[no-untyped-def]
    """Learn a deviation z (less than 0 when it fell on the other side). True where it was beyond u: then `tail_reach`
    is to be called. step: of the quantile, a share of it; weight: how much this row counts, 1 = as one independent
    of the others; fit: the shape too, else beta alone, from excesses cut at FIXED_MAX."""
    u = tails[at + U]
    if z <= u:
        tails[at + U] = max(u - step * Q * u, U_MIN)
        return False
    tails[at + U] = min(u + step * (1.0 - Q) * u, U_MAX)
    _fit(tails, at, min(z, Z_MAX) - u, weight, fit)
    return True


@inlined
def tail_score(tails, at, z, depth, base):  # type: ignore[no-untyped-def]
    """log p / log p_limit of a deviation z >= 0: 0 at 0, 1 at the limit."""
    u = tails[at + U]
    if z <= u:
        return z / u * base / (depth + base)
    shape = tails[at + SHAPE]
    return (base + math.log1p(shape * (min(z, Z_MAX) - u) / tails[at + BETA]) / shape) / (depth + base)
