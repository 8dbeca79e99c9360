"""What a detector learned is read by the version that wrote it and by the next one: recorded states, and upgrades.

`python -m tests.detectors.test_formats` records a state of today's format in tests/cases/states/. That is done when
FORMAT of detectors/seasonal.py is raised; the file of the format before stays, those of older ones may go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from almenara.detectors import seasonal as module
from almenara.detectors._formats import UPGRADES, upgraded, with_fields
from almenara.detectors.seasonal import FORMAT, Seasonal
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.model.time import MINUTE_NS, NS

FOLDER = Path(__file__).parents[1] / "cases" / "states"
START = 1_767_571_200 * NS
ROWS = 2880


def example(first: int, end: int) -> Batch:
    """Three series in minutes: a season, a state of three values, and a crest every 53 minutes."""
    k = np.arange(first, end)
    noise = np.random.default_rng(3).normal(size=(3, 2 * ROWS))[:, first:end]
    values = [
        20 + 5 * np.sin(k / 1440 * 2 * np.pi) + noise[0],
        (k // 240 % 3) * 10.0,
        50 + 30 * (k % 53 < 5) + noise[2],
    ]
    ids = np.repeat(np.arange(3, dtype=np.int32), len(k))
    return Batch(SeriesTable(), ids, np.tile(START + k * MINUTE_NS, 3), np.concatenate(values))


def record() -> None:
    """Write a state of today's format."""
    detector = Seasonal()
    detector.step(example(0, ROWS))
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / f"seasonal-{FORMAT}.npz", **detector.state())


def recorded(format: int) -> dict[str, Any]:
    with np.load(FOLDER / f"seasonal-{format}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("format", [FORMAT, FORMAT - 1])
def test_what_this_version_and_the_one_before_learned_is_read(format: int) -> None:
    assert (FOLDER / f"seasonal-{format}.npz").exists(), "see above: what to do when FORMAT is raised"
    state = recorded(format)
    assert state["format"].tolist() == [format]
    detector = Seasonal()
    detector.restore(state)
    slots = detector.state()["slots"]
    kept = set(state["slots"].dtype.names) & set(slots.dtype.names) - {"periods"}
    assert all(slots[name].tobytes() == state["slots"][name].tobytes() for name in kept & {"level", "rows", "is_state"})
    assert slots["rows"].tolist() == [ROWS] * 3
    score = detector.step(example(ROWS, ROWS + 60)).score
    assert np.isfinite(score).all(), "it goes on judging at once"
    assert np.median(score) < 0.5


def test_the_recorded_states_have_a_series_that_is_a_state() -> None:
    assert recorded(FORMAT)["slots"]["is_state"].tolist() == [0, 1, 0]


def test_a_state_goes_through_all_upgrades_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Seasonal().state()
    older = {key: array for key, array in state.items() if key != "options"} | {"depth": state["options"]}
    upgrades = {
        FORMAT - 2: lambda found: {**found, "half": found["depth"]},
        FORMAT - 1: lambda found: {**found, "options": found["half"]},
    }
    monkeypatch.setattr(module, "UPGRADES", upgrades)
    Seasonal().restore({**older, "format": np.array([FORMAT - 2])})
    with pytest.raises(ValueError, match="options"):
        Seasonal().restore({**older, "format": np.array([FORMAT])})
    with pytest.raises(ValueError, match="format"):
        Seasonal().restore({**state, "format": np.array([FORMAT - 3])})
    with pytest.raises(ValueError, match="format"):
        Seasonal().restore({**state, "format": np.array([FORMAT + 1])})


def test_what_has_no_format_is_not_upgraded() -> None:
    for arrays in ({}, {"format": np.zeros(0, np.int64)}, {"format": np.zeros(2)}, {"format": np.array(["6"])}):
        assert upgraded(arrays, FORMAT, UPGRADES) is arrays


def test_fields_are_found_by_their_names() -> None:
    before = np.array([(1, 2.0), (3, 4.0)], [("gone", "<i4"), ("kept", "<f4")])
    after = with_fields(before, np.dtype([("new", "<i8"), ("kept", "<f8")]))
    assert after.tolist() == [(0, 2.0), (0, 4.0)]


if __name__ == "__main__":
    record()
