"""Summaries by a sequence-to-sequence model: whole sentences of the source, or its own words.

*Faithful* decoding chooses sentences of the document, so that nothing can be invented. A candidate
c of n tokens, after the sentences p that were chosen before it, in a document x, scores

    ( log P(c | x, p) - calibration * log P(c | nothing, p) ) / n ** length_penalty

where P is the model's, over the tokens of c alone: the end token is left out, because the options
decide how long a summary gets. The target is p and c joined by spaces. The second term is what the
sentence would score as the summary of an empty text; with `calibration` 1 the score is the
pointwise mutual information of sentence and document. With 0 it is the plain log-probability,
which favours short sentences that fit any document. The best candidate is chosen, and so on until
the length is reached; equal scores go by position.

Scoring reads the document once for each candidate, so two options bound how many there are. Of
more than `shortlist` candidates (or twice as many as are wanted) only the most prominent enter:
those that share most words with other sentences and stand early (`support.prominence`; the model
has no say in it). After the first sentence, only the `rescored` best by their latest score are
scored again. With both None, the choice is the full greedy search.

*Free* decoding is a beam search; each sentence of the output is then traced to the sentences of the
document that share its words (see `support`).

A document that is longer than the model reads is cut into sections of about equal length. Each is
summarized, to up to twice its share of the length, and the results are summarized together, in as
many rounds as it takes.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .batching import make_batches
from .checkpoint import Checkpoint, resolve
from .engine import Engine, Generation, GenerationOptions, Tokens, load_engine
from .errors import ConfigError
from .guards import has_content, loops
from .normalization import normalize
from .support import UNSUPPORTED, content_words, find_support, prominence

Decoding = Literal["faithful", "free"]
Order = Literal["source", "score"]

FLAGS = ("empty", "truncated_source", "truncated", "repetition", "unsupported")

# Decoders were trained on outputs of about this length, and few have more positions.
_MAX_TARGET = 512
_DEFAULT_BEAM_SIZE = 4
_DEFAULT_NEW_TOKENS = 128
# Generous: Arabic in a vocabulary of 8,000 pieces takes about two tokens a word.
_TOKENS_PER_WORD = 3
# Where sentences must be left out or cut to fit the source, so many stay.
_LEAST_KEPT = 4
# A further round must shrink the text to this share, or it would not end.
_LEAST_PROGRESS = 0.75


@dataclass(frozen=True, slots=True)
class SummarizerOptions:
    """How to summarize, and how long. Values are checked here.

    Exactly one of `sentences` (at most so many), `words` (at most so many) and `share` (at most
    this share of the document's words, above 0 and below 1) is set. A summary has a sentence even
    if every one is over the limit of words; it is then the shortest that could be had.

    `order` puts faithful summaries in the order of the document (`source`) or best first (`score`).
    `calibration`, `shortlist` and `rescored` are explained in the module.

    What is None is the checkpoint's own setting where it has a sensible one: `beam_size` (else 4),
    `length_penalty` (free decoding; else, and in faithful decoding, 1), `max_new_tokens` (else 128,
    or what `words` or `share` need) and `prefix`, the words that some models want before the
    document, such as `summarize: ` (else none).

    `batch_tokens` bounds the tokens in the model at once.
    """

    decoding: Decoding = "faithful"
    sentences: int | None = 3
    words: int | None = None
    share: float | None = None
    order: Order = "source"
    calibration: float = 1.0
    shortlist: int | None = 8
    rescored: int | None = 3
    beam_size: int | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int = 3
    max_new_tokens: int | None = None
    prefix: str | None = None
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        for name, choices in (("decoding", get_args(Decoding)), ("order", get_args(Order))):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{name}: must be {' or '.join(choices)}, not {getattr(self, name)!r}"
                )
        lengths = [n for n in ("sentences", "words", "share") if getattr(self, n) is not None]
        if len(lengths) != 1:
            raise ConfigError(
                "sentences, words, share: exactly one must be set and the others None, not "
                f"{' and '.join(lengths) or 'none of them'}"
            )
        for name in ("sentences", "words", "shortlist", "rescored", "batch_tokens"):
            value = getattr(self, name)
            if value is None and name != "batch_tokens":
                continue
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}: must be a whole number of 1 or more, not {value!r}")
        if self.share is not None and not (_is_number(self.share) and 0 < self.share < 1):
            raise ConfigError(f"share: must be a number above 0 and below 1, not {self.share!r}")
        if not _is_number(self.calibration) or self.calibration < 0:
            raise ConfigError(
                f"calibration: must be a number of 0 or more, not {self.calibration!r}"
            )
        if self.prefix is not None and not isinstance(self.prefix, str):
            raise ConfigError(f"prefix: must be a text, not {self.prefix!r}")
        # The rest is what GenerationOptions checks.
        optional = ("beam_size", "length_penalty", "max_new_tokens")
        given = {name: getattr(self, name) for name in optional if getattr(self, name) is not None}
        GenerationOptions(no_repeat_ngram_size=self.no_repeat_ngram_size, **given)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


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
_FINISHED = re.compile(r"""[.!?؟…][»”)\]"']*$""")


def split_at_marks(text: str) -> list[str]:
    """Split after each full stop, exclamation or question mark that white space follows."""
    return [part for part in _END.split(text.strip()) if part]


@dataclass(frozen=True, slots=True)
class _Line:
    """A sentence as the model reads it. `index` is its place in the document, if it has one."""

    index: int
    text: str
    units: int  # what it costs of the length: words, or 1 if sentences are counted
    is_candidate: bool


@dataclass(slots=True)
class _Section:
    """What the model reads at once, and what became of it."""

    lines: list[_Line]
    source: list[int]
    budget: int
    is_whole: bool
    picked: list[tuple[_Line, float]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    unfinished: bool = False


@dataclass(slots=True)
class _Work:
    """A document between two rounds."""

    document: list[str]
    lines: list[_Line]
    budget: int
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
        self._split = split
        own = read_defaults(engine.checkpoint)
        prefix = own.prefix if self.options.prefix is None else self.options.prefix
        self._prefix = prefix.strip()
        self._beam_size = self.options.beam_size or own.beam_size
        self._length_penalty = self.options.length_penalty
        if self._length_penalty is None:
            self._length_penalty = own.length_penalty if self._is_free else 1.0
        self._new_tokens = own.max_new_tokens
        self._source_frame = _Frame(engine, target=False)
        self._target_frame = _Frame(engine, target=True)
        # What is left of the model's source for the document.
        self._nothing = engine.tokenize([self._prefix])[0]
        self._room = engine.max_source_tokens - len(self._nothing)
        if self._room < 1:
            raise ConfigError(
                f"prefix: {self._prefix!r} leaves no room in a source of "
                f"{engine.max_source_tokens} tokens"
            )
        self._target_limit = min(engine.max_source_tokens, _MAX_TARGET)

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
                self._write(sections)
            else:
                self._choose(sections)
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
        lines: list[_Line] = []
        seen: set[str] = set()
        for index, sentence in enumerate(document):
            text = normalize(sentence)
            is_candidate = any(map(str.isalpha, text)) and text not in seen
            seen.add(text)
            if text:
                lines.append(self._line(text, index, is_candidate))
        work = _Work(document, lines, self._budget(document))
        candidates = [line for line in lines if line.is_candidate]
        if not candidates:
            if any(map(has_content, document)):
                work.flags.add("empty")
            self._finish(work, [])
        elif _units(candidates) <= work.budget:
            self._finish_chosen(work, [(line, None) for line in candidates])
        return work

    def _line(self, text: str, index: int = -1, is_candidate: bool = True) -> _Line:
        return _Line(index, text, self._cost(text), is_candidate)

    def _cost(self, text: str) -> int:
        return 1 if self.options.sentences else len(text.split())

    def _budget(self, document: list[str]) -> int:
        """The length of the summary, in sentences or words."""
        if self.options.share:
            words = sum(len(normalize(sentence).split()) for sentence in document)
            return max(1, int(self.options.share * words))
        return self.options.sentences or self.options.words or 1

    def _finish_chosen(self, work: _Work, chosen: list[tuple[_Line, float | None]]) -> None:
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

    # Sections

    def _sections(self, work: _Work) -> list[_Section]:
        """Cut what is left of a document into as few sections as fit, each with its budget."""
        texts = [line.text for line in work.lines]
        lengths = [min(self._room, len(body)) for body in self._bodies(texts)]
        parts = [range(len(texts))] if work.squeezed else balance(lengths, self._room)
        total = _units(work.lines)
        shares = apportion(work.budget, [_units(work.lines[i] for i in part) for part in parts])
        sections = []
        for part, share in zip(parts, shares, strict=True):
            lines = [work.lines[i] for i in part]
            source, is_cut = self._source([line.text for line in lines])
            if is_cut:
                work.flags.add("truncated_source")
            budget = work.budget
            if len(parts) > 1:
                # Up to twice the share, to leave a choice, but no more than half of the section.
                units = _units(lines)
                twice = min(math.ceil(2 * work.budget * units / total), units // 2)
                budget = max(1, share, twice)
            sections.append(_Section(lines, source, budget, len(parts) == 1))
        return sections

    def _source(self, texts: list[str]) -> tuple[list[int], bool]:
        """The tokens of these sentences for the encoder, and whether some had to be left out."""
        joined = " ".join([self._prefix, *texts] if self._prefix else texts)
        row = self.engine.tokenize([joined])[0]
        if len(row) <= self.engine.max_source_tokens:
            return row, False
        # A few words of each say nothing: rather fewer sentences, taken evenly from all, of which
        # there is room for a good part.
        bodies = self._bodies(texts)
        part = max(1, min(max(map(len, bodies)), self._room // _LEAST_KEPT))
        most = min(len(texts), self._room // part)
        bodies = [bodies[i * len(texts) // most] for i in range(most)]
        # Short ones in full, and what remains of the room in equal parts to the long ones.
        room = self._room
        kept: dict[int, list[int]] = {}
        for done, i in enumerate(sorted(range(most), key=lambda i: len(bodies[i]))):
            kept[i] = bodies[i][: room // (most - done)]
            room -= len(kept[i])
        content = [token for i in range(most) for token in kept[i]]
        frame = self._source_frame
        return frame.wrap(frame.body(self._nothing) + content), True

    def _bodies(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text as it stands after another: some tokenizers see the space."""
        before, *rows = self.engine.tokenize(["a", *(f"a {text}" for text in texts)])
        skipped = len(before) - self._source_frame.size
        return [self._source_frame.body(row)[skipped:] for row in rows]

    # Faithful decoding

    def _choose(self, sections: list[_Section]) -> None:
        """Fill `picked` in each section, all sections in step."""
        pools = [self._shortlist(section) for section in sections]
        active = [i for i in range(len(sections)) if pools[i]]
        scores: list[dict[_Line, float]] = [dict.fromkeys(pool, 0.0) for pool in pools]
        is_first = True
        while active:
            rivals = {i: self._rivals(sections[i], scores[i], is_first) for i in active}
            rows = [(i, line) for i in active for line in rivals[i]]
            found = self._score(
                [(sections[i].source, [p.text for p, _ in sections[i].picked]) for i, _ in rows],
                [line.text for _, line in rows],
            )
            for (i, line), score in zip(rows, found, strict=True):
                scores[i][line] = score
            for i in active:
                best = max(rivals[i], key=lambda line: (scores[i][line], -line.index))
                sections[i].picked.append((best, scores[i].pop(best)))
            active = [i for i in active if self._affordable(sections[i], scores[i])]
            is_first = False

    def _rivals(self, section: _Section, scores: dict[_Line, float], is_first: bool) -> list[_Line]:
        """The candidates that are scored for the next place."""
        rivals = self._affordable(section, scores)
        if is_first:
            return rivals
        return sorted(rivals, key=lambda line: (-scores[line], line.index))[: self.options.rescored]

    def _affordable(self, section: _Section, lines: Iterable[_Line]) -> list[_Line]:
        """Those that still fit the budget; the shortest if none does and nothing is picked."""
        lines = list(lines)
        left = section.budget - _units(line for line, _ in section.picked)
        fitting = [line for line in lines if line.units <= left]
        if not fitting and not section.picked:
            fitting = [min(lines, key=lambda line: (line.units, line.index))]
        return fitting

    def _shortlist(self, section: _Section) -> list[_Line]:
        """The candidates of a section that are worth scoring."""
        pool = [line for line in section.lines if line.is_candidate]
        pool = self._affordable(section, pool) if pool else []
        if self.options.shortlist is None:
            return pool
        wanted = math.ceil(2 * section.budget * len(pool) / max(1, _units(pool)))
        size = max(self.options.shortlist, wanted)
        if len(pool) <= size:
            return pool
        ranks = prominence([content_words(line.text) for line in section.lines])
        by_line = dict(zip(section.lines, ranks, strict=True))
        pool.sort(key=lambda line: (-by_line[line], line.index))
        return sorted(pool[:size], key=lambda line: line.index)

    def _score(
        self, contexts: list[tuple[list[int], list[str]]], candidates: list[str]
    ) -> list[float]:
        """The score of each candidate, given its source and the sentences chosen before it."""
        targets = self._targets([chosen for _, chosen in contexts], candidates)
        sources = [source for source, _ in contexts]
        calibration = self.options.calibration
        pairs = [(source, row) for source, (row, _) in zip(sources, targets, strict=True)]
        if calibration:
            pairs += [(self._nothing, row) for row, _ in targets]
        sums = [
            sum(found[own])
            for found, (_, own) in zip(
                self._log_probabilities(pairs), targets * (2 if calibration else 1), strict=True
            )
        ]
        results = []
        power = self._length_penalty or 0.0
        for i, (_, own) in enumerate(targets):
            value = sums[i] - (calibration * sums[len(targets) + i] if calibration else 0.0)
            value /= max(1, own.stop - own.start) ** power
            # A token that the model cannot produce makes it infinite, or not a number.
            results.append(value if math.isfinite(value) else -math.inf)
        return results

    def _targets(
        self, prefixes: list[list[str]], candidates: list[str]
    ) -> list[tuple[list[int], slice]]:
        """The target tokens of each candidate after its prefix, and where the candidate's own are.

        Where both are too long for the decoder, the prefix loses its first sentences, and a
        candidate that is too long by itself loses its end.
        """
        frame, limit = self._target_frame, self._target_limit
        results: list[tuple[list[int], slice]] = []
        joined = [" ".join([*p, c]) for p, c in zip(prefixes, candidates, strict=True)]
        whole = [frame.body(row) for row in self.engine.tokenize(joined, target=True)]
        texts = list(dict.fromkeys(" ".join(prefix) for prefix in prefixes if prefix))
        before = dict(zip(texts, self.engine.tokenize(texts, target=True), strict=True))
        room = limit - frame.size
        for prefix, candidate, body in zip(prefixes, candidates, whole, strict=True):
            if len(body) > room and prefix:
                results += self._targets([prefix[1:]], [candidate])
                continue
            body = body[:room]
            start = len(frame.body(before[" ".join(prefix)])) if prefix else 0
            start = min(start, max(0, len(body) - 1))
            own = slice(len(frame.head) + start, len(frame.head) + len(body))
            results.append((frame.wrap(body), own))
        return results

    def _log_probabilities(self, pairs: list[tuple[list[int], list[int]]]) -> list[list[float]]:
        results: dict[int, list[float]] = {}
        lengths = [len(source) + len(target) for source, target in pairs]
        budget = self.options.batch_tokens
        if self.engine.device == "cpu":
            # Scores of all positions are computed at once. In parts that stay in the cache that
            # took half the time.
            budget = max(1, budget // 4)
        for batch in make_batches(lengths, budget):
            found = self.engine.score([pairs[i][0] for i in batch], [pairs[i][1] for i in batch])
            results.update(zip(batch, found, strict=True))
        return [results[i] for i in range(len(pairs))]

    def _advance_chosen(self, work: _Work, sections: list[_Section]) -> None:
        chosen = [pair for section in sections for pair in section.picked]
        lines = sorted((line for line, _ in chosen), key=lambda line: line.index)
        if len(sections) == 1 or _units(lines) <= work.budget:
            if len(sections) > 1:
                chosen.sort(key=lambda pair: (-pair[1], pair[0].index))
            self._finish_chosen(work, list(chosen))
        elif len(lines) == len(work.lines):
            # Nothing but sentences that fill a section each: compare their beginnings.
            work.squeezed = True
        else:
            work.lines = lines

    # Free decoding

    def _write(self, sections: list[_Section]) -> None:
        """Fill `written` in each section."""
        options = [self._generation(section) for section in sections]
        outputs = self._generate([section.source for section in sections], options)
        for section, output in zip(sections, outputs, strict=True):
            written = [part.strip() for part in self._split(output.text) if has_content(part)]
            section.unfinished = output.truncated
            if output.truncated and len(written) > 1 and not _FINISHED.search(written[-1]):
                written.pop()
            section.written = written

    def _generation(self, section: _Section) -> GenerationOptions:
        limit = self.options.max_new_tokens
        if limit is None:
            limit = self._new_tokens
            if not self.options.sentences:
                # Rounded, for sections of about one length to be decoded together.
                limit = math.ceil((_TOKENS_PER_WORD * section.budget + 16) / 32) * 32
        if not section.is_whole:
            # Else the next round would have as much to read.
            limit = min(limit, max(1, self.engine.max_source_tokens // 2))
        return GenerationOptions(
            beam_size=self._beam_size,
            max_new_tokens=limit,
            length_factor=None,
            length_penalty=1.0 if self._length_penalty is None else self._length_penalty,
            no_repeat_ngram_size=self.options.no_repeat_ngram_size,
        )

    def _generate(
        self, sources: list[list[int]], options: list[GenerationOptions]
    ) -> list[Generation]:
        groups: dict[GenerationOptions, list[int]] = defaultdict(list)
        for i, each in enumerate(options):
            groups[each].append(i)
        results: dict[int, Generation] = {}
        for each, rows in groups.items():
            for batch in make_batches([len(sources[i]) for i in rows], self.options.batch_tokens):
                own = [rows[i] for i in batch]
                found = self.engine.generate([sources[i] for i in own], each)
                results.update(zip(own, found, strict=True))
        return [results[i] for i in range(len(sources))]

    def _advance_written(self, work: _Work, sections: list[_Section]) -> None:
        written = [text for section in sections for text in section.written]
        lines = [self._line(text) for text in map(normalize, written) if text]
        if len(sections) == 1 or _units(lines) <= work.budget:
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
        ends_well = bool(texts) and _FINISHED.search(texts[-1]) is not None
        found = {
            "empty": not texts,
            "truncated": unfinished and not (is_full and ends_well),
            "repetition": len(set(texts)) < len(texts) or loops(" ".join(texts)),
            "unsupported": any(sentence.support < UNSUPPORTED for sentence in sentences),
        }
        work.flags |= {flag for flag, is_due in found.items() if is_due}
        self._finish(work, sentences)


def _units(lines: Iterable[_Line]) -> int:
    return sum(line.units for line in lines)


class _Frame:
    """The special tokens that the tokenizer puts around a text."""

    def __init__(self, engine: Engine, target: bool) -> None:
        empty, probe = engine.tokenize(["", "a"], target)
        common = 0
        while common < min(len(empty), len(probe)) and empty[common] == probe[common]:
            common += 1
        self.head = list(empty[:common])
        self.tail = list(empty[common:])
        self.size = len(empty)

    def body(self, row: Tokens) -> list[int]:
        return list(row[len(self.head) : len(row) - len(self.tail)])

    def wrap(self, body: list[int]) -> list[int]:
        return [*self.head, *body, *self.tail]


def balance(lengths: Sequence[int], limit: int) -> list[range]:
    """Cut a sequence into as few consecutive parts of at most `limit` as can be, evenly filled.

    Of all cuts into that many parts, the largest part is as small as possible. A single length
    above the limit is a part of its own. Nothing gives one empty part.
    """

    def fill(most: int) -> list[range]:
        parts, start, size = [], 0, 0
        for i, length in enumerate(lengths):
            if i > start and size + length > most:
                parts.append(range(start, i))
                start, size = i, 0
            size += length
        return [*parts, range(start, len(lengths))]

    fewest = len(fill(limit))
    low, high = 1, limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(fill(middle)) <= fewest else (middle + 1, high)
    return fill(high)


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes` by largest remainders; ties go to the first."""
    whole = sum(sizes) or 1
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(total * sizes[i] % whole), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


@dataclass(frozen=True, slots=True)
class CheckpointDefaults:
    """How a checkpoint's authors summarize with it, as far as its files say."""

    beam_size: int = _DEFAULT_BEAM_SIZE
    length_penalty: float = 1.0
    max_new_tokens: int = _DEFAULT_NEW_TOKENS
    prefix: str = ""


def read_defaults(checkpoint: Checkpoint) -> CheckpointDefaults:
    """The generation settings in a checkpoint's files, without those that cannot be meant.

    `task_specific_params` for summarization come first (T5 and BART keep several tasks there), then
    `generation_config.json`, then `config.json`.
    """
    config = _read_json(checkpoint, "config.json")
    tasks = config.get("task_specific_params")
    task = tasks.get("summarization") if isinstance(tasks, dict) else None
    found = config | _read_json(checkpoint, "generation_config.json")
    found |= task if isinstance(task, dict) else {}
    beams, penalty, prefix = (found.get(k) for k in ("num_beams", "length_penalty", "prefix"))
    longest = found.get("max_new_tokens") or found.get("max_length")
    return CheckpointDefaults(
        # 1 and a length of 20 are what the library writes where nobody chose.
        beams if type(beams) is int and 2 <= beams <= 16 else _DEFAULT_BEAM_SIZE,
        float(penalty) if _is_number(penalty) and -5 <= penalty <= 5 else 1.0,  # type: ignore
        longest if type(longest) is int and 32 <= longest <= 256 else _DEFAULT_NEW_TOKENS,
        prefix if isinstance(prefix, str) else "",
    )


def _read_json(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    try:
        content = json.loads((checkpoint.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # generation_config.json need not be there; loading has checked the other
    return content if isinstance(content, dict) else {}
