"""Cleaning: from text as it was found to paragraphs that are only the article.

`clean` repairs and unifies characters, takes the date and title into their own fields, and drops
page furniture. What it drops is named rule by rule, and whatever is not clearly furniture stays.
Cleaning what is clean changes nothing.
"""

from __future__ import annotations

import datetime
import difflib
import html
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ..models import normalization
from ..models.errors import ConfigError
from ..models.normalization import Step
from . import clean_tables as tables
from .decode import repair_mojibake
from .document import Removal
from .html import extract_html, looks_like_html

logger = logging.getLogger(__name__)


def _unescape(text: str) -> tuple[str, int]:
    """Resolve HTML entities; `&amp;` escaped several times over counts as one."""
    text, ampersands = _ESCAPED_AMPERSAND.subn("&", text)
    changed = 0

    def resolve(match: re.Match[str]) -> str:
        nonlocal changed
        character = html.unescape(match[0])
        changed += character != match[0]
        return character

    return _ENTITY.sub(resolve, text), ampersands + changed


_ESCAPED_AMPERSAND = re.compile(r"&(?:(?:amp|#0{0,5}38|#[xX]0{0,4}26);)+", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")

_BLOCK = "address|article|aside|blockquote|body|br|dd|div|dl|dt|figcaption|figure|footer|h[1-6]|"
_BLOCK += "head|header|hr|html|li|main|nav|ol|p|section|table|tbody|td|th|thead|title|tr|ul"
_INLINE = "a|abbr|b|center|code|em|font|i|iframe|img|label|mark|small|span|strong|sub|sup|u"
_BLOCK_TAG = re.compile(
    rf"</?(?:{_BLOCK})(?:\s[^<>]*)?/?>|<!doctype\s[^<>]*>|<!--[^<>]*-->", re.IGNORECASE
)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_IS_MARKED_UP = re.compile(
    rf"</(?:{_BLOCK}|{_INLINE})\s*>|<br\s*/?>|<(?:html|head|body|!doctype)\b[^<>]*>", re.IGNORECASE
)


def _strip_tags(text: str) -> tuple[str, int]:
    """Delete HTML tags, if any is closed: prose that merely names one (`<b>`) keeps it."""
    if not _IS_MARKED_UP.search(text):
        return text, 0
    text, blocks = _BLOCK_TAG.subn("\n", text)
    text, inlines = _INLINE_TAG.subn("", text)
    return text, blocks + inlines


# The steps of model input, after those that need the text as it came.
_STEPS: tuple[Step, ...] = (
    normalization.fix_surrogates,
    Step("mojibake", repair_mojibake),
    Step("entities", _unescape),
    Step("tags", _strip_tags),
    *normalization.STEPS[1:-1],
    normalization.fold_digits,
    normalization.squeeze_spaces,
)
_PARAGRAPH_RULES = (
    "html",
    "join_lines",
    "dateline",
    "read_also",
    "share",
    "photo_credit",
    "agency_footer",
    "duplicate",
    "teaser",
    "date",
    "title",
)
RULES: tuple[str, ...] = tuple(step.name for step in _STEPS) + _PARAGRAPH_RULES


@dataclass(frozen=True, slots=True)
class CleanOptions:
    """What to do beyond, or instead of, the usual rules.

    `skip` names rules of `RULES` to leave out. `tashkeel` is whether to delete the diacritics.
    `digits` is "ascii" to write ٠-٩ and ۰-۹ as 0-9. `quotes` is "keep" to leave typographic
    quotation marks as they are. `join_lines` is for hard-wrapped text: a paragraph then ends at a
    blank line, where otherwise each line is one. Raises ConfigError for what it does not know.
    """

    skip: tuple[str, ...] = ()
    tashkeel: bool = True
    digits: Literal["keep", "ascii"] = "keep"
    quotes: Literal["keep", "ascii"] = "ascii"
    join_lines: bool = False

    def __post_init__(self) -> None:
        for rule in self.skip:
            if rule not in RULES:
                near = difflib.get_close_matches(rule, RULES, n=1)
                hint = (
                    f"did you mean {near[0]!r}?" if near else f"the rules are {', '.join(RULES)}."
                )
                raise ConfigError(f"clean.skip: there is no cleaning rule {rule!r}; {hint}")
        for name in ("digits", "quotes"):
            if getattr(self, name) not in ("keep", "ascii"):
                raise ConfigError(
                    f'clean.{name} must be "keep" or "ascii", not {getattr(self, name)!r}.'
                )

    def skipped(self) -> frozenset[str]:
        """All rules that are off by these options."""
        switches = {
            "tashkeel": self.tashkeel,
            "digits": self.digits == "ascii",
            "quotes": self.quotes == "ascii",
            "join_lines": self.join_lines,
        }
        return frozenset(self.skip).union(rule for rule, on in switches.items() if not on)


@dataclass(frozen=True, slots=True)
class CleanResult:
    """Clean text and all that became of the rest.

    `text` has paragraphs parted by one blank line and no other line break. `date` is in ISO form.
    `removed` has what is now nowhere else; a title or date moved to its field is not among it.
    `counts` has the number of changes of each rule that made any.
    """

    text: str
    title: str | None = None
    date: str | None = None
    removed: tuple[Removal, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def clean(text: str, options: CleanOptions = CleanOptions()) -> CleanResult:
    """Clean a document: plain text, or a web page as HTML.

    `clean(clean(text).text).text == clean(text).text` holds under the default options. Raises
    InputError for a web page without any text; any other text, even empty, is fine.
    """
    skip = options.skipped()
    counts: Counter[str] = Counter()
    removed: list[Removal] = []
    title: str | None = None
    date: str | None = None
    if "html" not in skip and looks_like_html(text):
        article = extract_html(text)
        text, title, date = article.text, article.title, article.date
        counts["html"] += 1
    steps = [step for step in _STEPS if step.name not in skip]
    # Rounds, since one rule can give another something to do; most texts are settled by the first.
    for round_ in range(normalization.MAX_ROUNDS):
        before = text
        for step in steps:
            text, changes = step.apply(text)
            counts[step.name] += changes
        if round_ and text == before:
            break  # and the paragraphs are settled: each rule for them runs until it finds no more
        paragraphs, joined = _split(text, join="join_lines" not in skip)
        counts["join_lines"] += joined
        paragraphs, dropped = _drop_furniture(paragraphs, skip)
        removed += dropped
        header, dropped = _lift_header(paragraphs, skip)
        removed += dropped
        if header.title:
            counts["title"] += 1
            if title and header.title != title:
                removed.append(Removal("title", header.title))
            title = title or header.title
        if header.date:
            counts["date"] += 1
            if date and header.date != date:
                removed.append(Removal("date", header.date))
            date = date or header.date
        text = "\n\n".join(header.body)
    counts.update(removal.rule for removal in removed if removal.rule not in ("title", "date"))
    if title is not None:
        title = normalization.normalize(title) or None
    return CleanResult(
        text, title, date, tuple(removed), {r: counts[r] for r in RULES if counts[r]}
    )


def _split(text: str, *, join: bool) -> tuple[list[str], int]:
    """Paragraphs of a text, and how many line breaks within a paragraph became spaces."""
    if not join:
        return [line for line in text.split("\n") if line], 0
    blocks = [block for block in re.split("\n\n+", text.strip("\n")) if block]
    return [block.replace("\n", " ") for block in blocks], sum(b.count("\n") for b in blocks)


# ------------------------------------------------------------------------------------ furniture

_LONGEST_FURNITURE = 300
_SHORTEST_DUPLICATE = 80
_SHORTEST_REST = 20  # of a paragraph whose beginning is taken away


def _drop_furniture(paragraphs: list[str], skip: frozenset[str]) -> tuple[list[str], list[Removal]]:
    """Apply the rules that drop text, until none finds any more."""
    removed: list[Removal] = []
    for _ in range(normalization.MAX_ROUNDS):
        before = len(removed)
        for drop in (_drop_datelines, _drop_lines, _drop_duplicates, _drop_teasers):
            paragraphs, dropped = drop(paragraphs, skip)
            removed += dropped
        if len(removed) == before:
            break
    return paragraphs, removed


_Dropped = tuple[list[str], list[Removal]]


def _drop_datelines(paragraphs: list[str], skip: frozenset[str]) -> _Dropped:
    if "dateline" in skip:
        return paragraphs, []
    kept, removed = [], []
    for paragraph in paragraphs:
        end = _dateline_end(paragraph)
        kept.append(paragraph[end:])
        if end:
            removed.append(Removal("dateline", paragraph[:end].strip()))
    return kept, removed


def _dateline_end(paragraph: str) -> int:
    """Where the text begins after `CITY (AGENCY) -`; 0 if the paragraph has no dateline."""
    end = 0
    while True:
        head = tables.fold(paragraph[end : end + 120])
        match = next(filter(None, (pattern.match(head) for pattern in tables.DATELINES)), None)
        if not match or len(paragraph) - end - match.end() < _SHORTEST_REST:
            return end
        end += match.end()


def _is_share_line(line: str) -> bool:
    if tables.SHARE_BUTTONS.match(line):
        return True
    if not tables.FOLLOW_CALL.match(line):
        return False
    words = len(line.split())
    if tables.NAMES_PLATFORM.search(line):
        return words <= 25
    return words <= 8 and not tables.SENTENCE_END.search(line)


def _is_photo_credit(line: str) -> bool:
    return bool(tables.PHOTO_CREDIT.match(line) or tables.AGENCY_ALONE.match(line))


# Tests of a folded line, in the order in which they are asked.
_LINE_TESTS: dict[str, Callable[[str], object]] = {
    "read_also": tables.READ_ALSO.match,
    "share": _is_share_line,
    "agency_footer": tables.AGENCY_FOOTER.match,
    "photo_credit": _is_photo_credit,
}


def _drop_lines(paragraphs: list[str], skip: frozenset[str]) -> _Dropped:
    """Drop the paragraphs that are one line of page furniture."""
    tests = [(rule, test) for rule, test in _LINE_TESTS.items() if rule not in skip]
    rules: list[str | None] = []
    platforms: list[bool] = []
    for paragraph in paragraphs:
        line = tables.fold(paragraph) if len(paragraph) <= _LONGEST_FURNITURE else ""
        rules.append(next((rule for rule, test in tests if line and test(line)), None))
        platforms.append(bool(line and tables.SINGLE_PLATFORM.match(line)))
    # A platform's name alone may head a section; several in a row are buttons.
    for i in range(1, len(paragraphs)):
        if platforms[i - 1] and platforms[i] and "share" not in skip:
            rules[i - 1] = rules[i] = "share"
    # An agency in brackets credits a photo, or at the very end the article.
    alone_last = rules[-1:] == ["photo_credit"] and tables.AGENCY_ALONE.match(
        tables.fold(paragraphs[-1])
    )
    if alone_last and "agency_footer" not in skip:
        rules[-1] = "agency_footer"
    kept = [text for text, rule in zip(paragraphs, rules, strict=True) if rule is None]
    removed = [Removal(rule, text) for text, rule in zip(paragraphs, rules, strict=True) if rule]
    return kept, removed


def _drop_duplicates(paragraphs: list[str], skip: frozenset[str]) -> _Dropped:
    if "duplicate" in skip:
        return paragraphs, []
    seen: set[str] = set()
    kept, removed = [], []
    for paragraph in paragraphs:
        if len(paragraph) >= _SHORTEST_DUPLICATE and paragraph in seen:
            removed.append(Removal("duplicate", paragraph))
        else:
            seen.add(paragraph)
            kept.append(paragraph)
    return kept, removed


_ELLIPSIS_END = re.compile(r"(?:\.\.\.|…)[\"'»)\]]{0,2}$")
_NOT_LETTERS = re.compile(r"[\W_]+")
_TEASER_POSITIONS = 3
_SHORTEST_TEASER = 30  # letters
_LONGEST_TEASER = 1500  # characters
_TEASER_SHIFT = 40  # letters that a dateline or a conjunction may put before the repeated text


def _drop_teasers(paragraphs: list[str], skip: frozenset[str]) -> _Dropped:
    """Drop a first paragraph that breaks off in an ellipsis and is told in full further on."""
    kept, removed = list(paragraphs), []
    letters: list[str] = []
    position = 0
    while position < min(_TEASER_POSITIONS, len(kept) - 1) and "teaser" not in skip:
        paragraph = kept[position]
        if _ELLIPSIS_END.search(paragraph) and len(paragraph) <= _LONGEST_TEASER:
            letters = letters or [_letters(text[: 2 * _LONGEST_TEASER]) for text in kept]
            if _is_told_in(letters[position], letters[position + 1 :]):
                removed.append(Removal("teaser", paragraph))
                del kept[position], letters[position]
                position = 0
                continue
        position += 1
    return kept, removed


def _letters(text: str) -> str:
    bare = normalization.strip_tashkeel(normalization.strip_tatweel(text))
    return _NOT_LETTERS.sub("", tables.fold(bare))


def _is_told_in(teaser: str, others: list[str]) -> bool:
    if len(teaser) < _SHORTEST_TEASER:
        return False
    start = teaser[1:] if teaser[0] in "وف" else teaser
    return any(start in other[: len(teaser) + _TEASER_SHIFT] for other in others)


# --------------------------------------------------------------------------------------- header


@dataclass(frozen=True, slots=True)
class _Header:
    body: list[str]
    title: str | None = None
    date: str | None = None


def _lift_header(paragraphs: list[str], skip: frozenset[str]) -> tuple[_Header, list[Removal]]:
    """Take title and date off the top, but only if nothing below would then pass for another.

    That keeps lists of dates or headings whole, and makes cleaning idempotent.
    """
    header = _find_header(paragraphs, skip)
    if header.title or header.date:
        body, removed = _drop_furniture(header.body, skip)
        again = _find_header(body, skip)
        if not (again.title or again.date):
            return _Header(body, header.title, header.date), removed
    return _Header(paragraphs), []


def _find_header(paragraphs: list[str], skip: frozenset[str]) -> _Header:
    rest, date, title = paragraphs, None, None
    takes_date, takes_title = "date" not in skip, "title" not in skip
    if takes_date:
        date, rest = _take_date(rest)
    if takes_title and len(rest) > 1:
        below_date, below = _take_date(rest[1:]) if takes_date and not date else (None, rest[1:])
        if below and (title := _as_title(rest[0], below[0])):
            rest, date = below, date or below_date
    return _Header(rest, title, date)


def _take_date(paragraphs: list[str]) -> tuple[str | None, list[str]]:
    """Take the date at the very top, whether a line of its own or before running text."""
    if len(paragraphs) < 1:
        return None, paragraphs
    first, *others = paragraphs
    head = tables.fold(first[:150])
    if len(first) < len(head) + 1 and others and (match := tables.DATE_LINE.match(head)):
        date = _iso_date(match)
        return (date, others) if date else (None, paragraphs)
    for pattern in tables.DATE_PREFIXES:
        match = pattern.match(head)
        if match and len(first) - match.end() >= _SHORTEST_REST and (date := _iso_date(match)):
            return date, [first[match.end() :], *others]
    return None, paragraphs


def _iso_date(match: re.Match[str]) -> str | None:
    """Give the date that a pattern found, in ISO form; None if there is no such day."""
    found = {name: value for name, value in match.groupdict().items() if value}
    if "month" in found:
        month = tables.MONTHS[" ".join(found["month"].split())]
        if "also" in found and tables.MONTHS[" ".join(found["also"].split())] != month:
            return None
        year, day = int(found["year"]), int(found["day"])
    else:
        form, value = next(iter(found.items()))
        numbers = [int(part) for part in re.split("[-/.]", value)]
        year, month, day = numbers if form in ("iso", "ymd") else reversed(numbers)
        if form == "dmy" and month > 12 >= day:  # written the American way
            month, day = day, month
    if not 1900 <= year <= 2100:
        return None
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return None


_LONGEST_TITLE = 120
_TITLE_WORDS = range(3, 21)
_SHORTEST_BODY = 60


def _as_title(line: str, below: str) -> str | None:
    """Give the title in this line, or None. What is below must read as the body of an article."""
    if len(below) < max(_SHORTEST_BODY, len(line) + 1) or not tables.SENTENCE_END.search(below):
        return None
    if len(line) > _LONGEST_TITLE:
        return None
    folded = tables.fold(line)
    marked = tables.TITLE_LABEL.match(folded) or tables.TITLE_MARK.match(folded)
    if marked:
        return line[marked.end() :]
    plain = not (
        tables.NOT_A_TITLE.match(folded)
        or tables.STOP_INSIDE.search(folded)
        or folded.rstrip('"»')[-1:] in tuple(".!؟?…:،؛,;)]")
        or "http" in folded
        or "@" in folded
    )
    return line if plain and len(line.split()) in _TITLE_WORDS else None
