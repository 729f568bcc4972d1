"""Batch runs: from files to a file, in shards, so that a run that was killed can go on.

The output appears under its name when all is done, and is the same, byte for byte, however often
the run was stopped: an outcome depends on its window of `Config.window` items alone, and shards
end where windows end.
"""

from __future__ import annotations

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
    is_resumable,
    part_of,
    read_shard,
    rejects_of,
    sum_of,
    token_budget_of,
)
from .pipeline import STAGES, Pipeline
from .provenance import model_digests, versions
from .readers import Reject, Source
from .run_report import Progress, RunReport, Tally
from .sources import fingerprint, valid_text
from .writers import (
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

    A shard ends at the end of the window in which it reaches `shard_size` items, or 60 seconds.
    Raises InputError for an output that cannot be one, and ConfigError for the shard size.
    """

    source: Source
    settings: Config
    output: str
    stages: Sequence[str] = STAGES
    format: str | None = None
    shard_size: int = SHARD_SIZE

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
        return json.loads(json.dumps(values, default=dict))

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


def is_batch(output: str | None) -> bool:
    """Whether a run with this output can be a batch run: it is a file, not a stream."""
    return rejects_path(output) is not None


def require_outputs(output: str | None, format: str | None, source: Source) -> None:  # noqa: A002
    """Raise InputError for an output that cannot be one, or that would destroy an input."""
    open_writer(output, format)
    inputs = [*source.inputs, *([source.references] if source.references else [])]
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


def run_batch(
    batch: Batch,
    *,
    restart: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    make_pipeline: Callable[[Config, Sequence[str]], Any] = Pipeline,
) -> RunReport:
    """Do a batch run, or what is left of it, and write output, rejects and report.

    `restart` throws away what an earlier run left. `on_progress` is called at the start and after
    each window.
    `should_stop` is asked after each window: at True the run keeps what is done and raises
    StoppedError. Raises KhulasaError where another run writes this output, ConfigError where an
    unfinished one was started with other inputs or settings, and what the pipeline raises; what is
    finished is kept in all these cases, and a note of the error says how to go on.
    """
    with Parts(Path(batch.output).resolve()) as parts:
        identity = batch.identity()
        shards = parts.open(identity, restart)
        if not (restart or shards) and (old := _finished(batch, identity)):
            parts.remove()
            return old
        try:
            progress = _progress(batch, shards)
            on_progress(progress)
            settings = _as_begun(batch.settings, shards)
            with make_pipeline(settings, batch.stages) as pipeline:
                session = _Session(batch, parts.folder, len(shards), pipeline, progress)
                session.work(on_progress, should_stop)
            return _join(batch, parts, identity, progress)
        except BaseException as error:
            error.add_note(_how_to_go_on(parts, identity))
            raise


def _progress(batch: Batch, shards: Sequence[Path]) -> Progress:
    tallies = [read_shard(shard) for shard in shards]
    progress = Progress(sum_of(tallies), sum_of(tallies), batch.source.total())
    if shards:
        logger.info("%s: going on after %d records", batch.output, progress.tally.items)
    return progress


def _as_begun(settings: Config, shards: Sequence[Path]) -> Config:
    """The settings with the token budget that was found when the run began, if it is `auto`.

    In int8, what a model gives back may depend on the batch a little.
    """
    budget = token_budget_of(shards[0]) if shards else None
    translate = settings.translate
    if budget is None or translate.options.token_budget != "auto":
        return settings
    options = replace(translate.options, token_budget=budget)
    return settings.model_copy(
        update={"translate": translate.model_copy(update={"options": options})}
    )


def _how_to_go_on(parts: Parts, identity: dict[str, Any]) -> str:
    if not is_resumable(identity):
        return "A run that reads stdin cannot go on: run it again from the start."
    done = sum_of(map(read_shard, parts.shards())).items
    return (
        f"{done:,} records are done and kept in {parts.folder}. Run the same command again to go "
        "on from there."
    )


class _Session:
    """The work of one process on a run: shard after shard, from shard `number` on."""

    def __init__(
        self,
        batch: Batch,
        folder: Path,
        number: int,
        pipeline: _Pipeline,
        progress: Progress,
    ) -> None:
        self._batch = batch
        self._folder = folder
        self._number = number
        self._pipeline = pipeline
        self._progress = progress
        self._timings: Counter[str] = Counter()
        self._shard: Shard | None = None
        self._sizes: dict[str, int] = {}
        self._clock = time.perf_counter()

    def work(
        self, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> None:
        """Do what is left. Raises StoppedError after the window in which it is asked to stop."""
        if should_stop():
            raise StoppedError("stopped")
        items = self._batch.source.read(self._progress.tally.items)
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
            self._shard = Shard(self._folder, self._number, self._batch.kind)
        self._shard.add(outcome)
        self._progress.tally.add(outcome)
        if isinstance(outcome, Document):
            self._sizes[outcome.id] = self._sizes.get(outcome.id, 0) + len(outcome.text)

    def _end_window(self, stop: bool) -> None:
        assert self._shard
        self._take_time(self._shard)
        tally = self._shard.tally
        if stop or tally.items >= self._batch.shard_size or tally.seconds >= SHARD_SECONDS:
            self._end_shard()
        if stop:
            raise StoppedError("stopped")

    def _take_time(self, shard: Shard) -> None:
        now = time.perf_counter()
        timings = Counter(self._pipeline.timings)
        for tally in (shard.tally, self._progress.tally):
            tally.add_time(now - self._clock, self._sizes)
            tally.stage_seconds.update(timings)
            tally.stage_seconds.subtract(self._timings)
        self._clock, self._sizes, self._timings = now, {}, timings

    def _end_shard(self) -> None:
        if self._shard:
            self._take_time(self._shard)
            self._shard.commit(self._pipeline.token_budget)
            self._shard = None
            self._number += 1


def _join(batch: Batch, parts: Parts, identity: dict[str, Any], progress: Progress) -> RunReport:
    """Make output, rejects and report of the shards. The report is last: it says all is done."""
    shards = parts.shards()
    with open_writer(batch.output, batch.format) as writer:
        for shard in shards:
            writer.append(part_of(shard))
    rejects = batch.rejects_file
    if progress.tally.rejects:
        files = [path for shard in shards if (path := rejects_of(shard)).exists()]
        write_durably(rejects, *files)
    else:
        with explained(rejects):
            rejects.unlink(missing_ok=True)
    report = _report(batch, progress.tally, progress.resumed.items)
    record = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [valid_text(name) for name in batch.source.inputs],
        "output": {"path": batch.output, **(fingerprint(batch.output) or {})},
        "rejects_file": str(rejects) if progress.tally.rejects else None,
        **report.to_record(),
        **{key: value for key, value in identity.items() if key not in ("inputs", "output")},
        "identity": _digest(identity),
    }
    text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    write_durably(report.report, text.encode())
    parts.remove()
    return report


def _report(batch: Batch, tally: Tally, resumed: int = 0, is_old: bool = False) -> RunReport:
    rejects = batch.rejects_file if tally.rejects else None
    return RunReport(tally, Path(batch.output), report_path(batch.output), rejects, resumed, is_old)


def _finished(batch: Batch, identity: dict[str, Any]) -> RunReport | None:
    """The report of an earlier run, if it made just this output."""
    try:
        record = json.loads(report_path(batch.output).read_bytes())
        output = {"path": batch.output, **(fingerprint(batch.output) or {})}
        same = record["identity"] == _digest(identity) and record["output"] == output
        return _report(batch, Tally.from_record(record), is_old=True) if same else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return None


def _digest(identity: dict[str, Any]) -> str | None:
    """What stands for an identity; None if its inputs cannot be read again."""
    if not is_resumable(identity):
        return None
    text = json.dumps(identity, ensure_ascii=False, sort_keys=True)
    # The order of inputs counts, that of other keys does not.
    return hashlib.sha256(f"{list(identity['inputs'])}{text}".encode()).hexdigest()
