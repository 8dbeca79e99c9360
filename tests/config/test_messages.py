"""Rules of what messages say of a hub, asked of a whole hub with rows in it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.config.build import Built, build
from almenara.config.load import load
from almenara.config.messages import about_of
from almenara.model.alarm import Evidence, Severity, State, Transition
from almenara.model.batch import Batch
from almenara.model.errors import ConfigError
from almenara.model.series import Metadata, Series
from almenara.model.time import NS
from almenara.testing.hub import Clock

pytestmark = pytest.mark.compiled

NOW = 1_800_000_000 * NS
HOT = Series.of("temp", room="a")


def with_hub(folder: Path, text: str, use: Callable[[Built], None]) -> None:
    file = folder / "hub.toml"
    file.write_text(f'version = 1\n[data]\nfolder = "{folder / "data"}"\n[mqtt]\nenabled = false\n{text}')
    clock = Clock(NOW)

    async def main() -> None:
        built = build(load(file, {}), clock=clock)
        hub = built.pipeline
        await hub.start()
        try:
            for k in range(60):
                clock.now_ns = NOW + 10 * k * NS
                await hub.commit(Batch.of([(HOT, clock.now_ns, 20.0 + k % 3)]))
            await hub.settle()
            hub.metadata.keep(hub.metadata.changes({HOT.key: Metadata("celsius", "", "")}))
            use(built)
        finally:
            await hub.stop()
            hub.alarms.close()  # type: ignore[attr-defined]

    asyncio.run(main())


def change(score: float, detector: str, series: Series = HOT) -> Transition:
    return Transition("r", series, NOW, State.FIRING, NOW, Severity.MAJOR, Evidence(90.0, score, detector=detector))


def test_units_come_from_what_is_known_of_series(tmp_path: Path) -> None:
    def use(built: Built) -> None:
        about = about_of(built.config, built.pipeline)
        assert (about.name, about.url, about.timezone) == ("brewery", "https://hub.example", "Europe/Madrid")
        assert about.unit_of(HOT) == "celsius"
        assert about.unit_of(Series.of("unheard_of")) == ""

    with_hub(tmp_path, '[site]\nname = "brewery"\nurl = "https://hub.example"\ntimezone = "Europe/Madrid"\n', use)


def test_a_score_is_once_in_so_many_rows_of_the_series_own_pace(tmp_path: Path) -> None:
    def use(built: Built) -> None:
        rarity_s = about_of(built.config, built.pipeline).rarity_s
        assert rarity_s(change(1, "seasonal")) == pytest.approx(10 * 1e4, rel=0.02)  # a row each 10 s, p_limit 1e-4
        assert rarity_s(change(2, "seasonal")) == pytest.approx(10 * 1e8, rel=0.02)
        assert rarity_s(change(1, "change")) == pytest.approx(3600 * 1e6, rel=1e-9)  # 1e-6 an hour
        assert math.isnan(rarity_s(change(2, "")))
        assert math.isnan(rarity_s(change(2, "seasonal", Series.of("unheard_of"))))
        assert rarity_s(change(1e9, "seasonal")) > 1e300

    with_hub(tmp_path, '[detectors.seasonal]\nplugin = "seasonal"\n[detectors.change]\nplugin = "change"\n', use)


def test_a_budget_says_what_a_score_of_one_stands_for(tmp_path: Path) -> None:
    def use(built: Built) -> None:
        limit = built.pipeline.options.budgets.limits[0]
        assert 1e-6 < limit < 1
        rarity_s = about_of(built.config, built.pipeline).rarity_s
        assert rarity_s(change(1, "seasonal")) == pytest.approx(10 / limit, rel=0.02)

    with_hub(tmp_path, "[budgets.rooms]\nmatch = '{room=\"a\"}'\nper_week = 7\n", use)


@pytest.mark.parametrize(
    "url", ["hub.example", "ftp://hub.example", "https://", "https://hub.example:0", "https://h/?a=b"]
)
def test_an_address_that_leads_nowhere_is_a_mistake(tmp_path: Path, url: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(f'version = 1\n[site]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=r"site\.url"):
        load(file, {})
