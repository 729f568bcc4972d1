"""How far a text supports a sentence, by shared words, and which of its sentences do."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

# Below this, more than half of what a sentence says is found nowhere in its sources.
UNSUPPORTED = 0.5
# A source sentence counts if it adds this share of the words; more than three make a collage.
_LEAST_SHARE = 0.2
_MOST_SOURCES = 3

_WORD = re.compile(r"[^\W\d_]+")
_FOLDED = str.maketrans({"ى": "ي", "ة": "ه", "ـ": None})
# Conjunctions and prepositions written together with the article, and a conjunction alone.
_PROCLITIC = re.compile(r"(?:[وف]?(?:[بك]?ال|لل)(?=.{3})|[وف](?=.{4}))")
_SHORTEST = 3


def content_words(text: str) -> frozenset[str]:
    """The distinct words of three letters or more, in a form that ignores how they are written.

    Case, diacritics, hamza, tatweel, ى/ي and ة/ه do not count, nor do the article, و and ف before
    an Arabic word. A text with no word that long is represented by its shorter ones.
    """
    plain = unicodedata.normalize("NFKD", text.casefold()).translate(_FOLDED)
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    words = _WORD.findall(plain)
    return frozenset(
        _PROCLITIC.sub("", word, count=1) if _PROCLITIC.match(word) else word
        for word in [w for w in words if len(w) >= _SHORTEST] or words
    )


def find_support(
    words: frozenset[str], sources: Sequence[frozenset[str]]
) -> tuple[float, tuple[int, ...]]:
    """The share of `words` (0 to 1) in the source sentences that hold most of them, and which.

    Sources are taken one by one, each time the one that adds most words (the first of equals),
    while it adds a fifth of `words` or more, and three at most. Their indices come in ascending
    order. Without words the share is 0.
    """
    left, taken = words, []
    while left and len(taken) < _MOST_SOURCES:
        best = max(range(len(sources)), key=lambda i: (len(left & sources[i]), -i), default=None)
        if best is None or len(left & sources[best]) < max(1, _LEAST_SHARE * len(words)):
            break
        taken.append(best)
        left -= sources[best]
    return (1 - len(left) / len(words) if words else 0.0), tuple(sorted(taken))


def centrality(sentences: Sequence[frozenset[str]]) -> list[float]:
    """How much each sentence has in common with the others of its text, per word: from 0 to 1.

    In how many other sentences each of its words comes, a mean over its words; and of that, v, with
    the mean m of all sentences, v / (v + m). So an average sentence has 0.5, and one that shares no
    word has 0.
    """
    spread = Counter(word for sentence in sentences for word in sentence)
    values = [
        sum(spread[word] - 1 for word in sentence) / max(1, len(sentence)) for sentence in sentences
    ]
    mean = sum(values) / max(1, len(values))
    return [value / (value + mean) if mean else 0.0 for value in values]


def prominence(sentences: Sequence[frozenset[str]]) -> list[float]:
    """How much each sentence has in common with the others of its text, early ones counting more.

    In how many other sentences each of its words comes, summed up, over the square root of its
    place (1 for the first).
    """
    spread = Counter(word for sentence in sentences for word in sentence)
    return [
        sum(spread[word] - 1 for word in sentence) / math.sqrt(place)
        for place, sentence in enumerate(sentences, start=1)
    ]
