"""MQTT topics: which ones may be published, which are our own, and how a name becomes one level of a topic.

    almenara/hub/NAME/status        online or offline (last will), retained
    almenara/agent/NAME/status      the same for an agent
    almenara/alarm/RULE/SERIES      an open alarm as JSON, retained; empty once it is resolved
    almenara/incident/ID            an open incident as JSON, retained; empty once it is resolved
    almenara/anomaly/SERIES         a row over its limit, and the first one back under it
    almenara/judged/SERIES          every judged row of a series that was asked for

What the hub says itself must not come back to it as input: `is_own` names those topics.
"""

from __future__ import annotations

import re
from hashlib import blake2s

from almenara.model.errors import ConfigError, Problem

#: First level of every topic that hub and agents publish about themselves.
ROOT = "almenara"
#: Levels under the root that carry the hub's own output.
OWN = frozenset({"hub", "alarm", "incident", "anomaly", "judged", "route"})
#: Longest topic, in UTF-8 bytes. MQTT allows 65535, brokers do not: NATS reads lines of at most 4096 bytes.
MAX_TOPIC_BYTES = 1024

ONLINE, OFFLINE = b"online", b"offline"

_REFUSED = re.compile(r"[\x00-\x20\x7f+#]")
_NOT_SLUG = re.compile(r"[^A-Za-z0-9_-]+")


def check_topic(topic: str) -> None:
    """Raise ConfigError where no client should publish to `topic`.

    A space or control character makes a NATS broker close the connection; at QoS 1 the client then sends the same
    message again, for ever. Wildcards and NUL are forbidden by MQTT itself (3.1.1, 4.7).
    """
    if not topic:
        raise _bad(topic, "is empty", "give at least one level, such as sensors/room1")
    if found := _REFUSED.search(topic):
        raise _bad(topic, f"has {found.group()!r}", "use neither spaces, control characters nor the wildcards + and #")
    if (size := len(topic.encode(errors="replace"))) > MAX_TOPIC_BYTES:
        raise _bad(topic, f"has {size} bytes", f"use at most {MAX_TOPIC_BYTES}")


def _bad(topic: str, what: str, hint: str) -> ConfigError:
    shown = topic if len(topic) <= 80 else topic[:77] + "..."
    return ConfigError([Problem(f"topic {shown!r}", what, hint)])


def status_topic(kind: str, name: str, root: str = ROOT) -> str:
    """Where a hub or agent says `online` and its last will `offline`; kind is "hub" or "agent"."""
    return f"{root}/{kind}/{slug(name)}/status"


def is_own(topic: str, root: str = ROOT) -> bool:
    """Does the hub (or a status message) speak on this topic? Such messages are no input."""
    first, _, rest = topic.partition("/")
    return first == root and (rest.partition("/")[0] in OWN or rest.endswith("/status"))


def slug(text: str, key: bytes | None = None, limit: int = 48) -> str:
    """`text` as one topic level of letters, digits, - and _, at most `limit` + 9 characters long.

    With `key` (a series key) it always ends in a short hash of it, so that two series never share a level; without one
    only where characters had to change.
    """
    plain = _NOT_SLUG.sub("-", text).strip("-")[:limit].strip("-")
    if key is None and plain == text:
        return plain
    digest = blake2s(text.encode() if key is None else key, digest_size=4).hexdigest()
    return f"{plain}-{digest}" if plain else digest
