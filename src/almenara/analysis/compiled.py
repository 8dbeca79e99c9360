"""`kernel`: how functions of this folder are compiled."""

from __future__ import annotations

from almenara._compiled import njit

#: Compiled on first use and kept on disk; division by zero gives inf, which no kernel here lets happen.
kernel = njit(cache=True, nogil=True, error_model="numpy")
