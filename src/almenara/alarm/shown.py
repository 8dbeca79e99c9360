"""`Shown`: what anybody may ask of the alarms, while one thread decides them."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterable, Mapping

from almenara.alarm import incidents, lines, told
from almenara.alarm.dispatch import Dispatch
from almenara.alarm.external import Alert, External
from almenara.alarm.machines import Machines
from almenara.alarm.pace import Pace
from almenara.alarm.policies import Policies
from almenara.alarm.rules import Rule
from almenara.alarm.tables import CHANGE, Key, change_of, reading, transaction
from almenara.alarm.told import Told
from almenara.model.alarm import Alarm, Incident, Transition
from almenara.model.time import NS


class Shown:
    """The reading side of a `Book`, which fills what stands here. Every method is for any thread; those that read the
    database raise StoreError."""

    _open: dict[Key, Alarm]
    _lock: threading.Lock  # of the alarms that are open
    _reader: sqlite3.Connection
    _reading: threading.Lock  # of the reading connection
    _writing: threading.Lock  # of what dispatch decides
    _next: int
    _dispatch: Dispatch
    _machines: Machines
    _external: External
    _pace: Pace

    @property
    def changes(self) -> int:
        """Rises with each change of an alarm."""
        return self._next

    def evaluated(self) -> list[Rule]:
        """The rules that want answers now and then."""
        return self._machines.evaluated()

    def rules(self) -> list[Rule]:
        """All rules, in their order."""
        return self._machines.rules()

    def open(self) -> list[Alarm]:
        """Alarms that are pending, firing or without data now, oldest first."""
        with self._lock:
            return sorted(self._open.values(), key=lambda alarm: alarm.last.since)

    def alerts(self) -> list[Alert]:
        """Alerts of other systems that are firing."""
        return self._external.alerts()

    def receivers(self, labels: Mapping[str, str] | None = None) -> list[str]:
        """The notifiers that are told of an alarm of these labels; None: all that are told of anything."""
        if labels is None:
            return list(self.policies.notifiers)
        return list(dict.fromkeys(name for _, name in self.policies.targets(labels)))

    def inhibited(self, alarms: Iterable[tuple[Key, Mapping[str, str]]]) -> list[Mapping[str, str] | None]:
        """For each alarm, by its key and labels, the labels of one that holds it back, or None."""
        with self._writing:
            inhibitor = self._dispatch.lookups.inhibitor
            found = [inhibitor.by(key, labels) for key, labels in alarms]
        return [None if one is None else one[1] for one in found]

    @property
    def alerts_left_out(self) -> int:
        """How many alerts were not taken since there are too many."""
        return self._external.too_many

    def journal(self, limit: int = 100, before_ns: int | None = None) -> list[Transition]:
        """The latest changes (before a time), newest first."""
        query = f"SELECT {CHANGE} FROM alarm_journal WHERE time < ? ORDER BY time DESC, id DESC LIMIT ?"
        with self._reading, reading():
            rows = self._reader.execute(query, (2**63 - 1 if before_ns is None else before_ns, limit)).fetchall()
        return [change_of(row) for row in rows]

    def incidents(self, limit: int = 100, open_only: bool = False) -> list[Incident]:
        """The latest incidents, newest first."""
        where = "WHERE state = 'firing'" if open_only else ""
        with self._reading, transaction(self._reader, "BEGIN"):
            ids = self._reader.execute(f"SELECT id FROM incident {where} ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
            return incidents.read(self._reader, [id for (id,) in ids])

    def incident(self, number: int) -> Incident | None:
        """One incident, as it stands; None: there is none of this number."""
        with self._reading, transaction(self._reader, "BEGIN"):
            return next(iter(incidents.read(self._reader, [number])), None)

    def lines(self, incident: int) -> list[lines.Line]:
        """What became of an incident besides its alarms, oldest first."""
        with self._reading, reading():
            return lines.read(self._reader, incident)

    def changes_of(self, incident: int, limit: int = 200) -> list[Transition]:
        """The latest changes of the alarms of an incident, newest first."""
        with self._reading, reading():
            return told.changes(self._reader, incident, limit)

    def told(self, limit: int = 100, incident: int = 0, outcome: str = "") -> list[Told]:
        """The latest messages to notifiers, newest first; of one incident, and of one outcome, if wanted."""
        with self._reading, reading():
            return told.read(self._reader, limit, incident, outcome)

    @property
    def policies(self) -> Policies:
        """Who is told of which alarms."""
        return self._dispatch.policies

    def usual_gap_s(self, id: int) -> float:
        """Time between two rows of series `id`, as it usually is; NaN where it is not known yet."""
        gap = self._pace.gap  # replaced as it grows
        return float(gap[id]) / NS if 0 <= id < len(gap) and gap[id] > 0 else math.nan
