"""`almenara export`: stored rows of a hub to a CSV or Parquet file, a part at a time; `almenara import` reads them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from almenara.cli._import_hub import Hub
from almenara.cli.query import start_of
from almenara.cli.terminal import show_json
from almenara.model.errors import AlmenaraError, MissingExtra
from almenara.model.series import label_name

if TYPE_CHECKING:
    from almenara.model.batch import Batch

FORMATS = ("csv", "parquet")
_HOUR_NS = 3600 * 10**9

Write = Callable[["Batch"], None]


def run(
    selectors: Sequence[str], *, since: str, until: str, form: str, output: Path | None, labels: Sequence[str],
    url: str, token: str, as_json: bool,
) -> int:  # fmt: skip
    """Ask, write, tell. labels: these become columns, and `series` is the name; without them `series` holds all.

    Raises AlmenaraError. The file is whole or not there: it is written under another name first."""
    form = form or ("parquet" if output is not None and output.suffix.lower() in (".parquet", ".pq") else "csv")
    if form not in FORMATS:
        raise AlmenaraError(f"--format: found {form!r}, expected {' or '.join(FORMATS)}")
    if output is None and form == "parquet":
        raise AlmenaraError("--output: Parquet needs a file: -o FILE")
    labels, now = [label_name(one) for one in labels], time.time_ns()
    start = max(0, start_of(since, now)) if since else 0
    end = start_of(until, now) if until else now + _HOUR_NS
    rows = series = 0
    with closing(Hub(url, token)) as hub, _writer(form, output, labels) as write, _bar() as moved:
        seen: set[bytes] = set()
        for batch in hub.rows(selectors, start, end):
            write(batch)
            rows += len(batch)
            seen.update(batch.series.keys[i] for i in np.unique(batch.id).tolist())
            moved(rows, len(seen))
        series = len(seen)
    if as_json:
        show_json({"rows": rows, "series": series, "file": str(output) if output else "", "format": form})
    else:
        where = f" to {output}" if output else ""
        Console(stderr=True, highlight=False).print(f"{rows:,} rows of {series:,} series{where}", markup=False)
    return 0


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    console, began_s = Console(stderr=True), time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("export", total=None)

        def moved(rows: int, series: int) -> None:
            rate = rows / max(1e-3, time.monotonic() - began_s)
            progress.update(bar, description=f"{rows:,} rows of {series:,} series, {rate:,.0f} rows/s")

        yield moved


@contextmanager
def _writer(form: str, output: Path | None, labels: Sequence[str]) -> Iterator[Write]:
    """What takes batches; the file appears under its name when all were taken."""
    if output is None:
        yield _csv(sys.stdout.buffer, labels)
        sys.stdout.buffer.flush()
        return
    part = output.with_name(output.name + ".part")
    try:
        with ExitStack() as stack:
            if form == "csv":
                yield _csv(stack.enter_context(part.open("wb")), labels)
            else:
                yield _parquet(stack, part, labels)
        os.replace(part, output)
    except OSError as error:
        raise AlmenaraError(f"{output}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _csv(file: IO[bytes], labels: Sequence[str]) -> Write:
    """Columns time, series, value; or time, name, the labels, value."""
    from almenara.web.export import csv_numbers, csv_times

    file.write((",".join(["time", *(["name", *labels] if labels else ["series"]), "value"]) + "\n").encode())

    def write(batch: Batch) -> None:
        times, values = csv_times(batch.time), csv_numbers(batch.value)
        used = np.unique(batch.id).tolist()
        texts = {id: ",".join(map(_quoted, _about(batch, id, labels))) for id in used}
        lines = [f"{t}Z,{texts[i]},{v}\n" for t, i, v in zip(times, batch.id.tolist(), values, strict=True)]
        file.write("".join(lines).encode())

    return write


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _about(batch: Batch, id: int, labels: Sequence[str]) -> list[str]:
    """The text of a series, or its name and these labels of it."""
    one = batch.series[id]
    return [one.name, *(dict(one.labels).get(label, "") for label in labels)] if labels else [str(one)]


def _parquet(stack: ExitStack, path: Path, labels: Sequence[str]) -> Write:
    """The same columns; the time is a timestamp in ns, UTC."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("writing Parquet", "files") from error
    words = pa.dictionary(pa.int32(), pa.string())
    titles = ["name", *labels] if labels else ["series"]
    time_type = pa.timestamp("ns", "UTC")
    schema = pa.schema([("time", time_type), *((title, words) for title in titles), ("value", pa.float64())])
    writer: Any = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))

    def write(batch: Batch) -> None:
        used, local = np.unique(batch.id, return_inverse=True)
        columns = zip(*(_about(batch, id, labels) for id in used.tolist()), strict=True)
        codes = pa.array(local.astype(np.int32))
        texts = [pa.DictionaryArray.from_arrays(codes, pa.array(column, pa.string())) for column in columns]
        time = pa.array(np.asarray(batch.time).view("datetime64[ns]")).cast(time_type)
        # from_pandas would make NaN, which is a value known to be missing, a cell that is not there.
        value = pa.array(np.asarray(batch.value), from_pandas=False)
        writer.write_table(pa.Table.from_arrays([time, *texts, value], schema=schema))

    return write
