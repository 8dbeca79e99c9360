"""Sparkplug B over a broker: read by its topic without configuration, aliases by the birth of their device."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.system.clients import publish

from almenara.testing.process import HubProcess, wait_until

CASES = Path(__file__).parents[1] / "cases" / "codecs" / "sparkplug"
TOPIC = "spBv1.0/plant1/{}/gateway/press"


@pytest.mark.real("mosquitto-clients")
def test_births_and_data_of_a_device_become_series(hub: HubProcess) -> None:
    series = 'Inputs_Temperature{device="press",group="plant1",node="gateway"}'
    names = ("pysparkplug-dbirth", "pysparkplug-unknown-alias")
    birth, data = ((CASES / name / "input").read_bytes() for name in names)
    publish(hub.mqtt, TOPIC.format("DBIRTH"), birth)
    wait_until(lambda: len(hub.rows(series)) == 1, "the birth to be read")
    publish(hub.mqtt, TOPIC.format("DDATA"), data)
    rows = wait_until(lambda: hub.rows(series)[1:], "the data to be read")
    assert rows == [("2023-11-14T22:13:20.900000000Z", 22.25)]
    publish(hub.mqtt, TOPIC.format("DDEATH"), b"\x08\x01")
    wait_until(lambda: len(hub.rows(series)) == 3, "the death to end the series")
