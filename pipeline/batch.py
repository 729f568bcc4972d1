"""Batch runs: from files to a file, in shards, so that a run that was killed can go on.

The output appears under its name when all is done, and is the same, byte for byte, however often
the run was stopped: an outcome depends on its window of `Config.window` items alone, and shards
end where windows end.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ..models.errors import ConfigError, InputError, KhulasaError
from .config import Config
from .document import Document
from .parts import (
    Parts,
    Shard,
    Shards,
    UrlParts,
    is_resumable,
    part_of,
    rejects_of,
    shard_path,
    sum_of,
)
from .pipeline import STAGES, Pipeline
from .provenance import model_digests, versions
from .readers import Reject, Source
from .run_report import Progress, RunReport, Tally
from .sources import fingerprint, valid_text
from .urls import covers, is_url, reached, read_url, write_url
from .writers import (
    OURS,
    explained,
    open_writer,
    output_format,
    rejects_path,
    report_path,
    require_not_input,
    write_durably,
)

logger = logging.getLogger(__name__)

SHARD_SIZE = 1024
# A shard also ends when it has taken this long, so that a kill never costs much.
SHARD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch run: what to read, what to do with it, and the file to write.

    The output of a run on a cluster may also be a folder named by a URL, for files of one shard
    each.
    A shard ends at the end of the window in which it reaches `shard_size` items, or 60 seconds; if
    `fixed_shards`, never by time, so that they can be made in any order. Raises InputError for an
    output that cannot be one, and ConfigError for the shard size.
    """

    source: Source
    settings: Config
    output: str
    stages: Sequence[str] = STAGES
    format: str | None = None
    shard_size: int = SHARD_SIZE
    fixed_shards: bool = False

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ConfigError(f"a shard needs a size of 1 or more, not {self.shard_size}")
        if not is_batch(self.output):
            raise InputError(f"{self.output}: not a file, so that a run to it cannot go on later.")
        require_outputs(self.output, self.format, self.source)

    def identity(self) -> dict[str, Any]:
        """Everything that decides what comes out, as plain JSON values."""
        values = {
            "inputs": self.source.fingerprint(),
            "reading": asdict(self.source.options),
            "stages": list(self.stages),
            "config": self.settings.model_dump(mode="json", exclude={"cache"}),
            "models": model_digests(self.settings, self.stages),
            "versions": versions(),
            "output": dict(
                zip(("format", "compression"), output_format(self.output, self.format), strict=True)
            ),
        }
        if self.fixed_shards:
            values["shard_items"] = self.shard_items
        return json.loads(json.dumps(values, default=dict))

    @property
    def shard_items(self) -> int:
        """The items of a shard that does not end by time: whole windows."""
        return -(-self.shard_size // self.settings.window) * self.settings.window

    @property
    def kind(self) -> str:
        """The format of the output."""
        return output_format(self.output, self.format)[0]

    @property
    def rejects_file(self) -> Path:
        """Where rejects go."""
        path = rejects_path(self.output)
        assert path
        return path

    @property
    def report_file(self) -> Path | str:
        """Where the report goes."""
        if is_url(self.output):
            return f"{self.output.rstrip('/')}/{OURS}/report.json"
        return report_path(self.output)


def is_batch(output: str | None) -> bool:
    """Whether a run with this output can be a batch run: it is a file, not a stream."""
    return rejects_path(output) is not None


def require_outputs(output: str | None, format: str | None, source: Source) -> None:  # noqa: A002
    """Raise InputError for an output that cannot be one, or that would destroy an input."""
    inputs = [*source.inputs, *([source.references] if source.references else [])]
    if output and is_url(output):
        kind, _ = output_format(output, format)
        for name in inputs:
            if is_url(name) and covers(name, f"{output.rstrip('/')}/000000.{kind}"):
                raise InputError(f"{output}: it is in the input {name}. Name another output.")
        return
    open_writer(output, format)
    require_not_input(output, inputs)


class StoppedError(KhulasaError):
    """The run was asked to stop. What was finished is kept."""


class _Pipeline(Protocol):
    @property
    def timings(self) -> Mapping[str, float]: ...

    @property
    def token_budget(self) -> int | None: ...

    def outcomes(
        self, items: Iterator[Document | Reject]
    ) -> Generator[Document | Reject, None, None]: ...


@dataclass(frozen=True, slots=True)
class Run:
    """A batch run under way: its shards, which of them are `done`, and whom to tell and to ask."""

    batch: Batch
    shards: Shards
    done: Sequence[int]
    progress: Progress
    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    make_pipeline: Callable[[Config, Sequence[str]], Any]


def run_here(run: Run) -> int:
    """Make the shards that are left in this process, one after the other; gives their number."""
    batch = run.batch
    with (
        run.make_pipeline(batch.settings, batch.stages) as pipeline,
        run.shards.writing() as folder,
    ):
        session = Session(batch, folder, len(run.done), pipeline, run.progress)
        if run.should_stop():
            raise StoppedError("stopped")
        items = batch.source.read(run.progress.tally.items)
        session.work(items, run.on_progress, run.should_stop)
        return session.number


def run_batch(
    batch: Batch,
    *,
    restart: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    make_pipeline: Callable[[Config, Sequence[str]], Any] = Pipeline,
    runner: Callable[[Run], int] = run_here,
) -> RunReport:
    """Do a batch run, or what is left of it, and write output, rejects and report.

    `restart` throws away what an earlier run left. `on_progress` is called at the start and after
    each window.
    `should_stop` is asked after each window: at True the run keeps what is done and raises
    StoppedError. `runner` makes the shards and tells how many there are.
    Raises KhulasaError where another run writes this output, ConfigError where an unfinished one
    was started with other inputs or settings, and what the pipeline raises; what is finished is
    kept in all these cases, and a note of the error says how to go on.
    """
    if is_url(batch.output) and not batch.fixed_shards:
        raise InputError(f"{batch.output}: only a run on a cluster (--runner ray) can write there.")
    with _parts(batch) as parts:
        identity = batch.identity()
        done = parts.open(identity, restart, in_order=not batch.fixed_shards)
        if not restart and (old := _finished(batch, identity, done)):
            parts.remove()
            return old
        try:
            shards = parts.shards
            progress = _progress(batch, shards, done)
            on_progress(progress)
            begun = replace(batch, settings=_as_begun(batch.settings, shards, done))
            run = Run(begun, shards, done, progress, on_progress, should_stop, make_pipeline)
            count = runner(run)
            if isinstance(parts, Parts):
                _join(batch, [shard_path(parts.folder, number) for number in range(count)])
            report = _write_report(batch, identity, progress, count)
            parts.remove()
            return report
        except BaseException as error:
            error.add_note(_how_to_go_on(parts, identity))
            raise


def _parts(batch: Batch) -> Parts | UrlParts:
    if is_url(batch.output):
        return UrlParts(batch.output, batch.kind)
    return Parts(Path(batch.output).resolve())


def _progress(batch: Batch, shards: Shards, done: Sequence[int]) -> Progress:
    tally = sum_of(shards, done)
    progress = Progress(tally, copy.deepcopy(tally), batch.source.total())
    if done:
        logger.info("%s: going on after %d records", batch.output, progress.tally.items)
    return progress


def _as_begun(settings: Config, shards: Shards, done: Sequence[int]) -> Config:
    """The settings with the token budget that was found when the run began, if it is `auto`.

    In int8, what a model gives back may depend on the batch a little.
    """
    budget = shards.counts(done[0])["token_budget"] if done else None
    translate = settings.translate
    if budget is None or translate.options.token_budget != "auto":
        return settings
    options = replace(translate.options, token_budget=budget)
    return settings.model_copy(
        update={"translate": translate.model_copy(update={"options": options})}
    )


def _how_to_go_on(parts: Parts | UrlParts, identity: dict[str, Any]) -> str:
    if not is_resumable(identity):
        return "A run that reads stdin cannot go on: run it again from the start."
    done = sum_of(parts.shards, parts.numbers()).items
    if not done:
        return "No record was done yet."
    return (
        f"{done:,} records are done and kept in {parts.folder}. Run the same command again to go "
        "on from there."
    )


class Session:
    """The work of one process on a run: shard after shard, from shard `number` on.

    `number` goes up with each. `workers` is how many such processes there are at the same time.
    """

    def __init__(
        self,
        batch: Batch,
        folder: Path,
        number: int,
        pipeline: _Pipeline,
        progress: Progress,
        workers: int = 1,
    ) -> None:
        self._workers = workers
        self._batch = batch
        self._folder = folder
        self.number = number
        self._pipeline = pipeline
        self._progress = progress
        self._timings: Counter[str] = Counter()
        self._shard: Shard | None = None
        self._sizes: dict[str, int] = {}
        self._clock = time.perf_counter()

    def work(
        self,
        items: Iterator[Document | Reject],
        on_progress: Callable[[Progress], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Do the items. Raises StoppedError after the window in which it is asked to stop."""
        self._clock = self._progress.started = time.perf_counter()
        window = self._batch.settings.window
        try:
            with closing(self._pipeline.outcomes(items)) as outcomes:
                for count, outcome in enumerate(outcomes, 1):
                    self._add(outcome)
                    if count % window == 0:
                        self._end_window(should_stop())
                        on_progress(self._progress)
            self._end_shard()
        finally:
            if self._shard:
                self._shard.discard()

    def _add(self, outcome: Document | Reject) -> None:
        if self._shard is None:
            self._shard = Shard(self._folder, self.number, self._batch.kind)
        self._shard.add(outcome)
        self._progress.tally.add(outcome)
        if isinstance(outcome, Document):
            self._sizes[outcome.id] = self._sizes.get(outcome.id, 0) + len(outcome.text)

    def _end_window(self, stop: bool) -> None:
        assert self._shard
        self._take_time(self._shard)
        tally = self._shard.tally
        late = tally.seconds >= SHARD_SECONDS and not self._batch.fixed_shards
        if stop or late or tally.items >= self._batch.shard_size:
            self._end_shard()
        if stop:
            raise StoppedError("stopped")

    def _take_time(self, shard: Shard) -> None:
        now = time.perf_counter()
        timings = Counter(self._pipeline.timings)
        for tally in (shard.tally, self._progress.tally):
            tally.add_time(now - self._clock, self._sizes, self._workers)
            tally.stage_seconds.update(timings)
            tally.stage_seconds.subtract(self._timings)
        self._clock, self._sizes, self._timings = now, {}, timings

    def _end_shard(self) -> None:
        if self._shard:
            self._take_time(self._shard)
            self._shard.commit(self._pipeline.token_budget)
            self._shard = None
            self.number += 1


def _join(batch: Batch, shards: Sequence[Path]) -> None:
    """Make output and rejects of all shards, given by their counts."""
    with open_writer(batch.output, batch.format) as writer:
        for shard in shards:
            writer.append(part_of(shard))
    rejects = batch.rejects_file
    if files := [path for shard in shards if (path := rejects_of(shard)).exists()]:
        write_durably(rejects, *files)
    else:
        with explained(rejects):
            rejects.unlink(missing_ok=True)


def _write_report(
    batch: Batch, identity: dict[str, Any], progress: Progress, shards: int
) -> RunReport:
    """Write the report. It comes last: it says that all is done."""
    report = _report(batch, progress.tally, progress.resumed.items)
    record = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [valid_text(name) for name in batch.source.inputs],
        "output": _output(batch, shards),
        "rejects_file": str(report.rejects) if report.rejects else None,
        **report.to_record(),
        **{key: value for key, value in identity.items() if key not in ("inputs", "output")},
        "identity": _digest(identity),
    }
    text = (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode()
    if isinstance(report.report, Path):
        write_durably(report.report, text)
    else:
        with reached(report.report):
            write_url(report.report, text)
    return report


def _output(batch: Batch, shards: int) -> dict[str, Any]:
    """What tells that an output is still the one that was written."""
    what = {"files": shards} if is_url(batch.output) else fingerprint(batch.output)
    return {"path": batch.output, **(what or {})}


def _report(batch: Batch, tally: Tally, resumed: int = 0, is_old: bool = False) -> RunReport:
    report = batch.report_file
    if isinstance(report, Path):
        output, rejects = Path(batch.output), batch.rejects_file
    else:
        output, rejects = batch.output, report.rpartition("/")[0]
    return RunReport(tally, output, report, rejects if tally.rejects else None, resumed, is_old)


def _finished(batch: Batch, identity: dict[str, Any], done: Sequence[int]) -> RunReport | None:
    """The report of an earlier run, if it made just this output."""
    report = batch.report_file
    if done and isinstance(report, Path):
        return None
    try:
        text = report.read_bytes() if isinstance(report, Path) else read_url(report)
        record = json.loads(text)
        output = _output(batch, len(done))
        same = record["identity"] == _digest(identity) and record["output"] == output
        return _report(batch, Tally.from_record(record), is_old=True) if same else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return None


def _digest(identity: dict[str, Any]) -> str | None:
    """What stands for an identity; None if its inputs cannot be read again."""
    if not is_resumable(identity):
        return None
    # How it is cut into shards does not show in the output.
    kept = {key: value for key, value in identity.items() if key != "shard_items"}
    text = json.dumps(kept, ensure_ascii=False, sort_keys=True)
    # The order of inputs counts, that of other keys does not.
    return hashlib.sha256(f"{list(identity['inputs'])}{text}".encode()).hexdigest()
