"""Compiled code never outlives its source."""

from __future__ import annotations

import os
from pathlib import Path

from almenara.analysis.compiled import forget_stale


def test_an_index_older_than_any_source_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    old, new = cache / "a.f-1.py311.nbi", cache / "b.f-1.py311.nbi"
    for path, at in ((tmp_path / "a.py", 100), (tmp_path / "b.py", 200), (old, 150), (new, 250)):
        path.touch()
        os.utime(path, (at, at))
    assert forget_stale(tmp_path) == 1
    assert [p.name for p in cache.iterdir()] == [new.name]
    assert forget_stale(tmp_path / "nowhere") == 0
