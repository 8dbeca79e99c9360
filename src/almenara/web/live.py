"""GET /api/v1/live: server-sent events with judged rows, changes of alarms and the hub's status, as they happen.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html. Events: `rows` of the series that match[]
selects, `{"series": [label sets], "rows": [[i, t_ms, value, score, lower, upper, yhat], ...]}`; `transitions`, a list;
`status`, every two seconds, as /api/v1/status. A client that reconnects after `retry` goes on with what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from almenara.pipeline.index import Selector
from almenara.web.body import Limits
from almenara.web.errors import HttpError, dumps
from almenara.web.operate import Operate, transition_row
from almenara.web.params import read_params
from almenara.web.select import label_set, parse_all

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

KINDS = ("rows", "transitions", "status")
MAX_STREAMS = 200
MAX_ROWS = 5000  # in one event; of more the newest
STATUS_EVERY_S = 2.0
STALLED_S = 10.0  # a reader that takes nothing for so long is dropped
_RETRY = b"retry: 2000\n\n"
_MS = 1_000_000


class Live:
    """All live streams of one app."""

    def __init__(self, pipeline: Pipeline, limits: Limits, operate: Operate, closing: asyncio.Event):
        self._pipeline = pipeline
        self._limits = limits
        self._operate = operate
        self._closing = closing
        self._open = 0
        pipeline.counters.sample(lambda: [("almenara_live_streams", self._open)])

    async def live(self, request: Request) -> Response:
        """GET /api/v1/live: match[] selects the series whose rows are pushed, kinds (a,b) the events."""
        params = await read_params(request, self._limits)
        kinds = set(params.text("kinds", ",".join(KINDS)).split(","))
        if not kinds <= set(KINDS):
            raise HttpError(400, f"parameter 'kinds': expected some of {', '.join(KINDS)}")
        selectors = [Selector(self._pipeline.index, m) for m in parse_all(params.many("match"), needed=False)]
        if self._open >= MAX_STREAMS:
            raise HttpError(503, f"{MAX_STREAMS} live streams are open already", headers={"retry-after": "5"})
        return _Stream(self, selectors, kinds)

    async def run(self, selectors: Sequence[Selector], kinds: Collection[str], receive: Receive, send: Send) -> None:
        """Push events until the reader goes, stalls, or the hub stops."""
        self._open += 1
        subscription = self._pipeline.feed.subscribe()
        try:
            ended = await _first(
                self._gone(receive),
                self._closing.wait(),
                self._push_feed(subscription, selectors, kinds, send),
                self._push_status(send) if "status" in kinds else self._push_heartbeat(send),
            )
            if ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._pipeline.counters.add("almenara_live_dropped_total")
        finally:
            self._open -= 1
            subscription.close()

    async def _gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _push_feed(
        self, subscription: AsyncIterator[Any], selectors: Sequence[Selector], kinds: Collection[str], send: Send
    ) -> None:
        async for judged in subscription:
            if "transitions" in kinds and judged.transitions:
                await _push(send, "transitions", [transition_row(one) for one in judged.transitions])
            if "rows" in kinds and selectors and (rows := compact(judged.batch, judged.verdict, selectors)):
                await _push(send, "rows", rows)

    async def _push_status(self, send: Send) -> None:
        while True:
            await _push(send, "status", self._operate.status_now())
            await asyncio.sleep(STATUS_EVERY_S)

    async def _push_heartbeat(self, send: Send) -> None:
        while True:
            await _deliver(send, b": still here\n\n")
            await asyncio.sleep(15)


class _Stream(Response):
    media_type = "text/event-stream"

    def __init__(self, live: Live, selectors: Sequence[Selector], kinds: Collection[str]):
        self.status_code, self.background = 200, None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._live, self._selectors, self._kinds = live, selectors, kinds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = scope["method"] != "HEAD"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": _RETRY, "more_body": more})
        if more:
            await self._live.run(self._selectors, self._kinds, receive, send)


def compact(batch: Any, verdict: Any, selectors: Sequence[Selector]) -> dict[str, Any] | None:
    """The rows of the series that any selector holds, for JSON; None where there is none."""
    ids = np.asarray(batch.id)
    mask = selectors[0].mask()
    for selector in selectors[1:]:
        other = selector.mask()
        mask = mask[: len(other)] | other[: len(mask)]
    at = np.flatnonzero(mask[ids])
    if not len(at):
        return None
    left_out = max(0, len(at) - MAX_ROWS)
    if left_out:
        newest = np.argpartition(np.asarray(batch.time)[at], left_out)[left_out:]
        at = at[np.sort(newest)]
    found, which = np.unique(ids[at], return_inverse=True)
    columns = [
        which,
        np.asarray(batch.time)[at] // _MS,
        np.asarray(verdict.judged(batch))[at],
        np.round(np.asarray(verdict.score)[at], 4),
        *(column[at] for column in (verdict.lower, verdict.upper, verdict.yhat)),
    ]
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    answer: dict[str, Any] = {"series": [label_set(batch.series[id]) for id in found.tolist()], "rows": rows}
    return {**answer, "left_out": left_out} if left_out else answer


async def _push(send: Send, event: str, data: object) -> None:
    await _deliver(send, b"event: %s\ndata: %s\n\n" % (event.encode(), dumps(data)))


async def _deliver(send: Send, text: bytes) -> None:
    async with asyncio.timeout(STALLED_S):
        await send({"type": "http.response.body", "body": text, "more_body": True})


async def _first(*coroutines: Coroutine[Any, Any, Any]) -> bool:
    """Run all until one ends, cancel the others, and raise what it raised. False where that was the first of them."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    return tasks[0] not in done
