"""[codecs]: options of codecs that HTTP names."""

from __future__ import annotations

from pathlib import Path

from almenara.config import load
from almenara.config.build import codecs
from almenara.plugin.contracts import Context


def test_a_codec_by_name_has_its_options_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(
        'version = 1\n[codecs.influx]\nprecision = "s"\nlabel_fields = ["v*"]\n[codecs.lab]\nplugin = "influx"\n'
    )
    found = codecs(load(path))
    batch = found["influx"].make().decode(b'pump flow=1,version="2" 1700000000', Context()).batch
    assert (str(batch.series[0]), int(batch.time[0])) == ('pump_flow{version="2"}', 1_700_000_000 * 10**9)
    assert int(found["lab"].make().decode(b"pump flow=1 5", Context()).batch.time[0]) == 5
    assert set(found) > {"influx", "lab", "json"}
