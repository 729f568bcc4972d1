"""Batch runs: whatever stops them and wherever, they go on, and the output is the same bytes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.batching import windows
from khulasa.models.errors import ConfigError, InputError, KhulasaError
from khulasa.pipeline import batch as batch_module
from khulasa.pipeline import parts, writers
from khulasa.pipeline.batch import Batch, StoppedError, run_batch
from khulasa.pipeline.config import Config, SummarizeConfig, TranslateConfig
from khulasa.pipeline.document import Clean, Document, Issue, Sentence, Translation
from khulasa.pipeline.readers import ReadOptions, Reject, Source, read
from khulasa.pipeline.run_report import Progress, RunReport, Tally

SCRIPT = Path(sys.executable).parent / "khulasa"
CONFIG = Config(
    window=4,
    translate=TranslateConfig(checkpoint="x"),
    summarize=SummarizeConfig(ar="x", en="x"),
)


class FakePipeline:
    """A pipeline whose outcomes depend on their whole window, so that a shift of windows shows."""

    token_budget: int | None = None

    def __init__(self, config: Config, stages: Any) -> None:
        self.config = config
        self.timings: dict[str, float] = {}
        self.seen = 0

    def __enter__(self) -> FakePipeline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def outcomes(self, items: Iterator[Document | Reject]) -> Iterator[Document | Reject]:
        for window in windows(items, self.config.window):
            self.seen += len(window)
            self.timings["fake"] = self.timings.get("fake", 0) + 0.5
            for place, item in enumerate(window):
                yield item if isinstance(item, Reject) else self.outcome(item, place, window[0].id)

    def outcome(self, item: Document, place: int, first: str) -> Document | Reject:
        if "bad" in item.text:
            return Reject(item.id, item.origin, item.line, "bad: text", item.text)
        sentence = Sentence(0, item.text, f"{place} in the window of {first}")
        return replace(
            item,
            clean=Clean(item.text),
            translation=Translation(sentence.target, (sentence,)),
            issues=(Issue("clean", "mixed_script"),) if place == 1 else (),
        )


def corpus(path: Path, count: int) -> Source:
    """A file in which each tenth line is no JSON and each seventh document is bad."""
    lines = [
        "{no json"
        if n % 10 == 3
        else json.dumps({"id": f"d{n}", "text": f"نص {n} " + "bad" * (n % 7 == 6)})
        for n in range(count)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Source([str(path)])


def job(folder: Path, count: int = 50, name: str = "out.jsonl", **options: Any) -> Batch:
    source = corpus(folder / "in.jsonl", count)
    return Batch(source, CONFIG, str(folder / name), ("clean",), **options)


def run(batch: Batch, pipeline: Any = FakePipeline, **options: Any) -> RunReport:
    return run_batch(batch, make_pipeline=pipeline, **options)


def stop_after(count: int) -> Any:
    """A `should_stop` that says yes when asked for the `count`-th time, counting from 0."""
    asked = iter(range(count + 1))
    return lambda: next(asked, count) == count


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def results(folder: Path, name: str = "out.jsonl") -> tuple[bytes, bytes]:
    return (folder / name).read_bytes(), (folder / "out.rejects.jsonl").read_bytes()


@pytest.fixture(autouse=True)
def fixed_versions(monkeypatch):
    """Looking up versions takes longer than these runs."""
    monkeypatch.setattr(batch_module, "versions", lambda: {"khulasa": "1"})


# --- a whole run ---


def test_a_run_gives_output_rejects_and_report_and_leaves_no_parts(tmp_path):
    report = run(job(tmp_path))
    assert names(tmp_path) == ["in.jsonl", "out.jsonl", "out.rejects.jsonl", "out.report.json"]
    output, rejects = results(tmp_path)
    done = [json.loads(line)["id"] for line in output.splitlines()]
    refused = [json.loads(line) for line in rejects.splitlines()]
    assert len(done) + len(refused) == 50
    assert (report.tally.documents, report.tally.rejects) == (len(done), len(refused))
    assert [item["line"] for item in refused] == sorted(item["line"] for item in refused)
    assert {item["source"] for item in refused} == {str(tmp_path / "in.jsonl")}
    assert all(item["raw"] for item in refused)


def test_the_report_counts_and_says_what_made_the_output(tmp_path):
    run(job(tmp_path))
    record = json.loads((tmp_path / "out.report.json").read_bytes())
    assert (record["documents"], record["rejects"]) == (39, 11)
    assert record["flags"] == {"clean:mixed_script": 10}
    assert record["reasons"] == {"bad": 6, "not JSON": 5}
    assert record["stage_seconds"] == {"fake": 6.5}
    assert record["sentences"] == 39
    assert len(record["slowest"]) == 5
    assert record["documents_per_second"] > 0
    assert record["config"]["window"] == 4
    assert record["stages"] == ["clean"]
    assert record["output"]["bytes"] == (tmp_path / "out.jsonl").stat().st_size


def test_a_run_without_rejects_removes_those_of_an_earlier_one(tmp_path):
    (tmp_path / "out.rejects.jsonl").write_text("old")
    report = run(job(tmp_path, count=3))
    assert report.rejects is None
    assert names(tmp_path) == ["in.jsonl", "out.jsonl", "out.report.json"]


@pytest.mark.parametrize(
    "name", ["out.jsonl", "out.jsonl.gz", "out.csv.zst", "out.parquet", "out.tmx"]
)
def test_every_format_is_one_whole_file_and_the_same_as_of_one_shard(tmp_path, name):
    run(job(tmp_path, name=name))
    whole = results(tmp_path, name)
    run(job(tmp_path, name=name, shard_size=5), restart=True)
    assert results(tmp_path, name) == whole
    if name == "out.parquet":
        assert pq.read_table(tmp_path / name).num_rows == 39
    elif ".jsonl" in name:
        # What was written is read again: the records have no text of their own, but are whole.
        assert len(list(read([str(tmp_path / name)], ReadOptions(text_column="id")))) == 39


def test_progress_comes_at_the_start_and_after_each_window(tmp_path):
    seen: list[int] = []
    run(job(tmp_path), on_progress=lambda progress: seen.append(progress.tally.items))
    assert seen == [0, *range(4, 50, 4)]


def test_an_output_that_is_made_already_is_left_as_it_is(tmp_path):
    first = run(job(tmp_path))
    before = (tmp_path / "out.jsonl").stat().st_mtime_ns
    again = run(job(tmp_path))
    assert again.is_old
    assert again.tally.to_record() == first.tally.to_record()
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before
    assert names(tmp_path) == ["in.jsonl", "out.jsonl", "out.rejects.jsonl", "out.report.json"]


@pytest.mark.parametrize("change", ["input", "output", "settings", "restart"])
def test_an_output_is_made_again_when_anything_is_not_as_it_was(tmp_path, change):
    batch = job(tmp_path)
    run(batch)
    if change == "input":
        corpus(tmp_path / "in.jsonl", 49)
    elif change == "output":
        (tmp_path / "out.jsonl").write_bytes(b"edited")
    elif change == "settings":
        batch = replace(batch, settings=CONFIG.model_copy(update={"window": 5}))
    assert not run(batch, restart=change == "restart").is_old


@pytest.mark.parametrize("output", ["-", "/dev/null"])
def test_a_stream_is_no_batch(tmp_path, output):
    with pytest.raises(InputError, match="not a file"):
        Batch(corpus(tmp_path / "in.jsonl", 1), CONFIG, output)
    with pytest.raises(ConfigError, match="shard"):
        job(tmp_path, shard_size=0)


def test_the_output_is_never_an_input(tmp_path):
    with pytest.raises(InputError, match="destroy an input"):
        job(tmp_path, name="in.jsonl")


# --- stopping and going on ---


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_run_stopped_anywhere_and_any_number_of_times_gives_the_same(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    name = data.draw(st.sampled_from(["out.jsonl", "out.csv", "out.parquet"]))
    count = data.draw(st.integers(0, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers.os, "fsync", lambda _: None)
        batch = job(folder, count, name)
        run(batch)
        whole = {
            path: (folder / path).read_bytes() for path in names(folder) if "report" not in path
        }
        restart = True
        for _ in range(data.draw(st.integers(1, 4))):
            size = data.draw(st.integers(1, 20))
            stop = stop_after(data.draw(st.integers(0, 10)))
            try:
                run(replace(batch, shard_size=size), restart=restart, should_stop=stop)
            except StoppedError:
                assert f"{name}.parts" in names(folder)
            restart = False
        run(batch)
    assert {path: (folder / path).read_bytes() for path in whole} == whole
    assert f"{name}.parts" not in names(folder)


def test_a_stop_keeps_the_window_in_hand_and_says_how_to_go_on(tmp_path):
    with pytest.raises(StoppedError) as stopped:
        run(job(tmp_path), should_stop=stop_after(3))
    assert "12 records are done" in stopped.value.__notes__[0]
    assert not (tmp_path / "out.jsonl").exists()
    pipelines: list[FakePipeline] = []

    def make(*arguments: Any) -> FakePipeline:
        pipelines.append(FakePipeline(*arguments))
        return pipelines[0]

    report = run(job(tmp_path), make)
    assert report.resumed == 12
    assert pipelines[0].seen == 38  # what is done does not go through the pipeline again
    assert report.tally.items == 50


def test_an_error_on_the_way_keeps_finished_shards_and_the_old_output(tmp_path):
    (tmp_path / "out.jsonl").write_text("old")

    class Failing(FakePipeline):
        def outcome(self, item: Document, place: int, first: str) -> Document | Reject:
            if item.id == "d30":
                raise KhulasaError("the device gave out")
            return super().outcome(item, place, first)

    with pytest.raises(KhulasaError, match="gave out") as failed:
        run(job(tmp_path, shard_size=8), Failing)
    assert "24 records are done" in failed.value.__notes__[0]
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert run(job(tmp_path)).resumed == 24


def test_a_shard_ends_after_a_while_however_few_documents_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_module, "SHARD_SECONDS", 0)
    with pytest.raises(StoppedError):
        run(job(tmp_path), should_stop=stop_after(3))
    assert len(list((tmp_path / "out.jsonl.parts").glob("*.part"))) == 3


def test_the_token_budget_found_at_the_beginning_stays(tmp_path):
    options = replace(CONFIG.translate.options, token_budget="auto")
    auto = CONFIG.translate.model_copy(update={"options": options})
    batch = replace(job(tmp_path), settings=CONFIG.model_copy(update={"translate": auto}))
    used: list[Any] = []

    class Tuned(FakePipeline):
        token_budget = 777

        def __init__(self, config: Config, stages: Any) -> None:
            super().__init__(config, stages)
            used.append(config.translate.options.token_budget)

    with pytest.raises(StoppedError):
        run(batch, Tuned, should_stop=stop_after(2))
    run(batch, Tuned)
    assert used == ["auto", 777]


RUNNER = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_batch import CONFIG, FakePipeline, corpus, run
from khulasa.pipeline import batch as batch_module
from khulasa.pipeline.batch import Batch

batch_module.versions = lambda: {"khulasa": "1"}

class Slow(FakePipeline):
    def outcome(self, *arguments):
        time.sleep(0.001)
        return super().outcome(*arguments)

folder = Path(sys.argv[2])
source = corpus(folder / "in.jsonl", 40)
batch = Batch(source, CONFIG, str(folder / "out.jsonl"), ("clean",), shard_size=4)

def start():
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(batch, Slow)
            code = 0
        finally:
            os._exit(code)
    return child

def results():
    return [(folder / name).read_bytes() for name in ("out.jsonl", "out.rejects.jsonl")]

began = time.monotonic()
assert os.waitpid(start(), 0)[1] == 0
whole, length = results(), time.monotonic() - began
chance, kills, done = random.Random(5), 0, []
while kills < 20:
    for path in folder.glob("out.*"):
        if path.is_file():
            path.unlink()
    child = start()
    time.sleep(chance.uniform(0, length))
    os.kill(child, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    done.append(len(list((folder / "out.jsonl.parts").glob("??????.json"))))
    if chance.random() < 0.5:  # else the next one is killed as well, before the end or at it
        assert os.waitpid(start(), 0)[1] == 0
        assert results() == whole
assert os.waitpid(start(), 0)[1] == 0
assert results() == whole
print(json.dumps(done))
"""


def test_twenty_kills_at_random_moments_lose_and_double_nothing(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", RUNNER, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert len(set(json.loads(found.stdout))) > 3  # the moments did differ
    assert names(tmp_path) == ["in.jsonl", "out.jsonl", "out.rejects.jsonl", "out.report.json"]


# --- disks ---


def test_a_disk_that_fills_up_at_any_step_costs_nothing_that_was_finished(tmp_path, monkeypatch):
    run(job(tmp_path, shard_size=16))
    whole = results(tmp_path)
    failures, step = 0, 0
    while True:
        steps = iter(range(step))

        def fsync(_: int, steps: Iterator[int] = steps) -> None:
            if next(steps, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(writers.os, "fsync", fsync)
            try:
                run(job(tmp_path, shard_size=16), restart=True)
            except KhulasaError as error:
                failures += 1
                assert "no space is left on the disk" in str(error)
            else:
                break
        assert run(job(tmp_path, shard_size=16)).tally.items == 50
        assert results(tmp_path) == whole
        step += 1
    assert failures > 10


def test_a_full_disk_says_which_file_and_how_to_go_on(tmp_path, monkeypatch):
    write = writers._Text.write
    written: list[str] = []

    def full(self: Any, document: Document) -> None:
        if len(written) == 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(document.id)
        write(self, document)

    with monkeypatch.context() as patch:
        patch.setattr(writers._Text, "write", full)
        with pytest.raises(KhulasaError, match=r"parts/000002\.part: .* no space") as error:
            run(job(tmp_path, shard_size=12))
    assert "24 records are done" in error.value.__notes__[0]
    assert "Run the same command again" in error.value.__notes__[0]
    assert run(job(tmp_path)).resumed == 24


# --- two runs ---


def test_a_second_run_on_the_same_output_is_refused_and_told_by_whom(tmp_path):
    def second(_: Progress) -> None:
        with pytest.raises(KhulasaError, match=rf"process {os.getpid()}"):
            run(job(tmp_path), restart=True)

    assert run(job(tmp_path), on_progress=second).tally.items == 50


def test_the_output_is_the_same_one_under_the_name_of_a_link(tmp_path):
    (tmp_path / "out.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "out.jsonl")
    with (
        parts.Parts((tmp_path / "out.jsonl").resolve()),
        pytest.raises(KhulasaError, match="another run"),
    ):
        run(job(tmp_path, name="link.jsonl"))
    run(job(tmp_path, name="link.jsonl"))
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 39


def test_a_lock_that_is_taken_away_while_it_is_waited_for_is_not_held(tmp_path, monkeypatch):
    lock = fcntl.flock
    taken: list[int] = []

    def late(file: Any, how: int) -> None:
        lock(file, how)
        if not taken:  # the run before us ended between our open and our lock
            (tmp_path / "out.parts" / "lock").unlink()
        taken.append(1)

    monkeypatch.setattr(parts.fcntl, "flock", late)
    with parts.Parts(tmp_path / "out"):
        assert len(taken) == 2
        assert (tmp_path / "out.parts" / "lock").exists()
    assert names(tmp_path) == []


def test_files_of_others_in_the_folder_of_parts_are_left_alone(tmp_path):
    (tmp_path / "out.jsonl.parts").mkdir()
    (tmp_path / "out.jsonl.parts" / "000000.json.txt").write_text("mine")
    run(job(tmp_path), restart=True)
    assert names(tmp_path / "out.jsonl.parts") == ["000000.json.txt"]


# --- something else than what was begun ---


def unfinished(folder: Path, **options: Any) -> Batch:
    batch = job(folder, **options)
    with pytest.raises(StoppedError):
        run(batch, should_stop=stop_after(2))
    return batch


def refusal(batch: Batch) -> str:
    with pytest.raises(ConfigError) as refused:
        run(batch)
    return str(refused.value)


def test_other_settings_are_refused_key_by_key(tmp_path):
    batch = unfinished(tmp_path)
    changed = CONFIG.model_copy(
        update={"window": 8, "score": CONFIG.score.model_copy(update={"clitics": True})}
    )
    message = refusal(replace(batch, settings=changed, stages=("clean", "score")))
    for line in (
        "config.window: 4 -> 8",
        "config.score.clitics: false -> true",
        'stages: ["clean"] -> ["clean", "score"]',
    ):
        assert f"\n  {line}\n" in message
    assert "8 records done" in message
    assert "--restart" in message
    assert "config.device" not in message


def test_other_inputs_are_refused_file_by_file(tmp_path):
    for name in ("b", "c"):
        corpus(tmp_path / f"{name}.jsonl", 5)
    source = Source([str(tmp_path / f"{name}.jsonl") for name in ("in", "b", "c")])
    batch = replace(job(tmp_path), source=source)
    with pytest.raises(StoppedError):
        run(batch, should_stop=stop_after(2))
    corpus(tmp_path / "b.jsonl", 6)
    corpus(tmp_path / "d.jsonl", 5)
    message = refusal(
        replace(
            batch, source=Source([str(tmp_path / f"{name}.jsonl") for name in ("in", "b", "d")])
        )
    )
    assert f"input {tmp_path / 'b.jsonl'}: its content has changed (" in message
    assert f"input {tmp_path / 'c.jsonl'}: no longer given" in message
    assert f"input {tmp_path / 'd.jsonl'}: new" in message


def test_inputs_in_another_order_are_refused(tmp_path):
    inputs = [str(tmp_path / "in.jsonl"), str(tmp_path / "b.jsonl")]
    corpus(tmp_path / "b.jsonl", 5)
    batch = replace(job(tmp_path), source=Source(inputs))
    with pytest.raises(StoppedError):
        run(batch, should_stop=stop_after(2))
    assert "another order" in refusal(replace(batch, source=Source(inputs[::-1])))


def test_another_version_model_format_or_way_to_read_is_refused(tmp_path, monkeypatch):
    batch = unfinished(tmp_path)
    read_by = replace(batch.source, options=ReadOptions(columns={"title": "id"}))
    assert 'reading.columns.title: nothing -> "id"' in refusal(replace(batch, source=read_by))
    assert 'format: "jsonl" -> "csv"' in refusal(replace(batch, format="csv"))
    monkeypatch.setattr(batch_module, "versions", lambda: {"khulasa": "9"})
    monkeypatch.setattr(batch_module, "model_digests", lambda *_: {"translator": "x@1"})
    message = refusal(batch)
    assert "versions.khulasa: " in message
    assert 'models.translator: nothing -> "x@1"' in message


def test_many_changes_are_counted(tmp_path):
    batch = unfinished(tmp_path)
    for n in range(30):
        corpus(tmp_path / f"more-{n:02}.jsonl", 1)
    message = refusal(
        replace(batch, source=Source([str(tmp_path / "in.jsonl"), str(tmp_path / "more*")]))
    )
    assert "... and 20 more" in message
    assert message.count("\n") < 15


def test_a_touched_or_a_moved_shard_size_is_no_change(tmp_path):
    batch = unfinished(tmp_path)
    os.utime(tmp_path / "in.jsonl", (1, 1))
    cached = CONFIG.model_copy(update={"cache": tmp_path / "cache.db"})
    assert run(replace(batch, shard_size=3, settings=cached)).resumed == 8


def test_restart_throws_away_what_was_done(tmp_path):
    batch = unfinished(tmp_path)
    corpus(tmp_path / "in.jsonl", 30)
    report = run(batch, restart=True)
    assert (report.resumed, report.tally.items) == (0, 30)


def test_a_manifest_that_cannot_be_read_is_said(tmp_path):
    batch = unfinished(tmp_path)
    (tmp_path / "out.jsonl.parts" / "manifest.json").write_text("{")
    assert "--restart" in refusal(batch)


# --- reading again ---


def test_what_is_done_is_not_read_again_where_a_file_is_a_document(tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.txt").write_text(f"نص {n}", encoding="utf-8")
    items = Source([str(tmp_path)]).read(skip=2)
    (tmp_path / "1.txt").unlink()  # nobody looks
    assert [item.id for item in items] == ["2", "3"]


@pytest.mark.parametrize("references", [False, True])
def test_skipped_items_are_those_of_a_whole_reading(tmp_path, references, caplog):
    source = corpus(tmp_path / "in.jsonl", 20)
    if references:
        (tmp_path / "r.jsonl").write_text('{"id": "d1", "reference_translation": "One."}\n')
        source = replace(source, references=str(tmp_path / "r.jsonl"))
    items = list(source.read())
    for skip in (0, 1, 4, 20, 30):
        assert list(source.read(skip)) == items[skip:]
    assert caplog.text == ""  # the reference of a skipped document is no stray one


def test_totals_are_known_where_it_is_cheap_to_know(tmp_path):
    source = corpus(tmp_path / "in.jsonl", 20)
    (tmp_path / "a.txt").write_text("نص", encoding="utf-8")
    assert Source([str(tmp_path)]).total() == 21
    (tmp_path / "b.csv").write_text("text\nنص\n", encoding="utf-8")
    assert Source([str(tmp_path)]).total() is None
    assert source.total() == 20


def test_parts_of_a_run_in_its_input_folder_are_no_input(tmp_path):
    batch = replace(job(tmp_path), source=Source([str(tmp_path)]))
    with pytest.raises(StoppedError):
        run(batch, should_stop=stop_after(2))
    assert run(batch).tally.items == 50


# --- counts ---


def test_counts_add_up_and_come_back_from_their_record():
    tally, other = Tally(), Tally()
    tally.add(Document("a", "x", clean=Clean("one two"), issues=(Issue("clean", "k"),)))
    tally.add_time(2.0, {"a": 1})
    for n in range(60):
        other.add(Reject(f"r{n}", "f", n, f"reason {chr(97 + n % 26)}{chr(97 + n // 26)}: {n}"))
    tally.merge(other)
    assert (tally.items, tally.words, tally.flags["clean:k"], tally.rejects) == (61, 2, 1, 60)
    assert len(tally.reasons) == 51  # those beyond are counted together
    assert tally.reasons.total() == 60
    assert len(tally.first_rejects) == 5
    assert Tally.from_record(json.loads(json.dumps(tally.to_record()))) == tally


def test_the_time_that_is_left_comes_from_this_session_alone():
    progress = Progress(Tally(documents=30), Tally(documents=20), total=50)
    progress.started = time.perf_counter() - 10
    assert progress.eta == pytest.approx(20, rel=0.1)
    assert Progress(total=None).eta is None


# --- as real processes ---

ARTICLE = "أعلنت الوزارة أن 3 مدارس جديدة ستفتح في المدينة. ورحب الأهالي بالقرار. "


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a `khulasa clean` of a second or two, in shards of one window, which tells of each."""
    monkeypatch.chdir(tmp_path)
    records = ({"id": n, "text": f"{ARTICLE * 5} {n}"} for n in range(640))
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")
    options = ["-o", "out.jsonl", "--shard-size", "64", "--progress-every", "0.001"]

    def begin() -> subprocess.Popen[str]:
        command = [SCRIPT, "clean", "in.jsonl", *options]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    return begin


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr
    assert any(words in line for line in process.stderr), "it ended before"


def test_the_command_survives_kills_and_interrupts(start, tmp_path):
    first = start()
    wait_for(first, "128 of 640")
    first.send_signal(signal.SIGSTOP)
    refused = start()
    _, errors = refused.communicate()
    assert refused.returncode == 1
    assert f"process {first.pid}" in errors
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL

    second = start()
    wait_for(second, "going on after")
    second.send_signal(signal.SIGINT)
    _, errors = second.communicate()
    assert second.returncode == 130
    assert "Run the same command again to go on" in errors
    assert "Traceback" not in errors

    last = start()
    _, errors = last.communicate()
    assert last.returncode == 0
    assert "in earlier sessions" in errors
    whole = subprocess.run([SCRIPT, "clean", "in.jsonl"], capture_output=True, check=True)
    assert Path("out.jsonl").read_bytes() == whole.stdout
    assert names(tmp_path) == ["in.jsonl", "out.jsonl", "out.report.json"]


def test_a_second_interrupt_stops_at_once(start, tmp_path):
    process = start()
    wait_for(process, "64 of 640")
    process.send_signal(signal.SIGSTOP)  # so that both are there when it goes on
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert process.returncode == 130
    assert (tmp_path / "out.jsonl.parts" / "manifest.json").exists()
