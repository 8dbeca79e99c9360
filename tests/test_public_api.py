"""The names that users may rely on. Taking one away, or changing its parameters, is a new major version."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import almenara

NAMES = ["AlmenaraError", "Batch", "Series", "SeriesTable", "__version__", "connect", "datasets", "detect"]
SIGNATURES = {
    "connect": ["url", "token", "timeout_s"],
    "detect": [
        "df",
        "detector",
        "options",
        "timezone",
        "country",
        "calendars",
        "time",
        "value",
        "series",
        "kinds",
        "p_limit",
        "budget_per_week",
        "detection_direction",
        "min_dev_from_expected",
        "min_rel_dev_from_expected",
        "data_range",
        "rules",
        "plot",
    ],
    "Batch": ["series", "id", "time", "value"],
    "Series": ["name", "labels"],
}


def test_public_names_are_these() -> None:
    assert sorted(almenara.__all__) == NAMES
    assert dir(almenara) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_described(name: str) -> None:
    value = getattr(almenara, name)
    assert isinstance(value, str) or value.__doc__


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters_keep_their_names(name: str) -> None:
    assert list(inspect.signature(getattr(almenara, name)).parameters) == SIGNATURES[name]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'almenara' has no attribute 'detekt'"):
        almenara.detekt


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, almenara; print([m for m in ('numpy', 'httpx', 'pandas', 'typer', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
