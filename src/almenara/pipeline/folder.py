"""The data folder: one hub owns it, and it says which format it is in.

format       the number of the format            lock      held while a hub runs
log/  store/  state/  broker/  aside/  links/  notifiers/    hub.db    all that is small and must be exact (SQLite)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from pathlib import Path

from almenara.model.disk import trial_write
from almenara.model.errors import FolderError
from almenara.pipeline.log import sync_folder

#: What `almenara up --listen-all` made for callers from other machines; may be there before the folder has a format.
TOKEN_FILE = "token"  # noqa: S105  its name, not its content
#: Raised by one whenever an older program could misread the folder. 2: records of the log carry notes (`notes.py`);
#: those of format 1, which have none, can still be read.
FORMAT = 2


class DataFolder:
    """An opened, locked data folder. Close it to give it back."""

    def __init__(self, path: Path):
        """Make or open `path`. Raises FolderError when another hub owns it or a newer version made it."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderError(f"{path}: cannot be used as data folder: {error.strerror}") from error
        try:
            self._take_lock()
            self._check_format()
            self.log, self.store, self.state, self.broker, self.aside = (
                self._sub(name) for name in ("log", "store", "state", "broker", "aside")
            )
            trial_write(self.log)  # without a megabyte nothing begins well, and most parts would say so less clearly
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, OSError):
                why = f"cannot be written: {error.strerror}; free some space, or mend the disk, and start again"
                raise FolderError(f"{path}: {why}") from error
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 20).decode(errors="replace").strip()
            who = f"process {owner}" if owner else "another process"
            raise FolderError(
                f"{self.path}: this data folder is in use by another hub ({who}); "
                "stop that one, or give --data another folder"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _check_format(self) -> None:
        marker = self.path / "format"
        if not marker.exists():
            if any(p.name not in {"lock", "format.new", TOKEN_FILE, "lost+found"} for p in self.path.iterdir()):
                raise FolderError(
                    f"{self.path}: is not empty and no data folder of this program; give --data another folder"
                )
            self._set_format(marker)
        found = marker.read_text().strip()
        if not found.isdecimal() or int(found) > FORMAT:
            raise FolderError(
                f"{self.path}: has format {found[:20]!r}, made by a newer version; this one reads up to {FORMAT}: "
                "update almenara"
            )
        if int(found) < FORMAT:
            self._set_format(marker)

    def _set_format(self, marker: Path) -> None:
        new = self.path / "format.new"
        new.write_text(f"{FORMAT}\n")
        new.rename(marker)
        sync_folder(self.path)

    def _sub(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def database(self) -> sqlite3.Connection:
        """A connection to hub.db for the one thread that uses it; a commit is on disk when it returns."""
        connection = sqlite3.connect(self.path / "hub.db", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=5000")
        return connection

    def free_bytes(self) -> int:
        """Free disk under the folder."""
        return shutil.disk_usage(self.path).free

    def close(self) -> None:
        """Give the folder to the next hub."""
        os.close(self._lock)
