"""`kernel`, `bare`, `inlined`: how functions of this folder are compiled."""

from __future__ import annotations

from typing import Any

from almenara._compiled import njit

_options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
#: Compiled on first use and kept on disk; division by zero gives inf, which no kernel here lets happen.
kernel = njit(**_options, _nrt=True)
#: The same for what makes no arrays: without counting references to parts of a slot, which costs a call each.
bare = njit(**_options, _nrt=False)
#: The same for what every row passes through: put into its caller, not called. Results are the same bits.
inlined = njit(**_options, _nrt=False, inline="always")
