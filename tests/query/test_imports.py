"""What importing the language costs: nothing that an agent or a page does not need."""

from __future__ import annotations

import subprocess
import sys


def test_parsing_needs_no_numpy_and_no_numba() -> None:
    code = (
        "import sys; from almenara.query import Matcher, parse; parse('rate(x[5m]) > 1'); "
        "print([m for m in ('numpy', 'numba', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[]"


def test_names_come_when_they_are_asked_for() -> None:
    code = (
        "import almenara.query as q; q.evaluate; q.evaluate; assert callable(q.evaluate); "
        "print(sorted(n for n in q.__all__ if not hasattr(q, n)), hasattr(q, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[] False"
