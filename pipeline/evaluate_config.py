"""The configuration of an evaluation: what to run, on what data, how to measure and compare."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..eval.bertscore import BertScorer
from ..eval.external import ExternalScorer
from ..eval.job import Plan
from ..eval.scores import ScoreError
from ..models.errors import ConfigError
from .config import CONFIGS, Positive, ScoreConfig, config_names, read_yaml

EVALUATIONS = CONFIGS / "evaluation"


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


class BertScoreConfig(_Section):
    """BERTScore: see `khulasa.eval.bertscore`. `encoder` is a folder on this machine."""

    encoder: str
    layer: int | None = Field(default=None, ge=0)
    idf: bool = False
    device: str = "cpu"


class EvaluationConfig(_Section):
    """What to evaluate, on what, how to measure it, and what to compare it with.

    `pipeline` names a configuration of `khulasa run` and `overrides` changes keys of it. `metrics`
    are by task: `translation`, `summary_ar`, `summary_en`, `agreement`; only what they need is run.
    `external` and `bertscore` make metrics of their own, by the names that they give them.
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
    bertscore: dict[str, BertScoreConfig] = {}
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
        if both := self.external.keys() & self.bertscore.keys():
            raise ValueError(f"bertscore: {min(both)!r} is a name under external too")
        measured = {
            name
            for task, metrics in self.metrics.items()
            for metric in metrics
            for name in (metric, f"{task}/{metric}", *(f"{d}/{task}/{metric}" for d in names))
        }
        for key, value in self.tolerances.items():
            if key not in measured:
                near = difflib.get_close_matches(key, sorted(measured), 1, 0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"tolerances: {key!r} is not measured{hint}")
            if value < 0:
                raise ValueError(f"tolerances: {key} is {value}: a tolerance cannot be negative")
        return self


def evaluation_names() -> list[str]:
    """The names of the evaluations that ship."""
    return sorted(path.stem for path in EVALUATIONS.glob("*.yaml"))


def load_evaluation(
    name: str | Path, overrides: Mapping[str, Any] | None = None
) -> tuple[EvaluationConfig, Path]:
    """Read an evaluation by the name of one that ships, or by the path of a YAML file.

    Evaluations lie in a folder `evaluation` beside the configurations of pipelines; a path that
    leaves it out, such as `configs/nightly.yaml`, is understood. `overrides` are top-level keys;
    None is not an override. Returns the file's path too. Raises ConfigError that names the file
    and the key.
    """
    path, values = _read(Path(name))
    values = {"job": path.stem, **values}
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        config = EvaluationConfig.model_validate(values)
        make_plan(config, ScoreConfig(), Path())
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_problems(error))}") from None
    except ScoreError as error:
        raise ConfigError(f"{path}: metrics: {error}") from None
    return config, path


def _read(name: Path) -> tuple[Path, dict[str, Any]]:
    if not name.is_file():
        if str(name) in config_names():
            raise ConfigError(_is_pipeline(name))
        inside = name.parent / EVALUATIONS.name / name.name
        name = inside if inside.is_file() else name
    path, values = read_yaml(name, EVALUATIONS, "evaluation")
    if "datasets" not in values and values.keys() & {"translate", "summarize"}:
        raise ConfigError(_is_pipeline(path))
    return path, values


def _is_pipeline(name: Path) -> str:
    return (
        f"{name} is the configuration of a pipeline, not of an evaluation; to evaluate that "
        f"pipeline, run `khulasa evaluate nightly --pipeline {name}`"
    )


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


def make_plan(config: EvaluationConfig, score: ScoreConfig, home: Path) -> Plan:
    """The metrics of an evaluation; `home` is where the paths of its encoders start.

    Raises ScoreError for a task or a metric that does not exist.
    """
    scorers: list[ExternalScorer | BertScorer] = [
        ExternalScorer(name, **dict(options)) for name, options in config.external.items()
    ]
    for name, options in config.bertscore.items():
        encoder = str(home / options.encoder)
        scorers.append(BertScorer(name, encoder, options.layer, options.idf, options.device))
    return Plan(
        metrics=config.metrics,
        seed=config.seed,
        samples=config.samples,
        rouge=score.model_dump(),
        others={scorer.name: (scorer.metric, scorer) for scorer in scorers},
    )


def home_of(origin: Path) -> Path:
    """Where the paths of an evaluation start: at its file, or here for one that ships."""
    ships = origin.parent.resolve() == EVALUATIONS.resolve()
    return Path() if ships else origin.parent


def pipeline_name(config: EvaluationConfig, home: Path) -> str:
    """The pipeline's name as it is, or its path from the evaluation's folder."""
    name = config.pipeline
    return str(home / name) if re.search(r"\.ya?ml$", name) else name


def thresholds_file(config: EvaluationConfig, home: Path) -> Path | None:
    """The file of thresholds that is the baseline, if one is."""
    is_file = config.baseline.endswith((".yaml", ".yml"))
    return home / config.baseline if is_file else None


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            sections = {
                "datasets": DatasetConfig,
                "external": ExternalConfig,
                "bertscore": BertScoreConfig,
            }
            kind = sections.get(str(problem["loc"][0]), EvaluationConfig)
            near = difflib.get_close_matches(place.split(".")[-1], kind.model_fields, 1, 0.5)
            known = ", ".join(kind.model_fields)
            message = f"unknown key; did you mean {near[0]!r}?" if near else f"known keys: {known}"
        elif problem["type"] == "missing":
            message = "this key is missing"
        yield f"{place}: {message}" if place else message
