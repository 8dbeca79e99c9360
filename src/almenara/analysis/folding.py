"""How sure is a period? The compiled heart of the search for periods: a spectrum, and a fold that must predict.

Used by `almenara.analysis.periods`, where the method is told, and by the detector `seasonal`; slow twins of the
kernels are in tests/naive.py.
"""

from __future__ import annotations

import math

import numpy as np

from almenara.analysis.calendars import DAY_S, WEEK_S
from almenara.analysis.compiled import bare, inlined, kernel

PAD = 4  # frequencies looked at, for each that the length resolves
CYCLES_MIN = 4.0  # a period that was not seen so often is a guess
STEPS_MIN = 3.0  # values in a period
BINS = 32  # of a fold, at most
PEAKS, DIVISORS = 3, 8  # highest lines looked at; each may be a multiple of the frequency wanted
GAMMA = 0.5772156649015329  # the log of the power of noise is so much below the log of its mean
PEAK_LOG = math.log(9.0)  # of a line over what is around it; only what passes costs more time
Z_MIN = 6.5  # of the spectrum: false-alarm level in standard deviations of a Gaussian
GAIN_MIN = 0.15  # least share of the variance that must be predicted
BEST_PART = 0.8  # the shortest period wins that predicts this part of what the best one does
CALENDAR_PART = 0.5  # a period of days is new only where one day alone predicts less than this part of it
FOLD_MIN_S = 7200  # what a profile of half hours can hold, if it repeats with the day


@bare
def _fft(re, im):  # type: ignore[no-untyped-def]
    """Discrete Fourier transform in place; the length is a power of two."""
    n = len(re)
    j = 0
    for i in range(1, n):
        bit = n >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j |= bit
        if i < j:
            re[i], re[j] = re[j], re[i]
            im[i], im[j] = im[j], im[i]
    size = 2
    while size <= n:
        half, angle = size // 2, -2.0 * math.pi / size
        cos, sin = math.cos(angle), math.sin(angle)
        c, s = 1.0, 0.0
        for k in range(half):
            for a in range(k, n, size):
                b = a + half
                x, y = re[b] * c - im[b] * s, re[b] * s + im[b] * c
                re[b], im[b] = re[a] - x, im[a] - y
                re[a], im[a] = re[a] + x, im[a] + y
            c, s = c * cos - s * sin, c * sin + s * cos
        size *= 2


@kernel
def _log_power(x):  # type: ignore[no-untyped-def]
    """Log of the power of x float64[n], less its trend, under a Hann window, at 1 / (PAD n') a step and its multiples;
    n' is n or the next power of two. Empty where there is nothing in x."""
    n, m = len(x), 0
    st = sx = stt = stx = 0.0
    for i in range(n):
        if not math.isnan(x[i]):
            t = i - 0.5 * (n - 1)
            m, st, sx, stt, stx = m + 1, st + t, sx + x[i], stt + t * t, stx + t * x[i]
    if 2 * m < n or m < 32:
        return np.empty(0)
    slope = (stx - st * sx / m) / (stt - st * st / m)
    size = 64
    while size < n:
        size *= 2
    re, im = np.zeros(PAD * size), np.zeros(PAD * size)
    for i in range(n):
        if not math.isnan(x[i]):
            t = i - 0.5 * (n - 1)
            hann = 0.5 - 0.5 * math.cos(2.0 * math.pi * (i + 0.5) / n)
            re[i] = (x[i] - sx / m - slope * (t - st / m)) * hann
    _fft(re, im)
    out, total = np.empty(PAD * size // 2 + 1), 0.0
    for k in range(len(out)):
        out[k] = re[k] * re[k] + im[k] * im[k]
        total += out[k]
    if total <= 1e-300:
        return np.empty(0)
    least = 1e-12 * total / len(out)
    for k in range(len(out)):
        out[k] = math.log(max(out[k], least))
    return out


@bare
def _power_law(logs, low, high, k0):  # type: ignore[no-untyped-def]
    """(at log k = 0, slope, lines used): a power law fitted to logs[low:high], the octaves alike; with k0 > 0 without
    the lines near its multiples."""
    w = wx = wy = wxx = wxy = 0.0
    used, near = 0, min(2.0 * PAD, 0.4 * k0)
    for k in range(low, high):
        if k0 > 0.0 and k > 0.5 * k0 and abs(k - k0 * math.floor(k / k0 + 0.5)) < near:
            continue
        x, weight = math.log(k), 1.0 / k
        w, wx, wxx = w + weight, wx + weight * x, wxx + weight * x * x
        wy, wxy = wy + weight * logs[k], wxy + weight * x * logs[k]
        used += 1
    if used < 2:
        return 0.0, 0.0, 0
    slope = (wxy - wx * wy / w) / max(wxx - wx * wx / w, 1e-300)
    return (wy - slope * wx) / w, slope, used


@bare
def _sure(ratio, lines, around):  # type: ignore[no-untyped-def]
    """Standard deviations of a Gaussian as unlikely as a mean power of `lines` lines that is `ratio` times that of
    `around` lines, if all were noise: an F distribution (Paulson 1942)."""
    a, b, root = 2.0 / (9.0 * 2.0 * lines), 2.0 / (9.0 * 2.0 * around), ratio ** (1.0 / 3.0)
    return ((1.0 - b) * root - (1.0 - a)) / math.sqrt(b * root * root + a)


@bare
def _comb(logs, k0):  # type: ignore[no-untyped-def]
    """How sure it is that k0 (in steps of `logs`) and its multiples stand out, in standard deviations."""
    n = len(logs)
    low, high = max(PAD + PAD // 2, int(0.5 * k0)), min(n, int(8.5 * k0) + 1)
    at0, slope, used = _power_law(logs, low, high, k0)
    around = used / (1.5 * PAD)
    if around < 3.0:
        return 0.0
    total, best, h = 0.0, 0.0, 1
    while h <= 8 and int(h * k0 + 0.5) < n:
        k = int(h * k0 + 0.5)
        total += math.exp(min(logs[k] - at0 - slope * math.log(k) - GAMMA, 60.0))
        if h & (h - 1) == 0:
            best = max(best, _sure(total / h, h, around))
        h += 1
    return best


@bare
def _less_slow(x, width, out):  # type: ignore[no-untyped-def]
    """out = x less its mean over the `width` values around each; at the ends over the first and last ones."""
    n, low, high, m, total = len(x), 0, 0, 0, 0.0
    for i in range(n):
        begin = min(max(i - width // 2, 0), n - width)
        while high < begin + width:
            if not math.isnan(x[high]):
                m, total = m + 1, total + x[high]
            high += 1
        while low < begin:
            if not math.isnan(x[low]):
                m, total = m - 1, total - x[low]
            low += 1
        out[i] = x[i] - total / m if m > 0 else np.nan


@bare
def _folded(x, period, sums, counts):  # type: ignore[no-untyped-def]
    """Variance between the bins of a fold: sum over bins of (sum squared / count)."""
    bins = min(BINS, int(period))
    for b in range(bins):
        sums[b] = counts[b] = 0.0
    for i in range(len(x)):
        if not math.isnan(x[i]):
            turn = (i + 0.5) / period
            b = min(int((turn - math.floor(turn)) * bins), bins - 1)
            sums[b] += x[i]
            counts[b] += 1.0
    between = 0.0
    for b in range(bins):
        if counts[b] > 0.0:
            between += sums[b] * sums[b] / counts[b]
    return between


@bare
def _refined(x, period, sums, counts):  # type: ignore[no-untyped-def]
    """The period near this one, within what the length of x resolves, whose fold holds most."""
    n, best, at = len(x), -1.0, 0
    for j in range(-8, 9):
        between = _folded(x, n / (n / period + j / 12.0), sums, counts)
        if between > best:
            best, at = between, j
    left = _folded(x, n / (n / period + (at - 1) / 12.0), sums, counts)
    right = _folded(x, n / (n / period + (at + 1) / 12.0), sums, counts)
    bend = left - 2.0 * best + right
    shift = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    return n / (n / period + (at + min(max(shift, -0.5), 0.5)) / 12.0)


@kernel
def _predicted(x, period):  # type: ignore[no-untyped-def]
    """Share of the variance that a fold predicts of each block from all others; 0 where it fails in a block."""
    n, bins = len(x), min(BINS, int(period))
    blocks = min(int(n / period), 8)
    sums, counts = np.zeros((blocks + 1, bins)), np.zeros((blocks + 1, bins))
    for i in range(n):
        if not math.isnan(x[i]):
            turn = (i + 0.5) / period
            b, c = min(int((turn - math.floor(turn)) * bins), bins - 1), i * blocks // n
            sums[c, b] += x[i]
            counts[c, b] += 1.0
            sums[blocks, b] += x[i]
            counts[blocks, b] += 1.0
    before, after = np.zeros(blocks), np.zeros(blocks)
    for i in range(n):
        if not math.isnan(x[i]):
            turn = (i + 0.5) / period
            b, c = min(int((turn - math.floor(turn)) * bins), bins - 1), i * blocks // n
            others = counts[blocks, b] - counts[c, b]
            rest = x[i] - (sums[blocks, b] - sums[c, b]) / (others + 0.5)
            before[c] += x[i] * x[i]
            after[c] += rest * rest
    failed, total, left = 0, 0.0, 0.0
    for c in range(blocks):
        failed += after[c] >= before[c] and before[c] > 0.0
        total, left = total + before[c], left + after[c]
    if total <= 0.0 or failed > blocks // 8:
        return 0.0
    return 1.0 - left / total


@bare
def _of_calendar(period_s, span_s):  # type: ignore[no-untyped-def]
    """Can this period, as well as the span tells it, not be told from a part of the day or week?"""
    near = 0.3 / span_s
    if period_s >= FOLD_MIN_S:
        j = math.floor(DAY_S / period_s + 0.5)
        if j >= 1.0 and abs(1.0 / period_s - j / DAY_S) < near:
            return True
    if period_s >= 26 * 3600 or (period_s >= 2 * FOLD_MIN_S and span_s >= 2 * WEEK_S):
        j = math.floor(WEEK_S / period_s + 0.5)
        return j >= 1.0 and abs(1.0 / period_s - j / WEEK_S) < near
    return False


@kernel
def _is_repeated(x, period, gain, step_s):  # type: ignore[no-untyped-def]
    """Is this a multiple of a period of the day or week that tells nearly as much?"""
    for j in range(2, DIVISORS + 1):
        part = period / j
        of_calendar = part >= STEPS_MIN and _of_calendar(part * step_s, len(x) * step_s)
        if of_calendar and _predicted(x, part) >= CALENDAR_PART * gain:
            return True
    return False


@kernel
def strongest(x, step_s, besides_calendar):  # type: ignore[no-untyped-def]
    """(period in steps, gain, z) of the period that predicts most of x float64[n]; (0, 0, 0) where there is none.
    step_s: time between values; besides_calendar: not those that a profile of the day and week holds."""
    logs, n = _log_power(x), len(x)
    if len(logs) == 0:
        return 0.0, 0.0, 0.0
    size = PAD * 64
    while size < PAD * n:
        size *= 2
    at0, slope, _ = _power_law(logs, PAD + PAD // 2, len(logs), 0.0)
    lowest = math.ceil(CYCLES_MIN * size / n)
    over = np.zeros(len(logs))  # how high each peak is over what is around it
    for k in range(lowest, len(logs) - 1):
        if logs[k] >= logs[k - 1] and logs[k] >= logs[k + 1]:
            over[k] = logs[k] - at0 - slope * math.log(k)
    smooth, sums, counts = np.empty(n), np.empty(BINS), np.empty(BINS)
    periods, gains, sure = np.zeros(PEAKS * DIVISORS), np.zeros(PEAKS * DIVISORS), np.zeros(PEAKS * DIVISORS)
    peak = 0
    while peak < PEAKS:
        top = over.argmax()
        if over[top] - GAMMA < PEAK_LOG:
            break
        over[max(top - 3 * PAD, 0) : top + 3 * PAD] = 0.0
        if besides_calendar and _of_calendar(size / top * step_s, n * step_s):
            continue
        for d in range(1, DIVISORS + 1):
            k0 = top / d
            period = size / k0
            if k0 < lowest or period < STEPS_MIN:
                continue
            z = _comb(logs, k0)
            if z < Z_MIN:
                continue
            _less_slow(x, int(period + 0.5), smooth)
            period = _refined(smooth, period, sums, counts)
            if n / period < CYCLES_MIN or (besides_calendar and _of_calendar(period * step_s, n * step_s)):
                continue
            gain = _predicted(smooth, period)
            if gain >= GAIN_MIN and not (besides_calendar and _is_repeated(smooth, period, gain, step_s)):
                at = peak * DIVISORS + d - 1
                periods[at], gains[at], sure[at] = period, gain, z
        peak += 1
    best, at = gains.max(), -1
    if best < GAIN_MIN:
        return 0.0, 0.0, 0.0
    for k in range(len(gains)):
        if gains[k] >= BEST_PART * best and (at < 0 or periods[k] < periods[at]):
            at = k
    return periods[at], gains[at], sure[at]


@kernel
def profile_of(x, period):  # type: ignore[no-untyped-def]
    """float64[BINS]: the shape of one period (in steps) of x float64[n], less slower movements, around 0; bin b is
    centred at phase (b + 0.5) / BINS, and value i is at phase (i + 0.5) / period."""
    bins = min(BINS, int(period))
    smooth, sums, counts, out = np.empty(len(x)), np.empty(BINS), np.empty(BINS), np.empty(BINS)
    _less_slow(x, int(period + 0.5), smooth)
    _folded(smooth, period, sums, counts)
    mean = 0.0
    for b in range(bins):
        sums[b] /= counts[b] + 0.5
        mean += sums[b] / bins
    for b in range(BINS):
        at = (b + 0.5) * bins / BINS - 0.5
        low = math.floor(at)
        part = at - low
        out[b] = (1.0 - part) * sums[(low + bins) % bins] + part * sums[(low + 1) % bins] - mean
    return out


@inlined
def at_phase(bins, turn):  # type: ignore[no-untyped-def]
    """A profile of BINS read between the centres of its bins; turn: time in periods, any number."""
    at = (turn - math.floor(turn)) * BINS - 0.5
    low = math.floor(at)
    part = at - low
    return (1.0 - part) * bins[(low + BINS) % BINS] + part * bins[(low + 1) % BINS]


@kernel
def less_profile(x, first, period, profile):  # type: ignore[no-untyped-def]
    """Take a profile from x, in place; a period is in steps of x, and x begins `first` steps after phase 0."""
    for i in range(len(x)):
        x[i] -= at_phase(profile, (first + i + 0.5) / period)
