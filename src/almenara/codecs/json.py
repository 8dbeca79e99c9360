"""JSON as devices and scripts send it: an object of readings, a list of them, one a line, or a bare number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from almenara.codecs._json_general import FIELD, UNIT_NS, General, Naming
from almenara.codecs._json_records import DROP, EVENT, LABEL, MAX_WORD, STATE, TIME, VALUE, Rules
from almenara.model.batch import Batch, Decoded, DecodedMany
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import label_name
from almenara.plugin.contracts import Context, Packet

if TYPE_CHECKING:
    from almenara.codecs._json_fast import Fast

#: Payloads from this size on, and many at a time, go through the compiled reader.
_LARGE = 4096
#: Objects and lists of one payload, and values.
MAX_OBJECTS, MAX_VALUES = 500_000, 8_000_000


class Json:
    """JSON: numbers become values, texts labels, booleans 0 and 1; nested keys are joined with `_`.

    `{"id":"CITIMUM","temperature":20.04,"time":1700000000,"city":"Mumbai"}` on the topic `sensors/mumbai` becomes
    `temperature{city="Mumbai",id="CITIMUM",topic="sensors/mumbai"}` at that time. A list of objects is many records;
    those inside an object inherit its labels and time. A bare number (or true, false, ON, OFF) is named after the last
    level of the topic, or the one before `state`. Lists beside a list of times are columns:
    `{"city":"x","time":[1,2],"t":[20,21]}`.
    `{"metric":{"__name__":...,labels},"time":ns,"value":number}` is a row as `encode` writes it, where null
    stands for a value known to be missing; it gets no topic label.

    Rejected by name: `null`, `list` (of anything but objects), `not_finite`, `not_a_number`, `no_value`, `bad_time`,
    `too_deep`, `too_many_keys`, `too_many_labels`, `key_too_long`, `not_utf8`, `bad_json` (a line), `bad_row`; of
    columns also `uneven` and `no_column`.

    Options:
        time_keys: Keys of the time: a number, or a text such as 2026-05-01T12:00:00Z. Case does not matter.
        label_keys: Keys that are labels even where they hold a number.
        value_keys: If given, only these are values, even where they hold a number as text; other numbers are ignored.
        drop_keys: Keys to ignore.
        state_keys: Keys whose text is a state: "mode":"heat" becomes `mode{mode="heat"}` with the value 1.
        event_keys: Keys whose text is something that happened: it becomes an event, not a label.
        on_words: Texts that are the value 1, of up to 8 ASCII characters; case does not matter.
        off_words: Texts that are the value 0.
        texts: What other texts are: label, or ignore, where only those under label_keys are labels.
        strip: Beginnings of joined names that are left off, such as uplink_message_decoded_payload_.
        topic_label: The label that gets the topic; empty for none.
        name: Name of a series; {key}, {topic}, {level[0]}, {level[-1]} stand for the key, the topic and its levels.
        time_unit: Unit of numeric times; auto tells s, ms, us and ns by their size.
        zone: Time zone of texts without an offset, such as Europe/Berlin for Tasmota's local times.
    """

    def __init__(
        self,
        *,
        time_keys: Sequence[str] = ("time", "timestamp", "ts"),
        label_keys: Sequence[str] = ("id", "name", "device", "host"),
        value_keys: Sequence[str] = (),
        drop_keys: Sequence[str] = (),
        state_keys: Sequence[str] = (),
        event_keys: Sequence[str] = (),
        on_words: Sequence[str] = ("on", "true"),
        off_words: Sequence[str] = ("off", "false"),
        texts: Literal["label", "ignore"] = "label",
        strip: Sequence[str] = (),
        topic_label: str = "topic",
        name: str = "{key}",
        time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto",
        zone: str = "UTC",
    ):
        if "{" in FIELD.sub("", name) or "}" in FIELD.sub("", name):
            raise ValueError(f"name: found {name!r}, expected only {{key}}, {{topic}} and {{level[0]}} in braces")
        for word in (*on_words, *off_words):
            if not (word.isascii() and word[:1].isalpha() and len(word) <= MAX_WORD):
                raise ValueError(f"on_words, off_words: found {word!r}, expected up to {MAX_WORD} ASCII letters")
        words = {word.lower(): 1.0 for word in on_words} | {word.lower(): 0.0 for word in off_words}
        keys = {TIME: time_keys, LABEL: label_keys, VALUE: value_keys, DROP: drop_keys}
        rules = Rules(keys | {STATE: state_keys, EVENT: event_keys}, words, texts == "ignore")
        label = label_name(topic_label) if topic_label else ""
        self._general = General(rules, Naming(label, name, time_unit, _zone(zone), tuple(strip)))
        self._unit = UNIT_NS.get(time_unit, 0)
        self._fast: Fast | None = None
        self._has_fast = True  # until it has been looked for

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all records; DecodeError where the payload is no JSON, or a text alone."""
        if problem := _too_many(payload):
            raise DecodeError(f"{context.topic or 'payload'}: {problem}")
        fast = self._ready() if len(payload) >= _LARGE else None
        if fast is not None:
            return fast.read_one(payload, context)
        if self._general.full:
            self._forget()
        return self._general.decode(payload, context)

    def decode_many(self, packets: Sequence[Packet]) -> DecodedMany:
        """What `decode` gives of each payload, all at once."""
        fast = self._ready()
        if fast is None:
            raise MissingExtra("reading many JSON messages at once", "hub")
        wrong = {at: found for at, one in enumerate(packets) if (found := _too_many(one.payload))}
        if not wrong:
            return fast.read(packets)
        many = fast.read(packets, [b"" if at in wrong else one.payload for at, one in enumerate(packets)])
        told = {at: DecodeError(f"{packets[at].topic}: {found}") for at, found in wrong.items()}
        return replace(many, notes={**many.notes, **told})

    def _ready(self) -> Fast | None:
        """The compiled reader, where numpy and numba are."""
        if self._fast is None and self._has_fast:
            try:
                from almenara.codecs._json_fast import Fast

                self._fast = Fast(self._general, self._unit)
            except ImportError:
                self._has_fast = False
        if self._general.full or (self._fast is not None and self._fast.full):
            self._forget()
        return self._fast

    def _forget(self) -> None:
        self._general.forget()
        if self._fast is not None:
            self._fast.forget()

    def encode(self, batch: Batch) -> bytes:
        """One object a line: `{"metric":{"__name__":"temperature","city":"Mumbai"},"time":ns,"value":20.04}`."""
        heads = {int(id): _head(batch, id) for id in set(batch.id)}
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        return "".join(
            f'{heads[i]}{int(t)},"value":{"null" if v != v else repr(float(v))}}}\n' for i, t, v in rows
        ).encode()


def _too_many(payload: bytes) -> str:
    """Why a payload is not read: each value of a few bytes may cost a hundred as an object; empty where it is."""
    if len(payload) <= 2 * MAX_OBJECTS:
        return ""
    if payload.count(b"{") + payload.count(b"[") > MAX_OBJECTS:
        return f"found more than {MAX_OBJECTS} objects and lists; send smaller payloads"
    if payload.count(b",") > MAX_VALUES:
        return f"found more than {MAX_VALUES} values; send smaller payloads"
    return ""


def _zone(name: str) -> ZoneInfo | None:
    """A time zone, None for UTC. Raises ValueError."""
    if name.upper() in ("UTC", "Z", ""):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"zone: found {name!r}, expected a time zone such as Europe/Berlin") from error


def _head(batch: Batch, id: int) -> str:
    series = batch.series[id]
    metric = json.dumps({"__name__": series.name, **dict(series.labels)}, ensure_ascii=False, separators=(",", ":"))
    return f'{{"metric":{metric},"time":'
