"""The job that tells once a week which alarms only make noise: a letter in the outbox, to whom `[noise]` names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from almenara.alarm.letters import Letter
from almenara.alarm.noise import Flapping, Noise, OfRule, noise
from almenara.alarm.times import Weekly
from almenara.alarm.wording import count
from almenara.job.runs import Run
from almenara.job.schedule import Job, Steps
from almenara.model.alarm import Fact
from almenara.model.text import one_line
from almenara.model.time import NS, WEEK_NS
from almenara.pipeline.budgets import Kept

NAME = "noise report"
TOPIC = "noise"
#: Of each list the report names so many; `almenara noise` has the others.
MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """Who is told, by the names of notifiers, and when."""

    notify: tuple[str, ...]
    at: Weekly


def noise_jobs(
    wanted: NoiseReport | None, database: Callable[[], sqlite3.Connection], budgets: Callable[[], Sequence[Kept]],
    post: Callable[[Letter, Sequence[str]], int],
) -> list[Job]:  # fmt: skip
    """The job, or none where nobody wants it. post: queues a letter for notifiers that have not got it, and gives for
    how many; it is called in the thread of the job.

    The first run ever only notes since when there are reports. Turns that were missed come to one report, of the last
    whole week; one that was cut off is written again for those who have not got it.
    """
    if wanted is None or not wanted.notify:
        return []
    report = wanted

    def run(now_ns: int, last: Run | None) -> Steps:
        if last is None or last.started_ns - now_ns > WEEK_NS:  # a clock that was wrong by weeks counts anew
            yield {"messages": 0}
            return
        end = report.at.before_ns(now_ns + 1)
        with closing(database()) as connection:
            found = noise(connection, report.at.before_ns(end), end)
        yield {"messages": post(letter(found, budgets(), report.at.timezone), report.notify)}

    return [Job(NAME, WEEK_NS / NS, run, at=report.at.after_ns)]


def letter(found: Noise, budgets: Sequence[Kept], timezone: str) -> Letter:
    """The report in words."""
    noisy = [one for one in found.rules if one.is_noise]
    sent = sum(found.messages.values())
    title = (
        f"Noise of the week: {count(sent, 'message')}, {count(len(noisy), 'rule')} nobody ever acted on, "
        f"{count(len(found.flapping), 'alarm')} flapping"
    )
    facts = [
        Fact("Week", f"{_day(found.start, timezone)} to {_day(found.end, timezone)}"),
        Fact("Messages", _counted(found.messages, "by ") or "none sent"),
        *_some([_of_rule(one) for one in noisy], "More such rules"),
        *_some([_of_flapping(one) for one in found.flapping], "More that flap"),
        Fact("Held back", _counted(found.held) or "nothing"),
        *_some([_of_budget(one) for one in budgets], "More budgets"),
    ]
    return Letter(TOPIC, found.end, title, tuple(facts))


def _day(time_ns: int, timezone: str) -> str:
    return f"{datetime.fromtimestamp(time_ns // NS, ZoneInfo(timezone)):%A %-d %B %H:%M %Z}"


def _counted(numbers: Mapping[str, int], before: str = "") -> str:
    most_first = sorted(numbers.items(), key=lambda one: -one[1])
    return ", ".join(f"{number:,} {before}{one_line(name, 40)}" for name, number in most_first)


def _some(facts: Sequence[Fact], more: str) -> Iterator[Fact]:
    yield from facts[:MOST_NAMED]
    if (left := len(facts) - MOST_NAMED) > 0:
        yield Fact(more, f"{left:,}; almenara noise shows them")


def _of_rule(one: OfRule) -> Fact:
    text = (
        f"nobody ever acted on it: fired {_times(one.fired)}, {count(one.by_themselves, 'incident')} ended without "
        f"anybody, {count(one.messages, 'message')}"
    )
    return Fact(f"Rule {one_line(one.rule, 60)}", text)


def _of_flapping(one: Flapping) -> Fact:
    return Fact(f"Flaps: {one_line(one.series, 100)}", f"fired {_times(one.fired)}, rule {one_line(one.rule, 60)}")


def _of_budget(one: Kept) -> Fact:
    came = f"{one.alerts:,} anomal{'y' if one.alerts == 1 else 'ies'} began in the last {one.weeks:.1f} weeks"
    rate = "" if one.rate is None else f", {one.rate:.3g} a week"
    return Fact(f"Budget {one_line(one.name, 60)}", f"{one.per_week:g} a week are welcome; {came}{rate}")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
