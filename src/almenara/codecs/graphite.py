"""Graphite plaintext, which collectd, Telegraf, Diamond and countless scripts send: `servers.web1.load 0.5 1700000000`.

Standard: https://graphite.readthedocs.io/en/latest/feeding-carbon.html, with tags as in
https://graphite.readthedocs.io/en/latest/tags.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from almenara.codecs._graphite_path import Template, write_path
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import MissingExtra
from almenara.model.time import NS
from almenara.plugin.contracts import Context

if TYPE_CHECKING:
    from almenara.codecs._graphite_reader import Reader


class Graphite:
    """Graphite plaintext: `path value seconds`, a line a row; `-1`, `N` or no time at all mean now.

    Dots of a path become `_` in the name; a template takes labels out of it, so that with `.host.measurement*` the path
    `servers.web1.cpu.load` is `cpu_load{host="web1"}`. Tags (`disk.used;rack=a1`) are labels; in their values `%20`,
    `%3B`, `%25`, `%7E` and control characters written so stand for characters that a tag cannot hold. Times may
    have up to nine decimals. Other characters that a name may not have become `_`.

    Rejected by name: `bad_line`, `not_utf8`, `key_too_long`, `too_many_labels`, `time_out_of_range`, `not_finite`.

    Options:
        templates: `[filter] template [label=value,...]`, as in Telegraf: "servers.* .host.measurement* site=a". Of
            several that hold a path the one with the longest filter decides.
        separator: What stands between the parts of a name instead of a dot.
    """

    def __init__(self, *, templates: Sequence[str] = (), separator: str = "_"):
        self._templates = sorted(map(Template.parse, templates), key=lambda one: one.exactness, reverse=True)
        self._separator = separator
        self._reader: Reader | None = None

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all lines that can be read; DecodeError if there are lines and none of them can."""
        if self._reader is None:
            try:
                from almenara.codecs._graphite_reader import Reader
            except ImportError as error:
                raise MissingExtra("reading Graphite plaintext", "hub") from error
            self._reader = Reader(self._templates, self._separator)
        return self._reader.read(bytes(payload), context.received_ns)

    def encode(self, batch: Batch) -> bytes:
        """One line a row, labels as tags. Left out: rows that are not finite, for which the protocol has no text."""
        series = {int(id): batch.series[id] for id in set(batch.id)}
        paths = {id: write_path(one.name, one.labels) for id, one in series.items()}
        rows = zip(batch.id, batch.value, batch.time, strict=True)
        lines = [f"{paths[i]} {float(v)!r} {_seconds(int(t))}\n" for i, v, t in rows if math.isfinite(v)]
        return "".join(lines).encode()


def _seconds(time: int) -> str:
    """Seconds, with as many decimals as a time in ns needs."""
    whole, rest = divmod(time, NS)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)
