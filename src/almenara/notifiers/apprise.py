"""Tells over a hundred services (Slack, Matrix, ntfy, Signal, SMS...) through the library apprise, by a URL each.

URLs of all services: https://appriseit.com/services/.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from typing import Annotated, Any

import apprise
from apprise.attachment.memory import AttachMemory

from almenara.model.alarm import Notice, NoticeKind, Severity, State
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.notifiers._plain import fields, one_line
from almenara.plugin.options import Range, Secret

_TYPE = {
    Severity.CRITICAL: apprise.NotifyType.FAILURE, Severity.MAJOR: apprise.NotifyType.FAILURE,
    Severity.MINOR: apprise.NotifyType.WARNING, Severity.WARNING: apprise.NotifyType.WARNING,
}  # fmt: skip
#: How its plugins name an HTTP status in what they log.
_STATUS = re.compile(r"\berror=(\d{3})\b")
#: Notices of which it is kept whom they have reached, for the next try.
_MOST_KNOWN = 1000
_MOST_TEXT = 200


class AppriseNotifier:
    """Tells people through any of the services of apprise, each given by a URL.

    The graph goes along where the service takes files. Where some of several services fail only these are tried again.

    Options:
        urls: A URL of apprise for each, such as `ntfy://ntfy.sh/mytopic`; they hold tokens, so keep them elsewhere.
        graph: Send the graph, where the service takes files.
        timeout_s: Longest time for one notice.
    """

    example = {"urls": ["json://127.0.0.1:9/hook"]}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self, *, urls: list[Secret], graph: bool = True, timeout_s: Annotated[float, Range(1, 50)] = 30.0
    ) -> None:
        _be_quiet()
        asset = apprise.AppriseAsset(
            app_id="Almenara", app_desc="Almenara", app_url="", async_mode=False, storage_mode="memory",
            service_timeout=timeout_s, http_redirects=False, pgp_autogen=False, pem_autogen=False,
        )  # fmt: skip
        made = [apprise.Apprise.instantiate(str(url), asset=asset) for url in urls]
        self._services = [service for service in made if service is not None]
        if len(self._services) < len(urls) or not urls:
            wrong = [i for i, service in enumerate(made) if service is None]
            hint = "https://appriseit.com/services/ lists them; a service may need a package of its own"
            what = "is no URL that apprise knows, or lacks something"
            raise ConfigError([Problem(f"urls[{i}]", what, hint) for i in wrong] or [Problem("urls", "is empty")])
        self.shows_graph, self._timeout_s = graph, timeout_s
        self._secrets = [text for url in urls for text in _secrets_of(url)]
        self._reached: OrderedDict[int, set[int]] = OrderedDict()  # notice -> services that have it

    async def notify(self, notice: Notice) -> None:
        """Tell all services; returns when each has it. Raises NotifyError, worth another try unless every service that
        failed has refused for good (HTTP 4xx but 408 and 429)."""
        reached = self._reached.setdefault(notice.id, set())
        while len(self._reached) > _MOST_KNOWN:
            self._reached.popitem(last=False)
        left = [i for i in range(len(self._services)) if i not in reached]
        said = await asyncio.gather(*(asyncio.to_thread(self._tell, self._services[i], notice) for i in left))
        failed = [(i, words) for i, words in zip(left, said, strict=True) if words is not None]
        reached.update(i for i, words in zip(left, said, strict=True) if words is None)
        if failed:
            told = "; ".join(f"urls[{i}] ({self._services[i].service_name}): {words}" for i, words in failed)
            raise NotifyError(f"apprise: {told}", retry=not all(_is_final(words) for _, words in failed))
        del self._reached[notice.id]

    def _tell(self, service: Any, notice: Notice) -> str | None:
        """None where it was told, else what went wrong."""
        one = apprise.Apprise(asset=service.asset)
        one.add(service)
        values, attachments = fields(notice), None
        if self.shows_graph and notice.graph_png and service.attachment_support:
            attachments = AttachMemory(notice.graph_png, name="graph.png", mimetype="image/png")
        found = one.notify(
            body=str(values["body"]) or str(values["title"]), title=str(values["title"]), notify_type=type_of(notice),
            body_format=apprise.NotifyFormat.TEXT, attach=attachments, timeout=self._timeout_s,
        )  # fmt: skip
        if found:
            return None
        if found.timeout_count:
            return f"no answer within {self._timeout_s:g} s"
        return self._hidden(" ".join(entry.message for entry in found.logs())) or "failed, and does not say why"

    def _hidden(self, said: str) -> str:
        """In one short line and without anything secret of the URLs."""
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return one_line(said, _MOST_TEXT)


def type_of(notice: Notice) -> apprise.NotifyType:
    """Which colour and sign the message has."""
    if notice.kind in (NoticeKind.TEST, NoticeKind.DIGEST):
        return apprise.NotifyType.INFO
    return apprise.NotifyType.SUCCESS if notice.incident.state is State.RESOLVED else _TYPE[notice.incident.severity]


def _is_final(said: str) -> bool:
    statuses = [int(status) for status in _STATUS.findall(said)]
    return bool(statuses) and all(400 <= one < 500 and one not in (408, 429) for one in statuses)


def _secrets_of(url: str) -> list[str]:
    """Every part of a URL that may be a secret: all but the scheme; the longest first."""
    rest = url.partition("://")[2]
    parts = {rest, *re.split(r"[/?&=:@,;#]", rest)}
    return sorted((part for part in parts if len(part) > 3), key=len, reverse=True)


def _be_quiet() -> None:
    """Its log repeats URLs, and at DEBUG whole payloads. What matters of it stands in our errors."""
    logging.getLogger("apprise").propagate = False
    for name in ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
