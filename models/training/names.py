"""Variants of pairs that teach a translator to spell names.

A small corpus has few names, and most of them once or twice: a model spells those right that it
knows by heart, and makes up the others. In a variant, names that are transliterated are others, out
of a long list, so that only reading them helps.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ..sounds import ARABIC_WORD, LATIN_WORD, PREFIX, Pair, transliterations


def collect_names(pairs: Iterable[Pair], dictionary: Iterable[Pair] = ()) -> list[Pair]:
    """Names of a corpus and of a dictionary, Arabic and English, in order of appearance.

    A word that the corpus writes without a capital, too, is none; nor is an Arabic word that stands
    there for something else most of the time. A dictionary may be in lower case.
    """
    pairs = list(pairs)
    plain = {word for _, english in pairs for word in LATIN_WORD.findall(english)}
    occurrences = Counter(word for arabic, _ in pairs for word in ARABIC_WORD.findall(arabic))
    counts = Counter(name for pair in pairs for name in transliterations(pair))
    for arabic, english in dictionary:
        if english.islower():
            english = english.title()
        counts.update(transliterations((arabic, english)))
    return [
        (arabic, english)
        for (arabic, english), count in counts.items()
        if english.lower() not in plain and 2 * count >= occurrences[arabic]
    ]


def swap_names(
    pair: Pair, names: Sequence[Pair], known: frozenset[Pair], source: random.Random
) -> Pair | None:
    """The pair with each of its `known` names replaced by one of `names`, on both sides.

    None where it has none.
    """
    arabic, english = pair
    for old in transliterations(pair):
        if old not in known:
            continue
        new = source.choice(names)
        arabic = re.sub(rf"(?<!\w)({PREFIX}){old[0]}(?!\w)", rf"\g<1>{new[0]}", arabic)
        english = re.sub(rf"(?<!\w){old[1]}(?!\w)", new[1], english)
    return None if (arabic, english) == pair else (arabic, english)
