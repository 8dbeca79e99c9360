"""CSV files of any size, read as the codec `csv` reads them: columns are told apart once, by the first lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from almenara.codecs.csv import Csv, plain
from almenara.files._lines import blocks
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError


class CsvFile:
    """Reads CSV files in blocks. Rows without a time get that of the file's last change.

    codec: its options say what the columns are.
    """

    suffixes = (".csv", ".tsv")

    def __init__(self, codec: Csv):
        self._codec = codec

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows in the order of the lines; see `Reader`."""
        read, changed_ns = None, path.stat().st_mtime_ns
        for text, line, share in blocks(path, quoted=True):
            try:
                if read is None:
                    read = self._codec.in_parts(text, str(path), changed_ns)
                yield read(plain(text), line), share
            except DecodeError as error:
                raise DecodeError(f"{path}: {error}") from error
