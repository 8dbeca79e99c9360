"""A hub that knows a calendar: an alarm names it when its peak did not come; a reload takes other days over."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

CONFIG = """
[rules.odd]
expr = 'anomaly_score{of="orders"} > 1'
[calendars."market day"]
file = "%s"
"""
STEP_S = 900
#: How many days ago the market began, which lasts a day, no two on one weekday; the last one is on.
AGO = (30.25, 24.25, 18.25, 12.25, 6.25, 0.25)


def calendar(*begins: datetime) -> str:
    events = [
        f"BEGIN:VEVENT\r\nUID:{at:%Y%m%d}\r\nDTSTART:{at:%Y%m%dT%H%M%S}Z\r\nDURATION:P1D\r\nEND:VEVENT" for at in begins
    ]
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", *events, "END:VCALENDAR", ""])


@pytest.fixture(scope="module")
def begins() -> list[datetime]:
    now = datetime.now(UTC).replace(microsecond=0)
    return [now - timedelta(days=ago) for ago in AGO]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, begins: list[datetime]) -> Iterator[HubProcess]:
    folder: Path = tmp_path_factory.mktemp("calendars")
    file = folder / "market.ics"
    file.write_text(calendar(*begins))
    with socket.socket() as taken:  # another broker has the usual port, so the hub takes the next: reloads work too
        with suppress(OSError):  # another one than this one has it
            taken.bind(("127.0.0.1", 1883))
            taken.listen()
        with HubProcess(folder / "data", config=CONFIG % file, mqtt=False) as one:
            yield one


def test_an_alarm_names_the_calendar_whose_peak_did_not_come(hub: HubProcess, begins: list[datetime]) -> None:
    now = int(time.time())
    times = np.arange(now - 40 * 86_400, now - STEP_S, STEP_S)
    starts = np.array([at.timestamp() for at in begins])
    market = ((times[:, None] >= starts) & (times[:, None] < starts + 86_400)).any(1)
    values = np.where(market, 300, 100) + np.random.default_rng(1).normal(0, 3, len(times))
    lines = [f"orders value={v:.2f} {t}" for t, v in zip(times.tolist(), values.tolist(), strict=True)]
    hub.post("/write?precision=s", "\n".join(lines).encode())
    hub.post("/write", b"orders value=100")
    alarms = wait_until(lambda: hub.json("/api/v1/alarms")["open"], "the alarm")
    assert "as the peak of market day did not come" in alarms[0]["why"]


def test_a_reload_takes_over_what_a_file_says_now(hub: HubProcess, begins: list[datetime]) -> None:
    assert hub.post("/-/reload", b"")[0] == 200, hub.said()
    assert "go on with calendars" not in hub.said()
    (hub.config.parent / "market.ics").write_text(calendar(*begins[:-1]))  # the market is called off
    assert hub.post("/-/reload", b"")[0] == 200
    wait_until(lambda: "go on with calendars as they are now: market day\n" in hub.said(), "the line in the log")

    def is_calm() -> bool:
        hub.post("/write", b"orders value=100")
        return not hub.json("/api/v1/alarms")["open"]

    wait_until(is_calm, "the end of the alarm")


def test_a_reload_takes_over_new_tables(hub: HubProcess) -> None:
    today = datetime.now(UTC)
    days = f"{today - timedelta(days=1):%Y-%m-%d}/{today + timedelta(days=1):%Y-%m-%d}"
    hub.config.write_text(hub.config.read_text() + f'[calendars.sale]\ndates = ["{days}"]\n')
    assert hub.post("/-/reload", b"")[0] == 200
    wait_until(lambda: "go on with calendars as they are now: market day, sale\n" in hub.said(), "the line in the log")
    hub.post("/write", b"orders value=100000")
    alarms = wait_until(lambda: hub.json("/api/v1/alarms")["open"], "the alarm")
    assert alarms[0]["why"].startswith("Higher than usual for sale: ")


def test_a_reload_with_a_mistake_in_a_calendar_leaves_all_as_it_was(hub: HubProcess) -> None:
    ours = hub.config.read_text()
    hub.config.write_text(ours + '[calendars.fair]\nrule = "whenever"\n')
    status, body = hub.post("/-/reload", b"")
    assert status == 400
    assert b"calendars.fair.rule" in body
    assert ", fair" not in hub.said()
