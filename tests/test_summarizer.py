"""The summarizer: options, faithful choice, free output and its support, and long documents."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from khulasa.models.checkpoint import Checkpoint
from khulasa.models.engine import Generation, load_engine
from khulasa.models.errors import ConfigError
from khulasa.models.normalization import normalize
from khulasa.models.sections import apportion, balance
from khulasa.models.summarizer import (
    FLAGS,
    Summarizer,
    SummarizerOptions,
    SummaryResult,
    split_at_marks,
)
from khulasa.models.summary_options import CheckpointDefaults, read_defaults
from khulasa.models.support import centrality, content_words, find_support, prominence

ARTICLE = [
    "افتتحت البلدية حديقة عامة جديدة وسط المدينة.",
    "وتضم الحديقة ملعبا للأطفال ومكتبة صغيرة.",
    "...",
    "وقال رئيس البلدية إن العمل استغرق عامين.",
    "افتتحت البلدية حديقة عامة جديدة وسط المدينة.",
    "وبلغت الكلفة 3 ملايين دينار.",
    "وسيكون الدخول مجانيا حتى نهاية الصيف.",
]


def noise(source: str, before: str, character: str) -> float:
    """A log-probability out of thin air, always the same for the same context."""
    return -1 - zlib.crc32(f"{source}|{before}|{character}".encode()) % 9973 / 1000


class Engine(tiny.FakeEngine):
    """The fake engine with scores by `scorer(source, before, character)`, which checks its input."""

    def __init__(self, scorer=noise, reply=None, limit=512, cut=False):
        super().__init__(reply or (lambda text, _: text), max_source_tokens=limit)
        self.scorer = scorer
        self.cut = cut
        self.scored: list[list[tuple[str, str]]] = []

    def generate(self, batch, options):
        assert max(map(len, batch)) <= self.max_source_tokens
        results = super().generate(batch, options)
        return [Generation(r.tokens, r.text, r.score, truncated=self.cut) for r in results]

    def score(self, sources, targets):
        assert max(map(len, [*sources, *targets])) <= self.max_source_tokens
        texts = [
            ("".join(map(chr, s[:-1])), "".join(map(chr, t[:-1])))
            for s, t in zip(sources, targets, strict=True)
        ]
        self.scored.append(texts)
        return [
            [*(self.scorer(source, target[:i], c) for i, c in enumerate(target)), -50.0]
            for source, target in texts
        ]


def summarizer(engine=None, **options) -> Summarizer:
    return Summarizer(engine or Engine(), SummarizerOptions(**options))


def indices(result: SummaryResult) -> list[int]:
    return [i for sentence in result.sentences for i in sentence.source]


# Options


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"decoding": "creative"}, "decoding"),
        ({"order": "random"}, "order"),
        ({"words": 50}, "sentences and words"),
        ({"sentences": None}, "exactly one"),
        ({"sentences": 0}, "sentences"),
        ({"sentences": True}, "sentences"),
        ({"sentences": 2.5}, "sentences"),
        ({"sentences": None, "words": -1}, "words"),
        ({"sentences": None, "share": 1.0}, "share"),
        ({"sentences": None, "share": float("nan")}, "share"),
        ({"sentences": None, "share": "0.3"}, "share"),
        ({"calibration": -0.5}, "calibration"),
        ({"centrality": -1}, "centrality"),
        ({"centrality": "high"}, "centrality"),
        ({"shortlist": 0}, "shortlist"),
        ({"rescored": 0}, "rescored"),
        ({"beam_size": 0}, "beam_size"),
        ({"length_penalty": "x"}, "length_penalty"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"min_new_tokens": -1}, "min_new_tokens"),
        ({"prefix": 3}, "prefix"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"batch_tokens": None}, "batch_tokens"),
        ({"no_repeat_ngram_size": None}, "no_repeat_ngram_size"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, field):
    with pytest.raises(ConfigError, match=field):
        SummarizerOptions(**options)


def test_a_prefix_that_fills_the_source_is_refused():
    with pytest.raises(ConfigError, match="prefix"):
        summarizer(Engine(limit=10), prefix="summarize: this text")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (4, 1.0, 128, 1, "")),
        ({"config.json": {"num_beams": 1, "max_length": 20}}, (4, 1.0, 128, 1, "")),
        (
            {"generation_config.json": {"num_beams": 5, "length_penalty": 0.6, "max_length": 84}},
            (5, 0.6, 84, 1, ""),
        ),
        ({"generation_config.json": {"num_beams": True, "max_length": 512}}, (4, 1.0, 128, 1, "")),
        ({"generation_config.json": {"length_penalty": float("nan")}}, (4, 1.0, 128, 1, "")),
        (
            {
                "config.json": {
                    "num_beams": 6,
                    "task_specific_params": {
                        "summarization": {
                            "length_penalty": 2,
                            "max_length": 200,
                            "prefix": "summarize: ",
                        },
                        "translation": {"max_length": 77},
                    },
                },
                "generation_config.json": {"max_length": 60},
            },
            (6, 2.0, 200, 1, "summarize: "),
        ),
        ({"config.json": {"min_length": 10, "max_length": 100}}, (4, 1.0, 100, 10, "")),
        ({"config.json": {"min_length": 5000}}, (4, 1.0, 128, 1, "")),
        ({"config.json": {"task_specific_params": [1]}}, (4, 1.0, 128, 1, "")),
    ],
)
def test_a_checkpoint_s_own_settings_are_taken_where_they_make_sense(tmp_path, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    found = read_defaults(Checkpoint(Path(tmp_path), "x", None, ""))
    assert found == CheckpointDefaults(*expected)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (1.0, 0.0)),
        ({"calibration": 0.0, "centrality": 1.5}, (0.0, 1.5)),
        ({"calibration": -1, "centrality": -1}, (1.0, 0.0)),
        ({"calibration": "x", "centrality": True}, (1.0, 0.0)),
    ],
)
def test_a_checkpoint_may_say_how_its_scores_are_used(tmp_path, own, expected):
    config = {"task_specific_params": {"summarization": own}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_defaults(Checkpoint(Path(tmp_path), "x", None, ""))
    assert (found.calibration, found.centrality) == expected


def test_a_damaged_settings_file_is_as_good_as_none(tmp_path):
    (tmp_path / "generation_config.json").write_text("{")
    assert read_defaults(Checkpoint(Path(tmp_path), "x", None, "")).beam_size == 4


def test_the_model_sees_the_prefix_and_normalized_text():
    engine = Engine()
    summarizer(engine, prefix="summarize: ", sentences=1).summarize([["كِتابٌ  واحد.", "بيت كبير."]])
    assert {source for batch in engine.scored for source, _ in batch} == {
        "summarize: كتاب واحد. بيت كبير.",
        "summarize:",
    }


# Faithful decoding


WORDS = st.sampled_from(["بيت", "قال", "كِتاب", "sea", "Sea", "7", "...", "والمدينة", ""])
SENTENCE = st.lists(WORDS, max_size=6).map(" ".join)
DOCUMENT = st.lists(SENTENCE, max_size=14)
LENGTH = st.one_of(
    st.fixed_dictionaries({"sentences": st.integers(1, 6)}),
    st.fixed_dictionaries({"sentences": st.none(), "words": st.integers(1, 20)}),
    st.fixed_dictionaries({"sentences": st.none(), "share": st.floats(0.01, 0.99)}),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    documents=st.lists(DOCUMENT, max_size=3),
    length=LENGTH,
    limit=st.integers(8, 90),
    order=st.sampled_from(["source", "score"]),
    shortlist=st.sampled_from([1, 3, None]),
    calibration=st.sampled_from([0.0, 1.0]),
    central=st.sampled_from([0.0, 2.0]),
)
def test_faithful_sentences_are_the_document_s_own_whatever_the_scores(
    documents, length, limit, order, shortlist, calibration, central
):
    made = summarizer(
        Engine(limit=limit),
        order=order,
        shortlist=shortlist,
        rescored=2,
        calibration=calibration,
        centrality=central,
        batch_tokens=64,
        **length,
    )
    results = made.summarize(documents)
    assert len(results) == len(documents)
    for document, result in zip(documents, results, strict=True):
        found = indices(result)
        assert [s.text for s in result.sentences] == [document[i] for i in found]
        assert all(s.support == 1 for s in result.sentences)
        texts = [normalize(s.text) for s in result.sentences]
        assert len(set(texts)) == len(texts)
        assert all(any(map(str.isalpha, text)) for text in texts)
        # The first of equals stands for them.
        assert all(normalize(document[i]) not in map(normalize, document[:i]) for i in found)
        assert order == "score" or found == sorted(found)
        assert set(result.flags) <= set(FLAGS)
        candidates = {normalize(s) for s in document if any(map(str.isalpha, normalize(s)))}
        assert bool(result.sentences) == bool(candidates)
        if length.get("sentences"):
            assert len(found) <= length["sentences"]
        else:
            sizes = [len(text.split()) for text in texts]
            total = sum(len(normalize(s).split()) for s in document)
            budget = length.get("words") or max(1, int(length["share"] * total))
            shortest = min((len(text.split()) for text in candidates), default=0)
            assert sum(sizes) <= budget or (len(sizes) == 1 and budget < max(sizes))
            assert shortest > budget or sum(sizes) <= budget or limit < 60


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    documents=st.lists(DOCUMENT, min_size=2, max_size=4),
    decoding=st.sampled_from(["faithful", "free"]),
)
def test_a_document_s_summary_does_not_depend_on_its_company(documents, decoding):
    made = summarizer(Engine(limit=60), decoding=decoding, sentences=2)
    together = made.summarize(documents)
    assert together == [made.summarize([document])[0] for document in documents]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    document=st.lists(st.text("abc ", min_size=1, max_size=9).map(normalize), max_size=8),
    calibration=st.sampled_from([0.0, 0.5, 1.0]),
    penalty=st.sampled_from([0.0, 1.0, 1.5]),
    weight=st.sampled_from([0.0, 3.0]),
)
def test_without_bounds_the_choice_is_the_greedy_search_of_the_definition(
    document, calibration, penalty, weight
):
    source = " ".join(text for text in document if text)
    left = [i for i, text in enumerate(document) if text and text not in document[:i]]
    central = dict(zip(left, centrality([content_words(document[i]) for i in left]), strict=True))
    count = 3
    expected: list[tuple[int, float]] = []
    while len(left) and len(expected) < count and len(left) + len(expected) > count:
        chosen = " ".join(document[i] for i, _ in expected)

        def value(i: int, chosen: str = chosen) -> float:
            own = f" {document[i]}" if chosen else document[i]
            given, base = (
                sum(noise(text, chosen + own[:k], c) for k, c in enumerate(own))
                for text in (source, "")
            )
            return (given - calibration * base) / len(own) ** penalty + weight * central[i]

        best = max(left, key=lambda i: (value(i), -i))
        left.remove(best)
        expected.append((best, value(best)))

    made = summarizer(
        shortlist=None,
        rescored=None,
        order="score",
        calibration=calibration,
        centrality=weight,
        length_penalty=penalty,
        sentences=count,
    )
    result = made.summarize([document])[0]
    if expected:
        assert indices(result) == [i for i, _ in expected]
        assert [s.score for s in result.sentences] == pytest.approx([v for _, v in expected])
    else:
        assert indices(result) == left


def test_equal_scores_go_by_position():
    made = summarizer(Engine(lambda *_: -1.0), sentences=2, length_penalty=1.0, order="score")
    assert indices(made.summarize([ARTICLE])[0]) == [0, 1]


def test_calibration_takes_away_what_a_sentence_scores_for_any_text():
    def scorer(source, before, character):
        text = before + character
        if text[0] == "g":  # generic: likely after anything
            return -1.0
        return -2.0 if source else -5.0

    document = ["general words", "special words", "sundry words"]
    pure = summarizer(Engine(scorer), calibration=0.0, sentences=1).summarize([document])[0]
    calibrated = summarizer(Engine(scorer), calibration=1.0, sentences=1).summarize([document])[0]
    assert (indices(pure), pure.sentences[0].score) == ([0], -1.0)
    assert (indices(calibrated), calibrated.sentences[0].score) == ([1], 3.0)


def test_centrality_counts_what_a_sentence_shares_with_the_whole_document_once_each():
    document = ["one bird sings", "blue fish swim", "fish swim deep", "fish eat", "fish eat"]

    def chosen(**options) -> list[int]:
        made = summarizer(Engine(lambda *_: -1.0, **options), sentences=1, centrality=0.5)
        return indices(made.summarize([document])[0])

    # "fish eat" is half "fish", which comes in three; that it comes again is no support for it.
    assert chosen() == [1]
    assert chosen(limit=35) == [1]  # in sections


def test_order_score_puts_the_best_first():
    document = ["one bird.", "two fish.", "three cats.", "four dogs."]
    liking = {"o": -3.0, "t": -5.0, "f": -1.0}

    def scorer(source, before, character):
        # By the initial of the last sentence.
        return liking[(before + character).rpartition(". ")[2][:1] or "t"]

    best_first, in_order = (
        summarizer(
            Engine(scorer), sentences=2, order=order, calibration=0.0, length_penalty=1.0
        ).summarize([document])[0]
        for order in ("score", "source")
    )
    assert indices(best_first) == [3, 0]
    assert indices(in_order) == [0, 3]
    assert set(best_first.sentences) == set(in_order.sentences)


@pytest.mark.parametrize(
    ("document", "options", "expected"),
    [
        ([], {}, []),
        (["", "  ", "..."], {}, []),
        (ARTICLE, {"sentences": 5}, [0, 1, 3, 5, 6]),
        (ARTICLE, {"sentences": 50}, [0, 1, 3, 5, 6]),
        (ARTICLE, {"sentences": None, "words": 100}, [0, 1, 3, 5, 6]),
        (["مرحبا", "مرحبا", "مَرحبا"], {}, [0]),
        (["One.", "2 000"], {}, [0]),
    ],
)
def test_a_document_that_is_short_enough_comes_back_whole_and_unscored(document, options, expected):
    engine = Engine()
    result = summarizer(engine, **options).summarize([document])[0]
    assert indices(result) == expected
    assert all(sentence.score is None for sentence in result.sentences)
    assert not engine.scored


def test_what_has_numbers_but_no_sentence_is_flagged_empty():
    assert summarizer().summarize([["12 : 30", "7"], []]) == [
        SummaryResult((), ("empty",)),
        SummaryResult((), ()),
    ]


@pytest.mark.parametrize(
    ("options", "most"),
    [({"words": 8}, 8), ({"words": 13}, 13), ({"share": 0.3}, 11), ({"words": 2}, 5)],
)
def test_a_limit_of_words_holds_unless_no_sentence_is_that_short(options, most):
    result = summarizer(sentences=None, **options).summarize([ARTICLE])[0]
    assert 0 < len(result.text.split()) <= most


def test_a_score_that_is_no_number_is_the_lowest_and_is_not_shown():
    def scorer(source, before, character):
        return float("-inf") if before[:1] == "b" else -1.0

    made = summarizer(Engine(scorer), sentences=1)
    assert indices(made.summarize([["bad one", "good one", "fine one"]])[0]) == [1]
    result = made.summarize([["bad one", "bad two"]])[0]
    assert (indices(result), result.sentences[0].score) == ([0], None)


def test_the_bounds_on_scoring_hold():
    engine = Engine()
    document = [f"sentence {word} here" for word in "abcdefghijklmnopqrst"]
    summarizer(engine, sentences=3, shortlist=8, rescored=2, calibration=0.0).summarize([document])
    assert sum(map(len, engine.scored)) == 8 + 2 + 2


# Long documents


def test_a_long_document_is_read_in_sections_that_fit_and_its_sentences_are_its_own():
    words = ["تقرير", "مدينة", "نهر", "سوق", "جسر", "مدرسة", "طريق", "قرية"]
    document = [
        " ".join(words[(i * k + k) % 8] for k in range(1, 11)) + f" رقم {i}." for i in range(1700)
    ]
    assert sum(len(text.split()) for text in document) > 20_000
    engine = Engine(lambda *_: -1.0, limit=1500)
    made = summarizer(engine, sentences=4, shortlist=3, batch_tokens=8000)
    result = made.summarize([document])[0]
    assert len(result.sentences) == 4
    assert [s.text for s in result.sentences] == [document[i] for i in indices(result)]
    assert result.flags == ()
    for batch in engine.scored:
        assert len(batch) == 1 or len(batch) * max(len(s) + len(t) for s, t in batch) <= 8000


@pytest.mark.parametrize("decoding", ["faithful", "free"])
def test_only_a_faithful_choice_reads_each_section_behind_the_first_sentence(decoding):
    sources: set[str] = set()

    def scorer(source, before, character):
        sources.add(source)
        return noise(source, before, character)

    def reply(text, options):
        sources.add(text)
        return text.split(".")[0] + "."

    document = ["...", "الخبر الأول."] + [f"الجملة رقم {i} هنا." for i in range(30)]
    engine = Engine(scorer, reply, limit=100)
    summarizer(engine, decoding=decoding, sentences=2, calibration=0.0).summarize([document])
    assert len(sources) > 5
    counts = sorted({source.count(document[1]) for source in sources})
    assert counts == ([1] if decoding == "faithful" else [0, 1])
    assert all(source.startswith(("... ", document[1])) for source in sources) == (counts == [1])


@pytest.mark.parametrize("decoding", ["faithful", "free"])
def test_a_sentence_longer_than_the_model_reads_is_cut_for_it_and_flagged(decoding):
    engine = Engine(limit=50, reply=lambda text, _: text[:20] + ".")
    giant = "كلمة طويلة " * 30 + "."
    document = [giant, "جملة قصيرة.", "جملة أخرى."]
    result = summarizer(engine, decoding=decoding, sentences=1).summarize([document])[0]
    assert "truncated_source" in result.flags
    assert len(result.sentences) == 1
    if decoding == "faithful":
        assert result.sentences[0].text == document[indices(result)[0]]


@pytest.mark.parametrize("decoding", ["faithful", "free"])
def test_nothing_but_giant_sentences_comes_to_an_end(decoding):
    document = [f"كلمة {i} " * 40 + "." for i in range(30)]
    made = summarizer(Engine(limit=60), decoding=decoding, sentences=2)
    result = made.summarize([document])[0]
    assert "truncated_source" in result.flags
    assert 0 < len(result.sentences) <= 2


def test_a_model_that_only_copies_comes_to_an_end_on_a_long_document():
    result = summarizer(Engine(limit=100), decoding="free", sentences=2).summarize(
        [[f"الجملة رقم {i} هنا." for i in range(80)]]
    )[0]
    assert len(result.sentences) == 2


# Free decoding


def free(reply: str, document=ARTICLE, cut=False, **options) -> SummaryResult:
    engine = Engine(reply=lambda *_: reply, cut=cut)
    return summarizer(engine, decoding="free", **options).summarize([document])[0]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("افتتاح حديقة عامة وسط المدينة.", [((0,), 0.8)]),
        ("قال رئيس البلدية إن الدخول مجاني حتى نهاية الصيف.", [((3, 6), 5 / 6)]),
        ("فاز الفريق بالبطولة.", [((), 0.0)]),
        ("وَبَلَغَت الكلفة ملايين!", [((5,), 1.0)]),
    ],
)
def test_free_sentences_are_traced_to_the_sentences_that_share_their_words(reply, expected):
    result = free(reply)
    found = [(s.source, pytest.approx(s.support, abs=0.11)) for s in result.sentences]
    assert [(source, value) for source, value in expected] == found
    assert all(sentence.score is None for sentence in result.sentences)
    assert ("unsupported" in result.flags) == any(value < 0.5 for _, value in expected)


@pytest.mark.parametrize(
    ("reply", "cut", "options", "texts", "flags"),
    [
        ("بلغت الكلفة ملايين. الدخول مجانيا", True, {}, ["بلغت الكلفة ملايين."], ("truncated",)),
        ("بلغت الكلفة", True, {"sentences": 1}, ["بلغت الكلفة"], ("truncated",)),
        ("بلغت الكلفة. الدخول مجانيا", True, {"sentences": 1}, ["بلغت الكلفة."], ()),
        ("بلغت الكلفة. الدخول مجانيا.", False, {"sentences": 1}, ["بلغت الكلفة."], ()),
        ("بلغت الكلفة. بلغت الكلفة.", False, {}, ["بلغت الكلفة."] * 2, ("repetition",)),
        ("", False, {}, [], ("empty",)),
        (" . . ", False, {}, [], ("empty",)),
        ("بلغت الكلفة. - . الدخول؟ ", False, {}, ["بلغت الكلفة.", "الدخول؟"], ()),
        (
            "بلغت الكلفة ملايين. الدخول مجانيا. حتى الصيف.",
            False,
            {"sentences": None, "words": 5},
            ["بلغت الكلفة ملايين.", "الدخول مجانيا."],
            (),
        ),
        (
            "بلغت الكلفة ملايين. الدخول مجانيا.",
            False,
            {"sentences": None, "words": 1},
            ["بلغت الكلفة ملايين."],
            (),
        ),
    ],
)
def test_free_output_is_cut_to_length_and_flagged(reply, cut, options, texts, flags):
    result = free(reply, cut=cut, **options)
    assert [sentence.text for sentence in result.sentences] == texts
    assert result.flags == flags


def test_the_given_splitter_cuts_free_output():
    made = Summarizer(
        Engine(reply=lambda *_: "الكلفة؛ الدخول"),
        SummarizerOptions(decoding="free"),
        split=lambda text: text.split("؛"),
    )
    assert [s.text for s in made.summarize([ARTICLE])[0].sentences] == ["الكلفة", "الدخول"]


def test_free_summaries_of_sections_are_summarized_and_traced_to_the_document():
    seen = []

    def reply(text, options):
        seen.append(text)
        return text.split(".")[0] + "."  # the first sentence

    names = ["أحمد", "سعاد", "خالد", "ليلى", "عمر", "مريم", "يوسف", "هدى"]
    document = [f"ذهب {name} إلى السوق البعيد صباحا." for name in names]
    made = summarizer(Engine(reply=reply, limit=80), decoding="free", sentences=1)
    result = made.summarize([document])[0]
    assert result.text == document[0]
    assert indices(result)[0] == 0
    assert result.flags == ()
    assert len(seen) > 2


# The parts


def test_the_default_splitter_keeps_marks_and_every_word():
    text = "هل جاء؟ نعم! قال 3.5 كلم. end"
    assert split_at_marks(text) == ["هل جاء؟", "نعم!", "قال 3.5 كلم.", "end"]
    assert split_at_marks("  ") == []


@settings(max_examples=150, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 30), max_size=25), limit=st.integers(1, 60))
def test_sections_are_consecutive_fit_and_are_as_few_as_can_be(lengths, limit):
    parts = balance(lengths, limit)
    assert [i for part in parts for i in part] == list(range(len(lengths)))
    sizes = [sum(lengths[i] for i in part) for part in parts]
    assert all(size <= limit or len(part) == 1 for size, part in zip(sizes, parts, strict=True))
    # Filling each to the brim takes as many.
    brim, size = 0, limit + 1
    for length in lengths:
        if size + length > limit:
            brim, size = brim + 1, 0
        size += length
    assert len(parts) == max(1, brim)


def test_sections_are_about_equally_long():
    assert [len(part) for part in balance([1] * 11, 10)] == [6, 5]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(total=st.integers(0, 50), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=9))
def test_shares_add_up_and_are_in_proportion(total, sizes):
    shares = apportion(total, sizes)
    if sum(sizes):
        assert sum(shares) == total
        assert all(
            abs(share - total * size / sum(sizes)) < 1
            for share, size in zip(shares, sizes, strict=True)
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("الحديقة", "حَديقةٌ"),
        ("والحديقة", "حديقه"),
        ("بالمدرسة", "المدرسة"),
        ("أحمد", "احمد"),
        ("مستشفى", "مستشفي"),
        ("Café", "cafe"),
        ("كتـــاب", "كتاب"),
    ],
)
def test_spellings_of_a_word_count_as_one(one, other):
    assert content_words(one) == content_words(other)


def test_short_words_count_only_where_there_are_no_others():
    assert content_words("ذهب إلى بيت في صور") == content_words("ذهب الى بيت صور")
    assert content_words("لا") and not content_words("12 - 7")


def test_support_of_nothing_is_none():
    assert find_support(frozenset(), [frozenset("a")]) == (0.0, ())
    assert find_support(frozenset("a"), []) == (0.0, ())
    assert find_support(frozenset("ab"), [frozenset("x"), frozenset("a"), frozenset("a")]) == (
        0.5,
        (1,),
    )


def test_central_sentences_share_their_words_whatever_their_place_and_length():
    sentences = [frozenset("xy"), frozenset("ab"), frozenset("abcz"), frozenset("abc"), frozenset()]
    ranks = centrality(sentences)
    assert ranks[0] == ranks[4] == 0
    assert 1 > ranks[1] > ranks[3] > ranks[2] > 0
    assert centrality([frozenset("ab")] * 3) == [0.5, 0.5, 0.5]
    assert centrality([frozenset("a"), frozenset("b")]) == [0.0, 0.0]
    assert centrality([]) == []


def test_prominent_sentences_share_words_and_stand_early():
    sentences = [frozenset("ab"), frozenset("xy"), frozenset("ac"), frozenset("abc")]
    ranks = prominence(sentences)
    assert max(ranks) == ranks[0]
    assert ranks[1] == 0
    assert ranks[3] > ranks[2]


# Real models


TEXTS = [*tiny.SENTENCES[:6]]


@pytest.mark.parametrize("family", ["marian", "bart", "t5"])
def test_both_engines_make_the_same_summaries(request, family):
    checkpoint = request.getfixturevalue(family)
    documents = [TEXTS, TEXTS[::-1], [], TEXTS * 4, TEXTS[:2]]
    results: list[list[SummaryResult]] = []
    settings_tried = (
        SummarizerOptions(sentences=2, shortlist=4, centrality=0.5),
        SummarizerOptions(sentences=None, words=12, calibration=0.0, order="score"),
        SummarizerOptions(decoding="free", beam_size=1, no_repeat_ngram_size=0, max_new_tokens=24),
    )
    for name in ("ctranslate2", "transformers"):
        engine = load_engine(checkpoint, name, "cpu", threads=1, compute_type="float32")
        results += [Summarizer(engine, each).summarize(documents) for each in settings_tried]
        engine.close()
    for ours, reference in zip(results[:3], results[3:], strict=True):
        for one, other in zip(ours, reference, strict=True):
            assert [(s.text, s.source, s.support) for s in one.sentences] == [
                (s.text, s.source, s.support) for s in other.sentences
            ]
            assert one.flags == other.flags
            mine, theirs = ([s.score for s in each.sentences] for each in (one, other))
            assert [x is None for x in mine] == [x is None for x in theirs]
            assert [x or 0 for x in mine] == pytest.approx(
                [x or 0 for x in theirs], rel=0.02, abs=0.02
            )
    for result, document in zip(results[0], documents, strict=True):
        assert all(document[s.source[0]] == s.text for s in result.sentences)


def test_a_summarizer_loads_by_name_and_closes(marian):
    made = Summarizer.from_checkpoint(
        str(marian.path),
        engine="transformers",
        device="cpu",
        options=SummarizerOptions(sentences=1),
    )
    assert len(made.summarize([TEXTS])[0].sentences) == 1
    made.close()


def test_an_engine_s_failure_is_not_swallowed():
    def fails(_texts, _device):
        raise ValueError("broken")

    engine = Engine(reply=lambda *_: "x")
    engine.fails = fails
    with pytest.raises(ValueError, match="broken"):
        summarizer(engine, decoding="free").summarize([ARTICLE])
