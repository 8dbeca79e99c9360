"""Snapshots: what was learned up to a segment, on disk, so that a restart goes on from there.

state/0000000042/   after segment 42 was judged: one .npz a detector, and `judge.npz`; plain arrays, never pickles
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from almenara.pipeline.log import disk_error, sync_folder

log = logging.getLogger(__name__)

State = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class About:
    """What a snapshot is of: everything up to segment `seq`; up to where each bus was read by then; who learned it."""

    seq: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""  # which detectors with which options
    names: tuple[str, ...] = ()


def save(folder: Path, about: About, state: State) -> None:
    """Write a snapshot; when this returns it is on disk whole, and older ones are gone. Raises DiskFull, StoreError."""
    new, final = folder / "new", folder / f"{about.seq:010d}"
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
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
        sync_folder(folder)
    except OSError as error:
        raise disk_error(error, final) from error
    for old in saved(folder):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def saved(folder: Path) -> list[Path]:
    """Whole snapshots, newest first."""
    return sorted((p for p in folder.iterdir() if p.name.isdecimal()), reverse=True)


def load(folder: Path, fingerprint: str) -> tuple[About, State | None]:
    """The newest snapshot; its state is None where other detectors made it, or where it cannot be read."""
    for path in saved(folder):
        try:
            about = About(**json.loads((path / "about.json").read_text()))
        except (OSError, ValueError, TypeError):
            continue
        return about, _load_state(path, about) if about.fingerprint == fingerprint else None
    return About(), None


def _load_state(path: Path, about: About) -> State | None:
    state = {}
    try:
        for number, name in enumerate(about.names):
            with np.load(path / f"{number}.npz", allow_pickle=False) as arrays:
                state[name] = dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read (%s); detectors learn again from the store", path, error)
        return None
    return state
