"""The token budget of a batch that suits this machine and model, found by trying a few."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .engine import Engine, GenerationOptions, Tokens

logger = logging.getLogger(__name__)

BUDGETS = (1024, 2048, 4096, 8192, 16_384)
# Larger batches cost memory: a gain of less is noise.
_LEAST_GAIN = 1.05
# Tokens that are decoded for each row: the cost of one does not change much after the first.
_STEPS = 4
_MOST_SECONDS = 5.0


def rows_for(budget: int) -> int:
    """The most rows of a batch of this budget: short sentences do not gain from more."""
    return max(16, budget // 32)


def tune(
    engine: Engine,
    rows: Sequence[Tokens],
    options: GenerationOptions,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Give the budget with which `engine` decodes the most rows a second.

    Tried on rows of the median length of `rows`, a few tokens each, whose outputs are thrown away:
    from the smallest up, until a larger one gains less than a twentieth or the time is up.
    """
    middle = sorted(rows, key=len)[len(rows) // 2]
    short = replace(options, min_new_tokens=_STEPS, max_new_tokens=_STEPS, length_factor=None)
    calls = engine.parallel

    def rate(budget: int) -> float:
        count = max(1, min(rows_for(budget), budget // max(1, len(middle))))
        batch = [middle] * count
        start = clock()
        with ThreadPoolExecutor(calls) as pool:
            list(pool.map(lambda _: engine.generate(batch, short), range(calls)))
        return calls * count / max(clock() - start, 1e-9)

    start = clock()
    engine.generate([middle], short)  # what happens only the first time
    best, fastest = BUDGETS[0], rate(BUDGETS[0])
    for budget in BUDGETS[1:]:
        if clock() - start > _MOST_SECONDS:
            break
        found = rate(budget)
        if found < _LEAST_GAIN * fastest:
            break
        best, fastest = budget, found
    logger.info("batches of %d tokens: %.1f sentences of %d a second", best, fastest, len(middle))
    return best
