"""Rules in the configuration: every kind is read, every mistake is told with its line, Prometheus' files are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.config.build import rules
from almenara.config.load import DEFAULTS, Config, load
from almenara.model.errors import ConfigError
from almenara.model.time import NS

HEAD = "version = 1\n"


def config(path: Path, text: str) -> Config:
    (path / "hub.toml").write_text(HEAD + text)
    return load(path / "hub.toml")


def mistakes(path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(path, text)
    return [str(one).removeprefix(str(path) + "/") for one in caught.value.problems]


def test_each_kind_is_known_by_what_it_says(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        [detectors.seasonal]
        [detectors.change]
        [rules]
        threshold.expr = "cpu > 90"
        anomaly.expr = "anomaly_score > 1"
        change.expr = 'anomaly_alert{detector="change"} == 1'
        silence.expr = "stale_gaps > 10"
        absence.expr = 'absent(up{job="x"})'
        expression.expr = "sum by (host) (rate(errors[5m])) / sum by (host) (rate(requests[5m])) > 0.05"
        trend = { expr = "disk_used_percent > 95", within = "3d", over = "7d" }
        composite.expr = 'rule("threshold") and on (host) rule("trend")'
        """,
    )
    kinds = {rule.name: rule.kind for rule in rules(found)}
    assert kinds.pop("change") == "anomaly"
    assert kinds == {name: name for name in kinds}


def test_a_schedule_follows_the_sites_clocks_and_calendars(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        [site]
        timezone = "Europe/Madrid"
        [calendars.closed]
        dates = ["2026-11-24"]
        [rules.hot]
        expr = "temp > 90"
        schedule = ["Mon-Fri 08:00-18:00"]
        not_on = ["closed"]
        """,
    )
    (rule,) = rules(found)
    at = [1_795_417_200, 1_795_417_199, 1_795_510_800]  # Monday 2026-11-23 08:00 in Madrid, before it, and Tuesday
    assert [rule.schedule.holds_at(second * NS) for second in at] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('expr = "cpu >"', "3: rules.r.expr: column 6 of 'cpu >': found the end, expected a series"),
        ('expr = "cpu"', "3: rules.r.expr: 'cpu' holds for every series that has a value; compare it"),
        ('expr = "1 > bool 2"', "3: rules.r.expr: '1 > bool 2' is a number; a rule wants series"),
        ('expr = "topk(3, a) > 1"', "3: rules.r.expr: the aggregation topk is not supported yet"),
        ('expr = "avg(anomaly_score) > 1"', "3: rules.r.expr: anomaly_score is judged as rows arrive"),
        ('expr = "stale_gaps < 1"', "3: rules.r.expr: stale_gaps must be > a number above 0; got < 1"),
        ('expr = "a > 1"\nevery = "-1s"', '4: rules.r.every: must be a duration such as "30s"'),
        ('expr = "rate(a[5m]) or b"\nwithin = "1d"', "4: rules.r.within: wants an expr that compares with a number"),
        ('expr = "max(a) > 1"\nover = "1d"', "4: rules.r.over: goes with within"),
        ('expr = "a > 1"\nno_data = "maybe"', '4: rules.r.no_data: must be "keep", "alarm", "ok" or "ignore"'),
        ('expr = "absent(a)"\nno_data = "ok"', "4: rules.r.no_data: 'ok' cannot be told here: only of a comparison"),
        ('expr = "a > 1"\nschedule = ["Mon-Fry"]', "4: rules.r.schedule[0]: must be days, times or both"),
        ('expr = "a > 1"\nonly_on = ["payday"]', '4: rules.r.only_on[0]: no calendar is called "payday"'),
        ('expr = "a > 1"\nannotations.a = "{{ $lables.a }}"', "4: rules.r.annotations.a: {{ $lables.a }}: $lables"),
        ('expr = "a > 1"\nlabels.team = "{{ if }}"', "4: rules.r.labels.team: {{ if }}: if is not supported"),
        ("expr = 'rule(\"nothing\")'", '3: rules.r.expr: no rule is called "nothing"; there are: r'),
        ("expr = 'rule(\"r\") or a > 1'", "3: rules.r.expr: speaks of itself: r -> r"),
        ("expr = 'anomaly_score{detector=\"change\"} > 1'", '3: rules.r.expr: no detector is called "change"'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_is(text: str, said: str, tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "[rules.r]\n" + text)
    assert found.startswith(f"hub.toml:{said}"), found


def test_rules_that_speak_of_each_other_in_a_circle_are_refused_once(tmp_path: Path) -> None:
    text = "[rules]\n" + "\n".join(f"{a}.expr = 'rule(\"{b}\")'" for a, b in ("ab", "bc", "ca", "da"))
    (found,) = mistakes(tmp_path, text)
    assert found == "hub.toml:3: rules.a.expr: speaks of itself: a -> b -> c -> a"


def test_a_long_chain_of_rules_is_no_circle(tmp_path: Path) -> None:
    text = "[rules]\nr0.expr = 'a > 1'\n" + "\n".join(f"r{n}.expr = 'rule(\"r{n - 1}\")'" for n in range(1, 1500))
    assert len(config(tmp_path, text).rules) == 1500


PROMETHEUS = """
groups:
- name: node
  interval: 30s
  labels: {team: ops}
  rules:
  - alert: DiskFull
    expr: predict_linear(node_filesystem_free_bytes[6h], 24 * 3600) < 0
    for: 1h
    labels: {severity: page}
    annotations:
      summary: "{{ $labels.instance }} has {{ $value | humanize1024 }} left"
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 10m
    labels: {severity: critical, tier: "1"}
  - alert: Down
    expr: absent(up)
"""


def test_prometheus_rule_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "node.yml").write_text(PROMETHEUS)
    found = config(tmp_path, 'rule_files = ["rules/*.yml"]')
    made = {rule.name: rule for rule in rules(found)}
    assert set(made) == {*DEFAULTS["rules"], "DiskFull", "Down", "Down (node)"}
    disk, down = made["DiskFull"], made["Down"]
    assert (disk.for_s, disk.every_s, disk.severity) == (3600, 30, "critical")
    assert dict(disk.labels) == {"team": "ops", "severity": "page"}
    assert disk.annotation_texts["summary"].render({"instance": "a"}, 2**30) == "a has 1Gi left"
    assert (down.kind, down.keep_firing_for_s, dict(down.labels)) == ("expression", 600, {"team": "ops", "tier": "1"})
    assert made["Down (node)"].kind == "absence"


def test_a_rule_of_the_file_itself_comes_first(tmp_path: Path) -> None:
    (tmp_path / "node.yml").write_text(PROMETHEUS)
    found = config(tmp_path, 'rule_files = ["node.yml"]\n[rules.Down]\nexpr = "up < 1"\n')
    assert found.rules["Down"].expr == "up < 1"
    assert set(found.rules) == {"Down", "DiskFull", "Down (node)"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  - record: a:b\n    expr: sum(a)", "a:b is a recording rule, which makes a series"),
        ("  - alert: A\n    expr: topk(1, a) > 1", "group g: alert A: expr: the aggregation topk"),
        ("  - alert: A\n    expr: a > 1\n    for: soon", 'for: "soon" is no duration'),
        ("  - alert: A\n    expr: a > 1\n    fro: 5m", "unknown key fro"),
        ("  - expr: a > 1", "rule 1: has no alert; expected its name"),
        ("  - alert: A\n    expr: a > 1\n    annotations: {s: '{{ query \"x\" }}'}", "annotations.s: {{ query"),
        ("groups: 5", "has no groups"),
        ("{", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_rule_file_is_said(text: str, said: str, tmp_path: Path) -> None:
    head = "groups:\n- name: g\n  rules:\n" if text.startswith("  ") else ""
    (tmp_path / "x.yml").write_text(head + text)
    found = mistakes(tmp_path, 'rule_files = ["x.yml"]')
    assert len(found) == 1
    assert found[0].startswith(f"hub.toml:2: rule_files[0]: {tmp_path}/x.yml: ")
    assert said in found[0], found


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, 'rule_files = ["nothing/*.yml"]')
    assert 'no file is called "nothing/*.yml"' in found
