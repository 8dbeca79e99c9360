"""The guard that keeps compiled readers true to their source: imported by every file of compiled functions here.

Numba keeps compiled code beside the source and compiles anew when the text of *that* file has changed. A function that
calls one of another file keeps a copy of it, so after a change there it would go on running old code.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_USES = re.compile(r"^from almenara\.codecs(?:\.(\w+))? import (?:\(([^)]*)\)|(.*))", re.MULTILINE)


def forget_stale(folder: Path) -> int:
    """Remove indexes of compiled code that are older than a source they were made of; says how many went."""
    dated = {source.stem: source.stat().st_mtime for source in folder.glob("*.py")}
    uses = {name: _used(folder / f"{name}.py") & dated.keys() for name in dated}
    gone = 0
    for index in (folder / "__pycache__").glob("*.nbi"):
        needed, left = set[str](), {index.name.partition(".")[0]} & dated.keys()
        while left:
            needed |= left
            left = {one for name in left for one in uses[name]} - needed
        with contextlib.suppress(OSError):  # another process was quicker, or the folder is not ours to write
            if index.stat().st_mtime < max((dated[name] for name in needed), default=0.0):
                index.unlink()
                gone += 1
    return gone


def _used(source: Path) -> set[str]:
    """The files of this folder that a source imports."""
    found = set()
    for module, many, one in _USES.findall(source.read_text(encoding="utf-8")):
        found |= {module} if module else {name.split()[0] for name in (many or one).split(",") if name.strip()}
    return found


forget_stale(Path(__file__).parent)
