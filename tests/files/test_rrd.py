"""RRDs: what `rrdtool fetch` tells of them, the finest archive of each time, and pnp4nagios' descriptors."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from almenara.files import rrd as module
from almenara.files.rrd import Rrd
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, Series

BEGIN = 1_700_000_040  # a multiple of 60
DESCRIPTOR = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<NAGIOS>
  {sources}
  <RRD><RC>0</RC><TXT>successful updated</TXT></RRD>
  <NAGIOS_DATATYPE>{kind}</NAGIOS_DATATYPE>
  <NAGIOS_DISP_HOSTNAME>web 1</NAGIOS_DISP_HOSTNAME>
  <NAGIOS_DISP_SERVICEDESC>{service}</NAGIOS_DISP_SERVICEDESC>
  <NAGIOS_HOSTNAME>web_1</NAGIOS_HOSTNAME>
  <NAGIOS_SERVICEDESC>Disk_Space</NAGIOS_SERVICEDESC>
</NAGIOS>
"""


def source(file: str, ds: int, label: str, unit: str) -> str:
    return f"<DATASOURCE><RRDFILE>/var/pnp/{file}</RRDFILE><DS>{ds}</DS><NAME>x</NAME><LABEL>{label}</LABEL><UNIT>{unit}</UNIT></DATASOURCE>"  # noqa: E501  # fmt: skip


def rrdtool(*arguments: str) -> str:
    return subprocess.run(["rrdtool", *arguments], check=True, capture_output=True, text=True).stdout


def make(path: Path, *sources: str, minutes: int = 300) -> Path:
    """An RRD as pnp4nagios makes it, with shorter archives: 60 rows of a minute, 48 of five, 100 of 30."""
    archives = [f"RRA:{cf}:0.5:{span}:{rows}" for cf in ("AVERAGE", "MAX") for span, rows in ((1, 60), (5, 48), (30, 100))]  # noqa: E501  # fmt: skip
    rrdtool("create", str(path), "--start", str(BEGIN), "--step", "60", *sources, *archives)
    given = [n for n in range(1, minutes + 1) if n % 70]
    updates = [":".join(map(str, (BEGIN + 60 * n, *(value(n, at) for at in range(len(sources)))))) for n in given]
    rrdtool("update", str(path), *updates)
    return path


def value(n: int, at: int) -> int:
    return 1000 * n if at == 1 else n % 50 + 10


def rows(parts: Iterator[tuple[Decoded, float]]) -> dict[str, dict[int, float]]:
    """Series -> time in s -> value; on the way the shares are looked at."""
    found: dict[str, dict[int, float]] = {}
    last = 0.0
    for decoded, share in parts:
        assert last <= share <= 1
        last = share
        b = decoded.batch
        for id, t, v in zip(b.id, b.time, b.value, strict=True):
            at = found.setdefault(str(b.series[int(id)]), {})
            assert int(t) // 10**9 not in at
            at[int(t) // 10**9] = float(v)
    assert last in (0.0, 1.0)
    return found


def fetched(path: Path, step: int, since: int, until: int, ds: int = 0) -> dict[int, float]:
    said = rrdtool("fetch", str(path), "AVERAGE", "-r", str(step), "-s", str(since), "-e", str(until - step))
    found = {}
    for line in said.splitlines()[2:]:
        time, *columns = line.replace(":", "").split()
        if not math.isnan(float(columns[ds])):
            found[int(time)] = float(columns[ds])
    return found


@pytest.fixture(scope="module")
def pnp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pnp")
    return make(folder / "Disk_Space.rrd", "DS:1:GAUGE:8460:U:U", "DS:2:DERIVE:8460:U:U")


@pytest.mark.real("rrdtool")
def test_rows_are_those_that_rrdtool_fetch_tells(pnp: Path) -> None:
    end = BEGIN + 300 * 60
    fine, middle = end - 60 * 60, end // 300 * 300 - 48 * 300
    for ds in (0, 1):
        expected = fetched(pnp, 60, fine, end, ds)
        first = min(expected) - 60
        expected |= {t: v for t, v in fetched(pnp, 300, middle, end, ds).items() if t <= first}
        begin = min(expected) - 300
        expected |= {t: v for t, v in fetched(pnp, 1800, BEGIN - 1800, end, ds).items() if t <= begin}
        got = list(rows(Rrd().batches(pnp)).values())[ds]
        assert got == pytest.approx(expected, rel=1e-9)
        assert len(got) > 90


@pytest.mark.real("rrdtool")
def test_a_descriptor_names_the_series_and_its_unit(pnp: Path) -> None:
    descriptor = pnp.with_suffix(".xml")
    both = source(pnp.name, 1, "/var &amp; co", "KB") + source(pnp.name, 2, "<![CDATA[in]]>", "c")
    descriptor.write_text(DESCRIPTOR.format(sources=both, kind="SERVICEPERFDATA", service="Disk Space"))
    try:
        parts = list(Rrd().batches(pnp))
        assert list(Rrd().batches(descriptor)) == []
    finally:
        descriptor.unlink()
    keys = {str(Series.from_key(k)): m for decoded, _ in parts for k, m in decoded.metadata.items()}
    assert keys == {
        'nagios_perfdata{host="web 1",label="/var & co",service="Disk Space"}': Metadata("B", "gauge", ""),
        'nagios_perfdata_rate{host="web 1",label="in",service="Disk Space"}': Metadata("1/s", "gauge", ""),
    }
    got, plain = rows(iter(parts)), rows(Rrd().batches(pnp))
    (first, rate) = plain.values()
    assert got['nagios_perfdata{host="web 1",label="/var & co",service="Disk Space"}'] == {
        t: v * 1024 for t, v in first.items()
    }
    assert list(rate.values()) == pytest.approx([1000 / 60] * len(rate))
    assert set(plain) == {'Disk_Space{ds="1"}', 'Disk_Space_rate{ds="2"}'}


@pytest.mark.real("rrdtool")
def test_a_file_for_each_data_source_shares_one_descriptor(tmp_path: Path) -> None:
    for name in ("Disk_Space_rta", "Disk_Space_pl"):
        make(tmp_path / f"{name}.rrd", "DS:1:GAUGE:8460:U:U", minutes=3)
    both = source("Disk_Space_rta.rrd", 1, "rta", "ms") + source("Disk_Space_pl.rrd", 1, "pl", "%%")
    (tmp_path / "Disk_Space.xml").write_text(DESCRIPTOR.format(sources=both, kind="HOSTPERFDATA", service="_HOST_"))
    (rta,) = rows(Rrd().batches(tmp_path / "Disk_Space_rta.rrd")).items()
    assert rta[0] == 'nagios_perfdata{host="web 1",label="rta"}'
    assert list(rta[1].values())[-1] == pytest.approx(value(3, 0) / 1000)
    ((decoded, _),) = Rrd().batches(tmp_path / "Disk_Space_pl.rrd")
    assert [m.unit for m in decoded.metadata.values()] == ["%"]


@pytest.mark.real("rrdtool")
def test_a_dump_is_read_without_rrdtool(pnp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = tmp_path / "Disk_Space.rrd.xml"
    dump.write_text(rrdtool("dump", str(pnp)))
    expected = rows(Rrd().batches(pnp))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(module, "PART_ROWS", 7)
    assert rows(Rrd().batches(dump)) == expected
    with pytest.raises(DecodeError, match="needs the program rrdtool"):
        list(Rrd().batches(pnp))


@pytest.mark.real("rrdtool")
def test_name_labels_and_function_are_options(pnp: Path) -> None:
    reader = Rrd(function="MAX", name="disk", labels={"site": "north"})
    assert set(rows(reader.batches(pnp))) == {'disk{ds="1",site="north"}', 'disk_rate{ds="2",site="north"}'}
    most = rows(reader.batches(pnp))['disk{ds="1",site="north"}']
    mean = rows(Rrd().batches(pnp))['Disk_Space{ds="1"}']
    assert set(most) == set(mean)
    assert all(most[t] >= mean[t] - 1e-9 for t in most)
    assert most != mean


@pytest.mark.real("rrdtool")
def test_damaged_files_are_said_and_never_half_read(pnp: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.rrd"
    bad.write_bytes(b"no RRD at all")
    with pytest.raises(DecodeError, match=r"bad\.rrd"):
        list(Rrd().batches(bad))
    with pytest.raises(FileNotFoundError):
        list(Rrd().batches(tmp_path / "none.rrd"))
    whole = rrdtool("dump", str(pnp)).encode()
    cut = tmp_path / "cut.xml"
    for size in range(0, len(whole) - 10, len(whole) // 60):
        cut.write_bytes(whole[:size])
        with pytest.raises(DecodeError):
            list(Rrd().batches(cut))
    for damaged in (whole.replace(b"</v><v>", b"</w><v>", 1), whole.replace(b"<step>", b"<stop>"), b"<rrd></rrd>"):
        cut.write_bytes(damaged)
        with pytest.raises(DecodeError):
            list(Rrd().batches(cut))
