"""Snapshots: what was learned up to a segment, on disk, so that a restart goes on from there.

state/0000000042.1/   the first after segment 42 was judged: about.json and numbered .npz; plain arrays, never pickles

A snapshot never takes the place of another one under its name: there is no moment at which none is whole.
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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from almenara.pipeline.log import disk_error, sync_folder

log = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class About:
    """What a snapshot is of: everything up to segment `seq`; up to where each bus was read by then; who learned it."""

    seq: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""  # which detectors with which options
    series: int = 0  # how many series there were,
    keys: int = 0  # and a checksum of their keys: arrays are by series id, and ids are the store's
    names: tuple[str, ...] = ()


def save(folder: Path, about: About, state: State) -> None:
    """Write a snapshot; when this returns it is on disk whole, and older ones are gone. Raises DiskFull, StoreError."""
    before = saved(folder)
    number = 1 + max((_order(path)[1] for path in before if _order(path)[0] == about.seq), default=0)
    new, final = folder / "new", folder / f"{about.seq:010d}.{number}"
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        _write(new / "about.json", json.dumps(asdict(replace(about, names=tuple(sorted(state))))).encode())
        for number, name in enumerate(sorted(state)):
            with (new / f"{number}.npz").open("wb") as file:
                np.savez(file, allow_pickle=False, **state[name])
                file.flush()
                os.fsync(file.fileno())
        sync_folder(new)
        new.rename(final)
        sync_folder(folder)
    except OSError as error:
        raise disk_error(error, final) from error
    for old in before:
        shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def saved(folder: Path) -> list[Path]:
    """Whole snapshots, newest first."""
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), key=_order, reverse=True)


def _order(path: Path) -> tuple[int, int]:
    seq, _, number = path.name.partition(".")
    return int(seq), int(number or 0)


def load(folder: Path, fingerprint: str, keys: Callable[[int], int | None]) -> tuple[About, State | None]:
    """The newest snapshot; its state is None where other detectors made it, where it is of other series (`keys(n)` is
    the checksum of the first n there are, None where there are fewer), or where it cannot be read."""
    for path in saved(folder):
        try:
            about = About(**json.loads((path / "about.json").read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if about.fingerprint != fingerprint:
            log.warning("detectors or their options have changed: they learn again from the store")
        elif keys(about.series) != about.keys:
            log.warning("%s is of other series than the store has: detectors learn again from the store", path)
        else:
            return about, _load_state(path, about)
        return about, None
    return About(), None


def _load_state(path: Path, about: About) -> State | None:
    state = {}
    try:
        for number, name in enumerate(about.names):
            # Opened here, since numpy leaves a file open that it cannot read.
            with (path / f"{number}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                state[name] = dict(arrays)
    except _DAMAGE as error:
        log.warning("%s cannot be read (%s); detectors learn again from the store", path, error)
        return None
    return state
