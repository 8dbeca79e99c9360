"""The docs are complete and true: the reference is made from the program, links lead somewhere, examples compile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from almenara.cli import app
from almenara.cli.reference import pages
from almenara.config.schema import PLUGINS, SECTIONS, Rule
from almenara.plugin import registry
from almenara.plugin.contracts import KINDS
from almenara.plugin.options import options_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = pages()
TEXTS = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("name", MADE)
def test_the_reference_is_up_to_date(name: str) -> None:
    page = DOCS / "reference" / name
    assert page.exists(), "make it with: python -m almenara.cli.reference docs/reference"
    assert page.read_text(encoding="utf-8") == MADE[name], (
        "make it with: python -m almenara.cli.reference docs/reference"
    )


def test_every_command_and_option_is_in_the_reference() -> None:
    group = typer.main.get_command(app)
    page = MADE["cli.md"]
    commands = dict(group.commands)  # type: ignore[attr-defined]
    for name, inner in list(commands.items()):
        commands |= {f"{name} {verb}": one for verb, one in getattr(inner, "commands", {}).items()}
    for name, command in commands.items():
        chapter = re.search(rf"(?ms)^##+ almenara {name}\b(.*?)(?=^##|\Z)", page)
        assert chapter, name
        assert command.help in chapter[1]
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert f"`{option}`" in chapter[1], f"{name} {option}"
                assert parameter.help, f"{name} {option}"


def test_every_config_key_is_in_the_reference() -> None:
    page = MADE["config.md"]
    for name, cls in {**SECTIONS, "rules": Rule}.items():
        chapter = re.search(rf"(?ms)^## \[{name}\b(.*?)(?=^## |\Z)", page)
        assert chapter, name
        for option in options_of(cls, given=()):
            assert f"`{option.name}`" in chapter[1], f"{name}.{option.name}"
            assert option.help, f"{name}.{option.name}"
    for name in PLUGINS:
        assert f"## [{name}." in page


def test_every_plugin_and_option_is_in_the_reference() -> None:
    for kind in KINDS:
        for name, entry in registry.entries(kind).items():
            if not entry.module.startswith("almenara."):
                continue
            chapter = re.search(rf"(?ms)^### {kind} `{name}`$(.*?)(?=^##|\Z)", MADE["plugins.md"])
            assert chapter, f"{kind} {name}"
            for option in options_of(entry.load()):
                assert f"`{option.name}`" in chapter[1], f"{kind} {name} {option.name}"


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as Git hosts make them."""
    headings = re.findall(r"(?m)^#+ +(.+?) *$", without_code(path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def without_code(text: str) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```", "", text)


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_internal_links_lead_somewhere(path: Path) -> None:
    lost = []
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_examples_compile(path: Path) -> None:
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", path.read_text(encoding="utf-8")):
        compile(block, str(path), "exec")


def test_every_plugin_kind_has_its_word() -> None:
    words = (DOCS / "words.md").read_text(encoding="utf-8").lower()
    for kind in KINDS:
        assert f"**{kind}**" in words, kind
