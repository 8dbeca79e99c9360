"""Every store does what the contract says; the cases are `almenara.testing.stores`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from almenara.plugin.contracts import Store, StoreReader
from almenara.stores.chdb import Chdb
from almenara.stores.memory import Memory
from almenara.testing.stores import CASES, DURABLE_CASES

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: Memory(),
    "chdb": lambda folder: Chdb(folder / "store"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_store(case: Callable[[Store], None], store: Store) -> None:
    case(store)


@pytest.mark.parametrize("case", DURABLE_CASES, ids=lambda case: case.__name__)
def test_durable_store(case: Callable[[Callable[[], Store]], None], tmp_path: Path) -> None:
    case(lambda: Chdb(tmp_path / "store"))


def test_stores_have_the_shape_of_the_contract(store: Store) -> None:
    assert isinstance(store, Store)
    assert isinstance(store.reader(), StoreReader)
