"""Which plugins are installed, and loading one by name. Plugins are entry points, ours and those of other packages."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from typing import Any

from almenara.model.errors import MissingExtra, PluginError
from almenara.plugin.contracts import KINDS

PACKAGE = "almenara"


@lru_cache(maxsize=16)
def entries(kind: str) -> dict[str, EntryPoint]:
    """Name -> entry point of every installed plugin of a kind, sorted by name. Imports nothing."""
    if kind not in KINDS:
        raise PluginError(f"{kind!r} is no kind of plugin; expected one of {', '.join(KINDS)}")
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=KINDS[kind][0]), key=lambda e: (e.name, not _is_ours(e))):
        found.setdefault(entry.name, entry)  # of two with one name, ours
    return found


def names(kind: str) -> tuple[str, ...]:
    """Names of the installed plugins of a kind, sorted."""
    return tuple(entries(kind))


def load(kind: str, name: str) -> Any:
    """The class of a plugin. Raises PluginError for an unknown name, MissingExtra where packages are missing."""
    known = entries(kind)
    entry = known.get(name)
    if entry is None:
        near = get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"installed: {', '.join(known) or 'none'}"
        raise PluginError(f"no {kind} is called {name!r}; {hint}")
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == PACKAGE or not _is_ours(entry):
            raise PluginError(f"{kind} {name} ({entry.value}) cannot be imported: {error}") from error
        raise MissingExtra(f"{kind} {name}", extra_of(missing)) from error
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{kind} {name} ({entry.value}) cannot be imported: {error}") from error


def extra_of(module: str) -> str:
    """The smallest extra of ours that brings a module: `numpy` -> `notebook`. `hub`, which has all, if unknown."""
    try:
        requirements = metadata(PACKAGE).get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return "hub"
    extras: dict[str, set[str]] = {}
    for requirement in requirements:
        package, _, condition = requirement.partition(";")
        if match := re.search(r"""extra == ['"]([\w-]+)""", condition):
            extras.setdefault(match[1], set()).add(re.split(r"[^\w.-]", package.strip())[0].lower().replace("-", "_"))
    having = [e for e, packages in extras.items() if module.lower() in packages]
    return min(having, key=lambda e: len(extras[e]), default="hub")


def package_of(entry: EntryPoint) -> str:
    """`name version` of the distribution that brings a plugin."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""


def first_line(plugin: Any) -> str:
    """What a plugin is, in one sentence: the first line of its docstring."""
    return (plugin.__doc__ or "").strip().partition("\n")[0].strip()


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.partition(".")[0] == PACKAGE
