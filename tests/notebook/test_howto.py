"""The how-to for notebooks runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "notebook.md"


def test_every_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert {"score", "why", "pump_2_flow"} <= set(names["both"].columns)
    assert names["both"].index.equals(names["df"].index)
    assert set(names["out"]["series"]) == {"aep_mw", "duq_mw"}
    assert (tmp_path / "plant.html").stat().st_size > 100_000
