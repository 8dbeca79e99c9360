"""How much one payload may hold where each line or record of it costs time in Python, however few bytes it has."""

from __future__ import annotations

from almenara.model.errors import DecodeError

#: Lines, records or new series of one payload.
MOST_RECORDS = 500_000


def check_count(payload: bytes, *marks: bytes) -> None:
    """Raises DecodeError where the marks that begin or end records stand in a payload too often."""
    if len(payload) <= MOST_RECORDS:
        return
    if sum(map(payload.count, marks)) > MOST_RECORDS:
        raise DecodeError(f"found more than {MOST_RECORDS} lines or records; send smaller payloads")


def check_new(series: int) -> None:
    """Raises DecodeError where one payload brings too many series that were never seen."""
    if series > MOST_RECORDS:
        raise DecodeError(f"found more than {MOST_RECORDS} new series; send smaller payloads")
