"""Perfdata files: the default templates of Nagios, those of pnp4nagios, and templates of one's own."""

from __future__ import annotations

import pytest

from almenara.codecs.nagios_perfdata import NagiosPerfdata
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, Series
from almenara.plugin.contracts import Context

S = 10**9
DEBIAN = (
    r"$LASTSERVICECHECK$\t$HOSTNAME$\t$SERVICEDESC$\t$SERVICESTATE$\t$SERVICEATTEMPT$\t$SERVICESTATETYPE$"
    r"\t$SERVICEEXECUTIONTIME$\t$SERVICELATENCY$\t$SERVICEOUTPUT$\t$SERVICEPERFDATA$"
)


def read(text: str, codec: NagiosPerfdata | None = None) -> Decoded:
    return (codec or NagiosPerfdata()).decode(text.encode(), Context(received_ns=1))


def rows(decoded: Decoded) -> dict[str, float]:
    b = decoded.batch
    return {str(b.series[i]).replace("nagios_", ""): v for i, v in zip(b.id, b.value, strict=True)}


def pnp(perfdata: str, **fields: str) -> str:
    parts = {"DATATYPE": "SERVICEPERFDATA", "TIMET": "1700000000", "HOSTNAME": "h", "SERVICEDESC": "s"} | fields
    return "\t".join(f"{k}::{v}" for k, v in (parts | {"SERVICEPERFDATA": perfdata}).items()) + "\n"


def test_the_default_template_of_services() -> None:
    decoded = read("[SERVICEPERFDATA]\t1700000000\tweb 1\tDisk /\t0.25\t0.5\tOK - fine\t/=1KB;2;3;0;4\n")
    labels = '{host="web 1",label="/",service="Disk /"}'
    assert rows(decoded) == {
        'check_execution_seconds{host="web 1",service="Disk /"}': 0.25,
        'check_latency_seconds{host="web 1",service="Disk /"}': 0.5,
        f"perfdata{labels}": 1024,
        f"perfdata_warn{labels}": 2048,
        f"perfdata_crit{labels}": 3072,
        f"perfdata_min{labels}": 0,
        f"perfdata_max{labels}": 4096,
    }
    assert set(decoded.batch.time) == {1_700_000_000 * S}
    assert decoded.metadata[Series.of("nagios_perfdata", host="web 1", service="Disk /", label="/").key].unit == "B"


def test_the_default_template_of_hosts_has_no_service() -> None:
    decoded = read("[HOSTPERFDATA]\t1700000000\tweb1\t0.1\tPING OK\trta=2ms pl=0%\n")
    assert rows(decoded)['perfdata{host="web1",label="rta"}'] == 0.002


def test_lines_of_pnp4nagios_have_states() -> None:
    assert rows(read(pnp("", SERVICESTATE="CRITICAL")))['check_state{host="h",service="s"}'] == 2
    assert rows(read(pnp("", SERVICESTATE="3")))['check_state{host="h",service="s"}'] == 3
    host = "DATATYPE::HOSTPERFDATA\tTIMET::1700000000\tHOSTNAME::h\tHOSTPERFDATA::a=1\tHOSTSTATE::DOWN\n"
    assert rows(read(host)) == {'host_state{host="h"}': 1, 'perfdata{host="h",label="a"}': 1}


def test_the_state_of_a_host_on_a_line_of_a_service_is_not_taken_for_the_service() -> None:
    assert rows(read(pnp("a=1", HOSTSTATE="DOWN"))) == {'perfdata{host="h",label="a",service="s"}': 1}


def test_a_tab_in_the_text_of_a_plugin_does_no_harm() -> None:
    decoded = read("[SERVICEPERFDATA]\t1700000000\th\ts\t0\t0\tone\ttwo\tthree\ta=1\n" + pnp("b=1\tc=2"))
    assert [k for k in rows(decoded) if k.startswith("perfdata")] == [
        f'perfdata{{host="h",label="{x}",service="s"}}' for x in "abc"
    ]
    assert not decoded.rejected


def test_a_template_of_ones_own() -> None:
    line = "1700000000\th\ts\tWARNING\t1\tSOFT\t0.1\t0.2\tsaid\ta=1;5\n"
    found = rows(read(line, NagiosPerfdata(template=DEBIAN)))
    assert found['check_state{host="h",service="s"}'] == 1
    assert found['perfdata_warn{host="h",label="a",service="s"}'] == 5
    assert found['check_latency_seconds{host="h",service="s"}'] == 0.2
    with pytest.raises(DecodeError, match="your template"):
        read(line)


@pytest.mark.parametrize("template", ["$SERVICEDESC$", "plain", "$HOSTNAME$"])
def test_a_template_must_name_a_host_and_more(template: str) -> None:
    with pytest.raises(ValueError, match="template must have"):
        NagiosPerfdata(template=template)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("5", {"warn": 5}),
        ("10:20", {"warn": 20, "warn_low": 10}),
        ("~:5", {"warn": 5}),
        ("10:", {"warn_low": 10}),
        ("@10:20", {'warn range="inside"': 20, 'warn_low range="inside"': 10}),
        ("@0:5", {'warn range="inside"': 5, 'warn_low range="inside"': 0}),
    ],
)
def test_a_threshold_is_a_series_for_each_of_its_ends(text: str, drawn: dict[str, float]) -> None:
    decoded = read(pnp(f"a=1;{text}"))
    found = {}
    for key, value in rows(decoded).items():
        name = key.partition("{")[0].removeprefix("perfdata_")
        if name != "perfdata":
            found[name + (' range="inside"' if "inside" in key else "")] = value
    assert found == drawn


def test_bad_lines_are_told_with_their_number_and_the_others_are_kept() -> None:
    text = pnp("a=1") + "rubbish\n\n" + pnp("b=1", TIMET="soon") + pnp("c=1", HOSTNAME="") + pnp("d=1 e") + "[SERVICEP"
    decoded = read(text)
    assert [(r.where, r.reason) for r in decoded.rejected] == [
        ("line 2", "bad_line"),
        ("line 4", "bad_time"),
        ("line 5", "no_host"),
        ("line 6", "bad_perfdata"),
        ("line 7", "bad_line"),
    ]
    assert list(rows(decoded)) == [f'perfdata{{host="h",label="{x}",service="s"}}' for x in "ad"]


@pytest.mark.parametrize("time", ["", "0", "12", "99999999999", "1e9", "-1700000000"])
def test_a_time_is_in_seconds_since_1970(time: str) -> None:
    with pytest.raises(DecodeError):
        read(pnp("a=1", TIMET=time))


def test_icinga_writes_decimals_in_its_times() -> None:
    assert list(read(pnp("a=1", TIMET="1700000000.25")).batch.time) == [1_700_000_000 * S + S // 4]


def test_a_counter_and_a_unit_are_metadata() -> None:
    found = read(pnp("in=5c t=3ms")).metadata
    about = {dict(Series.from_key(k).labels)["label"]: m for k, m in found.items()}
    assert (about["in"].kind, about["t"]) == ("counter", Metadata("s", "gauge", "Perfdata of a Nagios check"))


def test_a_line_without_perfdata_is_a_line() -> None:
    assert len(read(pnp("")).batch) == 0
    assert len(read("\n \n").batch) == 0
