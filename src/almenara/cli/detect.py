"""`almenara detect`: files of history judged in the terminal, without a hub; the worst anomalies first."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from almenara.analysis.rates import weekly
from almenara.analysis.tuning import Tuning
from almenara.cli._import_files import Readers, Source, _valued, placed, sources_of
from almenara.cli.terminal import is_terminal, show_json, show_rows
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import AlmenaraError
from almenara.model.series import Metadata, Series, SeriesTable
from almenara.model.time import WEEK_NS, format_time
from almenara.notebook.anomalies import HEADS, Found, anomalies, table
from almenara.notebook.detect import columns_of
from almenara.notebook.judge import KINDS, SEVERITIES, Answers, Choice, judge, tuning_of
from almenara.plugin import options, registry

#: Rows left out that are told one by one.
_TOLD = 20
_WRITE_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for. choice: its `options` are texts still."""

    files: Sequence[Path]
    choice: Choice
    form: str = ""
    format_options: Mapping[str, str] = field(default_factory=dict)
    plot: Path | None = None
    output: Path | None = None
    only_anomalies: bool = False
    as_json: bool = False
    top: int = 20


@dataclass(slots=True)
class _Samples:
    """All rows of all files, in their order."""

    table: SeriesTable = field(default_factory=SeriesTable)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    metadata: dict[bytes, Metadata] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Take rows over; series of all files are told apart by their keys alone."""
        if not len(batch):
            return
        id = np.asarray(batch.id)
        used, local = np.unique(id, return_inverse=True)
        own = np.array([self.table.intern(batch.series.keys[i]) for i in used.tolist()], np.int32)
        self.parts.append((own[local], np.asarray(batch.time, np.int64), np.asarray(batch.value, np.float64)))

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """id, time, value."""
        if not self.parts:
            raise AlmenaraError("detect: found no row in the files, expected rows with a time and a value")
        id, time, value = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        self.parts.clear()
        return id, time, value

    def kinds(self) -> dict[str, str]:
        """What the files say of series, by their texts."""
        found = {}
        for key in self.table.keys:
            series = Series.from_key(key)
            about = self.metadata.get(key) or self.metadata.get(series.name.encode())
            if about and about.kind in KINDS:
                found[str(series)] = about.kind
        return found


def run(order: Order) -> int:
    """Read, judge, show, and write what was asked for. Raises AlmenaraError. The exit code: 0, whatever was found."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    _check(order)
    try:
        with _progress(console) as progress:
            samples = _read(order, progress, console)
            id, time, value = samples.columns()
            _check_times(samples, id, time)
            bar = progress.add_task(f"judging {len(id):,} rows", total=None)
            choice = replace(order.choice, kinds=samples.kinds() | dict(order.choice.kinds or {}))
            choice = replace(choice, options=_typed(choice))
            answers = judge(samples.table.keys, id, time, value, choice)
            found = anomalies(id, time, answers)
            progress.update(bar, description="writing")
            if order.plot is not None:
                _draw(order, samples, id, time, answers)
            if order.output is not None:
                _write(order.output, samples, id, time, value, answers, order.only_anomalies)
    except OSError as error:
        raise AlmenaraError(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")) from error
    about = _about(samples, order, id, time, answers, found)
    if order.as_json:
        show_json(about | {"anomalies": _told(samples, id, time, answers, found)})
        return 0
    rows = table(samples.table.keys, id, time, answers, found, order.top)
    if rows and is_terminal():  # sentences are long, so each stands below its series
        seen = [[begins[:-1].replace("T", " "), level, f"{of}\n{why}"] for begins, of, level, _, _, why in rows]
        show_rows([HEADS[0], HEADS[2], "what"], seen)
    elif rows:
        show_rows(list(HEADS), rows)
    _summary(console, about, len(rows))
    return 0


def tuning_from(texts: Mapping[str, str], ignored: Sequence[str]) -> Tuning:
    """Options on what counts, from texts such as data_range=0,100, and conditions of rows that do not. Raises
    AlmenaraError."""
    given: dict[str, Any] = dict(texts)
    for name in given.keys() - {"detection_direction"}:
        try:
            numbers = [float(one) for one in texts[name].split(",")]
        except ValueError as error:
            raise AlmenaraError(f"{name}: found {texts[name]!r}, expected a number, or two: 0,100") from error
        given[name] = numbers[0] if len(numbers) == 1 else numbers
    return tuning_of(**given, rules=[{"conditions": one} for one in ignored])


def _check(order: Order) -> None:
    """What would be found out only after long work."""
    if order.plot is not None:
        from almenara.notebook.picture import check

        check(order.plot)
    for path in order.files:
        for out in (order.plot, order.output):
            if out is not None and path.exists() and out.exists() and path.samefile(out):
                raise AlmenaraError(f"{out}: is read and to be written, expected another name")


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _read(order: Order, progress: Progress, console: Console) -> _Samples:
    samples, told = _Samples(), 0
    readers = Readers(order.format_options)
    with tempfile.TemporaryDirectory(prefix="almenara-") as folder:
        sources = _sources(order, Path(folder))
        sizes = [max(1, one.path.stat().st_size) for one in sources]
        bar = progress.add_task("reading", total=sum(sizes))
        for at, source in enumerate(sources):
            for decoded, share in readers.reader(source).batches(source.path):
                told = _take(samples, decoded, source.path, console, told)
                progress.update(bar, completed=sum(sizes[:at]) + share * sizes[at])
    return samples


def _sources(order: Order, folder: Path) -> list[Source]:
    """The files; the standard input becomes one, since readers look at a file more than once."""
    found: list[Source] = []
    for path in order.files:
        if str(path) != "-":
            found += sources_of([path], order.form)
            continue
        form = order.form or "csv"
        copy = folder / f"standard-input.{form}"
        with copy.open("wb") as out:
            shutil.copyfileobj(sys.stdin.buffer, out)
        found.append(Source(copy, form, None))
    return found


def _take(samples: _Samples, decoded: Decoded, path: Path, console: Console, told: int) -> int:
    """Rows of a part; returns how many that were left out have been told."""
    samples.add(decoded.batch)
    samples.metadata.update(decoded.metadata)
    for one in decoded.rejected:
        samples.rejected[one.reason] = samples.rejected.get(one.reason, 0) + one.rows
        told += 1
        if told <= _TOLD:
            console.print(placed(path, one), markup=False)
        elif told == _TOLD + 1:
            console.print("further rows that are left out are only counted")
    return told


def _check_times(samples: _Samples, id: np.ndarray, time: np.ndarray) -> None:
    """A file without times has the same one in every row; nothing can be learned from that."""
    if len(time) > len(samples.table) and time.min() == time.max():
        raise AlmenaraError(
            f"detect: found one time, {format_time(int(time[0]))}, in all {len(time):,} rows; is there a column of "
            "times? Name it with --time"
        )


def _typed(choice: Choice) -> dict[str, Any]:
    """The detector's options from the texts of a command line; wrong ones are left to be told by what checks them."""
    kinds = {one.name: one.annotation for one in options.options_of(registry.load("detector", choice.detector))}
    given = choice.options or {}
    return {name: _valued(text, kinds[name]) if name in kinds else text for name, text in given.items()}


def _draw(order: Order, samples: _Samples, id: np.ndarray, time: np.ndarray, answers: Answers) -> None:
    from almenara.notebook.picture import save

    names = ", ".join("standard input" if str(one) == "-" else one.name for one in order.files[:3])
    title = f"What was unusual in {names}{' and others' if len(order.files) > 3 else ''}"
    save(order.plot or Path(), samples.table.keys, id, time, answers, title)


def _write(
    path: Path, samples: _Samples, id: np.ndarray, time: np.ndarray, value: np.ndarray, answers: Answers, only: bool
) -> None:
    """A line a row, in the order they were read; missing values and scores are empty cells."""
    import pandas

    names = np.array([str(one) for one in samples.table], object)
    rows = np.flatnonzero(answers.level) if only else np.arange(len(id))
    columns = columns_of(answers)
    unit: Any = next((one for one, ns in (("s", 10**9), ("ms", 10**6)) if not (time % ns).any()), "ns")
    for start in range(0, max(1, len(rows)), _WRITE_ROWS):
        part = rows[start : start + _WRITE_ROWS]
        made: dict[str, Any] = {
            "time": np.char.add(np.datetime_as_string(time[part].view("M8[ns]"), unit=unit), "Z"),
            "series": names[id[part]],
            "value": value[part],
        }
        for title, column in columns.items():
            made[title] = np.array(column[1], object)[column[0][part]] if isinstance(column, tuple) else column[part]
        made["alert"] = np.where(made["alert"], "true", "false")
        pandas.DataFrame(made).to_csv(path, index=False, header=start == 0, mode="w" if start == 0 else "a")


def _about(
    samples: _Samples, order: Order, id: np.ndarray, time: np.ndarray, answers: Answers, found: Found
) -> dict[str, Any]:
    weeks = (int(time.max()) - int(time.min())) / WEEK_NS
    rate, low, high = (round(one, 3) if one < np.inf else None for one in weekly(len(found.row), weeks))
    files = {"plot": str(order.plot) if order.plot else None, "output": str(order.output) if order.output else None}
    return {
        "rows": len(id),
        "series": len(samples.table),
        "first": format_time(int(time.min())),
        "last": format_time(int(time.max())),
        "judged": int(np.count_nonzero(~np.isnan(answers.score))),
        "flagged": int(np.count_nonzero(answers.level)),
        "found": len(found.row),
        "per_week": rate,
        "per_week_interval": [low, high],
        "budget_per_week": order.choice.budget_per_week,
        "p_limit": answers.p_limit,
        "left_out": samples.rejected,
        **{name: path for name, path in files.items() if path},
    }


def _told(samples: _Samples, id: np.ndarray, time: np.ndarray, answers: Answers, found: Found) -> list[dict[str, Any]]:
    """Every anomaly, in order of time, for programs."""
    which, texts = answers.why()
    rows = []
    for row, last, worst, count in zip(
        *(c.tolist() for c in (found.row, found.last, found.worst, found.rows)), strict=True
    ):
        numbers = {
            "value": answers.value,
            "yhat": answers.yhat,
            "yhat_lower": answers.lower,
            "yhat_upper": answers.upper,
        }
        rows.append(
            {
                "series": str(samples.table[int(id[row])]),
                "begins": format_time(int(time[row])),
                "ends": format_time(int(time[last])),
                "rows": count,
                "worst": format_time(int(time[worst])),
                "severity": SEVERITIES[int(answers.level[worst])],
                "score": float(answers.score[worst]),
                **{name: float(column[worst]) for name, column in numbers.items()},
                "why": texts[which[worst]],
            }
        )
    return rows


def _summary(console: Console, about: Mapping[str, Any], shown: int) -> None:
    """What was read and found, behind the table; on the standard error, so that a pipe has the table alone."""
    count, (low, high) = about["found"], about["per_week_interval"]
    said = f"{about['rows']:,} rows of {about['series']:,} series, {about['first']} to {about['last']}: "
    said += f"{count:,} anomal{'y' if count == 1 else 'ies'}" if count else "no anomaly"
    if about["per_week"] is not None:
        said += f", {about['per_week']:.3g} a week (95 %: {low:.3g} to {high:.3g})"
    if (budget := about["budget_per_week"]) is not None:
        said += f", of at most {budget:g} asked for"
    if is_terminal():
        console.print()
    console.print(said, markup=False, soft_wrap=True)
    if unjudged := about["rows"] - about["judged"]:
        console.print(f"{unjudged:,} rows were not judged: too early in their series, or without a value", markup=False)
    if shown < count:
        console.print(f"the {shown} worst are shown; --top {count} shows all", markup=False)
    for reason, rows in about["left_out"].items():
        console.print(f"left out: {reason.replace('_', ' ')}: {rows:,} rows", markup=False)
    for what in ("plot", "output"):
        if what in about:
            console.print(f"written: {about[what]}", markup=False, soft_wrap=True)
