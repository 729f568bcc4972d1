"""What sentences of a text share with its summary, in words and pairs of words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_WORD = re.compile(r"\w+")

Grams = tuple[Counter[Any], Counter[Any]]


def count_grams(text: str) -> Grams:
    """Count the words and the pairs of neighbouring words, whatever their case."""
    words = _WORD.findall(text.casefold())
    return Counter(words), Counter(pairwise(words))


@dataclass(frozen=True)
class Overlap:
    """The sentences of a text against its summary."""

    sentences: tuple[Grams, ...]
    summary: Grams

    @classmethod
    def of(cls, sentences: Sequence[str], summary: str) -> Overlap:
        """Count what the texts are made of."""
        return cls(tuple(map(count_grams, sentences)), count_grams(summary))

    def value(self, chosen: Sequence[int]) -> float:
        """The F-measure of words plus that of word pairs, of these sentences together (0 to 2)."""
        total = 0.0
        for order, wanted in enumerate(self.summary):
            own = self.sentences[chosen[0]][order]
            for number in chosen[1:]:
                own = own + self.sentences[number][order]
            total += 2 * (own & wanted).total() / max(1, own.total() + wanted.total())
        return total

    def subset(self, kept: Sequence[int]) -> Overlap:
        """The same without the other sentences."""
        return Overlap(tuple(self.sentences[number] for number in kept), self.summary)
