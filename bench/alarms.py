"""How many alarms a second go through the whole chain, and how long it takes from a sample to the message.

    python bench/alarms.py [alarms] [series]

First all alarms fire at once, each on a series of its own, and are sent; then single rows among `series` series
each raise one alarm, and the time from when a judged row is given to the book to when the notifier has the message is
taken; committing and judging come on top. The database is synced as in a hub. CPU seconds are of the whole process.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.model.alarm import Notice
from almenara.model.batch import Batch
from almenara.model.series import encode_key
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.judge import empty_verdict

SINGLE = 100


class Counting:
    """Keeps when it had which message."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []  # (time, alarms)

    async def notify(self, notice: Notice) -> None:
        """Take it."""
        self.heard.append((time.perf_counter_ns(), len(notice.incident.members)))


def _rows(index: SeriesIndex, ids: np.ndarray, value: float) -> Batch:
    n = len(ids)
    return Batch(index, ids.astype(np.int32), np.full(n, time.time_ns(), np.int64), np.full(n, value))


async def _until(counting: Counting, n: int) -> None:
    while len(counting.heard) < n:
        await asyncio.sleep(0.0005)


async def _run(path: Path, alarms: int, series: int) -> None:
    index, folder = SeriesIndex(), DataFolder(path)
    index.add([encode_key("cpu", {"host": f"h{k}"}) for k in range(alarms + series)])
    book = Book(
        folder.database, [Rule("hot", "cpu > 90")], index, lambda matchers: Selector(index, matchers),
        notifiers=["bench"], clock=time.time_ns,
    )  # fmt: skip
    counting = Counting()
    sending = asyncio.create_task(Sender(folder.database, {"bench": counting}, book).run())
    everyone = np.arange(alarms + series)
    book.step(1, _rows(index, everyone, 1.0), empty_verdict(len(everyone)), 0)  # compiles, and makes tables
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.to_thread(book.step, 2, _rows(index, np.arange(alarms), 95.0), empty_verdict(alarms), 0)
    decided = time.perf_counter()
    await _until(counting, 1)
    sent, used = time.perf_counter() - began, time.process_time() - cpu
    print(f"{alarms} alarms at once: decided and on disk in {decided - began:.2f} s, first message after {sent:.2f} s, "
          f"{alarms / sent:.0f} alarms/s, {used:.2f} CPU seconds, {len(book.incidents())} incidents")  # fmt: skip
    await asyncio.to_thread(book.step, 3, _rows(index, np.arange(alarms), 1.0), empty_verdict(alarms), 0)
    await _until(counting, 2)
    await _singles(book, index, counting, alarms)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    book.close()
    folder.close()


async def _singles(book: Book, index: SeriesIndex, counting: Counting, first: int) -> None:
    took, cpu = [], time.process_time()
    n = len(index) - first
    for k in range(SINGLE):
        values = _rows(index, np.arange(first, first + n), 1.0)
        values.value[k] = 95.0
        began, known = time.perf_counter_ns(), len(counting.heard)
        await asyncio.to_thread(book.step, 4 + 2 * k, values, empty_verdict(n), 0)
        await _until(counting, known + 1)
        took.append(counting.heard[known][0] - began)
        known = len(counting.heard)
        await asyncio.to_thread(book.step, 5 + 2 * k, _rows(index, np.array([first + k]), 1.0), empty_verdict(1), 0)
        await _until(counting, known + 1)
    p50, p99 = np.percentile(np.array(took) / 1e9, [50, 99])
    used = time.process_time() - cpu
    print(f"{SINGLE} single alarms among {n} series, sample to message:")
    print(f"p50 {p50:.3f} s, p99 {p99:.3f} s, {used:.2f} CPU seconds")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_run(Path(name), *(numbers + [10_000, 10_000][len(numbers) :])))
