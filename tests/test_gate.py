"""The gate: what fails, what does not, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from khulasa.eval.gate import (
    compare_scores,
    compare_with_run,
    compare_with_thresholds,
    tolerance_of,
    without_baseline,
)
from khulasa.eval.job import Plan, score_records
from khulasa.eval.runs import Record, Run
from khulasa.eval.scores import ScoreError
from khulasa.eval.significance import paired_bootstrap
from khulasa.eval.translation import segment_statistics

NOUNS = [
    "council",
    "minister",
    "river",
    "harvest",
    "school",
    "market",
    "bridge",
    "engineer",
    "village",
    "budget",
]
REFERENCES = [
    f"The {noun} announced on Monday that {7 * i + 3} new projects near the {NOUNS[-1 - i % 10]} will start."
    for i, noun in enumerate(NOUNS * 2)
]
PLAN = Plan({"translation": ["chrf++", "bleu", "numbers_kept", "numbers_added", "length_ratio"]})


def run(name: str, change=lambda _i, text: text, *, info=None, count=20, plan=PLAN) -> Run:
    records = [
        Record(
            "news",
            f"d{i}",
            None,
            f"أعلن المجلس أن {7 * i + 3} مشاريع ستبدأ.",
            {"translation": reference},
            {"translation": change(i, reference)},
        )
        for i, reference in enumerate(REFERENCES[:count])
    ]
    info = {"id": name, "job": "nightly", "models": {}, **(info or {})}
    return Run(Path(name), info, records, score_records(records, plan))


def drop_words(_i: int, text: str) -> str:
    return " ".join(word for j, word in enumerate(text.split()) if j % 3)


def drop_last_of_one(i: int, text: str) -> str:
    return text.rsplit(" ", 1)[0] if i == 4 else text


def line(gate, metric):
    return next(x for x in gate.lines if x.metric == metric)


GOOD = run("good")
TOLERANCES = {"chrf++": 0.5, "numbers_kept": 1.0}


def test_the_same_outputs_pass():
    gate = compare_with_run(run("again"), GOOD, TOLERANCES, seed=1)
    assert gate.verdict == "passed"
    assert {x.status for x in gate.lines} == {"same"}
    assert {x.difference for x in gate.lines} == {0.0}
    assert gate.baseline == "good"


def test_a_damaged_model_fails_where_it_was_damaged():
    gate = compare_with_run(run("bad", drop_words), GOOD, TOLERANCES, seed=1)
    assert gate.verdict == "failed"
    assert "chrf++" in {x.metric for x in gate.failed}
    failed = line(gate, "chrf++")
    assert failed.p_value < 0.01
    assert failed.high < 0
    assert failed.documents == 20
    # Without a tolerance a metric is shown and does not gate.
    assert line(gate, "bleu").status == "worse"
    # Neither way is better for it.
    assert line(gate, "length_ratio").status == "changed"


def test_a_large_loss_that_may_be_luck_passes():
    gate = compare_with_run(run("unlucky", drop_last_of_one), GOOD, {"chrf++": 0.0}, seed=1)
    found = line(gate, "chrf++")
    assert found.difference < 0
    assert found.p_value > 0.05
    assert (found.status, gate.verdict) == ("same", "passed")


def test_a_sure_loss_within_tolerance_passes():
    gate = compare_with_run(run("bad", drop_words), GOOD, {"chrf++": 90.0}, seed=1)
    assert (line(gate, "chrf++").status, gate.verdict) == ("worse", "passed")


def test_a_metric_for_which_less_is_better_fails_when_it_rises():
    add = run("adds", lambda i, text: f"{text} 4{i} 5{i}")
    gate = compare_with_run(add, GOOD, {"numbers_added": 0.5}, seed=1)
    assert line(gate, "numbers_added").status == "failed"
    assert compare_with_run(GOOD, add, {"numbers_added": 0.5}, seed=1).verdict == "passed"
    assert line(compare_with_run(GOOD, add, {}, seed=1), "numbers_added").status == "better"


def test_only_documents_that_both_have_are_compared():
    gate = compare_with_run(run("short", count=12), GOOD, TOLERANCES, seed=1)
    assert {x.documents for x in gate.lines} == {12}
    assert line(gate, "chrf++").difference == pytest.approx(0)
    assert any("8 documents of the baseline are not in this run" in note for note in gate.notes)


def test_documents_whose_reference_was_changed_are_left_out():
    changed = run("changed")
    records = [
        replace(r, references={"translation": "Other."}) if r.id == "d0" else r
        for r in changed.records
    ]
    gate = compare_with_run(replace(changed, records=records), GOOD, TOLERANCES, seed=1)
    assert {x.documents for x in gate.lines} == {19}


def test_too_few_documents_are_not_compared_and_it_is_said():
    gate = compare_with_run(run("tiny", count=3), GOOD, TOLERANCES, seed=1)
    assert gate.verdict == "no baseline"
    assert {x.status for x in gate.lines} == {"alone"}
    assert any("only 3 documents in common" in note for note in gate.notes)


def test_scores_that_were_measured_in_another_way_are_not_compared():
    other = replace(GOOD, scores=[replace(s, signature="other") for s in GOOD.scores])
    gate = compare_with_run(run("again"), other, TOLERANCES, seed=1)
    assert "signatures differ" in line(gate, "chrf++").note
    assert any(note.startswith("not compared") for note in gate.notes)


def test_what_differs_beside_the_scores_is_noted():
    old = replace(GOOD, info={**GOOD.info, "models": {"translator": "a@1"}, "device": "cpu"})
    new = run("new", info={"models": {"translator": "a@2"}, "device": "cuda"})
    notes = " ".join(compare_with_run(new, old, {}, seed=1).notes)
    assert "translator (a@1 → a@2)" in notes
    assert "cpu → cuda" in notes


def test_the_keys_of_the_pipeline_that_changed_are_noted():
    def with_pipeline(name, **values):
        return run(name, info={"config": {"pipeline": {"translate": values, "window": 64}}})

    old, new = with_pipeline("old", beam_size=4), with_pipeline("new", beam_size=1, revision="b")
    (note,) = compare_with_run(new, old, {}, seed=1).notes
    assert "translate.beam_size (4 → 1), translate.revision (None → b)" in note
    assert "window" not in note


def test_a_gating_score_that_vanished_is_noted():
    fewer = run("fewer", plan=Plan({"translation": ["bleu"]}))
    gate = compare_with_run(fewer, GOOD, TOLERANCES, seed=1)
    assert any("this run lacks" in note and "chrf++" in note for note in gate.notes)


def test_the_test_is_the_paired_bootstrap_of_the_texts_themselves():
    bad = run("bad", drop_words)
    hypotheses = [[r.texts["translation"] for r in x.records] for x in (GOOD, bad)]
    old, new = (segment_statistics(h, REFERENCES)["bleu"] for h in hypotheses)
    expected = paired_bootstrap(old, new, seed=7, samples=200)
    found = line(compare_with_run(bad, GOOD, {}, seed=7, samples=200), "bleu")
    assert found.p_value == expected.p_value
    assert found.difference == pytest.approx(expected.difference)
    assert (found.low, found.high) == pytest.approx((expected.interval.low, expected.interval.high))


def test_several_runs_are_corrected_together():
    runs = {"bad": run("bad", drop_words), "same": run("same")}
    score = GOOD.score(("news", "translation", "chrf++"))
    found = compare_scores(score, GOOD, runs, seed=1, samples=200)
    comparison, documents = found["bad"]
    assert documents == 20
    assert comparison.adjusted_p == pytest.approx(2 * comparison.p_value)


def test_without_a_baseline_nothing_fails():
    gate = without_baseline(GOOD, TOLERANCES, "none was accepted")
    assert (gate.verdict, gate.failed) == ("no baseline", [])
    assert line(gate, "chrf++").tolerance == 0.5


def test_a_threshold_is_a_promise_about_the_value():
    bad = run("bad", drop_words)
    value = line(without_baseline(bad, {}, ""), "chrf++").value
    for threshold, tolerance, verdict in (
        (value - 1, 0, "passed"),
        (value + 1, 0, "failed"),
        (value + 1, 2, "passed"),
    ):
        gate = compare_with_thresholds(
            bad, {"translation/chrf++": threshold}, {"chrf++": tolerance}, "limits.yaml"
        )
        assert (gate.verdict, gate.baseline) == (verdict, "limits.yaml")
    gate = compare_with_thresholds(
        run("adds", lambda i, t: f"{t} 9{i}"), {"numbers_added": 0.5}, {}, "x"
    )
    assert gate.verdict == "failed"


def test_a_threshold_that_nothing_measures_is_an_error():
    with pytest.raises(ScoreError, match="no score for translation/rouge1"):
        compare_with_thresholds(GOOD, {"translation/rouge1": 3, "bleu": 1}, {}, "x.yaml")
    with pytest.raises(ScoreError, match="neither way is better for length_ratio"):
        compare_with_thresholds(GOOD, {"length_ratio": 1}, {}, "x.yaml")


def test_the_most_particular_tolerance_counts():
    tolerances = {"bleu": 1.0, "translation/bleu": 2.0, "web/translation/bleu": 3.0}
    assert tolerance_of(tolerances, ("web", "translation", "bleu")) == 3
    assert tolerance_of(tolerances, ("news", "translation", "bleu")) == 2
    assert tolerance_of(tolerances, ("news", "summary", "bleu")) == 1
    assert tolerance_of(tolerances, ("news", "translation", "ter")) is None
