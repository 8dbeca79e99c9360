"""Snapshots: what was learned up to a segment, on disk, so that a restart goes on from there.

state/0000000042.1/   the first after segment 42 was judged: about.json, rest.npz and numbered slices of series, each of
                      which had seen segments up to one of its own (docs/decisions/0006-snapshots-in-slices.md)

Plain arrays, never pickles. A snapshot never takes the place of another one under its name: there is no moment at which
none is whole. Nothing here knows what the arrays mean; they have numbers of formats of their own.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from almenara.pipeline.log import sync_folder

log = logging.getLogger(__name__)

#: Of the files and of about.json. A snapshot of another format is not read: detectors learn again from the store.
FORMAT = 2

State = Mapping[str, Mapping[str, np.ndarray]]

_NAME = re.compile(r"\d+(\.\d+)?")
#: What numpy and zipfile raise for a damaged file.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class Damaged(Exception):
    """A snapshot cannot be read."""


@dataclass(frozen=True, slots=True)
class About:
    """What a snapshot is of: everything up to segment `seq`; up to where each bus was read by then; who learned it."""

    seq: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""  # which detectors with which options
    series: int = 0  # how many series there were,
    keys: int = 0  # and a checksum of their keys: arrays are by series id, and ids are the store's
    parts: Sequence[tuple[int, int, int]] = ()  # slices: (first series, end, up to which segment)
    format: int = FORMAT

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> About:
        """From about.json; what another version wrote beside is left out."""
        known = {one.name: found[one.name] for one in fields(cls) if one.name in found}
        return cls(**{"format": 1, **known})

    @property
    def seen(self) -> Seen:
        """Which segments the state of each series has seen."""
        return Seen(self.seq, self.parts)


class Seen:
    """Which segments the state of each series has seen: all up to that of its slice; nothing is known after `seq`."""

    def __init__(self, seq: int, parts: Sequence[tuple[int, int, int]] = ()):
        self.seq = seq
        self.least = min((part_seq for *_, part_seq in parts), default=seq)  # what all have seen
        self._first = np.array([first for first, *_ in parts] or [0], np.int64)
        self._seq = np.array([part_seq for *_, part_seq in parts] or [seq], np.int64)

    def not_by(self, id: np.ndarray, seq: int) -> np.ndarray:
        """bool[n]: rows of segment `seq`, of series id, that the state has not seen."""
        return self._seq[np.searchsorted(self._first, id, "right") - 1] < seq


def begin(folder: Path) -> None:
    """Make room for a new snapshot; what was begun before and not finished is gone."""
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()


def save_part(folder: Path, number: int, state: State) -> None:
    """Write a slice; on disk when this returns."""
    _save(folder / "new" / f"{number:05d}.npz", state)


def finish(folder: Path, about: About, rest: State) -> None:
    """Write what is beside the slices; when this returns the snapshot is on disk whole, and older ones are gone."""
    before, new = saved(folder), folder / "new"
    number = 1 + max((_order(path)[1] for path in before if _order(path)[0] == about.seq), default=0)
    _save(new / "rest.npz", rest)
    with (new / "about.json").open("wb") as file:
        file.write(json.dumps(asdict(about)).encode())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(new)
    new.rename(folder / f"{about.seq:010d}.{number}")
    sync_folder(folder)
    for old in before:
        shutil.rmtree(old, ignore_errors=True)


def _save(path: Path, state: State) -> None:
    names = json.dumps(list(state)).encode()
    arrays = {f"{n}.{key}": array for n, part in enumerate(state.values()) for key, array in part.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, names=np.frombuffer(names, np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> dict[str, dict[str, np.ndarray]]:
    try:
        # Opened here, since numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = json.loads(arrays["names"].tobytes())
            state: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
            for key in arrays.files:
                if key != "names":
                    number, _, name = key.partition(".")
                    state[names[int(number)]][name] = arrays[key]
            return state
    except _DAMAGE as error:
        raise Damaged(f"{path} cannot be read: {error}") from error


def saved(folder: Path) -> list[Path]:
    """Whole snapshots, newest first."""
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), key=_order, reverse=True)


def _order(path: Path) -> tuple[int, int]:
    seq, _, number = path.name.partition(".")
    return int(seq), int(number or 0)


@dataclass(frozen=True, slots=True)
class Saved:
    """A snapshot to go on from. Reading raises Damaged."""

    path: Path
    about: About

    def rest(self) -> State:
        """What is beside the slices."""
        return _load(self.path / "rest.npz")

    def parts(self) -> Iterator[tuple[int, State]]:
        """Each slice with its first series; the last one first, so that whoever takes them in has room at once."""
        for number, (first, *_) in reversed(list(enumerate(self.about.parts))):
            yield first, _load(self.path / f"{number:05d}.npz")


def load(folder: Path, fingerprint: str, keys: Callable[[int], int | None]) -> tuple[About, Saved | None]:
    """What the newest snapshot is of, and the snapshot; None where it is of another format, where other detectors made
    it, or where it is of other series (`keys(n)` is the checksum of the first n there are, None where there are fewer).
    """
    for path in saved(folder):
        try:
            about = About.of(json.loads((path / "about.json").read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if about.format != FORMAT:
            log.warning("%s is of format %s, this version reads %d: detectors learn again", path, about.format, FORMAT)
        elif about.fingerprint != fingerprint:
            log.warning("detectors or their options have changed: they learn again from the store")
        elif keys(about.series) != about.keys:
            log.warning("%s is of other series than the store has: detectors learn again from the store", path)
        else:
            return about, Saved(path, about)
        return about, None
    return About(), None
