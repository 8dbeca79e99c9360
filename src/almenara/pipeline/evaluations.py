"""Evaluates rules that want it, when each is due, in a thread of its own; flushing never waits for it.

An answer is decided in the flush thread as rows are. A rule that fails keeps its alarms as they are; it says why, is
counted, and is tried again when it is due.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from almenara.alarm.answers import Answer
from almenara.alarm.rules import Rule
from almenara.model.errors import AlmenaraError
from almenara.model.time import MINUTE_NS, NS
from almenara.pipeline.counters import Counters

log = logging.getLogger(__name__)

#: Without `every` a rule is evaluated so often, or so rarely that it takes at most this part of the time.
EVERY_NS, SHARE = MINUTE_NS, 1 / 20
#: One that speaks of other rules alone reads nothing; besides it is evaluated at once where one of them changes.
OF_RULES_NS = 5 * NS
#: A trend over long changes slowly.
PARTS_OF_TREND = 500
LOOK_S, PATIENCE_S = 0.25, 60.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The last evaluation of a rule. time: ns, 0 none yet; error: why it failed, in words; failures: in all."""

    time: int = 0
    seconds: float = 0.0
    error: str = ""
    failures: int = 0


class Evaluations:
    """On the hub's loop. `evaluated` names the rules that want answers; `ask` works one out, in a thread; `decide` has
    the answers decided; `changed` rises with each change of an alarm."""

    def __init__(
        self, evaluated: Callable[[], Sequence[Rule]], ask: Callable[[Rule, int], Awaitable[Answer]],
        decide: Callable[[Sequence[Answer]], Awaitable[None]], changed: Callable[[], int],
        clock: Callable[[], int], counters: Counters,
    ):  # fmt: skip
        self._evaluated, self._ask, self._decide, self._changed = evaluated, ask, decide, changed
        self._clock, self._counters = clock, counters
        self._due: dict[tuple[str, str, float], int] = {}
        self._seen = -1  # of `changed`
        self._turning = asyncio.Lock()
        self.last: dict[str, Evaluation] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(LOOK_S)

    async def turn(self) -> None:
        """Evaluate what is due."""
        async with self._turning:
            await self._turn()

    async def _turn(self) -> None:
        rules = self._evaluated()
        now, changed = self._clock(), self._changed()
        known = {_identity(rule): self._due.get(_identity(rule), 0) for rule in rules}
        self._due = known
        self.last = {rule.name: self.last.get(rule.name, Evaluation()) for rule in rules}
        for rule in rules:
            at_once = bool(rule.condition.rules) and changed != self._seen
            due = known[_identity(rule)]
            if due <= now or at_once or due > now + 2 * _every_ns(rule, 0.0) + EVERY_NS:  # the clock was set back
                await self._evaluate(rule)
        self._seen = changed

    async def _evaluate(self, rule: Rule) -> None:
        now, began_s = self._clock(), time.monotonic()
        before, error = self.last[rule.name], ""
        try:
            if rule.schedule.holds_at(now):
                async with asyncio.timeout(PATIENCE_S):
                    found = await self._ask(rule, now)
                await self._decide([found])
        except AlmenaraError as wrong:
            error = str(wrong)
        except TimeoutError:  # a store that does not answer; the thread goes on with it
            error = f"did not come to an end within {PATIENCE_S:.0f} s"
        except Exception as wrong:  # a mistake of ours in one rule must not end the others
            log.exception("rule %s cannot be evaluated", rule.name)
            error = f"{type(wrong).__name__}: {wrong}"
        seconds = time.monotonic() - began_s
        self._counters.add("almenara_rule_evaluations_total", 1, rule=rule.name)
        if error:
            self._counters.add("almenara_rule_evaluation_failures_total", 1, rule=rule.name)
            if not before.error:
                log.warning("rule %s cannot be evaluated, its alarms stay as they are: %s", rule.name, error)
        elif before.error:
            log.info("rule %s is evaluated again", rule.name)
        self.last[rule.name] = replace(
            before, time=now, seconds=seconds, error=error, failures=before.failures + bool(error)
        )
        self._due[_identity(rule)] = next_due(rule, self._clock(), seconds)

    def status(self) -> Mapping[str, Evaluation]:
        """The last evaluation of each rule, by name."""
        return dict(self.last)


def next_due(rule: Rule, now_ns: int, cost_s: float) -> int:
    """When a rule is evaluated next: at multiples of its time, shifted by its name so that not all are due at once."""
    every = _every_ns(rule, cost_s)
    shift = zlib.crc32(rule.name.encode()) * NS // 1000 % every
    return ((now_ns - shift) // every + 1) * every + shift


def _every_ns(rule: Rule, cost_s: float) -> int:
    if rule.every_s:
        return round(rule.every_s * NS)
    least = round(rule.history_s * NS / PARTS_OF_TREND) if rule.kind == "trend" else 0
    usual = OF_RULES_NS if rule.condition.is_of_rules_alone else EVERY_NS
    return max(usual, least, round(cost_s / SHARE * NS))


def _identity(rule: Rule) -> tuple[str, str, float]:
    return rule.name, rule.expr, rule.every_s
