"""Every registered plugin keeps the contract of its kind. A new plugin is tested here without another line."""

from __future__ import annotations

import pytest

from almenara.plugin import registry
from almenara.plugin.checks import check
from almenara.plugin.contracts import KINDS


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)])
def test_plugin_keeps_its_contract(kind: str, name: str) -> None:
    assert check(kind, registry.load(kind, name)) == []
