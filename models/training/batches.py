"""Which examples go into which batch: the whole order follows from the seed and a position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alignment import Ids
from .config import OptimizationConfig
from .overlap import Overlap

POOL = 4096  # examples sorted by length together: enough for little padding, few enough to mix


@dataclass(frozen=True)
class Candidates:
    """The sentences of a source: where in its tokens each begins and ends, and what it is worth.

    `in_target` are those that the target is made of.
    """

    bounds: tuple[tuple[int, int], ...]
    in_target: frozenset[int]
    overlap: Overlap


@dataclass(frozen=True)
class Example:
    """Token ids of a pair, both ending in the end token; and the sentences to rank, if any."""

    source: Ids
    target: Ids
    candidates: Candidates | None = None


@dataclass
class Position:
    """Where the stream is: the next batch of a pool of a pass, and the updates before the pool."""

    epoch: int = 0
    pool: int = 0
    batch: int = 0
    updates_before: int = 0


class BatchStream:
    """An endless stream of batches (lists of example numbers) from weighted groups.

    `sizes[g]` examples with `weights[g]` lie one group after the other. State is `position`
    alone, so that a resumed run sees exactly the batches that an uninterrupted one would.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        sizes: Sequence[int],
        weights: Sequence[float],
        options: OptimizationConfig,
        seed: int,
        position: Position | None = None,
    ) -> None:
        self.lengths, self.sizes, self.weights = lengths, sizes, weights
        self.options, self.seed = options, seed
        self.position = position or Position()
        self._order = self._epoch_order()
        self._batches = self._pool_batches()

    def __next__(self) -> NDArray[np.int64]:
        here = self.position
        if here.batch == len(self._batches):
            here.updates_before += here.batch
            here.batch = 0
            here.pool += 1
            if here.pool * POOL >= len(self._order):
                here.pool = 0
                here.epoch += 1
                self._order = self._epoch_order()
            self._batches = self._pool_batches()
        batch = self._batches[here.batch]
        here.batch += 1
        return batch

    def _epoch_order(self) -> NDArray[np.int64]:
        random = np.random.default_rng([self.seed, self.position.epoch])
        chosen, first = [], 0
        for size, weight in zip(self.sizes, self.weights, strict=True):
            group = np.arange(first, first + size)
            chosen += [group] * int(weight)
            chosen.append(random.permutation(group)[: round(size * (weight % 1))])
            first += size
        return random.permutation(np.concatenate(chosen))

    def _pool_batches(self) -> list[NDArray[np.int64]]:
        here, options = self.position, self.options
        pool = self._order[here.pool * POOL : (here.pool + 1) * POOL]
        budget = min(
            options.max_batch_tokens,
            options.batch_tokens + options.batch_growth * here.updates_before,
        )
        pool = pool[np.argsort(self.lengths[pool], kind="stable")]
        batches, start = [], 0
        for end in range(1, len(pool) + 1):
            # Sorted, so the newest example is the longest of its batch.
            if (end - start + 1) * self.lengths[pool[min(end, len(pool) - 1)]] > budget:
                batches.append(pool[start:end])
                start = end
        if start < len(pool):
            batches.append(pool[start:])
        random = np.random.default_rng([self.seed, here.epoch, here.pool])
        return [batches[number] for number in random.permutation(len(batches))]
