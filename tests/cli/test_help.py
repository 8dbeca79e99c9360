"""What `almenara help` prints can be pasted: a configuration the hub takes, and rules that say what the checks say."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.alarm.rules import Rule
from almenara.cli import _nagios, _thresholds, main
from almenara.config import load
from almenara.config.build import rules
from almenara.model.series import Series


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(args)
    return int(caught.value.code or 0)


def threshold(end: str, value: float, host: str = "a", service: str = "Disk", label: str = "/", **more: str):  # type: ignore[no-untyped-def]
    return Series.of(f"nagios_perfdata_{end}", host=host, service=service, label=label, **more), value


def loaded(text: str, folder: Path) -> list[Rule]:
    (folder / "hub.toml").write_text("version = 1\n" + text)
    return rules(load(folder / "hub.toml"))


def selected(rule: Rule, **labels: str) -> bool:
    return all(m.matches({"__name__": "nagios_perfdata", **labels}.get(m.label, "")) for m in rule.matchers)


def test_topics_are_listed_and_unknown_ones_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("help") == 0
    assert "nagios" in capsys.readouterr().out
    assert call("help", "nagois") == 1
    assert "nagios" in capsys.readouterr().err


@pytest.mark.parametrize("system", _nagios.FILES)
def test_the_hub_takes_its_block(system: str, tmp_path: Path) -> None:
    blocks = _nagios.blocks(system, str(tmp_path))
    (tmp_path / "hub.toml").write_text("version = 1\n" + blocks["hub.toml"])
    assert load(tmp_path / "hub.toml").transports["nagios"].values == {"spool": tmp_path}


@pytest.mark.parametrize("spool", ["relative", "/a b", "/a;rm", "/a/../b", "/$HOME", "/"])
def test_a_folder_that_would_break_the_lines_is_refused(spool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("help", "nagios", "--spool", spool) == 1
    assert "--spool" in capsys.readouterr().err


def test_rules_hold_where_nagios_says_so(tmp_path: Path) -> None:
    text = _thresholds.rules([threshold("warn", 80), threshold("crit", 90), threshold("crit_low", 5)])
    found = {rule.name: rule for rule in loaded(text, tmp_path)}
    assert {name: (rule.severity, rule.op, rule.number) for name, rule in found.items()} == {
        "Disk_warn": ("warning", ">", 80.0),
        "Disk_crit": ("critical", ">", 90.0),
        "Disk_crit_low": ("critical", "<", 5.0),
    }


def test_hosts_that_agree_share_a_rule_and_others_have_their_own(tmp_path: Path) -> None:
    same = [threshold("warn", 80, host=host, label="same") for host in ("a", "b.c", "d")]
    differing = [threshold("warn", value, host=host, label="x") for host, value in (("a", 1), ("b.c", 1), ("d", 2))]
    found = loaded(_thresholds.rules([*same, *differing]), tmp_path)
    assert len(found) == 3
    for rule in found:
        label = "same" if rule.number == 80 else "x"
        hosts = [h for h in ("a", "b.c", "bxc", "d") if selected(rule, host=h, service="Disk", label=label)]
        assert hosts == {80: ["a", "b.c", "bxc", "d"], 1: ["a", "b.c"], 2: ["d"]}[int(rule.number)]
        assert not selected(rule, host="a", label=label)  # perfdata of a host check is something else


@pytest.mark.parametrize("label", ["C:\\", 'it\'s "so"', "ünï", "a\tb", "", "[x]|y", "'''"])
def test_any_label_can_stand_in_a_rule(label: str, tmp_path: Path) -> None:
    (rule,) = loaded(_thresholds.rules([threshold("warn", 0.1 + 0.2, label=label)]), tmp_path)
    assert selected(rule, host="a", service="Disk", label=label)
    assert not selected(rule, host="a", service="Disk", label=label + "x")
    assert rule.number == 0.1 + 0.2


def test_equal_names_get_numbers_and_ranges_inside_are_told() -> None:
    text = _thresholds.rules(
        [threshold("warn", 1, label="a b"), threshold("warn", 1, label="a_b"), threshold("crit", 3, range="inside")]
    )
    assert "[rules.Disk_a_b_warn]" in text
    assert "[rules.Disk_a_b_warn_2]" in text
    assert text.rstrip().splitlines()[-1].startswith("# left out")
