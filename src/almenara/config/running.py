"""A hub at work and its configuration: what runs beside the pipeline, and how a new configuration is taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.analysis.occasions import Calendar, calendars_of
from almenara.config.build import Built, codecs, collectors, maintenance, notifiers, routes, transports, watches
from almenara.config.load import Config, load
from almenara.config.messages import about_of
from almenara.config.rule_set import API, FILE, RuleSet
from almenara.config.telling import told
from almenara.model.errors import AlmenaraError, ConfigError, Problem
from almenara.pipeline.commands import Commands
from almenara.pipeline.forward import Cursors, Forwarder
from almenara.pipeline.graphs import Graphs
from almenara.pipeline.hearing import Hearing
from almenara.pipeline.inputs import Inputs
from almenara.pipeline.outputs import Outputs
from almenara.pipeline.ping import Ping
from almenara.plugin.contracts import Notifier, Transport
from almenara.query import parse_selector

log = logging.getLogger(__name__)

#: Sections that a running hub cannot take over; all others it can.
FIXED = (
    "site", "http", "mqtt", "data", "detectors", "tuning", "budgets", "stores", "dweet", "queue", "streams",
    "incidents", "noise",
)  # fmt: skip


class Running:
    """Inputs, outputs and notifications of a hub whose pipeline and bus are started."""

    def __init__(self, built: Built, overrides: Mapping[str, Any]):
        self.built = built
        self._config, self._overrides = built.config, dict(overrides)
        self._reloading = asyncio.Lock()
        self._rules = RuleSet(built.pipeline.folder.database)
        self._calendars = _calendars(built.config)

    async def start(self) -> None:
        """Begin to collect, to read the bus, to publish and to notify."""
        self._inputs = Inputs(self.built.pipeline, self.built.bus)
        self._inputs.start()
        self._inputs.collect(self.built.collectors, self.built.transports)
        self._cursors = Cursors(self.built.pipeline.folder.database)
        self._hearing = Hearing(self.built.pipeline)
        self._begin_outputs(self._config, self.built.notifiers, self.built.transports)

    def _begin_outputs(self, config: Config, notifying: Mapping[str, Notifier], links: Mapping[str, Transport]) -> None:
        hub, bus = self.built.pipeline, self.built.bus
        self._forwarders = [Forwarder(hub, route, self._cursors) for route in routes(config, bus, links)]
        for forwarder in self._forwarders:
            forwarder.start()
        self._outputs: Outputs | None = None
        if bus is not None:
            self._outputs = Outputs(hub, bus, [parse_selector(text) for text in config.publish.judged])
            self._outputs.start()
        self._graphs = Graphs(hub, config.site.timezone)
        if any(getattr(one, "shows_graph", False) for one in notifying.values()):
            self._graphs.warm()
        book, about = cast(Book, hub.alarms), about_of(config, hub)
        sender = Sender(hub.folder.database, notifying, book, hub.clock, about, self._graphs.of_incident)
        sender.on_counted = lambda notifier, outcome: hub.counters.add(
            "almenara_notices_total", notifier=notifier, outcome=outcome
        )
        self._sending = asyncio.create_task(sender.run(), name="notify")
        self._pinging = asyncio.create_task(self._ping(config), name="ping")
        self._notifying = notifying
        self._hearing.start(notifying, Commands(hub, about, self._graphs))

    async def stop(self) -> None:
        """End all of them, and the bus."""
        await self._inputs.stop()
        await self._end_outputs()
        self._cursors.close()
        if self.built.bus is not None:
            await self.built.bus.stop()

    async def _end_outputs(self) -> None:
        for forwarder in self._forwarders:
            await forwarder.stop()
        if self._outputs is not None:
            await self._outputs.stop()
        await self._hearing.stop()
        self._pinging.cancel()
        self._sending.cancel()
        await asyncio.gather(self._pinging, self._sending, return_exceptions=True)
        closing = [one.close() for one in self._notifying.values() if hasattr(one, "close")]
        for error in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(error, Exception):
                log.error("a notifier could not be closed: %s", error)
        await self._graphs.close()

    async def _ping(self, config: Config) -> None:
        hub, watch = self.built.pipeline, config.watch
        if watch.ping_url:
            await Ping(
                watch.ping_url, watch.every, hub.troubles,
                lambda outcome: hub.counters.add("almenara_pings_total", outcome=outcome), watch.ca_file,
            ).run()  # fmt: skip

    async def reload(self) -> Sequence[Problem]:
        """Read the file again and take it over; with any mistake in it everything stays as it was."""
        async with self._reloading:
            try:
                return await self._take_over(load(self._config.path, self._overrides))
            except ConfigError as error:
                problems = error.problems
            except AlmenaraError as error:
                problems = (Problem(str(self._config.path), str(error)),)
            for problem in problems:
                log.error("the configuration stays as it was: %s", problem)
            return problems

    def origin(self, name: str) -> str:
        """Where a rule stands: "file", with which it is changed, or "api"."""
        return FILE if name in self._config.rules else API

    @property
    def file(self) -> str:
        """The configuration file; empty where there is none."""
        return str(self._config.path or "")

    def check_rule(self, name: str, table: Mapping[str, Any]) -> Rule:
        """The rule that a table would be. Raises ConfigError with every mistake."""
        return self._rules.check(name, table, self._config)

    async def put_rule(self, name: str, table: Mapping[str, Any]) -> bool:
        """Go by a rule from now on, and after a restart; whether it is a new one. Raises ConfigError, StoreError,
        DiskFull."""
        async with self._reloading:
            await asyncio.to_thread(self.check_rule, name, table)
            new = await asyncio.to_thread(self._rules.put, name, table, self.built.pipeline.clock())
            await self._use_rules()
        return new

    async def delete_rule(self, name: str) -> bool:
        """Go without a rule of the API; whether there was one. Raises ConfigError, StoreError, DiskFull."""
        async with self._reloading:
            gone = await asyncio.to_thread(self._rules.delete, name, self._config)
            if gone:
                await self._use_rules()
        return gone

    async def _use_rules(self) -> None:
        await self.built.pipeline.replace_rules(await asyncio.to_thread(self._rules.all, self._config), None)

    async def _take_over(self, config: Config) -> Sequence[Problem]:
        if "mqtt.listen" not in config.given | self._config.given:  # it listens where a port was free
            config = replace(config, mqtt=replace(config.mqtt, listen=self._config.mqtt.listen))
        if fixed := [name for name in FIXED if getattr(config, name) != getattr(self._config, name)]:
            hint = "restart the hub to change these; nothing was changed"
            raise ConfigError([Problem(name, "cannot change while the hub runs", hint) for name in fixed])
        hub = self.built.pipeline
        collecting, receiving = collectors(config, hub.clock), transports(config, hub.clock, hub.folder)
        notifying = notifiers(config, hub.clock, hub.folder)
        extra = {name: c for name, c in self.built.collectors.items() if name not in self._config.collectors}
        await self._inputs.pause_collecting()
        await self._end_outputs()
        hub.decoders.replace(codecs(config))
        await self._take_over_calendars(config)
        await hub.replace_rules(self._rules.all(config), told(config))
        cast(Book, hub.alarms).silences.replace_maintenance(maintenance(config))
        self._config = config
        self._inputs.collect(collecting | extra, receiving)
        self._begin_outputs(config, notifying, receiving)
        log.info("took over %s", config.path)
        return ()

    async def _take_over_calendars(self, config: Config) -> None:
        """Tables may have changed, and so may the days that a file of a calendar says."""
        before, now = self._calendars, _calendars(config)
        if len(before) == len(now) and all(_are_same(one, other) for one, other in zip(before, now, strict=True)):
            return
        hub = self.built.pipeline
        await hub.replace_calendars(now, watches(config, hub.options.budgets))
        self._calendars = now
        log.info("detectors go on with calendars as they are now: %s", ", ".join(one.name for one in now) or "none")


def _calendars(config: Config) -> Sequence[Calendar]:
    return calendars_of(config.calendars, config.site.timezone)


def _are_same(one: Calendar, other: Calendar) -> bool:
    days = np.array_equal(one.from_s, other.from_s) and np.array_equal(one.to_s, other.to_s)
    about = (one.name, one.match, one.kind, one.part_s) == (other.name, other.match, other.kind, other.part_s)
    return days and about
