"""Sections of interfaces that are switched on: mistakes are told with their line, keys stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.config.dialects import codec_of_stream
from almenara.config.load import load
from almenara.model.errors import ConfigError

STREAM = '[streams.a]\nprivate = "a private key"\nfields = ["n"]\n'


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "hub.toml"
    path.write_text("version = 1\n" + text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(one).removeprefix(f"{path}:") for one in caught.value.problems]


def test_all_are_off_by_default() -> None:
    config = load()
    assert (list(config.http.dialects), config.streams) == ([], {})


def test_a_stream_is_read_and_hides_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text('version = 1\n[http]\ndialects = ["phant", "queue"]\n' + STREAM + 'public = "Pub1"\n')
    config = load(path)
    stream = config.streams["a"]
    assert (stream.public_of("a"), stream.fields, list(config.http.dialects)) == ("Pub1", ["n"], ["phant", "queue"])
    assert codec_of_stream(stream.public_of("a")) == "phant Pub1"
    assert "a private key" not in repr(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[http]\ndialects = ["twitter"]\n', '3: http.dialects[0]: must be "dweet", "phant" or "queue"; got "twitter"'),
        ('[dweet.keys]\nsafe = "short"\n', "dweet.keys: the key of 'safe' is shorter than 8 characters"),
        ("[dweet]\nkept = 501\n", "3: dweet.kept: must be from 1 to 500; got 501"),
        ("[queue]\nmax_messages = 0\n", "3: queue.max_messages: must be from 1 to 10000000; got 0"),
        ("[streams.a]\n", "2: streams.a.private: is missing; expected a text"),
        (STREAM.replace("a private key", "short"), "3: streams.a.private: is shorter than 8 characters"),
        (STREAM + 'delete = "short"', "5: streams.a.delete: is shorter than 8 characters"),
        (STREAM.replace('"n"', ""), "4: streams.a.fields: is empty; a row has at least one field"),
        (STREAM.replace('"n"', '"n", "n"'), "4: streams.a.fields: has 'n' more than once"),
        (STREAM.replace('"n"', '"a b"'), "4: streams.a.fields[0]: must be the name of a field: letters, digits and _"),
        (STREAM.replace('"n"', '"timestamp"'), "4: streams.a.fields: 'timestamp' is set by the hub; leave it out"),
        (STREAM + 'labels = ["m"]', "5: streams.a.labels: 'm' is none of the fields; known: n"),
        (STREAM + 'public = "a/b"', "5: streams.a.public: must be letters, digits, - and _"),
        (STREAM.replace(".a]", '."a b"]'), "'a b' cannot stand in an address; give it a public key"),
        (STREAM + STREAM.replace(".a]", ".b]") + 'public = "a"', "streams.b.public: is that of streams.a too"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    found = mistakes(tmp_path, text)
    assert any(told in one for one in found), found
    assert not any("private key" in one and "short" in one for one in found)
