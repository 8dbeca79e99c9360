"""The sharpest of `bench/attack.py`, shortly: the hub stays alive, keeps what it acknowledged, and its ledger holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ATTACK = Path(__file__).parents[2] / "bench" / "attack.py"
SHARPEST = ("random_bytes", "random_links", "truncated", "deep", "lengths", "nsca", "coap", "secrets")


@pytest.mark.timeout(300)
def test_a_hub_that_is_attacked_stays_alive_and_counts_everything() -> None:
    command = [sys.executable, str(ATTACK), "--seconds", "0.5", "--connections", "2", "--patience", "15"]
    done = subprocess.run([*command, "--only", *SHARPEST], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all held\n")
    for reason in ("bad_header zabbix", "bad_message coap", "bad_crc nsca", "too_large zabbix", "bad_line statsd"):
        assert reason in done.stdout
