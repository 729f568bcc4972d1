"""Names that Arabic and English spell by the same sounds.

Both are reduced to their consonants, each to the Latin letter that comes nearest. Vowels, which
Arabic mostly leaves out, do not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

Pair = tuple[str, str]

ARABIC_WORD = re.compile(r"[\u0621-\u063A\u0641-\u064A]+")
LATIN_WORD = re.compile(r"[^\W\d_]+")
# And or so, then with, for or like: written together with the word behind them.
PREFIX = "[وف]?[بلك]?"
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
    arabic = list(dict.fromkeys(ARABIC_WORD.findall(pair[0])))
    found: dict[Pair, None] = {}
    for word in dict.fromkeys(LATIN_WORD.findall(pair[1])):
        if len(word) < _MIN_LATIN or not (word[0].isupper() and word[1:].islower()):
            continue
        if word in _CALENDAR:
            continue
        first = (next((s for s in stems(each) if sound_alike(s, word)), None) for each in arabic)
        alike = {stem for stem in first if stem}
        if len(alike) == 1:
            found[alike.pop(), word] = None
    return list(found)


def stems(arabic: str) -> Iterator[str]:
    """The Arabic word, then what is left of it behind what may be written together with a name.

    None that begins with the article, nor one of less than three letters.
    """
    for first in range(3):
        stem = arabic[first:]
        if len(stem) < _MIN_ARABIC or stem.startswith(_ARTICLE):
            return
        if re.fullmatch(PREFIX, arabic[:first]):
            yield stem


def sound_alike(arabic: str, latin: str) -> bool:
    """Whether an Arabic and a Latin word have the same consonants, two or more."""
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
    return _joined(re.sub("[aeiouwyı]", "", plain))


def _joined(sounds: str) -> str:
    for heard, other in _CONFUSED:
        sounds = sounds.replace(heard, other)
    return re.sub(r"(.)\1+", r"\1", sounds)
