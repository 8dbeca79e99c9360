"""Every registered detector does what the contract says; the cases are `almenara.testing.detectors`."""

from __future__ import annotations

import pytest

from almenara.plugin.contracts import Detector
from almenara.plugin.registry import load, names
from almenara.testing.detectors import CASES, Make


@pytest.mark.parametrize("name", names("detector"))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_detector(case: object, name: str) -> None:
    make: Make = load("detector", name)
    assert isinstance(make(), Detector)
    assert callable(case)
    case(make)


def test_the_default_detector_is_registered() -> None:
    assert "seasonal" in names("detector")
