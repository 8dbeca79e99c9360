"""The simulated plant of `almenara up --demo`: seasons to learn, and faults to be found at the press of a button."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from almenara.collectors.poll import Poll
from almenara.model.batch import Batch
from almenara.model.errors import MissingExtra
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import MINUTE_NS, NS, WEEK_NS
from almenara.plugin.options import Range

if TYPE_CHECKING:
    from almenara.analysis.plant import Fault

#: How long a fault lasts and how long it takes to grow, in s at speed 1. Faster clocks stretch both, so that a person
#: sees as much of it; growing is stretched twice at most, since it must show within seconds.
_LASTS_S = {"leak": 165, "stuck": 900, "drift": 600, "missing_peak": 600, "storm": 240}
_GROWS_S = {"leak": 30, "stuck": 0, "drift": 300, "missing_peak": 60, "storm": 0}
_MOST_STRETCH = 2.0


class Plant(Poll):
    """A simulated plant: two cities, four pumps and a web shop, with daily and weekly seasons, noise and faults.

    Every series carries source="simulated". The same seed and time always give the same value.

    Options:
        every_s: Seconds between two readings.
        seed: Another number gives other noise.
        timezone: IANA name of the zone whose days and weeks the seasons follow.
        auto_fault_after_s: If nobody has broken anything by then, a leak begins this many seconds after the first
            reading; 0 = never.
    """

    #: What can be broken, and what happens then.
    faults: ClassVar[dict[str, str]] = {
        "leak": "Pump P-102 leaks: flow and pressure fall, vibration rises.",
        "stuck": "The vibration sensor of pump P-103 is stuck: it repeats its last value.",
        "drift": "The motor of pump P-104 runs hot: its temperature creeps up by 20 degrees.",
        "missing_peak": "Visitors of the web shop stay away: a third of what this hour of the week brings, "
        "as when the Sunday evening peak does not come.",
        "storm": "Interference on the pumps' bus: every reading of all four jumps far up and down.",
    }

    def __init__(
        self,
        *,
        every_s: Annotated[float, Range(1)] = 10.0,
        seed: Annotated[int, Range(0)] = 1,
        timezone: str = "UTC",
        auto_fault_after_s: Annotated[float, Range(0)] = 60.0,
        clock: Callable[[], int] = time.time_ns,
        _speed: float = 1.0,
    ) -> None:
        super().__init__(every_s, clock)
        try:
            from almenara.analysis import plant
            from almenara.analysis.calendars import zone
        except ModuleNotFoundError as error:
            raise MissingExtra("collector plant", "notebook") from error
        self.seed = seed
        self.auto_fault_after_s = auto_fault_after_s
        self._values = plant.values
        self._zone = zone(timezone)
        self._speed = max(_speed, 1.0)
        self._began = 0  # when it was first asked for rows: a hub may compile for a minute before that
        self._injected: list[Fault] = []
        self._table = SeriesTable.of(encode_key(name, labels) for name, labels in plant.SERIES)

    def collect(self) -> Batch:
        """One row of every series, at the present multiple of `every_s`."""
        import numpy as np

        now = self.clock()
        self._break_by_itself(now)
        every = int(self.every_s * NS)
        return self.values_at(np.array([now // every * every]))

    def values_at(self, times: Any) -> Batch:
        """Rows of every series at int64[n] ns, ordered by (id, time); nothing but the seed, the times and what was
        broken decides."""
        import numpy as np

        times = np.asarray(times, np.int64)
        found = self._values(times, self.seed, self._zone, tuple(self._injected))
        ids = np.repeat(np.arange(len(self._table), dtype=np.int32), len(times))
        return Batch(self._table, ids, np.tile(times, len(self._table)), found.ravel())

    def history(self, end_ns: int, weeks: float = 3.0) -> Batch:
        """A row a minute of every series over the `weeks` before `end_ns`, ordered by (id, time)."""
        import numpy as np

        end = end_ns // MINUTE_NS * MINUTE_NS
        return self.values_at(np.arange(end - int(weeks * WEEK_NS) // MINUTE_NS * MINUTE_NS, end, MINUTE_NS))

    def break_something(self, name: str, now_ns: int | None = None) -> None:
        """Let a fault begin now; one that runs already goes on. Raises ValueError for a name that `faults` lacks."""
        if name not in self.faults:
            raise ValueError(f"no fault is called {name!r}; expected one of {', '.join(self.faults)}")
        now = self.clock() if now_ns is None else now_ns
        if any(fault == name and since <= now < until for fault, since, until, _ in self._injected):
            return
        until = now + int(_LASTS_S[name] * self._speed * NS)
        self._injected.append((name, now, until, int(_GROWS_S[name] * min(self._speed, _MOST_STRETCH) * NS)))

    def injected(self) -> list[tuple[str, int, int]]:
        """(fault, since, until) of everything broken so far, in ns, in order."""
        return [(name, since, until) for name, since, until, _ in self._injected]

    def _break_by_itself(self, now: int) -> None:
        self._began = self._began or now
        due = self._began + int(self.auto_fault_after_s * self._speed * NS)
        if self.auto_fault_after_s > 0 and not self._injected and now >= due:
            self.break_something("leak", due)
