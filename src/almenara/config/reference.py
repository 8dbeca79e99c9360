"""Every key of the configuration file, as Markdown, from the classes that check it."""

from __future__ import annotations

from almenara.config.dialects import Stream
from almenara.config.maintenance import Maintenance
from almenara.config.policies import Inhibit, Policy
from almenara.config.schema import PLUGINS, SECTIONS, Budget, Calendar, Route, Rule, Tuning
from almenara.config.template import ABOUT
from almenara.plugin.manual import description, options_table
from almenara.plugin.options import options_of


def reference() -> str:
    """A chapter for each section."""
    parts = [
        "`version = 1` stands at the top of every file. Secrets are written as text, as `env:NAME` (an environment "
        "variable) or as `file:PATH`. Durations are seconds, or texts such as `30s`, `5m`, `1h30m`, `7d`.\n\n"
        '`rule_files = ["rules/*.yml"]`, above all tables: rule files of Prometheus, whose alerting rules are taken '
        "too; paths count from the configuration file.\n"
    ]
    for name, cls in SECTIONS.items():
        parts += [f"## [{name}]\n", description(cls) + "\n", options_table(options_of(cls, given=()))]
    parts += [
        "## [rules.NAME]\n",
        ABOUT["rules"].partition(". Without")[0] + ".\n",
        options_table(options_of(Rule, given=())),
        "## [policies.NAME]\n",
        f"{ABOUT['policies']}\n",
        options_table(options_of(Policy, given=())),
        "## [inhibit.NAME]\n",
        f"{ABOUT['inhibit']}\n",
        options_table(options_of(Inhibit, given=())),
        "## [maintenance.NAME]\n",
        f"{ABOUT['maintenance']}\n",
        options_table(options_of(Maintenance, given=())),
        "## [calendars.NAME]\n",
        f"{ABOUT['calendars']}\n",
        options_table(options_of(Calendar, given=())),
        "## [tuning.NAME]\n",
        f"{ABOUT['tuning']}\n",
        options_table(options_of(Tuning, given=())),
        "## [budgets.NAME]\n",
        f"{ABOUT['budgets']}\n",
        options_table(options_of(Budget, given=())),
        "## [routes.NAME]\n",
        f"{ABOUT['routes']}\n",
        options_table(options_of(Route, given=())),
        "## [streams.NAME]\n",
        f"{ABOUT['streams']}\n",
        options_table(options_of(Stream, given=())),
    ]
    for name, (kind, chooser, matched) in PLUGINS.items():
        default = "default `json`" if name == "topics" else "default: NAME"
        keys = f"`{chooser}`: the {kind} ({default})." + (
            " `match`: a selector; empty is everything." if matched else ""
        )
        if name == "transports":
            keys += (
                ' `codec`: what reads its payloads, a name or a table `{ plugin = "NAME", ... }` with the codec\'s '
                "options; without it the link says so itself, or the topic."
            )
        what = "FILTER" if name == "topics" else "NAME"
        parts += [f"## [{name}.{what}]\n", f"{ABOUT[name]}\n", f"{keys} The other keys are the {kind}'s options.\n"]
    return "\n".join(parts)
