"""Text from outside, made fit to stand in a line of a message, a header or a log."""

from __future__ import annotations

import unicodedata


def one_line(text: str, most: int = 400) -> str:
    """Text from outside in one line without control characters or marks that turn the writing round, cut to `most`."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    line = " ".join("".join(c for c in kept if unicodedata.category(c) not in ("Cf", "Cs", "Co")).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
