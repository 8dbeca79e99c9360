"""SenML (RFC 8428), the lists of measurements of CoAP and LwM2M devices, as JSON and as CBOR.

Standard: https://www.rfc-editor.org/rfc/rfc8428
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from almenara.codecs._bounds import check_count
from almenara.codecs._json_text import load
from almenara.codecs._senml_units import QUANTITY
from almenara.model.batch import Batch, Decoded, Event, Rejected
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import MAX_KEY_BYTES, Metadata, Series, SeriesTable, encode_key, label_name, metric_name
from almenara.model.time import NS
from almenara.plugin.contracts import Context

#: Labels of CBOR maps (RFC 8428, table 4).
_CBOR = {-1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs", 0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb"}
_CBOR |= {5: "s", 6: "t", 7: "ut", 8: "vd"}
_VERSION = 10
#: Seconds below this are counted from now, others from 1970.
_RELATIVE = 1 << 28
_MAX_RECORDS = 1_000_000
_MOST_CBOR_BYTES = 4 << 20  # each of which may be an object
_MAX_SERIES = 200_000
_DEVICE = re.compile(r"(urn:dev:[^:]+:[^:/_;]+)[:/_;]*(.*)", re.DOTALL)
_PLACE = re.compile(r"(.*)[/:](.*)", re.DOTALL)


class Senml:
    """SenML as JSON or CBOR, whole packs and streams: a record becomes a series named after what it measures.

    `[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1}]` becomes
    `voltage{device="urn:dev:ow:10e2073a01080063"}`: a name is parted after its last `:` or `/`, after the
    identifier of a `urn:dev:`. A record whose name is only a device is named after the quantity of its unit, such as
    `temperature` for Cel. Booleans are 0 and 1; a sum becomes the counter `voltage_sum`; units are metadata. Times are
    exact to a microsecond; those below 2**28 s count from the time of receipt. Update times are not used.

    Rejected by name: `string_field` (a text, unless `texts` says otherwise), `data_field`, `no_value`, `no_name`,
    `bad_record`, `bad_time`, `not_finite`, `key_too_long`, `not_utf8`.

    Options:
        texts: What becomes of text values: reject; state: `mode{mode="heat"}` with the value 1; event.
        device_label: The label that gets the device.
        topic_label: The label that gets the topic; empty for none.
        form: What `encode` writes; both are read.
    """

    def __init__(
        self,
        *,
        texts: Literal["reject", "state", "event"] = "reject",
        device_label: str = "device",
        topic_label: str = "",
        form: Literal["json", "cbor"] = "json",
    ):
        self._texts, self._form = texts, form
        self._device, self._topic = label_name(device_label), label_name(topic_label) if topic_label else ""
        self._table = SeriesTable()

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all records; DecodeError where the payload is no pack, or one of a later version."""
        if len(self._table) > _MAX_SERIES:
            self._table = SeriesTable()
        if not payload.strip():
            return Decoded(Batch.of(()))
        pack = _Pack(self, context)
        check_count(payload, b"{") if _is_json(payload, context) else _check_cbor(payload)
        for number, record in enumerate(_records(payload, context)):
            pack.add(number, record)
        return Decoded(
            Batch(self._table, pack.id, pack.time, pack.value), pack.events, pack.rejections(), pack.metadata
        )

    def key(self, name: str, labels: Mapping[str, str] | None, unit: str, topic: str, suffix: str = "") -> bytes:
        """The key of the series of a resolved name. Raises UnicodeEncodeError."""
        found = {label_name(key): text for key, text in (labels or {}).items()}
        if self._topic:
            found[self._topic] = topic
        if labels is None:
            parted = _DEVICE.fullmatch(name) or _PLACE.fullmatch(name)
            device, name = (parted[1], parted[2]) if parted else ("", name)
            found[self._device] = device
            name = name or QUANTITY.get(unit, unit) or "value"
        return encode_key(metric_name(name + suffix), found)

    def intern(self, key: bytes) -> int:
        """The id of a series."""
        return self._table.intern(key)

    @property
    def texts(self) -> str:
        """What becomes of text values."""
        return self._texts

    def encode(self, batch: Batch) -> bytes:
        """One record a row; labels, for which SenML has no place, stand in a field `labels` that others ignore.

        Left out: rows that are not finite. Times are rounded to a microsecond."""
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        records = []
        for id, time, value in rows:
            if math.isfinite(value):
                series = batch.series[id]
                about = {"labels": dict(series.labels)} if series.labels or not series.name.isalnum() else {}
                records.append({"n": series.name, "t": round(time / 1000) / 1e6, "v": float(value), **about})
        if self._form == "json":
            return json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode()
        numbers = {name: number for number, name in _CBOR.items()}
        return _cbor().dumps([{numbers.get(key, key): value for key, value in one.items()} for one in records])


class _Pack:
    """One pack while it is read: what is in force (its base), and what came of it."""

    def __init__(self, codec: Senml, context: Context):
        self._codec, self._context = codec, context
        self._base: dict[str, Any] = {"bn": "", "bt": 0, "bu": "", "bv": 0, "bs": 0}
        self._rejected: dict[str, Rejected] = {}
        self.id, self.time, self.value = array("i"), array("q"), array("d")
        self.events: list[Event] = []
        self.metadata: dict[bytes, Metadata] = {}

    def rejections(self) -> list[Rejected]:
        """What was left out, one a reason."""
        return list(self._rejected.values())

    def _reject(self, number: int, reason: str, detail: str = "") -> None:
        known = self._rejected.get(reason)
        rows = known.rows + 1 if known else 1
        where, detail = (known.where, known.detail) if known else (f"record {number}", detail[:80])
        self._rejected[reason] = Rejected(where, reason, rows, detail)

    def add(self, number: int, record: Any) -> None:
        """Take one record."""
        record, sent = _checked(record), record
        if record is None:
            self._reject(number, "bad_record", f"found {str(sent)[:40]!r}")
            return
        self._check(number, record)
        base = self._base
        base.update({key: record[key] for key in base.keys() & record.keys()})
        name, unit = base["bn"] + record.get("n", ""), record.get("u", base["bu"])
        if not name:
            self._reject(number, "no_name")
            return
        time = self._time(base["bt"], record.get("t", 0))
        if time is None:
            self._reject(number, "bad_time")
            return
        try:
            self._values(number, record, name, unit, time)
        except UnicodeEncodeError:
            self._reject(number, "not_utf8")

    def _check(self, number: int, record: dict[str, Any]) -> None:
        for key in record:
            if isinstance(key, str) and key.endswith("_"):
                raise DecodeError(f"record {number}: the field {key[:40]!r} must be understood, and is not")
        if record.get("bver", _VERSION) > _VERSION:
            raise DecodeError(f"record {number}: found SenML version {record['bver']}, expected at most {_VERSION}")

    def _time(self, base: float, time: float) -> int | None:
        seconds = base + time
        if not math.isfinite(seconds) or abs(seconds) >= 9.2e9:
            return None
        ns = int(base) * NS + int(time) * NS if base == int(base) and time == int(time) else round(seconds * 1e6) * 1000
        return ns + self._context.received_ns if seconds < _RELATIVE else ns

    def _values(self, number: int, record: dict[str, Any], name: str, unit: str, time: int) -> None:
        labels, topic = record.get("labels"), self._context.topic
        found, key = False, self._codec.key(name, labels, unit, topic)
        if "v" in record:
            found = self._row(number, key, time, record["v"] + self._base["bv"], Metadata(unit))
        elif "vb" in record:
            found = self._row(number, key, time, float(record["vb"]), Metadata(unit, "state"))
        elif "vs" in record:
            found = self._text(number, key, time, record["vs"])
        elif "vd" in record:
            found = True
            self._reject(number, "data_field")
        if "s" in record:
            key = self._codec.key(name, labels, unit, topic, "_sum" if name[-1:] not in "/:" else "sum")
            about = Metadata(f"{unit}*s" if unit else "", "counter")
            self._row(number, key, time, record["s"] + self._base["bs"], about)
        elif not found and not record.keys() & {"bn", "bt", "bu", "bv", "bs", "bver"}:
            self._reject(number, "no_value")

    def _row(self, number: int, key: bytes, time: int, value: float, about: Metadata) -> bool:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self._reject(number, "not_finite")
        elif len(key) > MAX_KEY_BYTES:
            self._reject(number, "key_too_long", f"found {len(key)} bytes")
        else:
            self.id.append(self._codec.intern(key))
            self.time.append(time)
            self.value.append(value)
            if about.unit or about.kind:
                self.metadata[key] = about
        return True

    def _text(self, number: int, key: bytes, time: int, text: str) -> bool:
        series = Series.from_key(key)
        if self._codec.texts == "state":
            state = encode_key(series.name, {**dict(series.labels), label_name(series.name): text})
            return self._row(number, state, time, 1.0, Metadata("", "state"))
        if self._codec.texts == "event":
            self.events.append(Event(time, (("event", series.name), *series.labels), text))
        else:
            self._reject(number, "string_field", f"found {text[:40]!r}")
        return True


def _records(payload: bytes, context: Context) -> list[Any]:
    """The records of a pack, their CBOR labels as in JSON. Raises DecodeError."""
    is_json = _is_json(payload, context)
    try:
        found = _json_records(payload) if is_json else _cbor_records(payload)
    except ValueError as error:
        kind = "JSON" if is_json else "CBOR"
        raise DecodeError(f"no SenML as {kind} ({str(error)[:80]}); found {payload[:24]!r}") from error
    if not isinstance(found, list) or len(found) > _MAX_RECORDS:
        raise DecodeError(f"found {type(found).__name__}, expected a list of at most {_MAX_RECORDS} records")
    return found


def _is_json(payload: bytes, context: Context) -> bool:
    media = context.content_type.lower()
    return "json" in media or ("cbor" not in media and not 0x80 <= payload[0] <= 0x9F)  # which begin a CBOR list


def _check_cbor(payload: bytes) -> None:
    """CBOR has no marks to count. Raises DecodeError."""
    if len(payload) > _MOST_CBOR_BYTES:
        raise DecodeError(f"found {len(payload)} bytes of CBOR, expected at most {_MOST_CBOR_BYTES}")


def _json_records(payload: bytes) -> Any:
    try:
        return load(payload)
    except ValueError:
        text = payload.strip()  # a stream (application/sensml+json) may be cut after any record
        if not text.startswith(b"["):
            raise
        return load(text.rstrip(b",") + b"]")


def _cbor_records(payload: bytes) -> Any:
    cbor = _cbor()
    try:
        try:
            found = cbor.loads(payload)
        except cbor.CBORDecodeEOF:
            if payload[:1] != b"\x9f":  # a stream is a list without end
                raise
            found = cbor.loads(payload + b"\xff")
    except (cbor.CBORDecodeError, ValueError, OverflowError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(found, list):
        return found
    return [_named(one) for one in found]


def _named(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    return {_CBOR.get(key, key) if isinstance(key, int) else key: value for key, value in record.items()}


def _cbor() -> Any:
    try:
        import cbor2
    except ImportError as error:
        raise MissingExtra("SenML as CBOR", "hub") from error
    return cbor2


_TEXTS, _NUMBERS = ("bn", "bu", "n", "u", "vs"), ("bt", "bv", "bs", "v", "s", "t")


def _checked(record: Any) -> dict[str, Any] | None:
    """A record whose fields have the types of the standard, with plain numbers; None where they have not."""
    if not isinstance(record, dict):
        return None
    found = dict(record)
    for key in _NUMBERS:
        if key in record:
            if isinstance(record[key], bool) or not isinstance(record[key], int | float | Decimal | Fraction):
                return None
            found[key] = _plain(record[key])
    labels = record.get("labels", {})
    right = all(isinstance(record.get(key, ""), str) for key in _TEXTS)
    right &= isinstance(record.get("vb", True), bool) and type(record.get("bver", 1)) is int
    right &= isinstance(labels, dict) and all(isinstance(text, str) for pair in labels.items() for text in pair)
    return found if right else None


def _plain(number: Any) -> int | float:
    try:
        return number if isinstance(number, int) and abs(number) < 1 << 63 else float(number)
    except OverflowError:
        return math.inf
