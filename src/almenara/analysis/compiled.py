"""`kernel`: how functions of this folder are compiled, and the guard that keeps their compiled copies true.

Numba keeps compiled code beside the source and compiles anew when *that* file has changed. A kernel that calls one of
another file keeps a copy of it, so after a change there it would go on running old code; `forget_stale` ends that.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from numba import njit

#: Compiled on first use and kept on disk; division by zero gives inf, which no kernel here lets happen.
kernel = njit(cache=True, nogil=True, error_model="numpy")


def forget_stale(folder: Path) -> int:
    """Remove indexes of compiled code that are older than any source of the folder; says how many went."""
    newest = max((source.stat().st_mtime for source in folder.glob("*.py")), default=0.0)
    gone = 0
    for index in (folder / "__pycache__").glob("*.nbi"):
        with contextlib.suppress(OSError):  # another process was quicker, or the folder is not ours to write
            if index.stat().st_mtime < newest:
                index.unlink()
                gone += 1
    return gone


forget_stale(Path(__file__).parent)
