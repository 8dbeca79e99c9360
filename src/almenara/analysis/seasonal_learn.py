"""How the detector `seasonal` learns one row that was judged: less from rejected rows, nothing from a lasting fault."""

from __future__ import annotations

import numpy as np

from almenara.analysis.compiled import apart, bare, inlined, within
from almenara.analysis.seasonal_root import SAMPLE_ROWS, choose_root, spread, weigh_roots
from almenara.analysis.seasonal_slot import (
    ACCEPT_S,
    CLIP,
    CLUSTER,
    CLUSTER_ROWS,
    CLUSTER_WEIGHT,
    COARSE_BINS,
    DAY_MOST,
    DEPTH,
    DOWN,
    DRIFT_ROWS,
    FLAT_AGE_NS,
    FLAT_EXTRA,
    FLAT_TIMES,
    HALF_S,
    HOLD,
    LEVEL_MOST,
    LIVELY,
    MOVES_OVER,
    P_LIMIT,
    READY,
    REF_DOWN,
    REF_MORE,
    REF_REPEAT,
    REF_STEP,
    REF_UP,
    REF_WIDEN_MAX,
    REF_WIDEN_REST_S,
    REF_XI,
    RUNS_USUAL,
    STEP,
    STEP_FIRST,
    STREAK_MAX,
    SURPRISE,
    SURPRISE_SWING,
    UP,
    WIDEN_MAX,
    WIDEN_REST_ROWS,
    WIDEN_REST_S,
    WIDEN_STEP,
    YOUNG,
    clip,
    decimals_of,
    needs_decimals,
    unsure_of,
)
from almenara.analysis.tails import BASE, BURSTS, XI, tail_learn, tail_reach, tail_share
from almenara.model.time import NS


@bare
def _week_bin(half):  # type: ignore[no-untyped-def]
    """The bin of the week of a half hour since 1970."""
    return ((half // 48 + 3) % 7) * 24 + (half % 48) // 2


@apart
def commit(s, half, o):  # type: ignore[no-untyped-def]
    """Close the open bin: move profiles, slow level and sizes by what its rows said; open the bin `half`."""
    b, h = s.half % 48, _week_bin(s.half)
    s.half = half
    rows = s.sum_rows
    if rows > 0.0:
        seen, hour = s.day_seen[b], b // 2
        mean = s.sum / rows
        rate = max(1.0 / (seen + 2.0), 0.05)
        whole = rows * spread(s, s.root, s.level + (np.float64(s.day[b]) + np.float64(s.week[h]) if seen else mean))
        s.ratio[hour] = min(max(s.ratio[hour] + rate * (s.sum_size / whole - s.ratio[hour]), 0.2), 6.0)
        if seen == 0:
            s.day[b] = mean
        else:
            s.ref_ratio[hour] = min(max(s.ref_ratio[hour] + rate * (s.sum_ref / whole - s.ref_ratio[hour]), 0.2), 6.0)
            _adjust(s, b, h, mean)
        day = np.float64(s.day[b])
        rate = 1.0 / min(seen * 48.0 + 4.0, 48.0)
        s.swing += rate * (abs(day - s.centre) - s.swing)
        s.centre += rate * (day - s.centre)
        s.day_seen[b] = min(seen + 1, 250)
        s.coarse += s.last != 0.0 and s.flat_rows < rows  # 0, or what has not moved, says nothing of decimals
        if s.coarse >= COARSE_BINS:
            s.decimals, s.coarse = max(s.decimals - 1, 0), 0
        s.week_seen[h] = min(s.week_seen[h] + 1, 250)
    if s.most_up > 0.0 or s.most_down > 0.0:
        _ref_tails(s, o)
    s.sum = s.sum_size = s.sum_ref = s.sum_rows = s.sum_out = s.most_up = s.most_down = 0.0
    if choose_root(s):
        _reach(s, REF_UP, o)
        _reach(s, REF_DOWN, o)
    _reach(s, UP, o)
    _reach(s, DOWN, o)


@apart
def _reach(s, at, o):  # type: ignore[no-untyped-def]
    """Judge by what a tail learned. A young series may be bursty though it does not look so: its tail is wide."""
    share = tail_share(s.cadence)
    unsure = unsure_of(s) if at < REF_UP else 0.0
    tail_reach(s.tails, at, o[DEPTH] + share, BASE - share, unsure)


@bare
def _ref_tails(s, o):  # type: ignore[no-untyped-def]
    """Learn the reference view's tails from the extremes of a bin: rows in a row repeat each other, and so do bins.
    Extremes are too few to tell a shape by; theirs is that of the rows, where that is heavy beyond doubt."""
    up = s.most_up > s.tails[REF_UP]
    down = s.most_down > s.tails[REF_DOWN]
    for side in (UP, DOWN):
        rows = s.tails[side + XI]
        s.tails[side + REF_UP + XI] = max(min(REF_MORE * (rows - BURSTS), rows), REF_XI)
    weight = REF_REPEAT if s.beyond == 1 and up else 1.0
    tail_learn(s.tails, REF_UP, s.most_up, REF_STEP * weight, weight, False)
    weight = REF_REPEAT if s.beyond == 2 and down else 1.0
    tail_learn(s.tails, REF_DOWN, s.most_down, REF_STEP * weight, weight, False)
    _reach(s, REF_UP, o)
    _reach(s, REF_DOWN, o)
    s.beyond = 1 if up else 2 if down else 0


@bare
def _adjust(s, b, h, mean):  # type: ignore[no-untyped-def]
    """Share the mean deviation of a bin seen before among level, day and week."""
    s.ref_bins = min(s.ref_bins + 1, 1 << 30)
    if s.ref_bins > 48 and 2.0 * s.sum_out < s.sum_rows:
        # A weekday that is not known yet, or a fault, is far away for a day and says little about the level.
        move = clip(mean, LEVEL_MOST * s.ref_size) / 96.0
        s.level += move
        mean -= move
    # What is far from all days before says more about this weekday, or a fault, than about the day.
    move = clip(mean, DAY_MOST * s.ref_size + s.swing) * max(1.0 / (s.day_seen[b] + 1.0), 0.05)
    s.day[b] = s.day[b] + move
    # Weekdays seen before keep what they learned: the day's profile speaks for those not seen.
    kept = 0.5 * move if s.cadence < HALF_S else move
    for k in range(h % 24, 168, 24):
        if s.week_seen[k] > 0:
            s.week[k] = s.week[k] - kept
    rest = mean - move + (kept if s.week_seen[h] > 0 else 0.0)
    # A first difference counts fully when it stands out, and hardly when it is of the usual size (James-Stein).
    square = rest * rest
    share = square / (square + s.ref_size * s.ref_size) if square > 0.0 else 0.0
    s.week[h] = s.week[h] + max(1.0 / (0.5 * s.week_seen[h] + 1.0), 0.12) * share * rest


@inlined
def learn_rhythm(s, time, y, stuck):  # type: ignore[no-untyped-def]
    """Learn the cadence, how often values move, and how long they stay."""
    n = s.rows
    s.rows = min(n + 1, 1 << 30)
    since = min(max((time - s.time) / NS, 0.25 * s.cadence), 4.0 * s.cadence)
    if y == s.last:
        s.flat_rows = min(s.flat_rows + 1, 1 << 30)
        if stuck <= 1.0:
            s.moves -= s.moves / min(n, MOVES_OVER)
    else:
        flat = (s.time - s.flat) / NS
        if time - s.first >= FLAT_AGE_NS and s.moves >= LIVELY:
            flat = min(flat, FLAT_TIMES * s.flat_max + FLAT_EXTRA * s.cadence)
        s.flat_max = max(s.flat_max * (1.0 - 2e-5), flat)
        s.flat, s.flat_rows = time, 0
        s.moves += (1.0 - s.moves) / min(n, MOVES_OVER)
    s.cadence = max(s.cadence + (since - s.cadence) / min(n, 32), 1e-6)
    s.last, s.time = y, time


@inlined
def count_rejected(s, time, ref_away, known, outside, by_ref, stuck, o):  # type: ignore[no-untyped-def]
    """Count rejected rows; accept what has lasted. False: this row was accepted with all before it and is done."""
    forget = 1.0 - 0.1 * o[P_LIMIT]
    s.widen, s.ref_widen = max(s.widen * forget, 1.0), max(s.ref_widen * forget, 1.0)
    s.runs *= 1.0 - 0.25 * o[P_LIMIT]
    if not outside:
        s.streak = max(s.streak - 1, 0)
        return True
    if s.streak == 0:
        s.runs += (time - s.run) / NS >= min(WIDEN_REST_S, WIDEN_REST_ROWS * s.cadence)
        s.run, s.run_rows, s.run_mean, s.run_dev = time, 0, ref_away, 0.0
        rest = REF_WIDEN_REST_S if by_ref else min(WIDEN_REST_S, WIDEN_REST_ROWS * s.cadence)
        if (time - s.widened) / NS >= rest:
            s.widened = time
            if by_ref:
                s.ref_widen = min(s.ref_widen * WIDEN_STEP, REF_WIDEN_MAX)
            else:
                s.widen = min(s.widen * WIDEN_STEP, WIDEN_MAX)
    s.streak = min(s.streak + 1, STREAK_MAX)
    s.run_rows = min(s.run_rows + 1, 1 << 30)
    rate = 1.0 / min(s.run_rows, 256)
    s.run_mean += rate * (ref_away - s.run_mean)
    s.run_dev += rate * (abs(ref_away - s.run_mean) - s.run_dev)
    patience = min(o[ACCEPT_S], max(READY * s.cadence, 0.25 * (time - s.first) / NS))
    if (time - s.run) / NS < patience or s.run_rows < HOLD:
        return True
    if stuck > 1.0:
        s.flat_max = (time - s.flat) / NS
    if known:
        s.level += s.run_mean
        s.base += s.run_mean
        s.recent = 0.0
        s.ref_size = max(s.ref_size, s.run_dev)
    else:
        s.recent = s.run_mean
    s.anchor = s.recent
    s.size = max(s.size, s.run_dev)
    s.streak = 0
    s.sum = s.sum_size = s.sum_ref = s.sum_rows = s.sum_out = s.most_up = s.most_down = 0.0
    return False


@inlined
def gather(s, known, recent, size, ref_size, ref_away, bent_away, bent_ref, outside):  # type: ignore[no-untyped-def]
    """Add a row to the open bin, clipped: hard where it was rejected, so that a fault moves a profile a little only,
    and the harder the more often this hour of the week was seen, since what is new need not be a fault. An hour
    of the week never seen is clipped around what its rows said so far: one absurd row says little, thirty a lot."""
    if known:
        weeks = s.hour_known - 1
        most = SURPRISE[weeks]
        most = (most if outside else max(most, 6.0)) * max(ref_size, size)
        if weeks == 0:
            so_far = s.sum / max(s.sum_rows, 1.0)
            s.sum += so_far + clip(ref_away - so_far, most + SURPRISE_SWING * s.swing)
        else:
            s.sum += clip(ref_away, most)
    else:
        s.sum += recent + clip(ref_away - recent, 6.0 * size)
    s.sum_rows += 1.0
    s.sum_out += outside
    if outside and s.streak > HOLD:  # a lasting fault says nothing of the spread at this hour
        bent_away, bent_ref = size, ref_size
    s.sum_size += min(abs(bent_away) / s.size, 8.0) if s.size > 0.0 else 1.0
    s.sum_ref += min(abs(bent_ref) / s.ref_size, 2.5) if s.ref_size > 0.0 else 1.0


@inlined
def _pace(s):  # type: ignore[no-untyped-def]
    """How much one row says to the reference view: dense rows repeat each other."""
    return min(max(s.cadence / 300.0, 0.1), 1.0)


@inlined
def learn_sizes(s, ratio, ref_ratio, known, recent, size, ref_size, away, ref_away):  # type: ignore[no-untyped-def]
    """Learn sizes and autocorrelation from a row that is not part of a lasting fault."""
    s.size += (min(abs(away), CLIP * size) / ratio - s.size) / min(s.rows, 256)
    if known:
        s.ref_rows = min(s.ref_rows + 1, 1 << 30)
        if s.ref_rows == 1:
            s.ref_size = max(abs(ref_away), size)
        most = max(ref_size, size)
        seen = min(abs(ref_away), CLIP * most) / ref_ratio
        s.ref_size += (seen - s.ref_size) / min(s.ref_rows + 10.0, 1024.0 / _pace(s))
        x, e = clip(ref_away / most, CLIP), clip(recent / most, CLIP)
        s.cross += (x * e - s.cross) / 256.0
        s.power = max(s.power + (e * e - s.power) / 256.0, 1e-6)


@inlined
def learn_decimals(s, raw):  # type: ignore[no-untyped-def]
    """Learn how many decimals values have; what is not seen any more is forgotten, a decimal a day."""
    s.decimals = decimals_of(raw, s.decimals)
    if s.coarse > 0 and s.decimals > 0 and needs_decimals(raw, s.decimals):
        s.coarse = 0


@inlined
def learn_root(s, known, expected, d, raw, outside):  # type: ignore[no-untyped-def]
    """Learn between which roots deviations are to be seen."""
    if raw < 0.0 and not outside:
        s.root = -1
    if s.rows % SAMPLE_ROWS == 0 and known and s.streak == 0 and s.root >= 0:
        weigh_roots(s, expected, d)


@inlined
def learn_drift(s):  # type: ignore[no-untyped-def]
    """Learn how far the recent level goes in DRIFT_ROWS rows."""
    moved = min(abs(s.recent - s.anchor), 4.0 * max(s.drift, s.size))
    s.drift += (moved - s.drift) / min(s.rows // DRIFT_ROWS + 4, 64)
    s.anchor = s.recent


@within
def _learn_recent(s, z, weight, o):  # type: ignore[no-untyped-def]
    """Learn a deviation of the recent view, in sizes, upwards positive. Rows that reach far together count as few."""
    weight *= CLUSTER_WEIGHT if s.cluster > CLUSTER else 1.0
    step = STEP + STEP_FIRST / s.rows
    if tail_learn(s.tails, UP, z, step, weight, True):
        s.cluster += 1.0
        _reach(s, UP, o)
    if tail_learn(s.tails, DOWN, -z, step, weight, True):
        s.cluster += 1.0
        _reach(s, DOWN, o)


@inlined
def learn_tails(s, by_reference, lean, size, ref_size, away, ref_away, outside, o):  # type: ignore[no-untyped-def]
    """Learn how far usual deviations reach on their side. Usual is also a rejected row that stands alone, and a run of
    rejected rows where there are many; nothing is learned from the rest of a run, nor soon after it."""
    z = away / size
    s.cluster *= 1.0 - 1.0 / CLUSTER_ROWS
    if s.streak == 0:
        if s.pending != 0.0:
            if abs(z) < s.tails[UP if z >= 0.0 else DOWN]:
                _learn_recent(s, s.pending, 1.0, o)
            s.pending = 0.0
        _learn_recent(s, z, 1.0, o)
    elif outside:
        _learn_rejected(s, z, lean, size, away, o)
    if by_reference and (not outside or s.streak == 1):
        z = ref_away / ref_size
        s.most_up = max(s.most_up, z)
        s.most_down = max(s.most_down, -z)


@apart
def _learn_rejected(s, z, lean, size, away, o):  # type: ignore[no-untyped-def]
    """Learn a rejected row at once in a young series; else wait whether it stands alone, or begins a run."""
    if s.rows < YOUNG:
        if s.streak == 1:
            _learn_recent(s, z, 1.0, o)
    elif s.streak == 1:
        s.pending = z if abs(away) > 2.0 * abs(lean) else 0.0  # not the way back from where it was
    elif s.pending != 0.0:
        weight = min(max(s.runs / RUNS_USUAL - 1.0, 0.0), 1.0)
        if weight > 0.0:
            _learn_recent(s, s.pending, weight, o)
        s.pending = 0.0
