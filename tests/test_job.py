"""Evaluation jobs: outputs before metrics, resuming, what is refused, and plug-in metrics."""

from __future__ import annotations

import json
import sys

import pytest

from khulasa.eval.external import ExternalScorer
from khulasa.eval.job import (
    TRANSLATED,
    Example,
    Output,
    Plan,
    check_examples,
    fingerprint,
    make_outputs,
    score_records,
)
from khulasa.eval.metrics import Items, Metric, measure
from khulasa.eval.runs import locked, open_run, read_outputs, read_run, write_scores
from khulasa.eval.scores import ScoreError
from khulasa.eval.significance import mean_statistics

SOURCES = (
    "افتتح الوزير 3 مدارس في المدينة.",
    "وصلت القافلة إلى القرية يوم الأحد.",
    "تراجع سعر القمح بنسبة 12 في المئة.",
    "أغلقت البلدية الجسر القديم.",
    "فاز الفريق بكأس الدوري.",
)
TARGETS = (
    "The minister opened 3 schools in the city.",
    "The convoy reached the village on Sunday.",
    "The price of wheat fell by 12 percent.",
    "The municipality closed the old bridge.",
    "The team won the league cup.",
)
PLAN = Plan({"translation": ["chrf++", "bleu", "numbers_kept", "length_ratio"]}, samples=100)


def examples(n: int = 5, dataset: str = "news") -> list[Example]:
    return [
        Example(dataset, f"d{i}", SOURCES[i], {"translation": TARGETS[i]}, f"عنوان {i}")
        for i in range(n)
    ]


class Echo:
    """A system that gives the references back, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.made = 0

    def __call__(self, batch):
        self.asked += [example.id for example in batch]
        return [Output(texts={"translation": e.references["translation"]}) for e in batch]

    def build(self):
        self.made += 1
        return self


def test_outputs_hold_all_that_scoring_needs(tmp_path):
    make_outputs(tmp_path, examples(), Echo().build)
    records = read_outputs(tmp_path)
    assert [r.id for r in records] == [f"d{i}" for i in range(5)]
    scores = {s.metric: s for s in score_records(records, PLAN)}
    assert scores["chrf++"].value == pytest.approx(100)
    assert scores["numbers_kept"].value == 100
    assert scores["chrf++"].low == pytest.approx(100)
    assert set(scores["bleu"].per_item) == {f"d{i}" for i in range(5)}
    assert scores["length_ratio"].better == "neither"
    assert "version:" in scores["chrf++"].signature


def test_a_run_goes_on_where_a_kill_left_it(tmp_path):
    make_outputs(tmp_path, examples(), Echo().build)
    whole = (tmp_path / "outputs.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (tmp_path / "outputs.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:25])
    system = Echo()
    assert make_outputs(tmp_path, examples(), system.build, batch=2) == 3
    assert system.asked == ["d2", "d3", "d4"]
    assert (tmp_path / "outputs.jsonl").read_bytes() == whole


def test_a_system_that_breaks_keeps_the_batches_before(tmp_path):
    class Breaks(Echo):
        def __call__(self, batch):
            if batch[0].id == "d2":
                raise RuntimeError("out of memory")
            return super().__call__(batch)

    with pytest.raises(RuntimeError):
        make_outputs(tmp_path, examples(), Breaks().build, batch=2)
    assert [r.id for r in read_outputs(tmp_path)] == ["d0", "d1"]


def test_nothing_is_loaded_when_nothing_is_left(tmp_path):
    make_outputs(tmp_path, examples(), Echo().build)
    system = Echo()
    assert make_outputs(tmp_path, examples(), system.build) == 0
    assert system.made == 0


def test_progress_counts_what_was_there_before(tmp_path):
    make_outputs(tmp_path, examples(2), Echo().build)
    heard: list[int] = []
    make_outputs(tmp_path, examples(), Echo().build, batch=2, progress=heard.append)
    assert heard == [2, 2, 1]


def test_a_system_must_answer_every_example(tmp_path):
    with pytest.raises(ValueError, match="2 examples and gave back 0"):
        make_outputs(tmp_path, examples(2), lambda: lambda _batch: [])


def test_a_document_that_failed_counts_as_empty_and_is_not_left_out(tmp_path):
    def run(batch):
        return [
            Output(error="no text is left")
            if e.id == "d0"
            else Output(texts={"translation": e.references["translation"]})
            for e in batch
        ]

    make_outputs(tmp_path, examples(), lambda: run)
    scores = {s.metric: s for s in score_records(read_outputs(tmp_path), PLAN)}
    assert scores["chrf++"].per_item["d0"] == 0
    assert scores["chrf++"].value < 90
    assert scores["numbers_kept"].per_item["d0"] == 0


def test_the_same_data_have_the_same_fingerprint_and_others_another():
    assert fingerprint(examples()) == fingerprint(examples())
    assert fingerprint(examples()) != fingerprint(examples(4))
    changed = [*examples(4), Example("news", "d4", SOURCES[4], {"translation": "Another one."})]
    assert fingerprint(examples()) != fingerprint(changed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no example"),
        ([*examples(2), *examples(1)], "the id 'd0' is there twice"),
        ([*examples(2), Example("news", "x7", SOURCES[0])], "'x7' has no reference for transl"),
        ([Example("news", "x", SOURCES[0], {"summary_ar": "ملخص"})], "no document has a reference"),
        (
            [*examples(2), Example("news", "x8", SOURCES[0], {"translation": " "})],
            "'x8' has no reference",
        ),
    ],
)
def test_data_that_cannot_be_scored_are_refused_before_the_work(data, message):
    with pytest.raises(ScoreError, match=message):
        check_examples(data, PLAN)


def test_one_data_set_may_have_no_references_at_all(tmp_path):
    data = [*examples(2), Example("web", "w1", SOURCES[2])]
    check_examples(data, PLAN)

    def run(batch):
        return [Output(texts={"translation": "3 schools"}) for _ in batch]

    make_outputs(tmp_path, data, lambda: run)
    keys = {s.key for s in score_records(read_outputs(tmp_path), PLAN)}
    assert ("news", "translation", "bleu") in keys
    assert ("web", "translation", "numbers_kept") in keys
    assert ("web", "translation", "bleu") not in keys


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"translate": ["bleu"]}, "no task 'translate'"),
        ({"translation": ["blue"]}, "did you mean 'bleu'"),
        ({"agreement": ["rouge1"]}, "needs a reference"),
        ({"summary_en": ["source_dice"]}, "source_dice is for `agreement` only"),
    ],
)
def test_a_plan_names_what_it_does_not_know(metrics, message):
    with pytest.raises(ScoreError, match=message):
        Plan(metrics)


AGREEMENT = Plan({"agreement": ["source_dice", "translated_chrf", "numbers_supported"]}, samples=20)


def test_the_two_summaries_are_compared_by_their_sentences_and_their_words(tmp_path):
    def run(batch):
        same = {
            "summary_ar": "افتتح 3 مدارس.",
            "summary_en": "3 or 4 schools opened.",
            TRANSLATED: "3 schools opened.",
        }
        evidence = {"summary_ar": [0, 1], "summary_en": [1, 2]}
        return [
            Output(texts=same, evidence=evidence),
            Output(texts={**same, TRANSLATED: "3 or 4 schools opened."}, evidence=evidence),
            Output(error="no Arabic text"),
        ]

    assert AGREEMENT.translates_summaries
    assert not PLAN.translates_summaries
    make_outputs(tmp_path, examples(3), lambda: run)
    dice, chrf, numbers = score_records(read_outputs(tmp_path), AGREEMENT)
    assert list(dice.per_item.values()) == [50, 50, 0]
    assert dice.signature == "check:source_dice|score:dice|avg:mean"
    near, same, failed = chrf.per_item.values()
    assert 50 < near < 90
    assert (same, failed) == (pytest.approx(100), 0)
    assert "nc:6|nw:0" in chrf.signature
    assert numbers.per_item["d0"] == 50  # of 3 and 4, the Arabic summary has 3


def test_outputs_without_translated_summaries_cannot_be_compared_by_words(tmp_path):
    texts = {"summary_ar": "افتتح 3 مدارس.", "summary_en": "3 schools opened."}
    make_outputs(tmp_path, examples(1), lambda: lambda _: [Output(texts=texts)])
    with pytest.raises(ScoreError, match=r"translated_chrf: .*run the evaluation anew"):
        score_records(read_outputs(tmp_path), AGREEMENT)


def test_an_english_summary_is_checked_against_the_translation(tmp_path):
    def run(batch):
        texts = {"translation": "It cost 7 million.", "summary_en": "It cost 7 million."}
        return [Output(texts=texts) for _ in batch]

    make_outputs(tmp_path, examples(1), lambda: run)
    plan = Plan({"summary_en": ["numbers_supported", "coverage"]}, samples=20)
    assert [s.value for s in score_records(read_outputs(tmp_path), plan)] == [100, 100]


def test_a_run_is_found_again_by_what_it_is_and_not_by_its_name(tmp_path):
    info = {"job": "nightly", "config": {"a": 1}, "data": [], "models": {"t": "x@1"}}
    folder, resumed = open_run(tmp_path, info)
    assert not resumed
    assert open_run(tmp_path, info) == (folder, True)
    other, resumed = open_run(tmp_path, {**info, "models": {"t": "x@2"}})
    assert (other != folder, resumed) == (True, False)
    again, resumed = open_run(tmp_path, {**info, "models": {"t": "x@2"}}, fresh=True)
    assert (again != other, resumed) == (True, False)
    # Another job whose name ends alike is not looked at.
    assert not open_run(tmp_path, {**info, "job": "fast-nightly"})[1]


def test_two_processes_do_not_work_on_one_run(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(ScoreError, match="another process"),
        locked(tmp_path),
    ):
        raise AssertionError("unreachable")
    with locked(tmp_path):
        pass


def test_a_run_reads_back_as_it_was_written(tmp_path):
    folder, _ = open_run(tmp_path, {"job": "j"})
    make_outputs(folder, examples(), Echo().build)
    scores = score_records(read_outputs(folder), PLAN)
    write_scores(folder, scores, seed=PLAN.seed, samples=PLAN.samples)
    run = read_run(folder)
    assert list(run.scores) == scores
    assert run.score(("news", "translation", "bleu")) == scores[1]
    assert run.job == "j"


@pytest.mark.parametrize("lacking", ["run.json", "scores.json", "outputs.jsonl"])
def test_an_unfinished_run_is_no_run_to_compare_with(tmp_path, lacking):
    folder, _ = open_run(tmp_path, {"job": "j"})
    make_outputs(folder, examples(), Echo().build)
    scores = score_records(read_outputs(folder), PLAN)
    write_scores(folder, scores, seed=PLAN.seed, samples=PLAN.samples)
    (folder / lacking).unlink()
    with pytest.raises(ScoreError, match=lacking):
        read_run(folder)


def test_metrics_from_outside_take_part_like_any_other():
    def length(items):
        from khulasa.eval.scores import Score

        values = tuple(float(len(h)) for h in items.hypotheses)
        return Score("letters", sum(values) / len(values), "letters", values)

    items = Items(["ab", "abcd"], "en", references=["x", "y"])
    letters, chrf = measure(
        ["letters", "chrf"], items, {"letters": (Metric("letters", "neither", "nothing"), length)}
    )
    assert letters.score.value == 3
    assert letters.statistics.value == mean_statistics([2, 4]).value
    assert chrf.metric.name == "chrf"


SCORER = """
import json, sys
for line in sys.stdin:
    item = json.loads(line)
    print(json.dumps({"score": float(item["hypothesis"] == item["reference"])}))
"""


def test_a_command_scores_json_lines():
    scorer = ExternalScorer("exact", (sys.executable, "-c", SCORER))
    score = scorer(Items(["أ", "b"], "en", references=["أ", "c"], sources=["١", "٢"]))
    assert score.per_item == (1.0, 0.0)
    assert score.value == 0.5
    assert "exact" in score.signature


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{\"score\": 1}')", "given 2 segments and wrote 1 lines"),
        ("import sys; sys.exit('no model')", "ended with 1: no model"),
        ("print('x'); print('y')", "line 1 of the command's output has no score"),
    ],
)
def test_a_command_that_misbehaves_is_quoted(code, message):
    scorer = ExternalScorer("comet", (sys.executable, "-c", code))
    with pytest.raises(ScoreError, match=message):
        scorer(Items(["a", "b"], "en", references=["a", "b"]))


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(ScoreError, match="comet: the command cannot be run"):
        ExternalScorer("comet", ("/nowhere/comet",))(Items(["a"], "en", references=["a"]))


def test_a_record_survives_line_separators_and_half_characters(tmp_path):
    odd = "a\u2028b\x85c \u202e"
    data = [Example("news", "odd", odd, {"translation": odd})]
    make_outputs(tmp_path, data, Echo().build)
    (record,) = read_outputs(tmp_path)
    assert record.source == record.texts["translation"] == odd
    assert len((tmp_path / "outputs.jsonl").read_text(encoding="utf-8").split("\n")) == 2
    assert json.loads((tmp_path / "outputs.jsonl").read_bytes())["id"] == "odd"
