"""What the compiled JSON reader remembers: keys by the object they stand in, and the series of each identity."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from almenara.codecs import _json_kernel as kernel
from almenara.codecs._bytes import hash_bytes
from almenara.codecs._json_records import DROP, MAX_DEPTH, Rules

#: Past one of these everything is forgotten: keys, identities, bytes of both, topics.
MAX_NODES = 20_000
MAX_ENTRIES = 200_000
MAX_BYTES = 64 << 20
MAX_TOPICS = 200_000

_MAX_KEY = 255


class Memory:
    """The memo as the kernel reads it. It only grows; make a new one when `full`."""

    def __init__(self, rules: Rules):
        self._rules = rules
        self.seed = secrets.randbits(61)  # nobody outside can choose texts that collide
        self.topics: dict[str, int] = {}
        self._paths = [""]  # joined name of each node
        self._used = self._entries = self._id_count = 0
        self._known: set[tuple[int, bytes]] = set()
        self._node_of: dict[tuple[int, bytes], int] = {}
        nodes = np.zeros((64, 8), np.int64)
        nodes[0] = (0, 0, -1, 0, -1, 0, -1, 0)  # the object itself
        self.view = kernel.Memo(
            np.empty(4096, np.uint8),
            nodes,
            np.empty((256, 6), np.int64),
            np.empty(1024, np.int32),
            np.full(256, -1, np.int32),
            np.full(1024, -1, np.int32),
        )

    @property
    def full(self) -> bool:
        """Whether it has passed a limit and should be given up for an empty one."""
        most = max(len(self._paths) - MAX_NODES, self._entries - MAX_ENTRIES, len(self.topics) - MAX_TOPICS)
        return most > 0 or self._used > MAX_BYTES

    def learn_keys(self, document: dict[str, Any]) -> None:
        """Take in the keys of an object, and of objects in it, that stand in JSON text as they are."""
        self._learn(document, 0, 0)

    def _learn(self, document: dict[str, Any], parent: int, depth: int) -> None:
        for key, value in document.items():
            raw = key.encode(errors="replace")
            plain = len(raw) <= _MAX_KEY and key.isprintable() and '"' not in key and "\\" not in key
            if not plain or "\ufffd" in key or len(self._paths) > MAX_NODES:
                continue
            if key == "__name__" and self._paths[parent] == "metric":  # such an object may be a row
                continue
            node = self._node_of.get((parent, raw))
            role, path = self._rules.role(self._paths[parent], key)
            if node is None:
                node = self._node_of[parent, raw] = self._new_node(raw, parent, role, path)
            if type(value) is dict and depth < MAX_DEPTH and role != DROP:
                self._learn(value, node, depth + 1)

    def _new_node(self, raw: bytes, parent: int, role: int, path: str) -> int:
        node, offset = len(self._paths), self._place(raw)
        self._paths.append(path)
        hashed = hash_bytes(self.view.arena, offset, offset + len(raw), self.seed + parent)
        nodes = room(self.view.nodes, node + 1)
        nodes[node] = (offset, len(raw), -1, hashed, parent, role, -1, 0)
        slots = _slots(self.view.node_slots, nodes, node, node + 1)
        self.view = self.view._replace(nodes=nodes, node_slots=slots)
        return node

    def learn(self, identity: bytes, ids: Sequence[int]) -> None:
        """Take in which series an identity stands for."""
        entry, offset, count = self._entries, self._place(identity), len(ids)
        arena = self.view.arena
        hashed = hash_bytes(arena, offset, offset + len(identity), self.seed)
        slots = self.view.entry_slots
        if kernel.find(arena, offset, self._used, hashed, -1, self.view.entries, slots, arena) >= 0:
            self._used = offset  # learned already, from an earlier record of the same payloads
            return
        entries = room(self.view.entries, entry + 1)
        entries[entry] = (offset, len(identity), -1, hashed, self._id_count, count)
        known = room(self.view.ids, self._id_count + count)
        known[self._id_count : self._id_count + count] = ids
        self._entries, self._id_count = entry + 1, self._id_count + count
        self.view = self.view._replace(entries=entries, ids=known, entry_slots=_slots(slots, entries, entry, entry + 1))

    def _place(self, text: bytes) -> int:
        """Put bytes into the arena."""
        offset, self._used = self._used, self._used + len(text)
        arena = room(self.view.arena, self._used)
        arena[offset : self._used] = np.frombuffer(text, np.uint8)
        self.view = self.view._replace(arena=arena)
        return offset


def room(array: np.ndarray, size: int) -> np.ndarray:
    """`array`, or a copy at least twice as long if it is shorter than `size`."""
    if size <= len(array):
        return array
    return np.concatenate([array, np.empty((max(size, 2 * len(array)) - len(array), *array.shape[1:]), array.dtype)])


def _slots(slots: np.ndarray, table: np.ndarray, first: int, count: int) -> np.ndarray:
    """The hash table with rows first..count entered; made anew, larger, when it would be over half full."""
    if 2 * count > len(slots):
        slots, first = np.full(1 << (4 * count).bit_length(), -1, np.int32), min(first, 1 if table.shape[1] == 8 else 0)
    kernel.enter(slots, table, first, count)
    return slots
