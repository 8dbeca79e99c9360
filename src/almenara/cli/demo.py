"""The demo: a simulated plant with three weeks of history in the hub, whose parts can be broken from the dashboard."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from almenara.collectors.plant import Plant
from almenara.pipeline import Pipeline
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.time import FastClock
from almenara.plugin.contracts import Collector

#: Where a demo keeps its data unless --data names a folder; simulated anew at each start.
DEMO_FOLDER = "almenara-demo-data"
WEEKS = 3
#: The rule where the configuration has none: built in, but told sooner, for the first fault is over in three minutes.
DEMO_RULES = {
    "rules.plant": {"expr": 'anomaly_score{source="simulated"} > 1', "for": "1m"},
    "rules.anomaly": {"expr": 'anomaly_score{source!="simulated"} > 1', "for": "5m"},
}


def fresh_demo_folder() -> Path:
    """The demo's folder, emptied: what it holds is simulated. Raises FolderError where it is in use, or not ours."""
    folder = Path(DEMO_FOLDER)
    DataFolder(folder).close()
    shutil.rmtree(folder)
    return folder


class Demo:
    """The plant of one run; what `Pipeline.demo` is to the dashboard."""

    def __init__(self, speed: float):
        self.speed = speed
        self.clock = time.time_ns if speed == 1 else FastClock(time.time_ns(), speed)
        self._plant = Plant(clock=self.clock, _speed=speed)
        self.collectors: dict[str, Collector] = {"plant": self._plant}

    @property
    def faults(self) -> dict[str, str]:
        """What can be broken: name -> a sentence for people."""
        return dict(self._plant.faults)

    def break_something(self, name: str) -> None:
        """Break it now."""
        self._plant.break_something(name, self.clock())

    def injected(self) -> list[dict[str, Any]]:
        """What is broken now, and from when to when in ms."""
        now = self.clock()
        return [
            {"fault": name, "since": since // 1_000_000, "until": until // 1_000_000}
            for name, since, until in self._plant.injected()
            if since <= now < until
        ]

    async def load(self, hub: Pipeline) -> int:
        """Put three weeks of history into the hub, and have it learned; says how many rows."""
        history = self._plant.history(self.clock(), WEEKS)
        rows, _ = await hub.commit(history)
        await hub.settle()
        return rows
