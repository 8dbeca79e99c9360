"""Sends what the outbox holds: in order for each notifier, again after a failure, across restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from zoneinfo import ZoneInfo

from almenara.alarm import letters, lines, outbox, vigil
from almenara.alarm.book import Book
from almenara.alarm.message import About, notice_of
from almenara.alarm.outbox import Message
from almenara.alarm.tables import reading, transaction
from almenara.model.alarm import Fact, Incident, Notice, NoticeKind
from almenara.model.errors import AlmenaraError, NotifyError, Refused, StoreError
from almenara.model.time import DAY_NS, NS
from almenara.plugin.contracts import Notifier

log = logging.getLogger(__name__)

#: The first wait after a failure; each further one is twice as long, up to the longest.
FIRST_WAIT_NS, LONGEST_WAIT_NS = NS, 300 * NS
#: So long a wait that the other side asks for is kept.
MOST_ASKED_NS = 3600 * NS
#: What still fails after so long and so many tries is given up: clocks jump, and a hub that was off tried nothing.
GIVE_UP_NS, GIVE_UP_TRIES = DAY_NS, 20
#: A notifier that has not come back by then is taken to have failed.
TRY_S = 60.0
#: How often to look whether a message that waits is due, and to try a database again that refuses.
LOOK_S = 1.0

T = TypeVar("T")
#: A PNG of an incident as it was after the change of this number. Raises AlmenaraError where there is none.
Drawing = Callable[[Incident, int], Awaitable[bytes]]


class Sender:
    """Runs on the hub's loop; its connection to hub.db is used by a thread of its own.

    A message that was confirmed is never sent again; one that was not is, even where it may have arrived.
    """

    def __init__(
        self, database: Callable[[], sqlite3.Connection], notifiers: Mapping[str, Notifier], book: Book,
        clock: Callable[[], int] = time.time_ns, about: About | None = None,
        graph: Drawing | None = None,
    ):  # fmt: skip
        """about: what messages say of the hub. graph: draws an incident as it was after a change; None: no graphs."""
        self._graph = graph
        self._about = about or About()
        self._database, self._notifiers, self._book, self._clock = database, dict(notifiers), book, clock
        self.counts: Counter[tuple[str, str]] = Counter()  # (notifier, "sent", "failed" or "given up")
        self.on_counted: Callable[[str, str], None] = lambda notifier, outcome: None
        self._wake = {name: asyncio.Event() for name in notifiers}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Send until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._db = await self._written(self._database)
        self._book.on_queued = self.wake
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, notifier in self._notifiers.items():
                    tasks.create_task(self._serve(name, notifier), name=f"notifier {name}")
        finally:
            if self._book.on_queued == self.wake:
                self._book.on_queued = lambda: None
            self._thread.submit(self._db.close)
            self._thread.shutdown(wait=True)

    def wake(self) -> None:
        """There may be something to send; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended; the message waits for the next start
                self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        for event in self._wake.values():
            event.set()

    async def _serve(self, name: str, notifier: Notifier) -> None:
        failed = 0  # times in a row: one message that nobody takes is no reason to leave the others
        while True:
            self._wake[name].clear()
            message, waiting = await self._written(lambda: self._next(name))
            if message is not None:
                pause_ns = await self._send(notifier, message)
                failed = failed + 1 if pause_ns else 0
                if pause_ns:
                    wait_ns = max(pause_ns, min(FIRST_WAIT_NS << min(failed - 1, 20), LONGEST_WAIT_NS))
                    await self._pause(wait_ns)
            elif waiting:
                await asyncio.sleep(LOOK_S)
            else:
                await self._wake[name].wait()

    def _next(self, name: str) -> tuple[Message | None, bool]:
        message = outbox.next_due(self._db, name, self._clock())
        return message, message is not None or outbox.is_waiting(self._db, name)

    async def _pause(self, wait_ns: int) -> None:
        """Leave a receiver alone that failed. What passes first counts, by the
        hub's clock or the machine's own, so that one set back delays nothing."""
        began, end_s = self._clock(), time.monotonic() + wait_ns / NS
        while self._clock() - began < wait_ns and (left_s := end_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, LOOK_S))

    async def _send(self, notifier: Notifier, message: Message) -> int:
        """Try once; gives how long the receiver is to be left alone at least (ns), 0: it took the message, or refused
        this one for good."""
        outages = await self._written(lambda: vigil.untold(self._db, message.notifier, self._clock()))
        try:
            if (notice := await self._notice(notifier, message)) is not None:
                async with asyncio.timeout(TRY_S):
                    zone = ZoneInfo(self._about.timezone)
                    await notifier.notify(vigil.with_outages(notice, outages, zone))
        except TimeoutError:
            return await self._failed(message, f"no answer within {TRY_S:g} s", retry=True)
        except NotifyError as error:
            return await self._failed(message, str(error), retry=error.retry, least_ns=round(error.retry_after_s * NS))
        except Exception as error:  # the plugin's own mistake must not silence the others
            log.exception("notifier %s failed in a way it should not", message.notifier)
            return await self._failed(message, f"{type(error).__name__}: {error}", retry=True)
        await self._written(lambda: self._close(message, "sent", outages=outages))
        return 0

    async def _notice(self, notifier: Notifier, message: Message) -> Notice | None:
        """The message in words; None where there is nothing any more that it could be about."""
        if not message.incident:
            letter = await self._written(lambda: letters.read(self._db, message.id))
            return None if letter is None else letter.notice(message.id, self._about.url)
        read = await self._written(lambda: self._read(message))
        if read is None:
            return None
        png, notes = await self._drawn(notifier, message, read[0])
        return self._render(message, *read, notes, png)

    def _read(self, message: Message) -> tuple[Incident, Incident | None, tuple[Incident, ...]] | None:
        """The incident, as the last message told of it, and the further ones of a digest."""
        with transaction(self._db, "BEGIN"):
            incident = outbox.incident_of(self._db, message)
            if incident is None:
                return None
            return incident, outbox.before(self._db, message), outbox.more_of(self._db, message)

    async def _drawn(
        self, notifier: Notifier, message: Message, incident: Incident
    ) -> tuple[bytes | None, Sequence[Fact]]:
        """The graph for those who show one; a message that has none says why, and is sent all the same."""
        if self._graph is None or not getattr(notifier, "shows_graph", False) or message.kind is NoticeKind.DIGEST:
            return None, ()
        try:
            return await self._graph(incident, message.upto), ()
        except AlmenaraError as error:
            return None, (Fact("Graph", f"none: {error}"),)
        except Exception:  # whatever is wrong with it, people are told
            log.exception("the graph of incident %d failed in a way it should not", incident.id)
            return None, (Fact("Graph", "none: drawing it failed, the hub's log says how"),)

    def _render(
        self, message: Message, incident: Incident, before: Incident | None, more: tuple[Incident, ...],
        notes: Sequence[Fact], png: bytes | None,
    ) -> Notice:  # fmt: skip
        return notice_of(
            message, incident, self._about, now_ns=self._clock(), before=before, more=more, notes=notes, graph_png=png
        )

    def _close(self, message: Message, outcome: str, error: str = "", outages: Sequence[vigil.Outage] = ()) -> None:
        """It is over, and a line says so."""
        now = self._clock()
        text = message.kind.value + (f", {error}" if error else "") + (f" ({message.reason})" if message.reason else "")
        with transaction(self._db):
            outbox.close(self._db, message, outcome, now, error)
            for incident in (message.incident, *message.more) if message.incident else ():
                lines.write(self._db, incident, now, outcome, message.notifier, text)
            if outages:
                vigil.told(self._db, message.notifier, outages[-1])
        self._counted(message.notifier, outcome)

    async def _failed(self, message: Message, error: str, *, retry: bool, least_ns: int = 0) -> int:
        now = self._clock()
        again = retry and (now - message.queued < GIVE_UP_NS or message.tries + 1 < GIVE_UP_TRIES)
        alone = message.fell_back or not message.incident  # nobody stands in for it, now or ever
        if not alone and (not again or now - message.queued >= self._fallback_ns(message)):
            await self._written(lambda: self._book.fall_back(message, error))
        if not again:
            log.error("%s (%s) was not told by %s, given up: %s", message.about, message.kind.value,
                      message.notifier, error)  # fmt: skip
            await self._written(lambda: self._close(message, "given up", error))
            return 0 if not retry else FIRST_WAIT_NS
        wait = max(min(FIRST_WAIT_NS << min(message.tries, 20), LONGEST_WAIT_NS), min(least_ns, MOST_ASKED_NS))
        log.warning("%s: %s; trying again in %g s", message.about, error, wait / NS)
        await self._written(lambda: outbox.put_off(self._db, message, now + wait, error))
        self._counted(message.notifier, "failed")
        return max(FIRST_WAIT_NS, min(least_ns, MOST_ASKED_NS))

    def _fallback_ns(self, message: Message) -> int:
        return round(self._book.policies[message.policy].fallback_after_s * NS)

    def _counted(self, notifier: str, outcome: str) -> None:
        self.counts[notifier, outcome] += 1
        self.on_counted(notifier, outcome)

    async def _written(self, do: Callable[[], T]) -> T:
        """Do it in the database's thread, again until the database takes it: what was sent must not be forgotten."""
        complained = False
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, _named, do)
            except (StoreError, Refused) as error:
                if not complained:
                    log.error("the outbox cannot be used at the moment: %s", error)
                complained = True
                await asyncio.sleep(LOOK_S)


def _named(do: Callable[[], T]) -> T:
    with reading():
        return do()
