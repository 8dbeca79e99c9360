"""Labels as other systems send them, to the key of a series: names made legal, limits kept, mistakes named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, encode_key, label_name, metric_name

#: Label names made legal; senders use few, again and again.
clean_label = lru_cache(maxsize=4096)(label_name)

#: Why no series can have these labels; the first is 0, so that a code of a reader can be an index plus its own first.
REASONS = ("not_utf8", "no_name", "duplicate_label", "too_many_labels", "key_too_long", "bad_labels")
NOT_UTF8, NO_NAME, DUPLICATE, TOO_MANY, TOO_LONG, DAMAGED = range(6)


class BadLabels(ValueError):
    """No series has these labels. `code` is an index into `REASONS`."""

    def __init__(self, code: int, detail: str):
        self.code = code
        super().__init__(detail)


def utf8(raw: bytes, what: str) -> str:
    """`raw` as text. Raises BadLabels."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadLabels(NOT_UTF8, f"{what} is not UTF-8 at byte {error.start}") from None


def key_of(name: str, labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """The key of a series with this name, made legal, and these labels, whose names are. Raises BadLabels."""
    if not name:
        raise BadLabels(NO_NAME, "found no metric name")
    pairs = dict(labels)
    if len(pairs) > MAX_LABELS:
        raise BadLabels(TOO_MANY, f"found {len(pairs)} labels, expected at most {MAX_LABELS}")
    key = encode_key(metric_name(name), pairs)
    if len(key) > MAX_KEY_BYTES:
        raise BadLabels(TOO_LONG, f"found a key of {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
    return key
