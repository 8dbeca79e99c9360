"""Looks once a second whether the hub's log can be written, and lets writing go on by itself once it can again."""

from __future__ import annotations

import asyncio
import logging

from almenara.model.disk import trial_write
from almenara.model.errors import DiskFull, Refused
from almenara.pipeline.commit import Committer
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.log import refusal

log = logging.getLogger(__name__)

EVERY_S = 1.0


async def watch_room(folder: DataFolder, floor_bytes: int, committer: Committer) -> None:
    """Runs for ever: writes are refused while free disk is below the floor, and what was refused, by this or by the
    committer after a write that failed, is taken again once a trial write succeeds."""
    while True:
        before, now = committer.refusing, await _look(folder, floor_bytes, committer.refusing)
        if committer.refusing is before:  # else a commit has failed meanwhile: that is newer
            committer.refusing = now
            if before is not None and now is None:
                log.warning("%s: can be written again", folder.path)
            elif before is None and now is not None:
                log.error("%s", now)
        await asyncio.sleep(EVERY_S)


async def _look(folder: DataFolder, floor_bytes: int, refusing: Refused | None) -> Refused | None:
    """Why writes must be refused now; a disk that nothing speaks against is not tried."""
    if (why := _below_floor(folder, floor_bytes)) is not None:
        return why if refusing is None or not isinstance(refusing, DiskFull) else refusing
    if refusing is None:
        return None
    try:
        await asyncio.to_thread(trial_write, folder.log)
    except OSError as error:
        return refusal(error, folder.log)
    return None


def _below_floor(folder: DataFolder, floor_bytes: int) -> DiskFull | None:
    try:
        free = folder.free_bytes()
    except OSError as error:
        log.error("%s: free disk is not known: %s", folder.path, error)
        return None
    if free >= floor_bytes:
        return None
    message = f"{folder.path}: {free >> 20} MB free, below the floor of {floor_bytes >> 20} MB; "
    return DiskFull(message + "free some, and writing goes on by itself", retry_after_s=5)
