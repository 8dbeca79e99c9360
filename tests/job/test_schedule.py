"""What is due: every turn once, whatever happens to the hub and to its clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from almenara.job.runs import Outcome, Run
from almenara.job.schedule import Job, due, next_turn
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS

NOW = 1_800_000_000 * NS


def nothing(now_ns: int, last: Run | None) -> Iterator[Mapping[str, int | float]]:
    yield {}


HOURLY = Job("hourly", 3600, nothing)
DAILY = Job("daily", 86_400, nothing)


def ran(job: Job, started_ns: int, outcome: Outcome = Outcome.OK) -> Run:
    return Run(job.name, started_ns, started_ns + NS, outcome)


def is_due(job: Job, last: Run | None, now_ns: int) -> bool:
    return due([job], {job.name: last}, now_ns) == [job]


def test_a_job_that_never_ran_is_due() -> None:
    assert is_due(HOURLY, None, NOW)
    assert due([HOURLY], {}, NOW) == [HOURLY]


def test_a_turn_comes_once_and_on_time() -> None:
    last = ran(HOURLY, NOW)
    assert not is_due(HOURLY, last, NOW)
    assert not is_due(HOURLY, last, NOW + HOUR_NS - 1)
    assert is_due(HOURLY, last, NOW + HOUR_NS)
    assert next_turn(HOURLY, last, NOW) == NOW + HOUR_NS


def test_turns_missed_while_the_hub_was_down_come_to_one_run() -> None:
    back = NOW + 10 * DAY_NS + 5
    assert is_due(HOURLY, ran(HOURLY, NOW), back)
    assert not is_due(HOURLY, ran(HOURLY, back), back + MINUTE_NS)


def test_who_waited_longest_is_first() -> None:
    last = {"hourly": ran(HOURLY, NOW - 2 * HOUR_NS), "daily": ran(DAILY, NOW - 3 * DAY_NS)}
    assert due([HOURLY, DAILY], last, NOW) == [DAILY, HOURLY]


def test_what_failed_or_was_cut_off_is_tried_again_soon() -> None:
    for outcome in (Outcome.FAILED, Outcome.RUNNING):
        last = ran(DAILY, NOW, outcome)
        assert not is_due(DAILY, last, NOW + 9 * MINUTE_NS)
        assert is_due(DAILY, last, NOW + 10 * MINUTE_NS)
    often = Job("often", 60, nothing)
    assert is_due(often, ran(often, NOW, Outcome.FAILED), NOW + MINUTE_NS)


def test_what_was_skipped_waits_for_its_next_turn() -> None:
    last = ran(DAILY, NOW, Outcome.SKIPPED)
    assert not is_due(DAILY, last, NOW + DAY_NS - 1)
    assert is_due(DAILY, last, NOW + DAY_NS)


def test_a_clock_set_back_a_little_doubles_nothing() -> None:
    assert not is_due(HOURLY, ran(HOURLY, NOW), NOW - 2 * NS)
    assert not is_due(HOURLY, ran(HOURLY, NOW), NOW - HOUR_NS)


def test_a_clock_set_back_by_years_does_not_put_a_job_to_sleep_for_years() -> None:
    assert is_due(HOURLY, ran(HOURLY, NOW), NOW - 400 * DAY_NS)
    assert next_turn(HOURLY, ran(HOURLY, NOW), NOW - 400 * DAY_NS) == NOW - 400 * DAY_NS


def test_a_clock_set_ahead_makes_one_run() -> None:
    ahead = NOW + 4000 * DAY_NS
    assert is_due(HOURLY, ran(HOURLY, NOW), ahead)
    assert not is_due(HOURLY, ran(HOURLY, ahead), ahead + NS)


def test_a_job_with_times_of_its_own_is_due_at_the_next_one_after_its_last_run() -> None:
    noon = Job("noon", 86_400, nothing, at=lambda ns: (ns // DAY_NS + 1) * DAY_NS)
    first = NOW // DAY_NS * DAY_NS + DAY_NS
    assert next_turn(noon, ran(noon, NOW), NOW) == first
    assert not is_due(noon, ran(noon, NOW), first - 1)
    assert is_due(noon, ran(noon, NOW), first)
    late = ran(noon, first + HOUR_NS)
    assert next_turn(noon, late, first + HOUR_NS) == first + DAY_NS
    assert next_turn(noon, ran(noon, first, Outcome.FAILED), first) == first + 10 * MINUTE_NS
    assert next_turn(noon, ran(noon, NOW + 2 * DAY_NS), NOW) == NOW
