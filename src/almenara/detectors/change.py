"""`change`: has the level, the spread or the trend of this series changed for good? Each change is reported once.

Off unless configured: `[detectors.change]` with `match` chooses the series; `al.detect(df, detector="change")`. It
looks at whole hours and at the same hour of the weeks before, so it says nothing in a series' first week, and reports
a change five hours after it began at the earliest. Short faults are not its business: `seasonal` finds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from almenara.analysis.calendars import site_zone
from almenara.analysis.change import CALMER, HOUR_S, SLOT, UPWARDS, WILDER, run
from almenara.analysis.compiled import only_read
from almenara.detectors._formats import checked
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import figure
from almenara.model.time import DAY_NS, NS, format_time
from almenara.plugin.options import Range

#: Raised when SLOT or what its numbers mean changes; `restore` refuses another one.
FORMAT = 1


class Change:
    """Reports lasting changes of level, spread and trend, each once, then takes them as usual.

    State: less than 2.2 kB a series, constant. Not thread-safe: one thread judges.

    Options:
        timezone: IANA name of the zone whose days and weeks count.
        country: Whose public holidays count as Sundays: a code such as ES, or ES-MD for a part of it; empty: nobody's.
        p_limit: How likely an hour without a change is to be taken for one.
        accept_after_s: Seconds for which what is new is learned after a report, and nothing more is reported.
    """

    causes = (
        "level rose",
        "level fell",
        "became less steady",
        "became steadier",
        "trend turned upwards",
        "trend turned downwards",
    )
    #: Of these, those that are not about how far a value is from what is expected.
    other_causes = (2, 3, 4, 5)
    #: How much stored history a replay needs to say what the live detector says.
    warmup_s = 28 * DAY_NS // NS

    def __init__(
        self,
        *,
        timezone: str = "UTC",
        country: str = "",
        p_limit: Annotated[float, Range(1e-30, 0.01)] = 1e-6,
        accept_after_s: Annotated[float, Range(3600)] = 86_400.0,
    ) -> None:
        if not 1e-30 <= p_limit <= 0.01:
            raise ValueError(f"p_limit: must be from 1e-30 to 0.01; got {p_limit!r}")
        if not 3600 <= accept_after_s < 1e9:
            raise ValueError(f"accept_after_s: must be from 3600 to 1e9 seconds; got {accept_after_s!r}")
        self.p_limit, self.p_limit_of_s = p_limit, 3600.0
        self._zone = site_zone(timezone, country)
        self._options = np.array([-math.log(p_limit), accept_after_s * NS])
        self._slots = np.zeros(0, SLOT)

    def step(self, batch: Batch) -> Verdict:
        """Judge each row against what came before it, then learn it. Rows ordered by (id, time)."""
        return self._run(batch, learn=True)

    def look(self, batch: Batch) -> Verdict:
        """Judge each row as if it were the next of its series; learns nothing."""
        return self._run(batch, learn=False)

    def state(self) -> dict[str, Any]:
        """`slots`: SLOT[ids], a copy; `format`: int64[1]; `options` and `timezone`: what they depend on."""
        return self.part(0, len(self._slots))

    def part(self, first: int, end: int) -> dict[str, Any]:
        """What `state` gives, of series first to end - 1."""
        return {
            "slots": self._slots[first:end].copy(),
            "format": np.array([FORMAT], np.int64),
            "options": self._options.copy(),
            "timezone": np.frombuffer(self._zone.name.encode(), np.uint8).copy(),
        }

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Go on from `state()`. Raises ValueError where format, options, zone or the layout of slots differ."""
        self._slots = np.zeros(0, SLOT)
        self.restore_part(0, arrays)

    def restore_part(self, first: int, arrays: Mapping[str, Any]) -> None:
        """Go on from `part()`, of series of which nothing is known yet. Raises ValueError as `restore` does."""
        slots = checked("change", arrays, self.part(0, 0))["slots"]
        self._reserve(first + len(slots))
        self._slots[first : first + len(slots)] = slots

    def adopt(self, ids: np.ndarray, other: Change) -> None:
        """Know of series ids[i] from now on what `other` has learned of its series i; int32[k], each once."""
        if len(ids):
            self._reserve(int(ids.max()) + 1)
            other._reserve(len(ids))
            self._slots[ids] = other._slots[: len(ids)]

    def _run(self, batch: Batch, *, learn: bool) -> Verdict:
        ids = only_read(batch.id, np.int32)
        times = only_read(batch.time, np.int64)
        values = only_read(batch.value, np.float64)
        n = len(ids)
        if not ids.shape == times.shape == values.shape == (n,):
            raise ValueError(f"columns differ in shape: id {ids.shape}, time {times.shape}, value {values.shape}")
        verdict, cause = np.empty((4, n)), np.empty(n, np.int16)
        told, row = np.empty((n + 1, 4)), np.empty(n, np.int64)
        count = 0
        if n:
            if ids.min() < 0:
                raise ValueError(f"series id must not be negative; got {ids.min()}")
            self._reserve(int(ids.max()) + 1)
            rows = ids, times, values, self._zone.from_s, self._zone.offset_s, self._options
            count = run(self._slots, np.zeros(1, SLOT), *rows, learn, verdict, cause, told, row)
        notes = {
            at: _note(one[0], one[1], one[2], one[3], self._offset(times[at]))
            for at, one in zip(row[:count].tolist(), told[:count].tolist(), strict=True)
        }
        share = np.broadcast_to(1.0, n)
        return Verdict(verdict[0], verdict[1], verdict[2], verdict[3], share, cause, notes=notes)

    def _offset(self, time: int) -> int:
        """Seconds from UTC to the local time of a row."""
        return int(self._zone.offset_s[np.searchsorted(self._zone.from_s, time // NS, side="right") - 1])

    def _reserve(self, n: int) -> None:
        have = len(self._slots)
        if n > have:
            self._slots = np.concatenate((self._slots, np.zeros(max(n, have * 3 // 2) - have, SLOT)))


def _note(cause: float, before: float, after: float, hour: float, offset_s: int) -> str:
    """From what to what, and since when: in the hour that it began in, as UTC."""
    since = format_time((int(hour) * HOUR_S - offset_s) * NS)
    what = " from row to row" if cause in (WILDER, CALMER) else " a day" if cause >= UPWARDS else ""
    return f"from about {figure(before, 3)} to {figure(after, 3)}{what} since {since}"
