"""Noise on examples, so that a small corpus seen many times is not learned by heart.

What a run draws follows from its seed and the number of the update: a resumed run sees exactly the
noise that an uninterrupted one would.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .alignment import Ids
from .batches import Example
from .config import NoiseConfig

UNKNOWN_ID = 1

_WHOLE = re.compile(r"<.*>")  # bytes and special tokens

# Of each id that can be broken: the pairs of ids that together are the same text.
Splits = dict[int, list[tuple[int, int]]]


def find_splits(pieces: Sequence[str], allowed: Collection[int]) -> Splits:
    """Every way to break a piece of the vocabulary into two others that are among `allowed`."""
    ids = {pieces[i]: i for i in allowed if not _WHOLE.fullmatch(pieces[i])}
    found: Splits = {}
    for number, piece in enumerate(pieces):
        if _WHOLE.fullmatch(piece):
            continue
        halves = ((piece[:place], piece[place:]) for place in range(1, len(piece)))
        pairs = [(ids[a], ids[b]) for a, b in halves if a in ids and b in ids]
        if pairs:
            found[number] = pairs
    return found


class Noise:
    """Breaks pieces in two and hides tokens, as often as `options` say.

    `outputs` are the ids that targets may have; `longest` the most tokens of a side.
    """

    def __init__(
        self, options: NoiseConfig, pieces: Sequence[str], outputs: Ids, longest: int
    ) -> None:
        self.options, self.longest = options, longest
        self._source = find_splits(pieces, range(len(pieces)))
        self._target = find_splits(pieces, outputs.tolist())

    def segment(self, example: Example, random: np.random.Generator) -> Example:
        """The same text in other pieces, on both sides (after Provilkov et al. 2020, BPE-dropout).

        A word that was only ever seen whole is then learned by its parts as well, from which
        words that were never seen are made.
        """
        return replace(
            example,
            source=self._break(example.source, self._source, random),
            target=self._break(example.target, self._target, random),
        )

    def _break(self, ids: Ids, splits: Splits, random: np.random.Generator) -> Ids:
        chosen = set(np.flatnonzero(random.random(len(ids)) < self.options.segmentation).tolist())
        broken: list[int] = []
        for place, piece in enumerate(ids.tolist()):
            ways = splits.get(piece) if place in chosen else None
            broken.extend(ways[random.integers(len(ways))] if ways else (piece,))
        return np.array(broken, dtype=ids.dtype) if len(broken) <= self.longest else ids

    @staticmethod
    def hide(
        ids: NDArray[np.int64], share: float, spared: Sequence[int], random: np.random.Generator
    ) -> NDArray[np.int64]:
        """Ids with that share of them unknown (word dropout, Gal & Ghahramani 2016).

        `spared` are ids that always stay, such as the end token and the padding.
        """
        hidden = (random.random(ids.shape) < share) & ~np.isin(ids, spared)
        return np.where(hidden, UNKNOWN_ID, ids)
