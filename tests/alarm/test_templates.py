"""Texts with `{{ ... }}`: what they say, the same as Prometheus says, and what is wrong with those that are refused."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from almenara.alarm.templates import Template, read_all, render_all

HOST = {"host": "web.example:90", "n": "1"}
TEXTS = [
    "{{ $value }}",
    "{{$value}}",
    "{{ .Value }}",
    "{{ $labels.host }}",
    "{{ .Labels.host }}",
    "[{{ $labels.nothing }}]",
    "{{ $value | humanize }}",
    "{{ humanize $value }}",
    "{{ humanize1024 $value }}",
    "{{ $value | humanizeDuration }}",
    "{{ $value | humanizePercentage }}",
    '{{ printf "%.2f" $value }}',
    '{{ $value | printf "%.1f%%" }}',
    '{{ printf "%v|%s|%q|%5.1f|%-6s|%04d" $value $labels.host $labels.n $value $labels.n 7 }}',
    "{{ $labels.host | toUpper }} {{ $labels.host | toLower | title }}",
    "{{ stripPort $labels.host }} {{ stripDomain $labels.host }}",
    '{{ reReplaceAll "(.*)\\\\.ex" "$1!" $labels.host }}',
    '{{ index $labels "host" }}',
    'a {{- " b " -}} c',
    'x {{ (printf "%s" ($labels.host)) | toUpper }}',
    "{{/* a remark */}}nothing",
    "{{ $externalLabels.site }}|{{ $externalURL }}",
    '{{ `raw \\n` }}{{ "two\\nlines" }}',
    '{{ humanize 1234.5 }} {{ humanize "98765" }}',
    "{{ $labels }}",
    "plain { text } }}",
]
VALUES = [1234567.0, 1.234e-05, 123456.75, 59.99999, 5.0, 0.0, 1e22, -3725.5, 100000.0, 0.5, 86399.0, 1048576.0, -0.001]


@pytest.mark.real("prometheus")
def test_texts_are_those_of_prometheus(tmp_path: Path) -> None:
    texts = dict(enumerate(TEXTS)) | {len(TEXTS): "{{ $value | humanizeTimestamp }}"}
    values = [v for v in VALUES if abs(v) < 1e9]
    rule = {"alert": "A", "expr": "x", "annotations": {f"a{n:02d}": text for n, text in texts.items()}}
    series = [{"series": f'x{{host="{HOST["host"]}",n="{n}"}}', "values": repr(v)} for n, v in enumerate(values)]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    asked = {"eval_time": "0m", "alertname": "A", "exp_alerts": []}
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [asked]}
    (tmp_path / "test.json").write_text(json.dumps({"rule_files": ["rules.json"], "tests": [test]}))
    run = subprocess.run(
        ["promtool", "test", "rules", "test.json"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    told = {}
    for line in re.findall(r"(?m)^\s+Labels:\{.*n=\"(\d+)\"\}\n\s+Annotations:\{(.*)\}", run.stdout + run.stderr):
        told[int(line[0])] = {k: json.loads(f'"{v}"') for k, v in re.findall(r'(a\d\d)="((?:\\.|[^"\\])*)"', line[1])}
    assert len(told) == len(values)
    for n, value in enumerate(values):
        labels = {"host": HOST["host"], "n": str(n)}
        theirs = told[n]
        for key, text in rule["annotations"].items():  # type: ignore[attr-defined]
            if text == "{{ $labels }}":
                continue  # theirs has the name too, and its order
            assert Template.of(text).render(labels, value) == theirs.get(key, ""), (text, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ $value | humanize }", "not closed"),
        ("{{ $lables.host }}", "$lables is not known; there are $labels and $value"),
        ("{{ $value | humanise }}", "'humanise' is no function; there are humanize, humanize1024"),
        ("{{ if $value }}x{{ end }}", "if is not supported"),
        ('{{ range query "up" }}{{ end }}', "range is not supported"),
        ('{{ query "up" }}', "query is not supported"),
        ("{{ }}", "'the end' is no value"),
        ("{{ humanize }}", "humanize takes 1 values; got 0"),
        ("{{ $value $value }}", "is not expected there"),
        ("{{ ($value }}", '")" is missing'),
        ("{{ __import__('os') }}", "is no value and no function"),
        ("{{ $labels.host.name }}", "is not known"),
        ("{{ $value.__class__ }}", "is not known"),
        ("{{ $x := 1 }}", "$x is not known"),
        ("{{ " + "(" * 30 + "$value" + ")" * 30 + " }}", "nested too deeply"),
        ("x" * 6000, "longer than 5000"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Template.of(text)


def test_the_wrong_one_of_many_is_named() -> None:
    with pytest.raises(ValueError, match=r"^runbook: "):
        read_all({"summary": "fine", "runbook": "{{ nothing }}"})


def test_what_cannot_be_worked_out_stands_in_the_text() -> None:
    assert "<error: " in Template.of("{{ humanize $labels.host }}").render(HOST, 1.0)
    for evil in ('{{ reReplaceAll "(a+)+b" "" $labels.host }}', '{{ printf "%999d" $value }}', '{{ printf "%s" }}'):
        assert "<error: " in Template.of(evil).render(HOST, 1.0)


def test_plain_texts_are_known_to_be_plain() -> None:
    found = read_all({"a": "all is well", "b": "{{ $value }}"})
    assert (found["a"].is_plain, found["b"].is_plain) == (True, False)
    assert render_all(found, {}, 2.0) == {"a": "all is well", "b": "2"}
