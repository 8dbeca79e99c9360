"""A hub in a test: the real pipeline over a folder of the test, with alarms left out unless they are given."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from almenara.alarm.external import Alert
from almenara.alarm.letters import Letter
from almenara.alarm.lines import Line
from almenara.alarm.silences import Silences
from almenara.alarm.tables import Key
from almenara.alarm.told import Told
from almenara.model.alarm import Alarm, Incident, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.plugin.contracts import Store
from almenara.stores.memory import Memory


class NoAlarms:
    """Decides nothing."""

    @property
    def silences(self) -> Silences:
        """None, in a database of its own that is gone with it."""
        return Silences(lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))

    def step(self, seq: int, batch: Batch, verdict: Verdict, fresh_from_ns: int) -> Sequence[Transition]:
        """No rule, no change."""
        return ()

    def tick(self, now_ns: int) -> Sequence[Transition]:
        """No rule, no change."""
        return ()

    def replace_causes(self, causes: Causes) -> None:
        """They are not read."""

    def replace_rules(self, rules: Sequence[Any], notifiers: Any) -> Sequence[Transition]:
        """Still none."""
        return ()

    def split(self, incident: int, alarms: Sequence[tuple[str, bytes]], who: str) -> Sequence[Transition]:
        """There is none to split."""
        return ()

    def join(self, incident: int, other: int, who: str) -> Sequence[Transition]:
        """There are none to join."""
        return ()

    def take_alerts(self, alerts: Iterable[Alert], now_ns: int) -> Sequence[Transition]:
        """None is taken."""
        return ()

    def alerts(self) -> list[Alert]:
        """None."""
        return []

    @property
    def alerts_left_out(self) -> int:
        """None."""
        return 0

    def inhibited(self, alarms: Iterable[tuple[Key, Mapping[str, str]]]) -> list[Mapping[str, str] | None]:
        """Nothing holds anything back."""
        return [None for _ in alarms]

    def receivers(self, labels: Mapping[str, str] | None = None) -> list[str]:
        """Nobody."""
        return []

    def take(self, answers: Sequence[Any]) -> Sequence[Transition]:
        """No rule, no change."""
        return ()

    def evaluated(self) -> Sequence[Any]:
        """No rule."""
        return ()

    def rules(self) -> Sequence[Any]:
        """No rule."""
        return ()

    def open(self) -> list[Alarm]:
        """None."""
        return []

    def journal(self, limit: int = 100, before_ns: int | None = None) -> list[Transition]:
        """Empty."""
        return []

    @property
    def changes(self) -> int:
        """None."""
        return 0

    def incident(self, number: int) -> Incident | None:
        """There is none."""
        return None

    def lines(self, incident: int) -> list[Line]:
        """None."""
        return []

    def changes_of(self, incident: int, limit: int = 200) -> list[Transition]:
        """None."""
        return []

    def told(self, limit: int = 100, incident: int = 0, outcome: str = "") -> list[Told]:
        """Nobody is told."""
        return []

    def acknowledge(self, incident: int, who: str, note: str = "", until: int = 0) -> bool:
        """There is none to take on."""
        return False

    def unacknowledge(self, incident: int, who: str) -> bool:
        """There is none to give back."""
        return False

    def post(self, letter: Letter, notifiers: Sequence[str]) -> int:
        """There is nobody to tell."""
        return 0

    def incidents(self, limit: int = 100, open_only: bool = False) -> list[Incident]:
        """None."""
        return []

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Nothing to go on from."""


class Clock:
    """A settable clock, in ns."""

    def __init__(self, now_ns: int):
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def pipeline(
    folder: Path, options: Options | None = None, *, store: Store | None = None, clock: Callable[[], int]
) -> Pipeline:
    """A pipeline that is not started yet, without alarms, in memory unless a store is given."""
    return Pipeline(
        DataFolder(folder), store or Memory(), options or Options(), alarms=lambda index: NoAlarms(), clock=clock
    )
