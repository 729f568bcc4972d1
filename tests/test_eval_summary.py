"""ROUGE against hand-worked Arabic, against rouge-score, and summary statistics."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from khulasa.eval.scores import ScoreError
from khulasa.eval.summary import (
    ROUGE_TYPES,
    Rouge,
    average_rouge,
    extractive_fragments,
    novel_ngrams,
    rouge,
    rouge_items,
    score_summaries,
    summary_statistics,
)
from khulasa.eval.tokenize import RougeTokenizer

CASES = json.loads((Path(__file__).parent / "data" / "rouge_ar.json").read_text("utf-8"))["cases"]
ARABIC, ENGLISH = RougeTokenizer("ar"), RougeTokenizer("en")
SENTENCE = st.lists(st.sampled_from(["سوق", "نفط", "أمس", "قال", "2024", "وزير"]), max_size=8)
SUMMARY = st.lists(SENTENCE.map(" ".join), min_size=1, max_size=3).map("\n".join)

REAL_PAIRS = [
    (
        "The port reopened on Monday.\nTwo ships were waiting outside the harbour for days.",
        "Two ships waited for days outside the harbour.\nThe port was reopened on Monday morning.",
    ),
    (
        "Rain fell, and rain fell again; the river rose by 1.5 metres.\n\nSchools closed.\n",
        "The river rose 1.5 metres after the rain.\nSchools were closed.\nRain is expected again.",
    ),
    ("The museum's new wing isn't open yet.", "The new wing of the museum is open."),
    ("...\n!!!", "The new wing of the museum is open."),
    ("the the the the", "the cat\nthe dog\nthe end"),
    ("a b c d e a b c d e", "e d c b a\na a b b c c"),
]


class Whitespace:
    """A tokenizer for rouge-score that takes words as they were written down."""

    def tokenize(self, text):
        return text.split()


def test_the_table_has_more_than_forty_sentences_and_as_many_short_cases():
    def words(case, text):
        return len(case[f"{text}_words"].split())

    sentences = [c for c in CASES if min(words(c, "hypothesis"), words(c, "reference")) >= 5]
    assert len(sentences) >= 40
    assert len({case["reference"] for case in sentences}) == len(sentences)
    assert len(CASES) - len(sentences) >= 25


def test_rouge_score_gives_the_table_too_over_its_words():
    scorer = RougeScorer(list(ROUGE_TYPES), tokenizer=Whitespace())
    for case in CASES:
        scores = scorer.score(case["reference_words"], case["hypothesis_words"])
        found = {name: score.fmeasure for name, score in scores.items()}
        expected = {name: float(Fraction(f)) for name, f in case["f"].items()}
        assert found == pytest.approx(expected, abs=1e-12), case["label"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['label']}: {case['reference']}")
def test_arabic_rouge_equals_the_hand_worked_fraction(case):
    tokenizer = RougeTokenizer("ar", **case["options"])
    assert tokenizer(case["hypothesis"]) == case["hypothesis_words"].split()
    assert tokenizer(case["reference"]) == case["reference_words"].split()
    scores = rouge(case["hypothesis"], case["reference"], tokenizer)
    for name, expected in case["f"].items():
        assert scores[name].f == pytest.approx(float(Fraction(expected)), abs=1e-12), name


def assert_agrees(hypothesis, reference, stemmer=False):
    expected = RougeScorer(list(ROUGE_TYPES), use_stemmer=stemmer).score(reference, hypothesis)
    ours = rouge(hypothesis, reference, RougeTokenizer("en", stemmer=stemmer))
    assert list(ours) == list(ROUGE_TYPES)
    for name in ROUGE_TYPES:
        assert ours[name].precision == pytest.approx(expected[name].precision, abs=1e-9), name
        assert ours[name].recall == pytest.approx(expected[name].recall, abs=1e-9), name
        assert ours[name].f == pytest.approx(expected[name].fmeasure, abs=1e-9), name


@pytest.mark.parametrize("pair", REAL_PAIRS, ids=lambda pair: pair[0][:20])
@pytest.mark.parametrize("stemmer", [False, True])
def test_english_rouge_agrees_with_rouge_score_on_real_text(pair, stemmer):
    assert_agrees(*pair, stemmer=stemmer)
    assert_agrees(*reversed(pair), stemmer=stemmer)


def test_english_rouge_agrees_with_rouge_score_on_random_pairs():
    # Few words and many lines: the longest common subsequence is then rarely unique, and which
    # one is taken shows in rougeLsum.
    rng = random.Random(20)

    def text(size):
        lines = [rng.choices("abcdefgh"[:size], k=rng.randint(0, 12)) for _ in range(4)]
        return "\n".join(" ".join(line) for line in lines[: rng.randint(1, 4)])

    for _ in range(300):
        size = rng.randint(2, 8)
        assert_agrees(text(size), text(size))


def test_long_texts_agree_too():
    rng = random.Random(3)
    words = [f"w{n}" for n in range(40)]
    texts = ["\n".join(" ".join(rng.choices(words, k=70)) for _ in range(3)) for _ in range(2)]
    assert_agrees(*texts)


@given(text=SUMMARY)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_text_against_itself_scores_one(text):
    words = ARABIC(text)
    scores = rouge(text, text, ARABIC)
    one, zero = Rouge(1.0, 1.0, 1.0), Rouge(0.0, 0.0, 0.0)
    assert scores["rouge1"] == scores["rougeL"] == scores["rougeLsum"] == (one if words else zero)
    assert scores["rouge2"] == (one if len(words) > 1 else zero)


@given(one=SUMMARY, other=SUMMARY)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_swapping_the_texts_swaps_precision_and_recall(one, other):
    there, back = rouge(one, other, ARABIC), rouge(other, one, ARABIC)
    for name in ("rouge1", "rouge2", "rougeL"):
        assert there[name].precision == back[name].recall
        assert there[name].f == pytest.approx(back[name].f, abs=1e-12)
    for name in ROUGE_TYPES:
        score = there[name]
        assert 0 <= score.precision <= 1
        assert 0 <= score.recall <= 1
        low, high = sorted((score.precision, score.recall))
        assert low - 1e-12 <= score.f <= high + 1e-12
    assert there["rougeL"].f <= there["rouge1"].f + 1e-12
    assert there["rougeLsum"].f <= there["rouge1"].f + 1e-12


def test_the_average_is_the_plain_mean_of_each_column():
    items = rouge_items(["ذهب الولد", "قرأ"], ["ذهب الولد", "قرأ الدرس كاملا"], ARABIC)
    average = average_rouge(items)["rouge1"]
    assert average.precision == pytest.approx(1.0)
    assert average.recall == pytest.approx((1 + 1 / 3) / 2)
    assert average.f == pytest.approx((1 + 1 / 2) / 2)  # not the F of 1 and 2/3, which is 4/5


def test_score_summaries_is_on_the_hundred_scale_with_signatures():
    scores = score_summaries(["ذهب الولد", "قرأ"], ["ذهب الولد", "قرأ الدرس كاملا"], "ar")
    assert list(scores) == [*ROUGE_TYPES, "chrf"]
    assert scores["rouge1"].per_item == pytest.approx((100, 50))
    assert scores["rouge1"].value == pytest.approx(75)
    assert scores["rouge2"].per_item == pytest.approx((100, 0))
    assert scores["rougeL"].signature == f"metric:rougeL|score:f1|avg:mean|{ARABIC.signature}"
    assert scores["chrf"].per_item[0] == pytest.approx(100)
    assert "nc:6|nw:0" in scores["chrf"].signature


def test_a_tokenizer_can_be_given():
    folded = RougeTokenizer("ar", fold_alef=True)
    assert score_summaries(["اعلن"], ["أعلن"], "ar")["rouge1"].value == 0
    scores = score_summaries(["اعلن"], ["أعلن"], "ar", folded)
    assert scores["rouge1"].value == 100
    assert "alef:fold" in scores["rouge1"].signature


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["أ", "ب"], ["أ"], "2 hypotheses but 1 references"),
        ([], [], "there are none"),
        (["أ", "ب"], ["أ", " \n"], "segment 1 is empty"),
        (["أ", None], ["أ", "ب"], r"hypotheses: segment 1 is missing \(None\)"),
        (["أ", "ب"], [None, "ب"], r"references: segment 0 is missing \(None\)"),
        (["أ", 3], ["أ", "ب"], "segment 1 is a int"),
        ("أب", "أب", "one string"),
        (["أ", "ب"], ["أ", "؟!"], "segment 1 has no word"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(hypotheses, references, message):
    with pytest.raises(ScoreError, match=message):
        score_summaries(hypotheses, references, "ar")


def test_arabic_scored_as_english_is_an_error_and_not_a_zero():
    with pytest.raises(ScoreError, match=r"segment 0 .*tok:khulasa-en.*language"):
        score_summaries(["مرحبا"], ["مرحبا"], "en")


def test_messages_name_the_id():
    with pytest.raises(ScoreError, match=r"segment 1 .id 'doc-7'. is empty"):
        score_summaries(["أ", "ب"], ["أ", ""], "ar", ids=["doc-6", "doc-7"])
    with pytest.raises(ScoreError, match="2 segments but 1 ids"):
        score_summaries(["أ", "ب"], ["أ", "ب"], "ar", ids=["doc-6"])


def test_averaging_nothing_is_refused():
    with pytest.raises(ScoreError):
        average_rouge([])


@pytest.mark.parametrize(
    ("source", "summary", "fragments"),
    [
        ("a b c d e", "a b c", [3]),
        ("a b c d e", "d e x a b", [2, 2]),
        ("a b c", "x y", []),
        ("a b c", "c b a", [1, 1, 1]),
        ("a b x a b c", "a b c", [3]),
        # The longest match starts inside an earlier one.
        ("a a a b", "a a b", [3]),
        ("", "a", []),
        ("a", "", []),
    ],
)
def test_fragments_are_the_longest_copied_runs(source, summary, fragments):
    assert extractive_fragments(source.split(), summary.split()) == fragments


def test_summary_statistics_worked_by_hand():
    # 8 source words. Of 5 summary words, "زار الوزير" and "المدرسة" are copied.
    source = "زار الوزير صباح اليوم تلك المدرسة في القرية"
    statistics = summary_statistics(source, "زار الوزير مبنى المدرسة الجديد", ARABIC)
    assert statistics.coverage == pytest.approx(3 / 5)
    assert statistics.density == pytest.approx((4 + 1) / 5)
    assert statistics.compression == pytest.approx(8 / 5)
    assert statistics.novel_unigrams == pytest.approx(2 / 5)
    assert statistics.novel_bigrams == pytest.approx(3 / 4)
    assert statistics.novel_trigrams == pytest.approx(1)


def test_an_extract_is_covered_whole_and_says_nothing_new():
    source = "زار الوزير المدرسة. ثم عاد إلى مكتبه. وكان الجو باردا."
    statistics = summary_statistics(source, "ثم عاد إلى مكتبه.", ARABIC)
    assert (statistics.coverage, statistics.density) == (1.0, 4.0)
    assert statistics.novel_unigrams == statistics.novel_trigrams == 0


def test_a_summary_without_words_gives_zeros():
    assert summary_statistics("نص", "؟", ARABIC).compression == 0
    assert novel_ngrams(["a"], ["a"], 2) == 0


def test_english_statistics_use_english_words():
    assert summary_statistics("The dog barked.", "the DOG", ENGLISH).coverage == 1
