"""What the detector `seasonal` knows of one series, and how it begins: the slot, its constants, the first 30 rows."""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import DAY_S
from almenara.analysis.compiled import apart, bare, inlined, kernel
from almenara.analysis.tails import BASE, TAIL, tail_share, tail_start
from almenara.model.time import NS

#: Different values of a state at most.
KINDS = 8
#: Roots that deviations may be seen between, see seasonal_root.py.
ROOTS = 3
#: Everything known of one series; sizes and deviations in the unit of the value, times in ns. Profiles are float32 and
#: relative to the level, so nothing is lost for series far from zero.
SLOT = np.dtype(
    [
        ("time", np.int64),  # of the last row learned
        ("first", np.int64),
        ("flat", np.int64),  # since when the value has not moved
        ("run", np.int64),  # since when rows are rejected
        ("widened", np.int64),  # when a band was last made wider
        ("half", np.int64),  # the open bin: half hours of local time since 1970
        ("quarter", np.int64),  # the quarter of an hour of local time that `season_at` and the like are for
        ("level", np.float64),
        ("last", np.float64),  # value
        ("recent", np.float64),  # average of recent deviations from base
        ("base", np.float64),  # level plus season at the last row
        ("season_at", np.float64),  # season relative to the level where the quarter begins, and how it rises a second
        ("season_by", np.float64),
        ("unsure_at", np.float64),  # how unsure the season is
        ("unsure_by", np.float64),
        ("ratio_at", np.float64),  # size by hour of the day
        ("ratio_by", np.float64),
        ("ref_ratio_at", np.float64),
        ("ref_ratio_by", np.float64),
        ("size", np.float64),  # mean absolute deviation in the recent view
        ("ref_size", np.float64),  # and in the reference view
        ("widen", np.float64),  # of the band, after false alarms
        ("ref_widen", np.float64),
        ("cross", np.float64),  # mean of deviation times recent deviation
        ("power", np.float64),  # mean of recent deviation squared
        ("cadence", np.float64),  # s between rows
        ("moves", np.float64),  # share of rows whose value differs from the one before
        ("flat_max", np.float64),  # s, longest usual time without a move
        ("swing", np.float64),  # mean absolute deviation of the day profile from its centre
        ("centre", np.float64),
        ("held", np.float64),  # deviation from base that was expected before a run of rejected rows, or at the last row
        ("peak", np.float64),  # highest score of the recent view in the run of rejected rows
        ("anchor", np.float64),  # recent deviation when `drift` was last learned
        ("drift", np.float64),  # mean absolute move of the recent deviation in DRIFT_ROWS rows
        ("run_mean", np.float64),
        ("run_dev", np.float64),
        ("sum", np.float64),  # the open bin: deviations from base
        ("sum_size", np.float64),
        ("sum_ref", np.float64),
        ("sum_rows", np.float64),
        ("sum_out", np.float64),
        ("most_up", np.float64),  # the open bin: farthest deviation in the reference view, in sizes
        ("most_down", np.float64),
        ("runs", np.float64),  # runs of rejected rows, those of an hour as one, forgotten in 4 / p_limit rows
        ("cluster", np.float64),  # excesses over u among the latest 32 rows
        ("pending", np.float64),  # deviation of a row rejected just now, learned as the tail's if the next is usual
        ("wave", np.float64),  # what periods of its own add to the season at the last row; see seasonal_periods.py
        ("ring_end", np.int64),  # when the open mean of the ring ends; of what follows its sum and its rows
        ("ring_sum", np.float64),
        ("tails", np.float64, (4 * TAIL,)),
        ("rows", np.int32),
        ("ref_rows", np.int32),
        ("ref_bins", np.int32),
        ("run_rows", np.int32),
        ("flat_rows", np.int32),
        ("is_state", np.int32),  # 1: judged as a state, see analysis/states.py
        ("kinds", np.int32),  # different values so far, -1: too many for a state
        ("ring_rows", np.int32),
        ("periods", np.int32),  # where they, or the ring, are kept; 0 = there are none
        ("search_at", np.int32),  # rows from which on they are searched (again)
        ("root_rows", np.int32),  # looked at to choose the root; their
        ("root_level", np.float32),  # mean log of what was expected, in means
        ("root_bent", np.float32),  # mean log of the value, in what was expected
        ("root_size", np.float32, (ROOTS,)),  # size of deviations at the mean, by root
        ("streak", np.int8),
        ("decimals", np.int8),
        ("beyond", np.int8),  # was the bin before this one in the tail: 1 above, 2 below, 0 no
        ("known", np.int8),  # was the hour of the last row known
        ("hour_known", np.int8),  # 0: no row of this half hour of the day was seen on a day before; else weeks seen + 1
        ("waves", np.int8),  # periods of its own
        ("coarse", np.int8),  # half hours in which values moved and fewer decimals sufficed
        ("root", np.int8),  # deviations are between: 0 values, 1 square roots, 2 fourth roots; -1: always values
        ("day", np.float32, (48,)),
        ("week", np.float32, (168,)),
        ("ratio", np.float32, (24,)),  # size by hour of the day
        ("ref_ratio", np.float32, (24,)),
        ("day_seen", np.uint8, (48,)),
        ("week_seen", np.uint8, (168,)),
        ("values", np.float64, (KINDS,)),  # the different values; what follows is about them
        ("since", np.int32),  # the row from which on they were looked at
        ("begun", np.int32),  # the row in which the present one came
        ("brief", np.int32),  # stays of a few rows only
        ("kind", np.int32),  # which one is the present one
        ("visits", np.uint8, (KINDS,)),
    ],
    align=True,
)
#: Bytes of a slot before its profiles: what every row needs.
HEAD = SLOT.fields["day"][1]  # type: ignore[index]
UP, DOWN, REF_UP, REF_DOWN = 0, TAIL, 2 * TAIL, 3 * TAIL
#: options: float64[3]
DEPTH, ACCEPT_S, P_LIMIT = range(3)
ABOVE, BELOW, ABOVE_RECENT, BELOW_RECENT, ROSE, FELL, STUCK = range(7)

READY = 30  # rows before the first verdict
QUARTER_S, HALF_S, HOUR_S = 900, 1800, 3600
NEVER = -(1 << 62)
HUGE = 1e30  # values beyond are judged as this: squares and float32 profiles stay finite
SCORE_MAX = 10.0
BELOW_ONE = 1.0 - 2.0**-53
GAIN = 0.4  # of the average of recent deviations
LEAN = 0.85  # how far the recent view may lean, in limits of the reference view
CLIP = 4.0  # Huber clip of deviations, in mean absolute deviations
LEVEL_MOST = 2.0  # of a bin's mean deviation that the level follows, in sizes of the reference view
DRIFT_ROWS = 32
DRIFT_NOISE = (
    0.5  # square of the drift, in sizes, of values without a memory: their recent deviations differ by so much
)
UNKNOWN = 0.2  # growth of a held level's variance a row where the hour is not known
STREAK_MAX = 32
HOLD = 3  # rejected rows in a row from which on nothing is learned
WIDEN_STEP, WIDEN_MAX, REF_WIDEN_MAX = 1.08, 8.0, 2.5  # after a false alarm, as far as one can know
WIDEN_REST_S, WIDEN_REST_ROWS, REF_WIDEN_REST_S = HOUR_S, 60, DAY_S  # one fault that comes and goes counts once
DECIMALS_MAX = 7
COARSE_BINS = 48  # half hours with rows in which a decimal is not seen until it is forgotten
POWERS = 10.0 ** np.arange(DECIMALS_MAX + 1)
FLAT_ROWS_MIN, FLAT_TIMES, FLAT_EXTRA, FLAT_AGE_NS = 8, 3.0, 8.0, 2 * DAY_S * NS
STEP, STEP_FIRST = 0.01, 10.0  # of the recent view's quantiles: share a row, and how much more in the first rows
OPEN, OPEN_ROWS = 0.6, 300.0  # how much heavier the tail of a new series may be than it looks, and for how long;
BURSTY = 2.0  # and where it bursts: a rate of the size of its noise, or what hardly ever moves
RATE, LAZY = (0.1, 0.3), 0.5  # from when on noise, in levels, tells a rate, and fewer moves what hardly moves
YOUNG = 400  # rows until which rejected rows are learned as usual ones: what is often so high is usual
RUNS_USUAL = 8.0  # runs of rejected rows in 4 / p_limit rows from which on they are learned: twice what p_limit means
CLUSTER, CLUSTER_ROWS, CLUSTER_WEIGHT = 3.0, 32.0, 0.1  # more excesses than these within these rows count less each
REF_STEP = 0.005  # of the reference view's tails, a bin
REF_XI, REF_MORE = 0.04, 3.0  # shape of the reference view's tails: a Gaussian's, or by what the rows' is above BURSTS
REF_REPEAT = 0.1  # how much a bin counts after one that was in the tail too
FEW_MOVES, MOVES_OVER = 5.0, 512  # so few moves say nothing of how far they go; rows over which moves are counted
FEW_ROWS = 2048  # rows up to which a series that hardly ever moved is given time to
LIVELY = 0.2  # share of moves from which on a series can be stuck
#: How much of a rejected deviation a profile learns, in sizes, by weeks seen.
SURPRISE = (4.0, 16.0, 4.0, 2.0)
WEEKS_MOST = len(SURPRISE) - 1
SURPRISE_SWING = 2.0  # and in an hour of the week never seen, in swings of the day
DAY_MOST = 6.0  # of a bin's deviation moves the day's profile, in sizes; what is beyond is the weekday's
UNSURE = 0.3  # prior size of a weekday's difference, in swings of the day


@inlined
def clip(x, size):  # type: ignore[no-untyped-def]
    return min(max(x, -size), size)


@inlined
def decimals_of(y, known):  # type: ignore[no-untyped-def]
    """How many decimals values have, at least `known`; DECIMALS_MAX = too many to matter."""
    while known < DECIMALS_MAX:
        scaled = abs(y) * POWERS[known]
        if scaled > 1e15 or abs(scaled - math.floor(scaled + 0.5)) <= 1e-12 * scaled:
            break
        known += 1
    return known


@inlined
def needs_decimals(y, decimals):  # type: ignore[no-untyped-def]
    """Has this value all of so many decimals?"""
    scaled = abs(y) * POWERS[max(decimals - 1, 0)]
    return abs(scaled - math.floor(scaled + 0.5)) > 1e-12 * scaled


@apart
def warm(s, time, y, local, o):  # type: ignore[no-untyped-def]
    """Keep the first rows, as pairs of float32, where the week's profile will be; start with the last of them."""
    n = s.rows
    if n > 0 and time <= s.time:
        return
    if n == 0:
        s.first = time
    high = np.float32(y)
    s.week[2 * n] = high
    s.week[2 * n + 1] = np.float32(y - high)
    s.time, s.last, s.rows = time, y, n + 1
    if n + 1 == READY:
        _start(s, time, local, o)


@bare
def _median(x):  # type: ignore[no-untyped-def]
    """The median of a few numbers, which it sorts; numpy's takes longest of all to compile."""
    for k in range(1, len(x)):
        new, j = x[k], k
        while j > 0 and x[j - 1] > new:
            x[j] = x[j - 1]
            j -= 1
        x[j] = new
    return (x[(len(x) - 1) // 2] + x[len(x) // 2]) / 2.0


@kernel
def _start(s, time, local, o):  # type: ignore[no-untyped-def]
    """Level, size and tails from the first READY rows."""
    values, steps = np.empty(READY), np.empty(READY - 1)
    s.decimals = 0
    for k in range(READY):
        values[k] = np.float64(s.week[2 * k]) + np.float64(s.week[2 * k + 1])
        s.week[2 * k] = s.week[2 * k + 1] = 0.0
        s.decimals = decimals_of(values[k], s.decimals)
        if values[k] < 0.0:
            s.root = -1
    moved = 0
    for k in range(READY - 1):
        steps[k] = abs(values[k + 1] - values[k])
        moved += steps[k] > 0.0
    cut = 5.0 * _median(steps)
    size = 0.0
    for k in range(READY - 1):
        size += (min(steps[k], cut) if cut > 0.0 else steps[k]) / (READY - 1)
    s.cadence = max((time - s.first) / NS / (READY - 1), 1e-6)
    latest = values[READY - 5 :].copy()
    s.moves = moved / (READY - 1)
    blank(s, local, _median(values), size, o)
    s.recent = _median(latest) - s.level
    s.anchor = s.recent
    s.flat = time


@apart
def unsure_of(s):  # type: ignore[no-untyped-def]
    """How much heavier the tail of rows may be than it looks, after so few of them."""
    rate = min(max((s.size / max(abs(s.level), 1e-300) - RATE[0]) / (RATE[1] - RATE[0]), 0.0), 1.0)
    bursty = max(rate, 1.0 - min(s.moves / LAZY, 1.0))
    age = s.rows / OPEN_ROWS
    return (OPEN + (BURSTY - OPEN) * bursty) / (1.0 + age * age)


@apart
def blank(s, local, level, size, o):  # type: ignore[no-untyped-def]
    """No more is known than a level and how far values move."""
    s.level, s.base, s.size, s.drift = level, level, size, 0.7 * size
    s.widen = s.ref_widen = 1.0
    s.cross, s.power = 0.5, 1.0
    s.half, s.quarter = local // HALF_S, NEVER
    for h in range(24):
        s.ratio[h] = s.ref_ratio[h] = 1.0
    share = tail_share(s.cadence)
    for at in (UP, DOWN):
        tail_start(s.tails, at, 0.1, o[DEPTH] + share, BASE - share, unsure_of(s))
    for at in (REF_UP, REF_DOWN):
        tail_start(s.tails, at, REF_XI, o[DEPTH] + share, BASE - share, 0.0)
