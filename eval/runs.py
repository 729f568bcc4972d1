"""The folder of an evaluation run: what is in it, and who may write there.

- `run.json`: what it takes to repeat the run (configuration, data, models, versions, seeds), and
  how long it took;
- `outputs.jsonl`: one record a document, written as they come, with source and references, so that
  scoring can be redone alone, and a run that was killed goes on where it stopped;
- `scores.json`: every metric with its interval, signature and scores by document.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from .metrics import Better
from .scores import ScoreError

RUN, OUTPUTS, SCORES, LOCK = "run.json", "outputs.jsonl", "scores.json", "run.lock"
SCHEMA = 1


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


def whole_outputs(folder: Path) -> list[Record]:
    """Read the outputs that are whole, and cut the file off where they end: a kill tears lines."""
    path = folder / OUTPUTS
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


def append_outputs(folder: Path, records: Iterable[Record]) -> None:
    """Add records to the outputs; on return they are on the disk."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records]
    with (folder / OUTPUTS).open("a", encoding="utf-8", newline="\n") as stream:
        stream.writelines(lines)
        stream.flush()
        os.fsync(stream.fileno())


def write_scores(folder: Path, scores: Sequence[MetricScore], *, seed: int, samples: int) -> None:
    """Write `scores.json`. `seed` and `samples` are of the resampling behind the intervals."""
    write_json(
        folder / SCORES,
        {
            "schema": SCHEMA,
            "seed": seed,
            "samples": samples,
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


def _lock(fcntl: Any, stream: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ScoreError(
            f"{folder}: another process is working on this run; wait for it, or start a fresh run"
        ) from None


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
        return Record(**{**values, "flags": tuple(values["flags"])})
    except (ValueError, TypeError, KeyError):
        return None
