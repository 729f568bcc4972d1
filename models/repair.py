"""What a translation copied wrongly, put right where it is plain what stands for what.

Small models copy badly what they have never seen: 2005 becomes 20005, Excelsior becomes Excelsi.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from .guards import LATIN_WORD, STUTTER, latin_lost, number_changes
from .numerals import has_spelled_out, missing, numerals

# Digits that two numbers must share, in order, over all of both: 20 and 200 do, 20 and 85 do not.
_ALIKE = 0.5
# The same for letters: of true names the garbled ones had 0.7 and more, other words 0.5 and less.
_ALIKE_WORDS = 0.6


def repair_numbers(source: str, target: str) -> str | None:
    """The translation with the source's numbers in place of wrong ones, None if that is not plain.

    Each number that the source has not is replaced by the one most like it that the translation
    lacks, and that stands for one only; a single wrong one by the single lost one, however unlike.
    Nothing else is touched, and by `number_changes` fewer are wrong then.
    """
    changed = number_changes(source, target)
    if not changed:
        return None
    before, after = numerals(source), numerals(target)
    wrong = {numeral.value: numeral for numeral in missing(after, before)}
    # Small ones may stand there as words, so that not all of these are lost.
    absent = {numeral.value: numeral for numeral in missing(before, after)}
    lost = [value for value in absent if value in changed]
    # A number that the Arabic spells out is no error, so that the only one may yet be right.
    if len(wrong) == len(lost) == 1 and not has_spelled_out(source):
        choices = {next(iter(wrong)): lost[0]}
    else:
        choices = matched(
            (alike, right, other)
            for right, numeral in absent.items()
            for other, found in wrong.items()
            if (alike := likeness(numeral.significant, found.significant)) >= _ALIKE
        )
    repaired = target
    for numeral in reversed(after):
        right = absent.get(choices.get(numeral.value, ""))
        written = right and right.written(numeral.zeros)
        if written:
            end = numeral.start + len(numeral.text)
            repaired = repaired[: numeral.start] + written + repaired[end:]
    return repaired if len(number_changes(source, repaired)) < len(changed) else None


def repair_latin(source: str, target: str) -> str | None:
    """The translation with the source's words in Latin script in place of garbled ones.

    A lost word takes the place of the word that is most like it, if that starts with the same
    letter, likewise a capital or not, and is no word of the source itself. None if there is no such
    word. Nothing else is touched; words that nothing in the translation is like stay lost.
    """
    lost = latin_lost(source, target)
    right = {word.casefold() for word in LATIN_WORD.findall(source)}
    wrong = [w for w in dict.fromkeys(LATIN_WORD.findall(target)) if w.casefold() not in right]
    choices = matched(
        (alike, word, text)
        for word in lost
        for text in wrong
        if word[0] == text[0] and (alike := likeness(word, text)) >= _ALIKE_WORDS
    )
    if not choices:
        return None
    return LATIN_WORD.sub(lambda found: choices.get(found[0], found[0]), target)


def matched(pairs: Iterable[tuple[float, str, str]]) -> dict[str, str]:
    """For each wrong text what it stands for, from (how alike, right, wrong); each once at most."""
    choices: dict[str, str] = {}
    for _, right, wrong in sorted(pairs, key=lambda pair: -pair[0]):
        if wrong not in choices and right not in choices.values():
            choices[wrong] = right
    return choices


# Up to twelve words, and the same again right behind, twice or more.
_LOOP = re.compile(r"(?<!\w)(\w+(?:\W+\w+){0,11}?)(?:\W+\1(?!\w)){2,}", re.IGNORECASE)
# A word twice or more, before one that begins with it: "new new newspapers".
_BEGUN = re.compile(r"(?<!\w)(\w{3,})(?:\W+\1(?!\w))+\W+(?=\1\w)", re.IGNORECASE)


def repair_loops(target: str) -> str | None:
    """The text with each phrase, or stretch of letters, that comes three times in a row once only.

    Or more times. None if there is none. Repeated digits are let be, as in a table.
    """

    def once(found: re.Match[str]) -> str:
        return found[1] if any(map(str.isalpha, found[1])) else found[0]

    repaired = _BEGUN.sub("", _LOOP.sub(once, target))
    repaired = STUTTER.sub(lambda found: next(filter(None, found.groups())), repaired)
    return None if repaired == target else repaired


def likeness(left: str, right: str) -> float:
    """The share of characters that two texts have in common, in order, of all of both: 0 to 1."""
    return SequenceMatcher(None, left, right, autojunk=False).ratio()
