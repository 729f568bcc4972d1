"""Checks on a translation that need no reference: what looks wrong from the two texts alone."""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass

from .errors import ConfigError
from .negation import negation_lost
from .numerals import Numeral, has_spelled_out, missing, numerals

UNCERTAIN = "uncertain"
NUMBERS_REPAIRED = "numbers_repaired"
LATIN_REPAIRED = "latin_repaired"
LOOP_REPAIRED = "loop_repaired"
NAMES_REPAIRED = "names_repaired"
FLAGS = (
    "empty",
    "untranslated",
    "repetition",
    "doubled",
    "length_ratio",
    "numbers",
    "latin",
    "negation",
    "unknown",
    "truncated",
    UNCERTAIN,
    NUMBERS_REPAIRED,
    LATIN_REPAIRED,
    LOOP_REPAIRED,
    NAMES_REPAIRED,
)


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """Thresholds, which let ordinary news through by default; see `check` for the rules."""

    max_arabic_share: float = 0.3
    max_compression: float = 2.4
    min_compression_bytes: int = 60
    min_length_ratio: float = 0.3
    max_length_ratio: float = 3.0
    min_length: int = 20
    numbers: bool = True
    latin: bool = True
    negation: bool = True
    min_score: float | None = -1.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_arabic_share <= 1:
            raise ConfigError(f"guards.max_arabic_share: {self.max_arabic_share} is not in 0..1")
        if not 0 <= self.min_length_ratio < self.max_length_ratio:
            raise ConfigError(
                "guards.min_length_ratio must be at least 0 and below guards.max_length_ratio, not "
                f"{self.min_length_ratio} and {self.max_length_ratio}"
            )
        if self.max_compression <= 1:
            raise ConfigError(f"guards.max_compression: {self.max_compression} is not above 1")


def check(
    source: str,
    target: str,
    truncated: bool = False,
    options: GuardOptions | None = None,
    score: float | None = None,
) -> tuple[str, ...]:
    """Flag what looks wrong in a translation from Arabic to English, in the order of `FLAGS`.

    - `empty`: the source has letters or digits, the target has none.
    - `untranslated`: more than `max_arabic_share` of the target's letters are Arabic.
    - `repetition`: the target loops and the source does not.
    - `doubled`: a word of the target comes again at once ("infrastructure infrastructure", "Pacific
      in the Pacific"), none of the source does, and it is no loop.
    - `length_ratio`: target over source, in letters and digits, is out of bounds. Texts of which
      both are shorter than `min_length` are let through: short ones vary too much.
    - `numbers`: a number was lost or added.
    - `latin`: a word in Latin script (a name, a brand) was lost.
    - `negation`: the source says "not", and nothing in the target does; see `negation_lost`.
    - `unknown`: the target shows a piece that the model does not know.
    - `truncated`: the output stopped at its length limit, as the caller says.
    - `uncertain`: `score`, the mean log-probability that the model gave to its own tokens, is below
      `min_score` (None: any will do). Of all signs without a reference it is the plainest one of a
      sentence that the model does not understand; another try with the same model does not help.

    The last three of `FLAGS` are the translator's own: what `repair` has changed.
    """
    options = options or GuardOptions()
    if not has_content(target):
        return (("empty",) if has_content(source) else ()) + (("truncated",) if truncated else ())
    lowest = -math.inf if options.min_score is None else options.min_score
    is_loop = loops(target, options) and not loops(source, options)
    found = {
        "untranslated": arabic_share(target) > options.max_arabic_share,
        "repetition": is_loop,
        "doubled": not is_loop and _doubles(source, target),
        "length_ratio": not _length_fits(source, target, options),
        "numbers": options.numbers and bool(number_changes(source, target)),
        "latin": options.latin and bool(latin_lost(source, target)),
        "negation": options.negation and negation_lost(source, target),
        "unknown": "⁇" in target or "<unk>" in target,
        "truncated": truncated,
        UNCERTAIN: score is not None and score < lowest,
    }
    return tuple(flag for flag in FLAGS if found.get(flag))


def has_content(text: str) -> bool:
    """Whether there is a letter or a digit in `text`: something that can be translated."""
    return any(map(str.isalnum, text))


_FINISHED = re.compile(r"""[.!?؟…][»”)\]"']*$""")


def is_finished(sentence: str) -> bool:
    """Whether a sentence ends as one."""
    return _FINISHED.search(sentence) is not None


_ARABIC = re.compile(
    r"[\u0620-\u064a\u066e-\u06d3\u0750-\u077f\u08a0-\u08c9\ufb50-\ufdff\ufe70-\ufefc]"
)


def arabic_share(text: str) -> float:
    """Give the share of Arabic letters among all letters; 0 for a text without letters."""
    letters = sum(map(str.isalpha, text))
    return len(_ARABIC.findall(text)) / letters if letters else 0.0


_WORD = re.compile(r"\w+")
# Within a word: three to six letters three times ("reinforforforcement"), two letters four times,
# one letter six times. Bounded, hence linear.
STUTTER = re.compile(r"([^\W\d_]{3,6}?)\1{2,}|([^\W\d_]{2})\2{3,}|([^\W\d_])\3{5,}")
_LONGEST_PHRASE = 12


def loops(text: str, options: GuardOptions | None = None) -> bool:
    """Whether a text goes round in circles: it compresses too well, or a phrase comes thrice.

    The threshold for zlib is that of speech recognition with fall-back decoding (Whisper): plain
    sentences have a ratio near 1, loops one of 2 and more. A word or phrase that comes three times
    in a row is one too; a source that says "no, no, no" loops as well, and clears its translation.
    Time is linear in the length of `text`.
    """
    options = options or GuardOptions()
    data = text.encode("utf-8", "replace")
    if len(data) >= options.min_compression_bytes:
        ratio = len(data) / len(zlib.compress(data))
        if ratio > options.max_compression:
            return True
    words = _WORD.findall(text.casefold())
    return _phrase_loops(words) or STUTTER.search(text) is not None


# A word of four letters or more, and the same again, with two little words between at most. Those
# of idioms are let be, "side by side" and "face to face"; as are words that plain English doubles.
_DOUBLED = re.compile(
    r"\b(?!(?:more|again|over|that)\b)([^\W\d_]{4,})"
    r"(?:,? (?:a|an|and|as|at|for|from|his|in|its|of|on|or|the|their|with)){0,2},? \1\b"
)
# In Arabic with one word between at most, and with what is written together with the second.
_DOUBLED_SOURCE = re.compile(r"\b(\w{3,})\b،?(?: \w+)? (?:و|ال|وال|ب|ل|بال|لل)?\1\b")


def _doubles(source: str, target: str) -> bool:
    return bool(_DOUBLED.search(target.casefold())) and not _DOUBLED_SOURCE.search(source)


def _phrase_loops(words: list[str]) -> bool:
    for size in range(1, min(_LONGEST_PHRASE, len(words) // 3) + 1):
        run = 0
        # A phrase of `size` words that comes n times is (n - 1) * size words equal to the word
        # `size` places before. The last word may go on: "new new newspapers".
        needed = 2 * size
        for word, before in zip(words[size:], words, strict=False):
            goes_on = run == needed - 1 and len(before) > 2 and word.startswith(before)
            run = run + 1 if word == before else 0
            # Digits repeat in tables and scores: "0 0 0 0" is no loop.
            if (run >= needed or goes_on) and not word.isdecimal():
                return True
    return False


def _length_fits(source: str, target: str, options: GuardOptions) -> bool:
    before, after = (sum(map(str.isalnum, text)) for text in (source, target))
    if max(before, after) < options.min_length or not before:
        return True
    return options.min_length_ratio <= after / before <= options.max_length_ratio


_SMALL = 12
_ENGLISH_SMALL = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|once|twice|"
    r"half|both|pair|double|triple|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|"
    r"tenth|eleventh|twelfth|january|february|march|april|may|june|july|august|september|october|"
    r"november|december)\b",
    re.IGNORECASE,
)
_ENGLISH_LARGE = re.compile(r"\b(?:thousand|million|billion|trillion)s?\b", re.IGNORECASE)


def number_changes(source: str, target: str) -> tuple[str, ...]:
    """List the numbers that one text has and the other lacks, by their values.

    What is spelled out is let through: a number up to 12, or so many thousands, is not lost if the
    English has a small number word or a month, and none is added where the Arabic has a number
    word. That a number comes once instead of twice is style; that it is nowhere is an error.
    """
    before, after = numerals(source), numerals(target)
    changed = missing(before, after)
    if _ENGLISH_SMALL.search(target):
        large = _ENGLISH_LARGE.search(target) is not None
        changed = [numeral for numeral in changed if not _is_small(numeral, large)]
    if not has_spelled_out(source):
        changed += missing(after, before)
    return tuple(sorted({numeral.value for numeral in changed}))


def _is_small(numeral: Numeral, large: bool) -> bool:
    """Whether a number may well be a word: up to twelve, and parts of one, such as a half.

    With `large` that many thousands, too.
    """
    digits = numeral.significant if large else numeral.digits
    return numeral.digits.startswith("0.") or (
        digits.isdecimal() and len(digits) <= 2 and int(digits) <= _SMALL
    )


LATIN_WORD = re.compile(r"(?<![A-Za-z0-9À-ɏ])[A-Za-zÀ-ɏ][A-Za-z0-9À-ɏ]+")


def latin_lost(source: str, target: str) -> tuple[str, ...]:
    """List the words in Latin script, of two characters or more, that the target has nowhere.

    Whether letters are capitals makes no difference.
    """
    there = {word.casefold() for word in LATIN_WORD.findall(target)}
    words = dict.fromkeys(LATIN_WORD.findall(source))
    return tuple(word for word in words if word.casefold() not in there)
