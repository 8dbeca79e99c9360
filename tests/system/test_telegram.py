"""A whole hub with Telegram: an alarm arrives with its buttons, a person answers, and the hub does it, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.notifiers.telegram_servers import NEVER, TOKEN, Theirs, ours, theirs

from almenara.testing.process import HubProcess, wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.real("node", "telegram-test-api")]

CONFIG = """
[rules.hot]
expr = "temp > 30"
[notifiers.ops]
plugin = "telegram"
token = "%s"
chats = [1]
operators = ["@anna"]
api = "%s"
"""


def measure(hub: HubProcess, value: float) -> None:
    assert hub.post("/write", f"temp,room=a value={value}".encode())[0] == 204


def incident(hub: HubProcess) -> dict[str, Any]:
    found: list[dict[str, Any]] = hub.json("/api/v1/incidents")
    return found[0] if found else {}


def texts(server: Theirs) -> list[str]:
    return [one.get("text") or one.get("caption", "") for one in server.messages()]


def answer(server: Theirs, say: Callable[[], None], wanted: str) -> dict[str, Any]:
    """What the bot answers next."""
    before = len(server.messages())
    say()
    (said,) = wait_until(lambda: server.messages()[before:], f"an answer with {wanted}")[:1]
    assert wanted in (said.get("text") or said["caption"]), said
    return said


def test_an_alarm_arrives_and_is_taken_on_with_a_button_also_over_reload_and_kill_9(tmp_path: Path) -> None:
    with theirs() as server, HubProcess(tmp_path / "data", config=CONFIG % (TOKEN, server.url)) as hub:
        measure(hub, 20)
        measure(hub, 35)
        wait_until(server.messages, "the alarm")
        (told,) = server.messages()
        assert "temp (room=a)" in (told.get("text") or told["caption"])
        assert told["reply_markup"]["inline_keyboard"][0][0] == {"text": "Acknowledge", "callback_data": "ack 1"}

        answer(server, lambda: server.presses("ack 1", told["number"]), "Taken on by @anna (Telegram)")
        assert incident(hub)["acknowledgement"]["who"] == "@anna (Telegram)"
        drawn = answer(server, lambda: server.says("GRAPH temp 1h"), "temp (room=a): 1 hour up to now")
        assert drawn["photo"]["begins"] == "89504e470d0a1a0a"

        assert hub.post("/-/reload", b"")[0] == 200
        answer(server, lambda: server.says("LIST"), "taken on by @anna")
        server.says("LIST", chat=5)
        wait_until(lambda: server.messages(5), "a word to the stranger")
        assert server.messages(5)[0]["text"] == "This chat may not ask here. Its id is 5."

        hub.kill()
        hub.start()
        before = len(server.messages())
        measure(hub, 20)
        wait_until(lambda: server.messages()[before:], "the end of it")
        last = server.messages()[before]
        assert last["text"].startswith("✅ ")
        assert last["reply_parameters"]["message_id"] == told["number"]
        wait_until(lambda: server.messages()[0]["reply_markup"]["inline_keyboard"] == [], "the buttons to go")
        assert hub.metric("almenara_commands_total", verb="list") == 0  # nothing was heard twice
        assert "hidden" not in hub.said()


def test_an_order_that_was_done_when_the_hub_was_killed_is_not_done_twice(tmp_path: Path) -> None:
    with ours() as server, HubProcess(tmp_path / "data", config=CONFIG % (TOKEN, server.url)) as hub:
        measure(hub, 20)
        measure(hub, 35)
        wait_until(server.sent, "the alarm")
        server.refusals["sendMessage"] = [NEVER]
        server.says("ack 1 seal is worn for 2h")
        wait_until(lambda: incident(hub)["acknowledgement"], "the order to be done")
        wait_until(lambda: len(server.sent("sendMessage")) >= 2, "an answer that is not taken")
        hub.kill()
        before = len(server.sent("sendMessage"))
        hub.start()
        wait_until(lambda: server.sent("sendMessage")[before:], "the answer")
        taken = incident(hub)["acknowledgement"]
        assert taken["who"] == "@anna (Telegram)"
        assert taken["note"] == "seal is worn"
        assert taken["until_ms"] == (1_772_420_645 + 7200) * 1000
        wait_until(lambda: not server.waiting, "the order to be confirmed")
        assert len(server.sent("sendMessage")[before:]) == 1


def test_a_wrong_token_is_a_problem_of_the_hub_that_is_told_and_stops_nothing(tmp_path: Path) -> None:
    with ours() as server, HubProcess(tmp_path / "data", config=CONFIG % ("1:wrong", server.url)) as hub:
        (told,) = wait_until(lambda: hub.json("/api/v1/status")["problems"], "the problem")
        assert told.startswith("notifiers.ops: Telegram at 127.0.0.1")
        assert told.endswith("Unauthorized; is the token right?")
        measure(hub, 35)
        wait_until(lambda: incident(hub), "the incident")
        assert "1:wrong" not in hub.said() + told
