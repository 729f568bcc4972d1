"""Training material: read, filtered and counted."""

from __future__ import annotations

import gzip
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..normalization import normalize
from ..numerals import has_spelled_out, missing, numerals
from .config import FilterConfig, MaterialConfig, SourceConfig
from .names import collect_names, swap_names
from .overlap import Overlap
from .variants import names_in, vary

log = logging.getLogger(__name__)

Pair = tuple[str, str]

_ARABIC = re.compile(r"[\u0621-\u063A\u0641-\u064A]")
_LATIN = re.compile(r"[A-Za-z]")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Choice:
    """The sentences of a text, and what they share with its summary."""

    sentences: tuple[str, ...]
    overlap: Overlap


@dataclass
class Corpus:
    """The pairs of one source, and how many were left out for which reason."""

    name: str
    weight: float
    pairs: list[Pair]
    rejected: Counter[str] = field(default_factory=Counter)


def open_text(path: Path) -> IO[str]:
    """Open a UTF-8 text file, gzipped or not, one record a line."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    return path.open(encoding="utf-8", newline="\n")


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON objects, one a line. Raises InputError with the line's number."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error}") from error


def article_sentences(article: dict[str, Any]) -> Iterator[Pair]:
    """Every aligned sentence of a bilingual article, then its titles and its summaries."""
    for paragraph in article["paragraphs"]:
        for sentence in paragraph:
            yield sentence["ar"], sentence["en"]
    for part in ("title", "summary"):
        if article.get(part):
            yield article[part]["ar"], article[part]["en"]


def article_summaries(article: dict[str, Any], target: str) -> Iterator[Pair]:
    """The text of a bilingual article and what to make of it, in each language."""
    for language in ("ar", "en"):
        sentences = [s[language] for paragraph in article["paragraphs"] for s in paragraph]
        summary = article["summary"][language]
        if target == "oracle":
            summary = " ".join(sentences[i] for i in oracle(sentences, summary))
        yield " ".join(sentences), summary


def oracle(sentences: Sequence[str], summary: str, most: int = 3) -> list[int]:
    """The sentences that together share most with the summary, chosen greedily, in text order.

    What is maximized is the F-measure of single words plus that of word pairs (Nallapati et al.
    2017 choose by ROUGE likewise). It stops when no sentence adds anything, or at `most`.
    """
    overlap = Overlap.of(sentences, summary)
    chosen: list[int] = []
    best = 0.0
    while len(chosen) < most:
        scored = [
            (overlap.value((*chosen, i)), -i) for i in range(len(sentences)) if i not in chosen
        ]
        score, negative = max(scored, default=(0.0, 0))
        if score <= best:
            break
        best = score
        chosen.append(-negative)
    return sorted(chosen)


def article_choices(source: MaterialConfig) -> dict[str, Choice]:
    """What there is to choose in each text of a source of articles, by the text as it is paired."""
    choices: dict[str, Choice] = {}
    for article in read_records(Path(source.path)):
        for language in ("ar", "en"):
            raw = [s[language] for paragraph in article["paragraphs"] for s in paragraph]
            sentences = tuple(text for text in map(normalize, raw) if text)
            overlap = Overlap.of(sentences, normalize(article["summary"][language]))
            choices[normalize(" ".join(raw))] = Choice(sentences, overlap)
    return choices


def read_pairs(source: MaterialConfig, task: str) -> Iterator[Pair]:
    """Read the raw pairs of a source. Raises InputError where a line lacks one side."""
    path = Path(source.path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; the training configuration names it as a source")
    if source.format == "articles":
        for number, article in enumerate(read_records(path), 1):
            try:
                if task == "summarizer":
                    yield from article_summaries(article, source.target)
                else:
                    yield from article_sentences(article)
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, record {number}: not of `format: articles`: {error}"
                ) from error
    elif source.format == "jsonl":
        for number, record in enumerate(read_records(path), 1):
            columns = source.source_column, source.target_column
            for column in columns:
                if not isinstance(record, dict) or not isinstance(record.get(column), str):
                    raise InputError(
                        f"{path}, record {number}: no text in `{column}`; set `source_column` and "
                        "`target_column` to the names that the file has"
                    )
            yield record[columns[0]], record[columns[1]]
    else:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                columns = line.rstrip("\n").split("\t")
                if len(columns) < 2:
                    raise InputError(f"{path}, line {number}: expected source, tab, target")
                yield columns[0], columns[1]


def rejection(source: str, target: str, filters: FilterConfig) -> str | None:
    """Why a normalized pair is not fit to train on, or None where it is."""
    if not source or not target:
        return "empty"
    if max(len(source), len(target)) > filters.max_characters:
        return "too long"
    shorter, longer = sorted((len(source) + 10, len(target) + 10))
    if longer > filters.max_length_ratio * shorter:
        return "length ratio"
    for text, script in ((source, _ARABIC), (target, _LATIN)):
        letters = len(_LETTER.findall(text))
        if not letters or len(script.findall(text)) < filters.min_script_share * letters:
            return "script"
    if filters.numbers_agree:
        # Small numbers are often written as words on one side.
        before, after = numerals(source), numerals(target)
        lost, added = (
            any(Decimal(numeral.value) > 12 for numeral in missing(these, those))
            for these, those in ((before, after), (after, before))
        )
        if lost or (added and not has_spelled_out(source)):
            return "numbers"
    return None


def load_corpus(name: str, source: SourceConfig, filters: FilterConfig, task: str) -> Corpus:
    """Read one source, normalized as the translator normalizes its input, and filtered."""
    corpus = Corpus(name, source.weight, [])
    seen: set[Pair] = set()
    for raw in read_pairs(source, task):
        pair = normalize(raw[0]), normalize(raw[1])
        reason = rejection(*pair, filters) if task == "translator" else None
        if reason is None and filters.duplicates and pair in seen:
            reason = "duplicate"
        if reason is not None:
            corpus.rejected[reason] += 1
            continue
        seen.add(pair)
        corpus.pairs.append(pair)
    variant = variant_maker(source, corpus.pairs)
    if variant is not None:
        generator = random.Random(name)
        found = [variant(pair, generator) for _ in range(source.copies) for pair in corpus.pairs]
        corpus.pairs = [pair for pair in found if pair is not None]
        corpus.rejected["nothing to vary"] = found.count(None)
    if source.join > 1:
        texts = join_pairs(corpus.pairs, source.join)
        corpus.pairs = [pair for pair in texts if rejection(*pair, filters) is None]
        corpus.rejected["too long when joined"] = len(texts) - len(corpus.pairs)
    log.info("%s: %d pairs, left out %s", name, len(corpus.pairs), dict(corpus.rejected))
    return corpus


def join_pairs(pairs: Sequence[Pair], length: int) -> list[Pair]:
    """Every run of `length` pairs that follow one another, each as one pair.

    A translator then meets longer texts than single sentences, and words at more positions and
    beside other words (Nguyen et al. 2021 and Kondo et al. 2021 found that to help where there is
    little material, whether the sentences belong together or not).
    """
    runs = (pairs[first : first + length] for first in range(len(pairs) - length + 1))
    return [(" ".join(s for s, _ in run), " ".join(t for _, t in run)) for run in runs]


def variant_maker(
    source: SourceConfig, pairs: Sequence[Pair]
) -> Callable[[Pair, random.Random], Pair | None] | None:
    """What makes variants of a source's pairs, as it is configured; None where they stay."""
    if source.vary:
        words = names_in(target for _, target in pairs)
        return lambda pair, generator: vary(pair, words, generator)
    if source.names:
        raw = read_pairs(MaterialConfig(path=source.names), "translator")
        names = collect_names(pairs, ((normalize(left), normalize(right)) for left, right in raw))
        known = frozenset(names)
        return lambda pair, generator: swap_names(pair, names, known, generator)
    return None
