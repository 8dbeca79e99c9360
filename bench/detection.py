"""How right is detection? A detector, with no options set, on planted cases, real labelled servers and clean data.

    .venv/bin/python bench/detection.py [--quick] [--data FOLDER] [--json FILE] [--detector seasonal]

Beside it, in the same run: a z-score by time of week, a rolling MAD, and, where they are installed (they are no
dependencies of the project), detectors of river and pyod. `--data` or ALMENARA_DATA names a folder with omi-3.npz,
omi-8.npz and pjm_hourly_2008_2010.csv.gz; what is not there is left out and named. The measures are told in
docs/explanation/detection.md.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from detection_corpora import Corpus, kpis, load, of_packages, servers
from detection_measures import LEVELS, as_dict, by_age, calibration, found
from detection_peers import PACKAGED, TEXTBOOK

from almenara.analysis.occasions import Calendar
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.plugin.registry import load as load_plugin
from almenara.testing.planted import GROUPS, Case, Planted, batch_of, outcome

Judge = Callable[[Corpus, float], np.ndarray]
SERVERS, LOAD = ("omi-3", "omi-8"), "pjm_hourly_2008_2010.csv.gz"


def ours(name: str) -> tuple[Judge, Callable[..., Any], float]:
    """(scores of a corpus, how to make the detector for a time zone, its p_limit)."""
    cls = load_plugin("detector", name)
    options = inspect.signature(cls).parameters
    p_limit = options["p_limit"].default if "p_limit" in options else 1e-4

    def make(timezone: str, calendars: tuple[Calendar, ...] = ()) -> Any:
        told = {"timezone": timezone, "calendars": calendars}
        return cls(**{name: value for name, value in told.items() if name in options})

    def judge(corpus: Corpus, _: float) -> np.ndarray:
        batch = Batch(SeriesTable(), corpus.id, corpus.time, corpus.value)
        return np.asarray(make(corpus.timezone, corpus.calendars).step(batch).score)

    return judge, make, p_limit


def _as_corpus(planted: Planted) -> Corpus:
    value = np.asarray(batch_of(planted).value)
    first = planted.quiet_from_ns
    return Corpus(
        "", planted.id, planted.time, value, None, first, first, planted.timezone, calendars=planted.calendars
    )


def cases(judges: dict[str, Judge], p_limit: float, seeds: int) -> list[dict[str, Any]]:
    """One row a case and judge: totals over the seeds; of the judges beside the first over one seed."""
    out = []
    for group, members in GROUPS.items():
        for case in members:
            planted = [case.planted(seed) for seed in range(1, seeds + 1)]
            for nth, (judge, score) in enumerate(judges.items()):
                mine = planted[:1] if nth else planted
                out.append({"group": group, "judge": judge} | _case(case, mine, score, p_limit))
    return out


def _case(case: Case, planted: list[Planted], score: Judge, p_limit: float) -> dict[str, Any]:
    seen = [outcome(case, one, score(_as_corpus(one), p_limit)) for one in planted]
    faults, weeks = sum(o.faults for o in seen), sum(o.series_weeks for o in seen)
    delays = [d for o in seen for d in o.delays]
    return {
        "case": case.name,
        "about": case.about,
        "faults": faults,
        "found": sum(o.found for o in seen),
        "median_delay": float(np.median(delays)) if delays else None,
        "over": float(np.mean([o.over for o in seen])),
        "false_a_week": sum(o.false_alerts for o in seen) / weeks if weeks else 0.0,
        "held": not any(o.broken for o in seen),
        "broken": sorted({text for o in seen for text in o.broken}),
    }


def corpora(folder: Path | None, quick: bool) -> Iterator[Corpus | str]:
    """All that is there; a text for what is not."""
    each = 1 if quick else 3
    yield kpis(each, faults=True)
    yield kpis(1, faults=False)
    for name in [n for n in SERVERS if not (folder and (folder / f"{n}.npz").is_file())]:
        yield f"{name}.npz"
    here = tuple(n for n in SERVERS if folder and (folder / f"{n}.npz").is_file())
    if folder and here:
        yield from servers(folder, here)
    if folder and (folder / LOAD).is_file():
        yield load(folder, faults=True)
        yield load(folder, faults=False)
    else:
        yield LOAD
    yield from of_packages()


def causal(make: Callable[..., Any], seed: int = 5) -> dict[str, Any]:
    """Is every verdict the same to the bit, however rows are batched, and whatever comes after them?"""
    rng = np.random.default_rng(seed)
    picked = [c for members in GROUPS.values() for c in members[:3]]
    parts = [case.planted(seed) for case in picked]
    value = [np.asarray(batch_of(p).value) for p in parts]
    take = [p.id == 0 for p in parts]
    id = np.concatenate([np.full(int(t.sum()), k, np.int32) for k, t in enumerate(take)])
    when = np.concatenate([p.time[t] for p, t in zip(parts, take, strict=True)])
    values = np.concatenate([v[t] for v, t in zip(value, take, strict=True)])
    table, whole = SeriesTable(), make("UTC").step(Batch(SeriesTable(), id, when, values))
    order, cut_scores, detector, at = np.argsort(when, kind="stable"), np.empty(len(id)), make("UTC"), 0
    while at < len(id):
        rows = np.sort(order[at : at + int(rng.integers(1, 20_000))])
        cut_scores[rows] = detector.step(Batch(table, id[rows], when[rows], values[rows])).score
        at += len(rows)
    early = np.sort(order[: len(order) // 2])
    prefix = make("UTC").step(Batch(table, id[early], when[early], values[early])).score
    return {
        "rows": len(id),
        "batching": np.asarray(whole.score).tobytes() == cut_scores.tobytes(),
        "prefix": np.asarray(whole.score)[early].tobytes() == np.asarray(prefix).tobytes(),
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    judge, make, p_limit = ours(asked.detector)
    simple: dict[str, Judge] = {asked.detector: judge, **TEXTBOOK}
    every = simple if asked.quick else simple | PACKAGED
    result: dict[str, Any] = {"detector": asked.detector, "p_limit": p_limit, "missing": [], "corpora": [], "clean": []}
    result["causal"] = causal(make)
    result["cases"] = cases(simple, p_limit, 1 if asked.quick else 3)
    kept: dict[str, tuple[Corpus, np.ndarray]] = {}
    for corpus in corpora(asked.data, asked.quick):
        if isinstance(corpus, str):
            result["missing"].append(corpus)
            continue
        for name, scores in (simple if corpus.label is None else every).items():
            begun = time.process_time()
            try:
                # The same servers, by metric and as wholes, are judged once.
                again = name in kept and kept[name][0].value is corpus.value
                said = kept[name][1] if again else scores(corpus, p_limit)
                kept[name] = corpus, said
            except ImportError as error:
                if error.name not in result["missing"]:
                    result["missing"].append(error.name)
                continue
            row: dict[str, Any] = {"corpus": corpus.name, "judge": name, "cpu_s": time.process_time() - begun}
            if corpus.label is not None:
                result["corpora"].append(row | as_dict(found(corpus, said)))
            else:
                result["clean"].append(row | calibration(corpus, said, p_limit) | {"by_age": by_age(corpus, said)})
    return result


def show(result: dict[str, Any]) -> Iterator[str]:
    """The tables, line by line, as Markdown."""
    causal, own = result["causal"], result["detector"]
    yield f"\n{own}, {causal['rows']:,} rows: equal however batched: {causal['batching']}; "
    yield f"the score of a prefix is the prefix of the scores: {causal['prefix']}\n"
    yield from _show_cases(result["cases"], own)
    yield "\n| corpus | judge | F1 | precision | recall | false a week | F1, best threshold | F1 of points | CPU s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in result["corpora"]:
        yield (
            f"| {row['corpus']} | {row['judge']} | {row['f1']:.3f} | {row['precision']:.2f} | {row['recall']:.2f} | "
            f"{row['false_a_week']:.2f} | {row['best_f1']:.3f} | {row['point_f1']:.3f} | {row['cpu_s']:.1f} |"
        )
    yield from _show_clean(result["clean"])
    if result["missing"]:
        yield f"\nNot there, and left out: {', '.join(result['missing'])}"


def _show_cases(rows: list[dict[str, Any]], own: str) -> Iterator[str]:
    judges = list(dict.fromkeys(row["judge"] for row in rows))
    others = [judge for judge in judges if judge != own]
    beside = " | ".join(f"{judge}: found, false" for judge in others)
    yield f"| case | found | after rows | of its rows over | false a week | promises | {beside} |"
    yield "|---" * (6 + len(others)) + "|"
    table = {(row["case"], row["judge"]): row for row in rows}
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = table[case, own]
        delay = "" if mine["median_delay"] is None else f"{mine['median_delay']:.0f}"
        found, over = (f"{mine['found']} of {mine['faults']}", f"{mine['over']:.0%}") if mine["faults"] else ("", "")
        compared = " | ".join(
            f"{table[case, j]['found']} of {table[case, j]['faults']}, {table[case, j]['false_a_week']:.1f}"
            for j in others
        )
        held = "kept" if mine["held"] else "**broken**"
        yield f"| {case} | {found} | {delay} | {over} | {mine['false_a_week']:.2f} | {held} | {compared} |"
    for judge in judges:
        mine = [row["held"] for row in rows if row["judge"] == judge]
        yield f"\n{judge}: {sum(mine)} of {len(mine)} cases kept"


def _show_clean(rows: list[dict[str, Any]]) -> Iterator[str]:
    beyond = " | ".join(f"p <= {p:g}" for p in LEVELS)
    yield f"\n| clean data | judge | 95 % band covers | {beyond} | alerts a series and week |"
    yield "|---" * (4 + len(LEVELS)) + "|"
    for row in rows:
        shares = " | ".join(f"{row['share_beyond'][str(p)]:.2g}" for p in LEVELS)
        yield f"| {row['corpus']} | {row['judge']} | {row['coverage_95']:.1%} | {shares} | {row['alerts_a_week']:.2f} |"
    yield "\n| clean data | judge | rows to the first verdict | alerts a series and day, by age in days |"
    yield "|---|---|---|---|"
    for row in rows:
        ages = ", ".join(f"{age}: {rate:.2f}" for age, rate in row["by_age"].items() if age[0].isdigit())
        yield f"| {row['corpus']} | {row['judge']} | {row['by_age']['rows_to_first_verdict']:.0f} | {ages} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, fewer series, no river and no pyod")
    parser.add_argument("--data", type=Path, default=os.environ.get("ALMENARA_DATA"), help="folder of labelled sets")
    parser.add_argument("--json", type=Path, help="write all figures there too; equal but for cpu_s")
    parser.add_argument("--detector", default="seasonal")
    asked = parser.parse_args()
    asked.data = Path(asked.data) if asked.data else None
    result = measure(asked)
    print("\n".join(show(result)))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
