"""What occasions of calendars do to a series, learned by the time within them, in constant memory.

An effect is what a value differs by from what is usual for its time: a mean for each of 48 parts of an occasion (half
hours of its day; hours of its workdays and days off, where it lasts longer; equal parts since its begin, where it is
told in hours), and how far occasions differ from that mean. A row within an occasion is judged as its series is, after
the mean is taken off and what is left is scaled to the usual size of deviations. In the first occasion nothing is known
of the effect, so the band is wide; a slow twin is in tests/naive.py.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import DAY_S, EPOCH_SHIFT_S, WEEK_S
from almenara.analysis.compiled import apart, bare
from almenara.analysis.occasions import DAY, EITHER, PARTS, SINCE

#: One calendar of one series.
EFFECT = np.dtype(
    [
        ("calendar", np.int32),
        ("on", np.int32),  # is an occasion on
        ("begin", np.int64),  # of the occasion, UTC seconds
        ("end", np.int64),
        ("part", np.int64),  # the open part; -1 none
        ("sum", np.float64),  # of deviations in the open part
        ("square", np.float64),
        ("rows", np.float64),
        ("mean", np.float32, (PARTS,)),
        ("dev", np.float32, (PARTS,)),
        ("seen", np.uint8, (PARTS,)),  # how often a part was passed
    ],
    align=True,
)
#: One series. edge: the UTC second before which nothing begins or ends. on: is any occasion on. known: were its
#: calendars looked up. Which they are is in rows, int32[ids, calendars]: its row of effects, negative where none.
SCOPE = np.dtype([("edge", np.int64), ("on", np.int32), ("known", np.int32)], align=True)

FAR = 1 << 62
#: Passes after which an effect is known: from then on the series learns within occasions too, and a peak may be missed.
KNOWN = 2
RATE_MIN = 0.15
UNSURE_LEVEL, UNSURE_SIZES = 0.5, 4.0  # prior size of an effect: of what is usual, in sizes; and the day's swing
UNSURE_EFFECT = 0.4  # after one pass, of the effect itself
SCALE_MIN = 1e-9
CLIP, CLIP_OUTSIDE = 8.0, 4.0
MEAN_OF_ROOT = 0.8  # mean absolute value of a Gaussian's root mean square
#: What is said of a row outside its band, by calendar: four texts each.
HIGH, LOW, NO_PEAK, NO_DIP = range(4)
TEXTS = (
    "higher than usual for {}",
    "lower than usual for {}",
    "lower than usual, as the peak of {} did not come",
    "higher than usual, as the dip of {} did not come",
)


@apart
def borrow(w, mine, effects, scope, rows, spare):  # type: ignore[no-untyped-def]
    """Copy what is known of a series, to judge a row without learning it: into scope[0], rows[0] and spare."""
    scope[0] = w
    for k in range(len(mine)):
        rows[0, k] = -1
        if mine[k] >= 0:
            rows[0, k] = k
            spare[k] = effects[mine[k]]


@apart
def begin_and_end(w, rows, effects, second, plan, from_s, to_s):  # type: ignore[no-untyped-def]
    """Begin and end occasions of a series, up to this second. rows: its row of `rows`. plan: int64[calendars, 4]: where
    the intervals of a calendar begin and end in from_s and to_s, its kind, seconds of a part."""
    w.on, w.edge = 0, FAR
    for k in range(len(rows)):
        if rows[k] < 0:
            continue
        e = effects[rows[k]]
        if e.on == 1 and second >= e.end:
            commit_effect(e)
            e.on = 0
        if e.on == 0:
            begin, end = plan[e.calendar, 0], plan[e.calendar, 1]
            at, high = begin, end
            while at < high:  # the first that ends later
                middle = (at + high) // 2
                if to_s[middle] <= second:
                    at = middle + 1
                else:
                    high = middle
            if at < end:
                if from_s[at] <= second:
                    e.on, e.begin, e.end = 1, from_s[at], to_s[at]
                else:
                    w.edge = min(w.edge, from_s[at])
        if e.on == 1:
            w.on, w.edge = 1, min(w.edge, e.end)


@bare
def _is_on(e, second):  # type: ignore[no-untyped-def]
    return e.on == 1 and e.begin <= second < e.end


@bare
def _place(e, second, local, plan):  # type: ignore[no-untyped-def]
    """(part, part at its other side of the nearer edge, how near that is: 0 to 0.5) at this time."""
    kind, part_s = plan[e.calendar, 2], plan[e.calendar, 3]
    first, n = 0, PARTS
    if kind == SINCE:
        x = (second - e.begin) / part_s
    elif kind == DAY:
        x = (local % DAY_S) / part_s
    else:
        x, n = (local % DAY_S) / part_s, PARTS // 2
        if (local + EPOCH_SHIFT_S) % WEEK_S >= 5 * DAY_S:
            first = n
    part = min(max(math.floor(x), 0), n - 1)
    away = min(max(x - part - 0.5, -0.5), 0.5)
    other = part + (1 if away > 0.0 else -1)
    if kind == EITHER:
        other = (other + n) % n
    elif other < 0 or other >= n:
        other = part
    return first + part, first + other, abs(away)


@bare
def _same_hour(part):  # type: ignore[no-untyped-def]
    """That hour of days off, for one of workdays, and the other way round: the best guess while it was never seen."""
    return (part + PARTS // 2) % PARTS


@apart
def effect_at(rows, effects, second, local, plan, cadence, prior):  # type: ignore[no-untyped-def]
    """(effect, how far occasions differ from it, how unsure it is, passes, calendar of most of it) at this time; -1 as
    the calendar where none is on. prior: size of an effect of which nothing is known."""
    effect, spread, vague, passes, which, most = 0.0, 0.0, 0.0, 1 << 30, -1, -1.0
    for k in range(len(rows)):
        if rows[k] < 0 or not _is_on(effects[rows[k]], second):
            continue
        e = effects[rows[k]]
        part, other, near = _place(e, second, local, plan)
        seen, mean = e.seen[part], np.float64(e.mean[part])
        if seen == 0 and plan[e.calendar, 2] == EITHER:
            mean = np.float64(e.mean[_same_hour(part)])
        unsure = prior
        if seen > 0:
            if cadence < 0.5 * plan[e.calendar, 3] and e.seen[other] > 0:
                mean += near * (np.float64(e.mean[other]) - mean)
            unsure = UNSURE_EFFECT * abs(mean) / (1.0 * seen * seen)
            spread += np.float64(e.dev[part])
        effect, vague, passes = effect + mean, vague + unsure, min(passes, seen)
        if abs(mean) > most:
            which, most = e.calendar, abs(mean)
    return effect, spread, vague, passes, which


@apart
def gather_effect(rows, effects, second, local, plan, away, size, outside):  # type: ignore[no-untyped-def]
    """Learn how far a value was from what was expected, the effect included; shared by what is least known. size: of
    deviations expected within this occasion."""
    total = 0.0
    for k in range(len(rows)):
        if rows[k] >= 0 and _is_on(effects[rows[k]], second):
            e = effects[rows[k]]
            total += 1.0 / (1.0 + e.seen[_place(e, second, local, plan)[0]])
    for k in range(len(rows)):
        if rows[k] < 0 or not _is_on(effects[rows[k]], second):
            continue
        e = effects[rows[k]]
        part = _place(e, second, local, plan)[0]
        if part != e.part:
            commit_effect(e)
            e.part = part
            if e.seen[part] == 0 and plan[e.calendar, 2] == EITHER:
                e.mean[part] = e.mean[_same_hour(part)]
        most = (CLIP_OUTSIDE if outside and e.seen[part] >= KNOWN else CLIP) * size
        mine = min(max(away, -most), most) / (1.0 + e.seen[part]) / total
        e.sum += mine
        e.square += mine * mine
        e.rows += 1.0


@apart
def commit_effect(e):  # type: ignore[no-untyped-def]
    """Close the open part: move its mean and how far occasions differ from it."""
    if e.rows > 0.0:
        b, seen = e.part, e.seen[e.part]
        away, square = e.sum / e.rows, e.square / e.rows
        rate = max(1.0 / (seen + 1.0), RATE_MIN)
        if seen == 0:
            square = max(square - away * away, 0.0)
        e.mean[b] = e.mean[b] + rate * away
        e.dev[b] = e.dev[b] + rate * (MEAN_OF_ROOT * math.sqrt(square) - e.dev[b])
        e.seen[b] = min(seen + 1, 250)
    e.sum = e.square = e.rows = 0.0
    e.part = -1


@bare
def cause_of(first, which, y, usual, effect, below):  # type: ignore[no-untyped-def]
    """Which text of TEXTS is said of a row outside its band; first: where those of the first calendar begin."""
    text = LOW if below else HIGH
    if below and effect > 0.0 and y - usual < 0.5 * effect:
        text = NO_PEAK
    if not below and effect < 0.0 and y - usual > 0.5 * effect:
        text = NO_DIP
    return first + len(TEXTS) * which + text
