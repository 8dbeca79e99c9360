"""The verbs of `almenara alarm`. Each is a thin function; what it does is imported when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from almenara.cli.options import HUB, Json, Token, Url

if TYPE_CHECKING:
    from almenara.cli.alarm import Desk

alarm_app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Incidents and silences of a hub: look at them, and say who does what about them.",
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="Number of an incident, as `almenara alarm list` has it.")]
_All = Annotated[bool, typer.Option("--all", help="Also those that are over.")]
_Who = Annotated[
    str, typer.Option(envvar="ALMENARA_WHO", metavar="NAME", help="Who does it.", show_default="your user name")
]


def _desk(url: str, token: str, as_json: bool, who: str = "") -> Desk:
    from almenara.cli.alarm import Desk

    return Desk(url, token, as_json, who)


@alarm_app.command("list")
def _list(
    all_of_them: _All = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many, the newest.")] = 100,
    url: Url = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Incidents that are open. A table for people; tab-separated lines when piped."""
    _desk(url, token, as_json).list(all_of_them=all_of_them, limit=limit)


@alarm_app.command("show")
def _show(id: _Id, url: Url = HUB, as_json: Json = False, token: Token = "") -> None:
    """One incident: its alarms and why each belongs to it, who was told, what held a message back, who did what."""
    _desk(url, token, as_json).show(id)


@alarm_app.command("ack")
def _ack(
    id: _Id,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What you do about it.")] = "",
    length: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="For how long, such as 2h.", show_default="until resolved")
    ] = "",
    who: _Who = "",
    url: Url = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Take an incident on: it is repeated to nobody, and not escalated."""
    _desk(url, token, as_json, who).acknowledge(id, note, length)


@alarm_app.command("unack")
def _unack(id: _Id, who: _Who = "", url: Url = HUB, as_json: Json = False, token: Token = "") -> None:
    """Give an incident back: repeats and escalation go on."""
    _desk(url, token, as_json, who).unacknowledge(id)


@alarm_app.command("silence")
def _silence(
    what: Annotated[str, typer.Argument(metavar="SELECTOR|ID", help="Such as '{site=\"madrid\"}', or an incident.")],
    length: Annotated[str, typer.Option("--for", metavar="DURATION", help="For how long, such as 2h.")],
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    starts: Annotated[
        str, typer.Option("--from", metavar="TIME", help="When it begins, ISO 8601.", show_default="now")
    ] = "",
    who: _Who = "",
    url: Url = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Tell nobody of some alarms for a time; says how many that are open now it holds back."""
    _desk(url, token, as_json, who).silence(what, length, comment, starts)


@alarm_app.command("silences")
def _silences(all_of_them: _All = False, url: Url = HUB, as_json: Json = False, token: Token = "") -> None:
    """Silences and maintenance windows that hold now, or are planned."""
    _desk(url, token, as_json).silences(all_of_them=all_of_them)


@alarm_app.command("unsilence")
def _unsilence(
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of a silence, or its first letters.")],
    who: _Who = "",
    url: Url = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """End a silence now: people are told of what still goes on."""
    _desk(url, token, as_json, who).unsilence(id)


@alarm_app.command("split")
def _split(
    id: _Id,
    series: Annotated[list[str], typer.Argument(metavar="SERIES...", help="Whose alarms, as `show` names them.")],
    who: _Who = "",
    url: Url = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Take alarms out of an incident into one of their own, of which people are told."""
    _desk(url, token, as_json, who).split(id, series)


@alarm_app.command("join")
def _join(
    id: _Id,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The incident whose alarms become part of it.")],
    who: _Who = "",
    url: Url = HUB,
    as_json: Json = False,
    token: Token = "",
) -> None:
    """Put the alarms of another incident into one; nothing more is told of the other."""
    _desk(url, token, as_json, who).join(id, other)
