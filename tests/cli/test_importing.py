"""`almenara import` and `export` with a real hub: all rows once, whatever is killed on the way, and back to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from almenara.cli import _import_files
from almenara.cli._import_files import Change, Chunks, Readers, sources_of
from almenara.cli._import_hub import Hub
from almenara.codecs.columns import Columns
from almenara.model.errors import AlmenaraError, ConfigError
from almenara.plugin.contracts import Context
from almenara.testing.process import HubProcess, wait_until

BEGIN = 1_767_225_600
S = 10**9


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("import") / "hub") as hub:
        yield hub


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("other") / "hub") as hub:
        yield hub


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NO_COLOR", "1")


def almenara(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "almenara.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def imported(hub: HubProcess, *arguments: object) -> dict[str, Any]:
    done = almenara("import", *arguments, "--url", hub.url, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wide(path: Path, series: int, rows: int, name: str = "kpi") -> Path:
    """A daily curve with a fault at row 9,000, a minute a row."""
    minute = np.arange(rows)
    value = 100 + 30 * np.sin(2 * np.pi * minute / 1440) + np.random.default_rng(1).normal(0, 1, rows)
    value[9000:9030] *= 3
    columns = {f"{name}_{n}": np.round(value + n, 3) for n in range(series)}
    pq.write_table(
        pa.table({"time": pa.array((BEGIN + 60 * minute) * 1000, pa.timestamp("ms", "UTC")), **columns}), path
    )
    return path


def test_history_teaches_and_raises_no_alarm(hub: HubProcess, tmp_path: Path) -> None:
    found = imported(hub, wide(tmp_path / "a.parquet", 3, 12_000), "--label", "site=north")
    assert (found["rows"], found["stored"], found["duplicate"], found["late"]) == (36_000, 36_000, 0, 0)
    assert (found["first"], found["last"]) == ("2026-01-01T00:00:00Z", "2026-01-09T07:59:00Z")
    assert found["flagged_series"] == 3
    assert found["flagged"] >= 30
    assert set(found["flagged_most"]) == {f'kpi_{n}{{site="north"}}' for n in range(3)}
    alarms = hub.json("/api/v1/alarms")
    assert not [one for one in alarms["open"] + alarms["recent"] if one["series"].startswith("kpi")]
    end = BEGIN + 60 * 11_999
    for band in ("yhat_lower", "yhat_upper"):
        query = f'{band}{{of="kpi_0"}}'
        told = hub.json("/api/v1/query", query=query, time=str(end))["data"]["result"]
        assert len(told) == 1, f"no {band} at once"


def test_the_same_file_again_doubles_nothing(hub: HubProcess, tmp_path: Path) -> None:
    path = wide(tmp_path / "again.parquet", 2, 500, "again")
    assert imported(hub, path)["stored"] == 1000
    again = imported(hub, path)
    assert (again["stored"], again["duplicate"]) == (0, 0), "answered under its key"
    os.utime(path, (BEGIN, BEGIN))
    moved = imported(hub, path)
    assert (moved["stored"], moved["duplicate"]) == (0, 1000)
    assert len(hub.rows("again_0")) == 500


def test_older_history_is_judged_again(hub: HubProcess, tmp_path: Path) -> None:
    now = int(time.time())
    lines = [f"late value={n % 10} {(now - 60) * S}\n" for n in range(1)]
    assert hub.post("/write", "".join(lines).encode())[0] == 204
    path = tmp_path / "late.lp"
    path.write_text(
        "".join(f"late value={n % 10 if n != 1200 else 500} {(now - 86_400 + 60 * n) * S}\n" for n in range(1400))
    )
    found = imported(hub, path)
    assert (found["stored"], found["late"]) == (1400, 1400)
    assert hub.json("/api/v1/judge-again")["waiting"] == 0
    assert found["flagged_most"].keys() == {"late"}


def test_bad_rows_are_told_with_their_place(hub: HubProcess, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"time,bad_a\n{BEGIN},1\n{BEGIN + 60},x\n{BEGIN + 120},3\n4000000000,4\n")
    done = almenara("import", path, "--url", hub.url, "--json")
    found = json.loads(done.stdout)
    assert found["stored"] == 2
    assert found["left_out"] == {"not_a_number": 1}
    assert found["turned_away"] == {"future": 1}
    assert f"{path}:3, column bad_a: not a number" in done.stderr
    strict = almenara("import", path, "--url", hub.url, "--strict", "--from-start")
    assert strict.returncode == 1
    assert "not a number" in strict.stderr


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    done = almenara(
        "import", wide(tmp_path / "a.parquet", 2, 100), "--dry-run", "--json", "--url", "http://127.0.0.1:1"
    )
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, 200)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_is_exported_is_imported_to_the_bit(hub: HubProcess, other: HubProcess, tmp_path: Path, form: str) -> None:
    name = f"trip_{form}"
    odd = [0.1 + 0.2, 1e300, -5e-324, float("nan"), 123456789.123456789, -0.0]
    path = tmp_path / "first.parquet"
    times = np.array([BEGIN * S + 1, *(BEGIN * S + n * S for n in range(1, 6))])
    pq.write_table(pa.table({"time": times, "series": [f'{name}{{q="a \\"b\\", c",e="x"}}'] * 6,
                             "value": odd}), path)  # fmt: skip
    imported(hub, path)
    out = tmp_path / f"out.{form}"
    done = almenara("export", name, "-o", out, "--url", hub.url)
    assert done.returncode == 0, done.stderr
    assert imported(other, out)["stored"] == 6
    assert almenara("export", name, "-o", tmp_path / f"back.{form}", "--url", other.url).returncode == 0
    assert repr(other.rows(name)) == repr(hub.rows(name))
    assert len(hub.rows(name)) == 6
    assert (tmp_path / f"back.{form}").read_bytes() == out.read_bytes()


def test_labels_become_columns(hub: HubProcess, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(f"time,room,column_t\n{BEGIN},x,1\n{BEGIN},y,2\n")
    imported(hub, source)
    done = almenara("export", "column_t", "--label", "room", "--url", hub.url)
    assert done.stdout == (
        "time,name,room,value\n"
        '2026-01-01T00:00:00.000000000Z,"column_t","x",1.0\n2026-01-01T00:00:00.000000000Z,"column_t","y",2.0\n'
    )


def test_a_hub_killed_in_the_middle_has_all_rows_once(tmp_path: Path) -> None:
    path = wide(tmp_path / "kill.parquet", 100, 30_000, "kill")
    hub = HubProcess(tmp_path / "killed").start()
    try:
        command = [sys.executable, "-m", "almenara.cli", "import", str(path), "--url", hub.url, "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            wait_until(lambda: hub.metric("almenara_rows_received_total", transport="import") >= 500_000, "rows")
            hub.kill()
            hub.start()
            out, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        found = json.loads(out)
        assert (found["stored"], found["rows"]) == (3_000_000, 3_000_000)
        assert (found["overwritten"], found["duplicate"]) == (0, 0)
        with closing(Hub(hub.url, "")) as client:
            parts = client.rows(['{__name__=~"kill_.*"}'], BEGIN * S, (BEGIN + 60 * 30_000) * S)
            assert sum(map(len, parts)) == 3_000_000
    finally:
        hub.kill()


def test_an_import_killed_in_the_middle_goes_on(hub: HubProcess, tmp_path: Path) -> None:
    path = wide(tmp_path / "resume.parquet", 100, 20_000, "resume")
    before = hub.metric("almenara_rows_received_total", transport="import")
    command = [sys.executable, "-m", "almenara.cli", "import", str(path), "--url", hub.url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        received = "almenara_rows_received_total"
        wait_until(lambda: hub.metric(received, transport="import") >= before + 500_000, "the first rows")
        process.kill()
    found = imported(hub, path)
    assert found["rows"] == 2_000_000
    assert found["resumed_at"] + found["sent"] == 2_000_000
    assert (found["stored"], found["overwritten"], found["duplicate"]) == (2_000_000, 0, 0)


def test_chunks_are_the_same_whatever_was_read_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_import_files, "CHUNK_ROWS", 700)
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"time,{name}\n" + "".join(f"{BEGIN + n},{n}\n" for n in range(1000)))

    def chunks(skip: int) -> list[bytes]:
        sources = sources_of([tmp_path], "csv")
        return [one.body for one in Chunks(sources, Readers({}), Change({"l": "x"}), lambda path, one: None, skip)]

    whole = chunks(0)
    assert [len(Columns().decode(one, Context()).batch) for one in whole] == [700, 700, 600]
    assert chunks(2) == [b"", b"", whole[2]]


def test_rows_outside_of_the_time_asked_for_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,a\n" + "".join(f"{BEGIN + n},{n}\n" for n in range(10)))
    change = Change({}, (BEGIN + 3) * S, (BEGIN + 7) * S)
    (chunk,) = Chunks(sources_of([tmp_path], ""), Readers({}), change, lambda path, one: None)
    assert Columns().decode(chunk.body, Context()).batch.value.tolist() == [3, 4, 5, 6]


def test_options_are_those_of_the_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"when;a;b\n{BEGIN};1,5;2\n")
    readers = Readers({"time_column": "when", "value_columns": "a", "separator": ";"})
    (chunk,) = Chunks(sources_of([tmp_path / "a.csv"], ""), readers, Change(), lambda path, one: None)
    batch = Columns().decode(chunk.body, Context()).batch
    assert (list(batch.series.keys), batch.value.tolist()) == ([b"a"], [1.5])
    with pytest.raises(ConfigError, match="--option oops: unknown option; Csv has separator"):
        Readers({"oops": "1"}).reader(sources_of([tmp_path / "a.csv"], "")[0])


def test_files_without_a_known_name_need_a_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(AlmenaraError, match="give --format"):
        sources_of([tmp_path / "a.txt"], "")
    with pytest.raises(AlmenaraError, match="found no file of a known format"):
        sources_of([tmp_path], "")
    assert [one.format for one in sources_of([tmp_path / "a.txt"], "influx")] == ["influx"]
