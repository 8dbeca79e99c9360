"""The shapes of Alertmanager's API v2: what it takes and gives as JSON, its filters, and its words for mistakes.

Source: github.com/prometheus/alertmanager, api/v2/openapi.yaml; checked against a running one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from almenara.alarm.external import RESOLVE_NS, Alert, too_large
from almenara.alarm.silence import Silence, Stage, matchers_of
from almenara.model.errors import SilenceError
from almenara.model.time import NS, ns_from_iso
from almenara.query import Matcher

_MS = 1_000_000
_FILTER = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*", re.DOTALL)
_YES = frozenset({"true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"})


class Mistake(Exception):
    """A request that Alertmanager answers with an error: its status and its body, a text or an object."""

    def __init__(self, status: int, body: object):
        self.status, self.body = status, body
        super().__init__(str(body))


def coded(status: int, message: str, code: int = 0) -> Mistake:
    """A mistake of form: `{"code": ..., "message": ...}`."""
    return Mistake(status, {"code": code or status, "message": message})


# --- what comes in


def parsed(body: bytes, what: str, kind: type) -> Any:
    """The JSON value of a body. Raises Mistake."""
    if not body:
        raise coded(422, f"{what} in body is required", 602)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _unparsed(what, str(error)) from error
    if not isinstance(value, kind):
        raise _unparsed(what, f"expected {'an array' if kind is list else 'an object'}")
    return value


def _unparsed(what: str, why: str) -> Mistake:
    return coded(400, f'parsing {what} body from "" failed, because {why}')


def alerts_of(body: bytes, now: int) -> tuple[list[Alert], list[str]]:
    """The valid alerts of a body, and what is wrong with each other one. Raises Mistake for a body of another form."""
    given = parsed(body, "alerts", list)
    found, wrong = [], []
    for at, one in enumerate(given):
        alert = _alert_of(one, at, now)
        if problem := _problem(alert):
            wrong.append(problem)
        else:
            found.append(alert)
    return found, wrong


def _alert_of(one: Any, at: int, now: int) -> Alert:
    if not isinstance(one, dict):
        raise _unparsed("alerts", f"expected an object as alert {at}")
    if one.get("labels") is None:
        raise coded(422, f"{at}.labels in body is required", 602)
    labels, annotations = _texts(one, "labels"), _texts(one, "annotations")
    generator = _text(one, "generatorURL", "alerts")
    if generator and not _is_uri(generator):
        raise coded(422, f'{at}.generatorURL in body must be of type uri: "{generator}"', 601)
    starts, ends = (_time(one, key, "alerts") for key in ("startsAt", "endsAt"))
    return Alert(
        labels={name: value for name, value in labels.items() if value != ""},
        annotations=annotations,
        starts=starts or ends or now,
        ends=ends or now + RESOLVE_NS,
        updated=now,
        generator=generator,
        timeout=not ends,
    )


def _problem(alert: Alert) -> str:
    if alert.ends < alert.starts:
        return "start time must be before end time"
    if not alert.labels:
        return "at least one label pair required"
    for what, pairs in (("label set", alert.labels), ("annotations", alert.annotations)):
        if bad := [name for name in pairs if not name]:
            return f'invalid {what}: invalid name "{bad[0]}"'
    return too_large(alert)


def _texts(one: dict[str, Any], key: str) -> dict[str, str]:
    found = one.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _unparsed("alerts", f"{key} must be an object of texts")
    return found


def _text(one: dict[str, Any], key: str, what: str) -> str:
    found = one.get(key)
    if found is not None and not isinstance(found, str):
        raise _unparsed(what, f"{key} must be a text")
    return found or ""


def _time(one: dict[str, Any], key: str, what: str) -> int:
    """A time in ns; 0 where there is none, or Go's zero time."""
    text = _text(one, key, what)
    if not text:
        return 0
    try:
        return min(max(0, ns_from_iso(text)), 2**63 - 1)
    except (ValueError, OverflowError) as error:
        raise _unparsed(what, f'parsing time "{text[:100]}": expected RFC 3339') from error


def _is_uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme) or text.startswith("/")
    except ValueError:
        return False


def silence_of(body: bytes, now: int) -> Silence:
    """The silence that a body asks for. Raises Mistake, SilenceError."""
    one = parsed(body, "silence", dict)
    starts, ends = (_time(one, key, "silence") for key in ("startsAt", "endsAt"))
    texts = {key: _text(one, key, "silence") for key in ("id", "comment", "createdBy")}
    for key in ("comment", "createdBy", "endsAt", "matchers", "startsAt"):
        if one.get(key) is None:
            raise coded(422, f"{key} in body is required", 602)
    matchers = _matchers(one["matchers"])
    if starts >= ends:
        raise Mistake(400, "Failed to create silence: start time must be before end time")
    if ends < now:
        raise Mistake(400, "Failed to create silence: end time can't be in the past")
    return Silence(texts["id"], matchers, starts, ends, texts["createdBy"], texts["comment"])


def _matchers(given: Any) -> tuple[Matcher, ...]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise _unparsed("silence", "matchers must be an array of objects")
    if not given:
        raise coded(422, "matchers in body should have at least 1 items", 612)
    found = []
    for at, one in enumerate(given):
        for key, kind in (("isRegex", bool), ("name", str), ("value", str)):
            if one.get(key) is None:
                raise coded(422, f"matchers.{at}.{key} in body is required", 602)
            if not isinstance(one[key], kind):
                raise _unparsed("silence", f"{key} of matcher {at} must be a {'text' if kind is str else 'boolean'}")
        op = ("!" if one.get("isEqual") is False else "") + ("~" if one["isRegex"] else "")
        found.append((one["name"], {"": "=", "!": "!=", "~": "=~", "!~": "!~"}[op], one["value"]))
    return matchers_of(found)


def is_uuid(text: str) -> bool:
    """Whether a text has the form of a silence's id."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def filters_of(texts: Iterable[str]) -> list[Matcher]:
    """Matchers such as `alertname=~"Disk.*"`, quoted or not. Raises Mistake."""
    found: list[Matcher] = []
    for text in texts:
        parts = _FILTER.fullmatch(text)
        if parts is None:
            raise Mistake(400, f"bad matcher format: {text[:200]}")
        try:
            found += matchers_of([(parts[1], parts[2], _unquoted(parts[3], text))])
        except SilenceError as error:
            raise Mistake(400, str(error).partition("matcher 0: ")[2]) from error
    return found


def _unquoted(value: str, text: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, str):
        raise Mistake(400, f"matcher value contains unescaped double quote: {text[:200]}")
    return found


def fits(filters: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether labels pass all filters, as Alertmanager takes them: an empty text asks whether a label is there."""
    for one in filters:
        there = one.label in labels
        if one.value == "" and there == (one.op in ("!=", "!~")):
            continue
        if not one.matches(labels.get(one.label, "")):
            return False
    return True


def switch(texts: Sequence[str]) -> bool:
    """A parameter that is true unless it says otherwise."""
    return texts[0].lower() in _YES if texts and texts[0] else True


# --- what goes out


def moment(ns: int) -> str:
    """RFC 3339 with milliseconds, as Alertmanager writes times."""
    seconds, rest = divmod(max(0, ns), NS)
    return f"{datetime.fromtimestamp(min(seconds, 253_402_300_799), UTC):%Y-%m-%dT%H:%M:%S}.{rest // _MS:03d}Z"


def fingerprint(labels: Mapping[str, str]) -> str:
    """FNV-1a of the sorted labels, as Prometheus' client library tells alerts apart."""
    value = 14695981039346656037
    for byte in b"".join(k.encode() + b"\xff" + v.encode() + b"\xff" for k, v in sorted(labels.items())):
        value = (value ^ byte) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def alert_json(one: Alert, silenced: Sequence[str], inhibited: Sequence[str], receivers: Sequence[str]) -> dict:
    """A gettableAlert."""
    link = {"generatorURL": one.generator} if one.generator else {}
    return link | {
        "annotations": dict(sorted(one.annotations.items())),
        "endsAt": moment(one.ends),
        "fingerprint": fingerprint(one.labels),
        "receivers": [{"name": name} for name in receivers],
        "startsAt": moment(one.starts),
        "status": {
            "inhibitedBy": list(inhibited),
            "silencedBy": list(silenced),
            "state": "suppressed" if silenced or inhibited else "active",
        },
        "updatedAt": moment(one.updated),
        "labels": dict(sorted(one.labels.items())),
    }


def silence_json(one: Silence, now: int) -> dict[str, Any]:
    """A gettableSilence; of one that comes again, the window that is or comes next."""
    starts, ends = one.span_from(now) or (one.starts, one.ends)
    return {
        "id": one.id,
        "status": {"state": one.stage(now).value},
        "updatedAt": moment(one.updated),
        "comment": one.comment,
        "createdBy": one.who,
        "endsAt": moment(ends),
        "startsAt": moment(starts),
        "matchers": [
            {"isEqual": m.op in ("=", "=~"), "isRegex": m.op in ("=~", "!~"), "name": m.label, "value": m.value}
            for m in one.matchers
        ],
    }


def in_order(silences: Iterable[Silence], now: int) -> list[Silence]:
    """Those that hold first, by when they end; then those to come, by when they begin; those that are over last."""

    def place(one: Silence) -> tuple[int, int]:
        stage, span = one.stage(now), one.span_from(now) or (one.starts, one.ends)
        if stage is Stage.EXPIRED:
            return 2, -one.ends
        return (0, span[1]) if stage is Stage.ACTIVE else (1, span[0])

    return sorted(silences, key=place)
