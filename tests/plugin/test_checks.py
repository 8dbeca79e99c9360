"""The checks of the contracts find what breaks them; each plugin here breaks one thing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from almenara.model.batch import Batch, Decoded, Verdict
from almenara.model.errors import DecodeError, PluginError
from almenara.model.series import Series
from almenara.plugin.checks import check
from almenara.plugin.contracts import Context


class Good:
    """Rows as JSON lists."""

    def decode(self, payload: bytes, context: Context) -> Decoded:
        try:
            rows = json.loads(payload)
            return Decoded(Batch.of((Series(n, tuple(map(tuple, ls))), t, v) for n, ls, t, v in rows))
        except (ValueError, TypeError) as error:
            raise DecodeError(str(error)) from error
        except RecursionError as error:
            raise DecodeError("too deep") from error

    def encode(self, batch: Batch) -> bytes:
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        return json.dumps([[batch.series[i].name, batch.series[i].labels, t, v] for i, t, v in rows]).encode()


class Still:
    """Knows the mean of each series, and scores the distance."""

    causes = ("far",)

    def __init__(self) -> None:
        self.sums = np.zeros((2, 2))

    def step(self, batch: Batch) -> Verdict:
        return self.run(batch, self.sums)

    def look(self, batch: Batch) -> Verdict:
        return self.run(batch, self.sums.copy())

    def run(self, batch: Batch, sums: Any) -> Verdict:
        score = np.full(len(batch), np.nan)
        for i in range(len(batch)):
            n, total = sums[batch.id[i]]
            score[i] = abs(batch.value[i] - total / n) if n else np.nan
            if batch.value[i] == batch.value[i]:
                sums[batch.id[i]] += 1, batch.value[i]
        nan = np.full((3, len(batch)), np.nan)
        return Verdict(score, *nan, np.ones(len(batch)), np.full(len(batch), -1, np.int16))

    def state(self) -> dict[str, Any]:
        return {"sums": self.sums.copy()}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        self.sums = np.array(arrays["sums"])


def test_good_plugins_pass() -> None:
    assert check("codec", Good) == []
    assert check("detector", Still) == []


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(PluginError, match="'codecs' is no kind of plugin"):
        check("codecs", Good)


def undocumented(self: Any, *, color: str = "") -> None: ...


def untyped(self: Any, *, color="") -> None: ...  # type: ignore[no-untyped-def]


def strange(self: Any, *, color: complex = 1j) -> None: ...


def misfit(self: Any, *, color: int = "red") -> None: ...  # type: ignore[assignment]


def reserved(self: Any, *, match: str = "") -> None: ...


def needed(self: Any, *, color: str) -> None: ...


DOC = "Rows as JSON lists.\n\nOptions:\n    {}: What it looks like."


@pytest.mark.parametrize(
    ("init", "doc", "said"),
    [
        (undocumented, "Rows as JSON lists.", "option color: is not described"),
        (untyped, DOC.format("color"), "option color: its type is missing or none"),
        (strange, DOC.format("color"), "option color: its type is missing or none"),
        (misfit, DOC.format("color"), 'option color: its default must be a whole number; got "red"'),
        (reserved, DOC.format("match"), "option match: this name means something else"),
        (needed, DOC.format("color"), "cannot be made from its options: Plugin.color: is missing"),
        (undocumented, DOC.format("colour"), "option colour: is described, but the constructor does not have it"),
        (Good.__init__, "", "has no docstring"),
        (Good.__init__, "JSON lists", "its docstring's first line is no sentence: 'JSON lists'"),
    ],
)
def test_options_that_break_the_rules(init: Any, doc: str, said: str) -> None:
    plugin = type("Plugin", (Good,), {"__init__": init, "__doc__": doc})
    assert any(said in p for p in check("codec", plugin)), check("codec", plugin)


def test_an_example_stands_in_for_options_that_must_be_given() -> None:
    parts = {"__init__": needed, "__doc__": DOC.format("color"), "example": {"color": "red"}}
    assert check("codec", type("Plugin", (Good,), parts)) == []


def test_a_missing_method_is_named() -> None:
    (said,) = check("detector", type("Plugin", (Good,), {"__doc__": "Judges nothing."}))
    assert said.startswith("does not keep the contract Detector: it lacks causes, look")


def lossy(self: Any, batch: Batch) -> bytes:
    return Good.encode(self, Batch(batch.series, batch.id, batch.time, [round(v) for v in batch.value]))


def careless(self: Any, payload: bytes, context: Context) -> Decoded:
    return Good.decode(self, json.dumps(json.loads(payload)).encode(), context)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"encode": lossy}, "decode(encode(rows)) gave other rows"),
        ({"decode": careless}, "raised JSONDecodeError"),
        ({"encode": lambda self, batch: "text"}, "encode gave str, expected bytes"),
    ],
)
def test_codecs_that_break_the_contract(parts: dict[str, Any], said: str) -> None:
    found = check("codec", type("Plugin", (Good,), {"__doc__": Good.__doc__, **parts}))
    assert any(said in p for p in found), found


def at_once(self: Any, batch: Batch, sums: Any) -> Verdict:
    verdict = Still.run(self, batch, sums)
    return Verdict(
        np.nan_to_num(verdict.score), *(getattr(verdict, n) for n in ("yhat", "lower", "upper", "share", "cause"))
    )


def by_batch(self: Any, batch: Batch, sums: Any) -> Verdict:
    verdict = Still.run(self, batch, sums)
    return Verdict(
        verdict.score + len(batch), *(getattr(verdict, n) for n in ("yhat", "lower", "upper", "share", "cause"))
    )


def short(self: Any, batch: Batch, sums: Any) -> Verdict:
    verdict = Still.run(self, batch, sums)
    return Verdict(
        verdict.score, *(getattr(verdict, n) for n in ("yhat", "lower", "upper", "share")), verdict.cause[1:]
    )


def beyond(self: Any, batch: Batch, sums: Any) -> Verdict:
    verdict = Still.run(self, batch, sums)
    verdict.cause[:] = 1
    return verdict


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"run": at_once}, "expected NaN, nothing is known yet"),
        ({"run": by_batch}, "scores depend on how rows were cut into batches"),
        ({"run": short}, "step: cause has 799 rows, expected 800"),
        ({"run": beyond}, "cause 1 is none of the 1 causes"),
        ({"look": Still.step}, "look gave row 0 the score nan, step"),
        ({"state": lambda self: {"sums": self.sums}}, "state() gave arrays that changed later; expected copies"),
        ({"state": lambda self: {"x": [1]}}, "state() must give arrays of plain numbers"),
        ({"restore": lambda self, arrays: None}, "after restore(state()) the scores differ"),
    ],
)
def test_detectors_that_break_the_contract(parts: dict[str, Any], said: str) -> None:
    found = check("detector", type("Plugin", (Still,), {"__doc__": Still.__doc__, **parts}))
    assert any(said in p for p in found), found


class Bell:
    """Rings."""

    def notify(self, notice: Any) -> None: ...


class Lazy:
    """Gives no stream."""

    async def batches(self) -> None: ...


def test_async_kinds_must_be_async() -> None:
    assert check("notifier", Bell) == ["notify must be a coroutine function (async def)"]
    assert check("collector", Lazy) == ["batches must be an async generator; a coroutine function gives no iterator"]
