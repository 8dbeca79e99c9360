"""Files of history to rows: the contract of readers, one file a format, for `almenara import`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from almenara.model.batch import Decoded

#: Rows of one part, about.
PART_ROWS = 500_000


class Reader(Protocol):
    """Reads files of one format in parts. Its constructor's keyword arguments are its options, as for a plugin.

    The same file and options give the same parts in the same order, so that an import that was cut short goes on
    behind the last part that it committed.
    """

    @property
    def suffixes(self) -> Sequence[str]:
        """What names of such files end in, in lower case, dot included."""

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows in parts of about PART_ROWS, each with the share of the file that is read behind it, 0 to 1.

        Rows that cannot be read are in `rejected`, where = the place in the file. Raises DecodeError where nothing in
        the file can be read or it is damaged from some place on, OSError where it cannot be opened, and MissingExtra
        where a package is missing.
        """
