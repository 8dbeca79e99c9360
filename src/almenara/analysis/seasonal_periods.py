"""How the detector `seasonal` searches the periods that a series has besides day and week, and follows those it found.

What is left of the values after level, day and week goes into a ring of N means. When the ring is full it is searched
(`analysis/folding.py`), then halved: two means become one and the step doubles. So every period is looked for where it
is 4 to 64 steps long, at row counts fixed by the series alone, with N numbers for any length of history. After a month,
or half the life of the series, the ring is given back; a search begins anew when the series is half as old again.

A period found gets a profile of BINS, read and learned at every row, a loop that keeps it in phase, and an account of
what it explains; one that explains nothing is dropped. A series with periods of its own keeps its ring.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import DAY_S
from almenara.analysis.compiled import apart, bare, inlined, kernel
from almenara.analysis.folding import BINS, DIVISORS, at_phase, less_profile, profile_of, strongest
from almenara.analysis.seasonal_slot import HOLD, READY, clip
from almenara.model.time import NS

N, MOST = 256, 2
#: Of a series that is searched or has periods of its own; numbered from 1 on, slots name theirs in `periods`.
PERIODS = np.dtype(
    [
        ("start", np.int64),  # ns, when the first mean of the ring begins
        ("step", np.int64),  # ns a mean
        ("origin", np.int64, (MOST,)),  # ns, when the present turn of a period began
        ("period", np.float64, (MOST,)),  # s
        ("ahead", np.float64, (MOST,)),  # of this turn: deviations times slope of the profile: is it late or early?
        ("steep", np.float64, (MOST,)),  # and slopes squared
        ("left", np.float64, (MOST,)),  # mean square of deviations, and what it would be without this period
        ("without", np.float64, (MOST,)),
        ("turns", np.int32, (MOST,)),
        ("count", np.int32),  # means in the ring
        ("reserved", np.int32),  # fills it up, so that it has no bytes without a meaning
        ("bins", np.float32, (MOST, BINS)),
        ("ring", np.float32, (N,)),  # NaN = nothing came
    ],
    align=True,
)
CLIP_RING, CLIP_LEARN = 8.0, 4.0  # of deviations, in sizes
SPAN_MIN_S = 28 * DAY_S  # a search goes on at least until the ring spans so much
WORTH = 0.25  # a period matters whose profile has this size, in sizes of deviations
REPLACE = 1.5  # and it takes the place of one whose profile is smaller by this
ALIKE = 0.01  # a period that is a part of another, as exactly, is no new one
RATE_MIN = 0.04  # of a profile, a turn
LOOP_MIN, LOOP_MAX = 0.1, 0.1  # of the loop that keeps the phase: part of an error corrected; most of it, in turns
TRIAL, USELESS = 12, 0.97  # turns after which a period must explain something


@inlined
def is_to_search(s):  # type: ignore[no-untyped-def]
    """Has this series no place, and is it time to search its periods?"""
    return s.periods == 0 and s.known == 1 and s.is_state == 0 and s.rows >= s.search_at


@apart
def take(s, periods, free, time):  # type: ignore[no-untyped-def]
    """Take a place for a series and begin to search there; free: how many are free, then their numbers. False: none."""
    if free[0] == 0:
        return False
    s.periods = free[free[0]]
    free[0] -= 1
    _clear(periods[s.periods])
    _begin(s, periods[s.periods], time)
    return True


@apart
def give_back(s, free):  # type: ignore[no-untyped-def]
    """Give the place of a series back, and forget its periods."""
    free[0] += 1
    free[free[0]] = s.periods
    s.periods = s.waves = 0


@bare
def _begin(s, p, time):  # type: ignore[no-untyped-def]
    """Start a ring with this row."""
    p.start, p.count = time, 0
    p.step = max(np.int64(s.cadence * NS), 1)
    s.ring_end, s.ring_sum, s.ring_rows = time + p.step, 0.0, 0


@bare
def _clear(p):  # type: ignore[no-untyped-def]
    """A place that another series may have had, as if new."""
    for j in range(MOST):
        p.origin[j] = p.turns[j] = 0
        p.period[j] = p.ahead[j] = p.steep[j] = p.left[j] = p.without[j] = 0.0
        for b in range(BINS):
            p.bins[j, b] = 0.0
    for k in range(N):
        p.ring[k] = 0.0


@inlined
def period_at(s, p, time):  # type: ignore[no-untyped-def]
    """What the periods of a series add to its season at this time."""
    total = 0.0
    for j in range(s.waves):
        total += at_phase(p.bins[j], (time - p.origin[j]) / NS / p.period[j])
    return total


@inlined
def follow(s, p, time, y):  # type: ignore[no-untyped-def]
    """Learn a row that was judged. True: the search has ended and its place is free."""
    ended = False
    if time >= s.ring_end:
        ended = _push(s, p, time)
    away = y - s.base
    s.ring_sum += clip(away, CLIP_RING * s.ref_size)
    s.ring_rows += 1
    if s.waves > 0 and s.streak <= HOLD:
        _learn(s, p, time, away)
    return ended


@apart
def _push(s, p, time):  # type: ignore[no-untyped-def]
    """Close the open mean, and those that nothing came for; open the one of this time. True: the search has ended."""
    missed = (time - s.ring_end) // p.step
    if missed >= N // 2:
        _begin(s, p, time)
        return False
    ended = _append(s, p, time, s.ring_sum / s.ring_rows if s.ring_rows > 0 else np.nan)
    s.ring_end += p.step
    while time >= s.ring_end and not ended:
        ended = _append(s, p, time, np.nan)
        s.ring_end += p.step
    s.ring_sum, s.ring_rows = 0.0, 0
    return ended


@bare
def _append(s, p, time, mean):  # type: ignore[no-untyped-def]
    """Put a mean into the ring; search and halve a full one. True: the search has ended."""
    p.ring[p.count] = mean
    p.count += 1
    if p.count < N:
        return False
    span_s = N * (p.step / NS)
    _search(s, p, time)
    if span_s >= max(SPAN_MIN_S, 0.5 * ((time - s.first) / NS)):
        if s.waves == 0:
            s.search_at = min(s.rows + s.rows // 2, 1 << 30)
            return True
        _begin(s, p, s.ring_end)
        s.ring_end -= p.step
        return False
    _halve(p)
    return False


@bare
def _halve(p):  # type: ignore[no-untyped-def]
    """Two means become one."""
    for k in range(N // 2):
        a, b = p.ring[2 * k], p.ring[2 * k + 1]
        p.ring[k] = b if math.isnan(a) else a if math.isnan(b) else np.float32(0.5) * (a + b)
    p.step *= 2
    p.count = N // 2


@kernel
def _search(s, p, time):  # type: ignore[no-untyped-def]
    """Look for periods in a full ring, take up those that matter, and take what they explain from the ring."""
    x = np.empty(N)
    for k in range(N):
        x[k] = p.ring[k]
    step_s = p.step / NS
    for _ in range(MOST):
        period, _, _ = strongest(x, step_s, True)
        if period == 0.0:
            break
        profile = profile_of(x, period)
        if _is_part(s, p, period * step_s):
            less_profile(x, 0.0, period, profile)
            continue
        size = _mean_size(profile)
        if size < WORTH * s.ref_size or not _has_room(s, p, size):
            break
        less_profile(x, 0.0, period, profile)
        _take_up(s, p, time, period * step_s, profile)
    for k in range(N):
        p.ring[k] = x[k]


@bare
def _is_part(s, p, period):  # type: ignore[no-untyped-def]
    """Is this a period that is followed, or a part of it? Its profile learns the same."""
    for j in range(s.waves):
        ratio = p.period[j] / period
        whole = math.floor(ratio + 0.5)
        if 1.0 <= whole <= DIVISORS and abs(ratio - whole) < ALIKE * whole:
            return True
    return False


@bare
def _mean_size(bins):  # type: ignore[no-untyped-def]
    total = 0.0
    for b in range(BINS):
        total += abs(bins[b]) / BINS
    return total


@bare
def _has_room(s, p, size):  # type: ignore[no-untyped-def]
    """Is there room for a profile of this size? A much smaller one has to go."""
    if s.waves < MOST:
        return True
    least, at = np.inf, 0
    for j in range(MOST):
        mean = _mean_size(p.bins[j])
        if mean < least:
            least, at = mean, j
    if size < REPLACE * least:
        return False
    _drop(s, p, at)
    return True


@bare
def _take_up(s, p, time, period, profile):  # type: ignore[no-untyped-def]
    """Follow a period of that many s, whose profile begins where the ring does, from the next row on."""
    j = s.waves
    turns = math.floor((time - p.start) / NS / period)
    p.period[j], p.origin[j] = period, p.start + np.int64(turns * period * NS)
    for b in range(BINS):
        p.bins[j, b] = profile[b]
    p.turns[j] = 0
    p.ahead[j] = p.steep[j] = p.left[j] = p.without[j] = 0.0
    s.waves += 1
    added = at_phase(p.bins[j], (time - p.origin[j]) / NS / period)
    s.base += added
    s.recent, s.held, s.anchor = s.recent - added, s.held - added, s.anchor - added
    s.ref_rows = min(s.ref_rows, READY)  # deviations will be smaller: learn anew how large


@apart
def _learn(s, p, time, away):  # type: ignore[no-untyped-def]
    """Let profiles learn a deviation from what is usual; at the end of a turn correct phase and length."""
    error, size = clip(away, CLIP_LEARN * s.ref_size), s.ref_size
    j = 0
    while j < s.waves:
        period = p.period[j]
        turn = (time - p.origin[j]) / NS / period
        if turn >= 1.0:
            _turn(s, p, j, math.floor(turn))
            if _is_useless(s, p, j):
                _drop(s, p, j)
                continue
            period = p.period[j]
            turn = (time - p.origin[j]) / NS / period
        at = (turn - math.floor(turn)) * BINS - 0.5
        low = math.floor(at)
        part = at - low
        a, b = (low + BINS) % BINS, (low + 1) % BINS
        value = (1.0 - part) * p.bins[j, a] + part * p.bins[j, b]
        slope = (p.bins[j, b] - p.bins[j, a]) * np.float64(BINS)
        p.ahead[j] += error * slope
        p.steep[j] += slope * slope
        each = min(s.cadence / (8.0 * period), 0.1)
        whole = clip(away + value, CLIP_LEARN * size + abs(value))
        p.left[j] += each * (error * error - p.left[j])
        p.without[j] += each * (whole * whole - p.without[j])
        rate = max(1.0 / (p.turns[j] + 2.0), RATE_MIN) * min(BINS * s.cadence / period, 1.0)
        p.bins[j, a] = p.bins[j, a] + rate * (1.0 - part) * error
        p.bins[j, b] = p.bins[j, b] + rate * part * error
        j += 1


@bare
def _turn(s, p, j, turns):  # type: ignore[no-untyped-def]
    """Begin a turn. Deviations e of a profile f that is late by d are f' d, so d = sum(e f') / sum(f' f')."""
    late = p.ahead[j] / max(p.steep[j] + 64.0 * s.ref_size * s.ref_size, 1e-300)
    late = clip(late, LOOP_MAX)
    gain = max(3.0 / (p.turns[j] + 6.0), LOOP_MIN)
    p.origin[j] += np.int64((turns - gain * late) * p.period[j] * NS)
    p.period[j] *= 1.0 - 0.5 * gain * gain * late
    p.turns[j] = min(p.turns[j] + 1, 1 << 30)
    p.ahead[j] = p.steep[j] = 0.0


@bare
def _is_useless(s, p, j):  # type: ignore[no-untyped-def]
    return p.turns[j] >= TRIAL and p.left[j] > USELESS * p.without[j]


@bare
def _drop(s, p, j):  # type: ignore[no-untyped-def]
    """Forget a period; the last one takes its place."""
    last = s.waves - 1
    if j < last:
        p.period[j], p.origin[j], p.turns[j] = p.period[last], p.origin[last], p.turns[last]
        p.ahead[j], p.steep[j] = p.ahead[last], p.steep[last]
        p.left[j], p.without[j] = p.left[last], p.without[last]
        for b in range(BINS):
            p.bins[j, b] = p.bins[last, b]
    s.waves = last
