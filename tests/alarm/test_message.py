"""Rules of what messages say. `messages/*.txt` are whole messages, to be read: a change of one changes words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from almenara.alarm.message import TITLE_LETTERS, About, compose, trial_notice
from almenara.model.alarm import (
    Acknowledgement,
    Alarm,
    Evidence,
    Fact,
    Incident,
    Notice,
    NoticeKind,
    Severity,
    State,
    Transition,
)  # fmt: skip
from almenara.model.series import Series
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS

MESSAGES = Path(__file__).parent / "messages"
#: Sunday 2026-11-22 03:12 in Madrid.
BEGAN = 1_795_313_520 * NS
USUAL = "Higher than usual for this time of day and week (Sunday 03:12)"
UNITS = {"temperature": "celsius", "disk_used": "B"}
ABOUT = About(
    "brewery", "https://hub.example/", "Europe/Madrid", lambda series: UNITS.get(series.name, ""),
    lambda change: 120 * 86_400.0 if change.evidence.score < 2 else 40 * 365 * 86_400.0,
)  # fmt: skip


def alarm(
    name: str = "temperature", tank: str = "3", *, value: float = 93.2, lower: float = 20.0, upper: float = 42.0,
    score: float = 1.6, severity: Severity = Severity.MAJOR, after_s: int = 0, state: State = State.FIRING,
    why: str = f"{USUAL}: 93.2, 3 times the usual 31, expected 20 to 42", **more: object,
) -> Alarm:  # fmt: skip
    began = BEGAN + after_s * NS
    evidence = Evidence(value, score, (lower + upper) / 2, lower, upper, "seasonal", why)
    series = Series.of(name, plant="brewery", tank=tank)
    return Alarm(Transition("unusual", series, began, state, began + 30 * NS, severity, evidence, **more), 7)


def ended(one: Alarm, after_s: int, why: str = "As usual: 31.4", value: float = 31.4) -> Alarm:
    evidence = replace(one.last.evidence, value=value, score=0.2, why=why)
    return Alarm(replace(one.last, state=State.RESOLVED, time=BEGAN + after_s * NS, evidence=evidence), one.incident)


def incident(*members: Alarm, resolved_s: int = 0, id: int = 7, **more: object) -> Incident:
    worst = max((one.last.severity for one in members), key=list(Severity).index)
    state = State.RESOLVED if resolved_s else State.FIRING
    resolved = BEGAN + resolved_s * NS if resolved_s else 0
    return Incident(id, BEGAN, state, more.pop("severity", worst), members, resolved=resolved, **more)  # type: ignore


def told(kind: NoticeKind, of: Incident, after_s: float = 240, **more: object) -> Notice:
    return compose(5, kind, of, ABOUT, now_ns=BEGAN + round(after_s * NS), **more)  # type: ignore[arg-type]


ONE = incident(alarm(annotations={"summary": "The tank\nboils.", "runbook_url": "https://wiki.example/tank"}))
PUMP = alarm(
    "flow", "1", value=0.4, lower=2.0, upper=4.0, score=2.3, severity=Severity.CRITICAL, after_s=20,
    why="Lower than usual: 0.4, 87% below the usual 3, expected 2 to 4",
)  # fmt: skip
DISK = alarm(
    "disk_used", "x", value=9.31e10, lower=math.nan, upper=math.nan, score=math.nan, severity=Severity.WARNING,
    after_s=40, why="9.31e+10 is above 9e+10",
)  # fmt: skip
MANY = incident(alarm(), PUMP, replace(DISK, reason="moves together with flow, 20 s later"))
TAKEN = Acknowledgement("anna", BEGAN + 300 * NS, "on my way", BEGAN + HOUR_NS)
BACK = incident(ended(alarm(), 1200), ended(PUMP, 900, "As usual: 3.1", 3.1), resolved_s=1200)

CASES: dict[str, Callable[[], Notice]] = {
    "firing": lambda: told(NoticeKind.FIRING, ONE),
    "firing-together": lambda: told(NoticeKind.FIRING, MANY),
    "update": lambda: told(NoticeKind.UPDATE, incident(ended(alarm(), 600), PUMP, DISK), 660, before=ONE),
    "repeat": lambda: told(NoticeKind.REPEAT, ONE, 4 * 3600, before=ONE),
    "reminder": lambda: told(NoticeKind.REMINDER, replace(ONE, acknowledgement=TAKEN), 3660, before=ONE),
    "escalation": lambda: told(NoticeKind.ESCALATION, MANY, 1800, before=MANY),
    "resolved": lambda: told(NoticeKind.RESOLVED, BACK, 1201),
    "silence-ended": lambda: told(
        NoticeKind.FIRING, ONE, 26 * 3600, notes=[Fact("Told now", "the silence “cleaning” has ended")]
    ),
    "digest": lambda: told(
        NoticeKind.DIGEST, MANY, 9 * 3600, more=[replace(BACK, id=8), replace(ONE, id=9, since=BEGAN - 3 * DAY_NS)]
    ),
    "test": lambda: trial_notice(ABOUT, "mail", BEGAN),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_message_says_what_is_recorded(name: str) -> None:
    notice = CASES[name]()
    links = [f"{fact.name} -> {fact.link}" for fact in notice.facts if fact.link]
    text = "\n".join([f"({notice.kind.value}; subject: {notice.subject})", notice.text, *links]) + "\n"
    recorded = MESSAGES / f"{name}.txt"
    assert text == recorded.read_text(encoding="utf-8"), f"tests/alarm/messages/{name}.txt says something else"


def test_every_kind_of_message_is_recorded() -> None:
    assert {make().kind for make in CASES.values()} == set(NoticeKind)


@pytest.mark.parametrize("kind", [kind for kind in NoticeKind if kind is not NoticeKind.TEST])
def test_a_title_fits_a_phone_whatever_is_measured(kind: NoticeKind) -> None:
    long = Series.of("n" * 300, **{f"label{n}": "väl\nue " * 50 for n in range(9)})
    last = replace(alarm().last, series=long, rule="r" * 300, annotations={"a": "x" * 5000})
    one = replace(incident(Alarm(last, 7), alarm()), acknowledgement=replace(TAKEN, who="w" * 500, note="n" * 5000))
    notice = told(kind, one, 4e6, before=one)
    assert 20 < len(notice.title) <= TITLE_LETTERS
    assert len(notice.subject) <= TITLE_LETTERS
    assert all(len(fact.text) <= 1000 and len(fact.name) <= 100 for fact in notice.facts)


def test_nothing_from_outside_begins_a_line_or_turns_the_writing_round() -> None:
    bad = "a\r\nBcc: x@y\u202e\u2028\x00\x1b[31m"
    last = replace(
        alarm().last, series=Series.of("t", host=bad), rule=bad, annotations={bad: bad, "summary": bad},
        evidence=replace(alarm().last.evidence, why=bad),
    )  # fmt: skip
    one = replace(incident(Alarm(last, 7), alarm()), acknowledgement=Acknowledgement(bad, BEGAN, bad))
    notice = told(NoticeKind.REPEAT, one, before=one)
    said = [notice.title, notice.subject, *(part for fact in notice.facts for part in (fact.name, fact.text))]
    assert not [text for text in said if set(text) & set("\r\n\u202e\u2028\x00\x1b")]


def test_all_messages_of_an_incident_have_one_subject_and_one_thread() -> None:
    some = [told(kind, one) for kind in (NoticeKind.FIRING, NoticeKind.UPDATE) for one in (MANY, BACK)]
    assert len({notice.subject for notice in some}) == len({notice.thread for notice in some}) == 1


def test_ten_thousand_alarms_are_told_in_a_few_lines() -> None:
    notice = told(NoticeKind.FIRING, incident(*(alarm(tank=str(n)) for n in range(10_000))))
    assert notice.title.endswith(", and 9,999 more")
    assert len(notice.facts) < 25
    assert Fact("And", "9,989 more alarms") in notice.facts


def test_how_unusual_is_said_only_as_far_as_it_is_known() -> None:
    def said(score: float, about: About = ABOUT) -> list[str]:
        notice = compose(1, NoticeKind.FIRING, incident(alarm(score=score)), about, now_ns=BEGAN + MINUTE_NS)
        return [fact.text for fact in notice.facts if fact.name == "How unusual"]

    assert said(math.nan) == said(0.9) == []
    assert said(1.6) == ["major, score 1.6 where 1 is the limit; a usual value is so far off about once in 4 months"]
    assert said(5) == ["critical, score 5 where 1 is the limit; a usual value is so far off less than once a year"]
    assert said(1.6, About()) == ["major, score 1.6 where 1 is the limit"]


def test_without_an_address_there_are_no_links() -> None:
    notice = compose(1, NoticeKind.FIRING, MANY, About(), now_ns=BEGAN)
    assert not notice.link
    assert not [fact for fact in notice.facts if fact.link]
