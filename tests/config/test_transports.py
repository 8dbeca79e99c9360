"""Links in a config file: which codec reads what they bring, and mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.config import build, load
from almenara.model.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "hub.toml"
    path.write_text(text)
    return path


def test_a_transport_may_say_which_codec_reads_it_and_how(tmp_path: Path) -> None:
    config = load(
        written(
            tmp_path,
            """\
version = 1
[transports.graphite]
[transports.graphite.codec]
templates = [".host.measurement*"]
[transports.plc]
plugin = "tcp"
codec = "influx"
[transports.other]
plugin = "udp"
codec = { plugin = "graphite", separator = "." }
[transports.statsd]
""",
        )
    )
    codecs = {name: one.codec for name, one in config.transports.items()}
    assert {name: one and (one.plugin, one.values) for name, one in codecs.items()} == {
        "graphite": ("graphite", {"templates": [".host.measurement*"]}),
        "plc": ("influx", {}),
        "other": ("graphite", {"separator": "."}),
        "statsd": None,
    }
    made = build.codecs(config)
    assert {name: made[f"transport {name}"].plugin for name in ("graphite", "plc", "other")} == {
        "graphite": "graphite", "plc": "influx", "other": "graphite",
    }  # fmt: skip
    assert "transport statsd" not in made


def test_mistakes_in_the_codec_of_a_transport_are_told_with_their_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
version = 1
[transports.graphite]
codec = { seperator = "." }
[transports.plc]
plugin = "tcp"
codec = 7
[transports.syslog]
codec = "sislog"
""",
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    found = [str(one).replace(f"{tmp_path}/", "") for one in caught.value.problems]
    assert any(p.startswith("hub.toml:3: transports.graphite.codec.seperator: unknown option") for p in found)
    assert any(p.startswith("hub.toml:6: transports.plc.codec: must be the name of a codec, or a table") for p in found)
    assert any(p.startswith("hub.toml:8: transports.syslog.codec: no codec is called 'sislog'") for p in found)
