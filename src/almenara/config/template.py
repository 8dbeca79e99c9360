"""The commented `hub.toml` of `almenara init`: every key with its meaning and its default, from the signatures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from almenara.config import schema
from almenara.config.dialects import Stream
from almenara.config.lines import join
from almenara.config.load import DEFAULTS
from almenara.config.maintenance import Maintenance
from almenara.config.policies import Inhibit, Policy
from almenara.config.schema import PLUGINS, SECTIONS, Budget, Calendar, Plugin, Route, Rule, Tuning
from almenara.model.errors import PluginError
from almenara.plugin import registry
from almenara.plugin.options import Option, options_of, render

HEAD = f"""\
# Configuration of an almenara hub.   almenara check FILE   tells every mistake in it.
#
# Every key stands here with its default, behind a "#"; take the "#" away to change it. A text is written as "text", a
# duration as "30s", "5m", "1h30m" or "7d", a secret as "env:NAME" (from the environment) or "file:PATH".

version = {schema.VERSION}

# Rule files of Prometheus, such as ["rules/*.yml"], whose alerting rules are taken too; paths count from this file.
#rule_files = []
"""

ABOUT = {
    "topics": "How messages are read, by MQTT topic; the longest fitting filter counts.",
    "codecs": "Options of codecs where HTTP names them: influx reads /write, any other name /ingest/NAME/TOPIC.",
    "transports": "Further links that bring messages.",
    "collectors": "What this machine measures by itself.",
    "detectors": "What judges samples as they arrive; match chooses series, such as '{city=\"Mumbai\"}' (empty: all).",
    "tuning": "What counts as an anomaly of some series, whatever the detector; the first table that fits counts.",
    "budgets": "How many anomalies a week are welcome; the limit is then set by how often the series have rows.",
    "rules": "When alarms are raised. Without any [rules...] there are those below.",
    "calendars": "Days and hours on which series behave in a way of their own: it is learned, and expected again.",
    "policies": "Who is told of which alarms, how soon and how often: a tree; without any, each notifier by its match.",
    "inhibit": "Which alarms are held back while another one fires that explains them.",
    "maintenance": "When work is done: people are told nothing of these alarms, and of what still goes on after it.",
    "streams": 'Streams of rows as data.sparkfun.com had them; [http] dialects = ["phant"] switches them on.',
    "routes": "Stored rows that go on to other systems, each at least once.",
    "notifiers": "Who is told of alarms; match chooses them by their labels (empty: all).",
    "stores": "Options of the store that [data] names.",
}


#: Sections of named tables without an example.
_KEYS_OF = {
    "calendars": Calendar, "tuning": Tuning, "budgets": Budget, "routes": Route, "streams": Stream,
    "maintenance": Maintenance, "policies": Policy, "inhibit": Inhibit,
}  # fmt: skip


def template() -> str:
    """The whole text; it is a right configuration file as it stands."""
    parts = [HEAD]
    for name, cls in SECTIONS.items():
        keys = _keys(options_of(cls, given=()))
        parts.append("\n".join([*_prose(cls.__doc__.partition("\n")[0]), f"[{name}]", *keys, ""]))
    for name in (
        "topics",
        "codecs",
        "collectors",
        "detectors",
        "calendars",
        "tuning",
        "budgets",
        "rules",
        "maintenance",
        "notifiers",
        "policies",
        "inhibit",
        "transports",
        "routes",
        "streams",
        "stores",
    ):
        parts.append("\n".join([*_prose(ABOUT[name]), *_examples(name), ""]))
    return "\n".join(parts)


def _examples(section: str) -> list[str]:
    if section == "rules":
        return [f"#{line}" if line[:1] != "#" else line for line in _rule("anomaly") + _rule("stale")]
    if section in _KEYS_OF:
        keys = [f"{o.name}: {o.help}" for o in options_of(_KEYS_OF[section], given=())]
        return [f"# [{section}.NAME], with the keys", *(line for key in keys for line in _prose(key))]
    lines = []
    kind, chooser, matched = PLUGINS[section]
    shown = DEFAULTS.get(section, {"chdb": Plugin("store", "chdb", "chdb")} if section == "stores" else {})
    for name, plugin in shown.items():
        lines += [f"#[{join((section, name))}]", f'#{chooser} = "{plugin.plugin}"'] + (
            ['#match = ""'] if matched else []
        )
        try:
            lines += _keys(options_of(registry.load(kind, plugin.plugin)))
        except PluginError as error:
            lines += _prose(f"({error})")
    others = ", ".join(n for n in registry.names(kind) if n not in shown)
    return lines + _prose(f"Installed{' too' if shown else ''}: {others or 'none'}. Options: almenara plugins NAME")


def _rule(name: str) -> list[str]:
    rule = DEFAULTS["rules"][name]
    lines = [f"[rules.{name}]"]
    for option in options_of(Rule, given=()):
        lines += _prose(f"{option.help} ({option.type_text})")
        value = getattr(rule, option.parameter)
        lines += [f"{option.name} = {render(value, option.annotation)}"] if value is not None else []
    return lines


def _keys(options: Iterable[Option]) -> list[str]:
    lines = []
    for option in options:
        lines += _prose(option.help + (f" (needed: {option.type_text})" if option.required else ""))
        if option.required or option.default is None:
            lines.append(f"# {option.name} = ...   {option.type_text}")
        else:
            lines.append(f"#{option.name} = {option.default_text}")
    return lines


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
