"""What we publish is what mqttwarn reads: tested with mqttwarn itself, with the ini of our own documentation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.model.alarm import State
from almenara.notifiers.mqtt import MqttNotifier
from almenara.testing.alarms import incident, notice
from brokers import mosquitto
from receivers import program, running

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "notifiers.md"
INI = """
[defaults]
hostname = '127.0.0.1'
port = {port}
username = None
password = None
protocol = 4
cleansession = True
launch = file
functions = ''

[config:file]
append_newline = True
targets = {{
    'operators': ['{folder}/operators'],
    }}
"""


@pytest.mark.real("mosquitto", "mqttwarn")
def test_mqttwarn_formats_our_messages(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (documented,) = re.findall(r"(?ms)^```ini\n(.*?)^```", HOWTO.read_text(encoding="utf-8"))
    section = documented.replace("smtp:operators, pushover:me", "file:operators").replace(
        "{text}", "{title}|{severity}"
    )
    port = free_port()
    (tmp_path / "mqttwarn.ini").write_text(INI.format(port=port, folder=tmp_path) + section)
    monkeypatch.setenv("MQTTWARNINI", str(tmp_path / "mqttwarn.ini"))
    said, out = tmp_path / "said", tmp_path / "operators"

    def lines() -> list[str]:
        return out.read_text().splitlines() if out.exists() else []

    async def told(url: str, state: State, wanted: str) -> None:
        """Tell it until it is heard: mqttwarn says that it is going to subscribe, not that it has."""
        while wanted not in lines():
            await MqttNotifier(url=url, message_topic="alarms/all").notify(notice(incident(state)))
            await asyncio.sleep(0.1)

    with mosquitto(tmp_path / "broker", port) as broker:
        subscribes = b"Subscribing to alarms/all"
        with running([program("mqttwarn")], lambda: subscribes in said.read_bytes(), tmp_path):
            title = "Major: processors of 2 hosts are busier than usual"
            for state, word in ((State.FIRING, "major"), (State.RESOLVED, "ok")):
                asyncio.run(asyncio.wait_for(told(broker.url, state, f"{title}|{word}"), 60))
    assert set(lines()) == {f"{title}|major", f"{title}|ok"}
