"""What a Telegram bot must still know after a restart, in one small file: what was done, and which messages it sent."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

#: How much of each kind is kept, the newest.
_INCIDENTS, _UPDATES, _STRANGERS = 500, 200, 1000
_KEPT = ("done", "pressed", "notice", "told", "sent", "buttons", "moved", "strangers")


class Notes:
    """`telegram.json` in the notifier's folder; without a folder they last as long as the process.

    A file of another bot, or one that cannot be read, is begun anew: then a message answers none before it, and what
    Telegram still holds comes again.
    """

    def __init__(self, folder: Path | None, bot: str):
        self._path = folder / "telegram.json" if folder is not None else None
        self._writing = asyncio.Lock()
        said = _read(self._path, bot)
        self._bot = bot
        #: Updates that are done; Telegram gives some again after kill -9.
        self.done: list[int] = _numbers(said.get("done"))
        #: When buttons were pressed whose order is not done yet, by update, ns.
        self.pressed: dict[str, int] = {k: v for k, v in _table(said.get("pressed")).items() if isinstance(v, int)}
        #: The notice that was told last, and the chats that have it.
        self.notice: str = str(said.get("notice", ""))
        self.told: list[int] = _numbers(said.get("told"))
        #: thread -> chat -> numbers of messages, the first one first; and the one that has the buttons.
        self.sent: dict[str, dict[str, list[int]]] = _threads(said.get("sent"))
        self.buttons: dict[str, dict[str, list[int]]] = _threads(said.get("buttons"))
        #: Groups that got another id, and chats that were told that they may not ask.
        self.moved: dict[str, int] = {k: v for k, v in _table(said.get("moved")).items() if isinstance(v, int)}
        self.strangers: list[int] = _numbers(said.get("strangers"))

    @property
    def is_full_of_strangers(self) -> bool:
        """So many chats were answered that no further one is."""
        return len(self.strangers) >= _STRANGERS

    def incident_of(self, chat: int, message: int) -> int:
        """The incident that a message of ours is about; 0 where it is about none."""
        for thread, chats in self.sent.items():
            if message in chats.get(str(chat), ()):
                return _incident(thread)
        return 0

    def note_sent(self, thread: str, chat: int, message: int) -> None:
        """Remember a message about an incident."""
        self.sent.setdefault(thread, {}).setdefault(str(chat), []).append(message)
        while len(self.sent) > _INCIDENTS:
            self.buttons.pop(oldest := next(iter(self.sent)), None)
            del self.sent[oldest]

    def move_buttons(self, thread: str, chat: int, message: int = 0) -> int:
        """The buttons are at this message now (0: at none); says where they were, 0 for nowhere."""
        of = self.buttons.setdefault(thread, {})
        before = of.pop(str(chat), [0])[0]
        if message:
            of[str(chat)] = [message]
        return before

    async def keep(self) -> None:
        """Write it down, synced; what cannot be written is told in the log and tried with the next change."""
        if self._path is None:
            return
        async with self._writing:
            del self.done[:-_UPDATES]
            said = {name: getattr(self, name) for name in _KEPT}
            text = json.dumps({"bot": self._bot, **said})
            try:
                await asyncio.shield(asyncio.to_thread(_write, self._path, text))
            except OSError as error:
                log.error("%s: %s; after a restart messages may come twice", self._path, error)


def _incident(thread: str) -> int:
    number = thread.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path | None, bot: str) -> Mapping[str, Any]:
    if path is None or not path.exists():
        return {}
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        log.error("%s cannot be read (%s); it is begun anew", path, error)
        return {}
    return said if isinstance(said, dict) and said.get("bot") == bot else {}


def _numbers(said: Any) -> list[int]:
    return [one for one in said if isinstance(one, int)] if isinstance(said, list) else []


def _table(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


def _threads(said: Any) -> dict[str, dict[str, list[int]]]:
    return {
        thread: {chat: _numbers(numbers) for chat, numbers in chats.items()}
        for thread, chats in _table(said).items()
        if isinstance(chats, dict)
    }
