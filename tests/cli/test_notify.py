"""Rules of `almenara notify`, against a real mail server."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.cli.notify import run
from almenara.model.errors import ConfigError
from notifiers.test_mail import Box, serving


def config(folder: Path, port: int) -> Path:
    file = folder / "hub.toml"
    file.write_text(f"""version = 1
[site]
name = "brewery"
timezone = "Europe/Madrid"
[notifiers.post]
plugin = "mail"
host = "127.0.0.1"
port = {port}
security = "none"
from = "hub@example.com"
to = ["ann@example.com"]
""")
    return file


def test_a_test_message_is_sent_and_said_to_be_none_of_an_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(box := Box()) as port:
        assert run("post", config(tmp_path, port)) == 0
    assert "post: sent" in capsys.readouterr().out
    (mail,) = box.mails
    assert mail["Subject"] == "Test message of brewery: if you read this, post works"
    assert (mail["X-Almenara-Kind"], mail["X-Priority"]) == ("test", "3")


def test_what_the_other_side_says_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = Box()
    box.data_answers = ["554 not from you"]
    with serving(box) as port:
        assert run("post", config(tmp_path, port)) == 1
    said = capsys.readouterr().err
    assert "answered 554 not from you" in said
    assert "give it up" in said


def test_a_notifier_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean post"):
        run("psot", config(tmp_path, 1))
