"""Compiled code that is kept on disk never outlives a source that it was made of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import almenara
from almenara._compiled import njit, stamp_of

ROOT = Path(almenara.__file__).parent

KERNEL = "from almenara._compiled import njit\n"
TOP = KERNEL + (
    "from almenara.low import (\n    UNIT,  # a constant\n    half,\n)\n\n\n"
    "@njit(cache=True)\ndef top(x):\n    return half(x) + UNIT\n"
)
LOW = KERNEL + "from almenara.more.units import UNIT\n\n\n@njit(cache=True)\ndef half(x):\n    return x / 2\n"


def write(folder: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        before = (folder / name).stat() if (folder / name).exists() else None
        (folder / name).write_text(text)
        if before is not None:  # as from an archive: dates tell nothing
            os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_kernel_is_compiled_anew_when_a_file_below_it_has_changed(tmp_path: Path) -> None:
    package = tmp_path / "almenara"
    write(package, {"__init__.py": "", "more/__init__.py": "", "more/units.py": "UNIT = 1\n"})
    write(package, {"low.py": LOW, "top.py": TOP})
    shutil.copy(ROOT / "_compiled.py", package)
    code = "from almenara.top import top as f; print(f.__code__.co_filename, f(10.0), sum(f.stats.cache_hits.values()))"

    def run() -> str:
        command = [sys.executable, "-P", "-c", code]
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        file, _, said = ended.stdout.strip().partition(" ")
        assert file == str(package / "top.py")
        return said

    assert [run(), run()] == ["6.0 0", "6.0 1"]
    write(package, {"low.py": LOW.replace("x / 2", "x / 5")})
    assert run() == "3.0 0"
    write(package, {"more/units.py": "UNIT = 4\n"})
    assert run() == "6.0 0"


def test_a_stamp_is_of_a_file_and_all_that_it_imports(tmp_path: Path) -> None:
    def stamps(**changed: str) -> tuple[bytes, ...]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        sources = {"low": LOW, "top": TOP, "other": "import almenara.top\n", "more/units": "UNIT = 1\n"}
        write(folder, {f"{name}.py": text for name, text in (sources | changed).items()})
        return tuple(stamp_of(folder / f"{name}.py", folder) for name in ("low", "top", "other"))

    as_it_was, low, top = stamps(), stamps(low=LOW + "#"), stamps(top=TOP + "#")
    assert stamps() == as_it_was
    assert [a == b for a, b in zip(low, as_it_was, strict=True)] == [False, False, False]
    assert [a == b for a, b in zip(top, as_it_was, strict=True)] == [True, False, False]
    assert not set(stamps(**{"more/units": "UNIT = 2\n"})) & set(as_it_was)


def test_all_kernels_are_stamped() -> None:
    own = re.compile(r"^from numba import .*\bn?jit\b|numba\.n?jit", re.MULTILINE)
    files = [path for path in ROOT.rglob("*.py") if path.name != "_compiled.py"]
    assert [path for path in files if own.search(path.read_text())] == []


def test_a_function_is_compiled_once_for_its_callers_and_once_more_if_python_calls_it() -> None:
    @njit(nogil=True)
    def times(x: float, n: int) -> float:
        return x * n

    @njit(nogil=True)
    def five_times(x: float) -> float:
        return float(times(x, 2) + times(x, 3))

    assert five_times(1.5) == 7.5
    assert (len(times.part.signatures), len(times.signatures)) == (1, 0)
    assert times(1.5, 4) == 6.0
    assert (len(times.part.signatures), len(times.signatures)) == (1, 1)
