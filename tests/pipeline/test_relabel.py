"""Steps of Prometheus' relabel_config over the labels of a series."""

from __future__ import annotations

from typing import Any

import pytest

from almenara.model.errors import ConfigError
from almenara.model.series import Series
from almenara.pipeline.relabel import Relabeling, Step

CPU = Series.of("cpu_usage", host="web1.madrid", region="eu-south", core="0")


def relabeled(*steps: dict[str, Any]) -> str:
    found = Relabeling(steps=[Step(**step) for step in steps]).apply(CPU)
    return str(found)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            {"source_labels": ["host"], "regex": r"(.+)\.(.+)", "target_label": "site", "replacement": "$2"},
            'cpu_usage{core="0",host="web1.madrid",region="eu-south",site="madrid"}',
        ),
        ({"regex": "core|region", "action": "labeldrop"}, 'cpu_usage{host="web1.madrid"}'),
        ({"regex": "host", "action": "labelkeep"}, 'cpu_usage{host="web1.madrid"}'),
        (
            {"regex": "(ho)st", "replacement": "${1}le", "action": "labelmap"},
            'cpu_usage{core="0",hole="web1.madrid",host="web1.madrid",region="eu-south"}',
        ),
        ({"source_labels": ["region"], "regex": "eu-.*", "action": "keep"}, str(CPU)),
        ({"source_labels": ["region"], "regex": "eu", "action": "keep"}, "None"),
        ({"source_labels": ["region", "core"], "regex": "eu-south;0", "action": "drop"}, "None"),
        ({"source_labels": ["core"], "target_label": "core", "replacement": ""},
         'cpu_usage{host="web1.madrid",region="eu-south"}'),
        ({"source_labels": ["__name__"], "target_label": "__name__", "replacement": "node_$1"},
         'node_cpu_usage{core="0",host="web1.madrid",region="eu-south"}'),
        ({"source_labels": ["region"], "target_label": "region", "action": "uppercase"},
         'cpu_usage{core="0",host="web1.madrid",region="EU-SOUTH"}'),
    ],
)  # fmt: skip
def test_a_step_does_as_in_prometheus(step: dict[str, Any], expected: str) -> None:
    assert relabeled(step) == expected


def test_names_and_added_labels_come_before_the_steps() -> None:
    steps = [Step(source_labels=["__name__", "site"], separator="@", target_label="both")]
    found = Relabeling({"cpu_usage": "cpu"}, {"site": "north"}, steps).apply(Series.of("cpu_usage"))
    assert found == Series.of("cpu", site="north", both="cpu@north")


def test_without_anything_a_series_stays_as_it_is() -> None:
    assert Relabeling().apply(CPU) == CPU


@pytest.mark.parametrize(
    ("step", "place"),
    [
        ({"regex": "(", "target_label": "a"}, "regex"),
        ({"source_labels": ["a"]}, "target_label"),
        ({"target_label": "a", "replacement": "$2"}, "replacement"),
    ],
)
def test_a_wrong_step_is_named(step: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as found:
        Step(**step)
    assert found.value.problems[0].where == place
