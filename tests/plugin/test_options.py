"""Options from signatures: the types are the validation, and every mistake is told at once."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from almenara.model.errors import ConfigError
from almenara.plugin.options import REQUIRED, Duration, Range, Secret, build, check, options_of
from almenara.plugin.values import Invalid, check_value, describe, render

if typing.TYPE_CHECKING:
    from somewhere import Engine


class Plant:
    """A transport to try things on.

    Options:
        url: Where the broker is,
            with its port.
        qos: Delivery promise.
        keepalive_s: Time between two signs of life.

    More words that are: no option.
    """

    def __init__(
        self,
        *,
        url: str,
        qos: Annotated[int, Range(0, 2)] = 1,
        keepalive_s: float = 60.0,
        topics: list[str] = ("#",),
        labels: dict[str, str] | None = None,
        mode: Literal["fast", "safe"] = "safe",
        password: Secret = Secret(""),
        file: Path | None = None,
        share: Annotated[float, Range(0, 1)] = 0.5,
        verify: bool = True,
        for_: Duration = 0.0,
        clock: Any = None,
        engine: Engine | None = None,
        _hidden: int = 3,
    ) -> None:
        if mode == "fast" and qos == 2:
            raise ValueError("mode fast does not go with qos 2")
        self.options = dict(locals())


def said(table: dict[str, Any]) -> list[str]:
    return [str(p) for p in check(Plant, table, "transports.plant")]


def test_options_come_from_the_signature() -> None:
    options = {o.name: o for o in options_of(Plant, given={"clock", "engine"})}
    assert list(options)[:3] == ["url", "qos", "keepalive_s"]
    assert "clock" not in options
    assert "engine" not in options
    assert "_hidden" not in options
    assert options["url"].default is REQUIRED
    assert options["url"].help == "Where the broker is, with its port."
    assert options["keepalive_s"].default_text == '"1m"'
    assert options["for"].parameter == "for_"
    assert options["qos"].type_text == "a whole number from 0 to 2"


def test_text_after_the_list_is_no_option() -> None:
    assert {o.name for o in options_of(Plant) if o.help} == {"url", "qos", "keepalive_s"}


def test_every_mistake_is_told_at_once() -> None:
    assert said({"qos": 7, "keepalive": 5, "mode": "slow", "topics": ["a", 3], "share": 2}) == [
        "transports.plant.qos: must be 0, 1 or 2; got 7",
        "transports.plant.keepalive: unknown option; did you mean keepalive_s?",
        'transports.plant.mode: must be "fast" or "safe"; got "slow"',
        "transports.plant.topics[1]: must be a text; got 3",
        "transports.plant.share: must be from 0 to 1; got 2",
        "transports.plant.url: is missing; expected a text; Where the broker is, with its port.",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"qos": True}, "must be a whole number from 0 to 2; got true"),
        ({"qos": 1.0}, "must be a whole number from 0 to 2; got 1.0"),
        ({"verify": 1}, "must be true or false; got 1"),
        ({"keepalive_s": "soon"}, 'must be a duration such as "30s", "5m" or "1h30m"; got "soon"'),
        ({"share": "5m"}, 'must be a number from 0 to 1; got "5m"'),
        ({"share": float("nan")}, "must be a number from 0 to 1; got nan"),
        ({"labels": {"a": 1}}, "must be a text; got 1"),
        ({"labels": []}, "must be a table of texts; got a list"),
        ({"topics": "a"}, 'must be a list of texts; got "a"'),
        ({"password": "env:ALMENARA_NO_SUCH"}, "the environment variable ALMENARA_NO_SUCH is not set"),
        ({"password": "file:/no/such/file"}, "the file /no/such/file cannot be read: No such file or directory"),
        ({"zzz": 1}, "unknown option"),
    ],
)
def test_a_wrong_value_is_named(table: dict[str, Any], message: str) -> None:
    (problem,) = check(Plant, {"url": "x", **table})
    assert problem.message == message


def test_right_values_arrive_as_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANT_PASSWORD", "s3cret")
    plant = build(
        Plant,
        {"url": "mqtt://a", "keepalive_s": "1m30s", "password": "env:PLANT_PASSWORD", "file": "~/x", "for": "5m"},
        clock=7,
        unwanted=8,
    )
    assert plant.options["keepalive_s"] == 90.0
    assert plant.options["for_"] == 300.0
    assert plant.options["password"] == "s3cret"
    assert plant.options["file"] == Path.home() / "x"
    assert plant.options["clock"] == 7
    assert plant.options["qos"] == 1


def test_a_secret_is_read_from_a_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc\n")
    secret = check_value(f"file:{tmp_path / 'key'}", Secret)
    assert secret == "abc"
    assert "abc" not in repr(secret)
    assert "abc" not in repr({"token": secret})
    (tmp_path / "big").write_bytes(b"a" * 70_000)
    with pytest.raises(Invalid, match="too long for a secret"):
        check_value(f"file:{tmp_path / 'big'}", Secret)
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="not UTF-8"):
        check_value(f"file:{tmp_path / 'raw'}", Secret)


def test_what_the_constructor_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="plant: mode fast does not go with qos 2"):
        build(Plant, {"url": "x", "mode": "fast", "qos": 2}, "transports.plant")


def test_build_raises_all_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Plant, {"qos": 7, "x": 1})
    assert len(caught.value.problems) == 3


def test_a_dataclass_is_its_own_signature() -> None:
    @dataclass
    class Table:
        """A table.

        Options:
            a: First.
        """

        a: int = 1
        b: list[str] = field(default_factory=lambda: ["x"])

    a, b = options_of(Table)
    assert (a.default, a.help) == (1, "First.")
    assert (b.default, b.default_text) == (["x"], '["x"]')
    assert build(Table, {"b": ["y"]}) == Table(1, ["y"])


def test_options_of_a_base_class_keep_their_manual() -> None:
    class Wetter(Plant):
        """Another.

        Options:
            qos: Said again.
        """

    helps = {o.name: o.help for o in options_of(Wetter)}
    assert helps["qos"] == "Said again."
    assert helps["keepalive_s"] == "Time between two signs of life."


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str | None, "a text"),
        (Annotated[float | None, Range(0)], "a number, at least 0"),
        (list[int], "a list of whole numbers"),
        (dict[str, float], "a table of numbers"),
        (int | str, "a whole number or a text"),
        (list[dict[str, str]], "a list of tables of texts"),
        (Duration, 'a duration, such as "5m"'),
    ],
)
def test_types_are_said_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


@pytest.mark.parametrize("value", ["", "a", 'say "x"', "back\\slash", 'it\'s "both"', "tab\t", "snow ☃", 1, 1.5, -3])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v, v], lambda v: {"a b": v, "c": v}])
def test_rendered_values_are_read_back_by_toml(value: Any, wrap: Any) -> None:
    import tomllib

    assert tomllib.loads(f"x = {render(wrap(value))}")["x"] == wrap(value)
