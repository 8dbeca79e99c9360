"""Rules of the tree of policies: who is told of an alarm with given labels."""

from __future__ import annotations

import pytest

from almenara.alarm.policies import Policies, Policy
from almenara.query import Matcher


def policy(name: str, parent: str = "", goes_on: bool = False, **labels: str) -> Policy:
    matchers = tuple(Matcher(label, "=", value) for label, value in labels.items())
    return Policy(name, matchers, parent=parent, goes_on=goes_on)


TREE = Policies(
    (
        policy("all", goes_on=True, team="a"),
        policy("audit", "all", goes_on=True, severity="critical"),
        policy("database", "all", kind="db"),
        policy("postgres", "database", engine="pg"),
        policy("late", "all", kind="db"),
        policy("rest"),
        policy("never reached"),
    )
)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({}, ["rest"]),
        ({"team": "b"}, ["rest"]),
        ({"team": "a"}, ["all", "rest"]),
        ({"team": "a", "severity": "critical"}, ["audit", "rest"]),
        ({"team": "a", "kind": "db"}, ["database", "rest"]),
        ({"team": "a", "kind": "db", "engine": "pg"}, ["postgres", "rest"]),
        ({"team": "a", "kind": "db", "severity": "critical"}, ["audit", "database", "rest"]),
    ],
)
def test_the_deepest_that_fits_counts_and_of_neighbours_the_first_unless_it_goes_on(
    labels: dict[str, str], told: list[str]
) -> None:
    assert [one.name for one in TREE.of(labels)] == told
