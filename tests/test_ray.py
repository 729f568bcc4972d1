"""Runs on a Ray cluster: the bytes of a run on one machine, whatever dies on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from test_batch import CONFIG, FakePipeline, corpus, results, stop_after

from khulasa.cli.main import cli
from khulasa.models.errors import CheckpointError, ConfigError, InputError, KhulasaError
from khulasa.pipeline import ray_runner
from khulasa.pipeline.batch import Batch, StoppedError, run_batch
from khulasa.pipeline.config import load_config
from khulasa.pipeline.document import Document
from khulasa.pipeline.pipeline import Pipeline
from khulasa.pipeline.ray_runner import Cluster, run_on_ray, start_local
from khulasa.pipeline.readers import Reject, Source

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'khulasa[ray]'")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'khulasa[ray]'")

ARTICLES = Path(__file__).parent.parent / "examples" / "articles.jsonl"
ONE, TWO = Cluster(workers=1), Cluster(workers=2)


class MarkedPipeline(FakePipeline):
    """Leaves in the folder `marks`, beside the input, a file named by its process for each shard."""

    def outcomes(self, items: Iterator[Document | Reject]) -> Iterator[Document | Reject]:
        for number, outcome in enumerate(super().outcomes(items)):
            if number == 0:
                marks = folder_of(outcome) / "marks"
                marks.mkdir(exist_ok=True)
                (marks / f"{os.getpid()}-{outcome.id.replace(':', '_')}").touch()
                time.sleep(0.05)
            yield outcome


class DyingPipeline(MarkedPipeline):
    """Kills its own process when it gets to a certain document for the first time."""

    def outcome(self, item: Document, place: int, first: str) -> Document | Reject:
        died = folder_of(item) / "died"
        if item.id == "d21" and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().outcome(item, place, first)


def folder_of(outcome: Document | Reject) -> Path:
    """Where the file is that it was read from."""
    name = outcome.metadata["source"] if isinstance(outcome, Document) else outcome.source
    return Path(name.removeprefix("file://")).parent


class UnloadablePipeline(FakePipeline):
    """Has a model that is not there."""

    def __init__(self, config: Any, stages: Any) -> None:
        raise CheckpointError("no checkpoint: it is not there")


@pytest.fixture(scope="module")
def cluster(cache) -> Iterator[None]:
    """A cluster of this machine, started light and stopped afterwards."""
    settings = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_worker_niceness": "0",  # else whatever else is at work goes first
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.cloudpickle.register_pickle_by_value(sys.modules["test_batch"])
        start_local(2, object_store_memory=200 * 2**20, log_to_driver=False)
        yield
        ray.shutdown()


def job(source: Source, folder: Path, name: str = "out.jsonl", **options: Any) -> Batch:
    folder.mkdir(exist_ok=True)
    options = {"shard_size": 8, **options}
    return Batch(source, CONFIG, str(folder / name), ("clean",), **options)


def wait_until_free() -> None:
    """Wait for the worker of a run that was stopped to be gone, which takes a moment.

    That of a run that failed Ray Data keeps, with its CPU, until the driver disconnects.
    """
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def marks(folder: Path) -> list[str]:
    return [path.name.partition("-")[2] for path in (folder / "marks").iterdir()]


# --- the same output ---


def test_a_folder_by_its_url_gets_the_bytes_of_one_machine_though_a_worker_is_killed(
    cluster, tmp_path
):
    for number, count in enumerate((50, 3, 0, 21)):
        corpus(tmp_path / f"{number}.jsonl", count)
    for number in range(5):
        (tmp_path / f"text{number}.txt").write_text("" if number == 2 else f"نص {number}")
    names = [f"{tmp_path.as_uri()}/{name}" for name in ("[0-9].jsonl", "text*.txt")]
    here = job(Source(names), tmp_path / "here")
    expected = run_batch(here, make_pipeline=FakePipeline)
    out = tmp_path / "out"
    there = replace(here, output=f"{out.as_uri()}/")
    report = run_on_ray(there, TWO, make_pipeline=DyingPipeline)
    assert (report.tally.items, report.tally.flags) == (79, expected.tally.flags)
    assert (tmp_path / "died").exists()
    done_again = [name for name in marks(tmp_path) if marks(tmp_path).count(name) > 1]
    assert "d16" in done_again  # the first of the shard
    # Documents depend on their window here, so that the windows were the same.
    assert joined(out) == results(tmp_path / "here")
    assert run_on_ray(there, TWO).is_old


def joined(folder: Path) -> tuple[bytes, bytes]:
    """The documents and the rejects of all files, in order."""
    assert all(path.is_dir() or path.suffix == ".jsonl" for path in folder.iterdir())
    kinds = (folder.glob("*.jsonl"), (folder / "_khulasa").glob("*.rejects.jsonl"))
    documents, rejects = (b"".join(path.read_bytes() for path in sorted(kind)) for kind in kinds)
    return documents, rejects


def test_the_shipped_models_give_the_records_of_one_machine(cluster, tmp_path):
    articles = ARTICLES.read_text(encoding="utf-8").splitlines()
    source, references = tmp_path / "in.jsonl", tmp_path / "references.jsonl"
    source.write_text("\n".join([articles[1], "{no json", articles[2]]), encoding="utf-8")
    references.write_text('{"id": "water", "reference_translation": "Water is scarce."}')
    for name, more in (("here", ()), ("there", ("--runner", "ray", "--workers", "1"))):
        arguments = ["translate", str(source), "-o", str(tmp_path / f"{name}.jsonl"), *more]
        arguments += ["--references", str(references), "--shard-size", "2"]
        result = CliRunner(env={"KHULASA_WINDOW": "2"}).invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        assert "2 documents" in result.stderr
    assert b'"bleu"' in (tmp_path / "there.jsonl").read_bytes()
    for end in ("jsonl", "rejects.jsonl"):
        here, there = ((tmp_path / f"{name}.{end}").read_bytes() for name in ("here", "there"))
        assert sorted(there.splitlines()) == sorted(here.splitlines())


# --- what fails, stops and goes on ---


def test_a_run_that_failed_or_was_stopped_does_only_what_is_left(cluster, tmp_path):
    source = corpus(tmp_path / "in.jsonl", 80)
    batch = job(source, tmp_path / "there")
    with pytest.raises(CheckpointError) as raised:
        run_on_ray(batch, ONE, make_pipeline=UnloadablePipeline)
    assert str(raised.value) == "no checkpoint: it is not there"
    assert raised.value.__notes__[0] == "No record was done yet."
    with pytest.raises(StoppedError) as stopped:
        run_on_ray(batch, ONE, make_pipeline=MarkedPipeline, should_stop=stop_after(4))
    assert "records are done" in stopped.value.__notes__[0]
    wait_until_free()
    parts = tmp_path / "there" / "out.jsonl.parts"
    # A gap, such as one that is left where workers finish in another order.
    (parts / "000000.json").unlink()
    finished = len(list(parts.glob("[0-9]*.json")))
    shutil.rmtree(tmp_path / "marks", ignore_errors=True)
    report = run_on_ray(batch, ONE, make_pipeline=MarkedPipeline)
    assert len(marks(tmp_path)) == 10 - finished
    assert report.resumed == 8 * finished
    run_batch(job(source, tmp_path / "here"), make_pipeline=FakePipeline)
    assert results(tmp_path / "there") == results(tmp_path / "here")
    written = [{path.name for path in (tmp_path / name).iterdir()} for name in ("there", "here")]
    assert written[0] == written[1] == {"out.jsonl", "out.rejects.jsonl", "out.report.json"}


def test_an_unfinished_run_of_one_process_is_not_gone_on_with(tmp_path):
    batch = job(corpus(tmp_path / "in.jsonl", 30), tmp_path)
    with pytest.raises(StoppedError):
        run_batch(batch, make_pipeline=FakePipeline, should_stop=stop_after(2))
    with pytest.raises(ConfigError, match="shard_items: nothing -> 8"):
        run_on_ray(batch, TWO)


def test_what_one_process_has_finished_is_finished(tmp_path):
    batch = job(corpus(tmp_path / "in.jsonl", 30), tmp_path)
    run_batch(batch, make_pipeline=FakePipeline)
    assert run_on_ray(batch, TWO).is_old


# --- datasets ---


def test_a_dataset_gives_the_rows_of_a_parquet_output_and_the_reasons_of_rejects(cluster, tmp_path):
    rows = [{"id": f"d{n}", "text": f"وصل القطار رقم {n} إلى المحطة.", "page": n} for n in range(9)]
    lines = [json.dumps(row) for row in [*rows, {"id": "empty", "text": " "}]]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    settings = load_config("default")
    with Pipeline(settings, ["clean", "score"]) as pipeline:
        dataset = ray.data.from_items([json.loads(line) for line in lines])
        blocks = ray.get(pipeline.map_dataset(dataset, ONE).to_arrow_refs())
    table = [row for block in blocks for row in block.to_pylist()]
    found = {row["id"]: row for row in table}
    assert len(table) == len(found) == 10
    assert "is empty" in found.pop("empty")["reject"]
    batch = Batch(
        Source([str(tmp_path / "in.jsonl")]),
        settings,
        str(tmp_path / "o.parquet"),
        ["clean", "score"],
    )
    run_batch(batch)
    for row in pq.read_table(batch.output).to_pylist():
        row["metadata"] = json.dumps({"page": json.loads(row["metadata"])["page"]})
        assert found.pop(row["id"]) == {**row, "reject": None}
    assert not found


# --- what cannot be ---


def test_a_signal_to_stop_still_comes_to_us(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    with ray_runner._connected(ONE, 1):
        assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.jsonl", "--workers", "2"], "for --runner ray"),
        (["-o", "out.jsonl", "--address", "auto"], "for --runner ray"),
        (["-o", "out.jsonl", "--runner", "ray", "--workers", "0"], "--workers"),
        (["--runner", "ray"], "name it with -o"),
        (["-o", "-", "--runner", "ray"], "name it with -o"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(tmp_path, arguments, message):
    corpus(tmp_path / "in.jsonl", 1)
    result = CliRunner().invoke(cli, ["clean", str(tmp_path / "in.jsonl"), *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_stdin_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read stdin"):
        run_on_ray(job(Source(["-"]), tmp_path))


def test_a_token_budget_that_each_worker_would_find_for_itself_is_refused(tmp_path):
    settings = load_config("default", {"translate.options.token_budget": "auto"})
    batch = replace(job(corpus(tmp_path / "in.jsonl", 1), tmp_path), settings=settings)
    with pytest.raises(ConfigError, match="token_budget"):
        run_on_ray(replace(batch, stages=("clean", "translate")))


@pytest.mark.parametrize("options", [{"workers": 0}, {"gpus_per_worker": -1.0}])
def test_a_cluster_of_impossible_numbers_is_refused(options):
    with pytest.raises(ConfigError):
        Cluster(**options)


def test_gpus_that_are_not_there_are_missed_at_once(cluster, tmp_path):
    with pytest.raises(ConfigError, match="no room for a worker of 1 CPUs and 1 GPUs"):
        run_on_ray(job(corpus(tmp_path / "in.jsonl", 1), tmp_path), Cluster(gpus_per_worker=1))


def test_without_ray_it_is_said_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(KhulasaError, match=r"pip install 'khulasa\[ray\]'"):
        run_on_ray(job(corpus(tmp_path / "in.jsonl", 1), tmp_path))
