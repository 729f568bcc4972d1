"""Inputs and outputs that are named by a URL, with the file system in the place of a store."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_batch import CONFIG, FakePipeline, corpus

from khulasa.models.batching import windows
from khulasa.models.errors import ConfigError, InputError
from khulasa.pipeline.batch import Batch, Run, Session, StoppedError, run_batch
from khulasa.pipeline.readers import Source, input_files, read
from khulasa.pipeline.run_report import Progress, RunReport, Tally
from khulasa.pipeline.urls import is_url


def url(path: Path) -> str:
    return f"file://{path}"


@pytest.fixture
def store(tmp_path) -> Path:
    """A folder with files at several depths, some of which are no data."""
    folder = tmp_path / "دلو in"
    for name in ("b.jsonl", "a.jsonl", "deep/er/c.jsonl", "notes.pdf", "_old/d.jsonl", ".e.jsonl"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "نص"}\n', encoding="utf-8")
    return folder


# --- inputs ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/in", True),
        ("file:///in", True),
        ("hf://owner/news:train", False),
        ("in/a.jsonl", False),
        ("/a:b/c", False),
        ("C:\\in", False),
        ("-", False),
        (None, False),
    ],
)
def test_a_url_is_told_from_a_path(name, expected):
    assert is_url(name) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"]),
        ("/a.jsonl", ["a.jsonl"]),
        ("/*.jsonl", [".e.jsonl", "a.jsonl", "b.jsonl"]),
        ("/[ab].jsonl", ["a.jsonl", "b.jsonl"]),
        ("/deep/*/?.jsonl", ["deep/er/c.jsonl"]),
        ("/**/c.jsonl", ["deep/er/c.jsonl"]),
        ("/**/[a-c].jsonl", ["a.jsonl", "b.jsonl", "deep/er/c.jsonl"]),
    ],
)
def test_files_folders_and_patterns_give_their_files_sorted(store, pattern, expected):
    found = input_files([url(store) + pattern])
    assert found == [f"{url(store)}/{name}" for name in expected if not name.startswith(".")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file:///no/such/file.jsonl", "no such file"),
        ("file:///no/such/*.jsonl", "no such file"),
        ("nowhere://bucket/a.jsonl", "nowhere"),
    ],
)
def test_what_is_not_there_is_missed(name, message):
    with pytest.raises(InputError, match=message):
        input_files([name])


def test_a_file_of_unknown_suffix_is_refused(store):
    with pytest.raises(InputError, match="suffix does not say"):
        input_files([f"{url(store)}/notes.pdf"])


def test_files_hold_the_same_by_url_and_by_path(tmp_path):
    records = [{"id": str(n), "text": f"نص {n}", "title": None} for n in range(300)]
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    (tmp_path / "a.jsonl").write_bytes(lines + b"{no json\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.csv").write_text("id,text\n1,نص\n", encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "d.parquet")
    (tmp_path / "e.txt").write_text("نص", encoding="utf-8")

    def found(name: str) -> list[object]:
        return [
            (type(item).__name__, item.id, getattr(item, "text", None))
            for item in read(input_files([name]))
        ]

    assert len(found(str(tmp_path))) == 3 * 300 + 3
    assert found(url(tmp_path)) == found(str(tmp_path))


def test_an_input_that_has_changed_is_noticed(tmp_path):
    source = Source([url(tmp_path / "in.jsonl")])
    corpus(tmp_path / "in.jsonl", 3)
    before = source.fingerprint()
    assert source.fingerprint() == before
    corpus(tmp_path / "in.jsonl", 4)
    assert source.fingerprint() != before


# --- outputs ---


def by_shards(run: Run) -> int:
    """Make the shards that are left, each on its own, the last first, as a cluster may."""
    shards = list(enumerate(windows(run.batch.source.read(), run.batch.shard_items)))
    for number, items in reversed(shards):
        if number not in run.done:
            if run.should_stop():
                raise StoppedError("stopped")
            with run.shards.writing() as folder:
                pipeline = FakePipeline(CONFIG, ())
                Session(run.batch, folder, number, pipeline, Progress()).work(iter(items))
            run.progress.tally.merge(Tally.from_record(run.shards.counts(number)))
    return len(shards)


def job(folder: Path, **options: object) -> Batch:
    source = corpus(folder / "in.jsonl", 50)
    batch = Batch(source, CONFIG, url(folder / "out"), ("clean",), shard_size=8)
    return replace(batch, fixed_shards=True, **options)


def run(batch: Batch, **options: object) -> RunReport:
    return run_batch(batch, runner=by_shards, **options)


def documents(folder: Path, kind: str = "jsonl") -> list[Path]:
    return sorted((folder / "out").glob(f"*.{kind}"))


def test_the_files_of_a_folder_hold_what_one_file_would(tmp_path):
    report = run(job(tmp_path))
    local = replace(job(tmp_path), output=str(tmp_path / "one.jsonl"), fixed_shards=False)
    run_batch(local, make_pipeline=FakePipeline)
    files = documents(tmp_path)
    assert [path.name for path in files] == [f"{n:06}.jsonl" for n in range(7)]
    assert b"".join(path.read_bytes() for path in files) == (tmp_path / "one.jsonl").read_bytes()
    rejects = sorted((tmp_path / "out" / "_khulasa").glob("*.rejects.jsonl"))
    expected = (tmp_path / "one.rejects.jsonl").read_bytes()
    assert b"".join(path.read_bytes() for path in rejects) == expected
    assert report.report == f"{url(tmp_path)}/out/_khulasa/report.json"
    record = json.loads((tmp_path / "out" / "_khulasa" / "report.json").read_bytes())
    assert (record["documents"], record["rejects"]) == (39, 11)
    assert input_files([f"{url(tmp_path)}/out"]) == [url(path) for path in files]


def test_parquet_files_of_a_folder_are_read_as_one_table(tmp_path):
    run(job(tmp_path, format="parquet"))
    assert [path.name for path in documents(tmp_path, "parquet")][-1] == "000006.parquet"
    assert pq.read_table(tmp_path / "out").num_rows == 39


def test_a_run_to_a_folder_goes_on_and_then_is_finished(tmp_path):
    batch = job(tmp_path)
    asked = iter([False, False, True])
    with pytest.raises(StoppedError) as stopped:
        run(batch, should_stop=lambda: next(asked))
    assert "10 records are done" in stopped.value.__notes__[0]
    first = {path: path.stat().st_mtime_ns for path in documents(tmp_path)}
    assert len(first) == 2
    assert run(batch).resumed == 10
    assert all(path.stat().st_mtime_ns == time for path, time in first.items())
    assert run(batch).is_old
    documents(tmp_path)[3].unlink()
    assert run(batch).resumed == 42


def test_a_run_with_other_settings_is_refused_and_restart_makes_it_anew(tmp_path):
    run(job(tmp_path))
    other = replace(job(tmp_path), settings=CONFIG.model_copy(update={"window": 8}), shard_size=16)
    with pytest.raises(ConfigError, match=r"config.window: 4 -> 8"):
        run(other)
    (tmp_path / "out" / "mine.txt").touch()
    assert run(other, restart=True).resumed == 0
    assert len(documents(tmp_path)) == 4
    assert (tmp_path / "out" / "mine.txt").exists()


def test_a_folder_of_other_files_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000000.jsonl").write_text("mine")
    for restart in (False, True):
        with pytest.raises(InputError, match=r"no run wrote, such as 000000.jsonl"):
            run(job(tmp_path), restart=restart)
    assert (tmp_path / "out" / "000000.jsonl").read_text() == "mine"


def test_a_folder_in_an_input_is_refused(tmp_path):
    corpus(tmp_path / "in.jsonl", 1)
    batch = job(tmp_path)
    for inputs in ([url(tmp_path)], [f"{url(tmp_path)}/"], [f"{url(tmp_path)}/out/*.jsonl"]):
        with pytest.raises(InputError, match="in the input"):
            replace(batch, source=Source(inputs))


def test_a_format_of_one_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="jsonl or parquet"):
        job(tmp_path, format="csv")


def test_a_run_on_one_machine_does_not_write_there(tmp_path):
    with pytest.raises(InputError, match="--runner ray"):
        run_batch(replace(job(tmp_path), fixed_shards=False), make_pipeline=FakePipeline)
    assert not (tmp_path / "out").exists()
