"""All metrics by name, over items of one kind: what a job and the `score` command choose from.

A metric is for a hypothesis with a reference (`bleu`, `rouge1`), with its source (`numbers_kept`),
or by itself (`loop`). Two are for the agreement of summaries in two languages, where the source is
the one and the hypothesis the other: `source_dice` compares the sentences that they rest on, and
`translated_chrf` the hypothesis with a translation of the source.

Everything is on the 0 to 100 scale except what counts or divides: `words`, `numbers_added`,
`dates_added`, `density`, `compression`, `length_ratio` and `repetition`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal

import numpy as np

from . import fidelity
from .scores import Score, ScoreError, check_pairs, check_texts
from .significance import Array, SegmentStatistics, mean_statistics
from .summary import ROUGE_TYPES, score_summaries, summary_statistics
from .tokenize import Language, RougeTokenizer
from .translation import chrf_signature, count, pooled_metrics, sentence_chrf

Better = Literal["higher", "lower", "neither"]
Need = Literal["reference", "source", "nothing", "evidence", "translation"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is called, which way is better, and what it needs beside the hypothesis."""

    name: str
    better: Better
    needs: Need


@dataclass(frozen=True, slots=True)
class Items:
    """Segments to score: hypotheses and, where a metric needs them, references and sources.

    `language` is that of hypotheses and references. `rouge` are options of `RougeTokenizer`.
    For the agreement of summaries, `evidence` has the numbers of the sentences that the source and
    the hypothesis rest on, and `translations` the sources in the language of the hypotheses.
    """

    hypotheses: Sequence[str]
    language: Language
    references: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    rouge: Mapping[str, bool] = field(default_factory=dict)
    evidence: Sequence[tuple[Sequence[int], Sequence[int]]] | None = None
    translations: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over items: the score, and the statistics that the significance tests take."""

    metric: Metric
    score: Score
    statistics: SegmentStatistics


Scorer = Callable[[Items], Score]
"""What a metric from outside is: items in, a score out whose value is the mean of its items."""

POOLED = ("bleu", "chrf", "chrf++", "ter")

_RATIOS: dict[str, tuple[Better, Need, float, Callable[[str, str], float]]] = {
    "numbers_kept": ("higher", "source", 100, lambda s, h: fidelity.numbers_kept(s, h).share),
    "numbers_added": ("lower", "source", 1, lambda s, h: len(fidelity.numbers_kept(s, h).added)),
    "numbers_supported": (
        "higher",
        "source",
        100,
        lambda s, h: _supported(fidelity.numbers(s), fidelity.numbers(h)),
    ),
    "dates_kept": ("higher", "source", 100, lambda s, h: fidelity.dates_kept(s, h).share),
    "dates_added": ("lower", "source", 1, lambda s, h: len(fidelity.dates_kept(s, h).added)),
    "latin_words_kept": (
        "higher",
        "source",
        100,
        lambda s, h: fidelity.latin_words_kept(s, h).share,
    ),
    "quotations_kept": ("higher", "source", 100, lambda s, h: _quotations(s, h)),
    "length_ratio": ("neither", "source", 1, fidelity.length_ratio),
    "untranslated": ("lower", "nothing", 100, lambda _, h: fidelity.untranslated_share(h)),
    "repetition": ("lower", "nothing", 1, lambda _, h: fidelity.repetition_ratio(h)),
    "loop": ("lower", "nothing", 100, lambda _, h: fidelity.has_loop(h)),
}
_SUMMARY: dict[str, tuple[str, float]] = {
    "coverage": ("coverage", 100),
    "density": ("density", 1),
    "compression": ("compression", 1),
    "novel_unigrams": ("novel_unigrams", 100),
    "novel_bigrams": ("novel_bigrams", 100),
    "novel_trigrams": ("novel_trigrams", 100),
}

METRICS: dict[str, Metric] = {
    **{name: Metric(name, "lower" if name == "ter" else "higher", "reference") for name in POOLED},
    **{name: Metric(name, "higher", "reference") for name in ROUGE_TYPES},
    **{name: Metric(name, better, needs) for name, (better, needs, _, _) in _RATIOS.items()},
    **{name: Metric(name, "neither", "source") for name in _SUMMARY},
    "source_dice": Metric("source_dice", "higher", "evidence"),
    "translated_chrf": Metric("translated_chrf", "higher", "translation"),
    "words": Metric("words", "neither", "nothing"),
    "empty": Metric("empty", "lower", "nothing"),
}


AGREEMENT = ("source_dice", "translated_chrf")


def require_known(names: Sequence[str], also: Sequence[str] = ()) -> None:
    """Raise ScoreError for a name that is no metric, with the nearest one."""
    known = [*METRICS, *also]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ScoreError(f"no metric {name!r}: {hint}There are {', '.join(known)}")


def measure(
    names: Sequence[str], items: Items, others: Mapping[str, tuple[Metric, Scorer]] | None = None
) -> list[Measured]:
    """Score the items with each metric, in the order of `names`.

    `others` are metrics from outside by name. Raises ScoreError for an unknown name, for a metric
    that needs a reference or a source that is not there, and for texts that cannot be scored.
    """
    others = others or {}
    require_known(names, list(others))
    found: dict[str, Measured] = {}
    for group, score in (
        (POOLED, _pooled),
        (ROUGE_TYPES, _rouge),
        (tuple(_RATIOS), _ratios),
        ((*_SUMMARY, "words", "empty"), _statistics),
        (AGREEMENT, _agreement),
    ):
        if wanted := [name for name in names if name in group and name not in others]:
            for name in wanted:
                _require(METRICS[name], items)
            found |= score(wanted, items)
    for name in names:
        if name in others:
            metric, scorer = others[name]
            _require(metric, items)
            score = scorer(items)
            found[name] = Measured(metric, score, mean_statistics(score.per_item, name))
    return [found[name] for name in names]


def statistics_of(name: str, rows: Sequence[Sequence[float]]) -> SegmentStatistics:
    """Statistics from rows that were kept: those of a pooled metric, or (score, 1) of a mean."""
    if name not in POOLED:
        return mean_statistics([row[0] for row in rows], name)
    return SegmentStatistics(name, np.array(rows, dtype=np.float64), _combine(name))


@cache
def _combine(name: str) -> Callable[[Array], Array]:
    """How a pooled metric makes a score of summed counts; that depends on neither text."""
    return pooled_metrics("en")[name].combine


def _require(metric: Metric, items: Items) -> None:
    given = {
        "reference": items.references,
        "source": items.sources,
        "nothing": (),
        "evidence": items.evidence,
        "translation": items.translations,
    }
    if given[metric.needs] is None:
        if metric.name in AGREEMENT:
            raise ScoreError(
                f"{metric.name}: it compares the two summaries of an evaluation, and there is no "
                f"{metric.needs} here; run the evaluation anew with it among its metrics"
            )
        raise ScoreError(f"{metric.name}: it needs a {metric.needs} for each segment")
    if metric.needs == "reference":
        check_pairs(items.hypotheses, items.references or (), items.ids)
        return
    check_texts(items.hypotheses, "hypotheses", items.ids)
    if metric.needs == "source":
        check_texts(items.sources or (), "sources", items.ids)
        if len(items.sources or ()) != len(items.hypotheses):
            raise ScoreError(
                f"{len(items.hypotheses)} hypotheses but {len(items.sources or ())} sources; "
                "give exactly one source per hypothesis"
            )


def _pooled(names: Sequence[str], items: Items) -> dict[str, Measured]:
    """Count each wanted metric once, for its score and for its statistics: TER is slow."""
    found: dict[str, Measured] = {}
    for name, metric in pooled_metrics(items.language).items():
        if name not in names:
            continue
        counts = count(metric, items.hypotheses, items.references or ())
        score = Score(
            name=name,
            value=metric.corpus._aggregate_and_compute(counts).score,
            signature=str(metric.corpus.get_signature()),
            per_item=tuple(metric.segment._compute_score_from_stats(row).score for row in counts),
            higher_is_better=METRICS[name].better == "higher",
        )
        rows = np.array(counts, dtype=np.float64)
        statistics = SegmentStatistics(name, rows, metric.combine)
        found[name] = Measured(METRICS[name], score, statistics)
    return found


def _rouge(names: Sequence[str], items: Items) -> dict[str, Measured]:
    options = dict(items.rouge) if items.language == "ar" else {}
    tokenizer = RougeTokenizer(items.language, **options)
    scores = score_summaries(
        items.hypotheses, items.references or (), items.language, tokenizer, ids=items.ids
    )
    return {name: _by_mean(METRICS[name], scores[name]) for name in names}


def _ratios(names: Sequence[str], items: Items) -> dict[str, Measured]:
    sources = items.sources or [""] * len(items.hypotheses)
    found = {}
    for name in names:
        _, _, scale, function = _RATIOS[name]
        values = [
            scale * float(function(source, hypothesis))
            for source, hypothesis in zip(sources, items.hypotheses, strict=True)
        ]
        found[name] = _from_values(METRICS[name], values, f"check:{name}|avg:mean")
    return found


def _statistics(names: Sequence[str], items: Items) -> dict[str, Measured]:
    # Both languages need the letters of the other's names, which the English tokenizer drops.
    tokenizer = RougeTokenizer("ar")
    sources = items.sources or [""] * len(items.hypotheses)
    found: dict[str, list[float]] = {name: [] for name in names}
    needed = [name for name in names if name in _SUMMARY]
    for source, hypothesis in zip(sources, items.hypotheses, strict=True):
        if needed:
            statistics = summary_statistics(source, hypothesis, tokenizer)
            for name in needed:
                attribute, scale = _SUMMARY[name]
                found[name].append(scale * getattr(statistics, attribute))
        if "words" in found:
            found["words"].append(float(len(tokenizer(hypothesis))))
        if "empty" in found:
            found["empty"].append(0.0 if hypothesis.strip() else 100.0)
    signature = partial("check:{}|avg:mean|{}".format)
    return {
        name: _from_values(METRICS[name], values, signature(name, tokenizer.signature))
        for name, values in found.items()
    }


def _agreement(names: Sequence[str], items: Items) -> dict[str, Measured]:
    values = {
        "source_dice": lambda: [fidelity.summary_agreement(*pair) for pair in items.evidence or ()],
        "translated_chrf": lambda: [
            sentence_chrf(hypothesis, translation) / 100
            for hypothesis, translation in zip(
                items.hypotheses, items.translations or (), strict=True
            )
        ],
    }
    signatures = {
        "source_dice": "check:source_dice|score:dice|avg:mean",
        "translated_chrf": f"check:translated_chrf|avg:mean|{chrf_signature()}",
    }
    return {
        name: _from_values(METRICS[name], [100 * v for v in values[name]()], signatures[name])
        for name in names
    }


def _from_values(metric: Metric, values: Sequence[float], signature: str) -> Measured:
    mean = sum(values) / len(values)
    return _by_mean(
        metric, Score(metric.name, mean, signature, tuple(values), metric.better != "lower")
    )


def _by_mean(metric: Metric, score: Score) -> Measured:
    return Measured(metric, score, mean_statistics(score.per_item, metric.name))


def _supported(known: Sequence[str], used: Sequence[str]) -> float:
    there = set(known)
    return sum(number in there for number in used) / len(used) if used else 1.0


def _quotations(source: str, target: str) -> float:
    pairs = fidelity.quotation_pairs(source), fidelity.quotation_pairs(target)
    return min(pairs) / max(pairs) if max(pairs) else 1.0
