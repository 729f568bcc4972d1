"""The numbers that a text writes in digits, as values, by which two languages' spellings compare.

`٣٫٥` is 3.5, and `5 آلاف` is 5,000, as is "5 thousand".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

_NUMBER = re.compile(r"\d+(?:[.,٫٬]\d+)*")
_SEPARATORS = re.compile(r"[.,٫٬]")
_ARABIC_MARKS = str.maketrans("٫٬", ".,")
# 2.50 is 2.5, and 2.500 may be two thousand and a half: only one or two digits are decimals.
_DECIMALS = re.compile(r"[.,٫](\d{1,2})$")
_THOUSANDS = re.compile("(?:000)+$")

# Words for a power of ten behind a number, by how many zeros they stand for.
_POWERS = {
    3: "[أا]لفا?|[آا]لاف|thousands?",
    6: "مليونا?|ملايين|millions?",
    9: "مليارا?|مليارات|بليونا?|بلايين|billions?",
    12: "تريليونا?|تريليونات|ترليون|trillions?",
}
_POWER = re.compile(
    "[ -]?(?:" + "|".join(rf"(?P<p{zeros}>{words})" for zeros, words in _POWERS.items()) + r")\b",
    re.IGNORECASE,
)
# `5m` is five million, or five metres.
_ABBREVIATIONS = {"k": 3, "m": 6, "mn": 6, "b": 9, "bn": 9, "tn": 12}
_ABBREVIATION = re.compile(r" ?(mn|bn|tn)\b|([kmb])\b", re.IGNORECASE)
# The first number of "5 to 10 thousand" may be 5,000.
_JOINED = re.compile(" ?(?:-|إلى|الى|أو|و|to|or|and) ?")

_SPELLED_OUT = re.compile(
    r"واحد|إحدى|أحد عشر|[اإ]ثن[اتي]|ثلاث|ثلث|[أا]ربع|خمس|\bست(?:ة|ون|ين|مئة|مائة)?\b|سبع|ثمان|"
    r"تسع|عشر|مئة|مئ[اي]|مائ[ةتي]|ألف|[آا]لاف|مليون|ملايين|مليار|تريليون|نصف|ربع"
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number in digits: where it stands, as it is written, and what it is.

    `digits` are ASCII ones with a decimal point, without grouping or needless zeros; a word behind
    them stands for `zeros` more. `values` are all that it may be taken for, `value` the likeliest.
    """

    start: int
    text: str
    digits: str
    zeros: int
    values: frozenset[str]

    @property
    def value(self) -> str:
        """The number in ASCII digits, at full length."""
        return _shifted(self.digits, self.zeros)

    @property
    def significant(self) -> str:
        """The digits without decimal point and whole thousands."""
        return _THOUSANDS.sub("", self.digits).replace(".", "")

    def written(self, zeros: int) -> str | None:
        """The number in English spelling in front of a word that stands for `zeros` zeros.

        None if it is not plain how: 5 in front of "million".
        """
        if zeros == self.zeros:
            return re.sub(r"\d", lambda digit: str(int(digit[0])), self.text).translate(
                _ARABIC_MARKS
            )
        return f"{Decimal(self.value):,}" if zeros == 0 else None


def numerals(text: str) -> list[Numeral]:
    """Find the numbers in digits, in order."""
    found: list[Numeral] = []
    following: tuple[int, frozenset[int]] = (-1, frozenset())
    for match in reversed(list(_NUMBER.finditer(text))):
        powers = {0}
        if power := _POWER.match(text, match.end()):
            powers = {int(str(power.lastgroup)[1:])}
        elif short := _ABBREVIATION.match(text, match.end()):
            powers.add(_ABBREVIATIONS[(short[1] or short[2]).lower()])
        zeros = min(powers)
        start, others = following
        if start >= 0 and _JOINED.fullmatch(text, match.end(), start):
            powers |= others
        following = match.start(), frozenset(powers)
        digits = _digits(match[0])
        values = frozenset(_shifted(digits, power) for power in powers)
        found.append(Numeral(match.start(), match[0], digits, zeros, values))
    return found[::-1]


def missing(these: Iterable[Numeral], those: Iterable[Numeral]) -> list[Numeral]:
    """Those of `these` that may be taken for none of `those`."""
    known = {value for numeral in those for value in numeral.values}
    return [numeral for numeral in these if not numeral.values & known]


def has_spelled_out(text: str) -> bool:
    """Whether the Arabic has a number in words, but for a power of ten behind digits."""
    powers = (_POWER.match(text, number.end()) for number in _NUMBER.finditer(text))
    behind_digits = {power.start(power.lastgroup or 0) for power in powers if power}
    return any(word.start() not in behind_digits for word in _SPELLED_OUT.finditer(text))


def _digits(number: str) -> str:
    decimals = ""
    if found := _DECIMALS.search(number):
        number = number[: found.start()]
        decimals = _ascii(found[1]).rstrip("0")
    whole = _ascii(_SEPARATORS.sub("", number)).lstrip("0") or "0"
    return f"{whole}.{decimals}" if decimals else whole


def _ascii(digits: str) -> str:
    return "".join(str(int(digit)) for digit in digits)


def _shifted(digits: str, zeros: int) -> str:
    """Move the decimal point; as text, since no number is too long for that."""
    whole, _, decimals = digits.partition(".")
    whole = (whole + decimals[:zeros].ljust(zeros, "0")).lstrip("0") or "0"
    return f"{whole}.{decimals[zeros:]}" if decimals[zeros:] else whole
