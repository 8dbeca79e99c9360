"""What `zabbix_sender` and active Zabbix agents send: JSON with host, key and value of items.

Protocol: https://www.zabbix.com/documentation/6.0/en/manual/appendix/items/trapper and .../protocols/header_datalen;
the header `ZBXD` is taken off by the transport.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from typing import Any

from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, SeriesTable, encode_key, label_name, metric_name
from almenara.model.time import NS
from almenara.plugin.contracts import Context

_MAX_SERIES = 200_000
_SHOWN = 20  # rejected items that are reported one by one; the rest are only counted
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_REQUESTS = ("sender data", "agent data")


class _Bad(ValueError):
    """An item that is left out; args: reason, detail."""


class Zabbix:
    """Items of Zabbix senders and active agents.

    `vfs.fs.size[/,free]` of host a is `vfs_fs_size{host="a", p1="/", p2="free"}`. A parameter
    written `label=value` is that label instead of p1, p2 and so on. Items without a clock get the time of receipt.
    Beside host and key an item may have an object `labels`.

    Rejected by name: `string_field` (texts), `not_finite`, `bad_item`, `bad_time`, `key_too_long`, `too_many_labels`,
    `not_supported` (the agent itself says that it could not read the item).
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._ids: dict[tuple[str, str], int] = {}  # (host, key) -> id

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all items that can be read; DecodeError where the payload is none of such a sender."""
        if len(self._table) > _MAX_SERIES or len(self._ids) > _MAX_SERIES:
            self._forget()
        ids, times, values = array("i"), array("q"), array("d")
        rejected: list[Rejected] = []
        more: dict[str, int] = {}
        for number, item in enumerate(_items(payload), 1):
            try:
                id, time, value = self._read(item, context.received_ns)
            except _Bad as bad:
                reason, detail = bad.args
                if len(rejected) < _SHOWN:
                    rejected.append(Rejected(f"item {number}", reason, 1, detail[:80]))
                else:
                    more[reason] = more.get(reason, 0) + 1
                continue
            ids.append(id)
            times.append(time)
            values.append(value)
        rejected += [Rejected("more items", reason, rows) for reason, rows in more.items()]
        return Decoded(Batch(self._table, ids, times, values), rejected=rejected)

    def _read(self, item: Any, received_ns: int) -> tuple[int, int, float]:
        if not isinstance(item, dict) or not isinstance(item.get("key"), str) or not item["key"]:
            raise _Bad("bad_item", f"found {str(item)[:40]}, expected an object with host, key and value")
        if len(item["key"]) > MAX_KEY_BYTES:
            raise _Bad(
                "key_too_long", f"found a key of {len(item['key'])} characters, expected at most {MAX_KEY_BYTES}"
            )
        if item.get("state") == 1:
            raise _Bad("not_supported", f"{item['key'][:40]}: {str(item.get('value', ''))[:40]}")
        value = _value(item.get("value"))
        return self._id(item), _time(item, received_ns), value

    def _id(self, item: dict[str, Any]) -> int:
        host, key, labels = str(item.get("host", "")), item["key"], item.get("labels")
        if not labels and (host, key) in self._ids:
            return self._ids[host, key]
        name, found = read_key(key)
        if host:
            found["host"] = host
        if isinstance(labels, dict):
            found |= {label_name(str(k)): str(v) for k, v in labels.items()}
        if len(found) > MAX_LABELS:
            raise _Bad("too_many_labels", f"found {len(found)} labels, expected at most {MAX_LABELS}")
        try:
            encoded = encode_key(name, found)
        except UnicodeEncodeError:  # JSON may hold half of a surrogate pair
            raise _Bad("not_utf8", "half a character in host, key or labels") from None
        if len(encoded) > MAX_KEY_BYTES:
            raise _Bad("key_too_long", f"found a key of {len(encoded)} bytes, expected at most {MAX_KEY_BYTES}")
        id = self._table.intern(encoded)
        if not labels:
            self._ids[host, key] = id
        return id

    def encode(self, batch: Batch) -> bytes:
        """A request of a sender, labels in an object of their own. Left out: rows that are not finite."""
        data = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            if math.isfinite(value):
                series, (clock, ns) = batch.series[int(id)], divmod(int(time), NS)
                item = {"key": series.name, "value": repr(float(value)), "clock": clock, "ns": ns}
                data.append(item | ({"labels": dict(series.labels)} if series.labels else {}))
        return json.dumps({"request": "sender data", "data": data}, ensure_ascii=False).encode()


def _items(payload: bytes) -> list[Any]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"is no JSON: {str(error)[:100]}") from error
    if not isinstance(found, dict) or found.get("request") not in _REQUESTS or not isinstance(found.get("data"), list):
        request = found.get("request") if isinstance(found, dict) else found
        raise DecodeError(f"request: found {str(request)[:40]!r}, expected 'sender data' or 'agent data' with data")
    return found["data"]


def read_key(key: str) -> tuple[str, dict[str, str]]:
    """(name, labels) of an item key such as `net.if.in[eth0,bytes]`."""
    name, bracket, rest = key.partition("[")
    labels: dict[str, str] = {}
    for at, parameter in enumerate(_parameters(rest.rstrip()[:-1]) if bracket and rest.rstrip()[-1:] == "]" else (), 1):
        label, equals, value = parameter.partition("=")
        if equals and re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label):
            labels[label] = value
        else:
            labels[f"p{at}"] = parameter
    return metric_name(name), labels


def _parameters(text: str) -> list[str]:
    """Parameters between the brackets of a key; one in quotes may hold commas, and quotes after a backslash."""
    found = re.findall(r'\s*(?:"((?:\\"|[^"])*)"\s*|([^,]*))(?:,|$)', text)
    plain = [quoted.replace('\\"', '"') if quoted else bare for quoted, bare in found]
    return plain[:-1] if plain and not text.endswith(",") and len(plain) > 1 and found[-1] == ("", "") else plain


def _value(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Bad("bad_item", f"value: found {str(value)[:40]}, expected a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise _Bad("string_field", f"found {value[:40]!r}, expected a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _Bad("not_finite", "a number too large") from None
    if not math.isfinite(number):
        raise _Bad("not_finite", f"found {str(value)[:40]!r}, expected a finite number")
    return number


def _time(item: dict[str, Any], received_ns: int) -> int:
    clock, ns = item.get("clock"), item.get("ns", 0)
    if clock is None:
        return received_ns
    whole = isinstance(clock, int) and isinstance(ns, int) and not isinstance(clock, bool)
    if not whole or not 0 <= ns < NS or not abs(clock) < 9_000_000_000:
        raise _Bad("bad_time", f"found clock {str(clock)[:20]} and ns {str(ns)[:20]}, expected seconds and nanoseconds")
    return clock * NS + ns
