"""Variants of pairs that teach a translator to copy numbers and Latin-script words.

A small corpus has few of either, and each always in the same company: a model learns them by
heart. In a variant they are others, the same on both sides, so that only reading them helps.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

Pair = tuple[str, str]

_NUMBER = re.compile(r"\d(?:[\d.,:/]*\d)?")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]+")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}")
_MARK = re.compile(r"(?<=\w)[,،.؟?!؛;](?=\s|$)")
_YEARS = range(1900, 2040)


def names_in(texts: Iterable[str]) -> list[str]:
    """Words with a capital inside a sentence, most of them names, in order of appearance."""
    return list(dict.fromkeys(name for text in texts for name in _NAME.findall(text)))


def vary(pair: Pair, names: Sequence[str], source: random.Random) -> Pair | None:
    """The pair with other numbers and other Latin-script words, the same on both sides.

    A pair without Latin-script words gets a name in brackets before one of its punctuation
    marks, where both sides have equally many. None where nothing can be varied.
    """
    left, right = pair
    changes: dict[str, str] = {}
    for pattern, other in ((_NUMBER, _other_number), (_WORD, lambda _, s: _name(names, s))):
        for text in dict.fromkeys(pattern.findall(left)):
            # Single digits are left: Arabic and English inflect what they count.
            if len(text) > 1 and text in pattern.findall(right):
                changes[text] = other(text, source)
    latin = any(_WORD.fullmatch(text) for text in changes)
    left, right = _replaced(left, changes), _replaced(right, changes)
    if not latin and not _WORD.search(left) and names:
        marks = [list(_MARK.finditer(text)) for text in (left, right)]
        if marks[0] and len(marks[0]) == len(marks[1]):
            place = source.randrange(len(marks[0]))
            name = " ".join(_name(names, source) for _ in range(source.choice((1, 1, 2))))
            left, right = (
                f"{text[: found[place].start()]} ({name}){text[found[place].start() :]}"
                for text, found in zip((left, right), marks, strict=True)
            )
    return None if (left, right) == pair else (left, right)


def _replaced(text: str, changes: dict[str, str]) -> str:
    for pattern in (_NUMBER, _WORD):
        text = pattern.sub(lambda found: changes.get(found[0], found[0]), text)
    return text


def _other_number(text: str, source: random.Random) -> str:
    """A number that is written alike: as many digits, the same marks between them."""
    if text.isdigit() and int(text) in _YEARS:
        return str(source.choice(_YEARS))
    digits = re.sub(r"\d", lambda _: str(source.randrange(10)), text)
    return str(source.randint(1, 9)) + digits[1:]


def _name(names: Sequence[str], source: random.Random) -> str:
    """A name of the corpus, or an acronym, or letters mixed from two names."""
    first, second = source.choice(names), source.choice(names)
    form = source.random()
    if form < 0.5:
        return first
    if form < 0.7:
        return (first[:2] + second[:2]).upper()[: source.randint(2, 4)]
    return first[: source.randint(2, len(first))] + second[-source.randint(1, 4) :].lower()
