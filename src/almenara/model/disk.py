"""Whether files can be written in a folder: found out by writing one."""

from __future__ import annotations

import os
from pathlib import Path

#: What a trial writes. With less room than this, the next real write would fail as well.
TRIAL_BYTES = 1 << 20


def trial_write(folder: Path) -> None:
    """Write a megabyte in `folder`, sync it and take it away. Raises the OSError of whatever is in the way.

    The figure of free bytes is not enough to go by: a quota, a read-only or a broken disk does not show in it.
    """
    path = folder / "trial"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, memoryview(bytes(TRIAL_BYTES)))
            os.fsync(fd)  # a file system may promise room that it finds missing only now
        finally:
            os.close(fd)
    finally:
        path.unlink(missing_ok=True)


def _write_all(fd: int, data: memoryview) -> None:
    """A nearly full disk takes a part first, and fails at the rest."""
    while data:
        data = data[os.write(fd, data) :]
