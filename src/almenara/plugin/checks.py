"""What every plugin must do, as functions that anyone can call: `assert check("detector", MyDetector) == []`.

The checks look at the class (docstring, options), make an instance (from the defaults, or from the options in a class
attribute `example`), and try what the contract of its kind promises, as far as that needs no network. The house runs
them on every registered plugin (tests/contract/test_plugins.py); stores have a suite of their own besides,
`almenara.testing.stores`.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from almenara.model.batch import Batch, Decoded, Verdict
from almenara.model.errors import AlmenaraError, ConfigError, DecodeError, PluginError
from almenara.model.series import Series, SeriesTable
from almenara.model.time import NS
from almenara.plugin.contracts import KINDS, Context
from almenara.plugin.options import REQUIRED, build, option_docs, options_of
from almenara.plugin.values import Invalid, Secret, check_value, is_known

#: Keys of a plugin's table in a configuration file that are not the plugin's own.
RESERVED = frozenset({"plugin", "codec", "match"})

#: Methods that must be coroutines, and those that must give an async iterator.
COROUTINES = {"transport": ("send",), "notifier": ("notify",)}
STREAMS = {"transport": "receive", "collector": "batches"}


def check(kind: str, cls: Any) -> list[str]:
    """Everything a plugin does wrong, a sentence each; empty where it keeps its contract. Raises PluginError for a
    kind that there is not."""
    if kind not in KINDS:
        raise PluginError(f"{kind!r} is no kind of plugin; expected one of {', '.join(KINDS)}")
    if not isinstance(cls, type):
        return [f"must be a class; got {type(cls).__name__}"]
    found = [*_check_docstring(cls), *_check_options(cls)]
    if found:
        return found
    with tempfile.TemporaryDirectory() as folder:
        return list(_check_instance(kind, cls, Path(folder)))


def make(cls: Any, folder: Path | None = None) -> Any:
    """An instance with the options of `cls.example`, else with the defaults."""
    return build(cls, getattr(cls, "example", {}), cls.__name__, folder=folder, clock=lambda: 1_760_000_000 * NS)


def _check_docstring(cls: Any) -> Iterator[str]:
    first = (cls.__doc__ or "").strip().partition("\n")[0].strip()
    if not first or first.startswith(f"{cls.__name__}("):
        yield "has no docstring; its first line says what the plugin is"
    elif not first.endswith((".", "?", "!")):
        yield f"its docstring's first line is no sentence: {first!r}"


def _check_options(cls: Any) -> Iterator[str]:
    options = options_of(cls)
    for option in options:
        place = f"option {option.name}"
        if option.name in RESERVED:
            yield f"{place}: this name means something else in a configuration file"
        if not option.help:
            yield f"{place}: is not described; write `{option.name}: ...` under `Options:` in the docstring"
        if not is_known(option.annotation):
            yield f"{place}: its type is missing or none that a configuration file can hold"
        elif option.default not in (REQUIRED, None) and not isinstance(option.default, Secret):
            default = list(option.default) if isinstance(option.default, tuple) else option.default
            try:
                check_value(str(default) if isinstance(default, Path) else default, option.annotation)
            except Invalid as error:
                yield f"{place}: its default {error}"
    for name in option_docs(cls).keys() - {o.name for o in options}:
        yield f"option {name}: is described, but the constructor does not have it"
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            yield f"option {parameter.name}: cannot be given by name"


def _check_instance(kind: str, cls: Any, folder: Path) -> Iterator[str]:
    try:
        plugin = make(cls, folder)
    except (AlmenaraError, TypeError) as error:
        needs = "; give working ones in a class attribute `example`" if isinstance(error, ConfigError) else ""
        yield f"cannot be made from its options: {error}{needs}"
        return
    contract = KINDS[kind][1]
    if not isinstance(plugin, contract):
        promised = sorted({*dir(contract), *contract.__annotations__})
        names = [n for n in promised if not n.startswith("_") and not hasattr(plugin, n)]
        yield f"does not keep the contract {contract.__name__}: it lacks {', '.join(names)}"
        return
    for name in COROUTINES.get(kind, ()):
        if not inspect.iscoroutinefunction(getattr(plugin, name)):
            yield f"{name} must be a coroutine function (async def)"
    stream = getattr(plugin, STREAMS.get(kind, ""), None)
    if stream and inspect.iscoroutinefunction(stream):
        yield f"{STREAMS[kind]} must be an async generator; a coroutine function gives no iterator"
    trial: Callable[[Any], Iterator[str]] | None = {"codec": check_codec, "detector": check_detector}.get(kind)
    if trial:
        yield from trial(plugin)
    if kind == "store":
        plugin.close()


# --- codecs -----------------------------------------------------------------------------------------------------------


def check_codec(codec: Any) -> Iterator[str]:
    """Rows come back as they were; damaged bytes give a DecodeError or fewer rows, never another error."""
    context = Context(received_ns=1_760_000_000 * NS)
    series = (Series.of("checked", host="a"), Series.of("checked", host="b"))
    rows = [(s, (1_760_000_000 + 60 * i) * NS, 20.25 + i) for s in series for i in range(3)]
    payload = codec.encode(Batch.of(rows))
    if not isinstance(payload, bytes):
        yield f"encode gave {type(payload).__name__}, expected bytes"
        return
    back = sorted(_rows(codec.decode(payload, context)), key=str)
    if back != sorted(rows, key=str):
        yield f"decode(encode(rows)) gave other rows: {back[:1]}, expected {rows[:1]}"
    if sorted(_rows(codec.decode(payload, context)), key=str) != back:
        yield "the same bytes gave other rows the second time"
    damaged = [b"", b"\x00", b"\xff\xfe\xfd", b"{" * 2000, *(payload[:n] for n in range(0, len(payload), 7))]
    for broken in damaged:
        try:
            codec.decode(broken, context)
        except DecodeError:
            continue
        except (Exception, RecursionError) as error:  # any other error, whatever it is, is what this looks for
            yield f"decode({broken[:20]!r}) raised {type(error).__name__}: {error}; expected DecodeError"
            return


def _rows(decoded: Decoded) -> list[tuple[Series, int, float]]:
    b = decoded.batch
    return [(b.series[i], int(t), float(v)) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


# --- detectors --------------------------------------------------------------------------------------------------------


def check_detector(detector: Any) -> Iterator[str]:
    """NaN until ready; the same verdicts however rows are cut into batches; `look` learns nothing; state comes back."""
    import numpy as np

    kind = type(detector)
    fresh = partial(make, kind)
    whole = _series(np)
    first, scores = _judge(np, detector.step, whole, 0, len(whole))
    for name in ("score", "yhat", "lower", "upper", "share", "cause"):
        if len(getattr(first, name)) != len(whole):
            yield f"step: {name} has {len(getattr(first, name))} rows, expected {len(whole)}"
            return
    if not np.isnan(scores[:2]).all():
        yield f"the very first rows of two series got the scores {scores[:2]}; expected NaN, nothing is known yet"
    if np.max(first.cause) >= len(kind.causes):
        yield f"cause {np.max(first.cause)} is none of the {len(kind.causes)} causes"
    other, cuts = fresh(), []
    for low in range(0, len(whole), 37):
        high = min(low + 37, len(whole))
        _, looked = _judge(np, other.look, whole, low, high)
        cuts.append(_judge(np, other.step, whole, low, high)[1])
        if not np.array_equal(looked[:1], cuts[-1][:1], equal_nan=True):
            yield f"look gave row {low} the score {looked[0]}, step {cuts[-1][0]}"
            return
    if not np.array_equal(np.concatenate(cuts), scores, equal_nan=True):
        yield "scores depend on how rows were cut into batches, or `look` learned"
    yield from _check_state(np, fresh, whole, scores)


def _check_state(np: Any, fresh: Callable[[], Any], whole: Batch, expected: Any) -> Iterator[str]:
    half = len(whole) // 2
    one, two = fresh(), fresh()
    _judge(np, one.step, whole, 0, half)
    state = one.state()
    if any(getattr(a, "dtype", None) is None or a.dtype.hasobject for a in state.values()):
        yield "state() must give arrays of plain numbers"
        return
    kept = {k: v.copy() for k, v in state.items()}
    _judge(np, one.step, whole, half, len(whole))
    if any(kept[k].tobytes() != state[k].tobytes() for k in kept):
        yield "state() gave arrays that changed later; expected copies"
    two.restore(kept)
    if not np.array_equal(_judge(np, two.step, whole, half, len(whole))[1], expected[half:], equal_nan=True):
        yield "after restore(state()) the scores differ from those of a detector that went on"


def _series(np: Any) -> Batch:
    """Two series of 400 rows, ten minutes apart, with a daily season and one step; the second has missing values.

    Rows are ordered by time, both series in turn, so that cuts fall inside both of them.
    """
    n, random = 400, np.random.default_rng(7)
    wave = 10 + 3 * np.sin(np.arange(n) * 2 * np.pi / 144)
    value = np.stack([wave + random.normal(0, 0.1, n), wave + random.normal(0, 0.1, n)], axis=1)
    value[300:310, 0] += 50
    value[1::50, 1] = np.nan
    time = np.repeat(1_760_000_000 * NS + np.arange(n, dtype=np.int64) * 600 * NS, 2)
    table = SeriesTable.of(Series.of("checked", host=h) for h in "ab")
    return Batch(table, np.tile(np.arange(2, dtype=np.int32), n), time, value.ravel())


def _judge(np: Any, method: Callable[[Batch], Verdict], whole: Batch, low: int, high: int) -> tuple[Verdict, Any]:
    """The verdict of rows [low, high), given ordered by (id, time) as detectors get them; the scores in our order."""
    order = low + np.argsort(whole.id[low:high], kind="stable")
    verdict = method(Batch(whole.series, whole.id[order], whole.time[order], whole.value[order]))
    scores = np.full(high - low, np.nan)
    scores[order - low] = verdict.score[: len(order)] if len(verdict.score) >= len(order) else np.nan
    return verdict, scores
