"""Files of line protocol, Prometheus text and other formats of which each line stands alone, read by their codecs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from almenara.files._lines import blocks, placed
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Codec, Context

#: Prometheus' codec reads lines one by one, which costs more for each than the others: smaller parts show progress.
SUFFIXES = {
    "influx": (".lp", ".line", ".influx"),
    "prometheus": (".prom", ".openmetrics"),
    "graphite": (".graphite",),
}


class Lines:
    """Reads files whose lines a codec knows. Rows without a time get that of the file's last change.

    codec: reads blocks of whole lines. parameters: such as {"precision": "s"} for line protocol.
    """

    def __init__(self, codec: Codec, parameters: dict[str, str] | None = None, suffixes: tuple[str, ...] = ()):
        self._codec, self._parameters, self.suffixes = codec, dict(parameters or {}), suffixes

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows in the order of the lines; see `Reader`."""
        context = Context(str(path), self._parameters, "", path.stat().st_mtime_ns)
        something, first = False, None
        for text, line, share in blocks(path):
            try:
                decoded = self._codec.decode(text, context)
                something = True
            except DecodeError as error:
                first = first or error
                rows = sum(1 for one in text.split(b"\n") if one.strip() and not one.lstrip().startswith(b"#"))
                decoded = Decoded(Batch.of(()), rejected=[Rejected(f"line {1}", "bad_line", rows, str(error))])
            yield Decoded(decoded.batch, decoded.events, placed(decoded.rejected, line - 1), decoded.metadata), share
        if first is not None and not something:
            raise DecodeError(f"{path}: {first}")
