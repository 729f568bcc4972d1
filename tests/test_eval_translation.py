"""BLEU, chrF and TER against cases worked by hand and against sacrebleu itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu

from khulasa.eval.scores import ScoreError
from khulasa.eval.translation import score_chrf, score_translation, segment_statistics

HYPOTHESES = [
    "The ministers met in Cairo on Tuesday to discuss the water agreement.",
    "Prices rose by 3.5% last year, the bank said.",
    "hello there",
    "",
    "Completely unrelated words appear here instead.",
]
REFERENCES = [
    "The ministers met on Tuesday in Cairo to discuss a water agreement.",
    "The bank said that prices rose by 3.5% last year.",
    "hello there",
    "He left.",
    "The museum opened its doors to visitors.",
]


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours.
        ("the cat sat on the mat", "the cat sat on a mat", 100 * (1 / 12) ** 0.25),
        # All right, two words short: brevity penalty exp(1 - 6/4).
        ("the cat sat on", "the cat sat on the mat", 100 * math.exp(-0.5)),
        # 4 of 4, 2 of 3, none of 2 and of 1: smoothed to 1/(2*2) and 1/(4*1).
        ("c d a b", "a b c d", 100 * (1 * 2 / 3 * 1 / 4 * 1 / 4) ** 0.25),
        # Longer than the reference: no penalty. 5/7, 4/6, 3/5, 2/4.
        ("a b c d e f g", "a b c d e", 100 * (5 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25),
        # Five times the same word counts only as often as the reference has it.
        ("the the the the the", "the dog", 100 * (1 / 5 / 8 / 12 / 16) ** 0.25),
        ("nothing at all matches", "the cat sat on", 0.0),
        ("", "the cat sat on", 0.0),
    ],
)
def test_bleu_worked_by_hand(hypothesis, reference, expected):
    assert score_translation([hypothesis], [reference])["bleu"].value == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        # Letters 2/3, pairs 1/2, the triple wrong: precision = recall = 7/18.
        ("abc", "abd", 100 * 7 / 18),
        # Precision 1. Recall 2/3 and 1/2, so 7/12; F2 = 5 * 7/12 / (4 + 7/12).
        ("ab", "abc", 100 * 7 / 11),
        # The other way: precision 7/12, recall 1; F2 = 5 * 7/12 / (4 * 7/12 + 1).
        ("abc", "ab", 100 * 7 / 8),
        ("كتب", "كتم", 100 * 7 / 18),
        # Spaces do not count.
        ("a b", "ab", 100.0),
        ("xyz", "abc", 0.0),
        ("", "abc", 0.0),
    ],
)
def test_chrf_worked_by_hand(hypothesis, reference, expected):
    assert score_chrf([hypothesis], [reference]).value == pytest.approx(expected, abs=1e-6)


def test_chrf_plus_plus_worked_by_hand():
    # Characters: letters 3/4, pairs 1/3 (only "ab" of "abcx" is in "abyc"), no triple, no four.
    # Words ab, cx against ab, yc: 1/2; their pair 0. The mean over six orders.
    scores = score_translation(["ab cx"], ["ab yc"])
    expected = 100 * (3 / 4 + 1 / 3 + 0 + 0 + 1 / 2 + 0) / 6
    assert scores["chrf++"].value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("a b c d", "a b c d", 0.0),
        ("a b x d", "a b c d", 25.0),
        ("a b c", "a b c d", 25.0),
        ("c d a b", "a b c d", 25.0),  # one shift
        ("a b c d x y", "a b c d", 50.0),
        ("", "a b c d", 100.0),
        ("p q r s t u", "a b", 300.0),  # more edits than reference words
    ],
)
def test_ter_worked_by_hand(hypothesis, reference, expected):
    score = score_translation([hypothesis], [reference])["ter"]
    assert score.value == pytest.approx(expected, abs=1e-6)
    assert not score.higher_is_better


def test_corpus_scores_and_signatures_are_those_of_sacrebleu():
    scores = score_translation(HYPOTHESES, REFERENCES)
    metrics = {
        "bleu": sacrebleu.BLEU(),
        "chrf": sacrebleu.CHRF(),
        "chrf++": sacrebleu.CHRF(word_order=2),
        "ter": sacrebleu.TER(),
    }
    assert list(scores) == list(metrics)
    for name, metric in metrics.items():
        assert scores[name].value == metric.corpus_score(HYPOTHESES, [REFERENCES]).score
        assert scores[name].signature == str(metric.get_signature())
    assert "tok:13a" in scores["bleu"].signature


def test_segment_scores_are_those_of_sacrebleu():
    scores = score_translation(HYPOTHESES, REFERENCES)
    metrics = {
        "bleu": sacrebleu.BLEU(effective_order=True),
        "chrf": sacrebleu.CHRF(),
        "chrf++": sacrebleu.CHRF(word_order=2),
        "ter": sacrebleu.TER(),
    }
    for name, metric in metrics.items():
        expected = [
            metric.sentence_score(hypothesis, [reference]).score
            for hypothesis, reference in zip(HYPOTHESES, REFERENCES, strict=True)
        ]
        assert scores[name].per_item == tuple(expected)


def test_a_short_segment_equal_to_its_reference_has_full_bleu():
    assert score_translation(HYPOTHESES, REFERENCES)["bleu"].per_item[2] == pytest.approx(100)


def test_arabic_targets_have_their_punctuation_split_off():
    hypotheses, references = ["قال، نعم؟ هل يتحقق السلام"], ["قال ، نعم ؟ هل يتحقق السلام"]
    arabic = score_translation(hypotheses, references, language="ar")["bleu"]
    assert arabic.value == pytest.approx(100)
    assert "tok:intl" in arabic.signature
    assert score_translation(hypotheses, references)["bleu"].value < 60


@pytest.mark.parametrize("language", ["en", "ar"])
def test_summed_statistics_give_the_same_scores_as_sacrebleu(language):
    rng = np.random.default_rng(1)
    scores = score_translation(HYPOTHESES, REFERENCES, language=language)
    statistics = segment_statistics(HYPOTHESES, REFERENCES, language=language)
    assert list(statistics) == list(scores)
    for name, statistic in statistics.items():
        assert statistic.value == pytest.approx(scores[name].value, abs=1e-9)
    for _ in range(25):
        chosen = rng.integers(len(HYPOTHESES), size=rng.integers(1, 6))
        subset = [HYPOTHESES[i] for i in chosen], [REFERENCES[i] for i in chosen]
        for name, score in score_translation(*subset, language=language).items():
            summed = statistics[name].rows[chosen].sum(axis=0, keepdims=True)
            combined = statistics[name].combine(summed)
            assert combined[0] == pytest.approx(score.value, abs=1e-9), name


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a", "b"], ["a"], "2 hypotheses but 1 references.*segment 1"),
        ([], [], "there are none"),
        (["a", "b"], ["a", ""], "references: segment 1 is empty"),
        (["a", None], ["a", "b"], r"hypotheses: segment 1 is missing"),
        (["a"], [None], r"references: segment 0 is missing"),
        ("abc", ["a", "b", "c"], "hypotheses: got one string"),
    ],
)
@pytest.mark.parametrize("score", [score_translation, segment_statistics, score_chrf])
def test_what_cannot_be_scored_is_refused_by_name(score, hypotheses, references, message):
    with pytest.raises(ScoreError, match=message):
        score(hypotheses, references)


def test_an_unknown_language_is_refused():
    with pytest.raises(ScoreError, match="'de'"):
        score_translation(["a"], ["a"], language="de")


def test_messages_name_the_id():
    with pytest.raises(ScoreError, match=r"segment 0 .id 'news-1'."):
        score_translation(["a"], [""], ids=["news-1"])
