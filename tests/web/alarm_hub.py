"""A real hub with a real alarm book behind HTTP, its clock the machine's, for tests of what changes alarms."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.web.conftest import Served

from almenara.alarm.book import Book
from almenara.alarm.policies import Policies
from almenara.alarm.rules import Rule
from almenara.alarm.silence import Silence
from almenara.alarm.silences import Silences
from almenara.codecs.influx import Influx
from almenara.pipeline import Pipeline
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.judge import Watch
from almenara.query import Matcher
from almenara.stores.memory import Memory


class AlarmHub(Served):
    """rules: what its book judges; told: its notifiers, which nobody serves; maintenance: as from a configuration;
    watches: its detectors."""

    def __init__(
        self, folder: Path, rules: Sequence[Rule] = (), told: Policies | Sequence[str] = ("default",),
        maintenance: Sequence[Silence] = (), clock: Callable[[], int] = time.time_ns, watches: Sequence[Watch] = (),
        **options: Any,
    ):  # fmt: skip
        self._folder, self._rules, self._told, self._clock = folder, rules, told, clock
        self._maintenance, self._watches = maintenance, watches
        super().__init__(**options)

    def make_hub(self) -> Any:
        folder = DataFolder(self._folder)

        def alarms(index: SeriesIndex) -> Book:
            def selector(matchers: Sequence[Matcher]) -> Selector:
                return Selector(index, matchers)

            silences = Silences(folder.database, "UTC", self._maintenance, self._clock)
            return Book(folder.database, self._rules, index, selector, notifiers=self._told, silences=silences)

        options = Options(codecs={"influx": Decoding(Influx)}, watches=self._watches)
        return Pipeline(folder, Memory(), options, alarms=alarms, clock=self._clock)

    async def start_hub(self) -> None:
        await self.hub.start()

    async def stop_hub(self) -> None:
        await self.hub.stop()
        self.hub.alarms.close()
