"""All rows of a batch in their order, each judged as what it is: a state, a value, or a value within an occasion."""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.compiled import bare, inlined, prefetch
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
from almenara.analysis.seasonal_slot import HALF_S, HEAD, HUGE, QUARTER_S, READY, STUCK, warm
from almenara.analysis.states import is_state, state_row
from almenara.model.time import NS

#: Rows ahead whose slots are fetched from memory.
AHEAD = 4


@bare
def _row_on_occasion(s, spare, rows, effects, plan, first, time, y, at, o, verdict, cause, k, learn):  # type: ignore[no-untyped-def]
    """The same of a row within an occasion: without its effect, scaled to the size of usual deviations. While the
    effect is hardly known the series learns nothing of it, so that an occasion leaves no trace in what is usual."""
    second, local = at
    half, quarter = local // HALF_S, local // QUARTER_S
    if time > s.time and half != s.half:
        _turn(s, half, local, o)
    if quarter != s.quarter:
        _read(s, quarter)
    x = np.float64(local - quarter * QUARTER_S)
    usual = s.level + (s.season_at + s.season_by * x)
    ref_ratio = (s.ref_ratio_at + s.ref_ratio_by * x) * (1.0 + 8.0 / (1.0 + s.ref_bins))
    ref = max(s.ref_size * ref_ratio + (s.unsure_at + s.unsure_by * x), _least(s, usual))
    prior = max(max(UNSURE_LEVEL * abs(usual), s.swing), UNSURE_SIZES * ref)
    effect, spread, vague, passes, which = effect_at(rows, effects, second, local, plan, s.cadence, prior)
    if which < 0 or s.hour_known == 0:
        _row(s, time, y, y, local, o, verdict, cause, k)
        return
    size = max(spread, ref) + vague
    scale = max(ref / size, SCALE_MIN)
    away = y - usual - effect
    apart = learn and passes < KNOWN
    t = s
    if apart:
        spare[0] = s
        t = spare[0]
    if passes < KNOWN:
        scale = 1.0
        t.size += (size - ref) / (s.ratio_at + s.ratio_by * x)
        t.ref_size += (size - ref) / ref_ratio
    t.recent, t.held, t.anchor = t.recent * scale, t.held * scale, t.anchor * scale
    _row(t, time, usual + away * scale, y, local, o, verdict, cause, k)
    t.recent, t.held, t.anchor = t.recent / scale, t.held / scale, t.anchor / scale
    _restore(verdict, k, y, usual, effect, scale)
    outside = verdict[0, k] >= 1.0
    if 0 <= cause[k] < STUCK:
        cause[k] = cause_of(first, which, y, usual, effect, y < verdict[1, k])
    if apart:
        learn_rhythm(s, time, y, 0.0)
        s.base, s.known = usual, 1
    gather_effect(rows, effects, second, local, plan, away, size, outside)


@inlined
def _restore(verdict, k, y, usual, effect, scale):  # type: ignore[no-untyped-def]
    """The band of a value, from the band of what was judged in its place; rounding must not move a value over it."""
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


@bare
def run(slots, states, ids, times, values, zone, o, known, spares, learn, verdict, cause):  # type: ignore[no-untyped-def]
    """All rows in their order. What is not to be learned, or is no later than what was, is judged on the spare slot.

    states: the slots, read as STATE. zone: (from_s, offset_s). known: (scope, rows, effects, plan, from_s, to_s, first
    cause) of calendars; without any the plan is empty. spares: (SLOT[1], the same as STATE[1], SCOPE[1],
    int32[1, calendars], EFFECT[calendars]).
    """
    from_s, offset_s = zone
    scope, rows, effects, plan, begins, ends, first = known
    spare, spare_state, spare_scope, spare_rows, spare_effects = spares
    begin, end, offset = 1, 0, 0
    last = len(ids) - 1
    for k in range(len(ids)):
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
        if not learned:
            spare[0] = slots[i]
            s, t = spare[0], spare_state[0]
        y = min(max(y, -HUGE), HUGE)
        if is_state(t, y, second + offset, o):
            state_row(t, times[k], y, second + offset, o, verdict, cause, k)
            continue
        if s.rows < READY:
            warm(s, times[k], y, second + offset, o)
            continue
        if len(plan) > 0 and (second >= scope[i].edge or scope[i].on == 1):
            w, mine, of = scope[i], rows[i], effects
            if not learned:
                borrow(w, mine, effects, spare_scope, spare_rows, spare_effects)
                w, mine, of = spare_scope[0], spare_rows[0], spare_effects
            if second >= w.edge:
                begin_and_end(w, mine, of, second, plan, begins, ends)
            if w.on == 1:
                at = second, second + offset
                _row_on_occasion(s, spare, mine, of, plan, first, times[k], y, at, o, verdict, cause, k, learned)
                continue
        _row(s, times[k], y, y, second + offset, o, verdict, cause, k)
