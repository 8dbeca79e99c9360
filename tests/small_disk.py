"""A small file system of its own for a test that fills one; it goes with the test, whatever ends that."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Its standard input closes at the end of the test, and also when the whole run of tests is killed. Lazily: a program
#: that is about to end may still hold a file.
_GUARD = 'mount -t tmpfs -o "size=$2" tmpfs "$1" || exit 1; echo mounted; read -r _; umount -l "$1"'


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A file system of `size_mb` at `folder`. Mounting one is for root; elsewhere the test is left out."""
    folder.mkdir()
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, "sh", str(folder), f"{size_mb}m"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C is for the tests, and must not end it before them
    )  # fmt: skip
    assert guard.stdout is not None
    if guard.stdout.readline() != "mounted\n":
        why = f"mounting a small file system was refused: {guard.communicate()[1].strip()}"
        (pytest.fail if os.environ.get("ALMENARA_TESTS_COMPLETE") == "1" else pytest.skip)(why)
    try:
        yield folder
    finally:
        _, said = guard.communicate(timeout=60)
        assert guard.returncode == 0, f"{folder} is still mounted: {said}"


def fill(disk: Path, leave_mb: float = 0.0) -> None:
    """A file `ballast` of the user's own that leaves so much room."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave_mb * 1e6:
            size = min(int(free - leave_mb * 1e6), 1 << 20)
            try:
                ballast.write(b"x" * size)
            except OSError:
                return


def free(disk: Path) -> None:
    """Take the ballast away."""
    (disk / "ballast").unlink()
