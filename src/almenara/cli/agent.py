"""`almenara agent`, also `puma-agent`: put an agent together from its configuration, run it until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import time
from pathlib import Path

from almenara._version import __version__
from almenara.config.load import Config, load
from almenara.config.schema import is_loopback
from almenara.model.errors import ConfigError, FolderError, Problem
from almenara.model.logs import write_log
from almenara.model.time import format_duration
from almenara.model.topic import slug, status_topic
from almenara.pipeline.agent import Agent
from almenara.pipeline.spool import Spool
from almenara.plugin.contracts import Collector
from almenara.transports.mqtt import Mqtt

log = logging.getLogger("almenara.agent")

#: Not the hub's: both may run in one place.
DEFAULT_FOLDER = Path("puma-data")


def run(config: Path | None, hub: str | None, data: Path | None) -> int:
    """Run an agent; 0 when it was stopped."""
    write_log()
    options = load(config, {"mqtt.url": hub})
    if not options.mqtt.enabled:
        raise ConfigError([Problem("mqtt.enabled", "must be true; got false", "an agent sends over MQTT")])
    folder = data or (options.data.folder if "data.folder" in options.given else DEFAULT_FOLDER)
    if (folder / "format").exists():
        raise FolderError(f"{folder}: is the data folder of a hub; give --data another folder")
    name = options.site.name or socket.gethostname()
    collectors = {n: p.build(clock=time.time_ns, host=name) for n, p in options.collectors.items()}
    spool = Spool(folder / "spool", int(options.agent.spool_mb * 1e6))
    try:
        link = _link(options, name, _identity(folder))
        return asyncio.run(_run(Agent(name, collectors, spool, link), link, spool, collectors, folder))
    finally:
        spool.close()


def _link(options: Config, name: str, client_id: str) -> Mqtt:
    mqtt = options.mqtt
    link = Mqtt(
        url=mqtt.url or f"mqtt://{mqtt.listen}",
        client_id=client_id,
        username=mqtt.username,
        password=mqtt.password,
        ca_file=mqtt.ca_file,
        cert_file=mqtt.cert_file,
        key_file=mqtt.key_file,
        will_topic=status_topic("agent", name),
    )
    if mqtt.password and not link.address.tls and not is_loopback(link.address.host):
        log.warning("the password goes to %s in clear text; use mqtts:// where others can listen", link.address)
    return link


def _identity(folder: Path) -> str:
    """A client id that stays, so that after a power cut the broker ends the old connection before it begins the new one
    and `offline` never comes behind `online`. Another folder, or another machine, is another client."""
    path = folder / "id"
    try:
        if not path.exists():
            path.write_text(secrets.token_hex(4))
        token = path.read_text().strip()
    except OSError as error:  # a full disk, say: then a new one each start
        log.warning("%s: %s", path, error.strerror)
        token = ""
    return f"puma-{slug(socket.gethostname())}-{token or secrets.token_hex(4)}"


async def _run(agent: Agent, link: Mqtt, spool: Spool, collectors: dict[str, Collector], folder: Path) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scheme = "mqtts" if link.address.tls else "mqtt"
    print(
        f"PUMA {__version__}: sends {', '.join(map(_shown, collectors, collectors.values()))} to "
        f"{scheme}://{link.address} as {agent.topic}; until it is taken it waits in {folder / 'spool'} "
        f"(at most {spool.max_bytes / 1e6:.0f} MB, {spool.waiting} payloads now). Ctrl-C stops it.",
        flush=True,
    )
    waiting = await agent.run(stop)
    log.info("stopped; %s", f"{waiting} payloads wait for the next start" if waiting else "everything was sent")
    return 0


def _shown(name: str, collector: Collector) -> str:
    every_s = getattr(collector, "every_s", 0.0)
    return f"{name} every {format_duration(every_s)}" if every_s else name
