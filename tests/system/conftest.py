"""What system tests share: one hub for those that do not hurt each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from almenara.testing.process import HubProcess


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub with its defaults, for reading and for series of the test's own."""
    with HubProcess(tmp_path_factory.mktemp("shared") / "data") as one:
        yield one
