"""The gate: has a run fallen behind its baseline by more than chance and than we accept.

A metric gates if it has a tolerance; the others are shown. It fails when it got worse by more than
its tolerance *and* the paired bootstrap over the same documents gives a p-value below the level.
Either alone is no reason: a small loss can be significant, and a large one can be luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .metrics import Better, statistics_of
from .runs import MetricScore, Run
from .scores import ScoreError
from .significance import (
    Comparison,
    SegmentStatistics,
    Test,
    compare_systems,
)

Status = Literal["failed", "worse", "same", "better", "changed", "alone"]
Verdict = Literal["passed", "failed", "no baseline"]

_MAX_CHANGES = 6
# A paired test over fewer documents says nothing.
MIN_DOCUMENTS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """What the gate says of one metric.

    `status`: `failed` the gate; `worse` or `better` significantly; `same` otherwise; `changed`
    significantly, of a metric for which neither way is better; `alone` has nothing to compare with
    (`note` says why). `baseline` and `difference` (this run minus the baseline) are over the
    `documents` that both runs have. Against a threshold there is no test: `p_value` is None.
    """

    dataset: str
    task: str
    metric: str
    better: Better
    value: float
    status: Status
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    tolerance: float | None = None
    documents: int = 0
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """The data set, the task and the metric."""
        return self.dataset, self.task, self.metric


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on a run: `baseline` says what it was compared with."""

    verdict: Verdict
    baseline: str | None
    lines: Sequence[Line]
    notes: Sequence[str] = ()
    level: float = 0.05

    @property
    def failed(self) -> list[Line]:
        """The metrics for which the gate was not met."""
        return [line for line in self.lines if line.status == "failed"]


def tolerance_of(tolerances: Mapping[str, float], key: tuple[str, str, str]) -> float | None:
    """Look a tolerance up: by `dataset/task/metric`, else `task/metric`, else `metric`."""
    dataset, task, metric = key
    for name in (f"{dataset}/{task}/{metric}", f"{task}/{metric}", metric):
        if name in tolerances:
            return tolerances[name]
    return None


def without_baseline(run: Run, tolerances: Mapping[str, float], note: str) -> Gate:
    """The gate of a run that there is nothing to compare with."""
    lines = [_alone(score, tolerances, "") for score in run.scores]
    return Gate("no baseline", None, lines, (note,))


def compare_with_run(
    run: Run,
    baseline: Run,
    tolerances: Mapping[str, float],
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.05,
) -> Gate:
    """Compare with another run, over the documents that both have with equal references."""
    notes = list(_differences(run, baseline))
    lines = []
    for score in run.scores:
        compared = compare_scores(score, baseline, {run.id: run}, seed=seed, samples=samples)
        if isinstance(compared, str):
            lines.append(_alone(score, tolerances, compared))
        else:
            lines.append(_line(score, *compared[run.id], tolerances, level))
    missing = {s.key for s in baseline.scores} - {s.key for s in run.scores}
    gating = sorted("/".join(k) for k in missing if tolerance_of(tolerances, k) is not None)
    if uncompared := [line for line in lines if line.status == "alone" and line.tolerance]:
        notes.append(
            "not compared: "
            + "; ".join(f"{'/'.join(line.key)} ({line.note})" for line in uncompared)
        )
    if gating:
        notes.append(f"the baseline has scores that this run lacks: {', '.join(gating)}")
    return Gate(_verdict(lines), baseline.id, lines, notes, level)


def compare_scores(
    score: MetricScore,
    baseline: Run,
    runs: Mapping[str, Run],
    *,
    seed: int,
    samples: int | None = None,
    test: Test = "bootstrap",
) -> dict[str, tuple[Comparison, int]] | str:
    """Compare one metric of several runs with the baseline's; Holm's correction over the runs.

    Gives by run the comparison and the number of documents, which is that of the documents that
    all have; or, in words, why they cannot be compared.
    """
    key = score.key
    old = baseline.score(key)
    if old is None:
        return f"{baseline.id} has no such score"
    new = {name: found for name, run in runs.items() if (found := run.score(key))}
    if lacking := runs.keys() - new.keys():
        return f"{', '.join(sorted(lacking))} has no such score"
    if any(other.signature != old.signature for other in new.values()):
        return "measured in another way (the signatures differ)"
    ids = _common(key, baseline, list(runs.values()), old, list(new.values()))
    if len(ids) < MIN_DOCUMENTS:
        return f"only {len(ids)} documents in common"
    statistics = {name: _statistics(found, ids) for name, found in new.items()}
    compared = compare_systems(
        _statistics(old, ids),
        statistics,
        seed=seed,
        samples=samples,
        test=test,
    )
    return {name: (comparison, len(ids)) for name, comparison in compared.items()}


def compare_with_thresholds(
    run: Run, thresholds: Mapping[str, float], tolerances: Mapping[str, float], name: str
) -> Gate:
    """Compare with fixed numbers: a metric fails past its threshold by more than its tolerance.

    Keys are as in tolerances. `name` says in the report where the numbers are from. Raises
    ScoreError for a threshold that no score of the run has use for, and for a metric for which
    neither way is better.
    """
    lines, used = [], set()
    for score in run.scores:
        threshold = tolerance_of(thresholds, score.key)
        if threshold is None:
            lines.append(_alone(score, {}, "no threshold"))
            continue
        used |= {"/".join(score.key[start:]) for start in range(3)} & thresholds.keys()
        if score.better == "neither":
            raise ScoreError(
                f"{name}: neither way is better for {score.metric}: take its threshold out"
            )
        tolerance = tolerance_of(tolerances, score.key) or 0.0
        difference = score.value - threshold
        loss = -difference if score.better == "higher" else difference
        status: Status = "failed" if loss > tolerance else "same"
        lines.append(
            Line(
                *score.key,
                better=score.better,
                value=score.value,
                status=status,
                baseline=threshold,
                difference=difference,
                tolerance=tolerance,
                documents=len(score.per_item),
            )
        )
    if unused := sorted(thresholds.keys() - used):
        raise ScoreError(f"{name}: the run has no score for {', '.join(unused)}")
    return Gate(_verdict(lines), name, lines)


def _verdict(lines: Sequence[Line]) -> Verdict:
    if any(line.status == "failed" for line in lines):
        return "failed"
    return "passed" if any(line.status != "alone" for line in lines) else "no baseline"


def _alone(score: MetricScore, tolerances: Mapping[str, float], note: str) -> Line:
    return Line(
        *score.key,
        better=score.better,
        value=score.value,
        status="alone",
        tolerance=tolerance_of(tolerances, score.key),
        documents=len(score.per_item),
        note=note,
    )


def _line(
    score: MetricScore,
    comparison: Comparison,
    documents: int,
    tolerances: Mapping[str, float],
    level: float,
) -> Line:
    tolerance = tolerance_of(tolerances, score.key)
    significant = comparison.p_value < level
    interval = comparison.interval
    status: Status = "same"
    if significant and score.better == "neither":
        status = "changed"
    elif significant:
        gain = comparison.difference if score.better == "higher" else -comparison.difference
        status = "better" if gain > 0 else "worse"
        if tolerance is not None and -gain > tolerance:
            status = "failed"
    return Line(
        *score.key,
        better=score.better,
        value=score.value,
        status=status,
        baseline=comparison.baseline,
        difference=comparison.difference,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p_value=comparison.p_value,
        tolerance=tolerance,
        documents=documents,
    )


def _common(
    key: tuple[str, str, str],
    baseline: Run,
    runs: Sequence[Run],
    old: MetricScore,
    new: Sequence[MetricScore],
) -> list[str]:
    """The ids of documents that all runs scored, with equal references, in the baseline's order."""
    dataset, task, _ = key
    references = [
        {r.id: r.references.get(task) for r in run.records if r.dataset == dataset}
        for run in (baseline, *runs)
    ]
    return [
        id_
        for id_ in old.per_item
        if all(id_ in score.per_item for score in new)
        and all(id_ in r and r[id_] == references[0][id_] for r in references)
    ]


def _statistics(score: MetricScore, ids: Sequence[str]) -> SegmentStatistics:
    rows = [score.rows[id_] if score.rows else (score.per_item[id_], 1.0) for id_ in ids]
    return statistics_of(score.metric, rows)


def _differences(run: Run, baseline: Run) -> Iterator[str]:
    """What a reader should know of two runs before believing the numbers."""
    ours = {(r.dataset, r.id) for r in run.records}
    theirs = {(r.dataset, r.id) for r in baseline.records}
    if only := len(theirs - ours):
        yield f"{only} documents of the baseline are not in this run and were left out"
    if only := len(ours - theirs):
        yield f"{only} documents of this run are not in the baseline and were left out"
    failures = [sum(r.error is not None for r in x.records) for x in (baseline, run)]
    if failures[1] > failures[0]:
        yield f"documents that could not be processed: {failures[1]}; in the baseline {failures[0]}"
    for kind in ("models", "versions"):
        old, new = (x.info.get(kind) or {} for x in (baseline, run))
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if changed:
            yield f"{kind} that differ: " + ", ".join(
                f"{name} ({old.get(name, 'none')} → {new.get(name, 'none')})" for name in changed
            )
    changed = [
        f"{name} ({_short(old)} → {_short(new)})"
        for name, old, new in _changes(*(_pipeline(x) for x in (baseline, run)))
    ]
    if changed:
        more = f" and {len(changed) - _MAX_CHANGES} more" if len(changed) > _MAX_CHANGES else ""
        yield f"the pipeline's configuration differs: {', '.join(changed[:_MAX_CHANGES])}{more}"
    if (old := baseline.info.get("device")) != (new := run.info.get("device")):
        yield f"the device differs: {old} → {new}"


def _pipeline(run: Run) -> Any:
    return (run.info.get("config") or {}).get("pipeline") or {}


def _changes(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys at which two configurations differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from _changes(old.get(key), new.get(key), f"{name}.{key}" if name else str(key))
    elif old != new:
        yield name, old, new


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
