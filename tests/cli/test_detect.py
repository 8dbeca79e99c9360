"""`almenara detect`: files judged in a terminal say what `al.detect` says of the same rows."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import almenara as al
from almenara.analysis.rates import weekly
from almenara.cli import main

PLANT = str(al.datasets.path("plant"))


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["detect", *args])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def answers() -> pd.DataFrame:
    return al.detect(al.datasets.load("plant"))


def test_the_worst_anomalies_are_told_first(capsys: pytest.CaptureFixture[str], answers: pd.DataFrame) -> None:
    assert call(PLANT, "--top", "5") == 0
    said = capsys.readouterr()
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert len(rows) == 5
    scores = [float(row[3]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(answers["score"].max(), abs=0.01)
    assert rows[0][2] == "critical"
    assert ": " in rows[0][5]
    count = int(answers["alert"].sum())
    assert f"56,448 rows of 7 series, 2026-03-02T00:00:00Z to 2026-03-29T23:55:00Z: {count} anomalies" in said.err
    assert f"the 5 worst are shown; --top {count} shows all" in said.err


def test_the_output_has_every_row_with_the_answer_of_the_notebook(tmp_path: Path, answers: pd.DataFrame) -> None:
    out = tmp_path / "out.csv"
    assert call(PLANT, "--output", str(out)) == 0
    written = pd.read_csv(out, keep_default_na=False, na_values={"score": "", "yhat": ""}).sort_values(
        ["series", "time"], kind="stable"
    )
    expected = answers.sort_values(["series", "time"], kind="stable")
    assert list(written.columns) == list(expected.columns)
    assert written["time"].iloc[0] == "2026-03-02T00:00:00Z"
    for name in ("score", "yhat"):
        np.testing.assert_array_equal(written[name].to_numpy(float), expected[name].to_numpy())
    for name in ("series", "severity", "why"):
        assert written[name].tolist() == expected[name].tolist()
    assert written["alert"].tolist() == expected["alert"].tolist()
    assert call(PLANT, "--output", str(out), "--only-anomalies") == 0
    assert len(pd.read_csv(out)) == (answers["score"] >= 1).sum()


def test_json_has_every_anomaly(capsys: pytest.CaptureFixture[str], answers: pd.DataFrame) -> None:
    assert call(PLANT, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 56_448
    assert found["found"] == len(found["anomalies"]) == answers["alert"].sum()
    assert found["flagged"] == (answers["score"] >= 1).sum() == sum(one["rows"] for one in found["anomalies"])
    low, high = found["per_week_interval"]
    assert low < found["per_week"] < high
    begins = answers[answers["alert"]].sort_values("time", kind="stable")["time"]
    assert [pd.Timestamp(one["begins"]) for one in found["anomalies"]] == begins.tolist()


def test_a_budget_is_kept_on_data_that_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(PLANT, "--json", "--budget-per-week", "2", "--value", "reservoir_level") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["budget_per_week"] == 2
    assert found["p_limit"] == pytest.approx(2 / (7 * 288), rel=1e-3)
    assert found["per_week_interval"][0] <= 2


def test_a_pipe_and_columns_of_other_names_are_read(tmp_path: Path) -> None:
    """As a process of its own, with CSV on its standard input and options of the detector."""
    frame = al.datasets.load("plant")[["pump_2_flow"]].tz_convert(None).reset_index(names="when")
    frame = frame.assign(machine="P-102", when=frame["when"].dt.strftime("%Y-%m-%d %H:%M")).rename(
        columns={"pump_2_flow": "reading"}
    )
    command = [sys.executable, "-m", "almenara.cli", "detect", "-", "--time", "when", "--value", "reading"]
    command += ["--series", "machine", "--timezone", "Europe/Madrid", "-o", "p_limit=0.001", "--json"]
    done = subprocess.run(command, input=frame.to_csv(index=False), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = al.detect(frame, time="when", timezone="Europe/Madrid", p_limit=0.001)
    assert found["rows"] == len(frame)
    assert found["found"] == expected["alert"].sum()
    assert {one["series"] for one in found["anomalies"]} == {"P_102"}  # a name as series have it in a hub


def test_parquet_and_the_kinds_that_files_tell_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = al.datasets.load("plant")[["pump_2_flow"]].reset_index()
    frame.to_parquet(tmp_path / "flow.parquet")
    assert call(str(tmp_path / "flow.parquet"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["found"] == al.detect(frame)["alert"].sum()
    total = frame.assign(pump_2_flow=(frame["pump_2_flow"] * 300).cumsum())
    total.to_csv(tmp_path / "total.csv", index=False)
    assert call(str(tmp_path / "total.csv"), "--json", "--kind", "pump_2_flow=counter") == 0
    by_hand = al.detect(total, kinds={"pump_2_flow": "counter"})
    assert json.loads(capsys.readouterr().out)["found"] == by_hand["alert"].sum() > 0


def test_pictures_are_written(tmp_path: Path) -> None:
    for name in ("out.html", "out.png"):
        assert call(PLANT, "--value", "pump_2_flow", "--plot", str(tmp_path / name)) == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "What was unusual in plant.csv.gz" in (tmp_path / "out.html").read_text()


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timeless = tmp_path / "timeless.csv"
    timeless.write_text("value\n" + "1\n" * 50)
    wrong = {
        (PLANT, "--plot", "out.pdf"): "found 'out.pdf', expected a name that ends in .html or .png",
        ("nowhere.csv",): "nowhere.csv: No such file or directory",
        (str(timeless),): "in all 50 rows; is there a column of times? Name it with --time",
        (PLANT, "-o", "p_limt=1"): "seasonal.p_limt: unknown option; did you mean p_limit?",
        (PLANT, "-o", "p_limit=2"): "p_limit",
        (PLANT, "--time", "when"): "found no column 'when' among time, shop_requests_per_s",
        (PLANT, "--output", PLANT): "is read and to be written",
        (PLANT, "--budget-per-week", "1e9"): "expected at most 141",
    }
    for args, words in wrong.items():
        assert call(*args) == 1, args
        assert words in capsys.readouterr().err, args


def test_rows_that_cannot_be_read_are_told_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = io.StringIO()
    al.datasets.load("plant")[["pump_2_flow"]].iloc[:100].to_csv(text)
    file = tmp_path / "bad.csv"
    file.write_text(text.getvalue() + "yesterday,5\n")
    assert call(str(file), "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == 100
    assert sum(json.loads(said.out)["left_out"].values()) == 1
    assert f"{file}:102" in said.err


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0, 3.69), (1, 0.0253, 5.57), (10, 4.80, 18.39), (100, 81.4, 121.6)]
)
def test_the_interval_of_a_rate_is_that_of_the_tables(count: int, low: float, high: float) -> None:
    """Exact Poisson limits, as printed in Ulm 1990; Byar's are within a few per cent of them."""
    rate, found_low, found_high = weekly(count, 1.0)
    assert rate == count
    assert found_low == pytest.approx(low, rel=0.03, abs=0.02)
    assert found_high == pytest.approx(high, rel=0.03)


def test_options_on_what_counts_are_those_of_al_detect(capsys: pytest.CaptureFixture[str]) -> None:
    def found(*options: str) -> int:
        assert call(PLANT, "--json", "--value", "shop_latency_ms", *options) == 0
        return int(json.loads(capsys.readouterr().out)["found"])

    usual = found()
    assert usual > 0
    assert found("--tune", "min_dev_from_expected=1e9") == 0
    assert found("--tune", "min_rel_dev_from_expected=1e9") == 0
    assert found("--ignore", "actual < 1e9") == 0
    assert sum(found("--tune", f"detection_direction={side}_expected") for side in ("above", "below")) >= usual
    assert found("--tune", "data_range=1e6,inf") == 1
