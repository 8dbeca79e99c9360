"""Sends what the outbox holds: in order for each notifier, again after a failure, across restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from zoneinfo import ZoneInfo

from almenara.alarm import outbox, vigil
from almenara.alarm.book import Book
from almenara.alarm.message import About, notice_of
from almenara.alarm.outbox import Message
from almenara.alarm.tables import reading, transaction
from almenara.model.errors import NotifyError, Refused, StoreError
from almenara.model.time import DAY_NS, NS
from almenara.plugin.contracts import Notifier

log = logging.getLogger(__name__)

#: The first wait after a failure; each further one is twice as long, up to the longest.
FIRST_WAIT_NS, LONGEST_WAIT_NS = NS, 300 * NS
#: So long a wait that the other side asks for is kept.
MOST_ASKED_NS = 3600 * NS
#: What still fails after so long is given up.
GIVE_UP_NS = DAY_NS
#: A notifier that has not come back by then is taken to have failed.
TRY_S = 60.0
#: How often to look whether a message that waits is due, and to try a database again that refuses.
LOOK_S = 1.0

T = TypeVar("T")


class Sender:
    """Runs on the hub's loop; its connection to hub.db is used by a thread of its own.

    A message that was confirmed is never sent again; one that was not is, even where it may have arrived.
    """

    def __init__(
        self, database: Callable[[], sqlite3.Connection], notifiers: Mapping[str, Notifier], book: Book,
        clock: Callable[[], int] = time.time_ns, about: About | None = None,
    ):  # fmt: skip
        """about: what messages say of the hub."""
        self._about = about or About()
        self._database, self._notifiers, self._book, self._clock = database, dict(notifiers), book, clock
        self.counts: Counter[tuple[str, str]] = Counter()  # (notifier, "sent", "failed" or "given up")
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
        while True:
            self._wake[name].clear()
            message = await self._written(lambda: outbox.first(self._db, name))
            if message is None:
                await self._wake[name].wait()
            elif 0 < (wait := message.due - self._clock()) <= MOST_ASKED_NS:  # else the clock was set back
                await asyncio.sleep(min(wait / NS, LOOK_S))
            else:
                await self._send(notifier, message)

    async def _send(self, notifier: Notifier, message: Message) -> None:
        incident = await self._written(lambda: outbox.incident_of(self._db, message))
        outages = await self._written(lambda: vigil.untold(self._db, message.notifier, self._clock()))
        try:
            if incident is not None:
                async with asyncio.timeout(TRY_S):
                    notice = notice_of(message, incident, self._about, now_ns=self._clock())
                    zone = ZoneInfo(self._about.timezone)
                    await notifier.notify(vigil.with_outages(notice, outages, zone))
        except TimeoutError:
            await self._failed(message, f"no answer within {TRY_S:g} s", retry=True)
        except NotifyError as error:
            await self._failed(message, str(error), retry=error.retry, least_ns=round(error.retry_after_s * NS))
        except Exception as error:  # the plugin's own mistake must not silence the others
            log.exception("notifier %s failed in a way it should not", message.notifier)
            await self._failed(message, f"{type(error).__name__}: {error}", retry=True)
        else:
            now = self._clock()
            await self._written(lambda: self._close(message, now, outages))
            self.counts[message.notifier, "sent"] += 1

    def _close(self, message: Message, now_ns: int, outages: Sequence[vigil.Outage]) -> None:
        with transaction(self._db):
            outbox.close(self._db, message, "sent", now_ns)
            if outages:
                vigil.told(self._db, message.notifier, outages[-1])

    async def _failed(self, message: Message, error: str, *, retry: bool, least_ns: int = 0) -> None:
        now = self._clock()
        if retry and now - message.queued < GIVE_UP_NS:
            wait = max(min(FIRST_WAIT_NS << min(message.tries, 20), LONGEST_WAIT_NS), min(least_ns, MOST_ASKED_NS))
            log.warning("incident %d: %s; trying again in %g s", message.incident, error, wait / NS)
            await self._written(lambda: outbox.put_off(self._db, message, now + wait, error))
            self.counts[message.notifier, "failed"] += 1
        else:
            log.error("incident %d (%s) was not told by %s, given up: %s", message.incident, message.state.value,
                      message.notifier, error)  # fmt: skip
            await self._written(lambda: outbox.close(self._db, message, "given up", now, error))
            self.counts[message.notifier, "given up"] += 1

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
