"""Payloads of few bytes a record are refused before they cost minutes: each record costs time, however short it is."""

from __future__ import annotations

import json

import pytest

from almenara.codecs import _bounds
from almenara.codecs.bulk import Bulk
from almenara.codecs.csv import Csv
from almenara.codecs.graphite import Graphite
from almenara.codecs.influx import Influx
from almenara.codecs.nagios_perfdata import NagiosPerfdata
from almenara.codecs.otlp import Otlp
from almenara.codecs.prometheus import Prometheus
from almenara.codecs.remote_write import RemoteWrite
from almenara.codecs.senml import Senml
from almenara.codecs.syslog import Syslog
from almenara.codecs.zabbix import Zabbix
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Codec, Context

NOW = 1_700_000_000_000_000_000


def field(number: int, inside: bytes) -> bytes:
    """A field of Protocol Buffers that has a length."""
    size, length = len(inside), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + inside


def series(n: int) -> bytes:
    return field(1, field(1, field(1, b"__name__") + field(2, b"m%d" % n)))


def metric(n: int) -> bytes:
    return field(2, field(1, b"m%d" % n) + field(5, field(1, b"")))


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (Prometheus(), b"a\n" * 300),
        (Syslog(), b"<1>" * 300),
        (NagiosPerfdata(), b"a\n" * 300),
        (Bulk(), b"{}\n" * 300),
        (Senml(), b"[" + b"{}," * 300 + b"{}]"),
        (Influx(), b"".join(b"m%d v=1\n" % n for n in range(300))),
        (Graphite(), b"".join(b"m%d 1 1\n" % n for n in range(300))),
        (RemoteWrite(), b"".join(map(series, range(300)))),
        (Otlp(), field(1, field(2, b"".join(map(metric, range(300)))))),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bytes) else "",
)
def test_too_many_records_or_new_series_are_refused(
    monkeypatch: pytest.MonkeyPatch, codec: Codec, payload: bytes
) -> None:
    monkeypatch.setattr(_bounds, "MOST_RECORDS", 200)
    with pytest.raises(DecodeError, match="more than 200"):
        codec.decode(payload, Context("t", {}, "", NOW))


def test_empty_points_by_the_million_cost_little() -> None:
    found = Otlp().decode(
        field(1, field(2, field(2, field(1, b"m") + field(5, b"\x0a\x00" * 2_000_000)))), Context("", {}, "", NOW)
    )
    assert [(one.reason, one.rows) for one in found.rejected] == [("no_value", 2_000_000)]
    found = RemoteWrite().decode(b"\x0a\x00" * 2_000_000, Context("", {}, "", NOW))
    assert len(found.batch) == 0


def test_a_row_of_megabytes_is_one_bad_row() -> None:
    table = b"time,a\n1700000000,1\n" + b"1," * 1_000_000 + b"\n1700000060,2\n"
    found = Csv().decode(table, Context("t", {}, "", NOW))
    assert list(found.batch.value) == [1, 2]
    assert [(one.where, one.reason, one.rows) for one in found.rejected] == [("line 3", "bad_row", 1)]


def test_an_item_key_of_a_megabyte_is_not_looked_into() -> None:
    key = 'k["\\"' + '\\"x,' * 300_000
    sent = {"request": "sender data", "data": [{"host": "h", "key": key, "value": "1"}]}
    (one,) = Zabbix().decode(json.dumps(sent).encode(), Context("t", {}, "", NOW)).rejected
    assert one.reason == "key_too_long"
