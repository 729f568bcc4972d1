"""ROUGE and chrF against reference summaries, and what a summary takes from its source.

ROUGE follows Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries". For English it
gives the same numbers as the `rouge-score` package; see `benchmarks/rouge_speed.py` for how fast.
Functions whose result is a fraction say so; a `Score` is on the 0 to 100 scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from .scores import Score, ScoreError, check_pairs, segment_name
from .tokenize import Language, RougeTokenizer

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Tokenizer(Protocol):
    """What ROUGE needs of a tokenizer: words of a text, and a name for how they were found.

    A line break must end a word.
    """

    signature: str

    def __call__(self, text: str, /) -> list[str]:
        """Return the words of `text`, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Rouge:
    """Precision, recall and their harmonic mean F, as fractions from 0 to 1."""

    precision: float
    recall: float
    f: float


@dataclass(frozen=True, slots=True)
class SummaryStatistics:
    """What a summary takes from its source, counted in words.

    `coverage`, `density` and `compression` are those of Grusky, Naaman and Artzi (2018), "Newsroom:
    A Dataset of 1.3 Million Summaries": the share of summary words that lie in fragments copied
    from the source (0 to 1), the mean length in words of the fragment a summary word lies in (0 to
    the summary's length), and source words per summary word. `novel_*` are the shares of the
    summary's distinct 1-, 2- and 3-grams that the source does not have (0 to 1). Everything is 0
    for a summary without words.
    """

    coverage: float
    density: float
    compression: float
    novel_unigrams: float
    novel_bigrams: float
    novel_trigrams: float


def rouge(hypothesis: str, reference: str, tokenizer: Tokenizer) -> dict[str, Rouge]:
    """Compare one summary with one reference: rouge1, rouge2, rougeL and rougeLsum, fractions.

    rougeLsum compares sentences, so both texts should have one sentence per line; without line
    breaks it equals rougeL. A text without words scores 0.
    """
    return _rouge(_sentences(hypothesis, tokenizer), _sentences(reference, tokenizer))


def average_rouge(items: Sequence[dict[str, Rouge]]) -> dict[str, Rouge]:
    """Take the plain mean over items of precision, of recall and of F, each by itself.

    The mean F is therefore not the F of the mean precision and recall. Raises ScoreError if there
    are no items.
    """
    if not items:
        raise ScoreError("there are no items to average")
    return {
        name: Rouge(
            _mean([item[name].precision for item in items]),
            _mean([item[name].recall for item in items]),
            _mean([item[name].f for item in items]),
        )
        for name in items[0]
    }


def rouge_items(
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenizer: Tokenizer,
    *,
    ids: Sequence[str] | None = None,
) -> list[dict[str, Rouge]]:
    """Compare each summary with its reference; fractions, in input order.

    Raises ScoreError for anything `check_pairs` refuses and for a reference in which the tokenizer
    finds no word: that is nearly always the wrong language, and would score 0 without a sign.
    """
    check_pairs(hypotheses, references, ids)
    items: list[dict[str, Rouge]] = []
    for index, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        sentences = _sentences(reference, tokenizer)
        if not sentences:
            raise ScoreError(
                f"references: {segment_name(index, ids)} has no word that {tokenizer.signature} "
                "can see; choose the tokenizer of the text's language"
            )
        items.append(_rouge(_sentences(hypothesis, tokenizer), sentences))
    return items


def score_summaries(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: Language,
    tokenizer: Tokenizer | None = None,
    *,
    ids: Sequence[str] | None = None,
) -> dict[str, Score]:
    """Score summaries against one reference each: rouge1, rouge2, rougeL, rougeLsum and chrf.

    ROUGE scores are mean F times 100; chrF is sacrebleu's, over the corpus. `tokenizer` defaults to
    `RougeTokenizer(language)`. For rougeLsum put one sentence on a line. Raises ScoreError as
    `rouge_items` does.
    """
    tokenizer = tokenizer or RougeTokenizer(language)
    items = rouge_items(hypotheses, references, tokenizer, ids=ids)
    scores: dict[str, Score] = {}
    for name in ROUGE_TYPES:
        values = tuple(100 * item[name].f for item in items)
        signature = f"metric:{name}|score:f1|avg:mean|{tokenizer.signature}"
        scores[name] = Score(name, _mean(values), signature, values)
    from .translation import score_chrf

    scores["chrf"] = score_chrf(hypotheses, references, ids=ids)
    return scores


def summary_statistics(source: str, summary: str, tokenizer: Tokenizer) -> SummaryStatistics:
    """Measure how a summary uses its source; see `SummaryStatistics`. Needs no reference."""
    source_words, words = tokenizer(source), tokenizer(summary)
    if not words:
        return SummaryStatistics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    fragments = extractive_fragments(source_words, words)
    return SummaryStatistics(
        coverage=sum(fragments) / len(words),
        density=sum(length * length for length in fragments) / len(words),
        compression=len(source_words) / len(words),
        novel_unigrams=novel_ngrams(source_words, words, 1),
        novel_bigrams=novel_ngrams(source_words, words, 2),
        novel_trigrams=novel_ngrams(source_words, words, 3),
    )


def extractive_fragments(source: Sequence[str], summary: Sequence[str]) -> list[int]:
    """Give the lengths in words of the fragments of `summary` that are copied from `source`.

    Greedy, from left to right: at each summary word take the longest run of words that also stands
    in the source, and go on after it (Grusky et al. 2018, figure 3, except that every place in the
    source is tried, also inside an earlier match).
    """
    places: dict[str, list[int]] = {}
    for index, word in enumerate(source):
        places.setdefault(word, []).append(index)
    fragments: list[int] = []
    start = 0
    while start < len(summary):
        longest = 0
        for place in places.get(summary[start], ()):
            limit = min(len(summary) - start, len(source) - place)
            length = 1
            while length < limit and summary[start + length] == source[place + length]:
                length += 1
            longest = max(longest, length)
        if longest:
            fragments.append(longest)
        start += longest or 1
    return fragments


def novel_ngrams(source: Sequence[str], summary: Sequence[str], n: int) -> float:
    """Give the share (0 to 1) of the summary's distinct n-grams that are not in the source.

    A summary shorter than n words has no n-grams, and so no novel ones: 0.
    """
    ours = set(_ngrams(summary, n))
    return len(ours - set(_ngrams(source, n))) / len(ours) if ours else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ngrams(words: Sequence[str], n: int) -> Iterable[Hashable]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _sentences(text: str, tokenizer: Callable[[str], list[str]]) -> list[list[str]]:
    """Return the words of each line that has any."""
    return [words for line in text.split("\n") if (words := tokenizer(line))]


def _rouge(hypothesis: list[list[str]], reference: list[list[str]]) -> dict[str, Rouge]:
    hyp = hypothesis[0] if len(hypothesis) == 1 else [w for line in hypothesis for w in line]
    ref = reference[0] if len(reference) == 1 else [w for line in reference for w in line]
    n_hyp, n_ref = len(hyp), len(ref)
    counts_hyp, counts_ref = Counter(hyp), Counter(ref)
    matches = _overlap(counts_hyp, counts_ref)
    if not matches:
        zero = Rouge(0.0, 0.0, 0.0)
        return dict.fromkeys(ROUGE_TYPES, zero)
    pairs = _overlap(Counter(pairwise(hyp)), Counter(pairwise(ref)))
    common = _lcs_length(hyp, ref)
    if len(hypothesis) == len(reference) == 1:
        common_sum = common
    else:
        common_sum = _union_matches(hypothesis, reference, counts_hyp, counts_ref)
    return {
        "rouge1": _fractions(matches, n_hyp, n_ref),
        "rouge2": _fractions(pairs, n_hyp - 1, n_ref - 1),
        "rougeL": _fractions(common, n_hyp, n_ref),
        "rougeLsum": _fractions(common_sum, n_hyp, n_ref),
    }


def _fractions(matches: int, n_hypothesis: int, n_reference: int) -> Rouge:
    if not matches:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = matches / n_hypothesis, matches / n_reference
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def _overlap(one: Counter[Any], other: Counter[Any]) -> int:
    if len(one) > len(other):
        one, other = other, one
    total = 0
    for item, count in one.items():
        if item in other:
            total += min(count, other[item])
    return total


# Longest common subsequences, a row of the table at a time (Hyyrö 2004, "Bit-parallel LCS-length
# computation revisited"). Let t[i][j] be the length for the first i words of one text and the
# first j of the other. Neighbours in a row differ by 0 or 1, so a row is kept as one integer, in
# which bit j-1 is CLEAR where t[i][j] = t[i][j-1] + 1.


def _word_bits(words: Sequence[str]) -> dict[str, int]:
    """Map each word to an integer with a bit set at each of its positions."""
    bits: dict[str, int] = {}
    bit = 1
    for word in words:
        bits[word] = bits.get(word, 0) | bit
        bit <<= 1
    return bits


def _lcs_length(one: Sequence[str], other: Sequence[str]) -> int:
    bits = _word_bits(other)
    full = (1 << len(other)) - 1
    row = full
    for word in one:
        match = bits.get(word)
        if match is not None:
            carry = row & match
            row = ((row + carry) | (row - carry)) & full
    return len(other) - row.bit_count()


def _lcs_positions(reference: Sequence[str], bits: dict[str, int], n_columns: int) -> list[int]:
    """Give the places in `reference` of one longest common subsequence.

    There may be several; this walks back through the table as the `rouge-score` package does (on a
    tie, up rather than left), because the choice shows in rougeLsum. `bits` is `_word_bits` of the
    other text and `n_columns` its length. Words of the reference that the other text does not have
    repeat the row above, and the walk passes straight over them, so they get no row.
    """
    full = (1 << n_columns) - 1
    row = full
    places: list[int] = []
    matches: list[int] = []
    rows: list[int] = [row]
    for place, word in enumerate(reference):
        match = bits.get(word)
        if match is not None:
            carry = row & match
            row = ((row + carry) | (row - carry)) & full
            places.append(place)
            matches.append(match)
            rows.append(row)
    found: list[int] = []
    i, j = len(places), n_columns
    while i and j:
        bit = 1 << (j - 1)
        if matches[i - 1] & bit:
            found.append(places[i - 1])
            i -= 1
            j -= 1
        elif rows[i] & bit and _row_grew(rows[i - 1], rows[i], (bit << 1) - 1):
            j -= 1
        else:
            i -= 1
    return found


def _row_grew(above: int, row: int, mask: int) -> bool:
    """Say whether t[i][j] > t[i-1][j], `mask` covering the first j columns."""
    return (row & mask).bit_count() < (above & mask).bit_count()


def _union_matches(
    hypothesis: list[list[str]],
    reference: list[list[str]],
    counts_hypothesis: Counter[str],
    counts_reference: Counter[str],
) -> int:
    """Count the matches of the summary-level LCS (Lin 2004, section 3.2).

    For each reference sentence: the union, over hypothesis sentences, of the words in a longest
    common subsequence. No word counts more often than either text has it, as in ROUGE 1.5.5.
    """
    columns = [(_word_bits(sentence), len(sentence)) for sentence in hypothesis]
    left = {
        word: min(count, counts_reference[word])
        for word, count in counts_hypothesis.items()
        if word in counts_reference
    }
    matches = 0
    for sentence in reference:
        union: set[int] = set()
        for bits, length in columns:
            union.update(_lcs_positions(sentence, bits, length))
        for place in union:
            word = sentence[place]
            if left[word]:
                left[word] -= 1
                matches += 1
    return matches
