"""Summaries by a sequence-to-sequence model: whole sentences of the source, or its own words.

*Faithful* decoding (see `selection`) chooses sentences of the document, so that nothing can be
invented. *Free* decoding (see `writing`) is a beam search; each sentence of the output is then
traced to the sentences of the document that share its words (see `support`).

A document that is longer than the model reads is cut into sections of about equal length. Each is
summarized, to up to twice its share of the length, and the results are summarized together, in as
many rounds as it takes. In faithful decoding the model reads each section behind the document's
first sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from .checkpoint import resolve
from .engine import Engine, load_engine
from .guards import has_content, is_finished, loops
from .normalization import normalize
from .sections import Line, Section, SourceReader, units
from .selection import Selector
from .summary_options import SummarizerOptions, read_defaults
from .support import UNSUPPORTED, centrality, content_words, find_support
from .writing import Writer

FLAGS = ("empty", "truncated_source", "truncated", "repetition", "unsupported")

# A further round must shrink the text to this share, or it would not end.
_LEAST_PROGRESS = 0.75


@dataclass(frozen=True, slots=True)
class SummarizedSentence:
    """A sentence of a summary.

    `source` has the indices of the document's sentences that it comes from, ascending. `support` is
    the share of its content words that they hold: 1 in faithful decoding, where they are the same
    sentence. `score` is what a faithful sentence was chosen by (see the module), and None in free
    decoding and where there was nothing to choose.
    """

    text: str
    source: tuple[int, ...]
    support: float
    score: float | None


@dataclass(frozen=True, slots=True)
class SummaryResult:
    """A summary and its flags, in the order of `FLAGS`.

    - `empty`: the document has letters or digits, the summary has none.
    - `truncated_source`: the model did not see all, because a sentence is longer than it reads.
    - `truncated`: decoding stopped at its limit, and an unfinished last sentence was dropped
      (unless it is the only one).
    - `repetition`: the summary loops, or has a sentence twice.
    - `unsupported`: a sentence has less than half of its content words from its sources.
    """

    sentences: tuple[SummarizedSentence, ...]
    flags: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences, joined by spaces."""
        return " ".join(sentence.text for sentence in self.sentences)


_END = re.compile(r"(?<=[.!?؟])\s+")


def split_at_marks(text: str) -> list[str]:
    """Split after each full stop, exclamation or question mark that white space follows."""
    return [part for part in _END.split(text.strip()) if part]


@dataclass(slots=True)
class _Work:
    """A document between two rounds."""

    document: list[str]
    lines: list[Line]
    budget: int
    opening: str | None
    flags: set[str] = field(default_factory=set)
    squeezed: bool = False
    result: SummaryResult | None = None


class Summarizer:
    """Summarizes documents with one model.

    `split` cuts free output into sentences; faithful decoding does not need it.
    """

    def __init__(
        self,
        engine: Engine,
        options: SummarizerOptions | None = None,
        split: Callable[[str], list[str]] = split_at_marks,
    ) -> None:
        self.engine = engine
        self.options = options or SummarizerOptions()
        own = read_defaults(engine.checkpoint)
        prefix = own.prefix if self.options.prefix is None else self.options.prefix
        self._reader = SourceReader(engine, prefix)
        self._selector = Selector(engine, self.options, self._reader.nothing, own)
        self._writer = Writer(engine, self.options, own, split)

    @classmethod
    def from_checkpoint(
        cls,
        name: str,
        *,
        revision: str | None = None,
        offline: bool | None = None,
        engine: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        compute_type: str | None = None,
        options: SummarizerOptions | None = None,
        split: Callable[[str], list[str]] = split_at_marks,
    ) -> Summarizer:
        """Load the model called `name`: see `resolve` and `load_engine`."""
        checkpoint = resolve(name, revision, offline)
        loaded = load_engine(checkpoint, engine, device, threads, compute_type)
        return cls(loaded, options, split)

    @property
    def _is_free(self) -> bool:
        return self.options.decoding == "free"

    def summarize(self, documents: Sequence[Sequence[str]]) -> list[SummaryResult]:
        """Summarize each document, which is given as its sentences; results are in input order.

        A document that is no longer than a summary may be comes back whole, without the sentences
        that have no letters or that come a second time. One without sentences gives a summary
        without any.
        """
        works = [self._open(list(document)) for document in documents]
        while pending := [work for work in works if work.result is None]:
            rounds = [(work, self._sections(work)) for work in pending]
            sections = [section for _, parts in rounds for section in parts]
            if self._is_free:
                self._writer.write(sections)
            else:
                self._selector.choose(sections)
            for work, parts in rounds:
                if self._is_free:
                    self._advance_written(work, parts)
                else:
                    self._advance_chosen(work, parts)
        return [work.result for work in works if work.result is not None]

    def close(self) -> None:
        """Free the model's memory."""
        self.engine.close()

    # Documents

    def _open(self, document: list[str]) -> _Work:
        lines: list[Line] = []
        seen: set[str] = set()
        for index, sentence in enumerate(document):
            text = normalize(sentence)
            is_candidate = any(map(str.isalpha, text)) and text not in seen
            seen.add(text)
            if text:
                lines.append(self._line(text, index, is_candidate))
        candidates = [line for line in lines if line.is_candidate]
        opening = candidates[0].text if candidates else None
        work = _Work(document, lines, self._budget(document), opening)
        if not candidates:
            if any(map(has_content, document)):
                work.flags.add("empty")
            self._finish(work, [])
        elif units(candidates) <= work.budget:
            self._finish_chosen(work, [(line, None) for line in candidates])
        elif self._selector.centrality and not self._is_free:
            ranks = centrality([content_words(line.text) for line in candidates])
            central = dict(zip(candidates, ranks, strict=True))
            work.lines = [replace(line, centrality=central.get(line, 0.0)) for line in lines]
        return work

    def _line(self, text: str, index: int = -1, is_candidate: bool = True) -> Line:
        return Line(index, text, self._cost(text), is_candidate)

    def _cost(self, text: str) -> int:
        return 1 if self.options.sentences else len(text.split())

    def _budget(self, document: list[str]) -> int:
        """The length of the summary, in sentences or words."""
        if self.options.share:
            words = sum(len(normalize(sentence).split()) for sentence in document)
            return max(1, int(self.options.share * words))
        return self.options.sentences or self.options.words or 1

    def _finish_chosen(self, work: _Work, chosen: list[tuple[Line, float | None]]) -> None:
        if self.options.order == "source":
            chosen = sorted(chosen, key=lambda pair: pair[0].index)
        sentences = [
            SummarizedSentence(
                work.document[line.index],
                (line.index,),
                1.0,
                score if score is not None and math.isfinite(score) else None,
            )
            for line, score in chosen
        ]
        self._finish(work, sentences)

    def _finish(self, work: _Work, sentences: list[SummarizedSentence]) -> None:
        flags = tuple(flag for flag in FLAGS if flag in work.flags)
        work.result = SummaryResult(tuple(sentences), flags)

    # Rounds

    def _sections(self, work: _Work) -> list[Section]:
        # Free decoding would write the opening again for each section.
        opening = None if self._is_free else work.opening
        sections, is_cut = self._reader.sections(work.lines, work.budget, work.squeezed, opening)
        if is_cut:
            work.flags.add("truncated_source")
        return sections

    def _advance_chosen(self, work: _Work, sections: list[Section]) -> None:
        chosen = [pair for section in sections for pair in section.picked]
        lines = sorted((line for line, _ in chosen), key=lambda line: line.index)
        if len(sections) == 1 or units(lines) <= work.budget:
            if len(sections) > 1:
                chosen.sort(key=lambda pair: (-pair[1], pair[0].index))
            self._finish_chosen(work, list(chosen))
        elif len(lines) == len(work.lines):
            # Nothing but sentences that fill a section each: compare their beginnings.
            work.squeezed = True
        else:
            work.lines = lines

    def _advance_written(self, work: _Work, sections: list[Section]) -> None:
        written = [text for section in sections for text in section.written]
        lines = [self._line(text) for text in map(normalize, written) if text]
        if len(sections) == 1 or units(lines) <= work.budget:
            self._finish_written(work, written, any(section.unfinished for section in sections))
            return
        before, after = (
            sum(map(len, self.engine.tokenize([line.text for line in each])))
            for each in (work.lines, lines)
        )
        work.squeezed = after > _LEAST_PROGRESS * before
        work.lines = lines

    def _finish_written(self, work: _Work, written: list[str], unfinished: bool) -> None:
        texts: list[str] = []
        spent = 0
        for text in written:
            spent += self._cost(text)
            if spent > work.budget and texts:
                break
            texts.append(text)
        sources = [content_words(sentence) for sentence in work.document]
        sentences = [
            SummarizedSentence(text, source, support, None)
            for text in texts
            for support, source in [find_support(content_words(text), sources)]
        ]
        # What the limit cut off is no loss if the summary was to end before it.
        is_full = len(texts) < len(written) or len(texts) == self.options.sentences
        ends_well = bool(texts) and is_finished(texts[-1])
        found = {
            "empty": not texts,
            "truncated": unfinished and not (is_full and ends_well),
            "repetition": len(set(texts)) < len(texts) or loops(" ".join(texts)),
            "unsupported": any(sentence.support < UNSUPPORTED for sentence in sentences),
        }
        work.flags |= {flag for flag, is_due in found.items() if is_due}
        self._finish(work, sentences)
