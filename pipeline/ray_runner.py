"""Batch runs on a Ray cluster: what `batch` does in one process, done by many on many machines.

Ray Data reads the inputs in tasks, as shards of whole windows, and hands these to a pool of actors
that load the models once each. An actor writes a shard under its number, so that one that is done
again, after a worker died, replaces itself. The shards are joined as in any batch run, or are the
output, where that is a folder named by a URL. Windows are those of a run on one machine, and so are
the bytes of the output.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
import signal
import socket
import threading
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from ..models.batching import windows
from ..models.device import cpu_count, first_line
from ..models.errors import ConfigError, InputError, KhulasaError
from .batch import Batch, Run, Session, StoppedError, run_batch
from .config import Config
from .document import Document
from .parts import Shards
from .pipeline import Pipeline
from .provenance import model_digests, versions
from .readers import ReadOptions, Reject, Source, as_object
from .records import records
from .run_report import Progress, RunReport, Tally
from .sources import DATASET, STDIN, input_files, source_file
from .writers import parquet_row, parquet_schema

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

logger = logging.getLogger(__name__)

# How often a shard is tried again after the process that had it died. A document that kills
# every process must not do so for ever.
_RETRIES = 3
# One task that reads keeps as many workers busy as this.
_WORKERS_PER_READER = 8
# What Ray appends to the message of an error.
_RAYS_NOTE = re.compile(r"[\s:'\"]*Failed to .{1,80} after \d+/\d+ attempts.*", re.DOTALL)

MakePipeline = Callable[[Config, Sequence[str]], Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to run: an `address` as of `ray.init`, else that in RAY_ADDRESS, else this machine.

    `workers` is how many processes load the models, each with `gpus_per_worker` GPUs (0.25: four
    share one) and as many CPUs as the configuration has `threads`, else one. None is as many as
    the cluster has room for. Raises ConfigError for numbers that cannot be.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"a cluster needs 1 worker or more, not {self.workers}")
        if self.gpus_per_worker < 0:
            raise ConfigError(f"a worker cannot have {self.gpus_per_worker} GPUs")


def run_on_ray(batch: Batch, cluster: Cluster = Cluster(), **options: Any) -> RunReport:
    """Do a batch run, or what is left of it, on a Ray cluster; `options` are those of `run_batch`.

    All machines must see inputs and output under the same names: in a folder that they share, or by
    URLs. Raises InputError for stdin,
    ConfigError for settings that each machine would decide for itself, and what `run_batch` raises.
    """
    _require_ray()
    if STDIN in batch.source.inputs:
        raise InputError("A cluster cannot read stdin: give a file that all its machines see.")
    if "translate" in batch.stages and batch.settings.translate.options.token_budget == "auto":
        raise ConfigError(
            "translate.options.token_budget: with auto each worker would find its own. Give a "
            "number."
        )
    fixed = replace(batch, fixed_shards=True)
    return run_batch(fixed, runner=partial(_run, cluster), **options)


def map_dataset(
    config: Config,
    stages: Sequence[str],
    dataset: Dataset,
    cluster: Cluster = Cluster(),
    make_pipeline: MakePipeline = Pipeline,
) -> Dataset:
    """Run the records of a Ray Dataset through a pipeline: see `Pipeline.map_dataset`."""
    return dataset.map_batches(
        _RecordWorker,
        fn_constructor_args=(_Factory.of(config, stages, make_pipeline),),
        batch_size=config.window,
        batch_format="pyarrow",
        **_pool(config, cluster, _workers(config, cluster)),
    )


# --- the driver ---


def _run(cluster: Cluster, run: Run) -> int:
    """Make the shards that are left, on the cluster; gives their number."""
    batch = run.batch
    done = set(run.done)
    with _connected(cluster, _cpus(batch.settings)), _our_errors(batch.output):
        parts = _parts(batch.source, batch.shard_items)
        parts = [part for part in parts if not part.is_within(done)]
        if run.should_stop():
            raise StoppedError("stopped")
        with closing(_shards_made(run, cluster, parts, frozenset(done))) as made:
            for number in made:
                done.add(number)
                run.progress.tally.merge(_tally(run, number))
                run.on_progress(run.progress)
                if run.should_stop():
                    raise StoppedError("stopped")
    if done != set(range(len(done))):
        raise KhulasaError(f"{batch.output}: the cluster did not make every shard.")
    return len(done)


def _tally(run: Run, number: int) -> Tally:
    """The counts of a shard that a worker has written."""
    try:
        return Tally.from_record(run.shards.counts(number))
    except OSError as error:
        raise KhulasaError(
            f"{run.batch.output}: a worker wrote shard {number}, but it is not to be seen here "
            f"({first_line(error)}). The output must be in a folder that all machines of the "
            "cluster share."
        ) from error


def _shards_made(
    run: Run, cluster: Cluster, parts: Sequence[_Part], done: Collection[int]
) -> Generator[int, None, None]:
    """The numbers of the shards that workers have written, as they do.

    When it is closed, the workers stop.
    """
    import ray
    from ray.data import TaskPoolStrategy

    if not parts:
        return
    batch = run.batch
    workers = _workers(batch.settings, cluster)
    rows = [{"part": pickle.dumps(part)} for part in parts]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    context = dataset.context
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.target_max_block_size = 1  # a shard is a block, and so what is done again
    factory = _Factory.of(batch.settings, batch.stages, run.make_pipeline)
    shards = dataset.map_batches(
        _read_shards,  # pyright: ignore[reportArgumentType]: of a function its type knows one argument
        fn_args=(batch.shard_items, done, factory.home),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=0,  # workers may have taken all
        compute=TaskPoolStrategy(size=-(-workers // _WORKERS_PER_READER)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's, of options that 2.64 takes away
        made = shards.map_batches(
            _ShardWorker,
            fn_constructor_args=(factory, batch, run.shards, workers),
            batch_size=1,
            batch_format="pyarrow",
            **_pool(batch.settings, cluster, workers),
        )
    for row in made.iter_rows():
        yield row["number"]


def _require_ray() -> None:
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Ray is not installed ({error}): pip install 'khulasa[ray]', on all machines."
        ) from error


@contextmanager
def _connected(cluster: Cluster, cpus: int) -> Iterator[None]:
    """A connection to the cluster; one that is there already stays open afterwards."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    ask_to_stop = signal.getsignal(signal.SIGTERM)
    if address in (None, "local"):
        start_local(max(cpu_count(), (cluster.workers or 1) * cpus))
    else:
        try:
            ray.init(address, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"Ray cannot be reached at {address}: {first_line(error)}") from error
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and ask_to_stop is not None:
        signal.signal(signal.SIGTERM, ask_to_stop)  # Ray has put its own in the place
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def start_local(cpus: int, **options: Any) -> None:
    """Start a cluster of this machine; `options` are those of `ray.init`. Raises KhulasaError.

    On a machine that has much else to do Ray's own processes start slowly, and Ray gives up on
    them: it is given more time, and three tries.
    """
    import ray

    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    options = {"logging_level": logging.ERROR, "include_dashboard": False} | options
    for is_last in (False, False, True):
        try:
            ray.init("local", num_cpus=cpus, **options)
            return
        except Exception as error:  # Ray raises just that
            if is_last:
                raise KhulasaError(f"Ray does not start here: {first_line(error)}") from error
            logger.warning("Ray did not start and is tried again: %s", first_line(error))
            ray.shutdown()


@contextmanager
def _our_errors(output: str) -> Iterator[None]:
    """Give our own errors as the workers raised them, and Ray's as one of ours."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and type(cause).__module__.startswith("ray."):
            cause = getattr(cause, "cause", None) or cause.__cause__
        what = cause or error
        message = _RAYS_NOTE.sub("", str(what))
        if isinstance(what, KhulasaError):
            what.args = (message,)
            raise what from None
        shown = f"{type(what).__name__}: {message}".splitlines()[0].rstrip(".: ")
        raise KhulasaError(f"{output}: the cluster failed: {shown}") from error


def _cpus(config: Config) -> int:
    return config.threads or 1


def _for_worker(config: Config) -> Config:
    """The configuration for a process that has its CPUs for itself alone."""
    return config.model_copy(update={"threads": _cpus(config)})


def _workers(config: Config, cluster: Cluster) -> int:
    return cluster.workers or _room(config, cluster.gpus_per_worker)


def _pool(config: Config, cluster: Cluster, workers: int) -> dict[str, Any]:
    """The options of `map_batches` for the actors with the models."""
    from ray.data import ActorPoolStrategy

    return {
        "compute": ActorPoolStrategy(size=workers),
        "num_cpus": _cpus(config),
        "num_gpus": cluster.gpus_per_worker,
        "max_restarts": -1,
        "max_task_retries": _RETRIES,
    }


def _room(config: Config, gpus: float) -> int:
    """How many workers the cluster has room for."""
    import ray

    have = ray.cluster_resources()
    room = int(have.get("CPU", 0) / _cpus(config))
    if gpus:
        room = min(room, int(have.get("GPU", 0) / gpus))
    if not room:
        raise ConfigError(
            f"The cluster has no room for a worker of {_cpus(config)} CPUs and {gpus:g} GPUs: it "
            f"has {have.get('CPU', 0):g} and {have.get('GPU', 0):g}. If it grows by itself, say "
            "how many --workers."
        )
    return room


# --- what a task reads ---


@dataclass(frozen=True, slots=True)
class _Part:
    """Shards that one task reads: from shard `first` on, `shards` of them, or all that come.

    `source` starts with the file that holds the first item, `skip` items before it.
    """

    source: Source
    skip: int = 0
    first: int = 0
    shards: int | None = None

    def is_within(self, done: Collection[int]) -> bool:
        """Whether there is nothing left to do."""
        if self.shards is None:
            return False
        return all(n in done for n in range(self.first, self.first + self.shards))


def _parts(source: Source, size: int) -> list[_Part]:
    """Cut the inputs into parts, about one a file, at the ends of shards of `size` items.

    So windows are the same as where one process reads all, which takes counting the items first.
    References are looked for by all documents together, so that there they are one part.
    """
    names = input_files(source.inputs, source.options)
    files = [source_file(name, source.options) for name in names]
    if source.references or any(file.format == DATASET for file in files):
        return [_Part(source)]
    starts = list(accumulate(_counts(source.options, names[:-1]), initial=0))
    bounds = sorted({-(-start // size) for start in starts})
    parts = []
    for first, end in zip(bounds, [*bounds[1:], None], strict=True):
        file = bisect_right(starts, first * size) - 1
        last = len(names) if end is None else bisect_left(starts, end * size)
        part = replace(source, inputs=names[file:last])
        parts.append(
            _Part(part, first * size - starts[file], first, None if end is None else end - first)
        )
    return parts


def _counts(options: ReadOptions, names: Sequence[str]) -> list[int]:
    """The items of each file, counted by the cluster where the format does not tell."""
    import ray

    count = ray.remote(_count)
    home = _Home()
    one = [source_file(name, options).is_one(options) for name in names]
    counts = [
        1 if is_one else count.remote(name, options, home)
        for name, is_one in zip(names, one, strict=True)
    ]
    asked = [item for item in counts if not isinstance(item, int)]
    found = iter(ray.get(asked))
    return [item if isinstance(item, int) else next(found) for item in counts]


def _count(name: str, options: ReadOptions, home: _Home) -> int:
    home.enter()
    return sum(1 for _ in records(source_file(name, options), options))


def _read_shards(
    table: pyarrow.Table, size: int, done: Collection[int], home: _Home
) -> Iterator[pyarrow.Table]:
    """Read the shards of a part that are not done, each a row: its number and its items."""
    import pyarrow

    home.enter()
    part: _Part = pickle.loads(table["part"][0].as_py())
    items = part.source.read(part.skip)
    if part.shards is not None:
        items = islice(items, part.shards * size)
    for number, shard in enumerate(windows(items, size), part.first):
        if number not in done:
            yield pyarrow.table(
                {
                    "number": [number],
                    "items": pyarrow.array([pickle.dumps(shard)], pyarrow.large_binary()),
                }
            )


# --- the workers ---

_versions = cache(versions)


@dataclass(frozen=True, slots=True)
class _Home:
    """What a process of the cluster must have as the driver has it: its folder and versions."""

    folder: str = field(default_factory=os.getcwd)
    versions: Mapping[str, str] = field(default_factory=_versions)

    def enter(self) -> None:
        """Go to the folder, so that names mean the same. Raises ConfigError for what differs."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ConfigError(
                f"{_here()} has no folder {self.folder}, where the run was started. Start it in a "
                "folder that all machines share."
            ) from error
        _require_same("versions", _versions(), self.versions)


def _require_same(what: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    """Raise ConfigError where this machine has something else than that of the driver."""
    differing = [
        f"{key} {ours.get(key)} instead of {theirs[key]}"
        for key in theirs
        if theirs[key] != ours.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{_here()} has other {what} than where the run was started, and could give other "
            f"results: {', '.join(differing)}. Have the same on all."
        )


def _here() -> str:
    return f"The machine {socket.gethostname()} of the cluster"


@dataclass(frozen=True, slots=True)
class _Factory:
    """Makes the pipeline of a worker."""

    config: Config
    stages: Sequence[str]
    make_pipeline: MakePipeline
    home: _Home
    models: Mapping[str, str]

    @classmethod
    def of(cls, config: Config, stages: Sequence[str], make_pipeline: MakePipeline) -> _Factory:
        """One that makes what the driver would make."""
        return cls(config, stages, make_pipeline, _Home(), model_digests(config, stages))

    def make(self) -> Any:
        """Make it. Raises ConfigError for models that are not the driver's."""
        self.home.enter()
        _require_same("models", model_digests(self.config, self.stages), self.models)
        return self.make_pipeline(_for_worker(self.config), self.stages)


class _Worker:
    """An actor with a pipeline, which it makes when it is first needed.

    Of an error in a call Ray gives back the error itself, of one in `__init__` words only.
    """

    def __init__(self, factory: _Factory) -> None:
        self._factory = factory

    @cached_property
    def _pipeline(self) -> Any:
        return self._factory.make()


class _ShardWorker(_Worker):
    """Makes shards."""

    def __init__(self, factory: _Factory, batch: Batch, shards: Shards, workers: int) -> None:
        super().__init__(factory)
        self._batch = batch
        self._shards = shards
        self._workers = workers

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        number = table["number"][0].as_py()
        items = pickle.loads(table["items"][0].as_py())
        with self._shards.writing() as folder:
            session = Session(
                self._batch, folder, number, self._pipeline, Progress(), self._workers
            )
            session.work(iter(items))
        return table.select(["number"])


class _RecordWorker(_Worker):
    """Turns input records into rows of a Parquet output, and one column more: `reject`."""

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        import pyarrow

        items = map(_item, table.to_pylist())
        rows = [_row(outcome) for outcome in self._pipeline.outcomes(items)]
        schema = parquet_schema().append(pyarrow.field("reject", pyarrow.string()))
        return pyarrow.Table.from_pylist(rows, schema)


def _item(record: dict[str, Any]) -> Document | Reject:
    text = record.get("text")
    digest = hashlib.sha256(str(text).encode("utf-8", "replace")).hexdigest()[:16]
    if "metadata" in record:
        record["metadata"] = as_object(record["metadata"])
    try:
        return Document.from_record(record, where="record", default_id=digest)
    except InputError as error:
        name = str(record.get("id") or digest)
        return Reject(name, "", None, str(error).removeprefix("record: "), str(text or ""))


def _row(outcome: Document | Reject) -> dict[str, Any]:
    if isinstance(outcome, Reject):
        return {"id": outcome.id, "reject": outcome.reason}
    return {**parquet_row(outcome), "reject": None}
