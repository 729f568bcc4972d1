"""An evaluation run: examples to outputs, outputs to scores, everything kept in one folder.

A job is given a callable that turns examples into outputs; what stands behind it is not its
business. What it makes lies in the folder of the run: see `runs`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from .metrics import (
    METRICS,
    POOLED,
    Items,
    Measured,
    Metric,
    Scorer,
    measure,
    require_known,
)
from .runs import MetricScore, Record, append_outputs, whole_outputs
from .scores import ScoreError
from .significance import bootstrap_interval
from .tokenize import Language

log = logging.getLogger(__name__)

# What a system may make of a document, and the language of it. `agreement` is no text of its own:
# it looks at the English summary (as the hypothesis) and the Arabic one (as the source).
TASKS: dict[str, Language] = {
    "translation": "en",
    "summary_ar": "ar",
    "summary_en": "en",
    "agreement": "en",
}
# The Arabic summary in English, for `translated_chrf`: an output, so that scoring needs no model.
TRANSLATED = "summary_ar_translated"


@dataclass(frozen=True, slots=True)
class Example:
    """A document to evaluate on. `references` has a text for each task that it can be scored on."""

    dataset: str
    id: str
    source: str
    references: Mapping[str, str] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What a system made of one example.

    `texts` has one for each task. `source` is the text as the system read it (after cleaning);
    None means unchanged. `evidence` has, for each task, the numbers of the source sentences that
    the text rests on. `error` says why there is no output; the document then counts with an empty
    one, since leaving out what is hard would make the scores better.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    flags: Sequence[str] = ()
    evidence: Mapping[str, Sequence[int]] = field(default_factory=dict)
    error: str | None = None


System = Callable[[Sequence[Example]], Sequence[Output]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: metrics by task, the seed and size of the resampling, ROUGE's options.

    `others` are metrics from outside, by name. Raises ScoreError for a task or metric that does
    not exist.
    """

    metrics: Mapping[str, Sequence[str]]
    seed: int = 12345
    samples: int = 1000
    rouge: Mapping[str, bool] = field(default_factory=dict)
    others: Mapping[str, tuple[Metric, Scorer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for task, names in self.metrics.items():
            if task not in TASKS:
                raise ScoreError(f"no task {task!r}: there are {', '.join(TASKS)}")
            require_known(names, list(self.others))
            for name in names:
                needs = _metric(name, self).needs
                if task == "agreement" and needs == "reference":
                    raise ScoreError(f"agreement: {name} needs a reference, and has none here")
                if task != "agreement" and needs in ("evidence", "translation"):
                    raise ScoreError(f"{task}: {name} is for `agreement` only")

    @property
    def translates_summaries(self) -> bool:
        """Whether a metric needs the Arabic summary in English too."""
        names = self.metrics.get("agreement", ())
        return any(_metric(name, self).needs == "translation" for name in names)


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 over ids, sources and references, in order."""
    total = hashlib.sha256()
    for example in examples:
        row = [example.id, example.source, sorted(example.references.items())]
        total.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def check_examples(examples: Sequence[Example], plan: Plan) -> None:
    """Raise ScoreError for data that could not be scored, before a model has worked on it.

    That is: no example, an id that a data set has twice, a reference that some examples of a data
    set have and others lack or have empty, and a metric for which no data set has references.
    """
    if not examples:
        raise ScoreError("there is no example to evaluate on")
    seen: set[tuple[str, str]] = set()
    for example in examples:
        if (key := (example.dataset, example.id)) in seen:
            raise ScoreError(f"{example.dataset}: the id {example.id!r} is there twice")
        seen.add(key)
    for task, names in plan.metrics.items():
        metrics = [_metric(name, plan) for name in names]
        if not any(metric.needs == "reference" for metric in metrics):
            continue
        if not any(task in example.references for example in examples):
            raise ScoreError(
                f"no document has a reference for {task}: add them, or leave out the metrics that "
                f"need one: {', '.join(m.name for m in metrics if m.needs == 'reference')}"
            )
        for dataset, group in groupby(examples, key=lambda example: example.dataset):
            members = list(group)
            with_reference = [m for m in members if m.references.get(task, "").strip()]
            if with_reference and len(with_reference) < len(members):
                lacking = next(m for m in members if m not in with_reference)
                raise ScoreError(
                    f"{dataset}: {lacking.id!r} has no reference for {task}, but "
                    f"{len(with_reference)} other documents do; fill it or leave it out"
                )


def make_outputs(
    folder: Path,
    examples: Sequence[Example],
    system: Callable[[], System],
    *,
    batch: int = 16,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Run the system over the examples that have no output yet; returns how many those were.

    `system` is called once, and only if there is something to do: models load late. Outputs go to
    `outputs.jsonl` batch by batch, in the order of the examples; `progress` hears of the size of
    each batch. A line that a kill tore off is dropped and its document done again.
    """
    done = {(record.dataset, record.id) for record in whole_outputs(folder)}
    left = [example for example in examples if (example.dataset, example.id) not in done]
    if done:
        log.info("%s: %d documents are there, %d to go", folder, len(done), len(left))
        progress(len(examples) - len(left))
    if not left:
        return 0
    run = system()
    for start in range(0, len(left), batch):
        examples_now = left[start : start + batch]
        outputs = run(examples_now)
        if len(outputs) != len(examples_now):
            raise ValueError(
                f"the system was given {len(examples_now)} examples and gave back "
                f"{len(outputs)} outputs; it must give one for each, in order"
            )
        append_outputs(folder, map(_record, examples_now, outputs))
        progress(len(examples_now))
    return len(left)


def score_records(records: Sequence[Record], plan: Plan) -> list[MetricScore]:
    """Measure outputs. A metric that needs references passes over data sets that have none."""
    scores: list[MetricScore] = []
    for dataset, group in groupby(records, key=lambda record: record.dataset):
        members = list(group)
        for task, names in plan.metrics.items():
            with_reference = all(record.references.get(task, "").strip() for record in members)
            names = [
                name for name in names if with_reference or _metric(name, plan).needs != "reference"
            ]
            scores += [
                _metric_score(dataset, task, members, measured, plan)
                for measured in _measure(members, task, names, plan)
            ]
    return scores


def items_of(records: Sequence[Record], task: str, rouge: Mapping[str, bool]) -> Items:
    """The texts of a task, as the metrics take them; without references if one lacks its own."""
    references = [record.references.get(task, "") for record in records]
    evidence = translations = None
    if task == "agreement":
        evidence = [
            (r.evidence.get("summary_ar", ()), r.evidence.get("summary_en", ())) for r in records
        ]
        # A document that failed has none; one without it that did not was made without it.
        if all(TRANSLATED in r.texts or not r.text("summary_ar") for r in records):
            translations = [r.text(TRANSLATED) for r in records]
    return Items(
        hypotheses=[record.hypothesis(task) for record in records],
        language=TASKS[task],
        references=references if all(references) else None,
        sources=[record.source_of(task) for record in records],
        ids=[record.id for record in records],
        rouge=rouge,
        evidence=evidence,
        translations=translations,
    )


class Stopwatch:
    """Seconds since it was made or last read."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        seconds, self._start = now - self._start, now
        return seconds


def _metric(name: str, plan: Plan) -> Metric:
    if name in plan.others:
        return plan.others[name][0]
    return METRICS[name]


def _measure(
    records: Sequence[Record], task: str, names: Sequence[str], plan: Plan
) -> list[Measured]:
    return measure(names, items_of(records, task, plan.rouge), plan.others) if names else []


def _metric_score(
    dataset: str, task: str, records: Sequence[Record], measured: Measured, plan: Plan
) -> MetricScore:
    interval = bootstrap_interval(measured.statistics, seed=plan.seed, samples=plan.samples)
    ids = [record.id for record in records]
    pooled = measured.metric.name in POOLED
    rows: list[list[float]] = measured.statistics.rows.tolist()
    return MetricScore(
        dataset=dataset,
        task=task,
        metric=measured.metric.name,
        value=measured.score.value,
        low=interval.low,
        high=interval.high,
        better=measured.metric.better,
        signature=measured.score.signature,
        per_item=dict(zip(ids, measured.score.per_item, strict=True)),
        rows=dict(zip(ids, rows, strict=True)) if pooled else {},
    )


def _record(example: Example, output: Output) -> Record:
    return Record(
        dataset=example.dataset,
        id=example.id,
        title=example.title,
        source=example.source if output.source is None else output.source,
        references=dict(example.references),
        texts=dict(output.texts),
        flags=tuple(output.flags),
        evidence={task: list(numbers) for task, numbers in output.evidence.items()},
        error=output.error,
    )
