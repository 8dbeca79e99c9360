"""The noise report: which alarms nobody ever acted on, which flap, and what was held back, over a while."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from almenara.alarm.tables import reading
from almenara.model.series import Series

#: An alarm that fired so often in the time flaps.
FLAPS = 4
#: Of each list so many, the noisiest first.
MOST = 50
#: Kinds of lines that say that a message was held back (`almenara.alarm.stages.Reason`).
HELD = ("inhibited", "silenced", "quiet hours", "flapping", "acknowledged")


@dataclass(frozen=True, slots=True)
class OfRule:
    """How loud one rule was. incidents: that it took part in; acknowledged: those somebody took on; by_themselves:
    those that ended and nobody ever had; messages: sent about them, those of other rules in the same incidents too."""

    rule: str
    fired: int
    incidents: int
    acknowledged: int
    by_themselves: int
    messages: int

    @property
    def is_noise(self) -> bool:
        """Whether people were told and nobody ever acted."""
        return self.messages > 0 and self.acknowledged == 0 and self.by_themselves > 0


@dataclass(frozen=True, slots=True)
class Flapping:
    """An alarm that came again and again."""

    rule: str
    series: str
    fired: int


@dataclass(frozen=True, slots=True)
class Noise:
    """The report over [start, end) ns. messages, held: by notifier, and by reason."""

    start: int
    end: int
    rules: list[OfRule] = field(default_factory=list)
    flapping: list[Flapping] = field(default_factory=list)
    messages: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)


_RULES = """
    SELECT m.rule, count(DISTINCT i.id), count(DISTINCT CASE WHEN {acted} THEN i.id END),
        count(DISTINCT CASE WHEN NOT {acted} AND i.state = 'resolved' THEN i.id END)
    FROM incident i JOIN incident_member m ON m.incident = i.id
    WHERE i.opened < ?2 AND (i.state = 'firing' OR i.resolved >= ?1) GROUP BY m.rule"""
#: Taken on, whoever gave it back later.
_ACTED = """(i.who IS NOT NULL OR EXISTS (SELECT 1 FROM incident_line l
    WHERE l.incident = i.id AND l.kind = 'acknowledged' AND l.text LIKE 'acknowledged%' AND l.who != ''
    AND l.who NOT IN (SELECT DISTINCT notifier FROM outbox)))"""
_FIRED = """SELECT rule, series, count(*) FROM alarm_journal WHERE state = 'firing' AND time >= ? AND time < ?
    GROUP BY rule, series"""
_SENT_OF = """SELECT m.rule, count(DISTINCT o.id) FROM outbox o JOIN incident_member m ON m.incident = o.incident
    WHERE o.outcome = 'sent' AND o.done >= ? AND o.done < ? GROUP BY m.rule"""
#: Reports such as this one do not count.
_SENT = """SELECT notifier, count(*) FROM outbox WHERE outcome = 'sent' AND incident != 0 AND done >= ? AND done < ?
    GROUP BY notifier"""
_LINES = "SELECT kind, count(*) FROM incident_line WHERE time >= ? AND time < ? AND kind IN ({}) GROUP BY kind"


def noise(connection: sqlite3.Connection, start: int, end: int) -> Noise:
    """What hub.db tells of [start, end) ns. Raises StoreError."""
    span = (start, end)
    with reading():
        fired = connection.execute(_FIRED, span).fetchall()
        sent_of = dict(connection.execute(_SENT_OF, span).fetchall())
        rules = connection.execute(_RULES.format(acted=_ACTED), span).fetchall()
        sent = dict(connection.execute(_SENT, span).fetchall())
        held = dict(connection.execute(_LINES.format(",".join("?" * len(HELD))), (*span, *HELD)).fetchall())
    by_rule: Counter[str] = Counter()
    for rule, _, times in fired:
        by_rule[rule] += times
    told = [OfRule(rule, by_rule[rule], n, acted, alone, sent_of.get(rule, 0)) for rule, n, acted, alone in rules]
    told.sort(key=lambda one: (not one.is_noise, -one.messages, -one.fired))
    often = sorted((row for row in fired if row[2] >= FLAPS), key=lambda row: -row[2])[:MOST]
    flapping = [Flapping(rule, str(Series.from_key(series)), times) for rule, series, times in often]
    return Noise(start, end, told[:MOST], flapping, sent, held)
