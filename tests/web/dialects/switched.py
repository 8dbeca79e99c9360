"""A real pipeline with dialects switched on, as a configuration would: what their tests talk to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.web.conftest import NOW
from tests.web.dialects.served import Hub
from tests.web.test_real_pipeline import NoAlarms

from almenara.bus.feed import Feed
from almenara.config.build import codecs
from almenara.config.load import Config, load
from almenara.pipeline import Pipeline
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options
from almenara.stores.memory import Memory
from almenara.web.dialects.contract import Settings
from almenara.web.dialects.dweet import Dweets


class SwitchedHub(Hub):
    """Its clock stands at `now`, which a test may change."""

    def __init__(self, folder: Path, config: Config, **options: Any):
        self.config, self.now = config, NOW
        super().__init__(folder, dialects=settings_of(config), **options)

    def make_hub(self) -> Any:
        options = Options(codecs=codecs(self.config))
        return Pipeline(
            DataFolder(self._folder), Memory(), options, alarms=lambda index: NoAlarms(), clock=lambda: self.now
        )

    def __enter__(self) -> SwitchedHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def feed(self) -> Feed[Any]:
        """What listeners of things hear."""
        return next(one for one in self.app._dialects if isinstance(one, Dweets))._feed


def settings_of(config: Config) -> Settings:
    return Settings(config.http.dialects, config.dweet, config.queue, config.streams)


def switched(folder: Path, *on: str, token: str | None = None, **sections: dict[str, Any]) -> SwitchedHub:
    """A hub with these dialects on; sections as in the configuration file."""
    keys = {f"{section}.{key}": value for section, table in sections.items() for key, value in table.items()}
    return SwitchedHub(folder, load(None, {"http.dialects": list(on), **keys}), token=token)
