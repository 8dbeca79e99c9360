"""A few series as a picture for a message: their rows, what was expected, their anomalies and alarms, drawn as PNG."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from almenara.analysis.decimate import extremes
from almenara.model.errors import AlmenaraError
from almenara.model.units import unit_symbol
from almenara.plot.figures import Panel
from almenara.plugin.contracts import Selection

if TYPE_CHECKING:
    from almenara.pipeline.hub import Pipeline

#: Series in one picture.
MOST_PANELS = 4
#: Of more rows than these the means of equal parts of the time are drawn, without a band.
MOST_ROWS = 300_000
WIDTH, HEIGHT = 1000, 300


async def series_png(hub: Pipeline, ids: Sequence[int], start: int, end: int, title: str = "") -> bytes:
    """Draw at most MOST_PANELS of these series in [start, end), ns. Raises AlmenaraError where there is no row."""
    panels = [panel for id in ids[:MOST_PANELS] if (panel := await _panel(hub, id, start, end)) is not None]
    if not panels:
        raise AlmenaraError("no row lies in that time")
    return await asyncio.to_thread(_drawn, panels, title)


def _drawn(panels: Sequence[Panel], title: str) -> bytes:
    from almenara.plot.png import figure_png  # imports matplotlib, which takes a while

    return figure_png(panels, title=title, width=WIDTH, height=HEIGHT)


async def _panel(hub: Pipeline, id: int, start: int, end: int) -> Panel | None:
    one = Selection(hub.index, np.array([id], np.int32))
    counted = await hub.read(one, start, end, end - start, "count")
    rows = int(np.asarray(counted.value).sum())
    if not rows:
        return None
    series = hub.index[id]
    title, unit = str(series), unit_symbol(hub.metadata.of(id).unit, series.name)
    alarms = [
        (max(alarm.last.since, start), None, alarm.last.severity.value)
        for alarm in hub.alarms.open()
        if alarm.last.series == series and alarm.last.since < end
    ]
    if rows > MOST_ROWS or not hub.options.watches:
        wide = await hub.read(one, start, end, -(-(end - start) // WIDTH), "avg")
        return Panel(title, wide.time, wide.value, unit=unit, alarms=alarms)
    found = await hub.replay(one.id, start, end)
    time, value, said = np.asarray(found.batch.time), np.asarray(found.batch.value), found.verdict
    score = np.asarray(said.score)
    at = extremes(time, value, start, end, WIDTH, keep=score >= 1)
    yhat, lower, upper = (np.asarray(column)[at] for column in (said.yhat, said.lower, said.upper))
    return Panel(title, time[at], value[at], yhat, lower, upper, score[at], unit=unit, alarms=alarms)
