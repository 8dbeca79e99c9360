"""The compiled heart of the detector `change`: lasting changes of level, spread and trend, in constant memory a series.

Two channels are followed an hour of local time at a time: the mean of the hour's rows, and the logarithm of how far
they are apart from row to row. What is expected of each is a level (that of the means with a slope) and a profile of
the week, by hours; what is left of the last deviation (its learned autocorrelation) is taken off. An hour of the week
that was not seen yet says nothing.

What remains, in units of its usual size and cut at Z_MAX, feeds sums of log likelihood ratios for shifts of DELTAS
sizes to either side, none below 0 (Page, Continuous Inspection Schemes, 1954; Lorden 1971). exp of such a sum is an
e-value (Shin, Ramdas, Rinaldo, E-detectors, 2022), so that p = 1 / e, and the score is log p / log p_limit. A change is
reported once it has lasted STAY hours without a break, from the last of which it is told whether the mean goes on
rising; then nothing is, until the new state was learned for `accept_after_s`.

Kernels; the slow twin is in tests/naive.py.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import EPOCH_SHIFT_S
from almenara.analysis.compiled import bare, inlined
from almenara.model.time import NS

HOUR_S, HOURS = 3600, 168
#: Sizes of shifts looked for, in usual sizes of what remains.
DELTAS = (0.5, 1.0, 2.0)
SUMS = len(DELTAS)
#: log of how many sums there are: the highest of several e-values is their sum at most.
SPREAD_OVER = math.log(4 * SUMS)
Z_MAX, STAY, WARM = 4.0, 5, 24
#: An hour with what remains beyond FIRM goes on with a change. The last RING deviations tell a trend from a new level:
#: a line explains more than half of how they differ, and over them it rises by more than RISES of their mean.
FIRM, RING, RISES = 0.5, 8, 0.2
#: A shift is measured in no less than this part of the usual step from row to row; of spreads in so many e-folds.
LEAST_OF_STEP, LEAST_OF_LOG = 0.25, 0.25
#: Rows of an hour that tell its spread.
STEPS_MIN = 8
LEVEL_RATE, SLOPE_RATE, PROFILE_RATE = 1 / 48, 1 / 4608, 1 / 6
AWAY_H = 24
#: Each report of late, weeks ago it fades, asks for that much more evidence: a series that always changes is as usual.
FADE = 1.0 - 1.0 / (4 * HOURS)
HUGE, SCORE_MAX, BELOW_ONE = 1e150, 100.0, 1.0 - 2.0**-20
MEAN, STEP = 0, 1
#: Causes, in the order in which the detector words them.
ROSE, FELL, WILDER, CALMER, UPWARDS, DOWNWARDS = range(6)

SLOT = np.dtype(
    [
        ("time", np.int64),  # of the last row, ns
        ("hour", np.int64),  # the open hour: hours of local time since 1970
        ("closed", np.int64),  # the last one that is closed
        ("until", np.int64),  # ns until which what is new is learned, and nothing reported
        ("last", np.float64),  # value
        ("sum", np.float64),  # of the open hour, from its first value on
        ("first", np.float64),
        ("steps", np.float64),  # sum of absolute changes from row to row
        ("step", np.float64),  # the usual one
        ("slope", np.float64),  # of the level, an hour
        ("score", np.float64),
        ("often", np.float64),  # reports of late
        ("level", np.float64, 2),
        ("prev", np.float64, 2),  # the last deviation
        ("size", np.float64, 2),  # mean absolute size of what remains
        ("cross", np.float64, 2),
        ("power", np.float64, 2),
        ("sums", np.float64, (2, 2, SUMS)),
        ("ring", np.float64, (2, RING)),  # the last deviations, by hour
        ("firm", np.int32, (2, 2)),  # hours without a break that go on with a change
        ("learned", np.int32, 2),  # hours that taught a size
        ("n", np.int32),  # rows of the open hour
        ("hours", np.int32),  # closed
        ("held", np.int32),  # hours of what is new
        ("line", np.int32),  # hours of a new trend, 0 none
        ("profile", np.float32, (2, HOURS)),
        ("seen", np.uint8, HOURS),
    ]
)


@inlined
def _clip(x, most):  # type: ignore[no-untyped-def]
    return min(max(x, -most), most)


@bare
def _follow(s, c, g, z):  # type: ignore[no-untyped-def]
    """Feed the sums of one channel and side with z, this side positive; the highest of them."""
    best = 0.0
    for j in range(SUMS):
        s.sums[c, g, j] = max(0.0, s.sums[c, g, j] + DELTAS[j] * z - 0.5 * DELTAS[j] * DELTAS[j])
        best = max(best, s.sums[c, g, j])
    s.firm[c, g] = s.firm[c, g] + 1 if z > FIRM else 0
    return best


@bare
def _forget(s):  # type: ignore[no-untyped-def]
    for c in range(2):
        for g in range(2):
            s.firm[c, g] = 0
            for j in range(SUMS):
                s.sums[c, g, j] = 0.0


@bare
def _learn(s, c, h, r, e, size, calm):  # type: ignore[no-untyped-def]
    """Learn an hour of one channel. calm: nothing speaks for a change."""
    known = s.seen[h] > 0
    kept = _clip(r, 6.0 * size) if known and size > 0.0 else r
    rate = max(LEVEL_RATE, 1.0 / (s.held + 1.0)) if known else 0.0  # an hour that is new to the week tells its own
    if known and c == MEAN and s.line > 0:  # the line of least squares through the hours of a new trend
        t = s.line + 1.0
        rate = max(LEVEL_RATE, 2.0 * (2.0 * t - 1.0) / (t * (t + 1.0)))
        s.slope += max(SLOPE_RATE, 6.0 / (t * (t + 1.0))) * kept
        s.line += 1
    elif known and c == MEAN and s.held >= HOURS:
        s.slope += SLOPE_RATE * kept
    s.level[c] += rate * kept
    if not known or s.held >= WARM:
        s.profile[c, h] += max(1.0 / (s.seen[h] + 1.0), PROFILE_RATE) * (kept - rate * kept)
    if known and calm:
        s.learned[c] += 1
        rate = 1.0 / min(s.learned[c], HOURS)
        most = 4.0 * s.size[c] if s.learned[c] > WARM else abs(e)
        s.size[c] += rate * (min(abs(e), most) - s.size[c])
        s.cross[c] += rate * (kept * s.prev[c] - s.cross[c])
        s.power[c] += rate * (kept * kept - s.power[c])
    s.prev[c] = kept


@bare
def _report(s, c, g, h, told):  # type: ignore[no-untyped-def]
    """Take a change over as what is expected, and say what it is: told[0:4] = cause, from, to, hour it began in. Is it
    sure by now whether the mean has a new trend or a new level? Else nothing is taken over."""
    m = min(s.firm[c, g] - 1, RING)  # the first hour may be one in part
    mean = slope = spread = line = 0.0
    for k in range(m):
        mean += s.ring[c, (s.hours - k) % RING] / m
    for k in range(m):
        t, r = 0.5 * (m - 1) - k, s.ring[c, (s.hours - k) % RING] - mean
        slope += t * r
        spread += r * r
        line += t * t
    slope /= line
    ahead = mean + slope * 0.5 * (m - 1)
    rises = c == MEAN and slope * m / mean > RISES
    if rises and m < RING:
        return False
    if rises and slope * slope * line > 0.5 * spread:
        told[0], told[1], told[2] = UPWARDS + g, 24.0 * s.slope, 24.0 * (s.slope + slope)
        told[3] = float(s.hour) - math.floor(ahead / slope)
        s.slope += slope
        s.level[c] += ahead
        s.line = m
    else:
        told[0], told[1] = (ROSE if c == MEAN else WILDER) + g, s.level[c] + s.profile[c, h]
        told[2] = told[1] + mean
        told[3] = float(s.hour - s.firm[c, g] + 1)
        s.level[c] += mean
        if c == STEP:
            told[1], told[2] = math.exp(told[1]), math.exp(told[2])
            s.size[MEAN] *= told[2] / told[1]
            s.step *= told[2] / told[1]
    s.prev[0] = s.prev[1] = 0.0
    s.held = m
    s.often += 1.0
    _forget(s)
    return True


@bare
def _close(s, time, o, told):  # type: ignore[no-untyped-def]
    """Close the open hour: judge it, learn it. Is a change reported?"""
    h = (s.hour + EPOCH_SHIFT_S // HOUR_S) % HOURS
    away = s.hour - s.closed
    if s.hours > 0 and away > AWAY_H:  # nobody knows what it was meanwhile
        s.until, s.held, s.line = time + o[1], 0, 0
        _forget(s)
    s.level[MEAN] += s.slope * min(away, AWAY_H) if s.hours > 0 else 0.0
    best, c_best, g_best = 0.0, -1, 0
    rough = 1.0  # how the spread of this hour is to that of all
    if s.learned[STEP] >= WARM and s.seen[h] > 0 and s.step > 0.0:
        rough = min(max(math.exp(min(s.level[STEP] + s.profile[STEP, h], 300.0)) / s.step, 0.5), 4.0)
    for c in range(2):
        x = s.first + s.sum / s.n
        if c == STEP:
            if s.n <= STEPS_MIN:
                continue
            x = math.log(max(s.steps / s.n, max(1e-3 * s.step, 1e-200)))
        if s.learned[c] == 0 and s.seen[h] == 0 and s.level[c] == 0.0 and s.prev[c] == 0.0:
            s.level[c] = x
        r = x - s.level[c] - s.profile[c, h]
        e = r - (_clip(s.cross[c] / s.power[c], 0.98) if s.power[c] > 0.0 else 0.0) * s.prev[c]
        unit = rough if c == MEAN else 1.0
        least = LEAST_OF_STEP * s.step if c == MEAN else LEAST_OF_LOG
        size = unit * max(
            1.2533 * s.size[c] * math.sqrt(1.0 + 1.0 / max(1.0, float(s.seen[h]))), max(least, 1e-9 * abs(x))
        )
        s.ring[c, s.hours % RING] = r
        high = 0.0
        if s.seen[h] > 0 and s.learned[c] >= WARM and time >= s.until and size > 0.0:
            z = _clip(e / size, Z_MAX)
            for g in range(2):
                sided = z if g == 0 else -z
                found = _follow(s, c, g, sided)
                high = max(high, found)
                if found > best:
                    best = found
                    c_best, g_best = (c, g) if s.firm[c, g] >= STAY else (-1, 0)
        _learn(s, c, h, r, e / unit, size, high < SPREAD_OVER)
    s.score = min(max(0.0, best - SPREAD_OVER) / (o[0] * (1.0 + s.often)), SCORE_MAX)
    s.often *= FADE
    changed = s.score >= 1.0 and c_best >= 0 and _report(s, c_best, g_best, h, told)
    if changed:
        s.until = time + o[1]
    elif s.score >= 1.0:
        s.score = BELOW_ONE
    s.step += (s.steps / s.n - s.step) / min(s.hours + 1.0, float(HOURS))
    s.seen[h] = min(s.seen[h] + 1, 255)
    s.closed, s.hours, s.held = s.hour, s.hours + 1, min(s.held + 1, 1_000_000)
    return changed


@bare
def _row(s, time, y, local, o, verdict, cause, k, told):  # type: ignore[no-untyped-def]
    """Judge one row into verdict[:, k] and cause[k], and take it in. Is a change reported with it?"""
    hour = local // HOUR_S
    changed = False
    if s.n > 0 and hour != s.hour:
        changed = _close(s, time, o, told)
        s.n = 0
    if s.n == 0:
        s.hour, s.first, s.sum, s.steps = hour, y, 0.0, 0.0
        if s.hours == 0:
            s.closed, s.last = hour, y
    if s.hours >= WARM:
        h = (hour + EPOCH_SHIFT_S // HOUR_S) % HOURS
        yhat = s.level[MEAN] + s.profile[MEAN, h]
        half = Z_MAX * max(s.step, 1e-9 * abs(yhat))
        lower, upper = min(yhat - half, y), max(yhat + half, y)
        score = s.score
        if changed:
            cause[k] = np.int16(told[0])
            if y >= yhat:
                upper = np.nextafter(y, -np.inf)
                yhat = min(yhat, upper)
            else:
                lower = np.nextafter(y, np.inf)
        verdict[0, k], verdict[1, k], verdict[2, k], verdict[3, k] = score, yhat, min(lower, yhat), max(upper, yhat)
    if changed:
        s.score = 0.0
    s.n += 1
    s.sum += y - s.first
    s.steps += abs(y - s.last)
    s.last, s.time = y, time
    return changed and s.hours >= WARM


@bare
def run(slots, spare, ids, times, values, from_s, offset_s, o, learn, verdict, cause, told, told_row):  # type: ignore[no-untyped-def]
    """All rows in their order; how many changes are reported, told[:, j] = cause, from, to, hour, of row told_row[j].
    Not learning: each row is judged, on the spare slot, as if it were the next."""
    count, begin, end, offset = 0, 1, 0, 0
    one = told[len(told) - 1]
    for k in range(len(ids)):
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
        if not learn:
            spare[0] = slots[i]
        s = slots[i] if learn else spare[0]
        y = min(max(y, -HUGE), HUGE)
        if _row(s, times[k], y, second + offset, o, verdict, cause, k, one):
            for c in range(4):
                told[count, c] = one[c]
            told_row[count] = k
            count += 1
    return count
