"""What a hub says on its bus: alarms (retained while open), anomalies, and judged rows of series somebody wants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from almenara.analysis.runs import crossings
from almenara.bus.contract import Bus
from almenara.bus.messages import Message, alarm_message, anomaly_message, judged_message
from almenara.model.alarm import Evidence, State
from almenara.model.errors import AlmenaraError
from almenara.model.series import Series
from almenara.pipeline.flush import Judged
from almenara.pipeline.hub import Pipeline
from almenara.pipeline.index import Selector
from almenara.query import Matcher

log = logging.getLogger(__name__)

#: Of one segment at most so many rows are published, the latest; judging is fast, brokers are not.
MAX_ROWS = 1000


class Outputs:
    """Publishes what judging found, while a pipeline runs."""

    def __init__(self, hub: Pipeline, bus: Bus, judged: Sequence[Sequence[Matcher]]):
        self._hub, self._bus = hub, bus
        self._judged = [Selector(hub.index, matchers) for matchers in judged]
        self._over = np.zeros(0, np.bool_)  # by series: whether the last row published was over its limit
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Say which alarms are open, clear those resolved while nobody could be told, and go on from there."""
        self._task = asyncio.create_task(self._run(), name="outputs")

    async def stop(self) -> None:
        """Say nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        subscription = self._hub.feed.subscribe()
        lost = 0
        try:
            await self._catch_up()
            async for judged in subscription:
                await self._tell(judged)
                self._hub.counters.add("almenara_feed_lost_total", subscription.lost - lost)
                if subscription.lost > lost:
                    await self._catch_up()  # a change of state may have been among what was lost
                lost = subscription.lost
        finally:
            subscription.close()

    async def _tell(self, judged: Judged) -> None:
        try:
            for kind, message in self._messages(judged):
                await self._publish(kind, message)
        except Exception:  # nobody awaits this task: one segment that cannot be told must not silence all later ones
            log.exception("a judged segment could not be published")
            self._hub.counters.add("almenara_unpublished_total", reason="failed")

    async def _catch_up(self) -> None:
        try:
            await self._say_alarms()
        except AlmenaraError as error:
            log.warning("open alarms are not published again: %s", error)

    async def _say_alarms(self) -> None:
        opened = {(a.last.rule, a.last.series) for a in self._hub.alarms.open()}
        for alarm in self._hub.alarms.open():
            await self._publish("alarm", alarm_message(alarm.last))
        for change in self._hub.alarms.journal(limit=1000):
            if change.state in (State.RESOLVED, State.INACTIVE) and (change.rule, change.series) not in opened:
                await self._publish("alarm", alarm_message(change))

    async def _publish(self, kind: str, message: Message) -> None:
        try:
            await self._bus.publish(message.topic, message.payload, retain=message.retain)
            self._hub.counters.add("almenara_published_total", kind=kind)
        except AlmenaraError as error:
            self._hub.counters.add("almenara_unpublished_total", reason=type(error).__name__)
            log.warning("not published on %s: %s", message.topic, error)

    def _messages(self, judged: Judged) -> Iterator[tuple[str, Message]]:
        for change in judged.transitions:
            yield "alarm", alarm_message(change)
        for at in self._limited(self._anomalies(judged)):
            yield "anomaly", anomaly_message(*self._row(judged, at))
        if self._judged:
            asked = np.zeros(len(self._hub.index), np.bool_)
            for selector in self._judged:
                mask = selector.mask()
                asked[: len(mask)] |= mask[: len(asked)]
            ready = asked[judged.batch.id] if len(judged.batch) else np.zeros(0, np.bool_)
            for at in self._limited(np.flatnonzero(ready)):
                yield "judged", judged_message(*self._row(judged, at)[:3])

    def _anomalies(self, judged: Judged) -> np.ndarray:
        """Rows over the limit, and the first of a series that is back under it."""
        if len(self._over) < len(self._hub.index):
            self._over = np.concatenate((self._over, np.zeros(len(self._hub.index) - len(self._over), np.bool_)))
        return crossings(judged.batch.id, judged.verdict.score, self._over, keep_unsaid=True)

    def _limited(self, rows: np.ndarray) -> list[int]:
        if len(rows) > MAX_ROWS:
            self._hub.counters.add("almenara_unpublished_total", len(rows) - MAX_ROWS, reason="too many")
        return rows[-MAX_ROWS:].tolist()

    def _row(self, judged: Judged, at: int) -> tuple[Series, int, Evidence, int]:
        batch, verdict = judged.batch, judged.verdict
        columns = (verdict.judged(batch), verdict.score, verdict.yhat, verdict.lower, verdict.upper)
        value, score, yhat, lower, upper = (float(column[at]) for column in columns)
        time, nth = int(batch.time[at]), 0 if verdict.nth is None else int(verdict.nth[at])
        evidence = self._hub.causes.evidence(
            value, score, yhat, lower, upper, int(verdict.cause[at]), time=time, nth=nth, note=verdict.notes.get(at, "")
        )
        return batch.series[int(batch.id[at])], time, evidence, nth
