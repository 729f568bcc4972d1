"""The summarize and score stages: two summaries of one document, apart or aligned, and how they agree."""

from __future__ import annotations

import pytest

import tiny
from khulasa.models.errors import ConfigError
from khulasa.models.summarizer import Summarizer, SummarizerOptions
from khulasa.pipeline.config import ScoreConfig, load_config
from khulasa.pipeline.document import Clean, Document, Sentence, Translation
from khulasa.pipeline.stages import ScoreStage, SummarizeStage

SOURCES = [
    "افتتحت البلدية حديقة عامة.",
    "بلغت الكلفة ثلاثة ملايين.",
    "استغرق العمل عامين.",
    "الدخول مجاني حتى الصيف.",
]
TARGETS = [
    "The town opened a public garden.",
    "It cost three million.",
    "The work took two years.",
    "Entry is free until summer.",
]


def document(targets=TARGETS) -> Document:
    sentences = [
        Sentence(i // 2, source, target)
        for i, (source, target) in enumerate(zip(SOURCES, targets, strict=True))
    ]
    return Document(
        id="one",
        text="\n".join(SOURCES),
        clean=Clean("\n\n".join([" ".join(SOURCES[:2]), " ".join(SOURCES[2:])])),
        translation=Translation(" ".join(targets), tuple(sentences)),
    )


def stage(*languages, aligned=False, reply=lambda text, _: text, **options) -> SummarizeStage:
    made = SummarizerOptions(**({"sentences": 2} | options))
    engine = tiny.FakeEngine(reply)
    return SummarizeStage({name: Summarizer(engine, made) for name in languages}, aligned)


@pytest.mark.parametrize("order", ["source", "score"])
def test_aligned_summaries_are_each_other_s_translation_sentence_by_sentence(order):
    (made,) = stage("ar", aligned=True, order=order)([document()])
    ours, theirs = made.summaries["ar"], made.summaries["en"]
    assert len(ours.sentences) == 2
    assert [s.source for s in theirs.sentences] == [s.source for s in ours.sentences]
    assert [s.text for s in ours.sentences] == [SOURCES[s.source[0]] for s in ours.sentences]
    assert [s.text for s in theirs.sentences] == [TARGETS[s.source[0]] for s in ours.sentences]
    assert theirs.text == " ".join(s.text for s in theirs.sentences)
    assert not made.issues


def test_a_sentence_without_a_translation_is_left_out_and_a_summary_of_none_is_flagged():
    (whole,) = stage("ar", aligned=True, sentences=4)([document(["", *TARGETS[1:]])])
    assert [s.source for s in whole.summaries["en"].sentences] == [(1,), (2,), (3,)]
    (empty,) = stage("ar", aligned=True)([document([""] * 4)])
    assert empty.summaries["en"].text == ""
    assert [(i.kind, i.where) for i in empty.issues] == [("empty", "summary en")]


def test_without_a_translation_aligned_gives_the_arabic_summary_alone():
    bare = Document(id="one", text="x", clean=Clean(" ".join(SOURCES)))
    (made,) = stage("ar", aligned=True)([bare])
    assert list(made.summaries) == ["ar"]


def test_the_agreement_of_two_summaries_is_one_when_aligned_and_counts_shared_sentences_else():
    score = ScoreStage(ScoreConfig())
    (aligned,) = score(stage("ar", aligned=True)([document()]))
    assert aligned.scores["checks"]["summaries_agreement"] == 1
    (whole,) = stage("ar", sentences=4)([document()])
    (one,) = stage("en", sentences=1)([whole])
    (found,) = score([one])
    assert found.scores["checks"]["summaries_agreement"] == 0.4
    (alone,) = score(stage("ar")([document()]))
    assert "summaries_agreement" not in alone.scores["checks"]


def test_each_sentence_that_the_document_does_not_support_is_named():
    (made,) = stage(
        "ar",
        decoding="free",
        reply=lambda *_: "بلغت الكلفة ثلاثة ملايين. فاز الفريق بالبطولة الوطنية.",
    )([document()])
    assert [(i.kind, i.where, i.detail) for i in made.issues] == [
        ("unsupported", "summary ar, sentence 1", "فاز الفريق بالبطولة الوطنية.")
    ]


def test_the_configuration_says_which_summaries_and_refuses_to_align_free_ones():
    assert load_config("default", {}, {}).summarize.summaries == "independent"
    aligned = {"summarize.summaries": "aligned"}
    assert load_config("default", aligned, {}).summarize.summaries == "aligned"
    with pytest.raises(ConfigError, match="decoding must be faithful, not 'free'"):
        load_config("opus", aligned, {})
    with pytest.raises(ConfigError, match=r"summarize\.summaries"):
        load_config("default", {"summarize.summaries": "both"}, {})
