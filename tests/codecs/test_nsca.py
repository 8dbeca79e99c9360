"""NSCA packets: states and perfdata become rows, damaged packets are named."""

from __future__ import annotations

import pytest

from almenara.codecs.nsca import Nsca, pack
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000


def read(payload: bytes) -> Decoded:
    return Nsca().decode(payload, Context(received_ns=NOW))


def values(decoded: Decoded) -> dict[str, float]:
    b = decoded.batch
    assert set(b.time) <= {NOW}
    return {str(b.series[i]): v for i, v in zip(b.id, b.value, strict=True)}


def test_a_service_has_a_state_and_its_perfdata() -> None:
    decoded = read(pack("web1", "load", 2, b"CRITICAL|load1=7;2:4;~:5;0", 1))
    labels = '{host="web1",label="load1",service="load"}'
    assert values(decoded) == {
        'nagios_check_state{host="web1",service="load"}': 2,
        f"nagios_perfdata{labels}": 7,
        f"nagios_perfdata_min{labels}": 0,
        f"nagios_perfdata_warn{labels}": 4,
        f"nagios_perfdata_warn_low{labels}": 2,
        f"nagios_perfdata_crit{labels}": 5,
    }


def test_a_host_has_a_state_of_its_own() -> None:
    assert values(read(pack("web1", "", 1, b"down", 1))) == {'nagios_host_state{host="web1"}': 1}


def test_unit_and_kind_are_metadata() -> None:
    decoded = read(pack("h", "s", 0, b"OK|rta=1ms in=5c", 1))
    kinds = {dict(Series.from_key(k).labels).get("label", ""): m for k, m in decoded.metadata.items()}
    assert kinds["rta"] == Metadata("s", "gauge", "Perfdata of a Nagios check")
    assert kinds["in"].kind == "counter"
    assert kinds[""].kind == "state"


def test_one_damaged_packet_is_named_and_the_others_are_kept() -> None:
    good = pack("web1", "load", 0, b"OK", 1)
    damaged = bytearray(good)
    damaged[500] ^= 1
    decoded = read(good + bytes(damaged) + good)
    assert len(decoded.batch) == 2
    assert [(r.where, r.reason) for r in decoded.rejected] == [("packet 2", "bad_crc")]


@pytest.mark.parametrize("payload", [b"x", b"x" * 720, pack("h", "s", 0, b"", 1)[:-1], pack("h", "s", 7, b"", 1)])
def test_decode_error_when_no_packet_is_whole(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        read(payload)
