"""Options that several verbs take: which hub a verb talks to, with which token, and how it answers."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]
Url = Annotated[str, typer.Option(envvar="ALMENARA_URL", metavar="URL", help="Address of the hub.")]
UrlArgument = Annotated[str, typer.Argument(envvar="ALMENARA_URL", metavar="[URL]", help="Address of the hub.")]
Token = Annotated[str, typer.Option(envvar="ALMENARA_TOKEN", metavar="TOKEN", help="Token of the hub.")]
HUB = "http://127.0.0.1:8642"
