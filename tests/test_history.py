"""The history of runs: one file that can move, baselines, and finding runs by name."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from khulasa.eval.history import History
from khulasa.eval.runs import MetricScore
from khulasa.eval.scores import ScoreError


def score(value: float) -> MetricScore:
    return MetricScore(
        "news", "translation", "bleu", value, value - 1, value + 1, "higher", "sig", {"a": value}
    )


def add(history, run, value=30.0, *, job="nightly", verdict="passed"):
    info = {"id": run, "job": job, "started": "2026-01-01T00:00:00Z", "models": {"t": "m@1"}}
    history.add(
        info,
        history.path.parent / run,
        [score(value)],
        documents=5,
        verdict=verdict,
        baseline=None,
    )


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "runs" / "history.sqlite")


def test_runs_come_back_oldest_first_with_their_scores(history):
    for run, value in (("2026-01-02-nightly", 31.0), ("2026-01-01-nightly", 30.0)):
        add(history, run, value)
    add(history, "2026-01-03-other", job="other")
    entries = history.runs("nightly")
    assert [e.id for e in entries] == ["2026-01-01-nightly", "2026-01-02-nightly"]
    point = entries[1].scores["news", "translation", "bleu"]
    assert (point.value, point.low, point.high, point.signature) == (31, 30, 32, "sig")
    assert entries[0].info["models"] == {"t": "m@1"}
    assert len(history.runs()) == 3
    assert [e.id for e in history.runs(last=1)] == ["2026-01-03-other"]


def test_the_baseline_is_the_run_that_was_accepted_last(history):
    for day in (1, 2, 3):
        add(history, f"2026-01-0{day}-nightly")
    assert history.accepted("nightly") is None
    history.accept("2026-01-03-nightly")
    history.accept("2026-01-01-nightly", "the newer one was worse after all")
    found = history.accepted("nightly")
    assert (found.id, found.note) == ("2026-01-01-nightly", "the newer one was worse after all")
    assert history.accepted("nightly", besides=found.id).id == "2026-01-03-nightly"
    assert history.accepted("other") is None


def test_a_run_scored_again_replaces_its_scores_and_stays_accepted(history):
    add(history, "r1", 30.0)
    history.accept("r1")
    add(history, "r1", 40.0)
    (entry,) = history.runs()
    assert entry.accepted
    assert entry.scores["news", "translation", "bleu"].value == 40


def test_the_folder_may_move(history, tmp_path):
    add(history, "r1")
    assert history.runs()[0].folder == tmp_path / "runs" / "r1"
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    moved = History(tmp_path / "elsewhere" / "history.sqlite")
    assert moved.find("r1").folder == tmp_path / "elsewhere" / "r1"


def test_a_run_is_found_by_a_part_of_its_name(history):
    for run in ("2026-01-01-nightly", "2026-01-02-nightly", "2026-01-02-nightly-2"):
        add(history, run)
    assert history.find("01-01").id == "2026-01-01-nightly"
    assert history.find("latest").id == "2026-01-02-nightly-2"
    assert history.find("2026-01-02-nightly").id == "2026-01-02-nightly"  # whole before part
    with pytest.raises(ScoreError, match="fits more than one"):
        history.find("01-02")
    with pytest.raises(ScoreError, match="is no run; the newest are"):
        history.find("2025")


def test_an_empty_history_makes_no_file_and_says_so(history):
    assert history.runs() == []
    assert history.accepted("nightly") is None
    assert not history.path.exists()
    with pytest.raises(ScoreError, match=r"there is no history in .*--runs"):
        history.find("latest")
    with pytest.raises(ScoreError, match="no run 'x'"):
        history.accept("x")


def test_a_file_that_is_no_history_is_refused(tmp_path):
    (tmp_path / "h.sqlite").write_text("this is no database, however long it may be")
    with pytest.raises(ScoreError, match="cannot be used as a history"):
        History(tmp_path / "h.sqlite").runs()
    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ScoreError, match="version 99"):
        History(tmp_path / "new.sqlite").runs()
