"""Evaluations: a configuration, the data it names, and a pipeline as the system that is scored."""

from __future__ import annotations

import difflib
import json
import logging
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from heapq import nsmallest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..eval.external import ExternalScorer
from ..eval.gate import Gate, compare_with_run, compare_with_thresholds, without_baseline
from ..eval.history import FILE, History
from ..eval.job import (
    RUN,
    Example,
    Output,
    Plan,
    Run,
    Stopwatch,
    System,
    check_examples,
    fingerprint,
    locked,
    make_outputs,
    note_timings,
    open_run,
    read_outputs,
    read_run,
    score_records,
    write_json,
    write_scores,
)
from ..eval.scores import ScoreError
from ..models.errors import ConfigError, InputError
from .config import CONFIGS, Config, Positive, ScoreConfig, load_config, read_yaml
from .document import Document, Language, Summary
from .readers import ReadOptions, Reject, read
from .segment import split_paragraphs, split_sentences

log = logging.getLogger(__name__)

EVALUATIONS = CONFIGS / "evaluation"
SHIPPED_DATA = Path(__file__).parent.parent / "eval" / "data"
# What decides what comes out, beside the models.
_PACKAGES = ("khulasa", "torch", "transformers", "ctranslate2", "sentencepiece", "sacrebleu")
_BATCH = 16

Progress = Callable[[int, int], None]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(_Section):
    """One data set, by exactly one of `path`, `source` (with `reference`), or `hub`.

    - `path`: a file that `khulasa run` can read, or `shipped` for the articles that come with the
      package. `columns` maps our keys to the file's: `{text: article, reference_summary_ar: abs}`.
    - `source` and `reference`: text files with a segment a line, as WMT, NTREX and FLORES have
      them. With `documents`, a file with a document's name a line, they are joined to documents.
    - `hub`: a data set's id on the Hugging Face hub, with `subset`, `split` and `revision`, and
      `columns` as above; or `data_files`, where the repository has plain files.

    `limit` takes so many documents: the same ones each time, whatever else is added to the data.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    path: str | None = None
    source: str | None = None
    reference: str | None = None
    documents: str | None = None
    hub: str | None = None
    subset: str | None = None
    split: str = "test"
    revision: str | None = None
    data_files: str | None = None
    columns: dict[str, str] = {}
    limit: Positive | None = None

    @model_validator(mode="after")
    def _one_place(self) -> DatasetConfig:
        given = [key for key in ("path", "source", "hub") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of path, source or hub, not {' and '.join(given) or 'none'}"
            )
        if (self.source is None) != (self.reference is None):
            raise ValueError("source and reference go together: a segment a line in both")
        return self


class ExternalConfig(_Section):
    """A metric behind a command: see `khulasa.eval.external`."""

    command: tuple[str, ...] = Field(min_length=1)
    better: Literal["higher", "lower", "neither"] = "higher"
    needs: Literal["reference", "source", "nothing"] = "reference"
    timeout: float = Field(default=3600, gt=0)


class EvaluationConfig(_Section):
    """What to evaluate, on what, how to measure it, and what to compare it with.

    `pipeline` names a configuration of `khulasa run` and `overrides` changes keys of it. `metrics`
    are by task: `translation`, `summary_ar`, `summary_en`, `agreement`; only what they need is run.
    A metric gates if it has a tolerance, by `metric`, `task/metric` or `dataset/task/metric`.
    `baseline` is `accepted` (the run of this job that was accepted last), the name of a run, or a
    YAML file of thresholds. `accept` says which runs are accepted without being asked: the `first`
    of the job, every one that `passed`, or none (`never`).
    """

    job: str = Field(pattern=r"^[\w.-]+$")
    pipeline: str = "default"
    overrides: dict[str, Any] = {}
    datasets: tuple[DatasetConfig, ...] = Field(min_length=1)
    metrics: dict[str, tuple[str, ...]] = Field(min_length=1)
    external: dict[str, ExternalConfig] = {}
    tolerances: dict[str, float] = {}
    baseline: str = "accepted"
    accept: Literal["first", "passed", "never"] = "first"
    level: float = Field(default=0.05, gt=0, lt=1)
    seed: int = 12345
    samples: Positive = 1000

    @model_validator(mode="after")
    def _names(self) -> EvaluationConfig:
        names = [dataset.name for dataset in self.datasets]
        if len(set(names)) != len(names):
            raise ValueError(f"datasets: a name is there twice: {', '.join(names)}")
        measured = {
            name
            for task, metrics in self.metrics.items()
            for metric in metrics
            for name in (metric, f"{task}/{metric}", *(f"{d}/{task}/{metric}" for d in names))
        }
        for key, value in self.tolerances.items():
            if key not in measured:
                raise ValueError(f"tolerances: {key!r} is not measured")
            if value < 0:
                raise ValueError(f"tolerances: {key} is {value}: a tolerance cannot be negative")
        return self


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished evaluation."""

    run: Run
    gate: Gate
    accepted: bool
    report: Path
    summary: Path


def evaluation_names() -> list[str]:
    """The names of the evaluations that ship."""
    return sorted(path.stem for path in EVALUATIONS.glob("*.yaml"))


def load_evaluation(
    name: str | Path, overrides: Mapping[str, Any] | None = None
) -> tuple[EvaluationConfig, Path]:
    """Read an evaluation by the name of one that ships, or by the path of a YAML file.

    `overrides` are top-level keys; None is not an override. Returns the file's path too. Raises
    ConfigError that names the file and the key.
    """
    path, values = read_yaml(name, EVALUATIONS, "evaluation")
    values = {"job": path.stem, **values}
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        config = EvaluationConfig.model_validate(values)
        _plan(config, ScoreConfig())
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_problems(error))}") from None
    except ScoreError as error:
        raise ConfigError(f"{path}: metrics: {error}") from None
    return config, path


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
    home = _home(origin)
    overrides = {**config.overrides, **(pipeline_overrides or {})}
    settings = load_config(_pipeline_name(config.pipeline, home), overrides)
    plan = _plan(config, settings.score)
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
    check_thresholds(config, home)
    stages = _stages(config.metrics)
    info = {
        "job": config.job,
        "config": {
            "evaluation": config.model_dump(mode="json"),
            "pipeline": _plain_config(settings),
        },
        "data": described,
        "models": {} if system else _models(settings, stages),
        "versions": _versions(),
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
            return pipeline_system(pipeline)

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
        return _finish(folder, config, _plan(config, score), runs, _home(origin))


def find_run(name: str, runs: Path, job: str | None = None) -> Path:
    """The folder of a run: a path to it, its id, a part of it that fits no other, or `latest`."""
    for path in (Path(name), runs / name):
        if (path / RUN).is_file():
            return path
    return History(runs / FILE).find(name, job).folder


# --- data ---


def load_examples(dataset: DatasetConfig, root: Path, tasks: Iterable[str] = ()) -> list[Example]:
    """Read a data set, or the part of it that its `limit` asks for, in its own order.

    References are read for `tasks` only (for all, if there are none). Raises InputError for data
    that is missing, damaged, or not line by line the same length.
    """
    documents = _documents(dataset, root)
    wanted = set(tasks) or {"translation", "summary_ar", "summary_en"}
    stream = (
        (number, _example(dataset.name, document, wanted))
        for number, document in enumerate(documents)
    )
    if dataset.limit is None:
        return [example for _, example in stream]
    chosen = nsmallest(dataset.limit, stream, key=lambda pair: _lot(pair[1]))
    return [example for _, example in sorted(chosen, key=lambda pair: pair[0])]


def _lot(example: Example) -> bytes:
    """A document's place in the draw: by its id, so that adding others does not change it."""
    return sha256(example.id.encode("utf-8", "surrogatepass")).digest()


def _documents(dataset: DatasetConfig, root: Path) -> Iterator[Document]:
    if dataset.source is not None and dataset.reference is not None:
        yield from _parallel(dataset, root)
        return
    if dataset.hub is not None:
        yield from _from_hub(dataset)
        return
    if dataset.path == "shipped":
        path = SHIPPED_DATA / "articles.jsonl"
    else:
        path = root / (dataset.path or "")
    columns = dict(dataset.columns)
    options = ReadOptions(text_column=columns.pop("text", "text"), columns=columns)
    for item in read([str(path)], options):
        if isinstance(item, Reject):
            where = f"{item.source}:{item.line}" if item.line else item.source
            raise InputError(f"{dataset.name}: {where}: {item.reason}")
        yield item


def _from_hub(dataset: DatasetConfig) -> Iterator[Document]:
    import datasets

    name = dataset.hub or ""
    try:
        rows: Any = datasets.load_dataset(
            name,
            dataset.subset,
            split=dataset.split,
            revision=dataset.revision,
            data_files=dataset.data_files and {dataset.split: dataset.data_files},
        )
    except Exception as error:  # the library lets many kinds of errors through
        raise InputError(
            f"{dataset.name}: {name} cannot be read from the hub: {error}. Download its files and "
            "name them by `path`, if this machine has no network or the data set is a script"
        ) from error
    names = {"text": "text", **dataset.columns}
    for number, row in enumerate(rows):
        where = f"{name}[{number}]"
        record = {ours: row[theirs] for ours, theirs in names.items() if theirs in row}
        if "id" not in record and "id" in row:
            record["id"] = row["id"]
        yield Document.from_record(record, where=where, default_id=str(number))


def _parallel(dataset: DatasetConfig, root: Path) -> Iterator[Document]:
    source, reference = (
        _lines(dataset.name, root / name)
        for name in (dataset.source or "", dataset.reference or "")
    )
    if len(source) != len(reference):
        raise InputError(
            f"{dataset.name}: {dataset.source} has {len(source)} lines and {dataset.reference} "
            f"{len(reference)}; line by line they must be the same segments"
        )
    if dataset.documents is None:
        names = [str(number) for number in range(1, len(source) + 1)]
    else:
        names = _lines(dataset.name, root / dataset.documents)
        if len(names) != len(source):
            raise InputError(
                f"{dataset.name}: {dataset.documents} names {len(names)} segments and there are "
                f"{len(source)}"
            )
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, *pair in zip(names, source, reference, strict=True):
        if not all(text.strip() for text in pair):
            raise InputError(f"{dataset.name}: a segment of {name} is empty on one side")
        groups.setdefault(name, []).append((pair[0], pair[1]))
    for name, pairs in groups.items():
        texts, translations = zip(*pairs, strict=True)
        record = {
            "id": name,
            "text": "\n\n".join(texts),
            "reference_translation": "\n\n".join(translations),
        }
        yield Document.from_record(record, where=name, default_id=name)


def _lines(dataset: str, path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{dataset}: {path} is not there; say with --data where the data set's files are"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{dataset}: {path} cannot be read as UTF-8 text: {error}") from error
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _example(dataset: str, document: Document, tasks: set[str]) -> Example:
    given = document.references
    references = {
        "translation": given.translation,
        "summary_ar": _by_sentence(given.summary_ar, "ar"),
        "summary_en": _by_sentence(given.summary_en, "en"),
    }
    return Example(
        dataset=dataset,
        id=document.id,
        source=document.text,
        references={k: v for k, v in references.items() if v is not None and k in tasks},
        title=document.title,
    )


def _by_sentence(text: str | None, language: Language) -> str | None:
    """A sentence a line, as rougeLsum wants it."""
    if text is None:
        return None
    return "\n".join(
        sentence
        for paragraph in split_paragraphs(text)
        for sentence in split_sentences(paragraph, language)
    )


# --- the pipeline as a system ---


def pipeline_system(pipeline: Any) -> System:
    """A pipeline as a job wants it: an output for each example, failures noted and not lost."""

    def run(examples: Sequence[Example]) -> list[Output]:
        rejected: dict[str, str] = {}

        def reject(item: Reject) -> None:
            rejected[item.id] = item.reason

        documents = [
            Document(id=str(number), text=example.source, title=example.title)
            for number, example in enumerate(examples)
        ]
        made = {document.id: document for document in pipeline.map(documents, reject)}
        return [
            _output(made[str(number)])
            if str(number) in made
            else Output(error=rejected.get(str(number), "the pipeline gave nothing back"))
            for number in range(len(examples))
        ]

    return run


def _output(document: Document) -> Output:
    texts, evidence = {}, {}
    if document.translation is not None:
        texts["translation"] = document.translation.text
    for language, summary in document.summaries.items():
        texts[f"summary_{language}"] = _sentence_a_line(summary)
        evidence[f"summary_{language}"] = sorted({n for s in summary.sentences for n in s.source})
    flags = dict.fromkeys(
        f"{issue.stage}: {issue.kind}" for issue in document.issues if issue.stage != "read"
    )
    return Output(
        texts=texts,
        source=document.clean.text if document.clean else None,
        flags=list(flags),
        evidence=evidence,
    )


def _sentence_a_line(summary: Summary) -> str:
    return "\n".join(sentence.text for sentence in summary.sentences) or summary.text


def _stages(tasks: Iterable[str]) -> tuple[str, ...]:
    """The stages that these tasks need."""
    wanted = {"clean"}
    for task in tasks:
        if task != "summary_ar":
            wanted.add("translate")
        if task != "translation":
            wanted.add("summarize")
    return tuple(stage for stage in ("clean", "translate", "summarize") if stage in wanted)


# --- after the outputs ---


def check_thresholds(config: EvaluationConfig, home: Path) -> None:
    """Read the thresholds, if the baseline is a file of them: better now than after the work."""
    if _is_file(config.baseline):
        read_thresholds(home / config.baseline)


def read_thresholds(path: Path) -> dict[str, float]:
    """Read a YAML file of thresholds by metric. Raises ConfigError for anything but numbers."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as thresholds: {error}") from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"{path}: thresholds are a mapping, such as `translation/chrf++: 40`")
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{path}: {key}: {value!r} is not a number")
    return {str(key): float(value) for key, value in values.items()}


def _finish(folder: Path, config: EvaluationConfig, plan: Plan, runs: Path, home: Path) -> Outcome:
    from ..eval.report import markdown, render

    watch = Stopwatch()
    scores = score_records(read_outputs(folder), plan)
    write_scores(folder, scores, plan)
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
    if _is_file(config.baseline):
        thresholds = read_thresholds(home / config.baseline)
        return compare_with_thresholds(run, thresholds, tolerances, config.baseline), None
    if config.baseline == "accepted":
        # A run that is scored again is no baseline for itself.
        entry = history.accepted(run.job, besides=run.id)
        if entry is None:
            note = "no run of this job was accepted before; `khulasa accept` makes one the baseline"
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


def _is_file(baseline: str) -> bool:
    return baseline.endswith((".yaml", ".yml"))


def _plan(config: EvaluationConfig, score: ScoreConfig) -> Plan:
    external = {
        name: ExternalScorer(name, **dict(options)) for name, options in config.external.items()
    }
    return Plan(
        metrics=config.metrics,
        seed=config.seed,
        samples=config.samples,
        rouge=score.model_dump(),
        others={name: (scorer.metric, scorer) for name, scorer in external.items()},
    )


# --- what it takes to repeat a run ---


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that a folder is at, and whether tracked files differ from it; None if unknown."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _models(settings: Config, stages: Sequence[str]) -> dict[str, str]:
    """The models by role, with their revision or the start of their digest."""
    from ..models.checkpoint import resolve

    wanted: dict[str, tuple[str, str | None]] = {}
    if "translate" in stages:
        wanted["translator"] = (settings.translate.checkpoint, settings.translate.revision)
    if "summarize" in stages:
        wanted["summarizer_ar"] = (settings.summarize.ar, settings.summarize.revision_ar)
        if "translate" in stages:
            wanted["summarizer_en"] = (settings.summarize.en, settings.summarize.revision_en)
    found = {}
    for role, (name, revision) in wanted.items():
        checkpoint = resolve(name, revision)
        found[role] = f"{name}@{checkpoint.digest[:16]}"
    return found


def _note(folder: Path, run_info: Mapping[str, str]) -> None:
    """Say in `run.json` what engine and device `auto` came to."""
    info = json.loads((folder / RUN).read_text(encoding="utf-8"))
    info |= {key: run_info[key] for key in ("engine", "device") if key in run_info}
    write_json(folder / RUN, info)


def _plain_config(settings: Config) -> dict[str, Any]:
    return json.loads(json.dumps(settings.model_dump(mode="json"), sort_keys=True))


def _home(origin: Path) -> Path:
    """Where the paths of an evaluation start: at its file, or here for one that ships."""
    return Path() if origin.parent == EVALUATIONS else origin.parent


def _pipeline_name(name: str, home: Path) -> str:
    """A pipeline's name as it is, or its path from the evaluation's folder."""
    return str(home / name) if re.search(r"\.ya?ml$", name) else name


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            kind = DatasetConfig if "datasets" in place else EvaluationConfig
            near = difflib.get_close_matches(place.split(".")[-1], kind.model_fields, 1, 0.5)
            known = ", ".join(kind.model_fields)
            message = f"unknown key; did you mean {near[0]!r}?" if near else f"known keys: {known}"
        yield f"{place}: {message}" if place else message
