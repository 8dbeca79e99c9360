"""A whole hub with Telegram: an alarm arrives with its buttons, a person answers, and the hub does it, once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.notifiers.telegram_servers import FIRST, NEVER, TOKEN, Ours, Theirs, ours, theirs

from almenara.testing.process import HubProcess, wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.real("node", "telegram-test-api")]

PNG = "89504e470d0a1a0a"
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


def said(message: dict[str, Any]) -> str:
    return str(message.get("text") or message["caption"])


def answers(server: Ours) -> list[str]:
    return [text for text in map(said, server.sent()) if "Taken on by" in text]


def answer(server: Theirs, say: Callable[[], None], wanted: str) -> dict[str, Any]:
    """What the bot answers next."""
    before = len(server.messages())
    say()
    found: dict[str, Any] = wait_until(lambda: server.messages()[before:], f"an answer with {wanted}")[0]
    assert wanted in said(found), found
    return found


def test_an_alarm_arrives_and_is_taken_on_with_a_button_also_after_a_reload(tmp_path: Path) -> None:
    with theirs() as server, HubProcess(tmp_path / "data", config=CONFIG % (TOKEN, server.url)) as hub:
        measure(hub, 20)
        measure(hub, 35)
        wait_until(server.messages, "the alarm")
        (told,) = server.messages()
        assert "temp (room=a)" in said(told)
        assert told["photo"]["begins"] == PNG
        assert told["reply_markup"]["inline_keyboard"][0][0] == {"text": "Acknowledge", "callback_data": "ack 1"}

        answer(server, lambda: server.presses("ack 1", told["number"]), "Taken on by @anna (Telegram)")
        assert incident(hub)["acknowledgement"]["who"] == "@anna (Telegram)"
        answer(server, lambda: server.says("WHY 1"), "acknowledged by @anna (Telegram)")
        drawn = answer(server, lambda: server.says("GRAPH temp 1h"), "temp (room=a): 1 hour up to now")
        assert drawn["photo"]["begins"] == PNG

        assert hub.post("/-/reload", b"")[0] == 200
        answer(server, lambda: server.says("LIST"), "taken on by @anna")
        server.says("LIST", chat=5)
        wait_until(lambda: server.messages(5), "a word to the stranger")
        assert server.messages(5)[0]["text"] == "This chat may not ask here. Its id is 5."

        before = len(server.messages())
        measure(hub, 20)
        wait_until(lambda: server.messages()[before:], "the end of it")
        last = server.messages()[before]
        assert said(last).startswith("✅ ")
        assert last["reply_parameters"]["message_id"] == told["number"]
        wait_until(lambda: server.messages()[0]["reply_markup"]["inline_keyboard"] == [], "the buttons to go")
        assert hub.metric("almenara_commands_total", verb="list") == 1  # nothing was heard twice
        assert "hidden" not in hub.said()


def test_an_order_that_was_done_when_the_hub_was_killed_is_not_done_twice(tmp_path: Path) -> None:
    with ours() as server, HubProcess(tmp_path / "data", config=CONFIG % (TOKEN, server.url)) as hub:
        measure(hub, 20)
        measure(hub, 35)
        wait_until(server.sent, "the alarm")
        server.refusals["sendMessage"] = [NEVER]
        server.says("ack 1 seal is worn for 2h", date=(asked := int(time.time())))
        wait_until(lambda: incident(hub)["acknowledgement"], "the order to be done")
        wait_until(lambda: answers(server), "an answer that is not taken")
        hub.kill()
        hub.start()
        wait_until(lambda: len(answers(server)) == 2, "the answer")
        taken = incident(hub)["acknowledgement"]
        assert taken["who"] == "@anna (Telegram)"
        assert taken["note"] == "seal is worn"
        assert taken["until_ms"] == (asked + 7200) * 1000
        wait_until(lambda: not server.waiting, "the order to be confirmed")
        measure(hub, 20)
        wait_until(lambda: said(server.sent()[-1]).startswith("✅ "), "the end of it")
        assert server.sent()[-1]["reply_parameters"]["message_id"] == FIRST
        assert len(answers(server)) == 2
