"""Incidents and notices made up for tests of notifiers."""

from __future__ import annotations

from almenara.model.alarm import Alarm, Evidence, Fact, Incident, Notice, NoticeKind, Severity, State, Transition
from almenara.model.series import Series
from almenara.model.time import NS

#: When made-up incidents begin: 2026-03-02 03:04:05 UTC.
BEGAN_NS = 1_772_420_645 * NS


def incident(state: State = State.FIRING, id: int = 7, hosts: tuple[str, ...] = ("a", "b")) -> Incident:
    """An incident of two hosts whose processors are busier than expected."""
    evidence = Evidence(93.25, 1.6, 31.0, 20.5, 42.0, "seasonal", "Higher than usual: 93.25, expected 20.5 to 42")
    last = [
        Transition(
            "cpu", Series.of("cpu_usage", host=host), BEGAN_NS, state, BEGAN_NS + 60 * NS, Severity.MAJOR, evidence
        )
        for host in hosts
    ]
    ended = BEGAN_NS + 600 * NS if state is State.RESOLVED else 0
    return Incident(id, BEGAN_NS, state, Severity.MAJOR, tuple(Alarm(one, id) for one in last), resolved=ended)


def notice(
    of: Incident | None = None, kind: NoticeKind | None = None, id: int = 1, graph_png: bytes | None = None
) -> Notice:
    """What people are told of an incident; without one, of that of `incident`."""
    of = of or incident()
    return Notice(
        id,
        kind or NoticeKind(of.state.value),
        of,
        title="Major: processors of 2 hosts are busier than usual",
        facts=(Fact("Since", "03:04, a minute ago"), Fact("cpu_usage of a", "93.25, expected 20.5 to 42")),
        link=f"https://hub.example/alarms?incident={of.id}",
        thread=f"incident-{of.id}",
        graph_png=graph_png,
    )
