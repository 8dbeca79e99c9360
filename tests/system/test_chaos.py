"""A few rounds of chaos; for many see `chaos.py`: python -m tests.system.chaos --rounds 100"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.system.chaos import chaos

pytestmark = pytest.mark.timeout(300)

ROUNDS = 5


def test_every_row_is_accounted_for_whatever_happens(tmp_path: Path) -> None:
    with chaos(tmp_path, seed=11) as one:
        for _ in range(ROUNDS):
            one.round()
        one.end()
        assert one.met.total() == ROUNDS
