"""All rows of a batch in their order, each judged as what it is: a state, a value, or a value within an occasion."""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.compiled import apart, bare, inlined, prefetch
from almenara.analysis.effects import (
    KNOWN,
    SCALE_MIN,
    UNSURE_LEVEL,
    UNSURE_SIZES,
    begin_and_end,
    borrow,
    cause_of,
    effect_at,
    gather_effect,
)
from almenara.analysis.seasonal import _least, _read, _row, _turn
from almenara.analysis.seasonal_learn import learn_rhythm
from almenara.analysis.seasonal_periods import follow, give_back, is_to_search, period_at, take
from almenara.analysis.seasonal_slot import HALF_S, HEAD, HUGE, QUARTER_S, READY, STUCK, warm
from almenara.analysis.states import is_state, state_row
from almenara.model.time import NS

#: Rows ahead whose slots are fetched from memory.
AHEAD = 4


@apart
def _before(s, rows, effects, plan, time, second, local, o):  # type: ignore[no-untyped-def]
    """What a row within an occasion is judged by: (calendar, -1 for as any other row; what is usual then; effect; size
    of deviations; that of other rows; scale; is the effect known).

    The row is judged without the effect, scaled to the size of usual deviations. While the effect is hardly known sizes
    are larger, and the series learns nothing of it, so that an occasion leaves no trace in what is usual."""
    half, quarter = local // HALF_S, local // QUARTER_S
    if time > s.time and half != s.half:
        _turn(s, half, local, o)
    if quarter != s.quarter:
        _read(s, quarter)
    x = np.float64(local - quarter * QUARTER_S)
    usual = s.level + (s.season_at + s.season_by * x) + s.wave
    ref = max(s.ref_size * _ref_ratio(s, x) + (s.unsure_at + s.unsure_by * x), _least(s, usual))
    prior = max(max(UNSURE_LEVEL * abs(usual), s.swing), UNSURE_SIZES * ref)
    effect, spread, vague, passes, which = effect_at(rows, effects, second, local, plan, s.cadence, prior)
    if s.hour_known == 0:
        which = -1
    size = max(spread, ref) + vague
    known = passes >= KNOWN
    return which, usual, effect, size, ref, max(ref / size, SCALE_MIN) if known else 1.0, known


@bare
def _ref_ratio(s, x):  # type: ignore[no-untyped-def]
    """What makes the size of deviations from what is usual of `ref_size`, x seconds into the quarter."""
    return (s.ref_ratio_at + s.ref_ratio_by * x) * (1.0 + 8.0 / (1.0 + s.ref_bins))


@bare
def _open_wide(s, local, more):  # type: ignore[no-untyped-def]
    """Make both sizes of deviations larger, on a slot that is thrown away."""
    x = np.float64(local - s.quarter * QUARTER_S)
    s.size += more / (s.ratio_at + s.ratio_by * x)
    s.ref_size += more / _ref_ratio(s, x)


@bare
def _rescale(s, scale):  # type: ignore[no-untyped-def]
    """Recent deviations, in sizes of other rows or back."""
    s.recent, s.held, s.anchor = s.recent * scale, s.held * scale, s.anchor * scale


@inlined
def _after(verdict, cause, k, y, usual, effect, scale, first, which):  # type: ignore[no-untyped-def]
    """The band of a value, from the band of what was judged in its place; rounding must not move a value over it. And
    the cause, which names the calendar."""
    centre = usual + effect
    yhat = centre + (verdict[1, k] - usual) / scale
    lower, upper = centre + (verdict[2, k] - usual) / scale, centre + (verdict[3, k] - usual) / scale
    if verdict[0, k] < 1.0:
        lower, upper = min(lower, y), max(upper, y)
    elif lower <= y <= upper:
        if y < yhat:
            lower = np.nextafter(y, np.inf)
        else:
            upper = np.nextafter(y, -np.inf)
    verdict[1, k], verdict[2, k], verdict[3, k] = min(max(yhat, lower), upper), lower, upper
    if 0 <= cause[k] < STUCK:
        cause[k] = cause_of(first, which, y, usual, effect, y < verdict[1, k])


@bare
def run(slots, states, ids, times, values, start, zone, o, known, own, spares, learn, verdict, cause):  # type: ignore[no-untyped-def]
    """Rows from `start` on in their order. What is not to be learned, or no later than what was, is judged on the spare
    slot. Returns the row where it stopped: the number of rows, or less where `own` had no place left.

    states: the slots, read as STATE. zone: (from_s, offset_s). own: (PERIODS, free places of it, int32: how many, then
    they). known: (scope, rows, effects, plan, from_s, to_s, first cause) of calendars; without any the plan is empty.
    spares: (SLOT[1], the same as STATE[1], SCOPE[1], int32[1, calendars], EFFECT[calendars]).
    """
    from_s, offset_s = zone
    scope, rows, effects, plan, begins, ends, first = known
    periods, free = own
    spare, spare_state, spare_scope, spare_rows, spare_effects = spares
    begin, end, offset = 1, 0, 0
    last = len(ids) - 1
    for k in range(start, len(ids)):
        prefetch(slots, ids[min(k + AHEAD, last)], HEAD)
        y = values[k]
        for c in range(4):
            verdict[c, k] = np.nan
        cause[k] = -1
        if math.isnan(y):
            continue
        second = times[k] // NS
        if second < begin or second >= end:
            at = np.searchsorted(from_s, second, side="right")
            begin, offset = from_s[at - 1], offset_s[at - 1]
            end = from_s[at] if at < len(from_s) else 1 << 62
        i = ids[k]
        s, t = slots[i], states[i]
        learned = learn and (times[k] > s.time or s.rows == 0)  # a first row may be of before 1970
        if learned and is_to_search(s) and not take(s, periods, free, times[k]):
            return k
        if not learned:
            spare[0] = slots[i]
            s, t = spare[0], spare_state[0]
        y = min(max(y, -HUGE), HUGE)
        if is_state(t, y, second + offset, o):
            if learned and s.periods > 0:
                give_back(s, free)
            state_row(t, times[k], y, second + offset, o, verdict, cause, k)
            continue
        if s.rows < READY:
            warm(s, times[k], y, second + offset, o)
            continue
        local = second + offset
        s.wave = period_at(s, periods[s.periods], times[k]) if s.waves > 0 else 0.0
        which, usual, effect, size, ref, scale, is_known = -1, 0.0, 0.0, 0.0, 0.0, 1.0, True
        mine, of, judged, z = spare_rows[0], spare_effects, s, y
        if len(plan) > 0 and (second >= scope[i].edge or scope[i].on == 1):
            w = scope[i]
            if learned:
                mine, of = rows[i], effects
            else:
                borrow(w, rows[i], effects, spare_scope, spare_rows, spare_effects)
                w = spare_scope[0]
            if second >= w.edge:
                begin_and_end(w, mine, of, second, plan, begins, ends)
            if w.on == 1:
                found = _before(s, mine, of, plan, times[k], second, local, o)
                which, usual, effect, size, ref, scale, is_known = found
        if which >= 0:
            if not is_known:
                if learned:
                    spare[0] = s
                    judged = spare[0]
                _open_wide(judged, local, size - ref)
            _rescale(judged, scale)
            z = usual + (y - usual - effect) * scale
        _row(judged, times[k], z, y, local, o, verdict, cause, k)
        if learned and which < 0 and s.periods > 0 and s.known == 1 and follow(s, periods[s.periods], times[k], y):
            give_back(s, free)
        if which >= 0:
            _rescale(judged, 1.0 / scale)
            _after(verdict, cause, k, y, usual, effect, scale, first, which)
            if learned and not is_known:  # of the row itself the series learns no more than when it came
                learn_rhythm(s, times[k], y, 0.0)
                s.base, s.known = usual, 1
            away, outside = y - usual - effect, verdict[0, k] >= 1.0
            gather_effect(mine, of, second, local, plan, away, size, outside)
    return len(ids)
