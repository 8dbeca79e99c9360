"""Graphs for messages: the series of an incident around its alarms, with what was expected, drawn without a browser."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from almenara.analysis.decimate import extremes
from almenara.model.alarm import Alarm, Incident, Severity, State
from almenara.model.errors import AlmenaraError
from almenara.model.series import Series
from almenara.model.text import one_line
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS
from almenara.model.units import scale_of, unit_symbol
from almenara.plot.panel import Panel
from almenara.plugin.contracts import Selection

if TYPE_CHECKING:
    from almenara.pipeline.hub import Pipeline

#: Series in one graph.
MOST_PANELS = 3
#: Of more rows than these the means of equal parts of the time are drawn, without a band.
MOST_ROWS = 200_000
#: What a message waits for its graph, and the largest one that it takes along.
LONGEST_S, MOST_BYTES = 10.0, 1_000_000
#: Graphs that may wait to be drawn; in a storm of incidents the others are told without.
MOST_WAITING = 4
#: So much is shown of an incident that lasts, and graphs that are kept for the next notifier.
_LONGEST_NS, _KEPT = 7 * DAY_NS, 8
#: Pixels of a panel; on a phone, at half of it and less, the letters are still to be read.
WIDTH, HEIGHT, DPI = 900, 400, 200
_TITLE_LETTERS = 50
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class NoGraph(AlmenaraError):
    """There is no graph, and why."""


class Graphs:
    """Draws in a thread of its own; the loop's alone. `close` ends it."""

    def __init__(self, hub: Pipeline, timezone: str = "UTC") -> None:
        self._hub, self._timezone = hub, timezone
        self._thread = ThreadPoolExecutor(1, "graph")
        self._drawn: OrderedDict[tuple[int, int], asyncio.Task[bytes]] = OrderedDict()

    def warm(self) -> None:
        """Load what draws ahead of the first graph, in the background."""
        self._thread.submit(_load)

    async def of_incident(self, incident: Incident, upto: int) -> bytes:
        """The graph of an incident as it was after the change numbered `upto`; each is drawn once. Raises NoGraph,
        also when it takes too long."""
        key = incident.id, upto
        if key not in self._drawn:
            if sum(not task.done() for task in self._drawn.values()) >= MOST_WAITING:
                raise NoGraph("too many are to be drawn at a time")
            self._drawn[key] = task = asyncio.create_task(self._draw(incident))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it any more
            while len(self._drawn) > _KEPT:
                self._drawn.popitem(last=False)
        task = self._drawn[key]
        try:
            async with asyncio.timeout(LONGEST_S):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise NoGraph(f"it took longer than {LONGEST_S:g} s") from error
        except BaseException:
            if task.done():
                self._drawn.pop(key, None)  # the next try draws anew
            raise

    async def of_series(self, series: Sequence[Series], start: int, end: int, alarms: Sequence[Alarm] = ()) -> bytes:
        """A graph of at most MOST_PANELS series in [start, end), ns, with those of the alarms that are theirs. Raises
        NoGraph."""
        found = [await self._panel(alarms, one, start, end) for one in series[:MOST_PANELS]]
        panels = [panel for panel in found if panel is not None]
        if not panels:
            raise NoGraph("no row of its series lies in that time")
        png = await asyncio.get_running_loop().run_in_executor(self._thread, self._png, panels, start, end)
        if len(png) > MOST_BYTES:
            raise NoGraph(f"it has {len(png):,} bytes, more than the {MOST_BYTES:,} that a message takes along")
        return png

    async def _draw(self, incident: Incident) -> bytes:
        return await self.of_series(series_of(incident), *span_of(incident, self._hub.clock() + 1), incident.members)

    def _png(self, panels: Sequence[Panel], start: int, end: int) -> bytes:
        from almenara.plot.png import figure_png  # imports matplotlib, which takes a while

        return figure_png(panels, width=WIDTH, height=HEIGHT, dpi=DPI, timezone=self._timezone, span=(start, end))

    async def _panel(self, of: Sequence[Alarm], series: Series, start: int, end: int) -> Panel | None:
        hub = self._hub
        (id,) = hub.index.find([series.key]).tolist()
        if id < 0:
            return None
        one = Selection(hub.index, np.array([id], np.int32))
        rows = int(np.asarray((await hub.read(one, start, end, end - start, "count")).value).sum())
        if not rows:
            return None
        title, alarms = one_line(str(series), _TITLE_LETTERS), _spans(of, series, start, end)
        unit = unit_symbol(hub.metadata.of(id).unit, series.name)
        if rows > MOST_ROWS or not hub.options.watches:
            wide = await hub.read(one, start, end, -(-(end - start) // WIDTH), "avg")
            return _scaled(Panel(title, wide.time, wide.value, unit=unit, alarms=alarms))
        found = await hub.replay(one.id, start, end)
        time, value, said = np.asarray(found.batch.time), np.asarray(found.batch.value), found.verdict
        score = np.asarray(said.score)
        at = extremes(time, value, start, end, WIDTH, keep=score >= 1)
        yhat, lower, upper = (np.asarray(column)[at] for column in (said.yhat, said.lower, said.upper))
        return _scaled(Panel(title, time[at], value[at], yhat, lower, upper, score[at], unit=unit, alarms=alarms))

    async def close(self) -> None:
        """Stop drawing."""
        for task in self._drawn.values():
            task.cancel()
        await asyncio.gather(*self._drawn.values(), return_exceptions=True)
        self._drawn.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _load() -> None:
    with contextlib.suppress(ImportError):  # who draws is told what is missing
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401


def span_of(incident: Incident, now_ns: int) -> tuple[int, int]:
    """From when to when a graph shows an incident: from a while before it until now, or a while after its end."""
    ended = incident.resolved or now_ns
    lasted = max(ended - incident.since, MINUTE_NS)
    end = min(now_ns, ended + min(lasted, HOUR_NS)) if incident.resolved else now_ns
    start = incident.since - min(max(lasted, 2 * HOUR_NS), DAY_NS)
    return max(start, end - _LONGEST_NS), end


def series_of(incident: Incident) -> list[Series]:
    """The series to draw: the strongest one, then those that began first."""
    strongest = max(incident.members, key=_strength)
    order = sorted(incident.members, key=lambda alarm: (alarm is not strongest, alarm.last.since))
    return list(dict.fromkeys(alarm.last.series for alarm in order))[:MOST_PANELS]


def _strength(alarm: Alarm) -> tuple[bool, int, float]:
    one = alarm.last
    score = one.evidence.score
    return one.state is not State.RESOLVED, _RANK[one.severity], score if score == score else 0.0


def _spans(alarms: Sequence[Alarm], series: Series, start: int, end: int) -> list[tuple[int, int, str]]:
    """When the alarms of a series were on."""
    mine = [alarm.last for alarm in alarms if alarm.last.series == series]
    return [
        (max(one.since, start), min(one.time, end) if one.state is State.RESOLVED else end, one.severity.value)
        for one in mine
    ]


def _scaled(panel: Panel) -> Panel:
    """Values in a unit in which they are short: 93 GB."""
    value = np.asarray(panel.value, np.float64)
    size = float(np.nanmax(np.abs(value))) if np.isfinite(value).any() else 0.0
    factor, unit = scale_of(size, panel.unit)
    columns: dict[str, Any] = {
        name: np.asarray(getattr(panel, name)) / factor
        for name in ("value", "yhat", "lower", "upper")
        if getattr(panel, name) is not None
    }
    return replace(panel, unit=unit, **columns)
