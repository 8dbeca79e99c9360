"""Round-robin databases of RRDtool, as files or as what `rrdtool dump` wrote, with pnp4nagios' descriptor beside them.

Source: https://oss.oetiker.ch/rrdtool/doc/rrddump.en.html. The program `rrdtool` reads `.rrd` files, since their bytes
differ from machine to machine; a dump needs no program.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np

from almenara.files import PART_ROWS
from almenara.files._pnp import Source, is_descriptor, sources_of
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, SeriesTable, encode_key, label_name, metric_name
from almenara.model.time import NS
from almenara.model.units import check_unit

_READ_BYTES = 1 << 20
#: An archive in a dump may not be longer: about a million rows of a data source.
_MOST_BYTES = 256 << 20
_VALUE = re.compile(rb"<v>\s*([^<\s]+)\s*</v>")


@dataclass(frozen=True, slots=True)
class Archive:
    """Rows of one resolution. time: int64[n], the end of each interval in s; value: float64[n, data sources]."""

    step_s: int
    time: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, slots=True)
class Dump:
    """A whole database. sources: (name, type) of each data source; archives: the finest first."""

    sources: list[tuple[str, str]]
    archives: list[Archive]


class Rrd:
    """Reads RRDs: of each time the finest archive there is, at the end of its interval, as `rrdtool fetch` tells them.

    With a descriptor of pnp4nagios beside it the series is `nagios_perfdata{host, service, label}` in base units, the
    same that live perfdata goes on with; else the name of the file, with the label `ds` where it has several data
    sources. RRDtool keeps counters as rates a second: those are `nagios_perfdata_rate`, or have `_rate` at their end.
    A descriptor itself gives no rows.

    Options:
        function: The archives to read; where there are none of it, those of another function.
        name: The name of the series; without it that of the file.
        labels: Labels to add.
    """

    suffixes = (".rrd", ".xml")

    def __init__(
        self,
        *,
        function: Literal["AVERAGE", "MIN", "MAX", "LAST"] = "AVERAGE",
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._function, self._name, self._labels = function, name, dict(labels or {})

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows by series and time, in parts; see `Reader`."""
        if path.suffix.lower() == ".xml" and is_descriptor(path.read_text("utf-8", "replace")[:65_536]):
            return
        with _opened(path) as stream:
            dump = read_dump(stream, self._function, str(path))
        columns = [_merged(dump.archives, at) for at in range(len(dump.sources))]
        total, done = sum(len(time) for time, _ in columns), 0
        about = sources_of(path)
        for (source, kind), (time, value) in zip(dump.sources, columns, strict=True):
            key, metadata, per = self._series(path, source, kind, about.get(source), len(dump.sources))
            for start in range(0, len(time), PART_ROWS):
                part = slice(start, start + PART_ROWS)
                n = len(time[part])
                done += n
                batch = Batch(SeriesTable.of([key]), np.zeros(n, np.int32), time[part] * NS, value[part] / per)
                yield Decoded(batch, metadata={key: metadata}), done / total

    def _series(
        self, path: Path, source: str, kind: str, about: Source | None, sources: int
    ) -> tuple[bytes, Metadata, float]:
        """Key, metadata and divisor of a data source."""
        rate = "" if kind == "GAUGE" else "_rate"
        if about is not None:
            unit, per = check_unit(about.unit)
            labels = {"host": about.host, "service": about.service, "label": about.label}
            name = self._name or "nagios_perfdata"
        else:
            unit, per, labels = "", 1.0, {"ds": source} if sources > 1 else {}
            name = self._name or metric_name(path.name.removesuffix(".xml").removesuffix(".rrd"))
        labels |= {label_name(k): v for k, v in self._labels.items()}
        return encode_key(name + rate, labels), Metadata(f"{unit or '1'}/s" if rate else unit, "gauge", ""), per


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A dump of the file. Raises OSError, and DecodeError where it is no RRD."""
    if path.suffix.lower() == ".xml":
        with path.open("rb") as file:
            yield file
        return
    with path.open("rb"):
        pass  # a missing file is an OSError, whatever rrdtool says
    program = shutil.which("rrdtool")
    if program is None:
        raise DecodeError(
            f"{path}: needs the program rrdtool: install it, or import what `rrdtool dump` wrote elsewhere"
        )
    command = [program, "dump", str(path.absolute())]
    # In other languages numbers would have commas.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"LC_ALL": "C"}
    ) as process:
        out, complaints = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
        try:
            yield out
        except DecodeError as error:
            process.kill()
            said = complaints.read(1000).decode(errors="replace").strip().removeprefix("ERROR: ")
            raise DecodeError(f"{path}: {said}" if said else str(error)) from error
        finally:
            process.kill()


def read_dump(stream: IO[bytes], function: str, where: str) -> Dump:
    """A database from its dump, with the archives of one function. Raises DecodeError."""
    blocks = _blocks(stream, where)
    head = next(blocks, b"")
    try:
        step_s, updated_s = (int(_one(rb"<%s>\s*(\d+)\s*</" % tag, head)) for tag in (b"step", b"lastupdate"))
        sources = [
            (_one(rb"<name>\s*(.*?)\s*</name>", one).decode(), _one(rb"<type>\s*(\w+)\s*</type>", one).decode())
            for one in re.findall(rb"<ds>(.*?)</ds>", head, re.DOTALL)
        ]
        found: dict[str, list[Archive]] = {}
        for block in blocks:
            name = _one(rb"<cf>\s*(\w+)\s*</cf>", block).decode()
            span_s = step_s * int(_one(rb"<pdp_per_row>\s*(\d+)\s*</", block))
            found.setdefault(name, []).append(_archive(block, len(sources), span_s, updated_s))
    except (ValueError, ZeroDivisionError) as error:
        raise DecodeError(f"{where}: is no whole dump of an RRD: {error}") from error
    if not sources or not found:
        raise DecodeError(f"{where}: found no data source with an archive, expected what `rrdtool dump` writes")
    wanted = next((name for name in (function, "AVERAGE", "LAST", "MAX", "MIN") if name in found), "")
    return Dump(sources, sorted(found.get(wanted, ()), key=lambda one: one.step_s))


def _archive(block: bytes, sources: int, span_s: int, updated_s: int) -> Archive:
    _, _, rows = block.partition(b"<database>")
    value = np.array(_VALUE.findall(rows), "S").astype(np.float64).reshape(-1, sources)
    last_s = updated_s - updated_s % span_s
    time = last_s - np.arange(len(value) - 1, -1, -1, dtype=np.int64) * span_s
    return Archive(span_s, time, value)


def _merged(archives: list[Archive], source: int) -> tuple[np.ndarray, np.ndarray]:
    """(time in s, value) of a data source, each time from the finest archive that knows it; unknown ones left out."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    until_s = np.iinfo(np.int64).max
    for archive in archives:
        value = archive.value[:, source]
        known = np.isfinite(value) & (archive.time <= until_s)
        if known.any():
            time = archive.time[known]
            parts.append((time, value[known]))
            until_s = min(until_s, int(time[0]) - archive.step_s)
    parts.reverse()
    none = np.empty(0, np.int64), np.empty(0, np.float64)
    return tuple(np.concatenate(column) for column in zip(none, *parts, strict=True))  # type: ignore[return-value]


def _blocks(stream: IO[bytes], where: str) -> Iterator[bytes]:
    """What stands before the first archive, and each archive. Raises DecodeError where the end is missing."""
    rest, mark = b"", b"<rra>"
    while piece := stream.read(_READ_BYTES):
        looked = max(0, len(rest) - len(mark))
        rest += piece
        while (at := rest.find(mark, looked)) >= 0:
            yield rest[:at]
            rest, mark, looked = rest[at + len(mark) :], b"</rra>", 0
        if len(rest) > _MOST_BYTES:
            raise DecodeError(f"{where}: found an archive of more than {_MOST_BYTES >> 20} MB")
    if b"</rrd>" not in rest:
        raise DecodeError(f"{where}: is no whole dump of an RRD: its end is missing")


def _one(pattern: bytes, text: bytes) -> bytes:
    found = re.search(pattern, text, re.DOTALL)
    if found is None:
        raise ValueError(f"found nothing like {pattern.decode()}")
    return found[1]
