"""One machine against a Ray cluster of one and of two workers, and a model of much larger ones.

Runs 20,000 short documents through cleaning and a model that does nothing but a fixed amount of
arithmetic for each sentence: in one process, on Ray with one worker, and on Ray with two. Each
process that holds a model is kept to one CPU. They take turns, and each run is a process of its
own. Then it measures what one CPU does with the shipped models, stage by stage, and how fast
documents are read, counted and joined.

Run: python benchmarks/ray_scale.py [--quick] [--write] [--part runs | --part costs]
     python benchmarks/ray_scale.py --simulate [build/ray_scale.json]

With `--part` only the runs are timed, or only what the simulation is made of; the other figures are
those of the last run. `--simulate` says how long corpora up to a billion documents take by them.
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Before any library reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scale.md"
FIGURES = ROOT / "build" / "ray_scale.json"
MEASURED = "<!-- figures -->", "<!-- end of figures -->"
SIMULATED = "<!-- simulation -->", "<!-- end of simulation -->"

RUNS = {"local": "one process", "ray1": "Ray, 1 worker", "ray2": "Ray, 2 workers"}
GOAL = 1.7
SHARD = 512
WINDOW = 64


def main() -> None:
    """Run the benchmark or the simulation, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes, to try it")
    parser.add_argument("--documents", type=int, help="[default: 20000, quick: 1500]")
    parser.add_argument("--rounds", type=int, help="[default: 3, quick: 1]")
    parser.add_argument("--milliseconds", type=float, default=10.0, help="of arithmetic a document")
    parser.add_argument("--shipped", type=int, help="documents for the shipped models")
    parser.add_argument("--part", choices=("runs", "costs"), help="[default: both]")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/scale.md")
    parser.add_argument("--simulate", nargs="?", type=Path, const=FIGURES, metavar="JSON")
    parser.add_argument("--one", nargs=2, metavar=("RUN", "JOB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], json.loads(options.one[1]))
        return
    if options.simulate:
        costs = Costs(**json.loads(options.simulate.read_text(encoding="utf-8"))["costs"])
        publish(simulation(costs), SIMULATED, options.write)
        return
    documents = options.documents or (1500 if options.quick else 20_000)
    rounds = options.rounds or (1 if options.quick else 3)
    shipped = options.shipped or (40 if options.quick else 400)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {
            "HF_HUB_OFFLINE": "1",
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
            # Else Ray's workers, but not one process, give way to whatever else the machine does.
            "RAY_worker_niceness": "0",
        }
        job = {"corpus": f"{scratch}/corpus.jsonl", "scratch": scratch}
        figures = json.loads(FIGURES.read_text(encoding="utf-8")) if options.part else {}
        if options.part != "costs":
            figures |= time_runs(job, documents, rounds, options.milliseconds)
            figures["quick"] = options.quick
        if options.part != "runs":
            starts = [run["start"] for run in figures["runs"]["ray1"]]
            figures |= measure_costs(job, documents, shipped, statistics.median(starts))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    publish(report(figures), MEASURED, options.write)
    publish(simulation(Costs(**figures["costs"])), SIMULATED, options.write)


def publish(lines: Sequence[str], marks: tuple[str, str], write: bool) -> None:
    """Print lines, and put them between the marks of the page."""
    print("\n".join(lines))
    if write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(marks[0])
        after = rest.partition(marks[1])[2]
        text = "\n".join([before + marks[0], "", *lines, "", marks[1] + after])
        PAGE.write_text(text, encoding="utf-8")


# --- measuring ---


def time_runs(
    job: dict[str, Any], documents: int, rounds: int, milliseconds: float
) -> dict[str, Any]:
    """Time the runs in turns."""
    from bench import processor
    from workload import cpus, write_corpus

    scratch = Path(job["scratch"])
    write_corpus(Path(job["corpus"]), documents)
    job = job | {"work": calibrated(milliseconds)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
    for number in range(1, rounds + 1):
        for name, results in runs.items():
            results.append(started(name, job | {"output": str(scratch / f"{name}.jsonl")}))
            note(f"round {number}, {RUNS[name]}: {results[-1]['seconds']:.1f} s")
        # The same work was done, whoever did it.
        outputs = {(scratch / f"{name}.jsonl").read_bytes() for name in RUNS}
        assert len(outputs) == 1, "the outputs differ"
    return {
        "machine": {"processor": processor(), "cpus": cpus()},
        "documents": documents,
        "milliseconds": milliseconds,
        "runs": runs,
    }


def measure_costs(
    job: dict[str, Any], documents: int, shipped: int, start: float
) -> dict[str, Any]:
    """Measure what the simulation is made of; a cluster takes `start` seconds to start."""
    from workload import write_corpus

    corpus, scratch = Path(job["corpus"]), Path(job["scratch"])
    note(f"the shipped models, {shipped} documents")
    write_corpus(corpus, shipped)
    job = job | {"work": 0, "output": str(scratch / "shipped.jsonl")}
    models = started("local", job)
    on_ray = started("ray1", job | {"output": str(scratch / "shipped-ray.jsonl")})
    note("what a shard costs; reading, counting and joining")
    costs = Costs(
        work=sum(models["stages"].values()) / shipped,
        start=start + on_ray["loading"],
        shard=shard_cost(job, corpus, documents),
        noise=0.15,
        **pieces(corpus, documents, Path(job["output"]), shipped),
    )
    return {
        "shipped": {
            "documents": shipped,
            "stages": models["stages"],
            "peak_bytes": {"one process": models["peak_bytes"], "Ray worker": on_ray["peak_bytes"]},
        },
        "costs": asdict(costs),
    }


def shard_cost(job: dict[str, Any], corpus: Path, documents: int) -> float:
    """Seconds that a shard more takes, of one window each, with nothing to do for its documents.

    Leaves the corpus of all documents.
    """
    from workload import write_corpus

    seconds = []
    for count in (documents // 2, documents):
        write_corpus(corpus, count)
        more = {"output": f"{job['output']}.jsonl", "work": -1, "shard": WINDOW}
        seconds.append(started("ray1", job | more)["seconds"])
    return max(1e-4, (seconds[1] - seconds[0]) / (documents / 2 / WINDOW))


def started(name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Do a run in a process of its own, and give what it measured."""
    output = Path(job["output"])
    for path in output.parent.glob(f"{output.stem}.*"):
        path.unlink()
    command = [sys.executable, __file__, "--one", name, json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(name: str, job: dict[str, Any]) -> None:
    """Do a run: from files to a file, with the settings that ship but one thread a model."""
    from khulasa.pipeline.batch import Batch, run_batch
    from khulasa.pipeline.config import load_config
    from khulasa.pipeline.readers import Source

    began = time.perf_counter()
    marks = Path(tempfile.mkdtemp(dir=job["scratch"]))
    settings: dict[str, Any] = {"threads": 1, "device": "cpu", "window": WINDOW}
    # Made-up words are nearly all flagged, and a second try is for the few.
    settings |= {"translate.options.retry": False}
    settings |= {"translate.options.max_source_tokens": 10**6} if job["work"] else {}
    batch = Batch(
        Source([job["corpus"]]),
        load_config("default", settings, {}),
        job["output"],
        ("clean", "translate") if job["work"] else ("clean", "translate", "summarize", "score"),
        shard_size=job.get("shard", SHARD),
    )
    make = partial(make_pipeline, job["work"], marks)
    if name == "local":
        run: Callable[..., Any] = run_batch
    else:
        from ray import cloudpickle

        from khulasa.pipeline.ray_runner import Cluster, run_on_ray, start_local

        workers = int(name.removeprefix("ray"))
        # The functions that make the pipeline are in this file, which workers cannot import.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        start_local(workers, log_to_driver=False)
        run = partial(run_on_ray, cluster=Cluster(workers=workers))
    ready = time.perf_counter()
    result = run(batch, make_pipeline=make)
    ended = time.perf_counter()
    noted = [json.loads(path.read_text()) for path in marks.glob("*.json")]
    print(
        json.dumps(
            {
                "start": ready - began,
                "seconds": ended - ready,
                "loading": max(item["loading"] for item in noted),
                "peak_bytes": max(item["peak_bytes"] for item in noted),
                "stages": result.tally.stage_seconds,
            }
        ),
        flush=True,
    )


def make_pipeline(work: int, marks: Path, config: Any, stages: Sequence[str]) -> Any:
    """Make a pipeline that is kept to one CPU and notes its peak of memory after each shard.

    With `work` its model is replaced by as much arithmetic for each sentence; if that is negative,
    nothing is done at all.
    """
    began = time.perf_counter()
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        place = next(n for n in range(10_000) if _is_first(marks / f"place-{n}"))
        os.sched_setaffinity(0, {allowed[place % len(allowed)]})
    from khulasa.pipeline import pipeline as module

    if work:
        module.load_engine = lambda *_, **__: busy_engine(work)

    class Noting(module.Pipeline):
        def outcomes(self, items: Any) -> Any:
            yield from items if work < 0 else super().outcomes(items)
            record = {"loading": loading, "peak_bytes": peak_bytes()}
            (marks / f"{os.getpid()}.json").write_text(json.dumps(record))

    pipeline = Noting(config, stages)
    loading = time.perf_counter() - began
    return pipeline


def _is_first(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def busy_engine(work: int) -> Any:
    """Make an engine that multiplies matrices, `work` of them for each sentence."""
    sys.path[:0] = [str(ROOT / "tests")]
    import tiny

    def reply(text: str, _: Any) -> str:
        multiply(work)
        return "The same words for each."

    engine = tiny.FakeEngine(reply, max_source_tokens=10**6)
    engine.batches = _Forgetful()
    return engine


class _Forgetful(list[Any]):
    def append(self, item: Any) -> None:
        """Keep nothing: memory must not grow."""


def multiply(times: int) -> None:
    """Do the arithmetic: matrices that fit into the cache, in one thread, without Python's lock."""
    import numpy as np

    matrix = np.full((96, 96), 0.5, dtype=np.float32)
    for _ in range(times):
        np.matmul(matrix, matrix)


def calibrated(milliseconds: float) -> int:
    """Count the multiplications for each sentence that make so much time for a document of two."""
    multiply(200)
    samples = []
    for _ in range(9):
        start = time.process_time()
        multiply(5000)
        samples.append((time.process_time() - start) / 5)
    return max(1, round(milliseconds / 2 / statistics.median(samples)))


def pieces(corpus: Path, count: int, output: Path, shipped: int) -> dict[str, Any]:
    """Seconds a document for reading, counting and joining, and its bytes before and after."""
    import pickle

    from khulasa.models.batching import windows
    from khulasa.pipeline.readers import Source
    from khulasa.pipeline.records import records
    from khulasa.pipeline.sources import ReadOptions, source_file
    from khulasa.pipeline.writers import open_writer

    start = time.perf_counter()
    for shard in windows(Source([str(corpus)]).read(), SHARD):
        pickle.dumps(shard)
    read = time.perf_counter() - start
    start = time.perf_counter()
    options = ReadOptions()
    assert sum(1 for _ in records(source_file(str(corpus), options), options)) == count
    counted = time.perf_counter() - start
    times = 50
    start = time.perf_counter()
    with open_writer(str(output.with_name("joined.jsonl"))) as writer:
        for _ in range(times):
            writer.append(output)
    joined = time.perf_counter() - start
    return {
        "read": read / count,
        "count": counted / count,
        "join": joined / times / shipped,
        "bytes_in": corpus.stat().st_size / count,
        "bytes_out": output.stat().st_size / shipped,
    }


def peak_bytes() -> int:
    """Give the largest resident set that this process had."""
    from contestants import peak_bytes

    return peak_bytes()


def report(figures: dict[str, Any]) -> list[str]:
    """Lay out what was measured as Markdown."""
    from bench import spread

    runs, count = figures["runs"], figures["documents"]
    seconds = {name: [r["seconds"] for r in results] for name, results in runs.items()}

    def ratio(a: str, b: str) -> str:
        return spread([x / y for x, y in zip(seconds[a], seconds[b], strict=True)])

    machine, shipped = figures["machine"], figures["shipped"]
    rounds = len(runs["local"])
    lines = [
        f"{count:,} documents of {figures['milliseconds']:g} ms, {rounds} "
        f"round{'s' if rounds > 1 else ''}, {machine['cpus']} CPUs, {machine['processor']}"
        f"{', quick' if figures['quick'] else ''}.",
        "",
        "| | documents a second | seconds for all |",
        "|---|---|---|",
    ]
    for name, label in RUNS.items():
        rates = [count / taken for taken in seconds[name]]
        lines.append(f"| {label} | {spread(rates)} | {spread(seconds[name])} |")
    starts = [r["start"] for name in ("ray1", "ray2") for r in runs[name]]
    stages = shipped["stages"]
    total = sum(stages.values())
    each = ", ".join(
        f"{name} {1000 * taken / shipped['documents']:.1f}" for name, taken in stages.items()
    )
    peaks = ", ".join(f"{name} {n / 1e6:,.0f} MB" for name, n in shipped["peak_bytes"].items())
    return [
        *lines,
        "",
        f"Median, and minimum to maximum over the rounds. Ray with one worker takes "
        f"{ratio('ray1', 'local')} times as long as one process. Two workers are "
        f"{ratio('ray1', 'ray2')} times as fast as one (goal: {GOAL}). To start a cluster of this "
        f"machine takes {spread(starts)} seconds more.",
        "",
        f"The shipped models, all stages, on one CPU: {shipped['documents'] / total:.1f} short "
        f"documents a second. Milliseconds a document: {each}. Peak memory: {peaks}.",
    ]


# --- the model ---


@dataclass(frozen=True)
class Costs:
    """What the model is made of: seconds a document unless said otherwise.

    `work` is all stages on one CPU; `read`, `count` and `join` are those of readers, of counting
    beforehand and of the driver at the end; `shard` are seconds a shard that Ray and the driver
    take; `start` the seconds until workers are at work; `noise` how shards differ (standard
    deviation by mean). Then of the cluster: bytes a second of a machine's network and of the whole
    store, workers a machine, workers that one reader feeds, and dollars a CPU and hour.
    """

    work: float
    read: float
    count: float
    join: float
    bytes_in: float
    bytes_out: float
    start: float
    shard: float
    noise: float
    network: float = 1.25e9
    store: float = 10e9
    workers_a_machine: int = 16
    workers_a_reader: int = 8
    dollars: float = 0.05


SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
WORKERS = (2, 16, 128, 1024)


def simulation(costs: Costs) -> list[str]:
    """Lay out the model as Markdown, with the simulation beside it."""
    lines = [
        _row("documents", "CPU hours", "dollars", *(f"{n:,} workers" for n in WORKERS)),
        "|---" * (3 + len(WORKERS)) + "|",
    ]
    worst = 0.0
    for size in SIZES:
        cells = []
        for workers in WORKERS:
            shard = shard_size(size, workers)
            seconds, bound = closed_form(costs, size, workers, shard)
            simulated = simulate(costs, size, workers, shard)
            worst = max(worst, abs(simulated / seconds - 1))
            cells.append(f"{hours(simulated)}, {bound}")
        work = size * costs.work / 3600
        lines.append(_row(f"{size:,}", f"{work:,.0f}", f"{work * costs.dollars:,.0f}", *cells))
    return [
        *lines,
        "",
        "Hours, with the output in an object store, and what bounds them. The simulation has "
        "readers that feed workers, shards that differ, and a worker that dies in one shard of a "
        f"thousand; the sum on paper is off by {worst:.0%} at most, where there are few shards for "
        "each worker.",
        "",
        *_limits(costs),
        "",
        f"To join an output of a billion documents, {10**9 * costs.bytes_out / 1e12:.1f} TB, in "
        f"one local file would take {10**9 * costs.join / 3600:,.1f} hours more.",
    ]


def _limits(costs: Costs) -> list[str]:
    """From how many workers on something else than the workers would bound a large run."""
    traffic = 2 * costs.bytes_in + costs.bytes_out
    limits = {
        "one reader, as of one large file": costs.work / costs.read,
        f"the driver, shards of {SHARD:,} documents": SHARD * costs.work / costs.shard,
        "the driver, shards of 8,192 documents": 8192 * costs.work / costs.shard,
        f"an object store of {costs.store / 1e9:g} GB a second": costs.work * costs.store / traffic,
    }
    lines = [_row("what bounds the run", "from so many workers on"), "|---|---|"]
    return [*lines, *(_row(name, f"{workers:,.0f}") for name, workers in limits.items())]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def shard_size(size: int, workers: int) -> int:
    """Choose one as one should: at least 30 shards a worker, and not more than 100,000."""
    return max(64, min(8192, size // (30 * workers)), -(-size // 100_000))


def closed_form(costs: Costs, size: int, workers: int, shard: int) -> tuple[float, str]:
    """Seconds that a run takes, and what bounds them: what is done at the same time counts once."""
    readers = -(-workers // costs.workers_a_reader)
    shards = -(-size // shard)
    machines = -(-workers // costs.workers_a_machine)
    # Inputs are read twice: they are counted first.
    traffic = size * (2 * costs.bytes_in + costs.bytes_out)
    at_once = {
        "workers": size * costs.work / workers,
        "readers": size * costs.read / readers,
        "driver": shards * costs.shard,
        "network": traffic / (machines * costs.network),
        "store": traffic / costs.store,
    }
    bound = max(at_once, key=lambda name: at_once[name])
    before = costs.start + size * costs.count / workers
    if before > at_once[bound]:
        return before + at_once[bound], "start"
    return before + at_once[bound], bound


def simulate(costs: Costs, size: int, workers: int, shard: int) -> float:
    """The same, shard by shard: each is read, waits for a worker, is done, and told to the driver.

    Networks and stores are not simulated.
    """
    rng = random.Random(0)
    spread = max(costs.noise, 1e-9)
    readers = [0.0] * -(-workers // costs.workers_a_reader)
    free = [0.0] * workers
    ends = []
    left = size
    while left > 0:
        items = min(shard, left)
        left -= items
        # A reader is held back while there is no worker to take what it has.
        read = max(heapq.heappop(readers), free[0] - items * costs.read) + items * costs.read
        heapq.heappush(readers, read)
        taken = items * costs.work * rng.gammavariate(spread**-2, spread**2)
        if rng.random() < 1e-3:  # the worker dies on the way, and a new one loads the models
            taken += taken * rng.random() + costs.start
        done = max(read, heapq.heappop(free)) + taken
        heapq.heappush(free, done)
        ends.append(done)
    driver = 0.0
    for done in sorted(ends):
        driver = max(driver, done) + costs.shard
    return costs.start + size * costs.count / workers + driver


def hours(seconds: float) -> str:
    """Seconds as hours, to two digits."""
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def note(text: str) -> None:
    """Say on stderr what goes on."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
