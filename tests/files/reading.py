"""What readers give, as values that a test can compare."""

from __future__ import annotations

from collections.abc import Iterator

from almenara.model.batch import Decoded

Rows = dict[str, dict[int, float]]


def rows_of(parts: Iterator[tuple[Decoded, float]], rejected: list[tuple[str, str, int]] | None = None) -> Rows:
    """Series -> time in ns -> value; what was left out goes to `rejected`, of which without it there may be none."""
    found: Rows = {}
    last = 0.0
    for decoded, share in parts:
        assert last <= share <= 1
        last = share
        b = decoded.batch
        for id, time, value in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True):
            found.setdefault(str(b.series[id]), {})[time] = value
        told = [(one.where, one.reason, one.rows) for one in decoded.rejected]
        assert not told or rejected is not None, told
        if rejected is not None:
            rejected += told
    assert not found or last == 1
    return found
