"""Compile what must be compiled: all that a sample meets before the first of them, about a minute on a first start and
later a moment; the readers of formats that not every hub gets, beside its work.

There is one compiler, and who needs it waits: a row that met something not yet compiled, while readers are, would wait
for all of them.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from almenara.alarm.book import Book
from almenara.alarm.residuals import Residuals
from almenara.alarm.rules import Rule
from almenara.analysis.cooccurrence import cooccur, histories
from almenara.analysis.correlation import correlate, ranked
from almenara.analysis.runs import crossings, starts
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.model.time import NS
from almenara.pipeline.account import match
from almenara.pipeline.admission import Admission
from almenara.pipeline.counters import Counters
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.judge import Judge, Watch, empty_verdict
from almenara.pipeline.order import sort_rows
from almenara.pipeline.recent import locate
from almenara.pipeline.threads import name_thread
from almenara.plugin.contracts import Context
from almenara.query import parse_selector
from almenara.stores.dirty import pairs_of
from almenara.stores.rows import checked_rows, last_of_each

log = logging.getLogger(__name__)

#: What each codec is shown; others are warm from the start.
_PAYLOADS = {
    "influx": b"warm,up=1 value=1 1\n",
    "json": b'[{"warm":1,"up":"x"}' + b',{"warm":2,"up":"x"}' * 300 + b"]",  # as long as it takes to be read compiled
}
#: The same for codecs that most hubs do not use, where a link or topic of this hub does.
_WHERE_CONFIGURED = {"graphite": b"warm.up 1 1\n"}


def steps(options: Options) -> Iterator[tuple[str, Callable[[], object]]]:
    """(what it is, how to do it) for everything that a hub with these options compiles."""
    for name, decoding in options.codecs.items():
        if name in _PAYLOADS:
            yield f"reading {name}", partial(_decode, decoding, _PAYLOADS[name])
        if decoding.plugin in _WHERE_CONFIGURED:
            yield f"reading {decoding.plugin}", partial(_decode, decoding, _WHERE_CONFIGURED[decoding.plugin])
    yield "series index", _index
    yield "admission", partial(_admit, options)
    yield "ledger", _account
    yield "storing", _store
    yield "sorting", lambda: sort_rows(np.zeros(2, np.int32), np.arange(2, dtype=np.int64)[::-1].copy(), np.zeros(2))
    for watch in options.watches:
        yield f"judging: {watch.name}", partial(_judge, watch)
    yield "judging", partial(_judge_all, options.watches)
    yield "alarms", _alarms
    yield "folding alarms", _fold
    yield "queries", _query


def later(options: Options) -> Iterator[tuple[str, Callable[[], object]]]:
    """The same for what can wait until the hub is at work: its readers first that links and topics of it use."""
    codecs = options.codecs
    used = [decoding.plugin for decoding in codecs.values() if decoding.plugin in codecs]
    for name in dict.fromkeys([*used, *(name for name, decoding in codecs.items() if not decoding.plugin)]):
        if name not in _PAYLOADS:
            yield f"reading {name}", partial(_read_own, codecs[name])


def compile_beside(options: Options) -> Callable[[], None]:
    """Do what `later` gives in a thread, and say in the log when it is done. The answer ends it after the function that
    it is at; nobody need wait for that."""
    stop = threading.Event()
    # A daemon, for the compiler cannot be cut short.
    threading.Thread(target=_compile_all, args=(later(options), stop), name="compile", daemon=True).start()
    return stop.set


def _compile_all(steps: Iterator[tuple[str, Callable[[], object]]], stop: threading.Event) -> None:
    # As nice as all others: it holds the interpreter's lock at times, and on a busy machine a thread of lower priority
    # holds it until it gets a turn of the processor (measured: 0.5 s instead of 0.1 s until the others could go on).
    name_thread()
    began_s = time.monotonic()
    for name, do in steps:
        if stop.is_set():
            return
        try:
            do()
        except Exception as error:  # a plugin's mistake; it tells of it again when it is used
            log.warning("not compiled ahead: %s: %s: %s", name, type(error).__name__, error)
    log.info("all readers are compiled, after %.1f s", time.monotonic() - began_s)


def _read_own(decoding: Decoding) -> None:
    codec = decoding.make()
    codec.decode(codec.encode(_one_row()), Context())


def _judge_all(watches: Sequence[Watch]) -> None:
    """The first steps of a counter, and an index that grows."""
    index, row = SeriesIndex(), _one_row()
    index.add([b"warm_up_total", *(b"warm_up_%d" % n for n in range(600))])
    Judge(index, watches, Counters()).step(Batch(index, row.id, row.time, row.value))


def _decode(decoding: Decoding, payload: bytes) -> None:
    decoding.make().decode(payload, Context())


def _judge(watch: Watch) -> None:
    watch.make().step(_one_row())


def _one_row() -> Batch:
    return Batch(
        SeriesTable.of([b"warm_up"]), np.zeros(1, np.int32), np.full(1, 1_700_000_000 * NS, np.int64), np.zeros(1)
    )


def _alarms() -> None:
    batch, index = _one_row(), SeriesIndex()
    index.add([batch.series.keys[0]])
    # Two connections to one database that is nowhere on disk, as a book wants.
    book = Book(
        lambda: sqlite3.connect("file:warm_up?mode=memory&cache=shared", uri=True, isolation_level=None),
        [Rule("warm_up", "warm_up < 1", keep_firing_for_s=60)], index, lambda matchers: Selector(index, matchers),
    )  # fmt: skip
    book.step(1, batch, empty_verdict(1), 0)
    book.tick(batch.time[0])
    book.close()


def _fold() -> None:
    Residuals(1).step(_one_row(), empty_verdict(1))
    moves, begins = ranked(np.zeros((2, 4), np.float32)), histories([0, 1], [0, 0], 2)
    correlate(moves, moves, 1)
    cooccur(begins, begins, 1.0, 1)


def _index() -> None:
    index = SeriesIndex()
    index.add([b"warm_up\xffa\xfeb"])
    index.select(parse_selector('warm_up{a="b"}'))


def _admit(options: Options) -> None:
    batch = _one_row()
    admission = Admission(SeriesIndex(), options.limits, lambda first, keys: None)
    for _ in range(2):  # the second time with what it knows then
        admission.admit(batch, int(batch.time[0]))


def _store() -> None:
    id, time, _ = checked_rows(_one_row())
    pairs_of(id, time)
    last_of_each(id)


def _account() -> None:
    one = np.ones(1, np.int64)
    match(one.astype(np.int32), one, one.astype(np.int32), one)
    locate(one, one - 1, one, one)
    crossings(starts(one.astype(np.int32)).astype(np.int32), one * 0.5, np.zeros(1, np.bool_), keep_unsaid=True)


def _query() -> None:
    from almenara.query import evaluate, parse

    class OneRow:
        def select(self, matchers: object, start_ns: int, end_ns: int) -> Batch:
            return _one_row()

    now = 1_700_000_000 * NS
    evaluate(parse("sum(rate(warm_up[5m]))"), now, now, 0, OneRow())
