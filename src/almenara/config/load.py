"""From a file to a checked `Config`: every mistake is found in one go and told with its line."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from almenara.config import calendars, maintenance, rule_files, rules, schema
from almenara.config import policies as who
from almenara.config.dialects import Dweet, Queue, Stream, key_problems, public_problems, stream_problems
from almenara.config.lines import join, line_of, locate
from almenara.config.maintenance import Maintenance
from almenara.config.mistake import Mistake
from almenara.config.schema import PLUGINS, SECTIONS, Agent, Data, Http, Mqtt, Plugin, Publish, Route, Rule, Site
from almenara.model.errors import ConfigError, MissingExtra, PluginError, Problem, QueryError
from almenara.model.time import format_duration
from almenara.model.tls import client_context
from almenara.plugin import options, registry

MAX_BYTES = 4_000_000
SHORTEST_RETENTION_S = 3600.0

#: What runs where the file has no section of this name.
DEFAULTS: dict[str, dict[str, Any]] = {
    "topics": {"#": Plugin("codec", "#", "json", where='topics."#"')},
    "collectors": {"host": Plugin("collector", "host", "host", where="collectors.host")},
    "detectors": {"seasonal": Plugin("detector", "seasonal", "seasonal", where="detectors.seasonal")},
    "rules": {
        "anomaly": Rule(expr="anomaly_score > 1", for_=300.0),
        "stale": Rule(expr="stale_gaps > 10"),
    },
}


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration. Nothing in it was opened, connected or started."""

    path: Path | None = None
    site: Site = field(default_factory=Site)
    http: Http = field(default_factory=Http)
    mqtt: Mqtt = field(default_factory=Mqtt)
    data: Data = field(default_factory=Data)
    publish: Publish = field(default_factory=Publish)
    agent: Agent = field(default_factory=Agent)
    watch: schema.Watch = field(default_factory=schema.Watch)
    noise: schema.Noise = field(default_factory=schema.Noise)
    incidents: schema.Incidents = field(default_factory=schema.Incidents)
    topics: Mapping[str, Plugin] = field(default_factory=lambda: DEFAULTS["topics"])
    codecs: Mapping[str, Plugin] = field(default_factory=dict)
    transports: Mapping[str, Plugin] = field(default_factory=dict)
    collectors: Mapping[str, Plugin] = field(default_factory=lambda: DEFAULTS["collectors"])
    detectors: Mapping[str, Plugin] = field(default_factory=lambda: DEFAULTS["detectors"])
    rules: Mapping[str, Rule] = field(default_factory=lambda: DEFAULTS["rules"])
    notifiers: Mapping[str, Plugin] = field(default_factory=dict)
    tuning: Mapping[str, schema.Tuning] = field(default_factory=dict)
    budgets: Mapping[str, schema.Budget] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    dweet: Dweet = field(default_factory=Dweet)
    queue: Queue = field(default_factory=Queue)
    streams: Mapping[str, Stream] = field(default_factory=dict)
    calendars: Mapping[str, schema.Calendar] = field(default_factory=dict)
    maintenance: Mapping[str, Maintenance] = field(default_factory=dict)
    policies: Mapping[str, who.Policy] = field(default_factory=dict)
    inhibit: Mapping[str, who.Inhibit] = field(default_factory=dict)
    stores: Mapping[str, Plugin] = field(default_factory=dict)
    given: frozenset[str] = frozenset()  # dotted keys that the file or the command line sets, such as "mqtt.listen"

    @property
    def store(self) -> Plugin:
        """The store that [data] names, with its options from [stores]."""
        name = self.data.store
        return self.stores.get(name) or Plugin("store", name, name, where=f"stores.{name}")


def load(path: Path | str | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration in a file (None: the defaults), with `overrides` such as {"http.listen": "0.0.0.0:80"} on top.

    Overrides that are None are left out. Raises ConfigError with every mistake, in the order of the file.
    """
    text = _read_text(Path(path)) if path is not None else ""
    tables = _parse(text, str(path))
    check = _Check(tables, Path(path).parent if path is not None else Path())
    given = {k: v for k, v in (overrides or {}).items() if v is not None}
    if path is not None:
        check.version()
    for key, value in given.items():
        section, _, name = key.partition(".")
        if isinstance(tables.setdefault(section, {}), dict):
            tables[section][name] = value
    parts = check.all()
    if check.problems:
        lines = locate(text)
        found = [_place(p, str(path or ""), lines, given) for p in check.problems]
        raise ConfigError(sorted(found, key=attrgetter("line")))
    keys = frozenset(f"{s}.{k}" for s in SECTIONS for k in tables.get(s, ()))
    return Config(path=Path(path) if path is not None else None, given=keys, **parts)


def check_tables(tables: Mapping[str, Any], notifiers: Mapping[str, Plugin]) -> Config:
    """A configuration of these tables alone, with notifiers that are only named. Raises ConfigError with every mistake
    of both."""
    check = _Check({**tables, "notifiers": {name: {} for name in notifiers}})
    for name, plugin in notifiers.items():
        check.selector(join(("notifiers", name)) + ".match", plugin.match)
    parts = check.all(without=("notifiers",))
    if check.problems:
        raise ConfigError(check.problems)
    return Config(notifiers=notifiers, **{name: part for name, part in parts.items() if name != "notifiers"})


def _place(problem: Problem, file: str, lines: dict[str, int], given: Mapping[str, Any]) -> Mistake:
    key = problem.where
    if not file or any(key == g or key.startswith(g + "[") for g in given):
        return Mistake(f"command line: {key}", problem.message, problem.hint, key=key)
    line = line_of(lines, key) or 1
    return Mistake(f"{file}:{line}: {key}", problem.message, problem.hint, file, line, key)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError([Mistake(str(path), f"is larger than {MAX_BYTES} bytes", file=str(path))])
        return raw.decode("utf-8-sig")
    except OSError as error:
        hint = f"almenara init --output {path} writes one" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([Mistake(str(path), f"cannot be read: {error.strerror}", hint, str(path))]) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Mistake(f"{path}:{line}", f"is not UTF-8 text (byte 0x{raw[error.start]:02x})", "", str(path), line)
        raise ConfigError([problem]) from error


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        message, line, column = match.groups() if match else (str(error), None, None)
        at = int(line) if line else max(1, len(text.splitlines()))
        what = f"is no TOML: {message[0].lower()}{message[1:]}" + (f", at column {column}" if column else "")
        raise ConfigError([Mistake(f"{file}:{at}", what, "", file, at)]) from error
    except RecursionError as error:
        raise ConfigError([Mistake(file, "is nested too deeply", file=file)]) from error


class _Check:
    """All checks of one document; what is wrong gathers in `problems`."""

    def __init__(self, tables: dict[str, Any], folder: Path = Path()):
        self.tables, self.folder = tables, folder
        self.problems: list[Problem] = []

    def say(self, where: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(where, message, hint))

    def version(self) -> None:
        found = self.tables.get("version")
        if found is None:
            self.say(
                "version", f"is missing; expected {schema.VERSION}", f"write version = {schema.VERSION} at the top"
            )
        elif found != schema.VERSION or isinstance(found, bool):
            hint = "a newer almenara wrote this file" if isinstance(found, int) and found > schema.VERSION else ""
            self.say("version", f"must be {schema.VERSION}; got {options.show(found)}", hint)

    def all(self, without: Sequence[str] = ()) -> dict[str, Any]:
        known = [
            "version", *SECTIONS, *PLUGINS, "rules", "calendars", "tuning", "budgets", "routes", "streams",
            "maintenance", "policies", "inhibit", "tests", "rule_files",
        ]  # fmt: skip
        for key in self.tables:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                self.say(join((key,)), "unknown section", f"did you mean {near[0]}?" if near else "")
        parts = {name: self.section(name, cls) for name, cls in SECTIONS.items()}
        parts |= {name: self.plugins(name) for name in PLUGINS if name in self.tables and name not in without}
        if "rules" in self.tables or "rule_files" in self.tables:
            parts["rules"] = self.rules()
        if "tuning" in self.tables:
            parts["tuning"] = {name: self.tuning(name, table) for name, table in self.named("tuning")}
        if "budgets" in self.tables:
            parts["budgets"] = {name: self.budget(name, table) for name, table in self.named("budgets")}
        if "routes" in self.tables:
            parts["routes"] = {name: self.route(name, table, parts) for name, table in self.named("routes")}
        if "streams" in self.tables:
            parts["streams"] = {name: self.stream(name, table) for name, table in self.named("streams")}
        if "calendars" in self.tables:
            parts["calendars"] = {name: self.calendar(name, table) for name, table in self.named("calendars")}
        if "policies" in self.tables:
            parts["policies"] = self.policies()
        if "inhibit" in self.tables:
            parts["inhibit"] = {name: self.inhibit(name, table) for name, table in self.named("inhibit")}
        if "maintenance" in self.tables:
            parts["maintenance"] = {name: self.maintenance(name, table) for name, table in self.named("maintenance")}
        if "rules" in parts:
            self.rules_among_each_other(parts)
        self.sense(parts)
        return parts

    def section(self, name: str, cls: Any) -> Any:
        table = self.tables.get(name, {})
        if not isinstance(table, dict):
            self.say(name, f"must be a table; got {options.show(table)}", f"write [{name}]")
            return None
        values, problems = options.read(cls, table, name, given=())
        self.problems += problems
        return None if problems else cls(**values)

    def named(self, section: str) -> list[tuple[str, dict[str, Any]]]:
        """(name, table) of a section of named tables."""
        tables = self.tables[section]
        if not isinstance(tables, dict):
            self.say(
                section, f"must be tables, one for each name; got {options.show(tables)}", f"write [{section}.NAME]"
            )
            return []
        for name, table in tables.items():
            if not isinstance(table, dict):
                place = join((section, name))
                self.say(place, f"must be a table; got {options.show(table)}", f"write [{section}.NAME]")
        return [(name, table) for name, table in tables.items() if isinstance(table, dict)]

    def plugins(self, section: str) -> dict[str, Plugin]:
        kind, chooser, matched = PLUGINS[section]
        found = {}
        for name, table in self.named(section):
            where = join((section, name))
            if section == "topics" and not schema.is_topic_filter(name):
                self.say(where, f"must be an MQTT topic filter such as sensors/# or +/state; got {options.show(name)}")
            plugin = table.get(chooser, "json" if section == "topics" else name)
            apart = {chooser, *(["match"] if matched else []), *(["codec"] if kind == "transport" else [])}
            rest = {k: v for k, v in table.items() if k not in apart}
            match = table.get("match", "") if matched else ""
            self.selector(f"{where}.match", match)
            values = self.plugin_options(kind, plugin, rest, where, chooser if chooser in table else "")
            codec = self.codec(plugin, table, where) if kind == "transport" else None
            found[name] = Plugin(kind, name, plugin, values, match, where, codec)
        return found

    def codec(self, transport: Any, table: dict[str, Any], where: str) -> Plugin | None:
        """What reads the payloads of a transport: a name, or a table of options whose `plugin` may be left out where
        codec and transport have one name."""
        if "codec" not in table:
            return None
        given, link, where = table["codec"], where, f"{where}.codec"
        if isinstance(given, str):
            return Plugin("codec", where, given, self.plugin_options("codec", given, {}, link, "codec"), where=where)
        if not isinstance(given, dict):
            self.say(where, f"must be the name of a codec, or a table; got {options.show(given)}")
            return None
        plugin = given.get("plugin", transport)
        rest = {k: v for k, v in given.items() if k != "plugin"}
        values = self.plugin_options("codec", plugin, rest, where, "plugin" if "plugin" in given else "")
        return Plugin("codec", where, plugin, values, where=where)

    def plugin_options(self, kind: str, plugin: Any, table: dict[str, Any], where: str, chooser: str) -> dict[str, Any]:
        place = f"{where}.{chooser}" if chooser else where
        if not isinstance(plugin, str):
            self.say(place, f"must be the name of a {kind}; got {options.show(plugin)}")
            return {}
        try:
            values, problems = options.read(registry.load(kind, plugin), table, where)
        except MissingExtra as error:
            self.say(place, *str(error).split(": ", 1))
            return {}
        except PluginError as error:
            message, _, hint = str(error).partition("; ")
            self.say(place, message, hint if chooser else f'{hint}, or say which with plugin = "..."')
            return {}
        self.problems += problems
        return values

    def rules(self) -> dict[str, Rule]:
        """The rules of the file, and those of Prometheus' rule files; without any [rules] the built-in ones stay."""
        found = {} if "rules" in self.tables else dict(DEFAULTS["rules"])
        for name, table in self.named("rules") if "rules" in self.tables else ():
            rule, problems = rules.read(name, table, join(("rules", name)))
            self.problems += problems
            found |= {name: rule} if rule is not None else {}
        return self.rule_files() | found if "rule_files" in self.tables else found

    def rule_files(self) -> dict[str, Rule]:
        """Those of Prometheus' rule files; a rule of the same name in this file is taken in place of one of them."""
        patterns = self.tables["rule_files"]
        if not isinstance(patterns, list) or not all(isinstance(one, str) for one in patterns):
            self.say("rule_files", f"must be a list of paths; got {options.show(patterns)}")
            return {}
        try:
            found, problems = rule_files.read(patterns, self.folder)
        except MissingExtra as error:
            self.say("rule_files", *str(error).split(": ", 1))
            return {}
        self.problems += problems
        return found

    def rules_among_each_other(self, parts: Mapping[str, Any]) -> None:
        """What goes wrong between rules; looked at where each is right alone."""
        if any(problem.where.startswith("rule") for problem in self.problems):
            return
        detectors = parts.get("detectors", DEFAULTS["detectors"])
        with contextlib.suppress(QueryError, MissingExtra, ModuleNotFoundError):  # told already
            self.problems += rules.among(parts["rules"], detectors, parts.get("calendars", ()))

    def tuning(self, name: str, table: dict[str, Any]) -> schema.Tuning | None:
        """Options on what counts; imported only here: an agent has no use for them."""
        where = join(("tuning", name))
        values, problems = options.read(schema.Tuning, table, where, given=())
        self.selector(f"{where}.match", values.get("match", ""))
        if not problems:
            try:
                from almenara.analysis import tuning

                tuning.Tuning.of(**{key: value for key, value in values.items() if key != "match"})
            except ValueError as error:
                key, _, message = str(error).partition(": ")
                problems = [Problem(f"{where}.{key}", message)]
            except ModuleNotFoundError:
                problems = [Problem(where, "cannot be checked without numpy", "pip install 'almenara[hub]'")]
        self.problems += problems
        return None if problems else schema.Tuning(**values)

    def budget(self, name: str, table: dict[str, Any]) -> schema.Budget | None:
        where = join(("budgets", name))
        values, problems = options.read(schema.Budget, table, where, given=())
        self.selector(f"{where}.match", values.get("match", ""))
        self.problems += problems
        return None if problems else schema.Budget(**values)

    def route(self, name: str, table: dict[str, Any], parts: Mapping[str, Any]) -> Route | None:
        """A route, its codec a `Plugin` and its relabel steps checked."""
        where = join(("routes", name))
        values, problems = options.read(Route, table, where, given=())
        self.problems += problems
        codec = self.codec(values.get("codec"), {"codec": "influx"} | table, where)
        self.selector(f"{where}.match", values.get("match", ""))
        for at, step in enumerate(values.get("relabel", ())):
            self.step(step, f"{where}.relabel[{at}]")
        links = {*parts.get("transports", ()), *(("mqtt",) if parts["mqtt"] and parts["mqtt"].enabled else ())}
        if "to" in values and values["to"] not in links:
            hint = f"known: {', '.join(sorted(links))}" if links else "write [transports.NAME]"
            self.say(f"{where}.to", f"no transport is called {options.show(values['to'])}", hint)
        return None if problems else Route(**values | {"codec": codec})

    def step(self, table: dict[str, Any], where: str) -> None:
        """A relabel step; imported only here: an agent has no use for it."""
        from almenara.pipeline.relabel import Step

        values, problems = options.read(Step, table, where, given=())
        self.problems += problems
        try:
            Step(**values)
        except ConfigError as error:
            self.problems += [Problem(f"{where}.{p.where}", p.message, p.hint) for p in error.problems]

    def stream(self, name: str, table: dict[str, Any]) -> Stream | None:
        where = join(("streams", name))
        values, problems = options.read(Stream, table, where, given=())
        self.problems += problems or stream_problems(where, name, Stream(**values))
        return None if problems else Stream(**values)

    def calendar(self, name: str, table: dict[str, Any]) -> schema.Calendar | None:
        where = join(("calendars", name))
        found, problems = calendars.read(name, table, where)
        self.problems += problems
        self.selector(f"{where}.match", table.get("match", ""))
        return found

    def maintenance(self, name: str, table: dict[str, Any]) -> Maintenance | None:
        calendars_known = self.tables.get("calendars")
        where = join(("maintenance", name))
        found, problems = maintenance.read(table, where, calendars_known if isinstance(calendars_known, dict) else {})
        self.problems += problems
        self.selector(f"{where}.match", table.get("match", ""))
        return found

    def policies(self) -> dict[str, who.Policy | None]:
        """Every policy, and the tree that they are."""
        names: list[Any] = [self.tables.get(section) for section in ("notifiers", "calendars")]
        notifiers, known = ([*one] if isinstance(one, dict) else [] for one in names)
        found: dict[str, who.Policy | None] = {}
        for name, table in self.named("policies"):
            found[name], problems = who.read(name, table, notifiers, known)
            self.problems += problems
            self.selector(f"{join(('policies', name))}.match", table.get("match", ""))
        self.problems += who.tree_problems(found)
        return found

    def inhibit(self, name: str, table: dict[str, Any]) -> who.Inhibit | None:
        found, problems = who.read_inhibit(name, table)
        self.problems += problems
        for key in ("source", "target"):
            self.selector(f"{join(('inhibit', name))}.{key}", table.get(key, ""))
        return found

    def selector(self, where: str, text: Any) -> None:
        if not isinstance(text, str):
            self.say(where, f"must be a selector such as '{{city=\"Mumbai\"}}'; got {options.show(text)}")
        elif text:
            self.expression(where, text, "parse_selector")

    def expression(self, where: str, text: str, parser: str) -> None:
        """Check a text with a function of `almenara.query`, imported only here: an agent has no use for it."""
        try:
            from almenara import query

            parse: Callable[[str], Any] = getattr(query, parser)
            parse(text)
        except QueryError as error:
            self.say(where, str(error))
        except (MissingExtra, ModuleNotFoundError):
            self.say(where, "cannot be checked without the expression parser", "pip install 'almenara[hub]'")

    def sense(self, parts: dict[str, Any]) -> None:
        """What goes wrong between keys that are right alone."""
        http, mqtt, data, publish = (parts[k] for k in ("http", "mqtt", "data", "publish"))
        if http and not http.token and not schema.is_loopback(schema.split_address(http.listen)[0]):
            self.say(
                "http.listen", f"{http.listen} can be reached from other machines, and there is no token", _OPEN_HTTP
            )
        if mqtt and mqtt.url and "listen" in self.tables.get("mqtt", {}):
            self.say("mqtt.listen", "does not go with url: either our own broker listens, or yours is used")
        open_broker = mqtt and mqtt.enabled and not mqtt.url and not (mqtt.username and mqtt.password)
        if open_broker and not schema.is_loopback(schema.split_address(mqtt.listen)[0]):
            what = f"{mqtt.listen} can be reached from other machines, and there is no username and password"
            self.say("mqtt.listen", what, "set mqtt.username and mqtt.password, or start with --listen-all")
        if mqtt:
            self.tls(mqtt)
        if data and 0 < data.retention < SHORTEST_RETENTION_S:
            what = f"must be 0 (nothing is ever deleted) or at least 1h; got {format_duration(data.retention)}"
            self.say("data.retention", what)
        chosen = data and "store" in self.tables.get("data", ())
        if chosen and data.store not in parts.get("stores", {}) and data.store not in registry.names("store"):
            installed = ", ".join(registry.names("store"))
            self.say("data.store", f"no store is called {options.show(data.store)}; installed: {installed}")
        if parts["noise"]:
            self.problems += who.unknown_notifiers("noise.notify", parts["noise"].notify, parts.get("notifiers", {}))
        if (watch := parts["watch"]) and watch.ping_url and not _is_web_address(watch.ping_url):
            self.say("watch.ping_url", "must begin with http:// or https:// and a host")
        if watch and watch.ca_file and not Path(watch.ca_file).is_file():
            self.say("watch.ca_file", f"is no file; got {options.show(watch.ca_file)}")
        if parts["dweet"]:
            self.problems += key_problems(parts["dweet"].keys)
        self.problems += public_problems(parts.get("streams", {}))
        for i, text in enumerate(publish.judged if publish else ()):
            self.selector(f"publish.judged[{i}]", text)

    def tls(self, mqtt: Mqtt) -> None:
        """Whether the files for TLS can be used."""
        files = {"ca_file": mqtt.ca_file, "cert_file": mqtt.cert_file, "key_file": mqtt.key_file}
        try:
            client_context(mqtt.url or f"mqtt://{mqtt.listen}", **files)
        except ConfigError as error:
            for problem in error.problems:
                self.say(f"mqtt.{problem.where}", problem.message, problem.hint)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


_OPEN_HTTP = 'set http.token (for example "env:ALMENARA_TOKEN"), or start with --listen-all, which makes one'
