"""`njit`: numba's, for compiled functions that are kept on disk and never outlive what they were made of.

Numba keeps compiled code and compiles anew when the text of the file of a function has changed. But a function holds a
copy of those that it calls, and of the constants that it reads, of other files too; after an update it would go on
running old code. So what is kept here is stamped with the text of every file below it as well.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_ROOT = Path(__file__).parent
#: `from almenara.a.b import c, d` and `import almenara.a.b`, at the top of a file: kernels see nothing else.
_FROM = re.compile(r"^from almenara([.\w]*) import (?:\(([^)]*)\)|(.*))", re.MULTILINE)
_IMPORT = re.compile(r"^import almenara([.\w]*)", re.MULTILINE)


def njit(**options: Any) -> Callable[[Any], Any]:
    """As `numba.njit`, for functions of this package."""
    compiled = numba.njit(**options)

    def decorate(function: Any) -> Any:
        made = compiled(function)
        if options.get("cache"):
            kept = made._cache._cache_file
            kept._source_stamp = (kept._source_stamp, stamp_of(Path(inspect.getfile(function))))
        return made

    return decorate


@functools.cache
def stamp_of(source: Path, root: Path = _ROOT) -> bytes:
    """A digest of a source file, and of all files of the package that it imports, they and what they import."""
    needed, left = set[Path](), {source}
    while left:
        needed |= left
        left = {other for one in left for other in _imports(one, root)[1]} - needed
    return hashlib.sha256(b"".join(_imports(one, root)[0] for one in sorted(needed))).digest()


@functools.cache
def _imports(source: Path, root: Path) -> tuple[bytes, frozenset[Path]]:
    """A digest of a file, and the files of the package that it imports."""
    try:
        text = source.read_bytes()
    except OSError:  # no source here: then it does not change either
        return b"", frozenset()
    found = set[Path]()
    said = text.decode(errors="replace")
    for dotted, many, one in _FROM.findall(said):
        names = [part.split()[0] for part in re.sub(r"#.*", "", many or one).split(",") if part.strip()]
        found |= {path for name in ["", *names] for path in _files(root, f"{dotted}.{name}" if name else dotted)}
    for dotted in _IMPORT.findall(said):
        found |= _files(root, dotted)
    return hashlib.sha256(text).digest(), frozenset(found)


def _files(root: Path, dotted: str) -> set[Path]:
    """The file of a module, if it is one, or of a package: `.a.b` is a/b.py or a/b/__init__.py."""
    at = root.joinpath(*filter(None, dotted.split(".")))
    return {path for path in (at.with_name(at.name + ".py"), at / "__init__.py") if path.is_file()}
