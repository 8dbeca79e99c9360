"""A snapshot is whole or not there, and a damaged one is never taken for good."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from almenara.pipeline import snapshot
from almenara.pipeline.snapshot import About

STATE = {"judge ": {"last": np.arange(100)}, "judge a": {"slots": np.zeros(5, [("x", "<f8"), ("n", "<i4")])}}


def saved(folder: Path, seq: int = 7) -> None:
    snapshot.save(folder, About(seq, {"mqtt": 12}, "f", 3, 99), STATE)


def load(folder: Path, fingerprint: str = "f", keys: int | None = 99) -> tuple[About, snapshot.State | None]:
    return snapshot.load(folder, fingerprint, lambda n: keys)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    saved(tmp_path, 7)
    saved(tmp_path, 7)
    about, state = load(tmp_path)
    assert (about.seq, about.offsets) == (7, {"mqtt": 12})
    assert state is not None
    np.testing.assert_array_equal(state["judge "]["last"], np.arange(100))
    assert [p.name for p in tmp_path.iterdir()] == ["0000000007.2"]


@pytest.mark.parametrize(("fingerprint", "keys"), [("other", 99), ("f", 1), ("f", None)])
def test_what_others_learned_is_not_used_and_offsets_are(tmp_path: Path, fingerprint: str, keys: int | None) -> None:
    saved(tmp_path)
    about, state = load(tmp_path, fingerprint, keys)
    assert state is None
    assert (about.seq, about.offsets) == (7, {"mqtt": 12})


def test_damage_is_noticed_whatever_it_is(tmp_path: Path) -> None:
    rng = random.Random(1)
    saved(tmp_path)
    files = sorted((tmp_path / "0000000007.1").glob("*.npz"))
    for _ in range(300):
        path = rng.choice(files)
        data = path.read_bytes()
        damaged = bytearray(data)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(data)) :]
        else:
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        load(tmp_path)  # raises nothing
        path.write_bytes(data)
    assert load(tmp_path)[1] is not None
