"""The compiled heart of the detector `seasonal`: judge one row, then learn it, in constant memory a series.

What is expected is a slow level plus a profile of the day (half hours) plus a profile of the week (hours), read
between bin centres, so that bands have no steps, plus periods of the
series' own (`seasonal_periods.py`). Two views judge a row:

- the *recent* view expects the profile plus what is left of the latest deviations (their learned autocorrelation);
- the *reference* view expects the profile alone, so that a slow fault is not followed. It also bounds how far the
  recent view may lean.

A fault is not followed while it lasts: from a first rejected row on the recent view is what it was before that row,
with a size that grows as the series itself drifts, until values come back to it or to what is usual for the time, or
until what lasts is accepted. Meanwhile a row needs less to be rejected too, and scores as much as the run's first.

The band is where neither view sees an anomaly. Sizes of deviations are mean absolute values, Huber-clipped, times a
profile of the day. Each view and side has a tail of its own (`analysis/tails.py`). A slow twin in plain Python is in
tests/naive.py; both give the same bits.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import DAY_S, EPOCH_SHIFT_S, WEEK_S
from almenara.analysis.compiled import apart, bare, inlined, within
from almenara.analysis.seasonal_learn import (
    commit,
    count_rejected,
    gather,
    learn_decimals,
    learn_drift,
    learn_rhythm,
    learn_root,
    learn_sizes,
    learn_tails,
)
from almenara.analysis.seasonal_root import bent, ground, spread, straight
from almenara.analysis.seasonal_slot import (
    ABOVE,
    ABOVE_RECENT,
    BELOW_ONE,
    DECIMALS_MAX,
    DEPTH,
    DOWN,
    DRIFT_NOISE,
    DRIFT_ROWS,
    FEW_MOVES,
    FEW_ROWS,
    FLAT_AGE_NS,
    FLAT_EXTRA,
    FLAT_ROWS_MIN,
    FLAT_TIMES,
    GAIN,
    HALF_S,
    HOLD,
    HOUR_S,
    LEAN,
    LIVELY,
    MOVES_OVER,
    P_LIMIT,
    POWERS,
    QUARTER_S,
    READY,
    REF_DOWN,
    REF_UP,
    ROSE,
    SCORE_MAX,
    STUCK,
    UNKNOWN,
    UNSURE,
    UP,
    WEEKS_MOST,
    clip,
)
from almenara.analysis.tails import BASE, STAY, tail_limit, tail_score, tail_share, tail_stay
from almenara.model.time import NS


@apart
def _read(s, quarter):  # type: ignore[no-untyped-def]
    """Read the profiles for a quarter of an hour of local time. What lies between bin centres is linear within one."""
    _read_profiles(s, quarter)
    if s.root > 0:
        _spread(s)


@bare
def _read_profiles(s, quarter):  # type: ignore[no-untyped-def]
    begin = quarter * QUARTER_S
    second, week_second = begin % DAY_S, (begin + EPOCH_SHIFT_S) % WEEK_S
    b, h = second // HALF_S, week_second // HOUR_S
    s.quarter, s.hour_known = quarter, 0 if s.day_seen[b] == 0 else 1 + min(s.week_seen[h] // 2, WEEKS_MOST)
    s.season_at = s.season_by = s.unsure_at = s.unsure_by = 0.0
    s.ratio_at, s.ratio_by = _at_hour(s.ratio, second)
    s.ref_ratio_at, s.ref_ratio_by = _at_hour(s.ref_ratio, second)
    if s.hour_known == 0:
        return
    day, week, seen = s.day, s.week, s.week_seen
    if s.cadence >= 0.5 * HALF_S:  # rows fall on the same few places of each bin: nothing to read between
        known = 1.0 + 0.5 * seen[h]
        s.season_at = np.float64(day[b]) + np.float64(week[h])
        s.unsure_at = UNSURE * s.swing / (known * known)
        return
    x = second / HALF_S - 0.5
    b0 = math.floor(x)
    part = x - b0
    b0, b1 = (b0 + 48) % 48, (b0 + 1) % 48
    d0, d1 = np.float64(day[b0 if s.day_seen[b0] else b]), np.float64(day[b1 if s.day_seen[b1] else b])
    x = week_second / HOUR_S - 0.5
    h0 = math.floor(x)
    of_week = x - h0
    h0, h1 = (h0 + 168) % 168, (h0 + 1) % 168
    w0, w1 = np.float64(week[h0]), np.float64(week[h1])
    s.season_at = d0 + (d1 - d0) * part + w0 + (w1 - w0) * of_week
    s.season_by = (d1 - d0) / HALF_S + (w1 - w0) / HOUR_S
    k0, k1 = 1.0 + 0.5 * seen[h0], 1.0 + 0.5 * seen[h1]
    u0, u1 = UNSURE * s.swing / (k0 * k0), UNSURE * s.swing / (k1 * k1)
    s.unsure_at, s.unsure_by = u0 + (u1 - u0) * of_week, (u1 - u0) / HOUR_S


@apart
def _spread(s):  # type: ignore[no-untyped-def]
    """Sizes by hour times what they are by what is expected: linear from begin to end of the quarter."""
    base = s.level + s.season_at
    begin, end = spread(s, s.root, base), spread(s, s.root, base + s.season_by * QUARTER_S)
    last = s.ratio_at + s.ratio_by * QUARTER_S
    s.ratio_at *= begin
    s.ratio_by = (last * end - s.ratio_at) / QUARTER_S
    last = s.ref_ratio_at + s.ref_ratio_by * QUARTER_S
    s.ref_ratio_at *= begin
    s.ref_ratio_by = (last * end - s.ref_ratio_at) / QUARTER_S


@inlined
def _at_hour(ratio, second):  # type: ignore[no-untyped-def]
    """(size of deviations at this time of day, relative to the average; its rise a second)."""
    x = second / HOUR_S - 0.5
    h = math.floor(x)
    r0, r1 = np.float64(ratio[(h + 24) % 24]), np.float64(ratio[(h + 1) % 24])
    return r0 + (r1 - r0) * (x - h), (r1 - r0) / HOUR_S


@inlined
def _least(s, expected):  # type: ignore[no-untyped-def]
    """The least size of a deviation: half of the value's last decimal, at most 2 % of the level; for a series that
    hardly ever moves 0.1 % of it."""
    a = abs(expected)
    half = 0.5 / POWERS[s.decimals] if s.decimals < DECIMALS_MAX else 0.0
    least = half if a < half else min(half, 0.02 * a)
    quiet = 1.0 - min(1.0, 10.0 * s.moves)
    return max(max(least, quiet * 1e-3 * a), max(1e-9 * a, 1e-200))


@inlined
def _expect(s, time, local):  # type: ignore[no-untyped-def]
    """What both views expect at this time: (hour known, judged by reference, base, how far a profile's change moved
    deviations, recent deviation, lean, size, ref_size, how unsure, reach of the reference band below and above, ratio,
    ref_ratio); the last two are sizes at this time of day, relative to the average."""
    quarter = local // QUARTER_S
    if quarter != s.quarter:
        _read(s, quarter)
    x, known = np.float64(local - quarter * QUARTER_S), s.hour_known > 0
    base, recent, moved = s.level + (s.season_at + s.season_by * x) + s.wave, s.recent, 0.0
    if known != (s.known == 1):
        moved = s.base - base
        recent += moved
    gap = (time - s.time) / NS / (4.0 * s.cadence)
    wide = 1.0
    if gap > 1.0:
        wide = math.sqrt(min(gap, 64.0))
        if known:
            recent /= gap
    least = _least(s, base)
    ratio, ref_ratio = s.ratio_at + s.ratio_by * x, s.ref_ratio_at + s.ref_ratio_by * x
    size = max(s.size * ratio * wide, least)
    judged = known and s.ref_rows >= READY
    lean, ref_size, ref_low, ref_high = recent, 0.0, 0.0, 0.0
    unsure = s.unsure_at + s.unsure_by * x
    if known:
        ref_size = s.ref_size * ref_ratio * (1.0 + 8.0 / (1.0 + s.ref_bins)) + unsure
        ref_size = max(ref_size, least)
    if judged:
        ref_low = tail_limit(s.tails, REF_DOWN) * ref_size * s.ref_widen
        ref_high = tail_limit(s.tails, REF_UP) * ref_size * s.ref_widen
        if s.root > 0:
            f = ground(s, base)
            ref_low, ref_high = -straight(s.root, -ref_low, f), straight(s.root, ref_high, f)
        lean = min(max(s.cross / s.power, 0.0), 1.0) * recent
        lean = min(max(lean, -LEAN * ref_low), LEAN * ref_high)
    return known, judged, base, moved, recent, lean, size, ref_size, unsure, ref_low, ref_high, ratio, ref_ratio


@inlined
def _grown(s, time, size, known, judged, ref_size, unsure):  # type: ignore[no-untyped-def]
    """Size of deviations from what was expected before a run of rejected rows: it grows with the square root of the
    time since, as the series itself drifts, and where its hour or weekday is hardly known."""
    drift = (s.drift / s.size) ** 2 - DRIFT_NOISE if s.size > 0.0 else 0.0
    growth = max(drift, 0.0) / DRIFT_ROWS + UNKNOWN * (unsure / ref_size if known else 1.0)
    grown = size * math.sqrt(1.0 + growth * max((time - s.run) / NS / s.cadence, 0.0))
    return max(size, min(grown, ref_size)) if judged else grown


@inlined
def _stuck(s, time, y):  # type: ignore[no-untyped-def]
    """How long this value has not moved, in times of what is plausible; 0 where that says nothing."""
    if y != s.last or s.flat_rows < FLAT_ROWS_MIN or s.moves < LIVELY or time - s.first < FLAT_AGE_NS:
        return 0.0
    return (time - s.flat) / NS / (FLAT_TIMES * s.flat_max + FLAT_EXTRA * s.cadence)


@inlined
def _shut_out(y, yhat, lower, upper):  # type: ignore[no-untyped-def]
    """The band must not hold a value that is an anomaly: it ends just before it."""
    if y >= yhat:
        upper = np.nextafter(y, -np.inf)
        yhat = min(yhat, upper)
        lower = min(lower, yhat)
    else:
        lower = np.nextafter(y, np.inf)
    return yhat, lower, upper


@apart
def _turn(s, half, local, o):  # type: ignore[no-untyped-def]
    """Close the bin of a half hour that is over. What the profiles learn of it moves what they expect now; where rows
    are has not moved, so their recent deviation goes the other way."""
    quarter = local // QUARTER_S
    x = np.float64(local - quarter * QUARTER_S)
    _read(s, quarter)
    known, before = s.hour_known > 0, s.level + (s.season_at + s.season_by * x)
    commit(s, half, o)
    _read(s, quarter)
    if known and s.known == 1:
        moved = before - (s.level + (s.season_at + s.season_by * x))
        s.recent += moved
        s.held += moved
        s.anchor += moved


@apart
def _few_moves(s, y, raw, score, lower, upper, o):  # type: ignore[no-untyped-def]
    """(score, outside, lower, upper) of a rejected row of a young series. How far a series moves cannot be told from
    the few times that it did: the score of a move is then by how often it moved at all (Laplace's rule of succession).
    """
    moved = s.moves * min(s.rows, MOVES_OVER)
    if raw == s.last or moved >= FEW_MOVES:
        return score, True, lower, upper
    score = min(score, math.log((moved + 1.0) / (s.rows + 2.0)) / math.log(o[P_LIMIT]))
    if score < 1.0:
        return score, False, min(lower, y), max(upper, y)
    return score, True, lower, upper


@within
def _row(s, time, y, raw, local, o, verdict, cause, k):  # type: ignore[no-untyped-def]
    """Judge a row of a series that is ready into verdict[:, k] and cause[k], then learn it. raw: the value itself; y is
    without what an occasion does."""
    fresh = time > s.time
    half = local // HALF_S
    if fresh and half != s.half:
        _turn(s, half, local, o)
    expected = _expect(s, time, local)
    known, judged, base, moved, recent, lean, size, ref_size, unsure, ref_low, ref_high, ratio, ref_ratio = expected
    ref_away, near_away = y - base, y - base - lean
    f, near = ground(s, base), ground(s, base + lean)
    bent_ref, bent_near = bent(s.root, ref_away, f), bent(s.root, near_away, near)
    centre, wide, usual = lean, size, 0.0
    low, high = tail_limit(s.tails, DOWN), tail_limit(s.tails, UP)
    if s.streak > 0:  # what lasts is judged by what was expected before it began, and needs less to go on
        centre = s.held + moved
        if judged:
            centre, usual = min(max(centre, -LEAN * ref_low), LEAN * ref_high), max(size, ref_size)
        wide = _grown(s, time, size, known, judged, ref_size, unsure)
        low, high = min(low, tail_stay(s.tails, DOWN)), min(high, tail_stay(s.tails, UP))
    low, high, yhat = low * s.widen, high * s.widen, base + centre
    here = ground(s, yhat)
    lower, upper = yhat + straight(s.root, -low * wide, here), yhat + straight(s.root, high * wide, here)
    away = y - yhat
    z, above = abs(bent(s.root, away, here)) / wide, away >= 0.0
    if usual > 0.0:  # and ends where a value is usual for the time
        lower = min(lower, base + straight(s.root, -low * usual, f))
        upper = max(upper, base + straight(s.root, high * usual, f))
        if abs(bent_ref) / usual < z:
            z, above = abs(bent_ref) / usual, ref_away >= 0.0
    if judged:
        lower, upper = max(lower, base - ref_low), min(upper, base + ref_high)
    share = tail_share(s.cadence)
    score = tail_score(s.tails, UP if above else DOWN, z / s.widen, o[DEPTH] + share, BASE - share)
    if s.streak > 0:
        score = max(score, min(score / STAY, s.peak))
    ref_score = 0.0
    if judged:
        side = REF_UP if ref_away >= 0.0 else REF_DOWN
        z = abs(bent_ref) / (ref_size * s.ref_widen)
        ref_score = tail_score(s.tails, side, z, o[DEPTH] + share, BASE - share)
    by_ref = ref_score >= score
    score = max(score, ref_score)
    outside = y < lower or y > upper
    score = min(max(score, 1.0), SCORE_MAX) if outside else min(score, BELOW_ONE)
    if outside and s.rows < FEW_ROWS:
        score, outside, lower, upper = _few_moves(s, y, raw, score, lower, upper, o)
    cause[k] = -1
    if outside:
        cause[k] = (ABOVE if ref_score >= 1.0 else ROSE if judged else ABOVE_RECENT) + (y < lower)
    stuck = _stuck(s, time, raw)
    if stuck > 1.0:
        score = min(max(score, stuck), SCORE_MAX)
        if not outside:
            outside = True
            cause[k] = STUCK
            yhat, lower, upper = _shut_out(y, yhat, lower, upper)
    verdict[0, k], verdict[1, k], verdict[2, k], verdict[3, k] = score, yhat, lower, upper
    if fresh:
        learn_rhythm(s, time, raw, stuck)
        s.recent, s.base, s.known = recent, base, known
        s.anchor += moved
        if s.streak == 0:
            s.held, s.peak = 0.0 if ref_score >= 1.0 else centre, score
        else:
            s.held, s.peak = s.held + moved, max(s.peak, score)
            if not outside and abs(away) < abs(ref_away - recent):
                recent = centre  # back to what was before: as if the rejected rows had not been
        if count_rejected(s, time, ref_away, known, outside, by_ref, stuck, o):
            gather(s, known, recent, size, ref_size, ref_away, bent_near, bent_ref, outside)
            if ref_score < 1.0:  # what the reference view rejects must not be followed
                s.recent = recent + GAIN * clip(ref_away - recent, 6.0 * size)
            if not outside or s.streak <= HOLD:
                learn_decimals(s, raw)
                learn_sizes(s, ratio, ref_ratio, known, recent, size, ref_size, bent_near, bent_ref)
            learn_tails(s, judged, lean, size, ref_size, bent_near, bent_ref, outside, o)
            learn_root(s, known, base + lean, near_away, raw, outside)
            if s.rows % DRIFT_ROWS == 0:
                learn_drift(s)
