"""Evaluations: outputs, scores, gate, history and report; a folder for each run."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..eval.gate import Gate, compare_with_run, compare_with_thresholds, without_baseline
from ..eval.history import FILE, History
from ..eval.job import (
    Example,
    Plan,
    Stopwatch,
    System,
    check_examples,
    fingerprint,
    make_outputs,
    score_records,
)
from ..eval.runs import (
    RUN,
    Run,
    locked,
    note_timings,
    open_run,
    read_outputs,
    read_run,
    write_json,
    write_scores,
)
from ..eval.scores import ScoreError
from ..models.errors import InputError
from .config import Config, ScoreConfig, load_config
from .evaluate_config import (
    EvaluationConfig,
    home_of,
    make_plan,
    pipeline_name,
    read_thresholds,
    thresholds_file,
)
from .evaluate_data import load_examples
from .evaluate_system import pipeline_system, stages_for
from .provenance import git_state, model_digests, versions

log = logging.getLogger(__name__)

_BATCH = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished evaluation."""

    run: Run
    gate: Gate
    accepted: bool
    report: Path
    summary: Path


def evaluate(
    config: EvaluationConfig,
    origin: Path,
    runs: Path,
    *,
    data: Path | None = None,
    limit: int | None = None,
    fresh: bool = False,
    pipeline_overrides: Mapping[str, Any] | None = None,
    system: Callable[[], System] | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Outcome:
    """Run an evaluation: outputs, scores, gate, history, report; all in a folder below `runs`.

    `origin` is the configuration's file; paths in it start at its folder, or at the current one for
    an evaluation that ships; those of data sets at `data`, if given. `limit` is for every data set.
    `pipeline_overrides` are dotted keys of the pipeline's configuration. `system` makes what is
    evaluated instead of the pipeline. The newest run of the job is gone on with if it was killed
    and nothing has changed since; `fresh` always starts anew.

    Raises ConfigError, InputError, ScoreError, and what building a pipeline raises.
    """
    home = home_of(origin)
    overrides = {**config.overrides, **(pipeline_overrides or {})}
    settings = load_config(pipeline_name(config, home), overrides)
    plan = make_plan(config, settings.score, home)
    examples: list[Example] = []
    described = []
    for dataset in config.datasets:
        if limit is not None:
            dataset = dataset.model_copy(update={"limit": limit})
        found = load_examples(dataset, data or home, config.metrics)
        examples += found
        described.append(
            {"name": dataset.name, "documents": len(found), "sha256": fingerprint(found)}
        )
    check_examples(examples, plan)
    if thresholds := thresholds_file(config, home):
        read_thresholds(thresholds)  # better now than after the work
    stages = stages_for(config.metrics)
    info = {
        "job": config.job,
        "config": {
            "evaluation": config.model_dump(mode="json"),
            "pipeline": _plain_config(settings),
        },
        "data": described,
        "models": {} if system else model_digests(settings, stages),
        "versions": versions(),
        "device": settings.device,
        "engine": settings.engine,
        "platform": platform.platform(),
        "git": git_state(origin.parent),
        "seeds": {"bootstrap": config.seed},
    }
    folder, resumed = open_run(runs, info, fresh=fresh)
    if resumed:
        log.warning("going on with %s, which was not finished", folder.name)
    with locked(folder), ExitStack() as stack:
        watch, loading = Stopwatch(), 0.0

        def build() -> System:
            nonlocal loading
            if system is not None:
                return system()
            from .pipeline import Pipeline

            pipeline = stack.enter_context(Pipeline(settings, stages))
            loading = watch.lap()
            _note(folder, pipeline.run_info())
            return pipeline_system(pipeline, translate_summaries=plan.translates_summaries)

        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            progress(done, len(examples))

        try:
            make_outputs(folder, examples, build, batch=_BATCH, progress=count)
        finally:
            note_timings(folder, finished=False, load=loading, outputs=watch.lap())
        return _finish(folder, config, plan, runs, home)


def score_again(folder: Path, config: EvaluationConfig, origin: Path, runs: Path) -> Outcome:
    """Redo everything after the outputs of a run: scores, gate, history, report."""
    home = home_of(origin)
    try:
        info = json.loads((folder / RUN).read_text(encoding="utf-8"))
        score = ScoreConfig.model_validate(info["config"]["pipeline"]["score"])
        done, wanted = len(read_outputs(folder)), sum(d["documents"] for d in info["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is not the folder of a run: {error}") from error
    if done != wanted:
        raise InputError(
            f"{folder}: {done} of {wanted} documents are done; `khulasa evaluate` goes on with it"
        )
    with locked(folder):
        return _finish(folder, config, make_plan(config, score, home), runs, home)


def find_run(name: str, runs: Path, job: str | None = None) -> Path:
    """The folder of a run: a path to it, its id, a part of it that fits no other, or `latest`."""
    for path in (Path(name), runs / name):
        if (path / RUN).is_file():
            return path
    return History(runs / FILE).find(name, job).folder


def _finish(folder: Path, config: EvaluationConfig, plan: Plan, runs: Path, home: Path) -> Outcome:
    from ..eval.report import render
    from ..eval.verdict import markdown

    watch = Stopwatch()
    scores = score_records(read_outputs(folder), plan)
    write_scores(folder, scores, seed=plan.seed, samples=plan.samples)
    note_timings(folder, finished=False, score=watch.lap())
    run = read_run(folder)
    history = History(runs / FILE)
    gate, baseline = _gate(run, config, plan, history, runs, home)
    write_json(folder / "gate.json", asdict(gate))
    history.add(
        run.info,
        folder,
        scores,
        documents=len(run.records),
        verdict=gate.verdict,
        baseline=gate.baseline,
    )
    accepted = _accepts(config, gate, history)
    if accepted:
        history.accept(run.id, "the first run" if gate.verdict == "no baseline" else "passed")
    report, summary = folder / "report.html", folder / "summary.md"
    page = render(run, gate, baseline=baseline, history=history.runs(run.job, last=100))
    report.write_text(page, encoding="utf-8")
    summary.write_text(markdown(run, gate), encoding="utf-8")
    note_timings(folder, finished=True)
    return Outcome(run, gate, accepted, report, summary)


def _gate(
    run: Run, config: EvaluationConfig, plan: Plan, history: History, runs: Path, home: Path
) -> tuple[Gate, Run | None]:
    tolerances = config.tolerances
    if file := thresholds_file(config, home):
        thresholds = read_thresholds(file)
        return compare_with_thresholds(run, thresholds, tolerances, config.baseline), None
    if config.baseline == "accepted":
        # A run that is scored again is no baseline for itself.
        entry = history.accepted(run.job, besides=run.id)
        if entry is None:
            note = (
                "no other run of this job is accepted, so there is nothing to compare with; later "
                "runs are compared with the one that is accepted (`khulasa accept`)"
            )
            return without_baseline(run, tolerances, note), None
        folder = entry.folder
    else:
        folder = find_run(config.baseline, runs)
    try:
        baseline = read_run(folder)
    except ScoreError as error:
        raise InputError(
            f"the baseline cannot be read: {error}. Accept another run, or bring its folder back; "
            "`khulasa evaluate --score-only` then compares without new outputs"
        ) from error
    gate = compare_with_run(
        run,
        baseline,
        tolerances,
        seed=plan.seed,
        samples=plan.samples,
        level=config.level,
    )
    return gate, baseline


def _accepts(config: EvaluationConfig, gate: Gate, history: History) -> bool:
    if config.accept == "passed" and gate.verdict == "passed":
        return True
    if config.accept == "never" or gate.verdict == "failed":
        return False
    return history.accepted(config.job) is None


def _note(folder: Path, run_info: Mapping[str, str]) -> None:
    """Say in `run.json` what engine and device `auto` came to."""
    info = json.loads((folder / RUN).read_text(encoding="utf-8"))
    info |= {key: run_info[key] for key in ("engine", "device") if key in run_info}
    write_json(folder / RUN, info)


def _plain_config(settings: Config) -> dict[str, Any]:
    return json.loads(json.dumps(settings.model_dump(mode="json"), sort_keys=True))
