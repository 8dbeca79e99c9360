"""A few incidents through the whole hub with kill -9; for many see `chain.py`: python -m tests.system.chain"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.system.chain import chain, run

pytestmark = pytest.mark.timeout(300)

ROUNDS = int(os.environ.get("ALMENARA_CHAIN_ROUNDS", "2"))


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_each_incident_is_told_once_to_everybody_whenever_the_hub_is_killed(tmp_path: Path) -> None:
    with chain(tmp_path, seed=7) as one:
        run(one, ROUNDS, print)
        assert one.kills.total() >= ROUNDS
        assert one.hub.stop() == 0
