"""The examples of docs/howto/notifiers.md are right: each is a configuration, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import certifi
import pytest

from almenara.config import load
from almenara.notifiers._plain import FIELDS, check_template, fields, fill
from almenara.plugin import registry
from almenara.testing.alarms import incident, notice

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "notifiers.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"(?ms)^```toml\n(.*?)^```", HOWTO)
SECRETS = {
    "NTFY_URL": "ntfy://ntfy.example/alarms", "MATRIX_URL": "matrixs://user:password@matrix.example/#alarms",
    "RECEIVER_TOKEN": "t", "RECEIVER_KEY": "k", "NSCA_PASSWORD": "p", "BEACON_TOKEN": "b",
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.search(r"\[notifiers\.(\w+)", text)[1])  # type: ignore[index]
def test_an_example_is_a_configuration(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)
    path = tmp_path / "hub.toml"
    path.write_text("version = 1\n" + example.replace("/etc/ssl/icinga-ca.crt", certifi.where()))
    for plugin in load(path).notifiers.values():
        plugin.build()


def test_the_table_of_wishes_names_all_notifiers() -> None:
    table = HOWTO.partition("| I want |")[2].partition("\n## ")[0]
    assert [name for name in registry.names("notifier") if f"`{name}`" not in table] == []


def test_the_table_of_fields_names_all_fields() -> None:
    table = HOWTO.partition("| field | holds |")[2].partition("\n## ")[0]
    assert set(re.findall(r"(?m)`(\w+)`", "\n".join(re.findall(r"(?m)^\|([^|]*)\|", table)))) == FIELDS | {"graph_png"}


@pytest.mark.parametrize("hosts", [(), ("a", "b")])
def test_every_field_is_filled_in_whatever_a_notice_holds(hosts: tuple[str, ...]) -> None:
    values = fields(notice(incident(hosts=hosts)))
    assert values.keys() == FIELDS
    template = {name: f"{{{name}}}" for name in FIELDS}
    check_template(template, "template")
    assert fill(template, values) == values
