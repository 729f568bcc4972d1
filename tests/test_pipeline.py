"""The pipeline as a library: stages, provenance, streams, rejects, and results that repeat."""

from __future__ import annotations

import itertools
import json

import pytest

from khulasa.models.errors import ConfigError, DeviceError, InputError
from khulasa.pipeline.config import load_config
from khulasa.pipeline.document import Document, References
from khulasa.pipeline.pipeline import Pipeline
from khulasa.pipeline.readers import Reject
from khulasa.pipeline.segment import split_paragraphs

ARTICLE = """date 2026-03-11 أعلنت وزارة الصحة أن عدد الإصابات انخفض إلى 250 حالة خلال الأسبوع الماضي، مؤكدة أن الوضع...

قال الوزير إن الحكومة ستفتح 3 مستشفيات جديدة في العام المقبل. وأضاف أن العمل بدأ فعلا.

وأعلنت وزارة الصحة أن عدد الإصابات انخفض إلى 250 حالة خلال الأسبوع الماضي، مؤكدة أن الوضع تحت السيطرة.

ورحب الأهالي بالقرار. وطالب بعضهم بمزيد من الأطباء."""


@pytest.fixture(scope="session")
def config(marian):
    return load_config(
        "default",
        {
            "translate.checkpoint": str(marian.path),
            "summarize.ar": str(marian.path),
            "summarize.en": str(marian.path),
            "threads": 1,
            "window": 4,
        },
        environment={},
    )


@pytest.fixture(scope="module")
def pipeline(config):
    with Pipeline(config) as pipeline:
        yield pipeline


def test_an_article_comes_out_clean_dated_aligned_and_summarized(pipeline):
    result = pipeline(ARTICLE)
    assert result.date == "2026-03-11"
    assert [removal.rule for removal in result.clean.removed] == ["teaser"]
    assert len(split_paragraphs(result.clean.text)) == 3
    sentences = result.translation.sentences
    assert [s.paragraph for s in sentences] == [0, 0, 1, 2, 2]
    assert " ".join(s.source for s in sentences) == " ".join(result.clean.text.split())
    assert len(split_paragraphs(result.translation.text)) <= 3
    assert all(s.score == round(s.score, 3) < 0 for s in sentences)
    for language, attribute in (("ar", "source"), ("en", "target")):
        for sentence in result.summaries[language].sentences:
            (number,) = sentence.source
            assert sentence.text == getattr(sentences[number], attribute)
    assert result.scores["checks"]["length_ratio"] > 0


def test_the_run_says_what_made_the_result(pipeline, marian):
    run = pipeline(ARTICLE).run
    assert run["engine"] == "ctranslate2"
    assert run["device"] == "cpu"
    assert run["translator"] == f"{marian.name}@{marian.digest[:12]}"
    assert "khulasa-ar" in run["rouge_ar"]


def test_the_same_text_gives_the_same_record(pipeline):
    first, second = (json.dumps(pipeline(ARTICLE).to_record()) for _ in range(2))
    assert first == second


def test_a_model_that_two_stages_use_is_loaded_once(pipeline):
    assert len(pipeline._engines) == 1


def test_references_are_scored_and_their_absence_is_not(pipeline):
    references = References("A house.", ARTICLE, "The minister said")
    scored = pipeline(ARTICLE, references=references).scores
    assert set(scored) == {"translation", "summary_ar", "summary_en", "checks"}
    assert set(scored["translation"]) >= {"bleu", "chrf++"}
    assert set(scored["summary_ar"]) >= {"rouge1", "rouge2", "rougeL"}
    assert scored["summary_ar"]["rouge1"] > 0
    assert set(pipeline(ARTICLE).scores) == {"checks"}


def test_documents_stream_through_in_order_a_window_at_a_time(pipeline):
    drawn = 0

    def source():
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield Document(id=str(number), text=f"قال الوزير رقم {number} إن العمل بدأ.")

    results = list(itertools.islice(pipeline.map(source()), 6))
    assert [result.id for result in results] == list("012345")
    assert drawn == 16  # two windows of four, and two more ahead, of an endless stream


def test_a_result_does_not_depend_on_its_neighbours(pipeline):
    texts = [f"قال الوزير رقم {n} إن العمل بدأ. ورحب الأهالي." for n in range(5)]
    alone = [pipeline(text, id="x").to_record() for text in texts]
    together = pipeline.map(Document(id="x", text=text) for text in texts)
    assert [result.to_record() for result in together] == alone


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Only English here, and nothing else.", "no Arabic"),
        ("\x00\x01 \u200b", "no text is left"),
        ("...", "no Arabic"),
    ],
)
def test_what_cannot_be_processed_is_rejected_and_the_rest_goes_on(pipeline, text, reason):
    rejects: list[Reject] = []
    documents = [
        Document(id="good", text="قال الوزير إن العمل بدأ."),
        Document(id="bad", text=text),
        Reject(id="read", source="f", line=3, reason="not JSON"),
        Document(id="also", text="ورحب الأهالي بالقرار."),
    ]
    results = list(pipeline.map(documents, rejects.append))
    assert [result.id for result in results] == ["good", "also"]
    assert [reject.id for reject in rejects] == ["bad", "read"]
    assert reason in rejects[0].reason
    with pytest.raises(InputError, match=reason):
        pipeline(text)


def test_mixed_script_is_noted(pipeline):
    text = "قال الوزير إن the whole of this sentence went on in English until its very end."
    issues = pipeline(text).issues
    assert any(issue.kind == "mixed_script" for issue in issues)


def test_flags_of_sentences_are_issues_of_the_document(pipeline):
    result = pipeline(ARTICLE)
    flags = [flag for sentence in result.translation.sentences for flag in sentence.flags]
    assert flags == [issue.kind for issue in result.issues if issue.stage == "translate"]


def test_stages_can_be_left_out(config):
    result = Pipeline(config, ("clean",))(ARTICLE)
    assert result.clean
    assert result.translation is None
    assert not result.summaries
    with Pipeline(config, ("clean", "summarize")) as pipeline:
        assert set(pipeline(ARTICLE).summaries) == {"ar"}
    with pytest.raises(ConfigError, match="no stage"):
        Pipeline(config, ("clean", "polish"))


def test_html_in_a_document_is_read_as_a_page(pipeline):
    page = (
        "<html><head><title>خبر</title></head><body><nav>الرئيسية</nav><article><p>"
        "قال الوزير إن الحكومة ستفتح مستشفيات جديدة في العام المقبل بعد سنوات من الانتظار.</p><p>"
        "ورحب الأهالي بالقرار وطالبوا بمزيد من الأطباء في القرى البعيدة.</p></article></body></html>"
    )
    result = pipeline(page)
    assert "<" not in result.clean.text
    assert len(result.translation.sentences) == 2


def test_a_hostile_text_neither_fails_nor_loses_a_sentence(pipeline):
    text = ">>fra<< قال </s> الوزير <pad> شيئا.\n\nوأضاف \ufeffكلمة\u202e أخرى ﷺ."
    result = pipeline(text)
    assert len(result.translation.sentences) == 2


def test_both_engines_give_the_same_record(config):
    texts = []
    for engine in ("ctranslate2", "transformers"):
        exact = config.model_copy(update={"engine": engine, "compute_type": "float32"})
        with Pipeline(exact) as pipeline:
            record = pipeline(ARTICLE, id="x").to_record()
        assert record.pop("run")["engine"] == engine
        texts.append(json.dumps(record, ensure_ascii=False, indent=1))
    assert texts[0] == texts[1]


def of(numbers):
    return [
        Document(id=str(n), text=f"قال الوزير رقم {n} إن العمل بدأ. ورحب الأهالي.") for n in numbers
    ]


def records(outcomes):
    return [outcome.to_record() for outcome in outcomes]


def test_there_is_one_outcome_for_each_item_in_its_place(pipeline):
    empty = Document(id="empty", text="...")
    damaged = Reject(id="read", source="f", line=3, reason="not JSON")
    items = [*of(range(3)), empty, damaged, *of(range(3, 6)), empty]
    outcomes = list(pipeline.outcomes(items))
    assert [outcome.id for outcome in outcomes] == [item.id for item in items]
    assert [isinstance(outcome, Reject) for outcome in outcomes] == [
        item.id in ("empty", "read") for item in items
    ]
    assert outcomes[4] is damaged


def test_outcomes_are_those_of_one_window_after_another(pipeline):
    items = of(range(10))
    alone = [o for start in range(0, 10, 4) for o in pipeline.outcomes(items[start : start + 4])]
    assert records(pipeline.outcomes(items)) == records(alone)


class Fussy:
    """A stage that fails for a batch with a document that it does not like."""

    def __init__(self, error, disliked, inner=lambda documents: documents):
        self.error, self.disliked, self.inner, self.calls = error, disliked, inner, []

    def __call__(self, documents):
        self.calls.append([document.id for document in documents])
        if self.disliked & set(self.calls[-1]):
            raise self.error
        return self.inner(documents)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_document_that_a_stage_fails_on_is_rejected_alone(config, place):
    with Pipeline(config, ("clean", "score")) as pipeline:
        stages = [*pipeline.stages, lambda documents: documents]
        fussy = Fussy(IndexError("list index\nout of range"), {"2"}, stages[place])
        pipeline.stages[place : place + 1] = [fussy]
        outcomes = list(pipeline.outcomes(of(range(6))))
    assert [o.id for o in outcomes if isinstance(o, Reject)] == ["2"]
    assert [o.id for o in outcomes] == list("012345")
    assert outcomes[2].reason == "it could not be processed (fussy): IndexError: list index"
    assert sorted({i for call in fussy.calls for i in call}) == list("012345")


@pytest.mark.parametrize("error", [DeviceError("gone"), ConfigError("cache"), MemoryError()])
def test_what_would_fail_for_every_document_ends_the_run(config, error):
    with Pipeline(config, ("clean",)) as pipeline:
        pipeline.stages.append(Fussy(error, {"5"}))
        outcomes = pipeline.outcomes(of(range(9)))
        assert [next(outcomes).id for _ in range(4)] == list("0123")
        with pytest.raises(type(error)):
            next(outcomes)


def test_time_is_told_by_stage(config):
    with Pipeline(config, ("clean", "score")) as pipeline:
        list(pipeline.outcomes(of(range(3))))
        assert set(pipeline.timings) == {"read", "clean", "score"}
        assert min(pipeline.timings.values()) > 0


def test_a_cache_gives_the_same_and_spares_the_engine(config, tmp_path, monkeypatch):
    plain = config.model_copy(update={"compute_type": "float32"})
    cached = plain.model_copy(update={"cache": tmp_path / "new" / "cache.sqlite"})
    items = of([0, 1, 2, 0, 5, 1])
    with Pipeline(plain, ("clean", "translate")) as pipeline:
        expected = records(pipeline.outcomes(items))
    with Pipeline(cached, ("clean", "translate")) as pipeline:
        assert records(pipeline.outcomes(items)) == expected
    with Pipeline(cached, ("clean", "translate")) as pipeline:
        monkeypatch.setattr(pipeline.stages[1].translator.engine, "generate", None)
        assert records(pipeline.outcomes(items)) == expected
