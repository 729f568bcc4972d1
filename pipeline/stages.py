"""The four stages: clean, translate, summarize, score.

A stage takes a batch of documents and gives new ones with one more field filled in, in the same
order. It never edits what an earlier stage made, and a document that it cannot treat comes back
with an issue that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ..models.summarizer import Summarizer, SummaryResult
from ..models.support import UNSUPPORTED
from ..models.translator import Translator
from .clean import CleanOptions, clean
from .config import ScoreConfig
from .document import (
    LANGUAGES,
    Clean,
    Document,
    Issue,
    Language,
    Sentence,
    Summary,
    SummarySentence,
    Translation,
)
from .segment import join_paragraphs, split_paragraphs, split_sentences

# Below this share of Arabic letters a text is mixed: what is not Arabic will not be translated.
MIXED_SCRIPT = 0.7


class Stage(Protocol):
    """A step over a batch of documents."""

    def __call__(self, documents: Sequence[Document]) -> list[Document]:
        """Give the documents back, in order, with this stage's field filled in."""
        ...


class CleanStage:
    """Fills in `clean`, and `title` and `date` where they stood in the text."""

    def __init__(self, options: CleanOptions = CleanOptions()) -> None:
        self.options = options

    def __call__(self, documents: Sequence[Document]) -> list[Document]:
        return [self._clean(document) for document in documents]

    def _clean(self, document: Document) -> Document:
        result = clean(document.text, self.options)
        cleaned = replace(
            document,
            title=document.title or result.title,
            date=document.date or result.date,
            clean=Clean(result.text, result.removed, result.counts),
        )
        share = arabic_share(result.text)
        if not share:
            return cleaned.with_issues(
                Issue("clean", "no_arabic", detail="no Arabic letter is left after cleaning")
            )
        if share < MIXED_SCRIPT:
            return cleaned.with_issues(
                Issue("clean", "mixed_script", detail=f"{share:.0%} of the letters are Arabic")
            )
        return cleaned


def arabic_share(text: str) -> float:
    """The share of the letters of `text` that are Arabic: 0 to 1, 0 where there is no letter."""
    letters = sum(map(str.isalpha, text))
    arabic = sum("\u0620" <= character <= "\u06ff" and character.isalpha() for character in text)
    return arabic / letters if letters else 0.0


def source_sentences(document: Document) -> list[tuple[int, str]]:
    """The sentences of the clean text, each with the number of its paragraph."""
    assert document.clean is not None
    return [
        (number, sentence)
        for number, paragraph in enumerate(split_paragraphs(document.clean.text))
        for sentence in split_sentences(paragraph, "ar")
    ]


class TranslateStage:
    """Fills in `translation`. The sentences of all documents of a batch are translated as one."""

    def __init__(self, translator: Translator) -> None:
        self.translator = translator

    def __call__(self, documents: Sequence[Document]) -> list[Document]:
        sources = [source_sentences(document) for document in documents]
        flat = [sentence for document in sources for _, sentence in document]
        results = iter(self.translator.translate(flat))
        translated = []
        for document, pairs in zip(documents, sources, strict=True):
            sentences, issues = [], []
            for number, (paragraph, source) in enumerate(pairs):
                result = next(results)
                # The digits after the third are rounding, which differs between machines.
                score = None if result.score is None else round(result.score, 3)
                sentences.append(Sentence(paragraph, source, result.target, result.flags, score))
                issues += [
                    Issue("translate", flag, f"sentence {number}", result.target)
                    for flag in result.flags
                ]
            translation = Translation(join_translation(sentences), tuple(sentences))
            translated.append(replace(document, translation=translation).with_issues(*issues))
        return translated


def join_translation(sentences: Sequence[Sentence]) -> str:
    """The targets in the paragraphs of their sources."""
    paragraphs: dict[int, list[str]] = {}
    for sentence in sentences:
        paragraphs.setdefault(sentence.paragraph, []).append(sentence.target)
    return join_paragraphs([" ".join(filter(None, parts)) for parts in paragraphs.values()])


class SummarizeStage:
    """Fills in `summaries`: one for the source, and one for the translation where there is one.

    Both number their source sentences alike: sentence 3 of the English summary's source is the
    translation of sentence 3 of the Arabic one's. With `aligned` they consist of the same: no
    English summarizer is asked, and the translations of the sentences chosen in Arabic are taken.
    """

    def __init__(self, summarizers: Mapping[Language, Summarizer], aligned: bool = False) -> None:
        self.summarizers = summarizers
        self.aligned = aligned

    def __call__(self, documents: Sequence[Document]) -> list[Document]:
        summarized = list(documents)
        for language, summarizer in self.summarizers.items():
            numbers = [i for i, d in enumerate(documents) if language == "ar" or d.translation]
            sentences = [sentences_in(documents[i], language) for i in numbers]
            results = summarizer.summarize(sentences)
            for i, result in zip(numbers, results, strict=True):
                summarized[i] = _with_summary(summarized[i], language, result)
        return [_with_aligned(document) for document in summarized] if self.aligned else summarized


def _with_summary(document: Document, language: Language, result: SummaryResult) -> Document:
    parts = tuple(SummarySentence(s.text, s.source, round(s.support, 4)) for s in result.sentences)
    where = f"summary {language}"
    issues = [Issue("summarize", flag, where) for flag in result.flags if flag != "unsupported"]
    issues += [
        Issue("summarize", "unsupported", f"{where}, sentence {number}", sentence.text)
        for number, sentence in enumerate(result.sentences)
        if sentence.support < UNSUPPORTED
    ]
    summary = Summary(" ".join(part.text for part in parts), parts)
    summaries = {**document.summaries, language: summary}
    return replace(document, summaries=summaries).with_issues(*issues)


def _with_aligned(document: Document) -> Document:
    """The document with an English summary made of the Arabic one's sentences in translation."""
    if document.translation is None:
        return document
    targets = [sentence.target for sentence in document.translation.sentences]
    parts = tuple(
        SummarySentence(text, part.source, part.support)
        for part in document.summaries["ar"].sentences
        if (text := " ".join(filter(None, (targets[number] for number in part.source))))
    )
    summary = Summary(" ".join(part.text for part in parts), parts)
    issues = [] if parts else [Issue("summarize", "empty", "summary en")]
    summaries = {**document.summaries, "en": summary}
    return replace(document, summaries=summaries).with_issues(*issues)


def sentences_in(document: Document, language: Language) -> list[str]:
    """The document's sentences in one of its languages, by number."""
    if document.translation is None:
        return [sentence for _, sentence in source_sentences(document)]
    if language == "ar":
        return [sentence.source for sentence in document.translation.sentences]
    return [sentence.target for sentence in document.translation.sentences]


def _segments(hypothesis: str, reference: str) -> tuple[list[str], list[str]]:
    """Both texts by paragraph where they have as many, else whole.

    Over long segments n-grams match by chance, and scores come out too high.
    """
    pair = split_paragraphs(hypothesis), split_paragraphs(reference)
    return pair if len(pair[0]) == len(pair[1]) else ([hypothesis], [reference])


class ScoreStage:
    """Fills in `scores`: against references where there are some, and the checks that need none."""

    def __init__(self, options: ScoreConfig) -> None:
        from ..eval.tokenize import RougeTokenizer

        folding = options.model_dump()
        self.tokenizers: dict[Language, RougeTokenizer] = {
            "ar": RougeTokenizer("ar", **folding),
            "en": RougeTokenizer("en"),
        }

    def __call__(self, documents: Sequence[Document]) -> list[Document]:
        return [replace(document, scores=self._scores(document)) for document in documents]

    def _scores(self, document: Document) -> dict[str, dict[str, float]]:
        from ..eval.fidelity import check_summary, check_translation, summary_agreement
        from ..eval.summary import score_summaries
        from ..eval.translation import score_translation

        scores: dict[str, dict[str, float]] = {}
        checks: dict[str, float] = {}
        reference = document.references.translation
        if document.translation is not None and document.clean is not None:
            if reference is not None:
                found = score_translation(*_segments(document.translation.text, reference))
                scores["translation"] = {name: score.value for name, score in found.items()}
            checks |= check_translation(document.clean.text, document.translation.text)
        for language, summary in document.summaries.items():
            reference = getattr(document.references, f"summary_{language}")
            if reference is not None:
                found = score_summaries(
                    [summary.text], [reference], language, self.tokenizers[language]
                )
                scores[f"summary_{language}"] = {name: s.value for name, s in found.items()}
            source = "\n".join(sentences_in(document, language))
            for name, value in check_summary(source, summary.text).items():
                checks[f"summary_{language}_{name}"] = value
        if len(document.summaries) == len(LANGUAGES):
            rests_on = (
                [number for sentence in summary.sentences for number in sentence.source]
                for summary in document.summaries.values()
            )
            checks["summaries_agreement"] = summary_agreement(*rests_on)
        scores["checks"] = checks
        return {
            name: {key: round(value, 4) for key, value in values.items()}
            for name, values in scores.items()
        }

    def signatures(self) -> dict[str, str]:
        """What the scores' numbers depend on, by metric."""
        return {f"rouge_{language}": t.signature for language, t in self.tokenizers.items()}
