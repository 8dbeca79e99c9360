"""Names of threads as the system sees them, so that `top -H` and `perf` tell who uses the processor."""

from __future__ import annotations

import contextlib
import threading


def name_thread(name: str = "") -> None:
    """Give the running thread this name, or the one that Python knows it by. Where the system has none, do nothing.

    Python does this by itself from 3.14 on.
    """
    with contextlib.suppress(OSError), open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write((name or threading.current_thread().name)[:15])
