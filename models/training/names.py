"""Variants of pairs that teach a translator to spell names.

A small corpus has few names, and most of them once or twice: a model spells those right that it
knows by heart, and makes up the others. In a variant, names that are transliterated are others, out
of a long list, so that only reading them helps.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

Pair = tuple[str, str]

_ARABIC_WORD = re.compile(r"[\u0621-\u063A\u0641-\u064A]+")
_LATIN_WORD = re.compile(r"[^\W\d_]+")
# And or so, then with, for or like: written together with the word behind them.
_PREFIX = "[وف]?[بلك]?"
_ARTICLE = ("ال", "لل")
_MIN_ARABIC, _MIN_LATIN = 3, 3

# Consonants by the Latin letter that comes nearest; vowels and what is heard as one are left out.
_ARABIC_CONSONANTS = {
    "ب": "b", "پ": "b", "ت": "t", "ط": "t", "ث": "th", "ج": "g", "گ": "g", "غ": "g", "ح": "h",
    "ه": "h", "خ": "kh", "د": "d", "ض": "d", "ذ": "dh", "ر": "r", "ز": "z", "ظ": "z", "س": "s",
    "ص": "s", "ش": "sh", "ف": "f", "ڤ": "f", "ق": "k", "ك": "k", "ل": "l", "م": "m", "ن": "n",
}  # fmt: skip
_ARABIC_VOWELS = frozenset("اأإآىءئؤةعوي")
# Applied in turn: one sound has many spellings, and a skeleton has one.
_SPELLINGS = (
    ("tch", "sh"), ("sch", "sh"), ("ch", "sh"), ("gh", "g"), ("ph", "f"), ("ck", "k"),
    ("x", "ks"), ("c", "k"), ("q", "k"), ("j", "g"), ("v", "f"), ("p", "b"),
)  # fmt: skip
# What one language hears as another sound than the other, or not at all.
_CONFUSED = (("th", "t"), ("dh", "d"), ("kh", "k"), ("sh", "s"), ("z", "s"), ("h", ""))
_CALENDAR = frozenset([
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "January",
    "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
])  # fmt: skip


def transliterations(pair: Pair) -> list[Pair]:
    """The words of an Arabic and an English text that are one name, each spelled by its sounds.

    In order of the English, without what is written together with the Arabic word, and without
    names that have the Arabic article. A word with a capital is taken for a name where just one
    Arabic word has the same consonants.
    """
    arabic = list(dict.fromkeys(_ARABIC_WORD.findall(pair[0])))
    found: dict[Pair, None] = {}
    for word in dict.fromkeys(_LATIN_WORD.findall(pair[1])):
        if len(word) < _MIN_LATIN or not (word[0].isupper() and word[1:].islower()):
            continue
        if word in _CALENDAR:
            continue
        stems = {stem for each in arabic if (stem := _stem(each, word))}
        if len(stems) == 1:
            found[stems.pop(), word] = None
    return list(found)


def collect_names(pairs: Iterable[Pair], dictionary: Iterable[Pair] = ()) -> list[Pair]:
    """Names of a corpus and of a dictionary, Arabic and English, in order of appearance.

    A word that the corpus writes without a capital, too, is none; nor is an Arabic word that stands
    there for something else most of the time. A dictionary may be in lower case.
    """
    pairs = list(pairs)
    plain = {word for _, english in pairs for word in _LATIN_WORD.findall(english)}
    occurrences = Counter(word for arabic, _ in pairs for word in _ARABIC_WORD.findall(arabic))
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
        arabic = re.sub(rf"(?<!\w)({_PREFIX}){old[0]}(?!\w)", rf"\g<1>{new[0]}", arabic)
        english = re.sub(rf"(?<!\w){old[1]}(?!\w)", new[1], english)
    return None if (arabic, english) == pair else (arabic, english)


def _stem(arabic: str, latin: str) -> str | None:
    """The Arabic word, or the rest of it behind a prefix, if it sounds like the Latin one."""
    for first in range(3):
        stem = arabic[first:]
        if len(stem) < _MIN_ARABIC or stem.startswith(_ARTICLE):
            return None
        if re.fullmatch(_PREFIX, arabic[:first]) and _agree(stem, latin):
            return stem
    return None


def _agree(arabic: str, latin: str) -> bool:
    skeleton = _latin_skeleton(latin)
    if len(skeleton) < 2 or _arabic_skeleton(arabic) != skeleton:
        return False
    # A vowel at the start is heard: else this is "and" or "for" before a name.
    if arabic[0] == "و":
        return latin[0] in "WOUV"
    if arabic[0] == "ي":
        return latin[0] in "YIEJ"
    return True


@lru_cache(1 << 16)
def _arabic_skeleton(word: str) -> str:
    # One sound, which Arabic has no letter for.
    word = word.replace("تش", "ش")
    letters = (("" if c in _ARABIC_VOWELS else _ARABIC_CONSONANTS.get(c, "?")) for c in word)
    return _joined("".join(letters))


@lru_cache(1 << 16)
def _latin_skeleton(word: str) -> str:
    plain = unicodedata.normalize("NFD", word.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    for spelling, sound in _SPELLINGS:
        plain = plain.replace(spelling, sound)
    return _joined(re.sub("[aeiouwy]", "", plain))


def _joined(sounds: str) -> str:
    for heard, other in _CONFUSED:
        sounds = sounds.replace(heard, other)
    return re.sub(r"(.)\1+", r"\1", sounds)
