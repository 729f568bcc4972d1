"""How sure a score is, and whether two systems differ by more than chance.

Everything works on sufficient statistics: one row of counts per segment, such that the sum over
rows gives the corpus score. So a resampled corpus costs one matrix product and no text is scored
twice. All scores are on the 0 to 100 scale. Nothing here draws from a hidden random state: the
same seed gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .scores import ScoreError

Array = NDArray[np.float64]
Test = Literal["bootstrap", "randomization"]

_DEFAULT_SAMPLES: dict[Test, int] = {"bootstrap": 1000, "randomization": 10_000}
# Cells of one block of resampled counts; bounds memory at some tens of megabytes.
_BLOCK = 2_000_000
# Scores nearer than this are equal: sums taken in another order differ in their last digits.
_TIE = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class SegmentStatistics:
    """What a metric needs to score any subset of a corpus.

    `rows` has one row per segment. `combine` takes summed rows, shape (samples, columns), and gives
    one score for each, shape (samples,).
    """

    name: str
    rows: Array
    combine: Callable[[Array], Array]

    @property
    def value(self) -> float:
        """The score of the whole corpus."""
        return float(self.combine(self.rows.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval: `level` of the resampled values lie from `low` to `high`."""

    low: float
    high: float
    mean: float
    level: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A system against a baseline on the same segments.

    `difference` is system minus baseline. `p_value` is the chance of a difference this large if the
    two were equal; `adjusted_p` is the same after Holm's correction when several systems were
    compared at once, else equal to `p_value`. `interval` is for the difference, at 95 %, and is
    given by the bootstrap only.
    """

    metric: str
    baseline: float
    system: float
    difference: float
    p_value: float
    adjusted_p: float
    test: Test
    samples: int
    seed: int
    interval: Interval | None = None


def mean_statistics(per_item: Sequence[float], name: str = "mean") -> SegmentStatistics:
    """Make statistics for a metric whose corpus score is the plain mean, such as ROUGE.

    Raises ScoreError if there are no items or one of them is not a finite number.
    """
    values = np.asarray(per_item, dtype=np.float64)
    if values.size == 0:
        raise ScoreError(f"{name}: there are no per-item scores")
    if bad := np.flatnonzero(~np.isfinite(values)).tolist():
        raise ScoreError(f"{name}: the score of segment {bad[0]} is not a finite number")
    rows = np.stack([values, np.ones_like(values)], axis=1)
    return SegmentStatistics(name, rows, _mean_of_sums)


def bootstrap_interval(
    scores: SegmentStatistics | Sequence[float],
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Give a bootstrap percentile interval for a corpus score.

    `scores` are statistics, or per-item scores whose mean is wanted. Raises ScoreError for an empty
    corpus, for fewer than one sample and for a level outside (0, 1).
    """
    if not isinstance(scores, SegmentStatistics):
        scores = mean_statistics(scores)
    _check(scores, samples)
    if not 0 < level < 1:
        raise ScoreError(f"level {level}: need a number between 0 and 1, such as 0.95")
    (values,) = _bootstrap([scores], seed, samples)
    return _interval(values, level)


def paired_bootstrap(
    baseline: SegmentStatistics, system: SegmentStatistics, *, seed: int, samples: int = 1000
) -> Comparison:
    """Compare two systems by paired bootstrap resampling (Koehn 2004).

    The p-value is that of Riezler and Maxwell (2005): the share of resamples whose absolute
    difference, less the mean absolute difference, is at least the observed one; with one added to
    both counts. With the same seed and samples it is sacrebleu's, except that sacrebleu leaves out
    ties (it counts "greater", not "at least"), and so calls a system different from itself.
    Raises ScoreError if the two do not cover the same number of segments with the same metric.
    """
    _check_pair(baseline, system, samples)
    old, new = _bootstrap([baseline, system], seed, samples)
    apart = np.abs(new - old)
    p_value = _p_value(apart - apart.mean(), baseline, system)
    return _comparison(
        baseline, system, p_value, "bootstrap", samples, seed, _interval(new - old, 0.95)
    )


def approximate_randomization(
    baseline: SegmentStatistics, system: SegmentStatistics, *, seed: int, samples: int = 10_000
) -> Comparison:
    """Compare two systems by approximate randomization (Riezler and Maxwell 2005), two-sided.

    Each trial swaps the two outputs of every segment with probability one half. The p-value is the
    share of trials whose absolute difference is at least the observed one, with one added to both
    counts. Agrees with sacrebleu as `paired_bootstrap` does, and raises the same errors.
    """
    _check_pair(baseline, system, samples)
    both = baseline.rows + system.rows
    stay = np.random.default_rng(seed).integers(2, size=(samples, len(both)), dtype=bool)
    trials = np.empty(samples)
    for block in _blocks(samples, len(both)):
        one = stay[block].astype(np.float64) @ (baseline.rows - system.rows)
        one += system.rows.sum(axis=0)
        trials[block] = baseline.combine(one) - system.combine(both.sum(axis=0) - one)
    p_value = _p_value(np.abs(trials), baseline, system)
    return _comparison(baseline, system, p_value, "randomization", samples, seed)


def compare_systems(
    baseline: SegmentStatistics,
    systems: Mapping[str, SegmentStatistics],
    *,
    seed: int,
    test: Test = "bootstrap",
    samples: int | None = None,
) -> dict[str, Comparison]:
    """Compare several systems with one baseline; `adjusted_p` carries Holm's correction.

    `samples` defaults to 1,000 for the bootstrap and 10,000 for randomization.
    """
    if test not in _DEFAULT_SAMPLES:
        raise ScoreError(f"test {test!r}: need one of {', '.join(_DEFAULT_SAMPLES)}")
    run = paired_bootstrap if test == "bootstrap" else approximate_randomization
    samples = _DEFAULT_SAMPLES[test] if samples is None else samples
    results = {
        name: run(baseline, system, seed=seed, samples=samples) for name, system in systems.items()
    }
    adjusted = holm([result.p_value for result in results.values()])
    return {
        name: replace(result, adjusted_p=p)
        for (name, result), p in zip(results.items(), adjusted, strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests (Holm 1979), in input order.

    Reject where the adjusted value is at most the level wanted; the chance of even one false
    rejection among all the tests is then at most that level.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _mean_of_sums(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _check(statistics: SegmentStatistics, samples: int) -> None:
    if len(statistics.rows) == 0:
        raise ScoreError(f"{statistics.name}: there are no segments")
    if samples < 1:
        raise ScoreError(f"samples {samples}: need at least 1")


def _check_pair(baseline: SegmentStatistics, system: SegmentStatistics, samples: int) -> None:
    _check(baseline, samples)
    if baseline.name != system.name:
        raise ScoreError(
            f"cannot compare {baseline.name!r} with {system.name!r}: need the same metric"
        )
    if baseline.rows.shape != system.rows.shape:
        raise ScoreError(
            f"{baseline.name}: the baseline has {len(baseline.rows)} segments and the system "
            f"{len(system.rows)}; a paired test needs the same segments in the same order"
        )


def _blocks(samples: int, segments: int) -> Iterator[slice]:
    step = max(1, _BLOCK // segments)
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


def _bootstrap(systems: Sequence[SegmentStatistics], seed: int, samples: int) -> list[Array]:
    """Score each system on the same resamples, drawn with replacement from the segments."""
    segments = len(systems[0].rows)
    rng = np.random.default_rng(seed)
    values = [np.empty(samples) for _ in systems]
    for block in _blocks(samples, segments):
        size = block.stop - block.start
        drawn = rng.integers(segments, size=(size, segments))
        drawn += np.arange(size)[:, None] * segments
        times = np.bincount(drawn.ravel(), minlength=size * segments).reshape(size, segments)
        for system, value in zip(systems, values, strict=True):
            value[block] = system.combine(times.astype(np.float64) @ system.rows)
    return values


def _p_value(sampled: Array, baseline: SegmentStatistics, system: SegmentStatistics) -> float:
    observed = abs(system.value - baseline.value)
    return (int(np.count_nonzero(sampled >= observed - _TIE)) + 1) / (len(sampled) + 1)


def _interval(values: Array, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high, float(values.mean()), level)


def _comparison(
    baseline: SegmentStatistics,
    system: SegmentStatistics,
    p_value: float,
    test: Test,
    samples: int,
    seed: int,
    interval: Interval | None = None,
) -> Comparison:
    old, new = baseline.value, system.value
    return Comparison(
        metric=baseline.name,
        baseline=old,
        system=new,
        difference=new - old,
        p_value=p_value,
        adjusted_p=p_value,
        test=test,
        samples=samples,
        seed=seed,
        interval=interval,
    )
