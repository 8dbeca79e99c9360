"""`almenara notify NAME`: a test message through one notifier of a configuration file, and what became of it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from difflib import get_close_matches
from pathlib import Path

from almenara.alarm.message import About, trial_notice
from almenara.config.load import Config, load
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.text import one_line

#: As long as the hub waits for a notifier.
LONGEST_S = 60.0


def run(name: str, file: Path) -> int:
    """The exit code: 0 it was taken, 1 it was not. Raises ConfigError. No hub has to run, and none is asked."""
    config = load(file)
    if name not in config.notifiers:
        near = get_close_matches(name, config.notifiers, 1)
        known = ", ".join(config.notifiers) or "none"
        hint = f"did you mean {near[0]}?" if near else f"there are: {known}"
        raise ConfigError([Problem(f"{file}: notifiers.{one_line(name, 60)}", "there is no such notifier", hint)])
    began = time.monotonic()
    try:
        asyncio.run(_send(name, config))
    except NotifyError as error:
        again = "a hub would try it again" if error.retry else "a hub would give it up"
        print(f"{name}: not sent: {error} ({again})", file=sys.stderr)
        return 1
    print(f"{name}: sent, and taken by the other side in {time.monotonic() - began:.1f} s")
    return 0


async def _send(name: str, config: Config) -> None:
    """Raises NotifyError."""
    site = config.site
    about = About(site.name, site.url, site.timezone)
    with tempfile.TemporaryDirectory() as notes:  # those of a hub at work are its own
        notifier = config.notifiers[name].build(clock=time.time_ns, folder=Path(notes))
        try:
            async with asyncio.timeout(LONGEST_S):
                await notifier.notify(trial_notice(about, name, time.time_ns()))
        except TimeoutError as error:
            raise NotifyError(f"no answer within {LONGEST_S:g} s", retry=True) from error
        finally:
            if hasattr(notifier, "close"):
                await notifier.close()
