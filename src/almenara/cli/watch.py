"""`almenara watch URL...`: watch hubs from another machine, and tell people by a way of one's own when one is down."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from almenara.alarm.book import Book
from almenara.alarm.message import About
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.alarm.vigil import Vigil
from almenara.cli._systemd import keep_alive, notify
from almenara.config.build import notifiers
from almenara.config.load import Config, load
from almenara.config.telling import told
from almenara.model.causes import Causes
from almenara.model.errors import ConfigError, Problem
from almenara.model.logs import write_log
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.ping import Ping
from almenara.pipeline.watcher import Watcher

FOLDER = Path("almenara-watch")


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for."""

    urls: Sequence[str]
    config: Path
    data: Path | None
    every_s: float
    after: int
    token: str


def run(order: Order) -> int:
    """Watch until somebody stops it. Raises ConfigError, FolderError, StoreError."""
    write_log()
    config = load(order.config)
    problems = [
        Problem(f"URL {url}", "must be the address of a hub, such as https://hub.example.org")
        for url in order.urls
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname
    ]
    if not config.notifiers:
        problems.append(Problem(f"{order.config}: notifiers", "there is none, so nobody would be told"))
    if problems:
        raise ConfigError(problems)
    folder = DataFolder(order.data or (config.data.folder if "data.folder" in config.given else FOLDER))
    try:
        asyncio.run(_watch(order, config, folder))
    finally:
        folder.close()
    return 0


async def _watch(order: Order, config: Config, folder: DataFolder) -> None:
    def make(index: SeriesIndex, rule: Rule, causes: Causes) -> Book:
        return Book(
            folder.database, [rule], index, lambda matchers: Selector(index, matchers), causes, told(config),
            clock=time.time_ns,
        )  # fmt: skip

    watcher = Watcher(
        order.urls, make, every_s=order.every_s, after=order.after, token=order.token, ca_file=config.watch.ca_file
    )
    vigil = Vigil(folder.database, time.time_ns)
    about = About(config.site.name, timezone=config.site.timezone)
    sender = Sender(folder.database, notifiers(config, time.time_ns, folder), watcher.book, about=about)
    tasks = [asyncio.create_task(sender.run()), asyncio.create_task(watcher.run(vigil.tick))]
    tasks.append(asyncio.create_task(keep_alive(lambda: True)))
    if config.watch.ping_url:
        ping = Ping(config.watch.ping_url, config.watch.every, lambda: _troubles(vigil), lambda outcome: None)
        tasks.append(asyncio.create_task(ping.run()))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    waiting = asyncio.create_task(stop.wait())
    notify("READY=1")
    try:
        done, _ = await asyncio.wait([waiting, *tasks[:2]], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        notify("STOPPING=1")
        for task in (waiting, *tasks):
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)
        vigil.close()
        watcher.book.close()


def _troubles(vigil: Vigil) -> list[str]:
    stuck = vigil.stuck()
    return [f"messages do not get out: {stuck}"] if stuck else []
