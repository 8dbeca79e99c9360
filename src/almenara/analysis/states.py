"""Series that are states: they take a few values and hold them (up and down, Nagios' states, sizes of a pool).

How far a state lies from its mean says nothing. Judged are its transitions, the rarest first: how often does a series
change to this value at all; is it one of those usual at this hour of a workday or weekend; how long does it stay; how
often does it change in an hour. Each gives a probability that a row begins something so rare, on the scale of all
scores. All are counts and means that fade (within about 40 days of hourly rows), in constant memory: while a series
is a state, they lie where its profiles of day and week would lie (STATE and SLOT are two readings of the same bytes).

A series is taken for a state by what it did in the rows so far, at a move and never later than the row it is used
for, and no longer once it takes more values than KINDS or does not hold them. A value that none of these finds rare
is counted at once; of a fault only its begin is.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import DAY_S, EPOCH_SHIFT_S, WEEK_S
from almenara.analysis.compiled import apart, bare, inlined
from almenara.analysis.seasonal_learn import learn_rhythm
from almenara.analysis.seasonal_slot import (
    ACCEPT_S,
    BELOW_ONE,
    HOLD,
    HOUR_S,
    KINDS,
    P_LIMIT,
    READY,
    SCORE_MAX,
    SLOT,
    STREAK_MAX,
    blank,
)
from almenara.model.time import NS

SIZE = SLOT.itemsize
BINS = 48  # hours of a workday, then those of a day of the weekend
SHARE = 60_000  # a share of 1 as it is kept
ROWS_MIN, VISITS_MIN = 240, 4  # before a series is taken for a state
APART, GAP = 0.3, 0.1  # least distance from the least to the greatest value, and between any two, in the greatest
BRIEF_ROWS, BRIEF_MOST = 3, 0.4  # a stay of fewer rows is brief; leaves when so many of the latest were
LOOK_AGAIN = 2047  # rows (less one) after which a series with too many values is looked at again
USUAL = 0.03  # share of an hour from which on a state is usual in it
ALWAYS = 0.9  # and from which on it may stay for ever
SURE = 4  # times an hour was seen before it can say what is not usual
FADE = 1.0 - 1.0 / 1024.0  # of all counts, an hour
FIRST, ODD = 0.1, 0.2  # changes to a new value, or to an hour's unusual one, counted before any was seen
STAYS_MIN, STAY_TIMES, STAY_ROWS = 4, 1.25, 2.0  # too long is longer than this many of the longest, and rows
STAY_DEV, TURN_DEV = 0.1, 0.15  # least mean deviations of the logarithms
TURNS_MORE = 2.0  # flapping: at least so many changes more than the most

RARE, ODD_HOUR, HELD, FLAPS = 7, 8, 9, 10  # causes


def _layout() -> np.dtype:
    """A slot read as a state: SLOT's own fields, and over its profiles those of a state."""
    fields = SLOT.fields
    if fields is None:
        raise TypeError("SLOT has no fields")
    begin, end = fields["day"][1], fields["values"][1]
    every = {name: (dtype, at) for name, (dtype, at, *_) in fields.items()}
    own = np.dtype(
        [
            ("hour", np.int64),  # the open hour: hours of local time since 1970
            ("entry", np.float64),  # log of how often a row begins a stay in this value
            ("odd", np.float64),  # log of how often one begins something unusual for its hour; 0: this is usual
            ("count", np.float64),  # rows
            ("odds", np.float64),  # times that something unusual for its hour began
            ("judged", np.float64),  # rows of which that could be said
            ("turns", np.float64),  # changes within an hour or so
            ("turn_peak", np.float64),  # the most that are not learned yet
            ("turn_times", np.float64),  # how often one was learned
            ("turn_mean", np.float64),  # mean of log(1 + turn_peak) then, and the mean deviation from it
            ("turn_dev", np.float64),
            ("turn_most", np.float64),
            ("brief_share", np.float64),  # of the latest stays
            ("usual", np.float64),  # the value most usual in this hour; the least and the greatest that are usual
            ("low", np.float64),
            ("high", np.float64),
            ("entries", np.float32, (KINDS,)),  # changes to each value
            ("rows_of", np.float32, (KINDS,)),  # rows of each
            ("open", np.float32, (KINDS,)),  # rows of each in the open hour
            ("now", np.float32, (KINDS,)),  # share of each at this time of day and week
            ("stays", np.float32, (KINDS,)),  # stays of which the length is known
            ("stay_mean", np.float32, (KINDS,)),  # of the logarithm of their length in s
            ("stay_dev", np.float32, (KINDS,)),
            ("longest", np.float32, (KINDS,)),  # s
            ("sure", np.int32),  # was this hour seen often enough
            ("accepted", np.int32),  # this stay is taken as usual, for it has lasted
            ("share", np.uint16, (BINS * KINDS,)),  # of each hour's rows
            ("seen", np.uint8, (BINS,)),
        ],
        align=True,
    )
    if begin + own.itemsize > end:
        raise TypeError(f"a state takes {own.itemsize} bytes; the profiles have {end - begin}")
    if both := set(every) & set(own.names or ()):
        raise TypeError(f"SLOT and a state both have {sorted(both)}")
    every |= {name: (dtype, begin + at) for name, (dtype, at, *_) in (own.fields or {}).items()}
    every["whole"] = np.dtype((np.uint8, (SLOT.itemsize,))), 0
    formats, offsets = zip(*every.values(), strict=True)
    return np.dtype(
        {"names": list(every), "formats": list(formats), "offsets": list(offsets), "itemsize": SLOT.itemsize}
    )


#: The bytes of SLOT while a series is a state.
STATE = _layout()


@inlined
def is_state(t, y, local, o):  # type: ignore[no-untyped-def]
    """Is this series to be judged as a state from this row on? t: its slot, read as STATE."""
    if y != t.last and t.kinds >= 0 and t.rows > 0:
        _moved(t, y, local, o)
    elif (t.rows & LOOK_AGAIN) == 0 and t.kinds < 0:
        t.kinds, t.since = 0, t.rows
    return t.is_state == 1


@bare
def _find(t, y):  # type: ignore[no-untyped-def]
    for k in range(t.kinds):
        if t.values[k] == y:
            return k
    return -1


@apart
def _moved(t, y, local, o):  # type: ignore[no-untyped-def]
    """The value is another one: is what this series does still, or already, what states do?"""
    if t.is_state == 1:
        if t.brief_share > BRIEF_MOST or (t.kinds == KINDS and _find(t, y) < 0 and _free(t) < 0):
            _leave(t, local, o)
        return
    if t.kinds == 0:
        t.kinds, t.values[0], t.visits[0], t.kind, t.begun, t.brief = 1, t.last, 1, 0, t.since, 0
    t.brief = min(t.brief + (t.rows - t.begun < BRIEF_ROWS), 1 << 30)
    k = _find(t, y)
    if k < 0:
        if t.kinds == KINDS:
            t.kinds = -1
            return
        k = t.kinds
        t.kinds, t.values[k], t.visits[k] = k + 1, y, 0
    t.visits[k] = min(t.visits[k] + 1, 250)
    t.kind, t.begun = k, t.rows
    if _looks_so(t):
        _enter(t, local)


@bare
def _looks_so(t):  # type: ignore[no-untyped-def]
    """Few values that come again and are held, and not a level that moves by a small part of itself."""
    visits, once, low, high, gap = 0, 0, math.inf, -math.inf, math.inf
    for j in range(t.kinds):
        visits += t.visits[j]
        once += t.visits[j] == 1
        low, high = min(low, t.values[j]), max(high, t.values[j])
        for i in range(j):
            gap = min(gap, abs(t.values[i] - t.values[j]))
    rows, most = t.rows - t.since, max(abs(low), abs(high))
    if rows < ROWS_MIN or visits < VISITS_MIN or high - low < APART * most or gap < GAP * most:
        return False
    return 4 * once <= visits and 4 * t.brief < visits and 10 * visits <= rows


@apart
def _enter(t, local):  # type: ignore[no-untyped-def]
    """From here on a state: all that is known are its values and how often each came."""
    t.is_state, t.hour, t.streak = 1, local // HOUR_S, 0
    t.entry = t.odd = t.odds = t.judged = t.brief_share = 0.0
    t.turns = t.turn_peak = t.turn_times = t.turn_most = 0.0
    t.turn_mean, t.turn_dev = 0.9, 0.3
    t.count = t.rows - t.since
    t.sure = t.accepted = 0
    for j in range(BINS * KINDS):
        t.share[j] = 0
    for j in range(BINS):
        t.seen[j] = 0
    for j in range(KINDS):
        t.open[j] = t.now[j] = t.stays[j] = t.stay_mean[j] = t.stay_dev[j] = t.longest[j] = 0.0
        t.entries[j] = t.rows_of[j] = t.visits[j] if j < t.kinds else 0.0
    t.entries[t.kind] -= 1.0  # this row's change is yet to be judged
    t.kind, t.begun = _find(t, t.last), t.rows - BRIEF_ROWS
    _look_up(t)


@apart
def _leave(t, local, o):  # type: ignore[no-untyped-def]
    """No state any more: forget all but its rhythm, and begin to learn its profiles, from the values it had."""
    rows = size = 0.0
    for j in range(t.kinds):
        rows += t.rows_of[j]
        size += t.rows_of[j] * abs(t.values[j] - t.usual)
    time, first, flat, last, level = t.time, t.first, t.flat, t.last, t.usual
    row, cadence, moves, decimals = t.rows, t.cadence, t.moves, t.decimals
    for j in range(SIZE):
        t.whole[j] = 0
    t.time, t.first, t.flat, t.last, t.kinds = time, first, flat, last, -1
    t.rows, t.cadence, t.moves, t.decimals = row, cadence, moves, decimals
    blank(t, local, level, size / max(rows, 1.0), o)


@bare
def _free(t):  # type: ignore[no-untyped-def]
    """A place whose value has not come for months; -1: none."""
    for j in range(t.kinds):
        if t.entries[j] < 0.1 and j != t.kind:
            return j
    return -1


@inlined
def _bin(hour):  # type: ignore[no-untyped-def]
    """(first bin of the kind of day, hour of the day) of an hour since 1970."""
    weekend = (hour * HOUR_S + EPOCH_SHIFT_S) % WEEK_S >= 5 * DAY_S
    return 24 if weekend else 0, hour % 24


@apart
def _commit(t, hour):  # type: ignore[no-untyped-def]
    """Close the open hour: learn the share of each value in it; look up what is usual in the next one."""
    rows = 0.0
    for j in range(t.kinds):
        rows += t.open[j]
    if rows > 0.0:
        day, of_day = _bin(t.hour)
        at = day + of_day
        rate = max(1.0 / (t.seen[at] + 1.0), 0.05)
        for j in range(KINDS):
            share = t.share[at * KINDS + j] / SHARE
            t.share[at * KINDS + j] = int((share + rate * (t.open[j] / rows - share)) * SHARE + 0.5)
            t.rows_of[j] = t.rows_of[j] * FADE + t.open[j]
            t.entries[j] = t.entries[j] * FADE
            t.open[j] = 0.0
        t.seen[at] = min(t.seen[at] + 1, 250)
        t.count, t.odds, t.judged = t.count * FADE, t.odds * FADE, t.judged * FADE
        t.turn_times = t.turn_times * FADE
    if t.turn_peak < _turn_limit(t):
        _calm(t)
    t.hour = hour
    _look_up(t)


@bare
def _look_up(t):  # type: ignore[no-untyped-def]
    """What is usual in the open hour: half of what is in the hours beside it, too; where it was never seen, what is in
    this hour on other days, or over all."""
    day, of_day = _bin(t.hour)
    t.sure = t.seen[day + of_day] >= SURE
    if t.seen[day + of_day] == 0:
        day = 24 - day
    before, at, after = day + (of_day + 23) % 24, day + of_day, day + (of_day + 1) % 24
    rows = 0.0
    for j in range(t.kinds):
        rows += t.rows_of[j]
    best = 0
    for j in range(t.kinds):
        share = max(t.share[at * KINDS + j], 0.5 * max(t.share[before * KINDS + j], t.share[after * KINDS + j])) / SHARE
        t.now[j] = share if t.seen[at] else t.rows_of[j] / max(rows, 1.0)
        if t.now[j] > t.now[best]:
            best = j
    t.usual = t.low = t.high = t.values[best]
    for j in range(t.kinds):
        if t.now[j] >= USUAL:
            t.low, t.high = min(t.low, t.values[j]), max(t.high, t.values[j])


@bare
def _entering(t, kind, y):  # type: ignore[no-untyped-def]
    """log of how often a row begins a stay in this value (kind; -1: a new one). How likely is one never seen? As often
    as others came once only (Good 1953), and the less the farther it lies from all of them."""
    changes, once, near, step = 0.0, 0.0, math.inf, 0.0
    for j in range(t.kinds):
        changes += t.entries[j]
        once += t.entries[j] < 1.5
        near = min(near, abs(y - t.values[j]))
        gap = math.inf
        for i in range(t.kinds):
            if i != j:
                gap = min(gap, abs(t.values[i] - t.values[j]))
        step = max(step, gap)
    if kind >= 0:
        return _often(t, kind)
    p = changes / (t.count + 1.0) * (0.5 * once + FIRST) / (changes + 1.0)
    far = step / near if near > step else 1.0
    return math.log(p * max(far * far, 1e-12))


@bare
def _staying(t, kind, held):  # type: ignore[no-untyped-def]
    """log of how often a stay of this length comes; 0 where it is not far longer than all."""
    if kind < 0 or t.stays[kind] < STAYS_MIN or held < STAY_TIMES * t.longest[kind] + STAY_ROWS * t.cadence:
        return 0.0
    dev = max(np.float64(t.stay_dev[kind]), STAY_DEV) * (1.0 + 3.0 / t.stays[kind])
    far = (math.log(held) - t.stay_mean[kind]) / dev
    return min(_often(t, kind) + math.log(0.5) - far, 0.0)


@inlined
def _often(t, kind):  # type: ignore[no-untyped-def]
    """log of how often a row begins a stay in a known value: half of one that was seen was chance."""
    return math.log(max(t.entries[kind] - 0.5, FIRST) / (t.count + 1.0))


@bare
def _flapping(t, turns, held, hour_s):  # type: ignore[no-untyped-def]
    """log of how often so many changes come within an hour; 0 where they are not more than ever, or are over."""
    if turns < _turn_limit(t) or held > 3.0 * hour_s / turns:
        return 0.0
    far = (math.log1p(turns) - t.turn_mean) / max(t.turn_dev, TURN_DEV)
    return min(math.log((t.turn_times + 1.0) / (t.count + 1.0)) + math.log(0.5) - far, 0.0)


@inlined
def _turn_limit(t):  # type: ignore[no-untyped-def]
    return STAY_TIMES * t.turn_most + TURNS_MORE


@apart
def state_row(t, time, y, local, o, verdict, cause, k):  # type: ignore[no-untyped-def]
    """Judge a row of a series that is a state into verdict[:, k] and cause[k], then learn it."""
    if local // HOUR_S != t.hour:
        _commit(t, local // HOUR_S)
    kind, moved = _find(t, y), y != t.last
    since = max((time - t.flat) / NS, 0.0)
    hour_s = max(HOUR_S, 12.0 * t.cadence)
    held = 0.0 if moved else since
    turns = t.turns * math.exp(-since / hour_s) + 1.0 if moved else t.turns
    entry = _entering(t, kind, y) if moved else t.entry
    share = np.float64(t.now[kind]) if kind >= 0 else 0.0
    odd, stay, flap = 0.0, 0.0, _flapping(t, turns, held, hour_s)
    began = moved or t.odd == 0.0
    if share < USUAL and t.sure:
        odd = math.log((t.odds + ODD) / (t.judged + 1.0)) if began else t.odd
    rare = entry
    if moved or t.accepted == 0:
        stay = 0.0 if moved or share >= ALWAYS else _staying(t, kind, held)
        if share >= USUAL:
            rare = max(entry, math.log(share))
        least = min(min(rare, odd), min(stay, flap))
    else:
        rare, least = max(entry, math.log(max(share, 0.5))), flap
    score = least / math.log(0.5 * o[P_LIMIT])
    outside = score >= 1.0
    score = min(score, SCORE_MAX if outside else BELOW_ONE)
    cause[k] = -1
    if outside:
        cause[k] = FLAPS if flap == least else HELD if stay == least else RARE if rare == least else ODD_HOUR
    _band(t, y, outside, verdict, k)
    verdict[0, k] = max(score, 0.0)
    if moved:
        if since >= hour_s:
            _calm(t)
        t.turn_peak = max(t.turn_peak, turns)
        kind = _change(t, kind, y, turns, entry, flap)
    if odd < 0.0 and began and cause[k] != FLAPS:
        t.odds += 1.0
    t.odd, t.count = odd, t.count + 1.0
    t.judged += t.sure
    t.open[kind] += 1.0 if not outside or t.accepted else 0.0
    learn_rhythm(t, time, y, 0.0)
    _accept(t, time, outside, flap, turns, o)


@bare
def _band(t, y, outside, verdict, k):  # type: ignore[no-untyped-def]
    """From the least to the greatest usual value; a value that is an anomaly is never within, one that is none is."""
    yhat, lower, upper = t.usual, t.low, t.high
    if not outside:
        lower, upper = min(lower, y), max(upper, y)
    elif lower <= y <= upper:
        if y >= yhat:
            upper = np.nextafter(y, -np.inf)
            yhat = min(yhat, upper)
            lower = min(lower, yhat)
        else:
            lower = np.nextafter(y, np.inf)
    verdict[1, k], verdict[2, k], verdict[3, k] = yhat, lower, upper


@bare
def _change(t, kind, y, turns, entry, flap):  # type: ignore[no-untyped-def]
    """Learn the stay that has ended and the change; where it flaps, that it did only. The place of the new value."""
    if flap == 0.0:
        _stayed(t)
        t.brief_share += ((1.0 if t.rows - t.begun < BRIEF_ROWS else 0.0) - t.brief_share) / 64.0
    if kind < 0:
        kind = t.kinds if t.kinds < KINDS else _free(t)
        t.kinds = max(t.kinds, kind + 1)
        _forget(t, kind)
        t.values[kind], t.entries[kind] = y, 1.0
    elif flap == 0.0:
        t.entries[kind] = t.entries[kind] + 1.0
    t.turns, t.entry, t.kind, t.begun, t.accepted = turns, entry, kind, t.rows, 0
    return kind


@bare
def _calm(t):  # type: ignore[no-untyped-def]
    """Learn how many changes there were at most, at the end of each hour of the clock; of more than are believed only
    after an hour without one, and then so many."""
    if t.turn_peak > 0.0:
        peak = min(t.turn_peak, _turn_limit(t))
        rate = max(1.0 / (t.turn_times + 4.0), 0.05)
        x = math.log1p(peak)
        t.turn_dev += rate * (min(abs(x - t.turn_mean), 2.0) - t.turn_dev)
        t.turn_mean += rate * (x - t.turn_mean)
        t.turn_most = max(t.turn_most * 0.995, peak)
        t.turn_times += 1.0
    t.turn_peak = 0.0


@bare
def _forget(t, kind):  # type: ignore[no-untyped-def]
    for j in range(BINS):
        t.share[j * KINDS + kind] = 0
    t.entries[kind] = t.rows_of[kind] = t.open[kind] = t.now[kind] = 0.0
    t.stays[kind] = t.stay_mean[kind] = t.stay_dev[kind] = t.longest[kind] = 0.0


@bare
def _stayed(t):  # type: ignore[no-untyped-def]
    """Learn how long the stay lasted that ends here; one too long to be believed, as a bit longer than the longest."""
    kind, n = t.kind, t.stays[t.kind]
    stay = max((t.time - t.flat) / NS + t.cadence, 1e-6)
    if n >= STAYS_MIN and t.accepted == 0:
        stay = min(stay, 2.0 * t.longest[kind] + 8.0 * t.cadence)
    x = math.log(stay)
    rate = max(1.0 / (n + 1.0), 0.05)
    mean = x if n == 0 else t.stay_mean[kind]
    dev = 0.5 if n == 0 else t.stay_dev[kind]
    t.stay_dev[kind] = dev + rate * (min(abs(x - mean), 4.0) - dev)
    t.stay_mean[kind] = mean + rate * (x - mean)
    t.longest[kind] = max(t.longest[kind] * 0.995, stay)
    t.stays[kind] = min(n + 1.0, 1e6)


@bare
def _accept(t, time, outside, flap, turns, o):  # type: ignore[no-untyped-def]
    """What has been rejected for long enough is usual from now on."""
    if not outside:
        t.streak = max(t.streak - 1, 0)
        return
    if t.streak == 0:
        t.run, t.run_rows = time, 0
    t.streak, t.run_rows = min(t.streak + 1, STREAK_MAX), min(t.run_rows + 1, 1 << 30)
    patience = min(o[ACCEPT_S], max(READY * t.cadence, 0.25 * (time - t.first) / NS))
    if (time - t.run) / NS >= patience and t.run_rows >= HOLD:
        t.streak, t.accepted = 0, 1
        if flap < 0.0:
            t.turn_most = max(t.turn_most, turns)
