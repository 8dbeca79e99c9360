"""What `almenara agent` refuses, in one line each, before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.cli import agent_main
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.spool import Spool


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as caught:
        agent_main(args)
    assert caught.value.code == 1
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("url", ["http://hub:1883", "hub:1883", "mqtt://", "mqtt://hub:99999", "mqtt://hub/topic"])
def test_a_url_that_is_no_broker(capsys: pytest.CaptureFixture[str], url: str) -> None:
    said = refused(capsys, "--hub", url)
    assert said.startswith('error: command line: mqtt.url: must be "mqtt://HOST:PORT" or "mqtts://HOST:PORT"')


def test_a_password_in_the_url(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--hub", "mqtt://me:secret@hub:1883")
    assert "give username and password as options" in said
    assert "secret" not in said


def test_the_data_folder_of_a_hub(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    DataFolder(folder / "almenara-data").close()
    said = refused(capsys, "--data", "almenara-data")
    assert said == "error: almenara-data: is the data folder of a hub; give --data another folder\n"


def test_a_folder_in_use(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    spool = Spool(folder / "puma-data" / "spool")
    assert "puma-data/spool: is in use by another agent" in refused(capsys)
    spool.close()


def test_a_folder_that_cannot_be(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "file").write_text("")
    assert "file/spool: cannot be used as spool: Not a directory" in refused(capsys, "--data", "file")


def test_mqtt_switched_off(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "puma.toml").write_text("version = 1\n[mqtt]\nenabled = false\n")
    assert "mqtt.enabled: must be true; got false" in refused(capsys, "--config", "puma.toml")


def test_all_mistakes_of_a_file_at_once(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "puma.toml").write_text("version = 1\n[agent]\nspool_mb = 0\n[collectors.host]\nevery = 10\n")
    assert refused(capsys, "--config", "puma.toml").splitlines() == [
        "error: puma.toml:3: agent.spool_mb: must be at least 1; got 0",
        "error: puma.toml:5: collectors.host.every: unknown option; did you mean every_s?",
    ]
