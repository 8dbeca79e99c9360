"""Counters as people look at them: their rate a second, through resets and wraps, also of counters nobody told of.

A counter that falls was reset, and how far it had grown before is not known: that row has no rate. One that passes the
end of 32 or 64 bits has grown by what lies between.

A series of which nobody says what it is is recognised by what it does: it never falls but to near zero, and rises in at
least half of its rows. That is looked at after LOOKS rows, and it is a counter from the last of these on, until it
falls by a part only: a level that was filled for a while. So it is decided at rows of the series, however they come in
batches. From a row where it turns out to be something else, detectors begin anew with the series (`step_in_turns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from almenara._compiled import njit
from almenara.analysis.compiled import only_read
from almenara.model.batch import Batch, Verdict
from almenara.pipeline.kinds import COUNTER, GAUGE, UNTOLD
from almenara.plugin.contracts import Detector

NEVER = np.iinfo(np.int64).min
#: What was found of a series that nobody told of.
OPEN, FOUND, NONE = 0, 1, 2
#: Rows after which it is looked at, at last for good.
LOOKS = (256, 2048, 16_384)
#: A reset falls to at most this share, and comes once in so many rows at most.
NEAR_ZERO, RESET_ROWS = 0.25, 64
#: A wrap is a growth of at most this share of all there is.
WRAP = 0.1


@njit(cache=True, nogil=True)
def _any(id, kind, found):  # type: ignore[no-untyped-def]
    """Whether a row is of a counter, or of a series that may be one."""
    for k in range(len(id)):
        i = id[k]
        if kind[i] == 1 or (kind[i] == 3 and found[i] != 2):
            return True
    return False


@njit(cache=True, nogil=True)
def _grown(before, now):  # type: ignore[no-untyped-def]
    """How far a counter has grown; NaN where it was reset."""
    if now >= before:
        return now - before
    for end in (2.0**32, 2.0**64):
        if before < end and now >= 0.0 and now + (end - before) <= WRAP * end:
            return now + (end - before)
    return np.nan


@njit(cache=True, nogil=True)
def _look(i, before, now, grown, rows, rises, resets, found):  # type: ignore[no-untyped-def]
    """What is found of a series with one more row. before: the value of the last one, NaN where there is none."""
    rows[i] = min(rows[i] + 1, 1 << 30)
    if now < 0.0:
        return 2
    if grown > 0.0:
        rises[i] = min(rises[i] + 1, 1 << 30)
    elif now < before:
        resets[i] = min(resets[i] + 1, 1 << 30)
        if now > NEAR_ZERO * before or resets[i] * RESET_ROWS > rows[i]:
            return 2
    if found[i] == 0:
        for look in LOOKS:
            if rows[i] == look and 2 * rises[i] >= look:
                return 1
        if rows[i] >= LOOKS[-1]:
            return 2
    return found[i]


@njit(cache=True, nogil=True)
def _rates(id, time, value, wanted, kind, last_time, last_value, rows, rises, resets, found, out, turned):  # type: ignore[no-untyped-def]
    """Rows ordered by (id, time), those of counters as rates; what is by series moves on over `wanted` rows. turned:
    rows in which what was found of a series changed. How many."""
    turns = 0
    for k in range(len(id)):
        i = id[k]
        out[k], turned[k] = value[k], False
        untold = kind[i] == 3
        if kind[i] != 1 and (not untold or found[i] == 2):
            continue
        if not wanted[k] or np.isnan(value[k]) or time[k] <= last_time[i]:
            if not untold or found[i] == 1:
                out[k] = np.nan
            continue
        before = last_value[i] if last_time[i] != NEVER else np.nan
        grown = _grown(before, value[k])
        if untold:
            now = _look(i, before, value[k], grown, rows, rises, resets, found)
            turned[k] = now != found[i] and (now == 1 or found[i] == 1)
            turns += turned[k]
            found[i] = now
        if not untold or found[i] == 1:
            out[k] = grown / ((time[k] - last_time[i]) / 1e9) if last_time[i] != NEVER else np.nan
        last_time[i], last_value[i] = time[k], value[k]
    return turns


class Rates:
    """The last value of every counter, so that the next one gives a rate, and what is found of series nobody told of.
    One thread's; `settled` may be called from any."""

    def __init__(self) -> None:
        self._by_series: dict[str, np.ndarray] = {
            "time": np.empty(0, np.int64),
            "value": np.empty(0),
            "rows": np.empty(0, np.int32),
            "rises": np.empty(0, np.int32),
            "resets": np.empty(0, np.int32),
            "found": np.empty(0, np.uint8),
        }

    def of(self, batch: Batch, wanted: np.ndarray, kind: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """(float64[n], the rows' values, those of counters as rates a second, NaN at the first and at resets, or None
        where no row is of a counter; int64[k], the rows in which a series turned out to be a counter, or to be none).
        Rows are ordered by (id, time); those not `wanted` (bool[n]) are passed over. kind: uint8, by id."""
        n = len(kind)
        self._reserve(n)
        id, time, value = _columns(batch)
        if not len(id) == len(wanted) or (len(id) and int(id.max()) >= n):
            raise ValueError(f"{len(wanted)} flags and {n} kinds for {len(id)} rows of series up to {id.max()}")
        if not _any(id, kind, self._by_series["found"]):
            return None, np.empty(0, np.int64)
        out, turned = np.empty(len(id)), np.empty(len(id), np.bool_)
        turns = _rates(id, time, value, wanted, kind, *self._by_series.values(), out, turned)
        return out, np.flatnonzero(turned) if turns else np.empty(0, np.int64)

    def _reserve(self, n: int) -> None:
        have = len(self._by_series["time"])
        if n > have:
            more = max(n, have * 3 // 2) - have
            for name, array in self._by_series.items():
                fresh = np.full(more, NEVER if name == "time" else 0, array.dtype)
                self._by_series[name] = np.concatenate((array, fresh))

    def settled(self, kind: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """uint8[k]: the kinds of these series, with what was found of those that nobody told of."""
        found = self._by_series["found"]
        settled = kind.copy()
        mine = np.flatnonzero((kind == UNTOLD) & (ids < len(found)))
        of = found[ids[mine]]
        settled[mine[of == FOUND]] = COUNTER
        settled[mine[of == NONE]] = GAUGE
        return settled

    def take(self, other: Rates, kind: np.ndarray, ids: np.ndarray) -> None:
        """Know of series ids[i], where nobody told what it is, what `other` has found of its series i in more rows."""
        theirs, n = other._by_series, min(len(ids), len(other._by_series["rows"]))
        self._reserve(int(ids.max()) + 1 if len(ids) else 0)
        local = np.flatnonzero((kind[:n] == UNTOLD) & (theirs["rows"][:n] > self._by_series["rows"][ids[:n]]))
        for name, array in self._by_series.items():
            array[ids[local]] = theirs[name][local]

    def part(self, first: int, end: int) -> dict[str, np.ndarray]:
        """What is known of series first to end - 1, as arrays; of the last ones there may be nothing yet."""
        return {f"counter_{name}": array[first:end].copy() for name, array in self._by_series.items()}

    def restore_part(self, first: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `part` gave."""
        self._reserve(first + len(arrays["counter_time"]))
        for name, array in self._by_series.items():
            kept = arrays[f"counter_{name}"]
            array[first : first + len(kept)] = kept


def rated(batch: Batch, kind: np.ndarray) -> tuple[Batch, np.ndarray, Rates]:
    """Whole series, rows ordered by (id, time), with counters as rates; the rows in which one turned out to be a
    counter or to be none, int64[k]; and what was found. kind: uint8, by id."""
    rates = Rates()
    values, turned = rates.of(batch, np.ones(len(batch), np.bool_), kind)
    return batch if values is None else Batch(batch.series, batch.id, batch.time, values), turned, rates


def as_judged(batch: Batch, kind: np.ndarray) -> Batch:
    """Whole series, rows ordered by (id, time), with counters as rates. kind: uint8 by id."""
    return rated(batch, kind)[0]


def step_in_turns(detector: Detector, make: Callable[[], Detector], batch: Batch, turned: np.ndarray) -> Verdict:
    """`detector.step(batch)`; but with a series that is judged as something else from a row in `turned` on, a detector
    that can (`adopt`) begins anew there. make: gives one that has learned nothing."""
    if not len(turned) or not hasattr(detector, "adopt"):
        return detector.step(batch)
    id = np.asarray(batch.id, np.int32)
    begins = np.zeros(len(id), np.int64)
    begins[turned] = 1
    turns = np.cumsum(begins)
    first = np.concatenate(([True], id[1:] != id[:-1]))
    turns -= np.repeat((turns - begins)[first], np.diff(np.append(np.flatnonzero(first), len(id))))
    columns, notes = (np.empty((5, len(id))), np.empty(len(id), np.int16)), dict[int, str]()
    for turn in range(int(turns.max()) + 1):
        if turn:
            detector.adopt(np.unique(id[turned[turns[turned] == turn]]), make())
        rows = np.flatnonzero(turns == turn)
        said = detector.step(Batch(batch.series, id[rows], _at(batch.time, rows), _at(batch.value, rows)))
        for at, name in enumerate(("score", "yhat", "lower", "upper", "share")):
            columns[0][at, rows] = getattr(said, name)
        columns[1][rows] = said.cause
        notes |= {int(rows[at]): text for at, text in said.notes.items()}
    score, yhat, lower, upper, share = columns[0]
    return Verdict(score, yhat, lower, upper, share, columns[1], notes=notes)


def _at(column: Any, rows: np.ndarray) -> np.ndarray:
    return np.asarray(column)[rows]


def _columns(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return only_read(batch.id, np.int32), only_read(batch.time, np.int64), only_read(batch.value, np.float64)
