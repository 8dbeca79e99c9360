"""mqttwarn's configuration as ours: its services and targets become notifiers; what has no counterpart is named.

Format: https://mqttwarn.readthedocs.io/en/latest/configure/mqttwarn.ini.html. Values are Python literals, read as such
and never run.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from almenara.cli._mqttwarn_services import SERVICES, NoCounterpart
from almenara.config.lines import join
from almenara.model.errors import AlmenaraError
from almenara.plugin.values import render, toml_key

_MOST_BYTES = 1 << 20
_SPECIAL = {"TRUE": True, "FALSE": False, "NONE": None}
#: Sections that are neither services nor topics, and what is said of them.
_OTHERS = {
    "failover": "mqttwarn tells of its own start and stop; the last will of the hub and `almenara watch` do",
    "cron": "functions of Python on a schedule",
}
#: Keys of [defaults] that mean something here, or need no word.
_BROKER = ("hostname", "port", "username", "password", "ca_certs", "certfile", "keyfile", "tls", "tls_insecure")
_SILENT = frozenset(
    (
        *_BROKER, "clientid", "protocol", "cleansession", "launch", "logfile", "loglevel", "logformat", "num_workers",
        "functions", "filteredmessagesloglevel",
    )
)  # fmt: skip
_WITH_FUNCTIONS = ("filter", "datamap", "alldata", "format", "targets", "template")


@dataclass
class Imported:
    """What came of a file: tables of ours, what is to be known of them, and what has no counterpart, by line."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)  # dotted name -> options
    notes: dict[str, str] = field(default_factory=dict)  # dotted name -> a remark
    left_out: list[tuple[int, str]] = field(default_factory=list)  # line, what and why

    def leave(self, line: int, why: str) -> None:
        """Something has no counterpart. In one line, for it becomes a comment."""
        self.left_out.append((line, "".join(c if c.isprintable() else " " for c in why)))

    def toml(self, source: str) -> str:
        """As a configuration file."""
        parts = [f"# From {render(source)}, a configuration of mqttwarn.\nversion = 1\n"]
        for name, table in self.tables.items():
            note = f"# {self.notes[name]}\n" if name in self.notes else ""
            flat = "".join(f"{toml_key(k)} = {render(v)}\n" for k, v in table.items())
            parts.append(f"{note}[{name}]\n{flat}")
        if self.left_out:
            parts.append("# Left out:\n" + "".join(f"# line {line}: {why}\n" for line, why in sorted(self.left_out)))
        return "\n".join(parts)


def read(path: Path) -> Imported:
    """The file's services and targets. Raises AlmenaraError where it cannot be read."""
    text = _text_of(path)
    ini = configparser.RawConfigParser(interpolation=None)
    try:
        ini.read_string(text, str(path))
    except configparser.Error as error:
        raise AlmenaraError(_no_ini(path, error)) from None  # its own text repeats lines, and secrets in them
    lines = _lines(text)
    found = Imported()
    _defaults(ini, lines, found)
    for section in ini.sections():
        line = lines.get((section, ""), 1)
        if section.startswith("config:"):
            _service(ini, section, lines, found)
        elif section in _OTHERS:
            found.leave(line, f"[{section}]: {_OTHERS[section]}")
        elif section != "defaults":
            found.leave(line, _about_topic(ini, section))
    return found


def _no_ini(path: Path, error: configparser.Error) -> str:
    wrong: list[tuple[int, str]] = getattr(error, "errors", [])
    number = wrong[0][0] if wrong else getattr(error, "lineno", 0)
    what = {"DuplicateSectionError": "a section stands twice", "DuplicateOptionError": "a key stands twice"}
    why = what.get(type(error).__name__, "a line is neither a section nor a key with its value")
    return f"{path}{f':{number}' if number else ''}: is no configuration of mqttwarn: {why}"


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AlmenaraError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _MOST_BYTES:
        raise AlmenaraError(f"{path}: is larger than {_MOST_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AlmenaraError(f"{path}: is not UTF-8 text") from error


def value_of(text: str) -> Any:
    """A value as mqttwarn reads it: a Python literal, else the text itself. `$ENV:NAME` and `${FILE:path}` alone
    become secrets that are kept there."""
    if text.upper() in _SPECIAL:
        return _SPECIAL[text.upper()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _elsewhere(value: Any) -> Any:
    """Values with `$ENV:NAME` as ours, `env:NAME`, at every depth."""
    if isinstance(value, Mapping):
        return {key: _elsewhere(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_elsewhere(one) for one in value]
    if isinstance(value, str) and (match := re.fullmatch(r"\$\{?(ENV|FILE):([^}]+)\}?", value)):
        return f"{match[1].lower()}:{match[2]}"
    return value


def _lines(text: str) -> dict[tuple[str, str], int]:
    """(section, key) -> its line; the key is empty for the section itself. Names of targets are keys too."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\[([^\]]+)\]", line):
            section = match[1]
            found.setdefault((section, ""), number)
        elif match := re.match(r"([^\s#;=:][^=:]*?)\s*[=:]", line):
            found.setdefault((section, match[1].lower()), number)
        for name in re.findall(r"""['"]([^'"]+)['"]\s*:""", line):
            found.setdefault((section, f"target {name}"), number)
    return found


def _defaults(ini: configparser.RawConfigParser, lines: Mapping[tuple[str, str], int], found: Imported) -> None:
    if not ini.has_section("defaults"):
        return
    given = {key: _elsewhere(value_of(text)) for key, text in ini.items("defaults")}
    tls = bool(given.get("tls") or given.get("ca_certs"))
    if host := given.get("hostname"):
        table = {"url": f"mqtt{'s' if tls else ''}://{host}:{given.get('port') or (8883 if tls else 1883)}"}
        ours = {"username": "username", "password": "password", "ca_certs": "ca_file", "certfile": "cert_file"}
        ours["keyfile"] = "key_file"
        table |= {name: str(given[key]) for key, name in ours.items() if given.get(key)}
        found.tables["mqtt"] = table
        found.notes["mqtt"] = "The broker that mqttwarn listened to; leave this out to have our own."
    if given.get("tls_insecure"):
        found.leave(lines.get(("defaults", "tls_insecure"), 1), "tls_insecure: TLS is always verified here")
    if given.get("functions"):
        found.leave(lines.get(("defaults", "functions"), 1), "functions: functions of Python are not taken")
    for key in given.keys() - _SILENT:
        found.leave(lines.get(("defaults", key), 1), f"{key}: has no counterpart")


def _service(
    ini: configparser.RawConfigParser, section: str, lines: Mapping[tuple[str, str], int], found: Imported
) -> None:
    """One [config:NAME]: a notifier for each of its targets."""
    name = section.removeprefix("config:")
    line = lines.get((section, ""), 1)
    given = {key: _elsewhere(value_of(text)) for key, text in ini.items(section)}
    module, targets = str(given.pop("module", name)), given.pop("targets", None)
    convert = SERVICES.get(module)
    if not isinstance(targets, Mapping):
        found.leave(line, f"[{section}]: its targets are no table")
        return
    for target, addresses in targets.items():
        at = lines.get((section, f"target {target}"), line)
        try:
            if convert is None:
                raise NoCounterpart(
                    "this service has no counterpart; apprise knows many more (almenara plugins apprise)"
                )
            plugin, options, note = convert(given, addresses)
        except NoCounterpart as error:
            found.leave(at, f"{name}:{target}: {error}")
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            found.left_out.append(
                (at, f"{name}:{target}: is not written as mqttwarn wants it ({type(error).__name__})")
            )
        else:
            table = join(("notifiers", f"{name}-{target}"))
            found.tables[table] = {"plugin": plugin, **options}
            if note:
                found.notes[table] = note


def _about_topic(ini: configparser.RawConfigParser, section: str) -> str:
    """What to say of a section that sends messages of a topic to targets."""
    topic = value_of(ini.get(section, "topic", fallback=section))
    targets = ini.get(section, "targets", fallback="")
    functions = [key for key in _WITH_FUNCTIONS if ini.get(section, key, fallback="").strip().endswith(")")]
    more = f"; {', '.join(functions)} call functions of Python" if functions else ""
    told = " ".join(targets.split())[:100]
    return f"[{section}]: messages of {topic} told to {told or 'nobody'}: what comes is judged here; write a rule{more}"


#: How texts begin that are no secrets themselves.
_OPEN = ("env:", "file:", "mqtt", "unix:")


def secrets_in(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Where secrets stand in the tables themselves."""
    words = ("password", "token", "secret", "urls", "url")
    for name, table in tables.items():
        for key, value in table.items():
            texts = value if isinstance(value, list) else [value]
            if key in words and any(isinstance(text, str) and text and not text.startswith(_OPEN) for text in texts):
                yield f"{name}.{key}"
