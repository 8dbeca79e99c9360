"""What the hub has learned, as a snapshot holds it: the parts of judging and of alarms, and how both go on from it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from almenara.pipeline.judge import Judge
from almenara.pipeline.snapshot import Damaged, Saved, State

log = logging.getLogger(__name__)

_JUDGE, _ALARMS = "judge ", "alarms"


class _Inside(Protocol):
    def state(self) -> Mapping[str, np.ndarray]: ...
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None: ...


def fingerprint_of(description: object) -> str:
    """A short digest of anything JSON can hold, as of the options that what was learned depends on."""
    return hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()[:16]


def rest_of(judge: Judge, alarms: _Inside) -> State:
    """What is not by series, or cannot be taken so; `judge.part` gives the others."""
    learned = {_JUDGE + name: arrays for name, arrays in judge.rest().items()}
    try:
        return learned | {_ALARMS: alarms.state()}
    except Exception as error:  # what detectors learned is worth keeping all the same
        log.warning("how alarms are inside is not written down: %r", error)
        return learned


def go_on(saved: Saved, make: Callable[[], Judge], alarms: _Inside) -> Judge | None:
    """A judge that goes on from a snapshot, and alarms too; None where it cannot be read: nothing of it is used."""
    judge = make()
    try:
        rest = saved.rest()
        mine = {name.removeprefix(_JUDGE): found for name, found in rest.items() if name.startswith(_JUDGE)}
        judge.restore(mine, saved.parts())
    except (Damaged, ValueError, KeyError) as error:
        log.warning("%s: detectors learn again from the store: %r", saved.path, error)
        return None
    try:
        if inside := rest.get(_ALARMS):
            alarms.restore(inside)
    except (ValueError, KeyError) as error:
        log.warning("alarms do not take up how they were inside: %s", error)
    return judge
