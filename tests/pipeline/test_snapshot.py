"""A snapshot is whole or not there, and a damaged one is never taken for good."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from almenara.pipeline import snapshot
from almenara.pipeline.snapshot import About, Seen

PART = {"": {"last": np.arange(2)}, "a b/..": {"slots": np.zeros(5, [("x", "<f8"), ("n", "<i4")])}, "none": {}}
REST = {"judge ": {"calm": np.arange(100)}, "alarms": {"last": np.arange(3.0)}}
PARTS = [(0, 2, 5), (2, 4, 6), (4, 5, 7)]


def saved(folder: Path, seq: int = 7, format: int = snapshot.FORMAT) -> None:
    snapshot.begin(folder)
    for number in range(3):
        snapshot.save_part(folder, number, PART | {"number": {"it": np.array([number])}})
    snapshot.finish(folder, About(seq, {"mqtt": 12}, "f", 3, 99, PARTS, format), REST)


def load(folder: Path, fingerprint: str = "f", keys: int | None = 99) -> tuple[About, snapshot.Saved | None]:
    return snapshot.load(folder, fingerprint, lambda n: keys)


def content(saved: snapshot.Saved) -> object:
    """All that is in it, to compare."""

    def flat(state: snapshot.State) -> object:
        return {n: {k: (a.dtype.descr, a.tobytes()) for k, a in part.items()} for n, part in state.items()}

    return flat(saved.rest()), [(first, flat(part)) for first, part in saved.parts()]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    saved(tmp_path, 7)
    saved(tmp_path, 7)
    about, found = load(tmp_path)
    assert (about.seq, about.offsets, about.seen.least) == (7, {"mqtt": 12}, 5)
    assert found is not None
    np.testing.assert_array_equal(found.rest()["judge "]["calm"], np.arange(100))
    parts = list(found.parts())
    assert [(first, part["number"]["it"].tolist()) for first, part in parts] == [(4, [2]), (2, [1]), (0, [0])]
    assert parts[0][1].keys() == {*PART, "number"}
    assert parts[0][1]["a b/.."]["slots"].dtype == PART["a b/.."]["slots"].dtype
    assert [p.name for p in tmp_path.iterdir()] == ["0000000007.2"]


@pytest.mark.parametrize(("fingerprint", "keys"), [("other", 99), ("f", 1), ("f", None)])
def test_what_others_learned_is_not_used_and_offsets_are(tmp_path: Path, fingerprint: str, keys: int | None) -> None:
    saved(tmp_path)
    about, found = load(tmp_path, fingerprint, keys)
    assert found is None
    assert (about.seq, about.offsets) == (7, {"mqtt": 12})


@pytest.mark.parametrize("format", [1, snapshot.FORMAT + 1])
def test_a_snapshot_of_another_format_is_not_used_and_its_offsets_are(tmp_path: Path, format: int) -> None:
    saved(tmp_path, format=format)
    (path,) = tmp_path.glob("*/about.json")
    about = json.loads(path.read_text())
    if format == 1:  # as it was written before there were formats
        del about["format"], about["parts"]
        about["names"] = ["judge "]
    path.write_text(json.dumps(about | {"later": 3}))
    found, state = load(tmp_path)
    assert state is None
    assert (found.seq, found.offsets) == (7, {"mqtt": 12})


def test_each_series_has_seen_the_segments_up_to_its_slice() -> None:
    seen = Seen(7, PARTS)
    ids = np.array([0, 1, 2, 3, 4, 5, 9])
    assert [seen.not_by(ids, seq).tolist() for seq in (5, 6, 7, 8)] == [
        [False] * 7,
        [True, True, False, False, False, False, False],
        [True, True, True, True, False, False, False],
        [True] * 7,
    ]
    assert not Seen(7).not_by(ids, 7).any()
    assert Seen(7).not_by(ids, 8).all()


def test_damage_is_noticed_whatever_it_is(tmp_path: Path) -> None:
    rng = random.Random(1)
    saved(tmp_path)
    files = sorted(tmp_path.glob("*/*.npz"))
    assert len(files) == 4
    found = load(tmp_path)[1]
    assert found is not None
    whole, noticed = content(found), 0
    for _ in range(300):
        path = rng.choice(files)
        data = path.read_bytes()
        damaged = bytearray(data)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(data)) :]
        else:
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert content(found) == whole  # where the byte means nothing
        except snapshot.Damaged:
            noticed += 1
        path.write_bytes(data)
    assert noticed > 150
    files[0].unlink()
    with pytest.raises(snapshot.Damaged):
        content(found)
