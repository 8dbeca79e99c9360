"""collectd's two text forms: the JSON and the PUTVAL commands that its plugin `write_http` posts.

Formats: https://collectd.org/documentation/manpages/collectd.conf.5.shtml#plugin_write_http
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from almenara.codecs._collectd_binary import KINDS, Left, Name, Values
from almenara.model.time import NS

#: Under `meta`: what `encode` writes, so that a series that collectd cannot name is read back.
ROW = "almenara:row"
_PUTVAL = re.compile(rb'PUTVAL\s+(?:"([^"]+)"|(\S+))((?:\s+\w+=\S+)*)\s+(\S+)\s*', re.IGNORECASE)


def read_json(payload: bytes) -> Iterator[Values | Left | dict[str, Any]]:
    """Lists of values of a JSON array; rows of `encode` as they are. Raises ValueError where it is no JSON array."""
    found = json.loads(payload)
    if not isinstance(found, list):
        raise ValueError("found no array")
    for at, one in enumerate(found):
        try:
            row = (one.get("meta") or {}).get(ROW)
            yield row if isinstance(row, dict) else _of_json(one)
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
            yield Left(at, "bad_part", f"{type(error).__name__}: {error}"[:80])


def _of_json(one: dict[str, Any]) -> Values:
    values = tuple(float("nan") if value is None else float(value) for value in one["values"])
    names, kinds = tuple(map(str, one.get("dsnames", ()))), tuple(map(str, one.get("dstypes", ())))
    if not values or len(kinds) != len(values) or (names and len(names) != len(values)) or not set(kinds) <= {*KINDS}:
        raise ValueError("values, dstypes and dsnames differ in length, or a kind is unknown")
    texts = [str(one.get(key) or "") for key in ("host", "plugin", "plugin_instance", "type", "type_instance")]
    return Values(Name(*texts), round(float(one.get("time") or 0) * 1e6) * 1000, kinds, values, names)


def read_putval(payload: bytes) -> Iterator[Values | Left]:
    """`PUTVAL "host/plugin-instance/type-instance" interval=10 1700000000.5:12:U`, a line each. Kinds are not said."""
    for at, line in enumerate(payload.splitlines(), 1):
        if not line.strip():
            continue
        found = _PUTVAL.fullmatch(line.strip())
        try:
            yield _of_putval(found) if found else Left(at, "bad_part", f"found {line[:24]!r}, expected PUTVAL")
        except (ValueError, OverflowError) as error:
            yield Left(at, "bad_part", str(error)[:80])


def _of_putval(found: re.Match[bytes]) -> Values:
    host, plugin, type_ = (found[1] or found[2]).decode().rsplit("/", 2)
    plugin, _, plugin_instance = plugin.partition("-")
    type_, _, instance = type_.partition("-")
    time, *texts = found[4].decode().split(":")
    values = tuple(float("nan") if text == "U" else float(text) for text in texts)
    if not values:
        raise ValueError("found no value behind the time")
    ns = 0 if time == "N" else round(float(time) * 1000) * (NS // 1000)
    return Values(Name(host, plugin, plugin_instance, type_, instance), ns, ("",) * len(values), values)
