"""Rules of tests of rules: promtool's files are read as promtool reads them, and what is not as expected is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from almenara.cli.check import run
from almenara.config.rule_tests import read_tests
from almenara.config.rule_trials import run_tests
from almenara.config.series_values import series_values
from almenara.model.errors import ConfigError

CASES = Path(__file__).parents[1] / "cases" / "rules"
needs_promtool = pytest.mark.real("prometheus")

RULES = """
groups:
- name: some
  rules:
  - {alert: Hot, expr: 'temp > 90', for: 2m, labels: {severity: page}, annotations: {summary: 'in {{ $labels.room }}'}}
  - {alert: Cold, expr: 'temp{room="a"} <= 10'}
  - {alert: All, expr: 'sum(temp) > 250', for: 1m}
  - {alert: Half, expr: 'temp / 2 > 45', annotations: {summary: 'half in {{ $labels.room }}'}}
  - {alert: Again, expr: 'temp > 90', keep_firing_for: 3m}
"""
SERIES = {"a": "50+10x6 95x3 8 8 120x4", "b": "91 92 93 20 95x9", "c": "5 5x3 100x2 5 100x7 0"}


def promtool(file: Path) -> subprocess.CompletedProcess[str]:
    command = ["promtool", "test", "rules", file.name]
    return subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False, timeout=100)


@needs_promtool
def test_the_example_of_promtools_documentation_passes_in_both(capsys: pytest.CaptureFixture[str]) -> None:
    file = CASES / "test.yml"
    assert promtool(file).returncode == 0
    assert run(file, as_json=False) == 0
    assert "1 test of rules passed" in capsys.readouterr().out


@needs_promtool
@pytest.mark.parametrize("alert", ["Hot", "Cold", "All", "Half", "Again"])
def test_at_every_minute_the_same_alarms_fire_as_in_promtool(tmp_path: Path, alert: str) -> None:
    """What fires here is written as expected, and promtool agrees."""
    rules = RULES
    if "keep_firing_for" in rules and alert == "Again":
        rules = RULES.replace("keep_firing_for", "for")  # Debian's promtool is older than that key
    else:
        rules = "\n".join(line for line in RULES.splitlines() if "Again" not in line)
    (tmp_path / "rules.yml").write_text(rules)
    inputs = [{"series": f'temp{{room="{room}"}}', "values": values} for room, values in SERIES.items()]

    def write(asked: list[dict]) -> Path:
        file = tmp_path / "test.yml"
        test = {"interval": "1m", "input_series": inputs, "alert_rule_test": asked}
        file.write_text(json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}))
        return file

    asked = [{"eval_time": f"{m}m", "alertname": alert, "exp_alerts": []} for m in range(14)]
    found = {one.what: one.diff for one in run_tests(read_tests(write(asked)))}
    for one in asked:
        after = one["eval_time"] if one["eval_time"] != "0m" else "0s"
        diff = found.get(f"alarms of {alert} after {after}", ())
        one["exp_alerts"] = [json.loads(line[2:]) for line in diff if line.startswith("+ ")]
    assert any(one["exp_alerts"] for one in asked)
    assert run_tests(read_tests(write(asked))) == []
    told = promtool(write(asked))
    assert told.returncode == 0, told.stdout + told.stderr


@needs_promtool
def test_series_are_expanded_as_promtool_expands_them(tmp_path: Path) -> None:
    text = "1+2x4 -2+4x3 1-2x4 1x4 4 _x3 7 _ 1.5e3 -.5+.25x2 stale 3"
    value, there = series_values(text)
    asked = [
        {
            "expr": "x",
            "eval_time": f"{m}s",
            "exp_samples": [{"labels": "x", "value": float(v)}],
        }
        for m, (v, t) in enumerate(zip(value, there, strict=True))
        if t
    ]
    test = {"interval": "1s", "input_series": [{"series": "x", "values": text}], "promql_expr_test": asked}
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"tests": [test], "evaluation_interval": "1s"}))
    told = promtool(file)
    assert told.returncode == 0, told.stdout + told.stderr
    assert run_tests(read_tests(file)) == []


@pytest.mark.parametrize(
    ("text", "values"),
    [("1x2", [1, 1, 1]), ("0+10x3", [0, 10, 20, 30]), ("5-1x2 _x2 9", [5, 4, 3, np.nan, np.nan, 9]), ("", [])],
)
def test_the_notation(text: str, values: list[float]) -> None:
    np.testing.assert_array_equal(series_values(text)[0], values)


@pytest.mark.parametrize("text", ["1+2", "x", "1x", "1+2x-3", "1x9999999", "1x99999999999999999999", "{{schema:1}}"])
def test_what_is_no_notation_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        series_values(text)


def toml(path: Path, more: str) -> Path:
    file = path / "hub.toml"
    file.write_text(
        """
version = 1
[notifiers.phone]
plugin = "webhook"
url = "http://127.0.0.1:9/"
[rules.hot]
expr = "cpu > 90"
severity = "critical"
[rules.odd]
expr = 'anomaly_score{of="flow"} > 1'
for = "2m"
"""
        + more
    )
    return file


def test_a_configuration_has_its_tests_with_it_and_messages_are_tested_too(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        """
[[tests]]
name = "a hot machine is told of and is over"
interval = "1m"
input_series = [{ series = 'cpu{host="a"}', values = "50x4 95x4 50x4" }]
alert_rule_test = [{ eval_time = "6m", alertname = "hot", exp_alerts = [
    { exp_labels = { host = "a", severity = "critical" } } ] }]
notice_test = [{ eval_time = "12m", notifier = "phone", exp_notices = [
    { kind = "firing", at = "5m", alarms = "1" }, { kind = "resolved", at = "10m", alarms = "1" } ] }]
[[tests]]
name = "scores are given as what detectors say"
interval = "1m"
input_series = [{ series = 'anomaly_score{of="flow",plant="w"}', values = "0x2 1.6x5" }]
alert_rule_test = [
    { eval_time = "4m", alertname = "odd", exp_alerts = [] },
    { eval_time = "5m", alertname = "odd", exp_alerts = [{ exp_labels = { plant = "w", severity = "major" } }] } ]
""",
    )
    assert run_tests(read_tests(file)) == []
    assert run(file, as_json=False) == 0


def test_messages_follow_the_policies_of_the_configuration(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        """
[policies.all]
notify = ["phone"]
group_wait = "2m"
repeat_interval = "10m"
[[tests]]
name = "what belongs together comes as one message, is told again, and ends"
interval = "1m"
input_series = [
    { series = 'cpu{host="a"}', values = "50 95x18 50x5" },
    { series = 'cpu{host="b"}', values = "50 95x18 50x5" } ]
notice_test = [{ eval_time = "25m", notifier = "phone", exp_notices = [
    { kind = "firing", at = "3m", alarms = "2" }, { kind = "repeat", at = "13m", alarms = "2" },
    { kind = "resolved", at = "20m", alarms = "2" } ] }]
""",
    )
    assert [failure.diff for failure in run_tests(read_tests(file))] == []


def test_what_is_not_as_expected_is_told_as_a_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = toml(
        tmp_path,
        """
[[tests]]
name = "wrong"
interval = "1m"
input_series = [{ series = 'cpu{host="a"}', values = "95" }]
alert_rule_test = [{ eval_time = "1m", alertname = "hot", exp_alerts = [{ exp_labels = { host = "b" } }] }]
""",
    )
    assert run(file, as_json=False) == 1
    told = capsys.readouterr().out
    assert "wrong: alarms of hot after 1m are not as expected (- expected, + found):" in told
    assert '- {"exp_annotations": {}, "exp_labels": {"host": "b"}}' in told
    assert '+ {"exp_annotations": {}, "exp_labels": {"host": "a"}}' in told
    assert run(file, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["failures"][0]["test"] == "wrong"


def test_mistakes_of_a_test_file_are_all_told(tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    file.write_text(
        """
rule_files: [none.yml]
evaluation_intervall: 1m
tests:
  - interval: quick
    input_series: [{series: 'a{', values: 1}, {series: a, values: 1+1}, {values: 1}]
    alert_rule_test: [{eval_time: 1m}]
"""
    )
    with pytest.raises(ConfigError) as caught:
        read_tests(file)
    told = str(caught.value)
    for part in ("none.yml", "evaluation_intervall", "tests[0].interval", "input_series[0]", "input_series[1]",
                 "input_series[2]", "alert_rule_test[0]"):  # fmt: skip
        assert part in told


def test_yaml_that_would_grow_or_run_something_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    file.write_text("tests: &a [x]\nrule_files: *a\n")
    with pytest.raises(ConfigError, match="aliases"):
        read_tests(file)
    file.write_text("tests: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError):
        read_tests(file)
