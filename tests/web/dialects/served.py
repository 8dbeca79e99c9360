"""A real pipeline that knows every codec, served over HTTP: what the tests of this folder talk to."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.conftest import NOW, Served
from tests.web.test_real_pipeline import NoAlarms

from almenara.pipeline import Pipeline
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options
from almenara.plugin import registry
from almenara.stores.memory import Memory


class Hub(Served):
    """A real pipeline that knows every codec, behind uvicorn; its clock stands unless another is given."""

    def __init__(self, folder: Path, *, clock: Callable[[], int] = lambda: NOW, **options: Any):
        self._folder, self._clock = folder, clock
        super().__init__(**options)

    def make_hub(self) -> Any:
        options = Options(codecs={name: Decoding(registry.load("codec", name)) for name in registry.names("codec")})
        return Pipeline(DataFolder(self._folder), Memory(), options, alarms=lambda index: NoAlarms(), clock=self._clock)

    async def start_hub(self) -> None:
        await self.hub.start()

    async def stop_hub(self) -> None:
        await self.hub.stop()

    def rows(self, selector: str) -> list[tuple[str, float]]:
        """(time, value) of all rows of the series selected."""
        asked = {"match[]": selector, "start": "1", "format": "csv"}
        text = self.client.get("/api/v1/export", params=asked).text
        return [(row["time"], float(row["value"])) for row in csv.DictReader(io.StringIO(text))]
