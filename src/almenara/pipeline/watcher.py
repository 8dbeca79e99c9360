"""Watches hubs from another machine: whether each answers, is ready, and goes on judging; what is wrong is an alarm.

It is a small hub of its own: what it finds are rows of `hub_up{hub="URL"}`, one rule makes alarms of them, and book,
outbox and sender are those of a hub, on disk. A hub is down when it was not well for `after` times in a row.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.errors import Refused, StoreError
from almenara.model.series import encode_key
from almenara.model.time import format_duration
from almenara.pipeline.index import SeriesIndex

log = logging.getLogger(__name__)

NAME = "hub_up"
RULE = Rule("hub is down", f'anomaly_score{{of="{NAME}"}} > 1', severity="critical")
#: Header in which a hub says up to when it has judged, in ms by its own clock.
JUDGED_TO = "almenara-judged-to"
#: A hub whose judged time stood still for so long does not judge any more.
STALLED_S = 120.0
_TIMEOUT_S = 10.0
_MOST_BYTES = 2000
_DOWN_SCORE = 2.0


class Words(Causes):
    """What the watcher says of a hub is said as it stands."""

    def sentence(self, *_: Any, note: str = "", **__: Any) -> str:
        """The note."""
        return note


@dataclass(slots=True)
class Watched:
    """One hub. wrong: in words, empty while all is well; times: how often in a row; judged: what it said last."""

    url: str
    wrong: str = ""
    times: int = 0
    judged: int = -1
    moved_s: float = 0.0
    is_down: bool = False

    def note(self, wrong: str, after: int) -> None:
        """What a look at it showed."""
        self.times = self.times + 1 if wrong else 0
        if wrong != self.wrong:
            log.log(logging.WARNING if wrong else logging.INFO, "%s %s", self.url, wrong or "is well again")
        self.wrong = wrong
        self.is_down = self.times >= after or (self.is_down and bool(wrong))

    def judged_to(self, judged: int, now_s: float) -> str:
        """Whether judging goes on, by what the hub says now; in words where it does not."""
        if judged != self.judged:
            self.judged, self.moved_s = judged, now_s
        still = now_s - self.moved_s
        return f"answers, but has judged nothing for {format_duration(round(still))}" if still >= STALLED_S else ""


class Watcher:
    """Looks at hubs every so many seconds and keeps the book of what is wrong."""

    def __init__(
        self, urls: Sequence[str], book: Callable[[SeriesIndex, Rule, Causes], Book], *, every_s: float, after: int,
        token: str = "", ca_file: str = "", clock: Callable[[], int] = time.time_ns,
        elapsed: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        """urls: http(s)://HOST:PORT of each hub. book: makes the book of a rule over an index. Raises StoreError."""
        self._hubs = [Watched(url.rstrip("/")) for url in dict.fromkeys(urls)]
        self._every_s, self._after, self._clock, self._elapsed = every_s, after, clock, elapsed
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._verify: Any = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._index = SeriesIndex()
        self._index.add([encode_key(NAME, {"hub": one.url}) for one in self._hubs])
        self.book = book(self._index, RULE, Words(only="watch"))
        down = {alarm.last.series.key for alarm in self.book.open()}  # as the run before left it
        for one in self._hubs:
            one.is_down = encode_key(NAME, {"hub": one.url}) in down
        self._last_ns = max((change.time for change in self.book.journal(1)), default=0)

    async def run(self, done: Callable[[], None] = lambda: None) -> None:
        """Until cancelled; `done` is called after each look at all hubs that was written down."""
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_S, follow_redirects=False, verify=self._verify, headers=self._headers
        ) as client:
            while True:
                began_s = self._elapsed()
                await asyncio.gather(*(self._look(client, one) for one in self._hubs))
                try:
                    await asyncio.to_thread(self._write)
                    done()
                except (StoreError, Refused) as error:
                    log.error("what was seen cannot be written down: %s", error)
                await asyncio.sleep(max(0.0, self._every_s - (self._elapsed() - began_s)))

    async def _look(self, client: httpx.AsyncClient, hub: Watched) -> None:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S), client.stream("GET", f"{hub.url}/-/ready") as answer:
                hub.note(await self._heard(hub, answer), self._after)
        except httpx.HTTPError as error:
            hub.note(_failure(error), self._after)
        except TimeoutError:
            hub.note(f"does not answer within {2 * _TIMEOUT_S:g} s", self._after)

    async def _heard(self, hub: Watched, answer: httpx.Response) -> str:
        """What is wrong by the hub's answer."""
        if answer.status_code in (401, 403):
            return "asks for a token: give --token, or set ALMENARA_TOKEN"
        if answer.status_code == 503:
            return f"is not ready: {await _beginning(answer)}"
        if answer.status_code != 200:
            return f"answers {answer.status_code}, not as a hub does"
        judged = answer.headers.get(JUDGED_TO, "")
        if not judged.isdecimal():
            return "answers, but not as a hub does"
        return hub.judged_to(int(judged), self._elapsed())

    def _write(self) -> None:
        """A row of each hub, in the book."""
        now = self._last_ns = max(self._clock(), self._last_ns + 1)  # also where the clock was set back
        n = len(self._hubs)
        down = np.array([one.is_down for one in self._hubs])
        notes = {at: _said(one) for at, one in enumerate(self._hubs)}
        nan = np.full(n, np.nan)
        score = np.where(down, _DOWN_SCORE, 0.0)
        verdict = Verdict(score, nan, nan, nan, np.ones(n), np.full(n, -1, np.int16), notes=notes)
        batch = Batch(self._index, np.arange(n, dtype=np.int32), np.full(n, now), np.where(down, 0.0, 1.0))
        self.book.step(now, batch, verdict, 0)
        self.book.tick(now)


def _said(hub: Watched) -> str:
    if not hub.wrong:
        return "The hub is well again"
    again = f" (seen {hub.times} times in a row)" if hub.times > 1 else ""
    return f"The hub {hub.wrong}{again}"


async def _beginning(answer: httpx.Response) -> str:
    """The first words of a body, on one line."""
    read = b""
    async for part in answer.aiter_raw():
        read += part
        if len(read) >= _MOST_BYTES:
            break
    lines = read[:_MOST_BYTES].decode("utf-8", "replace").split("\n")
    return "; ".join(line.strip() for line in lines if line.strip()) or "it does not say why"


def _failure(error: httpx.HTTPError) -> str:
    """Why there was no answer, in words."""
    if isinstance(error, httpx.TimeoutException):
        return f"does not answer within {_TIMEOUT_S:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has a certificate that is not trusted: {cause.verify_message}"
        if isinstance(cause, ConnectionRefusedError):
            return "does not answer: the connection is refused"
        cause = cause.__cause__ or cause.__context__
    return f"does not answer: {str(error) or type(error).__name__}"
