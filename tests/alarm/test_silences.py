from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from alarm.book_case import T0, database
from almenara.alarm.silence import Occasions, Silence, Stage, matchers_of, with_windows
from almenara.alarm.silences import Silences
from almenara.analysis.calendar_sources import Sources
from almenara.analysis.occasions import calendar_of
from almenara.model.errors import NoSuchSilence, SilenceError
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS

PUMP = {"__name__": "pressure", "alertname": "low", "severity": "major", "site": "madrid", "pump": "7"}
ZONE = "Europe/Madrid"


class Clock:
    def __init__(self, now: int = T0):
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def silences(tmp_path: Path, clock: Clock) -> Silences:
    return Silences(database(tmp_path / "hub.db"), ZONE, clock=clock)


def wanted(*matchers: tuple[str, str, str], starts: int = T0, hours: float = 1, **more: object) -> Silence:
    given = matchers or (("site", "=", "madrid"),)
    return replace(
        Silence("", matchers_of(given), starts, starts + round(hours * HOUR_NS), "ana", "a new pump"), **more
    )


def local(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).timestamp()) * NS


def test_a_silence_holds_from_its_start_to_its_end_and_says_whose_it_is(silences: Silences) -> None:
    silences.put(wanted(starts=T0 + MINUTE_NS))
    assert silences.reason_of(PUMP, T0) is None
    reason = silences.reason_of(PUMP, T0 + MINUTE_NS)
    assert reason == "silence of ana until 2026-01-05 02:01: a new pump"  # on clocks of Madrid
    assert silences.reason_of(PUMP, T0 + MINUTE_NS + HOUR_NS) is None


@pytest.mark.parametrize(
    ("matchers", "holds"),
    [
        ([("site", "=", "madrid")], True),
        ([("site", "=", "mad")], False),
        ([("site", "!=", "paris"), ("pump", "=", "7")], True),
        ([("site", "=~", "mad.*|paris")], True),
        ([("site", "=~", "mad")], False),
        ([("site", "!~", "mad.*"), ("pump", "=", "7")], False),
        ([("site", "=", "madrid"), ("pump", "=", "8")], False),
        ([("site", "=", "madrid"), ("room", "=", "")], True),
        ([("alertname", "=", "low"), ("severity", "=", "major"), ("__name__", "=", "pressure")], True),
    ],
)
def test_every_matcher_must_fit(silences: Silences, matchers: list[tuple[str, str, str]], holds: bool) -> None:
    silences.put(wanted(*matchers))
    assert (silences.reason_of(PUMP, T0) is not None) is holds


def test_of_several_the_one_that_lasts_longest_is_named(silences: Silences) -> None:
    silences.put(wanted(hours=1))
    silences.put(wanted(hours=3, who="bob"))
    assert (silences.reason_of(PUMP, T0) or "").startswith("silence of bob until")


def test_a_silence_that_comes_later_counts_for_labels_that_were_asked_for_before(silences: Silences) -> None:
    assert silences.reason_of(PUMP, T0) is None
    silences.put(wanted(("site", "=", "paris")))
    assert silences.reason_of(PUMP, T0) is None
    one = silences.put(wanted())
    assert silences.holding(PUMP, T0) == [one]
    silences.expire(one.id)
    assert silences.reason_of(PUMP, T0 + 1) is None


def test_what_was_made_is_there_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    first = Silences(database(tmp_path / "hub.db"), ZONE, clock=clock)
    once = first.put(wanted())
    night = first.put(wanted(windows=("22:00-06:00",), hours=24))
    first.close()
    second = Silences(database(tmp_path / "hub.db"), ZONE, clock=clock)
    assert {one.id: one for one in second.all()} == {once.id: once, night.id: night}
    assert {one.id for one in second.holding(PUMP, T0 + 30 * MINUTE_NS)} == {once.id, night.id}
    assert second.holding(PUMP, T0 + 8 * HOUR_NS) == []


def test_an_expired_silence_ends_now_and_cannot_end_again(silences: Silences, clock: Clock) -> None:
    one = silences.put(wanted())
    clock.now += MINUTE_NS
    assert silences.expire(one.id, "bob").ends == clock.now
    with pytest.raises(SilenceError, match="already expired"):
        silences.expire(one.id)
    assert [(c.kind, c.who) for c in silences.history(one.id)] == [("created", "ana"), ("expired", "bob")]


def test_a_silence_that_has_not_begun_never_held_when_it_is_expired(silences: Silences, clock: Clock) -> None:
    one = silences.expire(silences.put(wanted(starts=T0 + HOUR_NS)).id)
    assert (one.starts, one.ends) == (T0, T0)
    assert (one.span_at(T0), one.stage(T0)) == (None, Stage.EXPIRED)


def test_a_longer_end_is_a_change_and_other_matchers_are_another_silence(silences: Silences, clock: Clock) -> None:
    one = silences.put(wanted())
    clock.now += MINUTE_NS
    longer = silences.put(replace(one, ends=one.ends + HOUR_NS), "bob")
    assert longer.id == one.id
    other = silences.put(replace(longer, matchers=matchers_of([("site", "=", "paris")])), "bob")
    assert other.id != one.id
    assert (silences.get(one.id).ends, silences.get(one.id).matchers) == (clock.now, one.matchers)
    assert [c.kind for c in silences.history(one.id)] == ["created", "changed", "expired"]
    assert (other.starts, other.stage(clock.now)) == (clock.now, Stage.ACTIVE)


def test_a_clock_that_is_set_back_neither_takes_a_silence_away_nor_brings_one_back(
    silences: Silences, clock: Clock
) -> None:
    one, gone = silences.put(wanted()), silences.put(wanted(("site", "=", "rome")))
    later = silences.put(wanted(("site", "=", "oslo"), starts=T0 + MINUTE_NS))
    silences.expire(gone.id)
    clock.now = T0 - 5 * HOUR_NS
    assert silences.holding(PUMP, clock.now) == [one]
    assert [silences.get(id).stage(clock.now) for id in (one.id, gone.id, later.id)] == [
        Stage.ACTIVE, Stage.EXPIRED, Stage.PENDING,
    ]  # fmt: skip
    assert silences.holding({"site": "rome"}, clock.now) == silences.holding({"site": "oslo"}, clock.now) == []
    assert silences.reason_of(PUMP, one.ends) is None


def test_windows_come_again(silences: Silences) -> None:
    start = local("2026-01-04T00:00")
    night = silences.put(wanted(starts=start, hours=24 * 30, windows=("Mon 02:00-04:00",)))
    assert silences.reason_of(PUMP, local("2026-01-05T01:59")) is None
    assert silences.reason_of(PUMP, local("2026-01-05T02:00")) == "silence of ana until 2026-01-05 04:00: a new pump"
    assert silences.reason_of(PUMP, local("2026-01-05T04:00")) is None
    assert night.stage(local("2026-01-05T05:00")) is Stage.PENDING


def test_windows_end_with_their_silence(silences: Silences) -> None:
    one = silences.put(wanted(starts=local("2026-01-05T01:30"), hours=1, windows=("Mon 02:00-04:00",)))
    assert one.span_at(local("2026-01-05T02:10")) == (local("2026-01-05T02:00"), local("2026-01-05T02:30"))


def test_maintenance_of_the_configuration_holds_and_nobody_changes_it(silences: Silences, clock: Clock) -> None:
    calendar = calendar_of("works", Sources(dates=["2026-01-05"]), ZONE)
    night = replace(wanted(hours=24 * 365), id="maintenance-night", name="night", windows=("22:00-06:00",))
    works = replace(
        wanted(hours=24 * 365), id="maintenance-works", name="works", comment="belt", schedules=(Occasions(calendar),)
    )
    silences.replace_maintenance([with_windows(night, ZONE), works])
    assert silences.reason_of(PUMP, local("2026-01-05T12:00")) == "maintenance works until 2026-01-06 00:00: belt"
    assert (silences.reason_of(PUMP, local("2026-01-06T02:00")) or "").startswith("maintenance night until")
    for change in (lambda: silences.expire("maintenance-night"), lambda: silences.put(night)):
        with pytest.raises(SilenceError, match="of the configuration"):
            change()
    silences.replace_maintenance([])
    assert silences.reason_of(PUMP, local("2026-01-05T12:00")) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(wanted(), matchers=()), "at least one matcher required"),
        (lambda: wanted(("site", "=~", ".*"), ("a", "!=", "b")), "must not match the empty string"),
        (lambda: wanted(hours=-1), "end time must not be before start time"),
        (lambda: wanted(*[("a", "=", "b")] * 65), "expected at most 64"),
        (lambda: wanted(("a", "=", "b" * 5000)), "invalid label matcher 0"),
        (lambda: wanted(comment="b" * 5000), "a comment 4096"),
        (lambda: wanted(windows=("sometimes",)), "hours of the week"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(
    silences: Silences, make: Callable[[], Silence], message: str
) -> None:
    with pytest.raises(SilenceError, match=message):
        silences.put(make())
    assert silences.all() == []


@pytest.mark.parametrize(("op", "value"), [("=~", "("), ("=~", r"(a)\1"), ("~", "a"), ("=~", "(a{1000}){1000}")])
def test_a_matcher_that_cannot_be_is_refused(op: str, value: str) -> None:
    with pytest.raises(SilenceError, match="invalid label matcher 0"):
        matchers_of([("site", op, value)])


def test_a_silence_that_nobody_knows_is_named(silences: Silences) -> None:
    for ask in (silences.get, silences.expire):
        with pytest.raises(NoSuchSilence, match="silence not found"):
            ask("nobody")


def test_what_is_long_over_is_forgotten(silences: Silences, clock: Clock) -> None:
    old = silences.put(wanted())
    clock.now += 91 * DAY_NS
    new = silences.put(wanted(starts=clock.now))
    assert silences.all() == [new]
    assert silences.history(old.id) == []


def test_ten_thousand_alarms_are_asked_for_quickly(silences: Silences) -> None:
    """Each label set is tried once; CPU time, which other work on the machine does not lengthen."""
    for k in range(20):
        silences.put(wanted(("site", "=~", f"(madrid|paris)-{k}(a|b)+c")))
    alarms = [PUMP | {"pump": str(k)} for k in range(10_000)]
    for labels in alarms:
        silences.reason_of(labels, T0)
    began = time.thread_time()
    silences.put(wanted(("pump", "=~", "[0-9]+"), ("site", "=", "madrid")))
    assert all(silences.reason_of(labels, T0) for labels in alarms)
    assert time.thread_time() - began < 1.5


def test_who_asks_never_waits_for_the_database(silences: Silences, tmp_path: Path) -> None:
    """The book asks within a transaction, which a silence that is being made waits for."""
    silences.put(wanted())
    busy = database(tmp_path / "hub.db")()
    busy.execute("BEGIN IMMEDIATE")
    making = threading.Thread(target=silences.put, args=(wanted(("pump", "=", "9")),))
    making.start()
    deadline = time.monotonic() + 20
    while not silences._writing.locked():
        assert time.monotonic() < deadline
    assert silences.reason_of(PUMP, T0) is not None
    assert making.is_alive()
    busy.execute("COMMIT")
    making.join(20)
    assert silences.reason_of({"pump": "9"}, T0) is not None


def test_threads_may_make_end_and_ask_at_once(silences: Silences) -> None:
    wrong: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for i in range(20):
                one = silences.put(wanted(("pump", "=", str(k))))
                assert one in silences.holding(PUMP | {"pump": str(k)}, T0 + 1)
                silences.expire(one.id, f"{i}")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {one.stage(T0 + HOUR_NS) for one in silences.all()} == {Stage.EXPIRED}
