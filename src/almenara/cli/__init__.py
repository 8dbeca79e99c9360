"""The front door: `almenara` and `puma-agent`. Each verb is a thin function; what it does is imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from almenara._version import __version__
from almenara.cli.alarm_verbs import alarm_app
from almenara.cli.options import HUB, Json, Token, Url, UrlArgument
from almenara.model.errors import AlmenaraError, MissingExtra

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Monitoring in which every sample is judged as it arrives.",
)
agent_app = typer.Typer(
    pretty_exceptions_enable=False, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)

Config = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration file.")]
_Calendars = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]FILE.ics", help="Occasions to learn apart; a rule as 'pay=last business day of month'."
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"almenara {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("up")
def _up(
    config: Config = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for everything kept.", show_default="./almenara-data")
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen for HTTP.", show_default="127.0.0.1:8642")
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen for MQTT.", show_default="127.0.0.1:1883")
    ] = None,
    listen_all: Annotated[
        bool, typer.Option("--listen-all", help="Listen to other machines too; makes a token where none is set.")
    ] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Add a simulated plant with three weeks of history.")] = False,
    speed: Annotated[
        float, typer.Option(metavar="N", min=1, max=3600, help="How many times faster than real time the demo runs.")
    ] = 1.0,
) -> None:
    """Run the hub: broker, store, judging, alarms, dashboard. Needs no configuration."""
    try:
        from almenara.cli.up import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara up", "hub") from error

    raise typer.Exit(
        run(config=config, data=data, http=http, mqtt=mqtt, listen_all=listen_all, demo=demo, speed=speed) or 0
    )


@app.command("agent")
@agent_app.command()
def _agent(
    config: Config = None,
    hub: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Broker of the hub, mqtt://HOST:PORT or mqtts://HOST:PORT.",
            show_default="mqtt://127.0.0.1:1883",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for what waits to be sent.", show_default="./puma-data"),
    ] = None,
) -> None:
    """Run an agent: collect this machine's metrics and send them to a hub; nothing is lost while the link is down."""
    from almenara.cli.agent import run

    raise typer.Exit(run(config=config, hub=hub, data=data) or 0)


@app.command("notify")
def _notify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Notifier, as [notifiers.NAME] has it.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration file.")],
) -> None:
    """Send a test message through one notifier, and say what became of it. No hub has to run."""
    try:
        from almenara.cli.notify import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara notify", "hub") from error

    raise typer.Exit(run(name, config) or 0)


@app.command("watch")
def _watch(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Addresses of the hubs to watch.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="Its own configuration file, with [notifiers].")
    ],
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often to look.")] = "30s",
    after: Annotated[
        int, typer.Option(metavar="N", min=1, help="A hub is down when it was not well so many times in a row.")
    ] = 3,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for what it must not forget.", show_default="./almenara-watch"),
    ] = None,
    token: Token = "",
) -> None:
    """Watch hubs from another machine: whether each answers, is ready, and goes on judging. Tells people by its own
    notifiers, once while a hub is down and once when it is well again; also across its own restarts."""
    try:
        from almenara.cli.watch import Order, run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara watch", "hub") from error

    raise typer.Exit(run(Order(urls, config, data, _seconds("--every", every, 1.0), after, token)))


@app.command("init")
def _init(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.")] = Path("hub.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    mqttwarn: Annotated[
        Path | None,
        typer.Option("--from-mqttwarn", metavar="INI", help="Take the targets of mqttwarn's file as notifiers."),
    ] = None,
) -> None:
    """Write a commented configuration file with every key and its default, or one that goes on from mqttwarn's."""
    from almenara.cli.init import from_mqttwarn, run

    if mqttwarn is None:
        run(output, force)
    else:
        raise typer.Exit(from_mqttwarn(mqttwarn, output, force))


@app.command("check")
def _check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file, or tests of rules.")],
    as_json: Json = False,
) -> None:
    """Check a configuration file; every mistake is told at once, with its line. Runs the tests of rules that stand in
    it, or in a file of promtool's form."""
    from almenara.cli.check import run

    raise typer.Exit(run(file, as_json))


@app.command("plugins")
def _plugins(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Show the options of the plugins of this name.")] = "",
    as_json: Json = False,
) -> None:
    """List the installed plugins, or show the options of one."""
    from almenara.cli.plugins import run

    run(name, as_json)


@app.command("new")
def _new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="detector, codec, notifier, collector, ...")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin, as in a configuration file.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write the package.", show_default="./almenara-NAME")
    ] = None,
) -> None:
    """Write a new plugin, with a test, that passes the checks of its contract."""
    from almenara.cli.new import run

    run(kind, name, folder)


@app.command("query")
def _query(
    expr: Annotated[str, typer.Argument(metavar="EXPR", help="Expression such as 'cpu_usage{host=\"a\"}'.")],
    since: Annotated[str, typer.Option(metavar="TIME", help="From when: 30m, 1h, 7d ago, or an ISO 8601 time.")] = "1h",
    step: Annotated[
        str, typer.Option(metavar="DURATION", help="Time between two values.", show_default="about 60 of them")
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Samples as they are stored; EXPR is then a selector.")] = False,
    as_json: Json = False,
    url: Url = HUB,
    token: Token = "",
) -> None:
    """Ask a hub, in PromQL. A table for people; tab-separated lines when piped."""
    from almenara.cli.query import run

    run(expr, since=since, step=step, raw=raw, as_json=as_json, url=url, token=token)


@app.command("ledger")
def _ledger(
    url: UrlArgument = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Show what became of every row a hub received, by source: received = stored + duplicate + overwritten + rejected
    + dropped. A table for people; tab-separated lines when piped."""
    from almenara.cli.ledger import run

    run(url, as_json=as_json, token=token)


@app.command("budgets")
def _budgets(
    url: UrlArgument = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Show how the alarm budgets of a hub are kept: how many anomalies began lately, and their rate a week with its
    interval. A table for people; tab-separated lines when piped."""
    from almenara.cli.budgets import run

    run(url, as_json=as_json, token=token)


@app.command("noise")
def _noise(
    url: UrlArgument = HUB,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back to go.")] = "7d",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write a page of its own.")] = None,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Show which alarms only make noise: rules nobody ever acted on, alarms that flap, what was held back, and how
    alarm budgets were kept."""
    from almenara.cli.noise import run

    run(url, since, out=out, as_json=as_json, token=token)


app.add_typer(alarm_app, name="alarm")


@app.command("detect")
def _detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, or folders of them; - is the input.")],
    time: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the time.", show_default="by its title")] = "",
    value: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of values, again for more.", show_default="by title and type"),
    ] = None,
    series: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column that names the series.", show_default="by its title")
    ] = "",
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="csv, parquet, hdf5, influx, prometheus, graphite, whisper or rrd.",
            show_default="by the names of files",
        ),
    ] = "",
    format_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the format, such as zone=Europe/Madrid for its times."),
    ] = None,
    detector: Annotated[str, typer.Option(metavar="NAME", help="The detector.")] = "seasonal",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "--options", "-o", metavar="NAME=VALUE", help="Option of the detector."),
    ] = None,
    timezone: Annotated[
        str, typer.Option(metavar="NAME", help="Zone whose days and weeks count.", show_default="UTC")
    ] = "",
    country: Annotated[str, typer.Option(metavar="CODE", help="Whose public holidays count, such as ES.")] = "",
    calendar: _Calendars = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="NAME=KIND", help="What a series is: gauge, counter or histogram.")
    ] = None,
    p_limit: Annotated[
        float | None, typer.Option(metavar="P", help="How likely a usual row is to be flagged.", show_default="0.0001")
    ] = None,
    budget_per_week: Annotated[
        float | None, typer.Option(metavar="N", help="Flag at most about N rows a week, of all series together.")
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What counts, as in [tuning]: data_range=0,100."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="What is no anomaly, such as 'actual < 5'.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw into this .html or .png.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write every row with its answer as CSV.")
    ] = None,
    only_anomalies: Annotated[
        bool, typer.Option("--only-anomalies", help="Of --output only the rows of anomalies.")
    ] = False,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="How many anomalies to show, the worst first.")] = 20,
    as_json: Json = False,
) -> None:
    """Judge files of history without a hub: each value against the past of its own series. Shows the worst anomalies
    with a sentence; a table for people, tab-separated lines when piped."""
    try:
        from almenara.cli.detect import Order, run, tuning_from
        from almenara.cli.importing import pairs
        from almenara.notebook.calendars import calendars_of_texts
        from almenara.notebook.judge import Choice
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara detect", "notebook") from error

    columns = {"time_column": time, "value_columns": ",".join(value or []), "name_column": series}
    given = {name: text for name, text in columns.items() if text} | pairs(format_option or [], "--format-option")
    kinds, wanted = pairs(kind or [], "--kind"), pairs(option or [], "--option")
    tuning = tuning_from(pairs(tune or [], "--tune"), ignore or [])
    days, limits = (timezone or None, country), (p_limit, budget_per_week)
    choice = Choice(detector, wanted, *days, *limits, kinds, tuning, calendars_of_texts(calendar or []))
    raise typer.Exit(run(Order(files, choice, form, given, plot, output, only_anomalies, as_json, top)))


@app.command("backtest")
def _backtest(
    selectors: Annotated[
        list[str] | None, typer.Argument(metavar="[SELECTOR]...", help="Such as 'cpu{host=\"a\"}'; none: every series.")
    ] = None,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back to go.")] = "30d",
    detector: Annotated[
        str, typer.Option(metavar="NAME", help="The configured detector.", show_default="the first")
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="Option to try, such as p_limit=1e-5."),
    ] = None,
    budget_per_week: Annotated[
        float | None, typer.Option(metavar="N", help="Try a limit for about N anomalies a week, of all these series.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Try the rules and policies of a configuration file."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="With --rules: write a page with a figure.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="How many anomalies, or incidents, to show.")] = 20,
    as_json: Json = False,
    url: Url = HUB,
    token: Token = "",
) -> None:
    """Try other options of a detector on the stored history of a hub: what would they have flagged, and how often,
    beside today's? Or, with --rules, other rules and policies: whom would they have told of what, beside what was?
    Nothing is changed, and nobody is told."""
    if rules is not None and (option or budget_per_week or detector):
        raise typer.BadParameter("does not go with --detector, --option and --budget-per-week", param_hint="--rules")
    if out is not None and rules is None:
        raise typer.BadParameter("goes with --rules only", param_hint="--out")
    from almenara.cli.backtest import Order, run
    from almenara.cli.importing import pairs

    wanted = pairs(option or [], "--option")
    order = Order(selectors or [], since, detector, wanted, budget_per_week, as_json, top, rules, out)
    run(order, url=url, token=token)


@app.command("audit")
def _audit(
    nagios_log: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A nagios.log or one of its archives; again for more.")
    ] = None,
    alertmanager_export: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Alerts as JSON, as /api/v2/alerts or `amtool alert query -o json` give them."
        ),
    ] = None,
    perfdata: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Perfdata files of Nagios, RRDs of pnp4nagios, or folders of them."),
    ] = None,
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write a page that needs no network.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Audit the pager you have: replay your own history, without a hub, and put what your pager told beside the
    incidents that this program makes of it."""
    try:
        from almenara.cli.audit import Order, run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara audit", "hub") from error

    raise typer.Exit(run(Order(nagios_log or [], alertmanager_export or [], perfdata or [], config, out, as_json)))


@app.command("import")
def _import(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, or folders of them.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="csv, parquet, hdf5, influx, prometheus, graphite, whisper or rrd.",
            show_default="by the names of files",
        ),
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="Option of the format, such as time_column=when."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Label to add to every series.")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="Only rows from then on: 30d ago, or ISO 8601.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Only rows before then.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, send nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--from-start", help="Begin anew, also where an import of the same was cut short.")
    ] = False,
    as_json: Json = False,
    url: Url = HUB,
    token: Token = "",
) -> None:
    """Send files of history to a hub, which learns them; no alarm is raised for the past. What was cut short goes on
    where it was when the same command is given again."""
    try:
        from almenara.cli.importing import Order, pairs, run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara import", "files") from error

    options, labels = pairs(option or [], "--option"), pairs(label or [], "--label")
    order = Order(files, form, options, labels, since, until, strict, dry_run, again)
    raise typer.Exit(run(order, url=url, token=token, as_json=as_json))


@app.command("export")
def _export(
    selectors: Annotated[
        list[str] | None, typer.Argument(metavar="[SELECTOR]...", help="Such as 'cpu{host=\"a\"}'; none: every series.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write.", show_default="standard output"),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="NAME", help="csv or parquet.", show_default="by the name of FILE")
    ] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Only rows from then on: 30d ago, or ISO 8601.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Only rows before then.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Label to write as a column of its own, instead of one column of series."),
    ] = None,
    as_json: Json = False,
    url: Url = HUB,
    token: Token = "",
) -> None:
    """Write stored rows to a CSV or Parquet file, which `almenara import` reads again."""
    try:
        from almenara.cli.exporting import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("almenara export", "hub") from error

    code = run(
        selectors or [], since=since, until=until, form=form, output=output, labels=label or [], url=url, token=token,
        as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(code)


@app.command("help")
def _help(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="nagios; without one the topics are listed.")] = "",
    system: Annotated[
        str, typer.Option("--for", metavar="SYSTEM", help="nagios4, naemon, icinga or icinga2.")
    ] = "nagios4",
    spool: Annotated[
        str, typer.Option(metavar="DIR", help="Folder that perfdata files are left in.")
    ] = "/var/spool/almenara/nagios",
    rules: Annotated[
        bool, typer.Option("--rules", help="Print rules of the thresholds that the hub saw in perfdata.")
    ] = False,
    url: Annotated[
        str, typer.Option(envvar="ALMENARA_URL", metavar="URL", help="Address of the hub, for --rules.")
    ] = HUB,
    token: Token = "",
) -> None:
    """Print the lines to paste into the configuration of other systems, so that they send to a hub."""
    from almenara.cli.help import run

    run(topic, system=system, spool=spool, rules=rules, url=url, token=token)


def _seconds(option: str, text: str, least_s: float) -> float:
    from almenara.model.time import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
    if seconds < least_s:
        raise typer.BadParameter(f"must be at least {least_s:g} s; got {text}", param_hint=option)
    return seconds


def main(args: Sequence[str] | None = None) -> None:
    """The program `almenara`. Exits with 0, with 1 where something failed, with 2 where it was called wrongly."""
    _call(app, "almenara", args)


def agent_main(args: Sequence[str] | None = None) -> None:
    """The program `puma-agent`: `almenara agent`."""
    _call(agent_app, "puma-agent", args)


def _call(program: typer.Typer, name: str, args: Sequence[str] | None) -> None:
    try:
        program(args, prog_name=name)
    except AlmenaraError as error:
        from almenara.cli.terminal import show_error

        show_error(error)
        sys.exit(1)
