"""The rule of who is told what and when: whatever happens, and however often the hub stops in between or cannot write,
people are told what a slow, obvious twin says."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from alarm.book_case import T0, rows
from alarm.naive_dispatch import HOUR, Desk, Plain
from alarm.story import Story
from almenara.alarm.inhibit import Inhibition
from almenara.alarm.policies import Escalation, Policy
from almenara.alarm.rules import Rule
from almenara.alarm.silence import Silence
from almenara.alarm.tables import Key
from almenara.alarm.times import Quiet, Times
from almenara.analysis.hours import Hours
from almenara.model.alarm import Severity
from almenara.model.errors import StoreError
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.query import Matcher, parse_selector

RULES = (
    Rule("hot", "cpu > 90", no_data="ignore"),
    Rule("severe", "cpu > 200", severity="critical", no_data="ignore"),
)
INHIBITION = Inhibition(
    "severe", tuple(parse_selector('{alertname="severe"}')), tuple(parse_selector('{alertname="hot"}')), ("host",)
)
#: The clock looks so often; all waits are multiples of it.
LOOK_S = 300
HOSTS = 3
VALUES = {"calm": 5.0, "hot": 95.0, "severe": 300.0}
TABLES = ("outbox", "outbox_about", "telling", "incident_line", "alarm_decided", "flapping_told")


def policy_of(plain: Plain) -> Policy:
    """The same policy as the configuration makes it."""
    quiet = Quiet()
    if plain.quiet is not None:
        text = "-".join(f"{second // 3600:02}:{second % 3600 // 60:02}" for second in plain.quiet)
        quiet = Quiet(((text, Hours([text], "UTC")),))
    return Policy(
        plain.name, tuple(Matcher(k, "=", v) for k, v in plain.match.items()), plain.notify, plain.parent,
        plain.goes_on, plain.group_wait, plain.group_interval, plain.repeat, plain.reminder, quiet,
        Severity(plain.quiet_severity), Times(plain.digest) if plain.digest else Times(),
        tuple(Escalation(after, names) for after, names in plain.escalate),
    )  # fmt: skip


class Both:
    """A book and its twin, to which the same happens."""

    def __init__(self, folder: str, policies: list[Plain], inhibits: bool):
        inhibitions = [INHIBITION] if inhibits else []
        self.story = Story(
            Path(folder) / "hub.db", *map(policy_of, policies), rules=RULES, inhibitions=inhibitions
        )  # fmt: skip
        self.db = sqlite3.connect(self.story.path, isolation_level=None)
        self.desk = Desk(policies, [("severe", "hot")] if inhibits else [])
        self.second, self.changes, self.line = 0, 0, 0
        self.incident: dict[Key, int] = {}
        self.told = Counter[str]()

    def close(self) -> None:
        self.db.close()
        self.story.book.close()

    def until(self, second: int) -> None:
        """The clock goes on, and looks."""
        for at in range((self.second // LOOK_S + 1) * LOOK_S, second + 1, LOOK_S):
            self.tick(at)
        if second % LOOK_S:
            self.tick(second)

    def tick(self, second: int) -> None:
        self.second = self.story.second = second
        self.story.book.tick(T0 + second * NS)
        self.compare()

    def rows(self, given: list[tuple[int, float, float]], refused: str) -> None:
        self.story.seq += 1
        batch = rows(self.story.table, given)
        if refused:
            self.db.execute(f"CREATE TRIGGER no BEFORE INSERT ON {refused} BEGIN SELECT RAISE(ABORT, 'no'); END")
            try:
                self.story.book.step(self.story.seq, *batch, 0)
            except StoreError:
                event("a write failed")
                self.db.execute("DROP TRIGGER no")
                self.story.book.step(self.story.seq, *batch, 0)
            else:
                self.db.execute("DROP TRIGGER no")
        else:
            self.story.book.step(self.story.seq, *batch, 0)
        self.compare()

    def compare(self) -> None:
        """The twin takes the changes that are in the journal now, and must have told the same."""
        self.desk.moment(self.second, self.new_changes())
        notices = sorted(
            (name, kind, (incident, *map(int, filter(None, more.strip("[]").split(", ")))))
            for name, kind, incident, more in self.new_messages()
        )
        at = f"after {self.second} s"
        assert (at, notices) == (at, sorted(self.desk.notices))
        assert (at, self.new_lines()) == (at, sorted(self.desk.lines))
        self.told.update(kind for _, kind, _ in notices)

    def new_changes(self) -> list[tuple[str, str, dict[str, str], int, float]]:
        query = """SELECT j.id, rule, series, state, time, severity, (SELECT max(incident) FROM incident_member m
            WHERE m.rule = j.rule AND m.series = j.series AND m.joined = j.id)
            FROM alarm_journal j WHERE id > ? ORDER BY id"""
        found = []
        for id, rule, series, state, time, severity, incident in self.db.execute(query, (self.changes,)).fetchall():
            self.changes = id
            key = (rule, series)
            if incident is not None:
                self.incident[key] = incident
            labels = dict(Series.from_key(series).labels) | {"alertname": rule, "severity": severity}
            found.append((state, f"{rule} {labels['host']}", labels, self.incident[key], (time - T0) / NS))
        return found

    def new_messages(self) -> list[tuple[Any, ...]]:
        query = """SELECT o.id, notifier, kind, incident, more, queued FROM outbox o JOIN outbox_about USING (id)
            WHERE o.id > ? ORDER BY o.id"""
        found = self.db.execute(query, (self.story.seen,)).fetchall()
        assert all(queued == T0 + self.second * NS for *_, queued in found)
        self.story.seen = max([self.story.seen, *(row[0] for row in found)])
        return [row[1:5] for row in found]

    def new_lines(self) -> list[tuple[Any, ...]]:
        query = "SELECT id, incident, kind, who FROM incident_line WHERE id > ? AND who != 'ana' ORDER BY id"
        found = self.db.execute(query, (self.line,)).fetchall()
        self.line = max([self.line, *(row[0] for row in found)])
        return sorted(row[1:] for row in found)

    def do(self, what: str, *more: Any) -> None:
        getattr(self, what)(*more)

    def values(self, given: dict[int, str], refused: str) -> None:
        self.rows([(host, self.second, VALUES[value]) for host, value in given.items()], refused)

    def blip(self, host: int, refused: str) -> None:
        """It comes and goes within one segment."""
        self.rows([(host, self.second - 0.5, 95.0), (host, self.second, 5.0)], refused)

    def acknowledge(self, which: int, hours: int) -> None:
        if self.desk.cases:
            incident = sorted(self.desk.cases)[-1 - which % len(self.desk.cases)]
            until = self.second + hours * HOUR if hours else 0
            now = T0 + self.second * NS
            if self.story.book.acknowledge(incident, "ana", until=T0 + until * NS if until else 0, now_ns=now):
                self.desk.take_on(incident, "ana", until)

    def give_back(self, which: int) -> None:
        if self.desk.cases:
            incident = sorted(self.desk.cases)[-1 - which % len(self.desk.cases)]
            if self.story.book.unacknowledge(incident, "ana", now_ns=T0 + self.second * NS):
                self.desk.give_back(incident)

    def silence(self, host: int, minutes: int) -> None:
        since, until = (T0 + s * NS for s in (self.second, self.second + 60 * minutes))
        self.story.book.silences.put(Silence("", (Matcher("host", "=", str(host)),), since, until, "ana", "work"))
        self.desk.silences.append((str(host), self.second, self.second + 60 * minutes))

    def restart(self) -> None:
        self.story.restart()

    def reload(self) -> None:
        """The same rules and policies, read once more."""
        self.story.book.replace_rules(RULES, self.story.policies)


NAMES = ("chat", "phone", "mail")
grids = st.sampled_from
names = st.lists(grids(NAMES), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> list[Plain]:
    found: list[Plain] = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        found.append(
            Plain(
                name, draw(names),
                draw(grids([{}, {}, {"host": "0"}, {"host": "1"}, {"severity": "critical"}, {"alertname": "hot"}])),
                draw(grids(["", *(one.name for one in found)])), draw(st.booleans()), draw(grids([0, 0, 300, 600])),
                draw(grids([300, 900])), draw(grids([0, HOUR, 4 * HOUR])), draw(grids([0, 0, HOUR])),
                draw(grids([None, None, (22 * HOUR, 7 * HOUR), (HOUR, 3 * HOUR)])),
                draw(grids(["critical", "critical", "warning"])), draw(grids([(), (), (), (2 * HOUR, 8 * HOUR)])),
                draw(grids([(), ((900, ("boss",)),), ((600, ("boss",)), (HOUR, ("boss", "chat")))])),
            )
        )  # fmt: skip
    return found


hosts = st.integers(0, HOSTS - 1)
refusals = grids(["", "", "", *TABLES])
values = st.tuples(
    st.just("values"), st.dictionaries(hosts, grids(sorted(VALUES)), min_size=1), refusals
)  # fmt: skip
what = st.one_of(
    values, values, values,
    st.tuples(st.just("blip"), hosts, refusals),
    st.tuples(st.just("acknowledge"), st.integers(0, 2), grids([0, 1, 3])),
    st.tuples(st.just("give_back"), st.integers(0, 2)),
    st.tuples(st.just("silence"), hosts, grids([10, 60, 300])),
    st.tuples(grids(["restart", "restart", "reload"])),
)  # fmt: skip
histories = st.lists(st.tuples(grids([1, 20, 300, 300, 900, HOUR, 3 * HOUR]), what), max_size=25)


@settings(
    max_examples=40, derandomize=True, phases=[Phase.generate],  # to make what fails smaller may take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(policies(), st.booleans(), histories)
def test_people_are_told_what_the_twin_says(given: list[Plain], inhibits: bool, history: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        both = Both(folder, given, inhibits)
        try:
            for wait, (what, *more) in history:
                both.until(both.second + wait)
                both.do(what, *more)
            both.until(both.second + 12 * HOUR)
        finally:
            both.close()
        for kind in both.told:
            event(f"told: {kind}")
