"""How each service of mqttwarn is one of our notifiers: its options and a target's addresses to a table of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from almenara.model.errors import AlmenaraError

#: Plugin, its options, and a remark for the file.
Found = tuple[str, dict[str, Any], str]
Given = Mapping[str, Any]


class NoCounterpart(AlmenaraError):
    """Why a target cannot be taken."""


def _part(value: Any) -> str:
    """A value as a part of a URL."""
    text = str(value)
    if text.startswith(("env:", "file:")):
        raise NoCounterpart(f"a part of a URL cannot be kept at {text}; keep the whole URL there")
    return quote(text, safe="")


def _apprise(*urls: str, note: str = "") -> Found:
    return "apprise", {"urls": list(urls)}, note


def _smtp(given: Given, to: Any) -> Found:
    host, _, port = str(given["server"]).partition(":")
    login = {key: str(given[key]) for key in ("username", "password") if given.get(key)}
    safe = bool(given.get("starttls"))
    options: dict[str, Any] = {"host": host, **({"port": int(port)} if port else {})}
    options |= {"security": "starttls" if safe or login else "none", "from": str(given["sender"]), "to": _texts(to)}
    note = "" if safe or not login else "mqttwarn sent the password in the clear; here STARTTLS is wanted."
    return "mail", options | login, note


def _telegram(given: Given, to: Any) -> Found:
    contact = str(to[0])
    number = contact.removeprefix("#")
    if not number.lstrip("-").isdigit():
        raise NoCounterpart(f"{contact!r} is a name; bots write to numbers: send yours /start and look for the id")
    return "telegram", {"token": str(given["token"]), "chats": [int(number)]}, ""


def _with_query(url: str, more: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode({k: v for k, v in more.items() if v}, safe="@")]))
    return urlunsplit(parts._replace(query=query))


def _apprise_single(given: Given, to: Any) -> Found:
    more = {"from": given.get("sender") or "", "to": ",".join(_texts(to or [])), "name": given.get("sender_name") or ""}
    return _apprise(_with_query(str(given["baseuri"]), more))


def _apprise_multi(given: Given, to: Any) -> Found:
    urls = []
    for one in to:
        more = {
            "from": one.get("sender", ""),
            "to": ",".join(one.get("recipients", [])),
            "name": one.get("sender_name", ""),
        }
        urls.append(_with_query(str(one["baseuri"]), more))
    return _apprise(*urls)


def _pushover(given: Given, to: Any) -> Found:
    sound = _with_query("", {"sound": str(to[2])}) if len(to) > 2 and to[2] else ""
    return _apprise(f"pover://{_part(to[0])}@{_part(to[1])}/{_part(to[3]) if len(to) > 3 else ''}{sound}")


def _slack(given: Given, to: Any) -> Found:
    token, channel, username, *_ = to if len(to) == 4 else [given["token"], *to]
    bot = f"{_part(username)}@" if username else ""
    place = _part(channel) if str(channel).startswith("@") else _part(str(channel).lstrip("#"))
    return _apprise(f"slack://{bot}{_part(token)}/{place}")


def _ntfy(given: Given, to: Any) -> Found:
    given = dict(given) | (dict(to) if isinstance(to, Mapping) else {"url": str(to)})
    parts = urlsplit(str(given["url"]))
    login = f"{_part(given['username'])}:{_part(given['password'])}@" if given.get("username") else ""
    token = _with_query("", {"auth": "token", "token": str(given["token"])}) if given.get("token") else ""
    return _apprise(f"{'ntfys' if parts.scheme == 'https' else 'ntfy'}://{login}{parts.netloc}{parts.path}{token}")


def _file(given: Given, to: Any) -> Found:
    return "file", {"path": str(to[0] if isinstance(to, list) else to), "format": "text"}, ""


def _log(given: Given, to: Any) -> Found:
    raise NoCounterpart("what is told is in the hub's own log already")


def _nsca(given: Given, to: Any) -> Found:
    server = str(given["nsca_host"])
    host, service = _texts(to)
    note = "mqttwarn sent without a password and by xor; give password where nsca.cfg has one."
    return "nsca", {"server": server, "host": host, "fallback_host": host, "service": service}, note


def _icinga2(given: Given, to: Any) -> Found:
    host, service, source = (*to, None, None)[:3]
    where = urlsplit(str(given["host"]))
    login = f"{_part(given['username'])}:{_part(given['password'])}@"
    url = f"{where.scheme}://{login}{where.hostname}:{given['port']}/v1/actions/process-check-result"
    about = {"service": f"{host}!{service}"} if service else {"host": host}
    body = {"exit_status": "{nagios_state}", "plugin_output": "{title}", "check_source": source or "almenara", **about}
    options: dict[str, Any] = {"url": url, "headers": {"Accept": "application/json"}, "template": body}
    return "webhook", options | ({"ca_file": str(given["cacert"])} if given.get("cacert") else {}), ""


def _carbon(given: Given, to: Any) -> Found:
    return "graphite", {"server": f"{to[0]}:{int(to[1])}"}, ""


def _rrdtool(given: Given, to: Any) -> Found:
    folder = str(PurePosixPath(str(to[0])).parent)
    return "rrd", {"directory": folder}, f"A file of its own for each alarm, not {to[0]}."


def _pipe(given: Given, to: Any) -> Found:
    return "exec", {"command": _texts(to)}, "It gets JSON on its standard input, not the text alone."


def _execute(given: Given, to: Any) -> Found:
    mark = str(given.get("text_replace", "[TEXT]"))
    if any(mark in text for text in _texts(to)):
        raise NoCounterpart("nothing of an alarm is put into arguments; let a program of yours read ALMENARA_TEXT")
    return "exec", {"command": _texts(to)}, ""


def _syslog(given: Given, to: Any) -> Found:
    facility = str(to[0])
    known = ("user", "daemon", *(f"local{n}" for n in range(8)))
    note = "" if facility in known else f"Not as {facility}, which programs of this kind do not use."
    return "syslog", {"url": "unix:///dev/log", **({"facility": facility} if facility in known else {})}, note


def _mqtt(given: Given, to: Any) -> Found:
    topic = str(to[0] if isinstance(to, list) else to)
    if "{" in topic:
        raise NoCounterpart(f"the topic {topic!r} is made of the message")
    options: dict[str, Any] = {"url": f"mqtt://{given.get('hostname', 'localhost')}:{int(given.get('port', 1883))}"}
    options |= {key: str(given[key]) for key in ("username", "password") if given.get(key)}
    return "mqtt", options | {"message_topic": topic}, ""


def _http(given: Given, to: Any) -> Found:
    method, url, params, *more = to
    if str(method).upper() != "POST" or len(more) < 2 or not more[1]:
        raise NoCounterpart("only POST of JSON is (give True as the fifth element there), or write an exec with curl")
    names = (
        {n.lstrip("@?"): n if n[:1] in "@?" else f"@{n}" for n in params} if isinstance(params, list) else params or {}
    )
    template = {name: _field(str(text)) for name, text in names.items()} or {"text": "{text}"}
    parts = urlsplit(str(url))
    if more[0]:
        user, password = more[0]
        parts = parts._replace(netloc=f"{_part(user)}:{_part(password)}@{parts.netloc}")
    return "webhook", {"url": urlunsplit(parts), "template": template}, ""


_FIELDS = {"message": "text", "payload": "text", "title": "title", "name": "name", "priority": "severity_number"}


def _field(text: str) -> str:
    """A parameter of mqttwarn, `@message` or `{title}: {message}`, as a text of our templates."""
    if text[:1] in "@?" and text[1:] in _FIELDS:
        return f"{{{_FIELDS[text[1:]]}}}"
    found = text
    for theirs, ours in _FIELDS.items():
        found = found.replace(f"{{{theirs}}}", f"{{{ours}}}")
    rest = found
    for ours in set(_FIELDS.values()):
        rest = rest.replace(f"{{{ours}}}", "")
    if text[:1] in "@?" or "{" in rest or "}" in rest:
        raise NoCounterpart(f"{text!r} is filled in from the message")
    return found


def _mattermost(given: Given, to: Any) -> Found:
    url, channel, username, icon = (*to, None, None, None)[:4]
    more = {"channel": channel, "username": username, "icon_url": icon}
    return "webhook", {"url": str(url), "template": {"text": "{text}", **{k: v for k, v in more.items() if v}}}, ""


def _xmpp(given: Given, to: Any) -> Found:
    user, _, host = str(given["sender"]).partition("@")
    login = f"{_part(user)}:{_part(given['password'])}@{host}"
    people = "/".join(quote(one, safe="@") for one in _texts(to))
    return _apprise(f"xmpps://{login}/{people}", note="apprise needs the package slixmpp for this: pip install slixmpp")


def _twilio(given: Given, to: Any) -> Found:
    account, token, sender, person = map(str, to)
    return _apprise(f"twilio://{_part(account)}:{_part(token)}@{sender}/{person}")


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


SERVICES: dict[str, Callable[[Given, Any], Found]] = {
    "smtp": _smtp, "telegram": _telegram, "apprise": _apprise_single, "apprise_single": _apprise_single,
    "apprise_multi": _apprise_multi, "pushover": _pushover, "slack": _slack, "ntfy": _ntfy, "file": _file, "log": _log,
    "nsca": _nsca, "icinga2": _icinga2, "carbon": _carbon, "rrdtool": _rrdtool, "pipe": _pipe, "execute": _execute,
    "syslog": _syslog, "mqtt": _mqtt, "http": _http, "http_urllib": _http, "mattermost": _mattermost, "xmpp": _xmpp,
    "slixmpp": _xmpp, "twilio": _twilio,
    "pushbullet": lambda given, to: _apprise(f"pbul://{_part(to[0])}/{_part(to[1])}"),
    "prowl": lambda given, to: _apprise(f"prowl://{_part(to[0])}"),
    "pushsafer": lambda given, to: _apprise(f"psafers://{_part(to[0])}"),
    "ifttt": lambda given, to: _apprise(f"ifttt://{_part(to[0])}@{_part(to[1])}"),
}  # fmt: skip
