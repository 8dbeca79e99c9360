"""An agent has no numpy: codecs can be imported and can write without it; JSON and Prometheus text can be read."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["numpy"] = sys.modules["numba"] = sys.modules["orjson"] = None
from almenara.codecs.influx import Influx
from almenara.codecs.json import Json
from almenara.codecs.otlp import Otlp
from almenara.codecs.prometheus import Prometheus
from almenara.codecs.remote_write import RemoteWrite
from almenara.model.batch import Batch
from almenara.model.errors import MissingExtra
from almenara.plugin.contracts import Context

batch = Batch.of([(b"load", 1_700_000_000_000_000_000, 0.5)])
for codec in (Json(), Prometheus()):
    assert list(codec.decode(codec.encode(batch), Context()).batch.value) == [0.5]
assert Influx().encode(batch) == b"load value=0.5 1700000000000000000\\n"
for codec in (Influx(), Otlp(), RemoteWrite()):
    try:
        codec.decode(codec.encode(batch), Context())
    except MissingExtra as error:
        print(error)
"""


def test_codecs_work_without_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("almenara[hub]") == 3
