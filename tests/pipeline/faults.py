"""Ways to break a hub in a test: a store that fails, and a process that dies at any one of its writes."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.errors import StoreError
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.pipeline.hub import Pipeline
from almenara.pipeline.judge import Watch
from almenara.stores.memory import Memory

NOW = 1_800_000_000 * NS


def rows(name: str, times: list[int], values: list[float], **labels: str) -> Batch:
    series = Series.of(name, **labels)
    return Batch.of((series, t, v) for t, v in zip(times, values, strict=True))


def noisy(n: int, end: int = NOW, seed: int = 1) -> tuple[list[int], list[float]]:
    """n times, ten seconds apart, and values around 20."""
    values = np.random.default_rng(seed).normal(20, 1, n)
    return [end - (n - i) * 10 * NS for i in range(n)], values.tolist()


def watch() -> Watch:
    return Watch("seasonal", (), Seasonal)


class Disk(Memory):
    """A store whose rows outlive the hub that writes them, as those on a disk do; the next `fail` appends fail."""

    fail = 0

    def append(self, batch: Batch, seq: int) -> None:
        if self.fail:
            self.fail -= 1
            raise StoreError("the store's disk is away")
        super().append(batch, seq)

    def close(self) -> None:
        """Stays."""


class Dead(BaseException):
    """The process has died here."""


class Life:
    """How many writes the commit and flush threads of a hub may still do before the process dies, as by kill -9: the
    last one is done in part, and from then on nothing more is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.left: float = float("inf")
        self.written = 0
        self.died = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._hub: Pipeline | None = None
        self._lock = threading.Lock()
        for owner, name in (
            (os, "fdatasync"), (os, "replace"), (os, "open"), (os, "fsync"), (Path, "rename"), (Path, "unlink"),
            (Path, "mkdir"), (shutil, "rmtree"), (np, "savez"), (Disk, "append"), (Disk, "add_series"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))
        self._writev = os.writev
        monkeypatch.setattr(os, "writev", self._torn_writev)

    def follow(self, hub: Pipeline, left: float) -> None:
        """From now on the threads of this hub die after so many writes."""
        self._threads = {hub._committer._thread, hub._flusher._thread}
        self._hub, self.left, self.written = hub, left, 0
        self.died.clear()

    def _dies_now(self) -> bool:
        with self._lock:
            mine = threading.current_thread()  # snapshots have a thread of their own from the first one on
            if mine not in self._threads and (not self._hub or mine not in self._hub._flusher._slices._writer._threads):
                return False
            if self.died.is_set():
                raise Dead
            self.written += 1
            self.left -= 1
            if self.left >= 0:
                return False
            self.died.set()
            return True

    def _guarded(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any, **named: Any) -> Any:
            if self._dies_now():
                raise Dead
            return do(*arguments, **named)

        return done

    def _torn_writev(self, fd: int, buffers: list[bytes]) -> int:
        if self._dies_now():
            whole = b"".join(bytes(b) for b in buffers)
            os.write(fd, whole[: len(whole) * 2 // 3])
            raise Dead
        return self._writev(fd, buffers)
