"""The log of a program: where it is written, and what is kept out of it."""

from __future__ import annotations

import logging


def write_log() -> None:
    """Write the log to standard error, from INFO on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    keep_urls_out()


def keep_urls_out() -> None:
    """httpx tells at INFO of every request with its whole URL, and some have secrets in them."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
