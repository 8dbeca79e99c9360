"""Tells of incidents in Telegram chats, with graph and buttons, and hears what people there ask and order.

It speaks Telegram's Bot API itself (core.telegram.org/bots/api). Texts go as they are, with ranges that are bold: there
is no markup that a label could break.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from almenara.model.alarm import Command, Notice, NoticeKind, Reply, State
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.time import NS
from almenara.notifiers._telegram_api import POLL_S, Api, ApiError
from almenara.notifiers._telegram_notes import Notes
from almenara.notifiers._telegram_text import CAPTION, Text, buttons, clean, cut, keyboard, told
from almenara.plugin.options import Secret

log = logging.getLogger(__name__)

#: Buttons below a message about an incident that is open: what they say, and what pressing them asks.
BUTTONS = (("Acknowledge", "ack {}"), ("Silence 1h", "silence {} 1h"), ("Graph", "graph {}"), ("Why", "why {}"))
#: Waits after a failure to ask for updates: the first, and the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
#: Servers that answer at once that there is nothing are not asked more often.
_LEAST_S = 0.25
#: An answer to a person is tried so often.
_ANSWER_TRIES = 3
_PHOTO_ERRORS = (400, 413)  # what the photo is to blame for; the text goes without it


class Telegram:
    """Tells of incidents in Telegram chats, with graph and buttons, and answers what people ask there.

    Options:
        token: What BotFather gave for the bot, `123456:ABC...`; as `env:NAME` or `file:PATH` it stays out of the file.
        chats: Ids of the chats that are told and that may ask; those of groups are negative.
        operators: Who may acknowledge and silence: numbers of users, or names such as "@anna". All others in the
            chats may only look.
        topic: Number of the topic of a forum to write to; 0 for none.
        answers: Whether people may ask. Of several notifiers with one token only one can.
        api: Address of the Bot API: Telegram's, or that of a server of your own.
        proxy: Proxy to reach it through, such as `http://proxy:3128`; empty for none.
        ca_file: PEM file of the authority that signed the server's certificate; empty: the usual ones.
        timeout_s: Longest time for one call.
    """

    shows_graph = True
    example = {"token": "1:example", "chats": [1]}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        token: Secret,
        chats: list[int],
        operators: list[int | str] | None = None,
        topic: int = 0,
        answers: bool = True,
        api: str = "https://api.telegram.org",
        proxy: Secret = Secret(""),
        ca_file: str = "",
        timeout_s: float = 10.0,
        folder: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not chats:
            raise ConfigError([Problem("chats", "is empty; expected the id of at least one chat")])
        self._api = Api(str(token), api, proxy=str(proxy), ca_file=ca_file, timeout_s=timeout_s)
        self._chats, self._topic, self._answers, self._clock = list(dict.fromkeys(chats)), topic, answers, clock
        self._operators = {str(one).removeprefix("@").lower() for one in operators or ()}
        self._folder = folder
        self._name = ""  # of the bot, once it is known
        self.problem = ""
        self.dropped: Counter[str] = Counter()

    @cached_property
    def _notes(self) -> Notes:
        """Read when they are first wanted: until then another one, of the configuration before, may write them."""
        return Notes(self._folder, self._api.bot)

    # --- telling

    async def notify(self, notice: Notice) -> None:
        """Tell every chat that does not have it yet; returns when all have.

        Raises NotifyError: worth another try where that may help any of them, and after the wait that Telegram asks.
        """
        notes, name = self._notes, f"{notice.id} {notice.kind} {notice.thread}"
        if notes.notice != name or notice.kind is NoticeKind.TEST:
            notes.notice, notes.told = name, []
        failed: list[NotifyError] = []
        for chat in self._chats:
            if chat in notes.told:
                continue
            try:
                await self._tell(chat, notice)
            except NotifyError as error:
                failed.append(error)
            else:
                notes.told.append(chat)
                await notes.keep()
        if failed:
            worth = [one for one in failed if one.retry] or failed
            raise NotifyError(
                "; ".join(dict.fromkeys(map(str, failed))),
                retry=worth[0].retry, retry_after_s=max(one.retry_after_s for one in worth),
            )  # fmt: skip

    async def _tell(self, chat: int, notice: Notice) -> None:
        now = self._notes.moved.get(str(chat), chat)
        try:
            await self._tell_at(now, notice)
        except ApiError as error:
            if not error.moved:
                raise
            log.warning("chat %d has become %d; write that into the configuration", chat, error.moved)
            self._notes.moved[str(chat)] = error.moved
            await self._tell_at(error.moved, notice)

    async def _tell_at(self, chat: int, notice: Notice) -> None:
        notes, thread = self._notes, notice.thread
        is_open = notice.incident.state is not State.RESOLVED and notice.kind not in _WITHOUT_BUTTONS
        fields: dict[str, Any] = {"message_thread_id": self._topic} if self._topic else {}
        if earlier := notes.sent.get(thread, {}).get(str(chat)):
            fields["reply_parameters"] = _answering(earlier[0])
        if is_open:
            fields["reply_markup"] = buttons(notice.incident.id, BUTTONS)
        number = await self._send(chat, notice, fields)
        if not thread or notice.kind in _WITHOUT_BUTTONS:
            return
        notes.note_sent(thread, chat, number)
        before = notes.move_buttons(thread, chat, number if is_open else 0)
        if before:
            await self._take_buttons(chat, before)

    async def _send(self, chat: int, notice: Notice, fields: Mapping[str, Any]) -> int:
        """The message, with its graph where there is one; the number of the one that has the text."""
        png, text = notice.graph_png, told(notice) or Text(notice.title)
        caption = told(notice, CAPTION) if png is not None else None
        if caption is not None:
            try:
                return await self._api.send("sendPhoto", chat, {**fields, **caption.fields("caption")}, png)
            except ApiError as error:
                if error.code not in _PHOTO_ERRORS or error.moved:
                    raise
                log.warning("the graph was not taken: %s", error)
                png = None
        number = await self._api.send("sendMessage", chat, {**fields, **text.fields()})
        if png is not None:
            more = {k: v for k, v in fields.items() if k != "reply_markup"} | {"reply_parameters": _answering(number)}
            try:
                await self._api.send("sendPhoto", chat, more, png)
            except NotifyError as error:  # the text has arrived: told again it would be there twice
                log.warning("the graph was not taken: %s", error)
        return number

    async def _take_buttons(self, chat: int, message: int) -> None:
        try:
            fields = {"chat_id": chat, "message_id": message, "reply_markup": buttons(0, ())}
            await self._api.call("editMessageReplyMarkup", fields)
        except NotifyError as error:  # a button that stays is answered, whatever has become of its incident
            log.info("buttons of message %d stay: %s", message, error)

    # --- hearing

    async def commands(self) -> AsyncIterator[Command]:
        """What people ask in the chats. What Telegram hands over is forgotten there only after it was done here."""
        offset, wait = 0, _FIRST_WAIT_S
        while self._answers:
            began = time.monotonic()
            try:
                await self._learn_name()
                updates = await self._updates(offset)
            except NotifyError as error:
                self._tell_problem(error)
                await asyncio.sleep(max(wait, min(error.retry_after_s, 3600)))
                wait = min(2 * wait, _LONGEST_WAIT_S)
                continue
            self.problem, wait = "", _FIRST_WAIT_S
            # Asked from the start again once they are confirmed: after a week of silence their numbers begin anew.
            offset = updates[-1]["update_id"] + 1 if updates else 0
            for update in updates:
                number = update["update_id"]
                if number in self._notes.done:
                    continue
                if (command := await self._heard(update)) is not None:
                    yield command
                await self._done(number)
            if not updates:
                await asyncio.sleep(max(0.0, _LEAST_S - (time.monotonic() - began)))

    async def _learn_name(self) -> None:
        if not self._name:
            me = await self._api.call("getMe", {})
            self._name = str(me.get("username", "")).lower() if isinstance(me, dict) else ""

    async def _updates(self, offset: int) -> list[dict[str, Any]]:
        fields: dict[str, Any] = {"timeout": POLL_S, "allowed_updates": ["message", "callback_query"]}
        found = await self._api.call("getUpdates", fields | ({"offset": offset} if offset else {}), more_s=POLL_S)
        known = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [one for one in known if isinstance(one.get("update_id"), int)]

    def _tell_problem(self, error: NotifyError) -> None:
        text = str(error)
        if isinstance(error, ApiError) and error.code == 409:
            text += "; only one program can hear what is asked of a bot: give each a bot of its own, or answers = false"
        elif isinstance(error, ApiError) and error.code in (401, 404):
            text += "; is the token right?"
        if text != self.problem:
            log.warning("%s", text)
        self.problem = text

    async def _done(self, number: int) -> None:
        if number not in self._notes.done:
            self._notes.done.append(number)
            self._notes.pressed.pop(str(number), None)
            await self._notes.keep()

    async def _heard(self, update: Mapping[str, Any]) -> Command | None:
        """The command in an update, if it is one and comes from where it may."""
        pressed = _table(update.get("callback_query"))
        message = _table(pressed.get("message") if pressed else update.get("message"))
        chat, sender = _table(message.get("chat")), _table((pressed or message).get("from"))
        id, text = chat.get("id"), pressed.get("data") if pressed else message.get("text")
        if pressed:
            await self._stop_waiting(pressed)
        if not isinstance(id, int) or not isinstance(text, str):
            self.dropped["no text"] += 1
            return None
        if id not in self._chats and id not in self._notes.moved.values():
            await self._send_away(id)
            return None
        asked = text if pressed else self._addressed(text, message, chat)
        if not asked:
            self.dropped["not to the bot"] += 1
            return None
        verb, _, args = asked.partition(" ")
        about = _table(message.get("reply_to_message")).get("message_id")
        when = await self._asked_at(update["update_id"], None if pressed else message.get("date"))
        return Command(
            _name_of(sender), verb.lower(), args.strip(), self._may_act(sender),
            self._reply_to(id, message, update["update_id"]),
            time=when,
            incident=self._notes.incident_of(id, about) if isinstance(about, int) else 0,
        )  # fmt: skip

    async def _asked_at(self, update: int, date: Any) -> int:
        """When something was asked, ns. Of a pressed button Telegram does not say it: then when it was first heard,
        also where it comes again after kill -9."""
        if isinstance(date, int):
            return min(date * NS, self._clock())
        times = self._notes.pressed
        if str(update) not in times:
            times[str(update)] = self._clock()
            await self._notes.keep()
        return times[str(update)]

    def _addressed(self, text: str, message: Mapping[str, Any], chat: Mapping[str, Any]) -> str:
        """What is asked of this bot; empty where people in a group speak to each other, or to another bot."""
        text = " ".join(text.split())
        first, _, rest = text.partition(" ")
        verb, _, to = first.partition("@")
        if first.startswith("/"):
            return f"{verb[1:]} {rest}".strip() if to.lower() in ("", self._name) else ""
        if to.lower() == self._name and not verb:  # "@bot status"
            return rest
        answered = _table(_table(message.get("reply_to_message")).get("from"))
        is_to_bot = str(answered.get("username", "")).lower() == self._name
        return text if chat.get("type") == "private" or is_to_bot else ""

    def _may_act(self, sender: Mapping[str, Any]) -> bool:
        names = {str(sender.get("id", "")), str(sender.get("username", "")).lower()} - {""}
        return bool(names & self._operators)

    async def _stop_waiting(self, pressed: Mapping[str, Any]) -> None:
        """The button was pressed, says the phone, until it is told that this was heard."""
        try:
            await self._api.call("answerCallbackQuery", {"callback_query_id": str(pressed.get("id", ""))})
        except NotifyError as error:  # too old, for one; the answer itself comes as a message
            log.info("a pressed button was not confirmed: %s", error)

    async def _send_away(self, chat: int) -> None:
        """A stranger is told the id of the chat, which is what an administrator needs to let them in; once."""
        self.dropped["stranger"] += 1
        if chat in self._notes.strangers or self._notes.is_full_of_strangers:
            return
        self._notes.strangers.append(chat)
        await self._notes.keep()
        try:
            await self._api.send("sendMessage", chat, {"text": f"This chat may not ask here. Its id is {chat}."})
        except NotifyError as error:
            log.info("a stranger was not answered: %s", error)

    # --- answering

    def _reply_to(self, chat: int, message: Mapping[str, Any], update: int) -> Callable[[Reply], Any]:
        fields: dict[str, Any] = {}
        if isinstance(number := message.get("message_id"), int):
            fields["reply_parameters"] = _answering(number)
        if message.get("is_topic_message") and isinstance(topic := message.get("message_thread_id"), int):
            fields["message_thread_id"] = topic

        async def reply(answer: Reply) -> None:
            await self._answer(chat, fields, answer)
            await self._done(update)

        return reply

    async def _answer(self, chat: int, fields: Mapping[str, Any], answer: Reply) -> None:
        """Send an answer; one that does not arrive is told in the log, since whoever asked can ask again."""
        text = cut(clean(answer.text).split("\n")) or "-"
        if answer.choices:
            fields = {**fields, "reply_markup": keyboard(answer.choices)}
        for tries in range(1, _ANSWER_TRIES + 1):
            try:
                if answer.graph_png is not None and (caption := Text(text).fits(CAPTION)):
                    await self._api.send("sendPhoto", chat, {**fields, **caption.fields("caption")}, answer.graph_png)
                    return
                await self._api.send("sendMessage", chat, {**fields, "text": text})
                if answer.graph_png is not None:
                    await self._api.send("sendPhoto", chat, {}, answer.graph_png)
                return
            except NotifyError as error:
                if not error.retry or tries == _ANSWER_TRIES:
                    log.warning("an answer did not arrive: %s", error)
                    return
                await asyncio.sleep(min(max(error.retry_after_s, tries), _LONGEST_WAIT_S))

    # --- life

    async def check(self) -> None:
        """Does Telegram know the bot, and the bot the chats? Raises NotifyError."""
        await self._api.call("getMe", {})
        for chat in self._chats:
            await self._api.call("getChat", {"chat_id": self._notes.moved.get(str(chat), chat)})

    async def close(self) -> None:
        """Close connections that were kept open."""
        await self._api.close()


_WITHOUT_BUTTONS = (NoticeKind.TEST, NoticeKind.DIGEST)


def _answering(message: int) -> dict[str, Any]:
    return {"message_id": message, "allow_sending_without_reply": True}


def _table(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def _name_of(sender: Mapping[str, Any]) -> str:
    """How the journal names somebody: by a name that is theirs alone, or with the number of the user."""
    if username := sender.get("username"):
        return f"@{username} (Telegram)"
    names: Sequence[str] = [str(sender[key]) for key in ("first_name", "last_name") if sender.get(key)]
    return clean(f"{' '.join(names)[:80]} (Telegram {sender.get('id', '?')})".strip())
