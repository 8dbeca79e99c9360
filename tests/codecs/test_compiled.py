"""Compiled code is forgotten when a source that it was made of has changed, and no other."""

from __future__ import annotations

import os
from pathlib import Path

from almenara.codecs._compiled import forget_stale


def test_a_change_in_a_source_below_forgets_what_was_made_of_it(tmp_path: Path) -> None:
    sources = {
        "_low": "",
        "_middle": "from almenara.codecs._low import (\n    a,\n    b,\n)\n",
        "_top": "from almenara.codecs import _middle\n",
        "_other": "from almenara.codecs import json\n",
    }
    (tmp_path / "__pycache__").mkdir()
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / "__pycache__" / f"{name}.f-1.py311.nbi").write_text("")
        os.utime(tmp_path / f"{name}.py", (100, 100))
        os.utime(tmp_path / "__pycache__" / f"{name}.f-1.py311.nbi", (200, 200))
    assert forget_stale(tmp_path) == 0
    os.utime(tmp_path / "_low.py", (300, 300))
    assert forget_stale(tmp_path) == 3
    assert [p.name.partition(".")[0] for p in (tmp_path / "__pycache__").iterdir()] == ["_other"]
