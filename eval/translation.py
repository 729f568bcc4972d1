"""BLEU, chrF, chrF++ and TER against reference translations, all from sacrebleu.

sacrebleu pairs lists of unequal length without a word and fails late on missing text, so the
input is checked here first. Each score carries sacrebleu's signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .scores import Score, ScoreError, check_pairs
from .tokenize import Language

if TYPE_CHECKING:
    from .significance import Array, SegmentStatistics

# 13a is the standard for English targets; it does not split ، ؛ ؟ off Arabic words, intl does.
_BLEU_TOKENIZER: dict[str, str] = {"en": "13a", "ar": "intl"}
_BLEU_ORDER = 4


def score_translation(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    language: Language = "en",
    ids: Sequence[str] | None = None,
) -> dict[str, Score]:
    """Score translations into `language` against one reference each: bleu, chrf, chrf++, ter.

    `value` is the corpus score. `per_item` scores each segment by itself; for BLEU with effective
    order (only n-gram lengths that the segment has), without which short segments score 0. TER is
    an error rate: lower is better. Raises ScoreError for anything `check_pairs` refuses.
    """
    check_pairs(hypotheses, references, ids)
    return {
        name: _score(name, metric, hypotheses, references)
        for name, metric in pooled_metrics(language).items()
    }


def score_chrf(
    hypotheses: Sequence[str], references: Sequence[str], *, ids: Sequence[str] | None = None
) -> Score:
    """Score texts in any language with chrF alone (character n-grams, no tokenizer)."""
    check_pairs(hypotheses, references, ids)
    return _score("chrf", _chrf(), hypotheses, references)


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """Score one text with chrF, from 0 to 100; 0 if either is empty."""
    return _chrf().segment.sentence_score(hypothesis, [reference]).score


def chrf_signature() -> str:
    """What chrF's numbers depend on, in sacrebleu's words."""
    # sacrebleu notes the number of references when it first scores.
    chrf = _chrf().segment
    chrf.sentence_score("a", ["a"])
    return str(chrf.get_signature())


def segment_statistics(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    language: Language = "en",
    ids: Sequence[str] | None = None,
) -> dict[str, SegmentStatistics]:
    """Give what the significance tests need, for the same metrics as `score_translation`."""
    import numpy as np

    from .significance import SegmentStatistics

    check_pairs(hypotheses, references, ids)
    return {
        name: SegmentStatistics(
            name,
            np.array(count(metric, hypotheses, references), dtype=np.float64),
            metric.combine,
        )
        for name, metric in pooled_metrics(language).items()
    }


@dataclass(frozen=True, slots=True)
class PooledMetric:
    """A sacrebleu metric, the same for single segments, and its formula over many resamples."""

    corpus: Any
    segment: Any
    combine: Callable[[Array], Array]


def pooled_metrics(language: str) -> dict[str, PooledMetric]:
    """Give bleu, chrf, chrf++ and ter for texts in `language`: see `PooledMetric`."""
    if language not in _BLEU_TOKENIZER:
        raise ScoreError(f"language {language!r}: need 'ar' or 'en'")
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    tokenizer = _BLEU_TOKENIZER[language]
    chrf_words, ter = CHRF(word_order=2), TER()
    return {
        "bleu": PooledMetric(
            BLEU(tokenize=tokenizer), BLEU(tokenize=tokenizer, effective_order=True), _combine_bleu
        ),
        "chrf": _chrf(),
        "chrf++": PooledMetric(chrf_words, chrf_words, _combine_chrf),
        "ter": PooledMetric(ter, ter, _combine_ter),
    }


def _chrf() -> PooledMetric:
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return PooledMetric(chrf, chrf, _combine_chrf)


def count(
    metric: PooledMetric, hypotheses: Sequence[str], references: Sequence[str]
) -> list[list[float]]:
    """Count what the metric pools, one row a segment."""
    # Not a public name, but the hook on which sacrebleu's own significance tests rest; the public
    # ones would count every segment twice, and chrF's would not show its counts at all.
    return metric.corpus._extract_corpus_statistics(list(hypotheses), [list(references)])


def _score(
    name: str, metric: PooledMetric, hypotheses: Sequence[str], references: Sequence[str]
) -> Score:
    counts = count(metric, hypotheses, references)
    return Score(
        name=name,
        value=metric.corpus._aggregate_and_compute(counts).score,
        signature=str(metric.corpus.get_signature()),
        per_item=tuple(metric.segment._compute_score_from_stats(row).score for row in counts),
        higher_is_better=name != "ter",
    )


# The same formulas as sacrebleu's, for many summed rows at once.


def _combine_bleu(sums: Array) -> Array:
    """BLEU with exponential smoothing (Chen and Cherry 2014, method 3).

    Columns: hypothesis length, reference length, four counts of matches, four of n-grams.
    """
    import numpy as np

    ours, theirs = sums[:, 0], sums[:, 1]
    matches, totals = sums[:, 2 : 2 + _BLEU_ORDER], sums[:, 2 + _BLEU_ORDER :]
    log_precision = np.zeros(len(sums))
    smoothing = np.ones(len(sums))
    with np.errstate(divide="ignore", invalid="ignore"):
        for n in range(_BLEU_ORDER):
            missed = matches[:, n] == 0
            smoothing = np.where(missed, smoothing * 2, smoothing)
            matched = np.where(missed, 1 / smoothing, matches[:, n])
            log_precision += np.log(matched / totals[:, n])
        brevity = np.where(ours < theirs, np.exp(1 - theirs / ours), 1.0)
        score = 100 * brevity * np.exp(log_precision / _BLEU_ORDER)
    possible = (totals > 0).all(axis=1) & (matches > 0).any(axis=1)
    return np.where(possible, score, 0.0)


def _combine_chrf(sums: Array) -> Array:
    """Compute chrF (Popović 2015), beta 2. Columns: hypothesis, reference, matches, per order."""
    import numpy as np

    ours, theirs, matches = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    counted = (ours > 0) & (theirs > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    precision = np.where(counted, matches / np.maximum(ours, 1), 0).sum(axis=1) / orders
    recall = np.where(counted, matches / np.maximum(theirs, 1), 0).sum(axis=1) / orders
    below = 4 * precision + recall
    return np.where(below > 0, 500 * precision * recall / np.where(below > 0, below, 1), 0.0)


def _combine_ter(sums: Array) -> Array:
    """TER (Snover et al. 2006). Columns: edits, reference length."""
    import numpy as np

    edits, length = sums[:, 0], sums[:, 1]
    empty = np.where(edits > 0, 100.0, 0.0)
    return np.where(length > 0, 100 * edits / np.where(length > 0, length, 1), empty)
