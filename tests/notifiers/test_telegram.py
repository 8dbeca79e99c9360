"""Rules of the Telegram notifier, against telegram-test-api and, where that cannot, a server of our own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almenara.model.alarm import Command, Fact, Notice, NoticeKind, Reply, State
from almenara.model.errors import ConfigError, NotifyError
from almenara.notifiers import _telegram_api
from almenara.notifiers._telegram_text import CAPTION, MESSAGE, cut, told, units
from almenara.notifiers.telegram import Telegram
from almenara.plugin.options import Secret
from almenara.testing.alarms import incident, notice
from notifiers.telegram_servers import RIGHT, TOKEN, Ours, theirs

PNG = b"\x89PNG\r\n\x1a\n" + b"graph"
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_telegram_api, "CHAT_S", 0.0)


def bot(url: str, folder: Path | None = None, **options: Any) -> Telegram:
    given: dict[str, Any] = {"chats": [1], "operators": ["@Anna"]} | options
    return Telegram(token=Secret(TOKEN), api=url, folder=folder, **given)


def run(story: Callable[[Ours], Awaitable[None]]) -> Ours:
    ours = Ours()

    async def main() -> None:
        async with ours.serving(), asyncio.timeout(DEADLINE_S):
            await story(ours)

    asyncio.run(main())
    return ours


async def hear(one: Telegram, wanted: int, answer: str = "as you say") -> list[Command]:
    """The next commands, each answered, and confirmed."""
    found: list[Command] = []
    async with aclosing(one.commands()) as commands:  # type: ignore[type-var]
        async for command in commands:
            found.append(command)
            await command.reply(Reply(answer))
            if len(found) == wanted:
                return found
    return found


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0.01)


def tell(*notices: Notice, folder: Path | None = None, **options: Any) -> Ours:
    async def story(ours: Ours) -> None:
        one = bot(ours.url, folder, **options)
        for each in notices:
            await one.notify(each)
        await one.close()

    return run(story)


# --- telling


@pytest.mark.real("node", "telegram-test-api")
def test_an_incident_is_told_with_its_graph_and_buttons_which_go_when_it_is_resolved() -> None:
    with theirs() as server:

        async def story() -> None:
            one = bot(server.url)
            await one.notify(notice(graph_png=PNG))
            await one.notify(notice(incident(State.RESOLVED), id=2))
            await one.close()

        asyncio.run(story())
        first, second = server.messages()
    assert first["caption"].startswith(
        "🔴 Major: processors of 2 hosts are busier than usual\nSince: 03:04, a minute ago"
    )
    assert first["photo"] == {"bytes": len(PNG), "begins": PNG[:8].hex()}
    assert first["reply_markup"]["inline_keyboard"] == []
    assert second["text"].startswith("✅ ")
    assert second["reply_parameters"]["message_id"] == first["number"]


def test_buttons_ask_about_their_incident_and_only_the_newest_message_has_them() -> None:
    ours = tell(notice(), notice(kind=NoticeKind.UPDATE, id=2))
    first, second = ours.sent()
    keys = [key["callback_data"] for row in first["reply_markup"]["inline_keyboard"] for key in row]
    assert keys[0] == "ack 7"
    assert "graph 7" in keys
    assert "why 7" in keys
    assert second["reply_parameters"] == {"message_id": 101, "allow_sending_without_reply": True}
    (edited,) = ours.sent("editMessageReplyMarkup")
    assert edited == {"chat_id": 1, "message_id": 101, "reply_markup": {"inline_keyboard": []}}


def test_answers_go_to_the_first_message_also_after_a_restart(tmp_path: Path) -> None:
    async def story(ours: Ours) -> None:
        for each in (notice(), notice(kind=NoticeKind.REPEAT, id=2), notice(incident(State.RESOLVED), id=3)):
            one = bot(ours.url, tmp_path)
            await one.notify(each)
            await one.close()

    ours = run(story)
    assert [m.get("reply_parameters", {}).get("message_id") for m in ours.sent()] == [None, 101, 101]
    assert [m["message_id"] for m in ours.sent("editMessageReplyMarkup")] == [101, 102]


def test_every_chat_is_told_and_a_topic_where_one_is_set() -> None:
    ours = tell(notice(), chats=[1, -5], topic=9)
    assert [(m["chat_id"], m["message_thread_id"]) for m in ours.sent()] == [(1, 9), (-5, 9)]


def test_of_chats_that_were_told_none_is_told_again_when_another_failed(tmp_path: Path) -> None:
    async def story(ours: Ours) -> None:
        one = bot(ours.url, tmp_path, chats=[1, 2])
        ours.refusals["sendMessage"] = [RIGHT, (500, {"description": "Internal"})]
        with pytest.raises(NotifyError) as error:
            await one.notify(notice())
        assert error.value.retry
        await one.close()
        again = bot(ours.url, tmp_path, chats=[1, 2])
        await again.notify(notice())
        await again.notify(notice())  # confirmed by nobody yet, as after kill -9
        await again.close()

    assert [m["chat_id"] for m in run(story).sent()] == [1, 2, 2]


def test_a_wait_that_telegram_asks_for_is_told_and_kept() -> None:
    async def story(ours: Ours) -> None:
        ours.refusals["sendMessage"] = [(429, {"description": "Too Many", "parameters": {"retry_after": 100}})]
        one = bot(ours.url)
        for _ in range(2):  # the second time nobody is asked
            with pytest.raises(NotifyError) as error:
                await one.notify(notice())
            assert error.value.retry
            assert 95 < error.value.retry_after_s <= 100
        await one.close()

    assert len(run(story).sent()) == 1


@pytest.mark.parametrize(("code", "retry"), [(400, False), (403, False), (500, True), (502, True)])
def test_only_what_may_pass_is_tried_again(code: int, retry: bool) -> None:
    async def story(ours: Ours) -> None:
        ours.refusals["sendMessage"] = [(code, {"description": "Nobody there"})]
        one = bot(ours.url)
        with pytest.raises(NotifyError, match=f"{code} Nobody there") as error:
            await one.notify(notice())
        assert error.value.retry is retry
        await one.close()

    run(story)


def test_a_group_that_got_another_id_is_followed(tmp_path: Path) -> None:
    async def story(ours: Ours) -> None:
        moved = {"description": "upgraded", "parameters": {"migrate_to_chat_id": -1007}}
        ours.refusals["sendMessage"] = [(400, moved)]
        one = bot(ours.url, tmp_path, chats=[-7])
        await one.notify(notice())
        await one.notify(notice(id=2))
        ours.says("/list", chat=-1007, kind="supergroup")
        assert [c.verb for c in await hear(one, 1)] == ["list"]
        await one.close()

    assert [m["chat_id"] for m in run(story).sent()] == [-7, -1007, -1007, -1007]


def test_the_text_goes_without_a_graph_that_is_not_taken() -> None:
    async def story(ours: Ours) -> None:
        ours.refusals["sendPhoto"] = [(400, {"description": "PHOTO_INVALID_DIMENSIONS"})]
        one = bot(ours.url)
        await one.notify(notice(graph_png=PNG))
        await one.close()

    ours = run(story)
    assert [method for method, _ in ours.heard] == ["sendPhoto", "sendMessage"]


def test_what_is_too_long_for_a_caption_is_a_message_and_a_photo_that_answers_it() -> None:
    long = replace(notice(graph_png=PNG), facts=tuple(Fact(f"host {i}", "x" * 60) for i in range(30)))
    text, photo = tell(long).sent()
    assert text["text"].count("\n") == 31
    assert "reply_markup" in text
    assert photo["photo"] == PNG
    assert photo["reply_parameters"]["message_id"] == 101
    assert "reply_markup" not in photo


def test_what_is_too_long_for_a_message_is_cut_at_a_line_and_says_so() -> None:
    long = replace(notice(), facts=tuple(Fact(f"host {i}", "é😀" * 20) for i in range(200)))
    (sent,) = tell(long).sent()
    lines = sent["text"].split("\n")
    kept = len(lines) - 3
    assert lines[-1] == "https://hub.example/alarms?incident=7"
    assert lines[-2] == f"... and {200 - kept} more lines"
    assert all(line.endswith("é😀" * 20) for line in lines[1:-2])
    assert 4000 < units(sent["text"]) <= MESSAGE


def test_a_message_a_second_goes_to_a_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_telegram_api, "CHAT_S", 0.2)
    pace, waited = _telegram_api.Pace(), []

    async def sleep(seconds: float) -> None:
        waited.append(round(seconds, 1))

    monkeypatch.setattr(_telegram_api.asyncio, "sleep", sleep)

    async def story() -> None:
        for _ in range(3):
            await pace.turn(1)

    asyncio.run(story())
    assert waited == [0.0, 0.2, 0.4]


def test_a_group_gets_twenty_messages_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        pace = _telegram_api.Pace()
        for _ in range(20):
            await pace.turn(-1)
        with pytest.raises(NotifyError) as error:
            await pace.turn(-1)
        assert error.value.retry
        assert 50 < error.value.retry_after_s <= 60
        await pace.turn(1)

    monkeypatch.setattr(_telegram_api, "ALL_S", 0.0)
    asyncio.run(story())


# --- any text


TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


@given(TEXT, st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_any_text_arrives_as_it_is(title: str, facts: list[tuple[str, str]]) -> None:
    given = replace(notice(), title=title, facts=tuple(Fact(name, text) for name, text in facts))
    found = told(given)
    assert found is not None
    sent = json.loads(json.dumps(found.fields()).encode())  # as the server reads it
    assert "\ufffd" in sent["text"] or title in sent["text"]
    for entity in sent.get("entities", ()):
        wide = sent["text"].encode("utf-16-le")
        bold = wide[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le")
        assert bold == title or "\ufffd" in bold or not title


@pytest.mark.real("node", "telegram-test-api")
@pytest.mark.parametrize(
    "label", ["<b>&amp;</b>", "*_`[x](y)~|", "😀🔥 मुंबई", "a\tb\x00\x1b[0m", '"}]}', "/start @all http://x"]
)
def test_markup_emoji_and_control_characters_break_nothing(label: str) -> None:
    with theirs() as server:

        async def story() -> None:
            one = bot(server.url)
            await one.notify(replace(notice(), title=label))
            await one.notify(replace(notice(graph_png=PNG), title=label, id=2))
            await one.close()

        asyncio.run(story())
        first, second = server.messages()
    assert first["text"].split("\n")[0] == f"🔴 {label}"
    assert second["caption"].split("\n")[0] == f"🔴 {label}"


@given(st.lists(TEXT.filter(lambda text: "\n" not in text), min_size=1, max_size=30), st.integers(200, 2000))
def test_a_cut_text_is_never_too_long_and_says_what_is_missing(lines: list[str], limit: int) -> None:
    found = cut(lines, limit, "http://hub")
    assert units(found) <= limit
    assert found.endswith("http://hub")
    assert found == "\n".join([*lines, "http://hub"]) or " more line" in found or "..." in found


def test_a_caption_is_whole_or_there_is_none() -> None:
    assert told(replace(notice(), title="x" * 2000), CAPTION) is None
    long = told(replace(notice(), title="x" * 9000))
    assert long is not None
    assert units(long.text) <= MESSAGE


# --- hearing


@pytest.mark.real("node", "telegram-test-api")
def test_what_is_typed_and_what_is_pressed_are_commands_and_are_answered() -> None:
    with theirs() as server:

        async def story() -> list[Command]:
            one = bot(server.url)
            await one.notify(notice())
            server.says("STATUS  flow P-101")
            server.presses("ack 7", server.messages()[0]["number"])
            found = await hear(one, 2)
            await one.close()
            return found

        asked, pressed = asyncio.run(story())
        answers = [m["text"] for m in server.messages()[1:]]
    assert (asked.verb, asked.args, asked.who, asked.may_act) == ("status", "flow P-101", "@anna (Telegram)", True)
    assert (pressed.verb, pressed.args) == ("ack", "7")
    assert answers == ["as you say", "as you say"]


def test_whoever_is_no_operator_may_only_look() -> None:
    async def story(ours: Ours) -> None:
        for operators, expected in ((["@ANNA"], True), ([77], True), (["anna2", 7], False), ([], False)):
            one = bot(ours.url, operators=operators)
            ours.says("list")
            (command,) = await hear(one, 1)
            assert command.may_act is expected
            ours.waiting.clear()
            await one.close()

    run(story)


def test_a_strange_chat_is_told_its_id_once_and_is_counted(tmp_path: Path) -> None:
    async def story(ours: Ours) -> None:
        for _ in range(2):
            one = bot(ours.url, tmp_path)
            for _ in range(3):
                ours.says("list", chat=666)
            ours.says("help")
            (command,) = await hear(one, 1)
            assert command.verb == "help"
            assert one.dropped["stranger"] == 3
            ours.waiting.clear()
            await one.close()

    strange = [m for m in run(story).sent() if m["chat_id"] == 666]
    assert [m["text"] for m in strange] == ["This chat may not ask here. Its id is 666."]


def test_an_answer_to_a_message_is_about_its_incident() -> None:
    async def story(ours: Ours) -> None:
        one = bot(ours.url)
        await one.notify(notice())
        ours.says("ack on my way", reply_to_message={"message_id": 101, "from": {"username": "almenara_bot"}})
        (command,) = await hear(one, 1)
        assert (command.verb, command.args, command.incident) == ("ack", "on my way", 7)
        await one.close()

    run(story)


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("/status@Almenara_bot cpu", "status"),
        ("/status cpu", "status"),
        ("@almenara_bot status cpu", "status"),
        ("/status@other_bot cpu", ""),
        ("status of the pump is fine", ""),
    ],
)
def test_in_a_group_only_what_is_said_to_the_bot_is_a_command(text: str, verb: str) -> None:
    async def story(ours: Ours) -> None:
        one = bot(ours.url, chats=[-3])
        ours.says(text, chat=-3, kind="group")
        ours.says("/end", chat=-3, kind="group")
        found = [command.verb for command in await hear(one, 2 if verb else 1)]
        assert found == ([verb, "end"] if verb else ["end"])
        await one.close()

    run(story)


def test_an_update_is_confirmed_only_after_it_was_acted_on() -> None:
    async def story(ours: Ours) -> None:
        one = bot(ours.url)
        number = ours.says("ack 7")
        async with aclosing(one.commands()) as commands:  # type: ignore[type-var]
            assert (await anext(commands)).verb == "ack"
            assert ours.offsets == [0]
            await asyncio.sleep(0)
            later = asyncio.create_task(anext(commands))  # type: ignore[arg-type, var-annotated]
            await until(lambda: number + 1 in ours.offsets)
            later.cancel()
            await asyncio.gather(later, return_exceptions=True)
        await one.close()

    run(story)


def test_what_was_acted_on_is_not_heard_again_by_the_next_process(tmp_path: Path) -> None:
    async def story(ours: Ours) -> None:
        one = bot(ours.url, tmp_path)
        ours.says("ack 7")
        ours.says("why 7")
        commands = one.commands()
        command = await anext(commands)  # type: ignore[arg-type]
        await command.reply(Reply("done"))  # and then the process is killed: nothing is confirmed
        await one.close()
        again = bot(ours.url, tmp_path)
        assert [c.verb for c in await hear(again, 1)] == ["why"]
        await again.close()
        assert len(ours.waiting) == 2

    run(story)


def test_what_was_not_acted_on_is_heard_again(tmp_path: Path) -> None:
    async def story(ours: Ours) -> None:
        times = []
        for _ in range(2):
            one = bot(ours.url, tmp_path)
            if not times:
                ours.says("ack 7 for 2h")
            times.append((await anext(one.commands())).time)  # type: ignore[arg-type]
            await one.close()
        assert times[0] == times[1] == 1_772_420_645 * 10**9  # so "for 2h" means the same

    run(story)


def test_another_reader_of_the_bot_is_a_problem_that_is_told_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.notifiers.telegram._FIRST_WAIT_S", 0.01)

    async def story(ours: Ours) -> None:
        ours.refusals["getUpdates"] = [(409, {"description": "Conflict: terminated by other getUpdates"})] * 3
        one = bot(ours.url)
        hearing = asyncio.create_task(hear(one, 1))
        await until(lambda: "only one program can hear" in one.problem)
        ours.says("list")
        assert len(await hearing) == 1
        assert one.problem == ""
        await one.close()

    run(story)


def test_a_wrong_token_is_a_problem_that_does_not_tell_it() -> None:
    async def story(ours: Ours) -> None:
        one = Telegram(token=Secret("1:wrong"), chats=[1], api=ours.url)
        hearing = asyncio.create_task(hear(one, 1))
        await until(lambda: one.problem)
        assert one.problem.endswith("401 Unauthorized; is the token right?")
        assert "wrong" not in one.problem
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        await one.close()

    run(story)


def test_a_server_that_goes_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.notifiers.telegram._FIRST_WAIT_S", 0.01)

    async def main() -> None:
        ours = Ours()
        async with ours.serving():
            pass
        one = bot(ours.url)
        hearing = asyncio.create_task(hear(one, 1))
        await until(lambda: "ConnectError" in one.problem)
        async with ours.serving():
            one._api._base = ours.url
            await one._api.close()
            ours.says("list")
            await hearing
        await one.close()

    asyncio.run(main())


def test_an_answer_waits_as_long_as_telegram_asks_and_offers_what_to_ask_next() -> None:
    async def story(ours: Ours) -> None:
        ours.refusals["sendMessage"] = [(429, {"parameters": {"retry_after": 0.01}, "description": "Too Many"})]
        one = bot(ours.url)
        ours.says("status flow")
        commands = one.commands()
        command = await anext(commands)  # type: ignore[arg-type]
        await command.reply(Reply("Which?\n" + "x\n" * 5000, PNG, ("status a", "status b")))
        await one.close()

    ours = run(story)
    refused, text, photo = ours.sent()
    assert refused == text
    assert units(text["text"]) <= MESSAGE
    assert text["text"].endswith("more lines")
    assert [row[0]["text"] for row in text["reply_markup"]["keyboard"]] == ["/status a", "/status b"]
    assert photo["photo"] == PNG


# --- secrets and mistakes


def test_the_token_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(ours: Ours) -> None:
        one = bot(ours.url)
        await one.notify(notice())
        ours.refusals["sendMessage"] = [(500, {})]
        with pytest.raises(NotifyError) as refused:
            await one.notify(notice(id=2))
        await one.close()
        gone = bot("http://127.0.0.1:9")
        with pytest.raises(NotifyError) as unreachable:
            await gone.notify(notice())
        said = [caplog.text, repr(one), *map(repr, (refused.value, unreachable.value, unreachable.value.__cause__))]
        assert not any("hidden" in text for text in said)
        assert "/sendMessage" in caplog.text  # it is told what was asked for

    run(story)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"chats": []}, "chats: is empty"), ({"api": "ftp://x"}, "api: must begin with http")],
)
def test_mistakes_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bot(**({"url": "http://127.0.0.1:9"} | options) if "api" not in options else {"url": options["api"]})
    with pytest.raises(ConfigError, match="token: must be as BotFather tells it") as error:
        Telegram(token=Secret("hidden/../x"), chats=[1])
    assert "hidden" not in str(error.value)
