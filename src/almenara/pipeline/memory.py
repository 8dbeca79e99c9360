"""How this process keeps memory: what was freed is used again, since each page that the system gives costs a fault.

A segment passes through some 100 bytes a row of large arrays that live for a moment. The C library (glibc) maps and
unmaps each by default, and the first touch of its pages cost a tenth of all processor time under load.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Any

# mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_GB, _MB = 1 << 30, 1 << 20


def keep_freed_memory() -> None:
    """Keep freed memory for the next large array; once, when the process starts. Elsewhere than on glibc: nothing."""
    if (libc := _glibc()) is not None:
        for option, value in (
            (_ARENA_MAX, 1), (_MMAP_THRESHOLD, _GB), (_TRIM_THRESHOLD, 2 * _GB - 1), (_TOP_PAD, 32 * _MB),
        ):  # fmt: skip
            libc.mallopt(option, value)


def give_back_memory() -> None:
    """Return what is free now to the system; for a moment with little to do."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def settle_objects() -> None:
    """Keep what is there now, modules above all, out of every later garbage collection; when all is started."""
    gc.collect()
    gc.freeze()


def _glibc() -> Any:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
