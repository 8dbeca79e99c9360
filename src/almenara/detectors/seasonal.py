"""`seasonal`: is a value usual for this series at this time of day and week? The default detector, with no options set.

Every row is judged against its own series' past, then learned; nothing is judged in the first 30 rows. In the first
day a value is compared with the recent level; from the second day on with the same time of day; weekdays are told
apart as they are seen. A fault is not learned while it lasts, and a new level is accepted after `accept_after_s`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

import numpy as np

from almenara.analysis.calendars import site_zone
from almenara.analysis.compiled import only_read
from almenara.analysis.occasions import Calendar
from almenara.analysis.seasonal_periods import PERIODS
from almenara.analysis.seasonal_run import run
from almenara.analysis.seasonal_slot import SLOT
from almenara.analysis.states import STATE
from almenara.analysis.tails import depth_of
from almenara.detectors._formats import UPGRADES, checked, upgraded
from almenara.detectors._occasions import Occasions
from almenara.detectors._places import Places
from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesList
from almenara.model.time import DAY_NS, NS
from almenara.plugin.options import Range

#: Raised when SLOT or what its numbers mean changes; what is to be done then stands in detectors/_formats.py.
FORMAT = 9
#: Batches of twice as many rows, which history comes in, are judged by several threads: series do not know each other.
_PART_ROWS, _THREADS = 200_000, min(4, os.cpu_count() or 1)


class Seasonal:
    """Judges each value against its series' level and spread by time of day and week, in the site's time zone.

    Periods of other lengths that are there are found and expected too, two a series at most.

    State: less than 2 kB a series, constant, 1.4 kB more while its periods are searched or where it has some, and
    0.5 kB for each calendar that holds for it. Not thread-safe: one thread judges.

    Options:
        timezone: IANA name of the zone whose days and weeks count.
        country: Whose public holidays count as Sundays: a code such as ES, or ES-MD for a part of it; empty: nobody's.
        p_limit: How likely a usual row is to score 1 or more; fewer false alarms with a smaller one.
        accept_after_s: Seconds after which a lasting new level is taken as usual; young series accept it sooner.
    """

    causes: Sequence[str] = (
        "higher than usual for this time of day and week",
        "lower than usual for this time of day and week",
        "higher than lately (this time of day is not learned yet)",
        "lower than lately (this time of day is not learned yet)",
        "rose suddenly",
        "fell suddenly",
        "has not changed for far longer than usual",
        "a state that is hardly ever seen",
        "not a usual state for this time of day and week",
        "has been in this state for far longer than usual",
        "changes far more often than usual",
    )
    #: Of these, those that are not about how far a value is from what is expected.
    other_causes = (6, 7, 8, 9, 10)

    def __init__(
        self,
        *,
        timezone: str = "UTC",
        country: str = "",
        p_limit: Annotated[float, Range(1e-12, 0.01)] = 1e-4,
        accept_after_s: Annotated[float, Range(1)] = 86_400.0,
        calendars: Sequence[Calendar] = (),
    ) -> None:
        if not 1e-12 <= p_limit <= 0.01:
            raise ValueError(f"p_limit: must be from 1e-12 to 0.01; got {p_limit!r}")
        if not 0 < accept_after_s < float("inf"):
            raise ValueError(f"accept_after_s: must be a positive number of seconds; got {accept_after_s!r}")
        self.p_limit = p_limit
        self._zone = site_zone(timezone, country)
        self._options = np.array([depth_of(p_limit), accept_after_s, p_limit])
        self._slots = np.zeros(0, SLOT)
        self._used = 0
        self._periods = Places(PERIODS)
        self._occasions = Occasions(calendars, len(type(self).causes))
        self.causes = (*type(self).causes, *self._occasions.texts)

    @property
    def warmup_s(self) -> int:
        """How much stored history a replay needs to say nearly what the live detector says."""
        return max(28 * DAY_NS // NS, self._occasions.warmup_s)

    def step(self, batch: Batch) -> Verdict:
        """Judge each row against what came before it, then learn it. Rows ordered by (id, time)."""
        return self._run(batch, learn=True)

    def look(self, batch: Batch) -> Verdict:
        """Judge each row as if it were the next of its series; learns nothing."""
        return self._run(batch, learn=False)

    def state(self) -> dict[str, Any]:
        """`slots`: SLOT[ids], a copy; `periods`: PERIODS[k], of the slots that have some, in their order; `format`:
        int64[1]; `options`: what the numbers in slots depend on."""
        return self.part(0, self._used)

    def part(self, first: int, end: int) -> dict[str, Any]:
        """What `state` gives, of series first to end - 1."""
        slots = self._slots[first : min(end, self._used)].copy()
        slots["periods"], periods = self._periods.packed(slots["periods"])
        return {
            "slots": slots,
            "periods": periods,
            "format": np.array([FORMAT], np.int64),
            "options": self._options.copy(),
            "timezone": np.frombuffer(self._zone.name.encode(), np.uint8).copy(),
            **self._occasions.part(first, min(end, self._used)),
        }

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Go on from `state()`. Raises ValueError where options or zone differ, or where the format does and UPGRADES
        does not lead from it to this one."""
        self._slots, self._used, self._periods = np.zeros(0, SLOT), 0, Places(PERIODS)
        self._occasions.forget()
        self.restore_part(0, arrays)

    def restore_part(self, first: int, arrays: Mapping[str, Any]) -> None:
        """Go on from `part()`, of series of which nothing is known yet. Raises ValueError as `restore` does."""
        arrays = checked("seasonal", upgraded(arrays, FORMAT, UPGRADES), self.part(0, 0))
        slots, periods = arrays["slots"], arrays["periods"]
        numbers = slots["periods"]
        if periods.dtype != PERIODS or not np.array_equal(numbers[numbers > 0], np.arange(1, len(periods) + 1)):
            raise ValueError(f"seasonal: periods of the state, {periods.dtype}, are not those of its slots")
        self._occasions.restore_part(first, arrays)
        self._reserve(first + len(slots))
        mine = self._slots[first : first + len(slots)]
        mine[:] = slots
        mine["periods"] = self._periods.put(numbers[:0], numbers, periods)

    def adopt(self, ids: np.ndarray, other: Seasonal) -> None:
        """Know of series ids[i] from now on what `other` has learned of its series i; int32[k], each once."""
        if len(ids):
            self._reserve(int(ids.max()) + 1)
            other._reserve(len(ids))
            old = self._slots["periods"][ids]
            self._slots[ids] = other._slots[: len(ids)]
            numbers, periods = other._periods.packed(other._slots["periods"][: len(ids)])
            self._slots["periods"][ids] = self._periods.put(old, numbers, periods)
            self._occasions.adopt(ids, other._occasions)

    def replace_calendars(self, calendars: Sequence[Calendar], series: SeriesList) -> Generator[None, None, None]:
        """Go on with other calendars, in small steps; between them this detector judges with the old ones. With the
        last step it has the new ones and their `causes`, and has kept what it learned of those of the same name and
        selector. Raises ValueError for two of one name."""
        ids = np.flatnonzero(self._slots["rows"][: self._used]).astype(np.int32)
        self._occasions = yield from self._occasions.replaced(calendars, ids, series)
        self.causes = (*type(self).causes, *self._occasions.texts)

    def _run(self, batch: Batch, *, learn: bool) -> Verdict:
        ids = only_read(batch.id, np.int32)
        times = only_read(batch.time, np.int64)
        values = only_read(batch.value, np.float64)
        n = len(ids)
        if not ids.shape == times.shape == values.shape == (n,):
            raise ValueError(f"columns differ in shape: id {ids.shape}, time {times.shape}, value {values.shape}")
        # One column too many: a part of the rows then has the same kind of strides as all of them, compiled once.
        verdict, cause = np.empty((4, n + 1))[:, :n], np.empty(n, np.int16)
        if n:
            if ids.min() < 0:
                raise ValueError(f"series id must not be negative; got {ids.min()}")
            self._reserve(int(ids.max()) + 1)
            self._occasions.look_up(ids, batch.series)
            zone, known = (self._zone.from_s, self._zone.offset_s), self._occasions.arrays()

            def judge(part: slice, free: np.ndarray, begin: int) -> int:
                spare = np.zeros(1, SLOT)
                spares = spare, spare.view(STATE), *self._occasions.spares()
                rows = ids[part], times[part], values[part], begin
                about = zone, self._options, known, (self._periods.records, free), spares
                done = run(self._slots, self._slots.view(STATE), *rows, *about, learn, verdict[:, part], cause[part])
                return int(done)

            left = [(part, 0) for part in _parts(ids)]
            while left:
                stacks = self._periods.lend(len(left))
                one, *rest = zip(left, stacks, strict=True)
                others = [_others().submit(judge, part, free, at) for (part, at), free in rest]
                reached = [judge(one[0][0], one[1], one[0][1]), *(other.result() for other in others)]
                self._periods.take_back(stacks)
                ends = [(part, at) for (part, _), at in zip(left, reached, strict=True)]
                left = [(part, at) for part, at in ends if at < part.stop - part.start]
                if left:
                    self._periods.grow()
        return Verdict(verdict[0], verdict[1], verdict[2], verdict[3], np.broadcast_to(1.0, n), cause)

    def _reserve(self, n: int) -> None:
        if n > len(self._slots):
            grown = np.zeros(max(n, 2 * len(self._slots), 64), SLOT)
            grown[: self._used] = self._slots[: self._used]
            self._slots = grown
        self._used = max(self._used, n)


@cache
def _others() -> ThreadPoolExecutor:
    """Threads that judge parts of large batches."""
    return ThreadPoolExecutor(_THREADS - 1, "judge")


def _parts(ids: np.ndarray) -> list[slice]:
    """The rows in one part, or of a large batch in one a processor: all rows of a series are in the same part."""
    n, parts = len(ids), max(1, min(_THREADS, len(ids) // _PART_ROWS))
    edges = [0, *(int(np.searchsorted(ids, ids[n * k // parts])) for k in range(1, parts)), n]
    return [slice(low, high) for low, high in pairwise(edges) if high > low]
