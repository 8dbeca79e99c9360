"""From a checked `Config` to a built hub. Nothing is started, but the data folder is locked and the store opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from almenara.alarm.book import Book
from almenara.alarm.folding import Grouping
from almenara.alarm.rules import NOT_OURS, Rule
from almenara.alarm.silence import Occasions, Silence, with_windows
from almenara.alarm.silences import Silences
from almenara.alarm.times import Weekly
from almenara.analysis.occasions import Calendar, calendars_of
from almenara.analysis.tuning import Tuning
from almenara.analysis.when import words_of
from almenara.bus.contract import Bus
from almenara.bus.embedded import EmbeddedBus
from almenara.bus.external import ExternalBus
from almenara.codecs.json import Json
from almenara.config.dialects import THINGS, TIMESTAMP, Stream, codec_of_stream
from almenara.config.load import Config
from almenara.config.rule_set import RuleSet
from almenara.config.rules import made
from almenara.config.schema import Plugin, split_address
from almenara.config.schema import Tuning as TuningKeys
from almenara.config.telling import told
from almenara.model.causes import Causes
from almenara.model.errors import ConfigError, Problem
from almenara.model.time import LATEST_NS
from almenara.model.topic import ROOT, slug
from almenara.pipeline.admission import Limits
from almenara.pipeline.budgets import Budget, Budgets
from almenara.pipeline.decoding import Decoding, of_transport
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.forward import Route
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.judge import Watch
from almenara.pipeline.learned import fingerprint_of
from almenara.pipeline.noise_report import NoiseReport
from almenara.pipeline.relabel import Relabeling, Step
from almenara.pipeline.tuned import Chosen, Tuned
from almenara.plugin import options as plugin_options
from almenara.plugin import registry
from almenara.plugin.contracts import Collector, Detector, Notifier, Transport
from almenara.query import Matcher, parse_selector

#: Options on what counts as an anomaly, that a backtest may try for all its series.
_TUNING = {one.name: one for one in plugin_options.options_of(TuningKeys) if one.name != "match"}
#: Topics that a standard gave to one format; a filter of [topics] that is equal or longer goes before it.
_OWN_TOPICS = {"spBv1.0/#": Plugin("codec", "spBv1.0/#", "sparkplug")}


@dataclass(frozen=True, slots=True)
class Built:
    """The parts of a hub, put together and not started."""

    config: Config
    pipeline: Pipeline
    bus: Bus | None
    collectors: Mapping[str, Collector]
    transports: Mapping[str, Transport]
    notifiers: Mapping[str, Notifier]

    def with_mqtt_on(self, listen: str) -> tuple[Built, Bus]:
        """The same hub with our own broker at another address, and that broker."""
        config = replace(self.config, mqtt=replace(self.config.mqtt, listen=listen))
        bus = _embedded(config, self.pipeline.folder, self.pipeline.clock)
        return replace(self, config=config, bus=bus), bus


def build(
    config: Config, *, clock: Callable[[], int] = time.time_ns, more: Mapping[str, Collector] | None = None
) -> Built:
    """Put a hub together. `more`: collectors beside the config's. Raises FolderError, StoreError, MissingExtra."""
    folder = DataFolder(config.data.folder)
    try:
        store = config.store.build(folder=folder.store)
        pipeline = Pipeline(
            folder, store, options(config), alarms=lambda index: _alarms(config, folder, index, clock), clock=clock
        )
        collecting = collectors(config, clock) | dict(more or {})
        bus = make_bus(config, folder, clock)
        links, telling = transports(config, clock, folder), notifiers(config, clock, folder)
        return Built(config, pipeline, bus, collecting, links, telling)
    except BaseException:
        folder.close()
        raise


def collectors(config: Config, clock: Callable[[], int]) -> dict[str, Collector]:
    """The collectors of the config."""
    return {name: plugin.build(clock=clock) for name, plugin in config.collectors.items()}


def transports(config: Config, clock: Callable[[], int], folder: DataFolder) -> dict[str, Transport]:
    """Further links that bring messages; each may keep notes in a folder of its own."""
    links = folder.path / "links"
    return {name: plugin.build(clock=clock, folder=links / slug(name)) for name, plugin in config.transports.items()}


def notifiers(config: Config, clock: Callable[[], int], folder: DataFolder) -> dict[str, Notifier]:
    """The notifiers of the config; each may keep notes in a folder of its own. Raises ConfigError, which names them."""
    notes, made, problems = folder.path / "notifiers", {}, []
    for name, plugin in config.notifiers.items():
        try:
            made[name] = plugin.build(clock=clock, folder=notes / slug(name))
        except ConfigError as error:
            problems += [replace(one, where=f"notifiers.{name}.{one.where}") for one in error.problems]
    if problems:
        raise ConfigError(problems)
    return made


def options(config: Config) -> Options:
    """What the pipeline is made of."""
    data = config.data
    budgets = Budgets([Budget(name, _matchers(one.match), one.per_week) for name, one in config.budgets.items()])
    return Options(
        watches=watches(config, budgets),
        budgets=budgets,
        noise=NoiseReport(tuple(config.noise.notify), Weekly.of(config.noise.at, config.site.timezone)),
        when=words_of(config.site.timezone, config.site.country),
        codecs=codecs(config),
        limits=Limits(data.future_s, data.retention, data.series_limit, data.new_series_per_minute),
        min_free_bytes=int(data.min_free_mb * 1e6),
        fingerprint=fingerprint_of(
            [config.site.timezone, config.site.country, [asdict(p) for p in config.detectors.values()]]
        ),
    )


def watches(config: Config, budgets: Budgets) -> list[Watch]:
    """The detectors, each told of the site's zone, holidays and calendars, and tuned."""
    choices = [Chosen(_matchers(one.match), tuning_of(one)) for one in config.tuning.values()]
    calendars = calendars_of(config.calendars, config.site.timezone)
    return [_watch(config, plugin, choices, budgets, calendars) for plugin in config.detectors.values()]


def _watch(
    config: Config, plugin: Plugin, choices: Sequence[Chosen], budgets: Budgets, calendars: Sequence[Calendar]
) -> Watch:
    cls, site = plugin.load(), {"timezone": config.site.timezone, "country": config.site.country}

    def make(changed: Mapping[str, Any] = MappingProxyType({})) -> Detector:
        values, mine = _tried(cls, changed)
        detector: Detector = replace(plugin, values={**plugin.values, **values}).build(**site, calendars=calendars)
        if mine is not None:
            return Tuned(detector, [Chosen((), mine)])
        if "p_limit" in changed:  # instead of what a budget makes of it
            return Tuned(detector, choices)
        return Tuned(detector, choices, budgets) if _is_tuned(config) else detector

    known = (*plugin_options.options_of(cls), *_TUNING.values())
    return Watch(plugin.name, _matchers(plugin.match), make, known, site | dict(plugin.values))


def _tried(cls: Any, changed: Mapping[str, Any]) -> tuple[dict[str, Any], Tuning | None]:
    """The arguments of a detector, and the tuning, that a backtest asks for; None: as it is configured. Raises
    ConfigError with every mistake."""
    tuned = {name: value for name, value in changed.items() if name in _TUNING}
    rest = {name: value for name, value in changed.items() if name not in _TUNING}
    values, problems = plugin_options.read(cls, rest, "options", partial=True)
    keys, more = plugin_options.read(TuningKeys, tuned, "options", partial=True)
    if problems or more:
        raise ConfigError([*problems, *more])
    try:
        return values, tuning_of(TuningKeys(**keys)) if tuned else None
    except ValueError as error:
        raise ConfigError([Problem("options", str(error))]) from error


def _is_tuned(config: Config) -> bool:
    return bool(config.tuning or config.budgets)


def _matchers(match: str) -> tuple[Matcher, ...]:
    return tuple(parse_selector(match)) if match else ()


def tuning_of(given: TuningKeys) -> Tuning:
    """The options of a table [tuning.NAME], as analysis knows them."""
    return Tuning.of(**{one.name: getattr(given, one.name) for one in fields(given) if one.name != "match"})


def codecs(config: Config) -> dict[str, Decoding]:
    """Every installed codec by its name, with the options of [codecs]; those of [topics] by their topic filter;
    Sparkplug B by its own."""
    found = {name: Decoding(registry.load("codec", name)) for name in registry.names("codec")}
    found |= {name: Decoding(one.build, plugin=one.plugin) for name, one in config.codecs.items()}
    # The most exact filter decides: `#` and shorter ones come last.
    topics = _OWN_TOPICS | dict(config.topics)
    for pattern, plugin in sorted(topics.items(), key=lambda item: (item[0].count("#"), -len(item[0]))):
        found[f"topic {pattern}"] = Decoding(plugin.build, pattern, plugin.plugin)
    for name, link in config.transports.items():
        if link.codec is not None:
            found[of_transport(name)] = Decoding(link.codec.build, plugin=link.codec.plugin)
        elif own := getattr(link.load(), "codec", ""):
            found[of_transport(name)] = Decoding(registry.load("codec", own), plugin=own)
    return found | dialect_codecs(config.streams)


def dialect_codecs(streams: Mapping[str, Stream]) -> dict[str, Decoding]:
    """What reads things and streams; the topic of a packet is the name of the thing, or the stream's public key."""
    found = {THINGS: Decoding(partial(Json, topic_label="thing"), plugin="json")}
    for name, stream in streams.items():
        public = stream.public_of(name)
        values = [one for one in stream.fields if one not in stream.labels]
        # Only what is listed is a value: a stream of nothing but labels lists one that no row has.
        make = partial(
            Json, topic_label="stream", value_keys=values or [TIMESTAMP], label_keys=stream.labels, time_keys=()
        )
        found[codec_of_stream(public)] = Decoding(make, plugin="json")
    return found


def rules(config: Config) -> list[Rule]:
    """The rules of the config, as the alarm room knows them."""
    days = calendars_of(config.calendars, config.site.timezone)
    return [made(name, one, config.site.timezone, days) for name, one in config.rules.items()]


def maintenance(config: Config) -> list[Silence]:
    """The maintenance windows of the config."""
    timezone = config.site.timezone
    found = []
    for name, one in config.maintenance.items():
        days = calendars_of({k: v for k, v in config.calendars.items() if k == one.calendar}, timezone)
        id = str(uuid5(NAMESPACE_URL, f"almenara/maintenance/{name}"))
        silence = Silence(
            id, _matchers(one.match), 0, LATEST_NS, "the configuration", one.comment,
            tuple(one.windows), name=name, schedules=tuple(Occasions(calendar) for calendar in days),
        )  # fmt: skip
        found.append(with_windows(silence, timezone))
    return found


def grouping(config: Config) -> Grouping:
    """What folds alarms into incidents."""
    chosen = config.incidents
    return Grouping(tuple(chosen.group_by), chosen.window, chosen.correlate, chosen.residuals_mb)


def _alarms(config: Config, folder: DataFolder, index: SeriesIndex, clock: Callable[[], int]) -> Book:
    causes = Causes.of((watch.name, watch.make().causes) for watch in watches(config, Budgets(())))
    causes = replace(causes, when=words_of(config.site.timezone, config.site.country))
    return Book(
        folder.database, RuleSet(folder.database).all(config), index, lambda matchers: Selector(index, matchers),
        causes=causes, notifiers=told(config), clock=clock, grouping=grouping(config),
        silences=Silences(folder.database, config.site.timezone, maintenance(config)),
    )  # fmt: skip


def routes(config: Config, bus: Bus | None, links: Mapping[str, Transport]) -> list[Route]:
    """Where stored rows go besides the store."""
    made = []
    for name, route in config.routes.items():
        to_bus = route.to == "mqtt" and bus is not None
        send = bus.publish if to_bus and bus is not None else links[route.to].send
        topic = f"{ROOT}/route/{slug(name)}/{route.topic or '{__name__}'}" if to_bus else route.topic
        matchers = _matchers(route.match) or (NOT_OURS,)
        relabeling = Relabeling(route.rename, route.labels, [Step(**step) for step in route.relabel])
        made.append(Route(name, send, route.codec.build(), matchers, relabeling, topic, route.rows))
    return made


def make_bus(config: Config, folder: DataFolder, clock: Callable[[], int]) -> Bus | None:
    """The bus of the config; None where MQTT is switched off."""
    mqtt = config.mqtt
    if not mqtt.enabled:
        return None
    if not mqtt.url:
        return _embedded(config, folder, clock)
    return ExternalBus(
        mqtt.url, topics=mqtt.topics, username=mqtt.username, password=mqtt.password, ca_file=mqtt.ca_file,
        cert_file=mqtt.cert_file, key_file=mqtt.key_file, name=config.site.name, clock=clock,
    )  # fmt: skip


def _embedded(config: Config, folder: DataFolder, clock: Callable[[], int]) -> EmbeddedBus:
    mqtt = config.mqtt
    host, port = split_address(mqtt.listen)
    return EmbeddedBus(folder.path, host, port, mqtt.username, mqtt.password, name=config.site.name, clock=clock)
