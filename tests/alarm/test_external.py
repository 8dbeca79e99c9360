"""Alerts of other systems in a book: what is told, what is written, and what a restart keeps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm.book import Book
from almenara.alarm.external import RESOLVE_NS, Alert, severity_of, too_large
from almenara.alarm.rules import Rule
from almenara.alarm.silence import Silence, matchers_of
from almenara.alarm.silences import Silences
from almenara.model.alarm import Severity, labels_of
from almenara.model.errors import StoreError
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS

RULE = Rule("hot", "cpu > 90")
LABELS = {"alertname": "DiskFull", "instance": "a", "severity": "page"}


def alert(labels: dict[str, str] | None = None, at: int = T0, ends: int = 0, starts: int = 0, **texts: str) -> Alert:
    """As it is sent at a time; without an end it counts for five minutes."""
    return Alert(
        labels or LABELS, texts, starts or at, ends or at + RESOLVE_NS, at, "http://prometheus/graph", not ends
    )  # fmt: skip


@pytest.fixture
def one(tmp_path: Path) -> Book:
    made = book(tmp_path / "hub.db", Table(3), RULE, notifiers=["mail"])
    made.tick(T0 - NS)
    return made


def told(changes) -> list[tuple[str, str]]:
    return [(c.rule, c.state.value) for c in changes]


def messages(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT notifier, state FROM outbox ORDER BY id").fetchall()


def test_an_alert_is_an_alarm_of_its_name_with_the_labels_it_came_with(one: Book, tmp_path: Path) -> None:
    (change,) = one.take_alerts([alert(summary="disk of a is full")], T0)
    assert (change.rule, str(change.series)) == ("DiskFull", '{instance="a",severity="page"}')
    assert labels_of(change) == LABELS
    assert (change.severity, change.evidence.why) == (Severity.CRITICAL, "disk of a is full")
    assert change.annotations == {"summary": "disk of a is full", "generatorURL": "http://prometheus/graph"}
    (open_one,) = one.open()
    (incident,) = one.incidents()
    assert (open_one.incident, [m.last.series for m in incident.members]) == (incident.id, [change.series])
    assert messages(tmp_path / "hub.db") == [("mail", "firing")]


def test_sent_again_it_leaves_no_line(one: Book, tmp_path: Path) -> None:
    one.take_alerts([alert()], T0)
    before = (tmp_path / "hub.db-wal").stat().st_size
    for minute in range(1, 60):
        assert one.take_alerts([alert(at=T0 + minute * MINUTE_NS, value=str(minute))], T0 + minute * MINUTE_NS) == []
        assert one.tick(T0 + minute * MINUTE_NS) == []
    assert (tmp_path / "hub.db-wal").stat().st_size == before
    assert len(one.journal()) == 1
    assert one.alerts()[0].annotations == {"value": "59"}
    assert one.alerts()[0].starts == T0


def test_it_ends_when_its_sender_says_so(one: Book, tmp_path: Path) -> None:
    one.take_alerts([alert()], T0)
    over = T0 + MINUTE_NS
    assert told(one.take_alerts([alert(at=over, starts=T0, ends=over)], over)) == [("DiskFull", "resolved")]
    assert (one.open(), one.alerts(), one.incidents(open_only=True)) == ([], [], [])
    assert messages(tmp_path / "hub.db") == [("mail", "firing"), ("mail", "resolved")]
    assert one.take_alerts([alert(at=over, starts=T0, ends=over)], over + NS) == []


def test_it_ends_when_it_is_not_sent_again_for_five_minutes(one: Book) -> None:
    one.take_alerts([alert()], T0)
    for s in range(0, 300, 60):
        assert one.tick(T0 + s * NS) == []
    (change,) = one.tick(T0 + RESOLVE_NS)
    assert (change.state.value, change.evidence.why) == ("resolved", "it was not sent again in time")


def test_an_end_that_is_said_counts_and_a_later_one_stays(one: Book) -> None:
    one.take_alerts([alert(ends=T0 + HOUR_NS)], T0)
    one.take_alerts([alert(at=T0 + NS)], T0 + NS)
    assert one.alerts()[0].ends == T0 + HOUR_NS
    for s in range(0, 3600, 240):
        assert one.tick(T0 + s * NS) == []
    assert told(one.tick(T0 + HOUR_NS)) == [("DiskFull", "resolved")]


def test_it_may_come_again_with_the_begin_it_had(one: Book) -> None:
    one.take_alerts([alert()], T0)
    for k in (1, 2):
        later = T0 + k * HOUR_NS
        one.take_alerts([alert(at=later, starts=T0, ends=later)], later)
        assert told(one.take_alerts([alert(at=later + NS, starts=T0)], later + NS)) == [("DiskFull", "firing")]
    assert [c.state.value for c in one.journal()] == ["firing", "resolved", "firing", "resolved", "firing"]
    assert len({i.id for i in one.incidents()}) == 3


def test_the_same_alert_twice_in_one_go_is_one(one: Book) -> None:
    assert told(one.take_alerts([alert(), alert(value="2")], T0)) == [("DiskFull", "firing")]
    assert one.alerts()[0].annotations == {"value": "2"}


def test_one_that_is_over_and_was_not_known_is_nothing(one: Book) -> None:
    assert one.take_alerts([alert(ends=T0 - NS, starts=T0 - HOUR_NS)], T0) == []
    assert one.journal() == []


def test_alerts_go_on_over_a_restart_and_have_time_to_be_sent_again(tmp_path: Path) -> None:
    first = book(tmp_path / "hub.db", Table(3), RULE, notifiers=["mail"])
    first.tick(T0)
    first.take_alerts([alert(summary="full"), alert({"a": "b"})], T0)
    first.close()
    second = book(tmp_path / "hub.db", Table(3), RULE, notifiers=["mail"])
    later = T0 + DAY_NS
    assert second.tick(later) == []
    assert {tuple(a.labels.items()) for a in second.alerts()} == {
        tuple(sorted(LABELS.items(), key=lambda p: p[0] == "alertname")), (("a", "b"),)
    }  # fmt: skip
    known = next(a for a in second.alerts() if "instance" in a.labels)
    assert (known.annotations, known.generator, known.starts) == ({"summary": "full"}, "http://prometheus/graph", T0)
    assert second.take_alerts([alert(at=later + NS, starts=T0)], later + NS) == []
    for s in range(1, 300, 60):
        assert second.tick(later + s * NS) == []
    assert told(second.tick(later + RESOLVE_NS)) == [("alert", "resolved")]
    assert told(second.tick(later + RESOLVE_NS + 2 * NS)) == [("DiskFull", "resolved")]
    assert messages(tmp_path / "hub.db") == [("mail", "firing")] * 2 + [("mail", "resolved")] * 2


def test_an_end_far_ahead_is_kept_over_a_restart(tmp_path: Path) -> None:
    first = book(tmp_path / "hub.db", Table(3), RULE)
    first.tick(T0)
    first.take_alerts([alert()], T0)
    first.take_alerts([alert(ends=T0 + 30 * DAY_NS)], T0 + NS)
    first.close()
    second = book(tmp_path / "hub.db", Table(3), RULE)
    assert second.tick(T0 + DAY_NS) == []
    assert second.alerts()[0].ends == T0 + 30 * DAY_NS


def test_other_rules_leave_alerts_alone_even_one_of_their_name(one: Book) -> None:
    one.take_alerts([alert({"alertname": "hot", "host": "1"}), alert()], T0)
    assert one.replace_rules([Rule("hot", "cpu > 95")]) == []
    assert one.replace_rules([]) == []
    assert len(one.open()) == len(one.alerts()) == 2
    one.replace_rules([RULE])
    batch, verdict = rows(one._series, [(1, 1.0, 99.0)])
    assert [str(c.series) for c in one.step(1, batch, verdict, 0)] == ['cpu{host="1"}']
    assert len(one.open()) == 3


def test_when_a_silence_ends_people_are_told_which(tmp_path: Path) -> None:
    now = [T0]
    silences = Silences(database(tmp_path / "hub.db"), clock=lambda: now[0])
    one = book(tmp_path / "hub.db", Table(1), RULE, notifiers=["mail"], silences=silences)
    one.tick(T0)
    made = silences.put(Silence("", matchers_of([("instance", "=", "a")]), T0, T0 + 90 * NS, "ana", "a new disk"))
    one.take_alerts([alert(ends=T0 + HOUR_NS)], T0)
    one.tick(T0 + 60 * NS)
    assert messages(tmp_path / "hub.db") == []
    assert [(line.kind, line.text) for line in one.lines(1)] == [
        ("silenced", "silence of ana until 2026-01-05 00:01: a new disk")
    ]
    one.tick(made.ends + NS)
    assert messages(tmp_path / "hub.db") == [("mail", "firing")]
    with sqlite3.connect(tmp_path / "hub.db") as db:
        (said,) = db.execute("SELECT reason FROM outbox_about").fetchone()
    assert said == "held back until now: silence of ana until 2026-01-05 00:01: a new disk"


def test_what_cannot_be_written_was_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    one = book(path, Table(1), RULE)
    one.tick(T0)
    one.take_alerts([alert()], T0)
    other = database(path)()
    one._db.execute("PRAGMA busy_timeout=50")
    other.execute("BEGIN IMMEDIATE")
    over = alert(at=T0 + NS, starts=T0, ends=T0 + NS)
    with pytest.raises(StoreError):
        one.take_alerts([over, alert({"alertname": "new"}, at=T0 + NS)], T0 + NS)
    assert [a.labels for a in one.alerts()] == [LABELS]
    other.execute("COMMIT")
    changes = one.take_alerts([over, alert({"alertname": "new"}, at=T0 + NS)], T0 + NS)
    assert sorted(told(changes)) == [("DiskFull", "resolved"), ("new", "firing")]


def test_thousands_in_one_go_cost_little_when_they_come_again(one: Book) -> None:
    many = [alert({"alertname": f"a{k % 7}", "instance": str(k)}) for k in range(5000)]
    assert len(one.take_alerts(many, T0)) == 5000
    assert one.take_alerts(many, T0 + NS) == []
    assert len(one.incidents()) == 7


@pytest.mark.parametrize(
    ("word", "severity"),
    [("page", "critical"), ("CRITICAL", "critical"), ("error", "major"), ("minor", "minor"), ("info", "warning")],
)
def test_words_for_severities_are_known(word: str, severity: str) -> None:
    assert severity_of({"severity": word}).value == severity
    assert severity_of({}) is Severity.WARNING


def test_what_is_too_large_is_named() -> None:
    assert too_large(alert()) == ""
    assert "labels; expected at most" in too_large(alert({str(k): "x" for k in range(65)}))
    assert "labels of more than" in too_large(alert({"a": "x" * 5000}))
    assert "annotations of more than" in too_large(alert(text="x" * 70_000))
