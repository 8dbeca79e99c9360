"""Whisper files, in which Graphite keeps its series: one file a series, in a tree of folders that is its path.

Format: https://graphite.readthedocs.io/en/latest/whisper.html; the head is read by the package `whisper`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from almenara.codecs.graphite import Graphite
from almenara.files import PART_ROWS
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import SeriesTable
from almenara.model.time import NS
from almenara.plugin.contracts import Context

_POINT = np.dtype([("time", ">u4"), ("value", ">f8")])

Rows = tuple[np.ndarray, np.ndarray]


class Whisper:
    """Reads `.wsp` files: of each time the finest archive there is. Times are the begins of intervals, as in Graphite.

    The path below `root` names the series as the codec `graphite` does of live data: `servers/web1/load.wsp` is
    `servers_web1_load`, and with the template `.host.measurement*` it is `load{host="web1"}`.

    codec: its options say how names are made. root: the folder that paths begin in; none: only the file's name counts.
    """

    suffixes = (".wsp",)

    def __init__(self, codec: Graphite | None = None, root: Path | None = None):
        self._codec, self._root = codec or Graphite(), root

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows in order of time; see `Reader`."""
        try:
            import whisper
        except ImportError as error:
            raise MissingExtra("reading Whisper files", "files") from error
        with path.open("rb") as file:
            try:
                head = whisper.info(str(path))
            except (whisper.WhisperException, ValueError, KeyError) as error:
                raise DecodeError(f"{path}: is no Whisper file: {error}") from error
            if head is None:
                raise DecodeError(f"{path}: is no Whisper file")
            archives = [_archive(file, one, path) for one in head["archives"]]
        time, value = _merged(archives)
        table = SeriesTable.of([self._key(path)])
        for start in range(0, len(time), PART_ROWS):
            part = slice(start, start + PART_ROWS)
            rows = Batch(table, np.zeros(len(time[part]), np.int32), time[part] * NS, value[part])
            yield Decoded(rows), min(1.0, (start + PART_ROWS) / len(time))

    def _key(self, path: Path) -> bytes:
        inside = path.resolve().relative_to(self._root.resolve()) if self._root is not None else Path(path.name)
        dotted = ".".join(inside.with_suffix("").parts).replace(" ", "_")
        batch = self._codec.decode(f"{dotted} 0 1000000000\n".encode(), Context()).batch
        return batch.series.keys[batch.id[0]]


def _archive(file: Any, about: dict[str, int], path: Path) -> tuple[int, Rows]:
    """(seconds of an interval, (time in s, value) of the points that the archive still keeps, in order of time)."""
    step_s, size = about["secondsPerPoint"], about["points"] * _POINT.itemsize
    file.seek(about["offset"])
    raw = file.read(size)
    if len(raw) != size or step_s <= 0:
        raise DecodeError(f"{path}: found {len(raw)} bytes of an archive, expected {size}: it is cut short")
    points = np.frombuffer(raw, _POINT)
    time, value = points["time"].astype(np.int64), points["value"].astype(np.float64)
    # It is a ring: a slot that was not written in the last round still holds what it did in one before.
    known = (time > 0) & np.isfinite(value) & (time > time.max(initial=0) - step_s * len(points))
    order = np.argsort(time[known], kind="stable")
    return step_s, (time[known][order], value[known][order])


def _merged(archives: list[tuple[int, Rows]]) -> Rows:
    """(time in s, value), each time from the finest archive that knows it."""
    parts: list[Rows] = []
    until_s = np.iinfo(np.int64).max
    for step_s, (time, value) in sorted(archives, key=lambda one: one[0]):
        early = time <= until_s - step_s
        if early.any():
            parts.append((time[early], value[early]))
            until_s = int(time[0])
    none = np.empty(0, np.int64), np.empty(0, np.float64)
    times, values = zip(none, *reversed(parts), strict=True)
    return np.concatenate(times), np.concatenate(values)
