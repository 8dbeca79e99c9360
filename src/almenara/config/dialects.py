"""The sections of `hub.toml` for HTTP interfaces of others that are off until `[http] dialects` names them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from almenara.model.errors import Problem
from almenara.plugin.options import Duration, Must, Range, Secret

#: What can be switched on.
DIALECTS = ("dweet", "phant", "queue")
#: Keys that let a request in are at least so long, in characters.
MIN_KEY = 8
#: A field that every row of a stream has, set by the hub.
TIMESTAMP = "timestamp"

_NO_SECRET = Secret("")
_FIELD = re.compile(r"[A-Za-z0-9_]{1,64}")
_PUBLIC = re.compile(r"[A-Za-z0-9_-]{0,64}")

FieldName = Annotated[str, Must("the name of a field: letters, digits and _", lambda t: bool(_FIELD.fullmatch(t)))]
PublicKey = Annotated[str, Must("letters, digits, - and _", lambda t: bool(_PUBLIC.fullmatch(t)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dweet:
    """Things that send as to dweet.io; [http] dialects = ["dweet"] switches it on.

    Options:
        keys: The key of each locked thing; who sends for it or reads it gives it as key=.
        kept: How many of the last documents of a thing can be read back.
        kept_for: For how long they can be read back.
        max_mb: The room for the documents of all things; past it the oldest go. Their numbers stay in the store.
    """

    keys: dict[str, Secret] = field(default_factory=dict)
    kept: Annotated[int, Range(1, 500)] = 500
    kept_for: Annotated[Duration, Range(60)] = 86_400.0
    max_mb: Annotated[float, Range(0.1, 4096)] = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Named queues over HTTP; [http] dialects = ["queue"] switches them on.

    Options:
        at_root: Whether /NAME is the queue NAME too, where the hub has no page of that name.
        ingest: Whether the numbers of messages become rows as well, read as from the MQTT topic queue/NAME.
        max_messages: The most messages in one queue; more are refused (429) until some are taken.
        max_mb: The most bytes in one queue.
        max_queues: How many queues may hold messages.
        max_message_kb: The largest message.
    """

    at_root: bool = False
    ingest: bool = False
    max_messages: Annotated[int, Range(1, 10_000_000)] = 10_000
    max_mb: Annotated[float, Range(0.01, 65_536)] = 16.0
    max_queues: Annotated[int, Range(1, 100_000)] = 100
    max_message_kb: Annotated[float, Range(0.01, 16_384)] = 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream of rows as data.sparkfun.com had them; [http] dialects = ["phant"] switches streams on.

    Options:
        private: The key that writes need, at least 8 characters.
        fields: The fields of a row; each row has all of them.
        labels: Those of the fields that are labels; the others are values, and a text in one of them is no row.
        public: The key in its address, and its label `stream`; the name of the table where it is empty.
        delete: A key that clears the stream, beside the private one.
        open_output: Whether who has no token may read it, too.
        max_mb: The room for its rows as sent; past it the oldest go. Their numbers stay in the store.
        pushes: How many rows it takes in 15 minutes; more are refused (429).
    """

    private: Secret
    fields: list[FieldName]
    labels: list[FieldName] = field(default_factory=list)
    public: PublicKey = ""
    delete: Secret = _NO_SECRET
    open_output: bool = False
    max_mb: Annotated[float, Range(0.01, 4096)] = 50.0
    pushes: Annotated[int, Range(1, 100_000_000)] = 10_000

    def public_of(self, name: str) -> str:
        """The public key of the stream that the file calls `name`."""
        return self.public or name


def stream_problems(where: str, name: str, stream: Stream) -> Iterator[Problem]:
    """What is wrong with a stream whose options are right one by one."""
    if not _PUBLIC.fullmatch(stream.public_of(name)) or not stream.public_of(name):
        yield Problem(f"{where}.public", f"is missing; {name!r} cannot stand in an address", "give it a public key")
    if not stream.fields:
        yield Problem(f"{where}.fields", "is empty; a row has at least one field")
    for text in sorted({text for text in stream.fields if stream.fields.count(text) > 1}):
        yield Problem(f"{where}.fields", f"has {text!r} more than once")
    if TIMESTAMP in stream.fields:
        yield Problem(f"{where}.fields", f"{TIMESTAMP!r} is set by the hub", "leave it out")
    for text in stream.labels:
        if text not in stream.fields:
            yield Problem(f"{where}.labels", f"{text!r} is none of the fields", f"known: {', '.join(stream.fields)}")
    for key, secret in (("private", stream.private), ("delete", stream.delete)):
        if len(secret) < MIN_KEY and (secret or key == "private"):
            yield Problem(f"{where}.{key}", f"is shorter than {MIN_KEY} characters")


def public_problems(streams: Mapping[str, Stream | None]) -> Iterator[Problem]:
    """Streams that have one public key between them."""
    owner: dict[str, str] = {}
    for name, stream in streams.items():
        if stream is not None and (first := owner.setdefault(stream.public_of(name), name)) != name:
            yield Problem(f"streams.{name}.public", f"is that of streams.{first} too", "give each its own")


def key_problems(keys: Mapping[str, Secret]) -> Iterator[Problem]:
    """What is wrong with the keys of things."""
    for thing, secret in keys.items():
        if len(secret) < MIN_KEY:
            yield Problem("dweet.keys", f"the key of {thing!r} is shorter than {MIN_KEY} characters")


#: Under which name the codec of things stands.
THINGS = "dweet"


def codec_of_stream(public: str) -> str:
    """Under which name the codec of a stream stands."""
    return f"phant {public}"
