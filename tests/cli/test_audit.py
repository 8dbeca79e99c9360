"""Rules of the audit: notifications become problems, both sides are put beside each other, and limits are stated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from almenara.cli import main
from almenara.files.nagios_log import read_logs
from almenara.model.errors import AlmenaraError, DecodeError
from almenara.pipeline.audit import alerts_of, problems_of
from almenara.testing import browser

CASE = Path(__file__).parents[1] / "cases" / "nagios"
LOG = CASE / "nagios.log"
DAY_S = 86_400
T0_S = 1_767_571_200


def audit(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *map(str, arguments), "--json"])
    assert ended.value.code in (0, None)
    return json.loads(capsys.readouterr().out)


def test_a_real_log_of_nagios_is_read_whole() -> None:
    log = read_logs([LOG])
    assert log.unread == 0
    assert log.flapping == 1
    assert {(one.host, one.service) for one in log.told} == {("web1", "HTTP"), ("web2", "Load"), ("db1", "")}
    assert {one.kind for one in log.told} == {"PROBLEM", "RECOVERY", "FLAPPINGSTART", "FLAPPINGSTOP"}
    assert {one.state for one in log.checked} == {0, 1, 2}
    assert any(not one.is_hard for one in log.checked)


def test_notifications_of_a_check_from_problem_to_recovery_are_one_problem() -> None:
    log = read_logs([LOG])
    problems = problems_of(log)
    assert sum(one.told for one in problems) == len(log.told)
    http = [one for one in problems if one.service == "HTTP"]
    assert [(one.host, one.told, one.state) for one in http] == [("web1", 3, "CRITICAL")]
    assert 50 <= (http[0].end - http[0].since) / 1e9 <= 70


def test_a_line_that_stands_in_the_log_and_its_archive_counts_once(tmp_path: Path) -> None:
    archive = tmp_path / "nagios-11-22.log.gz"
    archive.write_bytes(gzip.compress(LOG.read_bytes()))
    assert len(read_logs([LOG, archive]).told) == len(read_logs([LOG]).told)


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    other = tmp_path / "syslog"
    other.write_text("Nov 22 host app: hello\n")
    with pytest.raises(DecodeError, match=r"expected a nagios.log"):
        read_logs([other])


@pytest.mark.parametrize(
    "line",
    [
        "[1700000000] SERVICE ALERT: a;b",
        "[1700000000] SERVICE ALERT: a;b;PURPLE;HARD;1;x",
        "[1700000000] HOST NOTIFICATION: x",
    ],
)
def test_a_broken_line_is_counted_and_left_out(tmp_path: Path, line: str) -> None:
    file = tmp_path / "nagios.log"
    file.write_text("[1699999999] SERVICE ALERT: a;b;OK;HARD;1;fine\n" + line + "\n")
    found = read_logs([file])
    assert (found.unread, len(found.checked), len(found.told)) == (1, 1, 0)


def test_an_acknowledgement_belongs_to_the_problem_that_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "nagios.log"
    file.write_text(
        "[1700000000] SERVICE NOTIFICATION: bob;a;b;CRITICAL;mail;broken\n"
        "[1700000060] EXTERNAL COMMAND: ACKNOWLEDGE_SVC_PROBLEM;a;b;2;1;0;ann;on it\n"
        "[1700000090] SERVICE NOTIFICATION: bob;a;b;OK;mail;fine\n"
        "[1700001000] SERVICE NOTIFICATION: bob;a;b;CRITICAL;mail;broken\n"
    )
    assert [one.acknowledged for one in problems_of(read_logs([file]))] == [True, False]


def test_the_real_log_and_its_perfdata_audited(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    perfdata = tmp_path / "perfdata"
    perfdata.mkdir()
    (perfdata / "service-perfdata").write_bytes(gzip.decompress((CASE / "service-perfdata.gz").read_bytes()))
    page = tmp_path / "audit.html"
    found = audit(capsys, "--nagios-log", LOG, "--perfdata", perfdata, "--out", page)
    kinds = found["notifications"]["Nagios"]
    assert sum(kinds.values()) == len(read_logs([LOG]).told)
    assert all(one["incident"] for one in found["problems"])
    told = {name for one in found["incidents"] for name in one["alarms"]}
    assert {'nagios_check_state{host="web1",service="HTTP"}', 'nagios_host_state{host="db1"}'} <= told
    assert sum('service="Load"' in name for one in found["incidents"] for name in one["alarms"]) == 1, "it flapped"
    assert any("values a figure" in one for one in found["limits"]), "so short a history is said to be short"
    text = page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "What this claim is worth" in text


def test_a_log_without_figures_says_what_it_cannot_claim(capsys: pytest.CaptureFixture[str]) -> None:
    found = audit(capsys, "--nagios-log", LOG)
    assert any("no figures" in one for one in found["limits"])


def five_weeks(path: Path) -> Path:
    """Perfdata every five minutes: a day's wave, for three hours of the last day far too high, under no threshold."""
    at = np.arange(T0_S, T0_S + 35 * DAY_S, 300)
    value = 500 + 300 * np.sin(at * 2 * np.pi / DAY_S) + np.random.default_rng(1).normal(0, 5, len(at))
    value[(at > at[-1] - 8 * 3600) & (at < at[-1] - 5 * 3600)] += 900
    lines = [
        f"DATATYPE::SERVICEPERFDATA\tTIMET::{t}\tHOSTNAME::db1\tSERVICEDESC::Queries\tSERVICEPERFDATA::queries={v:.1f};9000"
        for t, v in zip(at.tolist(), value.tolist(), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_no_threshold_sees_only_we_saw_and_what_has_no_figures_only_they_told_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    perfdata = five_weeks(tmp_path / "service-perfdata")
    end = T0_S + 35 * DAY_S
    export = tmp_path / "alerts.json"
    alert = {"labels": {"alertname": "Full", "instance": "nas:9100"}, "startsAt": "2026-02-08T20:00:00Z"}
    export.write_text(json.dumps([alert]))
    log = tmp_path / "nagios.log"
    log.write_text(
        f"[{end - 2 * DAY_S}] CURRENT SERVICE STATE: db1;Queries;OK;HARD;1;fine\n[{end}] LOG ROTATION: DAILY\n"
    )
    found = audit(capsys, "--nagios-log", log, "--perfdata", perfdata, "--alertmanager-export", export)
    only_here = [one for one in found["incidents"] if one["only_here"]]
    assert any("nagios_perfdata" in name for one in only_here for name in one["alarms"])
    assert [(one["system"], one["host"], one["incident"]) for one in found["problems"]] == [
        ("Alertmanager", "nas", None)
    ]


@pytest.mark.parametrize("given", ["{}", "[1]", '[{"labels": {}}]', '[{"labels": [], "startsAt": "x"}]'])
def test_an_export_of_another_shape_is_told(given: str) -> None:
    with pytest.raises(DecodeError):
        alerts_of(json.loads(given))


def test_nothing_given_is_told() -> None:
    from almenara.cli.audit import Order, run

    with pytest.raises(AlmenaraError, match="nothing to audit"):
        run(Order([], [], [], None, None, as_json=True))


@pytest.mark.real("chromium", "chromium-driver")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_loads_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, width: int) -> None:
    page = tmp_path / "audit.html"
    audit(capsys, "--nagios-log", LOG, "--out", page)
    with browser.Browser(width, 800) as window:
        window.open(page.as_uri())
        assert window.execute("return document.documentElement.scrollWidth <= innerWidth")
        assert window.execute("return document.querySelectorAll('.lane i').length") >= 4
