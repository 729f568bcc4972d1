"""Checks without a reference: what a translation or a summary keeps of its source.

Each is a pure function of plain text. A check finds signs of trouble, not proof of it: a number
that was spelled out ("3" as "three") counts as lost. Shares run from 0 to 1.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from .summary import summary_statistics
from .tokenize import DIGITS, INVISIBLE, RougeTokenizer
from .translation import sentence_chrf

# Above this ratio (and from this length in characters on) a text repeats itself.
REPETITION_LIMIT = 2.4
REPETITION_MIN_LENGTH = 60
# Long texts of any kind compress well, so the ratio is taken over windows of this many characters.
_WINDOW = 600

# ٫ is the Arabic decimal point and ٬ the thousands separator; ، is typed for either.
_FOLD = DIGITS | {ord("٫"): ".", ord("٬"): ",", ord("،"): ","}
_INVISIBLE_RE = re.compile(f"[{INVISIBLE}]+")
_SPACED_GROUP_RE = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")

_NUMBER_RE = re.compile(r"(?<![A-Za-z])(?<![0-9])[0-9]+(?:[.,][0-9]+)*")
_COMMA_GROUPS_RE = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_DOT_GROUPS_RE = re.compile(
    r"[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}(?:,[0-9]+)?"  # 1.234.567
    r"|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+"  # 1.234,5
    r"|[1-9][0-9]{0,2}\.[0-9]{2}0"  # 1.500: no one writes a decimal with a last zero
)
# "300 ألف" and "300,000" are one number; so are "2 مليون" and "2 million".
_SCALES: dict[str, int] = {
    "ألف|ألفا|الف|آلاف|الاف|thousand": 10**3,
    "مليون|مليونا|ملايين|million|mn": 10**6,
    "مليار|مليارا|مليارات|بليون|بلايين|billion|bn": 10**9,
    "تريليون|تريليونا|تريليونات|trillion": 10**12,
}
_SCALE = {name: value for names, value in _SCALES.items() for name in names.split("|")}
_SCALE_RE = re.compile(
    rf"[ -]?({'|'.join(sorted(_SCALE, key=len, reverse=True))})\b", re.IGNORECASE
)
_DECIMAL_RE = re.compile(r"[0-9]+(?:\.[0-9]+|,[0-9]{1,2})")

_NUMERIC_DATE_RE = re.compile(
    r"(?<![0-9./-])(?:(?P<y1>[0-9]{4})(?P<s1>[/.-])(?P<m1>[0-9]{1,2})(?P=s1)(?P<d1>[0-9]{1,2})"
    r"|(?P<d2>[0-9]{1,2})(?P<s2>[/.-])(?P<m2>[0-9]{1,2})(?P=s2)(?P<y2>[0-9]{4}))(?![0-9/-])"
)
# Egyptian, Levantine, Maghrebi and English names of the Gregorian months. English ones must have
# their capital: "may" and "march" are words too.
_MONTHS: tuple[str, ...] = (
    "يناير|كانون الثاني|جانفي|January|Jan",
    "فبراير|شباط|فيفري|February|Feb",
    "مارس|آذار|اذار|March|Mar",
    "أبريل|إبريل|ابريل|نيسان|أفريل|April|Apr",
    "مايو|أيار|ايار|ماي|May",
    "يونيو|يونيه|حزيران|جوان|June|Jun",
    "يوليو|يوليه|تموز|جويلية|July|Jul",
    "أغسطس|اغسطس|آب|أوت|غشت|August|Aug",
    "سبتمبر|أيلول|ايلول|شتنبر|September|Sept|Sep",
    "أكتوبر|اكتوبر|تشرين الأول|October|Oct",
    "نوفمبر|تشرين الثاني|نونبر|November|Nov",
    "ديسمبر|كانون الأول|دجنبر|December|Dec",
)
_MONTH_NUMBER = {
    name: number for number, names in enumerate(_MONTHS, 1) for name in names.split("|")
}
_MONTH = "|".join(sorted(_MONTH_NUMBER, key=len, reverse=True))
# Two names of one month side by side, as in "شباط/فبراير", are one month.
_NAMED_DATE_RE = re.compile(
    rf"(?:(?<![0-9])(?P<d1>[0-9]{{1,2}})(?:st|nd|rd|th)?(?: of| من)? +)?"
    rf"(?<!\w)[وفبل]?(?P<month>{_MONTH})\b\.?(?: ?[/(] ?(?:{_MONTH})\b\)?)?"
    rf"(?: +(?P<d2>[0-9]{{1,2}})(?:st|nd|rd|th)?(?![0-9]))?"
    rf"(?:,? +(?:(?:of|من|عام|سنة) +)*(?P<year>[12][0-9]{{3}})(?![0-9]))?"
)

_LATIN_WORD_RE = re.compile("(?<![A-Za-z0-9À-ɏ])[A-Za-zÀ-ɏ][A-Za-z0-9À-ɏ]+")
_QUOTES_RE = re.compile('«[^«»]*»|“[^“”]*”|„[^„“]*“|"[^"]*"')
_LOOP_RE = re.compile(r"(\S.{2,99}?)(?:\s*\1){2,}", re.DOTALL)

_WORDS = RougeTokenizer("ar")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the source has and the target kept or lost, and what only the target has.

    Each counts repeats: a number that stands twice must be there twice.
    """

    kept: tuple[str, ...]
    lost: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share (0 to 1) of the source's items that were kept; 1 if it has none."""
        total = len(self.kept) + len(self.lost)
        return len(self.kept) / total if total else 1.0


def numbers(text: str) -> list[str]:
    """Find the numbers written in digits, in order, in one spelling: "1234.5".

    Arabic and Persian digits are folded; grouping marks (, ٬ . and thin spaces between groups of
    three) and leading and last zeros are dropped; a thousand, million, billion or trillion right
    after the digits is worked in ("300 ألف" is "300000"). Left out are digits after a Latin letter
    (G20) and the month of a full numeric date, which a translation may well write as a word. A list
    such as 1,2,3 gives its parts.
    """
    text = _NUMERIC_DATE_RE.sub(_without_month, _plain(text))
    found: list[str] = []
    for match in _NUMBER_RE.finditer(text):
        found += _read_number(match[0])
        if scale := _SCALE_RE.match(text, match.end()):
            found[-1] = _trim(f"{Decimal(found[-1]) * _SCALE[scale[1].lower()]:f}")
    return found


def numbers_kept(source: str, target: str) -> Kept:
    """Compare the numbers of two texts; order does not matter."""
    return _compare(numbers(source), numbers(target))


def dates(text: str) -> list[str]:
    """Find dates in order: "2024-05-17", or with parts that are missing, "--05-17", "2024-05".

    Reads numeric dates with a four-digit year (day first unless the second number cannot be a
    month) and Arabic and English month names that stand by a day or a year.
    """
    text = _plain(text)
    found: list[tuple[int, str]] = []
    for match in _NUMERIC_DATE_RE.finditer(text):
        year = match["y1"] or match["y2"]
        month, day = int(match["m1"] or match["m2"]), int(match["d1"] or match["d2"])
        if month > 12:
            month, day = day, month
        if 1 <= month <= 12 and 1 <= day <= 31:
            found.append((match.start(), f"{year}-{month:02}-{day:02}"))
    for match in _NAMED_DATE_RE.finditer(text):
        day, year = match["d1"] or match["d2"], match["year"]
        if day or year:
            month = _MONTH_NUMBER[match["month"]]
            end = f"-{int(day):02}" if day else ""
            found.append((match.start(), f"{year or '-'}-{month:02}{end}"))
    return [date for _, date in sorted(found)]


def dates_kept(source: str, target: str) -> Kept:
    """Compare the dates of two texts; order does not matter."""
    return _compare(dates(source), dates(target))


def latin_words(text: str) -> list[str]:
    """Find the words in Latin script (two characters or more, may hold digits), casefolded."""
    return [word.casefold() for word in _LATIN_WORD_RE.findall(_plain(text))]


def latin_words_kept(source: str, target: str) -> Kept:
    """Compare the Latin-script words of an Arabic source with a target.

    `added` stays empty: an English target is made of such words. A word is kept if it is anywhere
    in the target.
    """
    there = set(latin_words(target))
    words = latin_words(source)
    return Kept(
        tuple(word for word in words if word in there),
        tuple(word for word in words if word not in there),
        (),
    )


def summary_agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Compare what two summaries of one text rest on: 2 |A ∩ B| / (|A| + |B|), from 0 to 1.

    A and B are the sets of source sentence numbers that each summary was made from; they may be
    in different languages, if sentence k of one text is the translation of sentence k of the
    other. This is the Sørensen-Dice coefficient, which is also the F1 of either set as a
    prediction of the other. 0 if a summary has no numbers: what rests on nothing agrees with
    nothing.
    """
    ours, theirs = set(first), set(second)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours and theirs else 0.0


def translated_agreement(first: str, second: str, translate: Callable[[str], str]) -> float:
    """Compare two summaries in different languages by their words, from 0 to 1.

    That is chrF of the second against `translate(first)`, which gives the first in the second's
    language. For summaries in their own words, where `summary_agreement` sees little; it is no
    better than the translator, and two ways to say one thing bring it down.
    """
    return sentence_chrf(second, translate(first)) / 100


def quotation_pairs(text: str) -> int:
    """Count quoted passages: «…», “…”, „…“ and "…". Single quotes are not told from apostrophes."""
    return len(_QUOTES_RE.findall(text))


def untranslated_share(text: str) -> float:
    """Give the share (0 to 1) of letters that are Arabic; 0 for a text without letters."""
    letters = [char for char in unicodedata.normalize("NFKC", text) if char.isalpha()]
    arabic = sum("\u0600" <= char <= "\u06ff" or "\u0750" <= char <= "\u08ff" for char in letters)
    return arabic / len(letters) if letters else 0.0


def repetition_ratio(text: str) -> float:
    """Give characters per zlib-compressed byte, at the window of the text where it is highest.

    Ordinary sentences give 1 to 2; above `REPETITION_LIMIT` a text goes round in circles. Texts
    shorter than `REPETITION_MIN_LENGTH` cannot be told and give 0. Only Arabic and Latin letters
    and common signs are looked at.
    """
    # One byte per letter: in UTF-8 the first byte of Arabic letters is nearly always the same, and
    # ordinary Arabic would pass the limit.
    data = text.translate(DIGITS).encode("cp1256", "ignore")
    if len(data) < REPETITION_MIN_LENGTH:
        return 0.0
    last = max(0, len(data) - _WINDOW)
    windows = (data[at : at + _WINDOW] for at in (*range(0, last, _WINDOW // 2), last))
    return max(len(window) / len(zlib.compress(window)) for window in windows)


def has_loop(text: str) -> bool:
    """Say whether some stretch of 3 to 100 characters stands three times in a row.

    Rows of dots, dashes or one letter do not count: they are layout or emphasis.
    """
    return any(
        len(set(match[1])) > 1 and any(char.isalpha() for char in match[1])
        for match in _LOOP_RE.finditer(text)
    )


def length_ratio(source: str, target: str) -> float:
    """Give letters and digits in the target per letter or digit in the source.

    Vowel signs, spaces and punctuation do not count. If the source has none: 1 if the target has
    none either, else the target's count.
    """
    ours, theirs = (sum(map(str.isalnum, text)) for text in (target, source))
    return ours / theirs if theirs else float(ours or 1)


def check_translation(source: str, target: str) -> dict[str, float]:
    """Run every check on an Arabic source and its English translation.

    Shares from 0 to 1: numbers_kept, dates_kept, latin_words_kept, quotations_kept (1 is good) and
    untranslated (0 is good). Counts: numbers_added, dates_added. loop is 0 or 1. repetition and
    length_ratio are ratios.
    """
    number, date = numbers_kept(source, target), dates_kept(source, target)
    pairs = quotation_pairs(source), quotation_pairs(target)
    return {
        "numbers_kept": number.share,
        "numbers_added": float(len(number.added)),
        "dates_kept": date.share,
        "dates_added": float(len(date.added)),
        "latin_words_kept": latin_words_kept(source, target).share,
        "quotations_kept": min(pairs) / max(pairs) if max(pairs) else 1.0,
        "untranslated": untranslated_share(target),
        "repetition": repetition_ratio(target),
        "loop": float(has_loop(target)),
        "length_ratio": length_ratio(source, target),
    }


def check_summary(source: str, summary: str) -> dict[str, float]:
    """Run every check on a text and its summary, both in the same language.

    numbers_supported is the share (0 to 1) of the summary's numbers that the source has too.
    coverage, density, compression and novel_bigrams are those of `SummaryStatistics`, in words;
    words is the summary's length. loop is 0 or 1, repetition a ratio.
    """
    statistics = summary_statistics(source, summary, _WORDS)
    # A summary may say a number more often than its source: only new ones are unsupported.
    known, used = set(numbers(source)), numbers(summary)
    return {
        "numbers_supported": sum(n in known for n in used) / len(used) if used else 1.0,
        "coverage": statistics.coverage,
        "density": statistics.density,
        "compression": statistics.compression,
        "novel_bigrams": statistics.novel_bigrams,
        "words": float(len(_WORDS(summary))),
        "repetition": repetition_ratio(summary),
        "loop": float(has_loop(summary)),
    }


def _plain(text: str) -> str:
    """Fold digits and separators, compose, and delete what cannot be seen."""
    text = unicodedata.normalize("NFC", _INVISIBLE_RE.sub("", text)).translate(_FOLD)
    return _SPACED_GROUP_RE.sub(",", text)


def _without_month(match: re.Match[str]) -> str:
    return f"{match['d1'] or match['d2']} {match['y1'] or match['y2']}"


def _read_number(digits: str) -> list[str]:
    """Read one run of digits and separators; more than one number if it makes no single one."""
    if _COMMA_GROUPS_RE.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _DOT_GROUPS_RE.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif _DECIMAL_RE.fullmatch(digits):
        digits = digits.replace(",", ".")
    else:
        return [_trim(part) for part in re.split("[.,]", digits)]
    return [_trim(digits)]


def _trim(number: str) -> str:
    whole, _, fraction = number.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _compare(source: Sequence[str], target: Sequence[str]) -> Kept:
    ours, theirs = Counter(source), Counter(target)
    return Kept(
        tuple((ours & theirs).elements()),
        tuple((ours - theirs).elements()),
        tuple((theirs - ours).elements()),
    )
