"""An evaluation run: examples to outputs, outputs to scores, everything kept in one folder.

A job is given a callable that turns examples into outputs; what stands behind it is not its
business. The folder of a run holds

- `run.json`: what it takes to repeat the run (configuration, data, models, versions, seeds), and
  how long it took;
- `outputs.jsonl`: one record a document, written as they come, with source and references, so that
  scoring can be redone alone, and a run that was killed goes on where it stopped;
- `scores.json`: every metric with its interval, signature and scores by document.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from .metrics import (
    METRICS,
    POOLED,
    Better,
    Items,
    Measured,
    Metric,
    Scorer,
    measure,
    require_known,
)
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

RUN, OUTPUTS, SCORES, LOCK = "run.json", "outputs.jsonl", "scores.json", "run.lock"
SCHEMA = 1


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
class Record:
    """An example and its output, as a run keeps them."""

    dataset: str
    id: str
    title: str | None
    source: str
    references: Mapping[str, str]
    texts: Mapping[str, str]
    flags: tuple[str, ...] = ()
    evidence: Mapping[str, Sequence[int]] = field(default_factory=dict)
    error: str | None = None

    def text(self, task: str) -> str:
        """The output of a task; empty where there is none."""
        return self.texts.get(task, "")

    def source_of(self, task: str) -> str:
        """What the output of a task was made from, and is checked against."""
        if task == "summary_en":
            return self.text("translation")
        return self.text("summary_ar") if task == "agreement" else self.source

    def hypothesis(self, task: str) -> str:
        """The text that a task's metrics score."""
        return self.text("summary_en" if task == "agreement" else task)


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


@dataclass(frozen=True, slots=True)
class MetricScore:
    """One metric of one task over one data set, with its 95 % interval and a score per document.

    `rows` are the counts by document that the significance tests take, for metrics whose score is
    not a mean; so two runs are compared without scoring a text again.
    """

    dataset: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    better: Better
    signature: str
    per_item: Mapping[str, float]
    rows: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the other scores of a run."""
        return self.dataset, self.task, self.metric


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was read from its folder."""

    folder: Path
    info: Mapping[str, Any]
    records: Sequence[Record]
    scores: Sequence[MetricScore]

    @property
    def id(self) -> str:
        """The run's name; runs of one job sort by it in the order of their starts."""
        return str(self.info["id"])

    @property
    def job(self) -> str:
        """The name of the job that it is a run of."""
        return str(self.info["job"])

    def score(self, key: tuple[str, str, str]) -> MetricScore | None:
        """The score of this data set, task and metric."""
        return next((score for score in self.scores if score.key == key), None)


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
    path = folder / OUTPUTS
    done = {(record.dataset, record.id) for record in _repair(path)}
    left = [example for example in examples if (example.dataset, example.id) not in done]
    if done:
        log.info("%s: %d documents are there, %d to go", folder, len(done), len(left))
        progress(len(examples) - len(left))
    if not left:
        return 0
    run = system()
    with path.open("a", encoding="utf-8", newline="\n") as stream:
        for start in range(0, len(left), batch):
            examples_now = left[start : start + batch]
            outputs = run(examples_now)
            if len(outputs) != len(examples_now):
                raise ValueError(
                    f"the system was given {len(examples_now)} examples and gave back "
                    f"{len(outputs)} outputs; it must give one for each, in order"
                )
            for example, output in zip(examples_now, outputs, strict=True):
                stream.write(_line(_record(example, output)))
            stream.flush()
            os.fsync(stream.fileno())
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


def read_run(folder: Path) -> Run:
    """Read a run. Raises ScoreError for a folder that holds none, or one that is not finished."""
    try:
        info = json.loads((folder / RUN).read_text(encoding="utf-8"))
        stored = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ScoreError(f"{folder}: there is no {missing}, so this is no finished run") from None
    except (OSError, ValueError) as error:
        raise ScoreError(f"{folder}: cannot be read: {error}") from error
    if info.get("schema") != SCHEMA or stored.get("schema") != SCHEMA:
        raise ScoreError(f"{folder}: written by another version of this program; run it again")
    scores = [MetricScore(**score) for score in stored["scores"]]
    return Run(folder, info, read_outputs(folder), scores)


def read_outputs(folder: Path) -> list[Record]:
    """Read the outputs of a run. Raises ScoreError, with the line, for one that is damaged."""
    path = folder / OUTPUTS
    records = []
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                record = _parse(line)
                if record is None:
                    raise ScoreError(f"{path}:{number}: is no output record; run it again")
                records.append(record)
    except FileNotFoundError:
        raise ScoreError(f"{path} is not there: this run has no outputs to score") from None
    return records


def write_scores(folder: Path, scores: Sequence[MetricScore], plan: Plan) -> None:
    """Write `scores.json`."""
    write_json(
        folder / SCORES,
        {
            "schema": SCHEMA,
            "seed": plan.seed,
            "samples": plan.samples,
            "scores": [asdict(score) for score in scores],
        },
    )


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def identity(info: Mapping[str, Any]) -> str:
    """SHA-256 over what decides the outputs of a run: its configuration, data, models, versions."""
    parts = {key: info.get(key) for key in ("config", "data", "models", "versions", "device")}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def open_run(runs: Path, info: Mapping[str, Any], *, fresh: bool = False) -> tuple[Path, bool]:
    """Give the folder to run in, and whether it holds the start of this very run.

    That is the newest unfinished run of the job if it has the same identity (and `fresh` is not
    set), else a new folder named by the time and the job. `run.json` is written.
    """
    job, now = str(info["job"]), datetime.now(UTC)
    own = identity(info)
    for folder in sorted(runs.glob(f"*-{job}*"), reverse=True):
        try:
            old = json.loads((folder / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if old.get("job") == job:
            if not fresh and old.get("finished") is None and old.get("identity") == own:
                return folder, True
            break
    base = f"{now:%Y-%m-%dT%H-%M-%S}-{job}"
    for number in range(1, 1000):
        folder = runs / (base if number == 1 else f"{base}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        full = {
            "schema": SCHEMA,
            "id": folder.name,
            "job": job,
            "identity": own,
            "started": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "finished": None,
            **{key: value for key, value in info.items() if key != "job"},
            "timings": {},
        }
        write_json(folder / RUN, full)
        return folder, False
    raise ScoreError(f"{runs}: a thousand runs were started in one second")


def note_timings(folder: Path, *, finished: bool, **seconds: float) -> dict[str, Any]:
    """Add to the timings of a run (a resumed run adds up) and mark its end; gives `run.json`."""
    path = folder / RUN
    info = json.loads(path.read_text(encoding="utf-8"))
    for name, value in seconds.items():
        info["timings"][name] = round(info["timings"].get(name, 0.0) + value, 3)
    if finished:
        info["finished"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    write_json(path, info)
    return info


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run. Raises ScoreError if one is in it now.

    The lock goes with its process, however that ends. Where the system has no such lock, there is
    none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / LOCK).open("w") as stream:
        _lock(fcntl, stream, folder)
        yield
    (folder / LOCK).unlink(missing_ok=True)


class Stopwatch:
    """Seconds since it was made or last read."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        seconds, self._start = now - self._start, now
        return seconds


def _lock(fcntl: Any, stream: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ScoreError(
            f"{folder}: another process is working on this run; wait for it, or start a fresh run"
        ) from None


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


def _line(record: Record) -> str:
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
        return Record(**{**values, "flags": tuple(values["flags"])})
    except (ValueError, TypeError, KeyError):
        return None


def _repair(path: Path) -> list[Record]:
    """Read the outputs that are whole, and cut the file off where they end."""
    records: list[Record] = []
    whole = 0
    if not path.exists():
        return records
    with path.open("r+b") as stream:
        for line in stream:
            record = _parse(line)
            if record is None:
                break
            records.append(record)
            whole += len(line)
        stream.truncate(whole)
    return records
