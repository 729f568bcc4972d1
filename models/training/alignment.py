"""Statistical word alignment: IBM model 1 by expectation-maximization, over token ids.

Brown et al. (1993), "The Mathematics of Statistical Machine Translation". A model trained from
nothing on little data first has to find out which source token to look at; these alignments tell
it, as a start for the embeddings and as a guide for one attention head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TranslationTable:
    """t(target | source): `probability[i]` belongs to `key[i] = source * vocabulary + target`."""

    vocabulary: int
    key: NDArray[np.int64]
    probability: NDArray[np.float32]

    def lookup(self, source: Ids, target: Ids) -> NDArray[np.float32]:
        """Matrix [target, source] of t(target | source); pairs never seen together get 1e-6."""
        wanted = source[None, :].astype(np.int64) * self.vocabulary + target[:, None]
        place = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        return np.where(self.key[place] == wanted, self.probability[place], 1e-6).astype(np.float32)


def train_ibm1(
    pairs: Sequence[tuple[Ids, Ids]], vocabulary: int, iterations: int
) -> TranslationTable:
    """Estimate t(target | source) from pairs of id sequences, starting uniform."""
    keys, groups, offset = [], [], 0
    for source, target in pairs:
        keys.append((source[None, :].astype(np.int64) * vocabulary + target[:, None]).reshape(-1))
        groups.append(np.repeat(np.arange(len(target)) + offset, len(source)))
        offset += len(target)
    key, entry = np.unique(np.concatenate(keys), return_inverse=True)
    # A group is one target token; its source tokens compete for it.
    group = np.concatenate(groups)
    del keys, groups
    sources = key // vocabulary
    probability = np.ones(len(key))
    for _ in range(iterations):
        weight = probability[entry]
        weight /= np.bincount(group, weight, offset)[group]
        counts = np.bincount(entry, weight, len(key))
        probability = counts / np.bincount(sources, counts, vocabulary)[sources]
    return TranslationTable(vocabulary, key, probability.astype(np.float32))


def soft_alignment(table: TranslationTable, source: Ids, target: Ids) -> NDArray[np.float32]:
    """Matrix [target, source] whose rows sum to 1: t(target | source) under a diagonal prior."""
    rows = np.arange(len(target))[:, None] / len(target)
    columns = np.arange(len(source))[None, :] / len(source)
    weight = table.lookup(source, target) * np.exp(-4.0 * np.abs(rows - columns))
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def copy_alignment(source: Ids, target: Ids) -> NDArray[np.float32]:
    """Matrix [target, source]: where in the source each target token may have been copied from.

    Equal tokens count the more, the more of the two tokens before them are equal as well. A row
    sums to 1, or to 0 where the source does not have the token.
    """
    equal = target[:, None] == source[None, :]
    weight = equal.astype(np.float32)
    run = equal
    for factor in (10.0, 100.0):
        shifted = np.zeros_like(run)
        shifted[1:, 1:] = run[:-1, :-1]
        run = equal & shifted
        weight += factor * run
    total = weight.sum(axis=1, keepdims=True)
    return weight / np.maximum(total, 1.0)
