"""Every registered codec does what the contract says; the cases are `almenara.testing.codecs`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from almenara.model.batch import Decoded
from almenara.model.series import Series
from almenara.plugin import registry
from almenara.plugin.contracts import Codec, Context
from almenara.testing.codecs import CASES

RECORDED = Path(__file__).parents[1] / "cases" / "codecs"
FOLDERS = sorted(RECORDED.glob("*/*"))
COARSE_NS = {
    "senml": 1_000,
    "prometheus": 1_000_000,
    "remote_write": 1_000_000,
    "sparkplug": 1_000_000,
}  # formats whose times are coarser than ns


@pytest.mark.parametrize("name", registry.names("codec"))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_codec(case: Callable[..., None], name: str) -> None:
    case(registry.load("codec", name), every_ns=COARSE_NS.get(name, 1))


@pytest.mark.parametrize("name", registry.names("codec"))
def test_codec_has_the_shape_of_the_contract(name: str) -> None:
    assert isinstance(registry.load("codec", name)(), Codec)


def as_json(decoded: Decoded) -> dict[str, Any]:
    """What was decoded, as `expected.json` writes it; null is NaN."""
    b = decoded.batch
    rows = [
        [str(b.series[i]), int(t), None if v != v else float(v)] for i, t, v in zip(b.id, b.time, b.value, strict=True)
    ]
    rejected = [[one.where, one.reason, one.rows] for one in decoded.rejected]
    metadata = {str(Series.from_key(key)): [m.kind, m.help] for key, m in decoded.metadata.items()}
    events = [[e.time, dict(e.labels), e.text] for e in decoded.events]
    more = {"metadata": metadata, "events": events}
    return {"rows": rows, "rejected": rejected} | {name: what for name, what in more.items() if what}


@pytest.mark.parametrize(
    "folder", sorted(RECORDED.glob("*/*")), ids=lambda folder: f"{folder.parent.name}/{folder.name}"
)
def test_recorded_payload_gives_the_expected_rows(folder: Path) -> None:
    """`input` as sent; `case.json`: its source, options of the codec, context; `expected.json`: what comes of it."""
    case = json.loads((folder / "case.json").read_text())
    codec = registry.load("codec", folder.parent.name)(**case.get("options", {}))
    context = Context(**{"received_ns": 1_700_000_000_000_000_000, **case.get("context", {})})
    got = as_json(codec.decode((folder / "input").read_bytes(), context))
    assert got == json.loads((folder / "expected.json").read_text())


def test_every_codec_has_a_recorded_case() -> None:
    ours = [name for name in registry.names("codec") if registry.entries("codec")[name].value.startswith("almenara.")]
    assert [name for name in ours if not list((RECORDED / name).glob("*/input"))] == []
