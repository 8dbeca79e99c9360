"""`almenara import`: files of history to a hub, in bodies of 500,000 rows; what was cut short goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from almenara._version import __version__
from almenara.cli._import_files import Change, Chunk, Chunks, Readers, placed, sources_of
from almenara.cli._import_hub import Hub
from almenara.cli.query import start_of
from almenara.cli.terminal import show_json, show_rows
from almenara.model.batch import Rejected
from almenara.model.errors import AlmenaraError
from almenara.model.series import Series, label_name
from almenara.model.time import format_time

#: Rows left out that are told one by one.
_TOLD = 20
_TOP = 10
_LEDGER = ("stored", "duplicate", "overwritten", "late")


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for."""

    files: Sequence[Path]
    form: str = ""
    options: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    since: str = ""
    until: str = ""
    strict: bool = False
    dry_run: bool = False
    again: bool = False


class BadRow(AlmenaraError):
    """A row cannot be read, and the user wants none left out."""


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`name=value` texts. Raises AlmenaraError."""
    found = [text.partition("=") for text in texts]
    for (name, equals, _), text in zip(found, texts, strict=True):
        if not name or not equals:
            raise AlmenaraError(f"{option}: found {text!r}, expected NAME=VALUE")
    return {name: value for name, _, value in found}


def run(order: Order, *, url: str, token: str, as_json: bool) -> int:
    """Read, send, wait for judging, tell. Raises AlmenaraError, OSError. The exit code: 0, or 1 with rows left out."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        sources = sources_of(order.files, order.form)
        change = _change(order)
        with _progress(console) as progress:
            work = _Import(order, sources, change, progress, console)
            found = work.dry() if order.dry_run else work.whole(url, token)
    except OSError as error:
        raise AlmenaraError(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return 130
    if as_json:
        show_json(found)
    else:
        _show(found)
    return 0


def _change(order: Order) -> Change:
    now = time.time_ns()
    labels = {label_name(name): value for name, value in (order.labels or {}).items()}
    start = start_of(order.since, now) if order.since else Change().start
    return Change(labels, start, start_of(order.until, now) if order.until else Change().end)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


class _Import:
    """One import and what came of it."""

    def __init__(self, order: Order, sources: Sequence[Any], change: Change, progress: Progress, console: Console):
        self._order, self._sources, self._change = order, sources, change
        self._progress, self._console = progress, console
        self._told = 0
        self._size = max(1, sum(one.path.stat().st_size for one in sources))
        self._bar = progress.add_task("reading" if order.dry_run else "import", total=self._size, note="")
        self._began_s = time.monotonic()
        self.turned_away: list[str] = []

    def dry(self) -> dict[str, Any]:
        """Read everything, and send nothing."""
        chunks = self._chunks(0)
        for chunk in chunks:
            self._moved(chunk, chunks.rows)
        return self._about(chunks) | {"dry_run": True}

    def whole(self, url: str, token: str) -> dict[str, Any]:
        """Read, send, judge; the summary."""
        with closing(Hub(url, token, self._waiting)) as hub:
            notes = _Notes.of(hub.url, self._sources, self._order, self._change)
            source = _name_of(self._order.files)
            name = f"import:{source}"
            if not notes.before:
                told = hub.ledger(name)
                notes.before = {what: _amount(told.get(what, 0)) for what in (*_LEDGER, "rejected")}
                notes.keep(0)
            chunks = self._chunks(notes.chunks)
            sent = 0
            for chunk in _ahead(chunks):
                if chunk.body:
                    answer = hub.write(source, f"{notes.digest}-{chunk.number}", chunk.body)
                    self._complain(answer.complaint)
                    sent += chunk.rows
                    notes.keep(chunk.number + 1)
                self._moved(chunk, sent)
            self._settle(hub)
            after = hub.ledger(name)
            became = {what: _amount(after.get(what, 0)) - notes.before.get(what, 0) for what in _LEDGER}
            found = self._about(chunks) | became | {"sent": sent, "resumed_at": chunks.rows - sent}
            found["turned_away"] = {k: v for k, v in after.get("rejected", {}).items() if v and self.turned_away}
            self._judge(hub, chunks, became["late"])
            found |= self._flagged(hub, chunks) | {"seconds": round(time.monotonic() - self._began_s, 3)}
            notes.done()
            return found | {"dashboard": _link(hub.url, chunks, next(iter(found["flagged_most"]), ""))}

    def _chunks(self, skip: int) -> Chunks:
        return Chunks(self._sources, Readers(self._order.options or {}), self._change, self._bad, skip)

    def _bad(self, path: Path, one: Rejected) -> None:
        if self._order.strict:
            raise BadRow(placed(path, one))
        self._told += 1
        if self._told <= _TOLD:
            self._console.print(placed(path, one), markup=False)
        elif self._told == _TOLD + 1:
            self._console.print("further rows that are left out are only counted")

    def _complain(self, complaint: str) -> None:
        if complaint:
            if self._order.strict:
                raise BadRow(complaint)
            self.turned_away.append(complaint)
            if len(self.turned_away) <= _TOLD:
                self._console.print(complaint, markup=False)

    def _moved(self, chunk: Chunk, rows: int) -> None:
        rate = rows / max(1e-3, time.monotonic() - self._began_s)
        self._progress.update(self._bar, completed=chunk.done, note=f"{rows:,} rows, {rate:,.0f} rows/s")

    def _waiting(self, why: str) -> None:
        self._progress.update(self._bar, description=f"waiting: {why[:60]}" if why else "import")

    def _settle(self, hub: Hub) -> None:
        self._progress.update(self._bar, completed=self._size, description="storing and judging")
        hub.settle()

    def _judge(self, hub: Hub, chunks: Chunks, late: int) -> None:
        """Have series judged again whose rows did not come in order of time, and wait until that is done."""
        names = {Series.from_key(key).name for key in chunks.table.keys} if late > 0 else set()
        waiting = most = hub.judge_again(names)
        bar = self._progress.add_task("judging again", total=max(1, most), note="")
        while waiting and names:
            self._progress.update(bar, total=most, completed=most - waiting, note=f"{waiting:,} series wait")
            time.sleep(0.5)
            waiting = hub.judge_again()
            most = max(most, waiting)
        self._progress.update(bar, total=1, completed=1, note="")

    def _flagged(self, hub: Hub, chunks: Chunks) -> dict[str, Any]:
        """How many rows would have been flagged, by series."""
        wanted = set(chunks.table.keys)
        names = {Series.from_key(key).name for key in wanted}
        start, end = max(0, chunks.first), max(0, chunks.last + 1)
        counts = hub.anomalies(wanted, names, start, end) if wanted else {}
        top = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_TOP]
        return {
            "flagged": sum(counts.values()),
            "flagged_series": len(counts),
            "flagged_most": {str(Series.from_key(key)): n for key, n in top},
        }

    def _about(self, chunks: Chunks) -> dict[str, Any]:
        times = {"first": format_time(chunks.first), "last": format_time(chunks.last)} if chunks.rows else {}
        return {
            "files": len(self._sources),
            "rows": chunks.rows,
            "series": len(chunks.table),
            "left_out": dict(chunks.rejected),
            "seconds": round(time.monotonic() - self._began_s, 3),
            **times,
        }


def _ahead(chunks: Chunks) -> Iterator[Chunk]:
    """The chunks, read by another thread, two ahead of whoever sends them. An error there is raised here."""
    ready: queue.Queue[Chunk | BaseException | None] = queue.Queue(2)
    stop = threading.Event()

    def put(one: Chunk | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(one, timeout=0.2)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for chunk in chunks:
                put(chunk)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again where somebody looks
            put(error)

    thread = threading.Thread(target=read, name="read", daemon=True)
    thread.start()
    try:
        while (one := ready.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        stop.set()
        thread.join(5)


@dataclass(slots=True)
class _Notes:
    """How far an import has come: a small file in the user's state folder, which goes at its end."""

    path: Path
    digest: str
    chunks: int
    before: dict[str, int]  # what the ledger said at the beginning

    @classmethod
    def of(cls, url: str, sources: Sequence[Any], order: Order, change: Change) -> _Notes:
        """Those of the same files, options and hub; none yet are zero chunks. Raises OSError."""
        same = [
            __version__, url, [one.identity for one in sources], sorted((order.options or {}).items()),
            sorted(change.labels.items()), order.since, order.until,
        ]  # fmt: skip
        digest = hashlib.blake2b(json.dumps(same).encode(), digest_size=16).hexdigest()
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "almenara" / "import"
        notes = cls(folder / f"{digest}.json", digest, 0, {})
        folder.mkdir(parents=True, exist_ok=True)
        if order.again:
            notes.done()
        try:
            found = json.loads(notes.path.read_text())
            notes.chunks, notes.before = int(found["chunks"]), dict(found["before"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return notes

    def keep(self, chunks: int) -> None:
        """So many chunks are kept by the hub."""
        self.chunks = chunks
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"chunks": chunks, "before": self.before}))
        new.replace(self.path)

    def done(self) -> None:
        """Nothing is left to do."""
        self.path.unlink(missing_ok=True)


def _name_of(files: Sequence[Path]) -> str:
    """What the ledger calls this import."""
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return (files[0].name or str(files[0].resolve().name))[:200] + more


def _amount(figure: Any) -> int:
    return int(figure) if isinstance(figure, int | float) else sum(figure.values())


def _link(url: str, chunks: Chunks, flagged: str) -> str:
    """The page of a series over the time of its history: the one with the most flagged rows, else the first."""
    if not len(chunks.table) or not chunks.rows:
        return url
    first, last = chunks.first // 1_000_000, chunks.last // 1_000_000
    return f"{url}/series?name={quote(flagged or str(chunks.table[0]), safe='')}&start={first}&end={last}"


def _show(found: Mapping[str, Any]) -> None:
    """The summary for people."""
    rows = [[name.replace("_", " "), f"{found[name]:,}"] for name in ("files", "rows", "series") if name in found]
    rows += [[name, str(found[name])] for name in ("first", "last") if name in found]
    rows += [[name, f"{found[name]:,}"] for name in _LEDGER if name in found]
    if found.get("resumed_at"):
        rows.append(["sent before", f"{found['resumed_at']:,}"])
    rows += [[f"left out: {reason.replace('_', ' ')}", f"{n:,}"] for reason, n in found["left_out"].items()]
    rows += [[f"turned away: {why.replace('_', ' ')}", f"{n:,}"] for why, n in found.get("turned_away", {}).items()]
    rows.append(["seconds", f"{found['seconds']:.1f}"])
    if "flagged" in found:
        rows.append(["would have been flagged", f"{found['flagged']:,} rows of {found['flagged_series']:,} series"])
    rows += [[f"  {series}", f"{n:,}"] for series, n in found.get("flagged_most", {}).items()]
    if "dashboard" in found:
        rows.append(["look at", found["dashboard"]])
    show_rows(["import", ""], rows)
