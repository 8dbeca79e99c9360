"""MQTT topics and the NATS subjects they become inside nats-server (docs.nats.io, MQTT: topics and subjects).

The server's mapping: a level separator `/` becomes `.`; an empty level, which a subject cannot have, becomes `/`; a dot
becomes `//`. `tests/bus/test_subjects.py` holds it against a real server.
"""

from __future__ import annotations

import re

from almenara.model.topic import ROOT, is_own

_SPECIAL = re.compile(rb"//|/\.|/|\.")
_BACK = {b"//": b".", b"/.": b"/", b"/": b"", b".": b"/"}

_MOST_KNOWN = 100_000


def topic_of(subject: bytes) -> str:
    """The MQTT topic that `subject` stands for."""
    if b"/" not in subject:
        return subject.replace(b".", b"/").decode(errors="replace")
    return _SPECIAL.sub(lambda m: _BACK[m.group()], subject).decode(errors="replace")


class Topics:
    """Subjects to (topic, source), each worked out once. None: no input, for it is our own or begins with `$`.

    The source is "mqtt:" and the topic, since neither way of reading tells who sent a message.
    """

    def __init__(self, prefix: bytes = b"", root: str = ROOT):
        self._prefix, self._root = prefix, root
        self._known: dict[bytes, tuple[str, str] | None] = {}

    def __call__(self, subject: bytes) -> tuple[str, str] | None:
        """(topic, source) of a subject that has the prefix, or None."""
        try:
            return self._known[subject]
        except KeyError:
            return self._learn(subject)

    def _learn(self, subject: bytes) -> tuple[str, str] | None:
        topic = topic_of(subject.removeprefix(self._prefix))
        ignored = topic.startswith("$") or is_own(topic, self._root)
        if len(self._known) >= _MOST_KNOWN:  # clients make up topics; forgetting costs only time
            self._known.clear()
        self._known[subject] = found = None if ignored else (topic, "mqtt:" + topic)
        return found
