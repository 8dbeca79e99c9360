"""`njit`: numba's, for compiled functions that are kept on disk and never outlive what they were made of.

Numba keeps compiled code and compiles anew when the text of the file of a function has changed. But a function holds a
copy of those that it calls, and of the constants that it reads, of other files too; after an update it would go on
running old code. So what is kept here is stamped with the text of every file below it as well.

Numba also makes machine code of every function on its own, though most are only ever called by others, which take them
in and are optimised with them, again at each level. Here a function is optimised where Python calls it, and nowhere
else: that took more than a third of all compiling.
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
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher
from numba.core.types.misc import unliteral

_ROOT = Path(__file__).parent
#: `from almenara.a.b import c, d` and `import almenara.a.b`, at the top of a file: kernels see nothing else.
_FROM = re.compile(r"^from almenara([.\w]*) import (?:\(([^)]*)\)|(.*))", re.MULTILINE)
_IMPORT = re.compile(r"^import almenara([.\w]*)", re.MULTILINE)


def njit(**options: Any) -> Callable[[Any], Any]:
    """As `numba.njit`, for functions of this package. apart=True: not put into its callers, which seldom call it."""
    how = _Apart if options.pop("apart", False) else _TakenIn
    options |= {"no_cfunc_wrapper": True, "forceinline": options.get("forceinline", False)}  # else it is its caller's
    compiled = numba.njit(**options)
    taken_in = numba.njit(**(options | {"cache": False, "no_cpython_wrapper": True}), pipeline_class=how)

    def decorate(function: Any) -> Any:
        made = compiled(function)
        made.part = taken_in(function)
        made.__class__, made.part.__class__ = _Entry, _Part
        if options.get("cache"):
            kept = made._cache._cache_file
            kept._source_stamp = (kept._source_stamp, stamp_of(Path(inspect.getfile(function))))
        return made

    return decorate


class _Entry(CPUDispatcher):
    """A function as Python calls it; compiled functions see its other form, `part`."""

    part: CPUDispatcher

    @property
    def _numba_type_(self) -> types.Dispatcher:
        return types.Dispatcher(self.part)


class _Part(CPUDispatcher):
    """A function as other compiled functions call it. Of constants only the type counts: one form is enough."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        return super().get_call_template(tuple(unliteral(one) for one in args), kws)


class _Intermediate(JITCodeLibrary):
    """Code that never runs by itself: not optimised as a whole, never made machine code, so without any address."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return _WithoutEnvironment(self._codegen)


class _Called(_Intermediate):
    """The same, of a function that stays one where it is taken in."""

    def add_llvm_module(self, module: Any) -> None:
        for function in module.functions:
            if not function.is_declaration:
                function.add_function_attribute("noinline")
        super().add_llvm_module(module)


class _TakenIn(Compiler):
    """Compiles a function as far as its callers need it."""

    library = _Intermediate

    def __init__(self, typing: Any, target: Any, library: None, *rest: Any) -> None:
        super().__init__(typing, target, self.library(target.codegen(), "part"), *rest)


class _Apart(_TakenIn):
    library = _Called


class _WithoutEnvironment:
    """A code generator that leaves out what has no address; numba would write it to address 0."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        pass


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
