"""Performance data of Nagios plugins: labels, units and thresholds, as the guidelines and real plugins write them."""

from __future__ import annotations

import math
import random

import pytest

from almenara.codecs._nagios_rows import perfdata_of
from almenara.codecs._perfdata import BadPerf, Perf, Threshold, parse_perfdata

INF = math.inf


def one(text: str) -> Perf:
    (found,) = parse_perfdata(text)
    assert isinstance(found, Perf)
    return found


@pytest.mark.parametrize(
    ("text", "label", "value", "unit"),
    [
        ("load1=3.2", "load1", 3.2, ""),
        ("rta=0.800ms", "rta", 0.0008, "s"),
        ("t=3us", "t", 3e-6, "s"),
        ("pl=20%", "pl", 20.0, "%"),
        ("/=2MB", "/", 2.0 * 2**20, "B"),
        ("size=1.5KiB", "size", 1536.0, "B"),
        ("'a b=c'=5", "a b=c", 5.0, ""),
        ("'it''s'=5", "it's", 5.0, ""),
        ("temp=21,5C", "temp", 21.5, "C"),
        ("x=-1e3", "x", -1000.0, ""),
    ],
)
def test_label_value_and_unit(text: str, label: str, value: float, unit: str) -> None:
    found = one(text)
    assert (found.label, found.value, found.unit) == (label, value, unit)


def test_u_is_a_value_known_to_be_missing() -> None:
    assert math.isnan(one("x=U;1;2").value)


def test_c_is_a_counter() -> None:
    assert one("octets=12c").is_counter
    assert not one("octets=12").is_counter


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("10", Threshold(0, 10)),
        ("10:", Threshold(10, INF)),
        ("~:10", Threshold(-INF, 10)),
        ("10:20", Threshold(10, 20)),
        ("@10:20", Threshold(10, 20, True)),
        ("", None),
        ("what", None),
    ],
)
def test_thresholds_are_ranges(text: str, threshold: Threshold | None) -> None:
    assert one(f"x=1;{text};").warn == threshold


def test_thresholds_and_limits_come_in_the_unit_of_the_value() -> None:
    found = one("rta=1ms;100.000;500.000;0;1000")
    assert (found.warn, found.crit, found.min, found.max) == (Threshold(0, 0.1), Threshold(0, 0.5), 0.0, 1.0)


def test_what_cannot_be_read_is_told_and_the_rest_goes_on() -> None:
    found = list(parse_perfdata("rubbish a=1 b=x c=2;3;4;5;6;7 d=3"))
    assert [p.label for p in found if isinstance(p, Perf)] == ["a", "c", "d"]
    assert [p.text for p in found if isinstance(p, BadPerf)] == ["rubbish", "b=x"]


def test_perfdata_stands_behind_the_bar_of_the_first_and_of_later_lines() -> None:
    assert perfdata_of("OK - fine|a=1\nlong text\nmore|b=2\nc=3") == "a=1 b=2\nc=3"
    assert perfdata_of("OK") == ""


def test_any_text_ends() -> None:
    chance = random.Random(3)
    for _ in range(2000):
        text = "".join(chance.choices("ab=;'|:@~U1.,-e% \n\tµ\0", k=chance.randint(0, 60)))
        list(parse_perfdata(text))
