"""Numbers that a translation got wrong, put right where it is plain which one stands for which."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from .guards import NUMBER, NUMBER_WORD, digits_of, number_changes

# Digits that two numbers must share, in order, over all of both: 20 and 200 do, 20 and 85 do not.
_ALIKE = 0.5
_ARABIC_MARKS = str.maketrans("٫٬", ".,")


def repair_numbers(source: str, target: str) -> str | None:
    """The translation with the source's numbers in place of wrong ones, None if that is not plain.

    Small models copy digits badly: 20 becomes 200, 2005 becomes 20005. Each wrong number is
    replaced by the lost one that is most like it; a single wrong one by the single lost one,
    however unlike. Nothing else is touched, and the result agrees with the source by
    `number_changes`, or there is none.
    """
    changed = number_changes(source, target)
    if not changed:
        return None
    right = {digits_of(text): text for text in NUMBER.findall(source)}
    wrong = {text: digits_of(text) for text in NUMBER.findall(target)}
    wrong = {text: digits for text, digits in wrong.items() if digits not in right}
    lost = [digits for digits in right if digits in changed]
    # A number that the Arabic spells out is no error, so that the only one may yet be right.
    certain = len(wrong) == len(lost) == 1 and not NUMBER_WORD.search(source)
    choices = {}
    for text, digits in wrong.items():
        likeness, best = max(((_likeness(one, digits), one) for one in lost), default=(0.0, ""))
        if certain or likeness >= _ALIKE:
            choices[text] = _written(right[best])
    repaired = NUMBER.sub(lambda found: choices.get(found[0], found[0]), target)
    return None if number_changes(source, repaired) else repaired


def _likeness(left: str, right: str) -> float:
    return SequenceMatcher(None, left, right, autojunk=False).ratio()


def _written(number: str) -> str:
    """A number of the source in English digits and marks."""
    return re.sub(r"\d", lambda digit: str(int(digit[0])), number).translate(_ARABIC_MARKS)
