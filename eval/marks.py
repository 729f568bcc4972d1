"""Text for a page: everything escaped, what cannot be seen made visible, differences marked.

Every function here takes text as it came and gives markup that is safe to put into HTML.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from .fidelity import numbers, numbers_kept

# Controls, directional marks and overrides, line separators, byte order marks, half characters.
# A directional override shows a reader other text than there is, so none of them is obeyed.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)
_WORD = re.compile(r"\S+")
_EDGE = re.compile(r"^[\W_]+|[\W_]+$")
_DIGITS = re.compile(r"[0-9٠-٩۰-۹](?:[0-9٠-٩۰-۹.,٫٬،\u00a0]*[0-9٠-٩۰-۹])?(?:\s+\w+)?")

Span = tuple[int, int, str]


def plain(text: str) -> str:
    """Text for places that take no markup (attributes, tooltips): hidden characters as codes."""
    return _HIDDEN.sub(lambda match: f"[{_code(match[0])}]", text)


def markup(text: str, spans: Sequence[Span] = ()) -> Markup:
    """Text as HTML. `spans` are (start, end, class), sorted, without overlap."""
    parts: list[Markup] = []
    at = 0
    for start, end, name in spans:
        parts.append(_visible(text[at:start]))
        parts.append(Markup('<mark class="{}">{}</mark>').format(name, _visible(text[start:end])))
        at = end
    parts.append(_visible(text[at:]))
    return Markup("").join(parts)


def marked_source(source: str, target: str) -> Markup:
    """A source with the numbers marked (`lost`) that its target does not have."""
    lost = Counter(numbers_kept(source, target).lost)
    return markup(source, list(_numbers_at(source, lost, "lost")))


def marked_pair(hypothesis: str, reference: str, source: str) -> tuple[Markup, Markup]:
    """A hypothesis and its reference, with the words marked that the other does not have.

    If one of them is empty there is nothing to tell apart, and no word is marked.

    Words are compared without case, vowel signs and punctuation at their ends, wherever they
    stand: a translation may order them as it likes. Marks are `extra` in the hypothesis and
    `missing` in the reference; a number that neither source nor reference has is `added`.
    """
    # What the reference has too stood in the source as a word.
    new = Counter(numbers_kept(source, hypothesis).added) - Counter(numbers(reference))
    added = list(_numbers_at(hypothesis, new, "added"))
    if not reference or not hypothesis:
        return markup(hypothesis, added), markup(reference)
    ours, theirs = list(_words(hypothesis)), list(_words(reference))
    words_ours, words_theirs = Counter(w for *_, w in ours), Counter(w for *_, w in theirs)
    extra = _unmatched(ours, words_ours - words_theirs, "extra")
    missing = _unmatched(theirs, words_theirs - words_ours, "missing")
    extra = [w for w in extra if all(w[1] <= n[0] or w[0] >= n[1] for n in added)]
    # Words are joined over a single space, so none is joined over a number.
    spans = sorted([*added, *_joined(hypothesis, extra)])
    return markup(hypothesis, spans), markup(reference, _joined(reference, missing))


def marked_change(before: str, after: str) -> Markup:
    """The text before, with the words marked (`gone`) that a change to the text after replaced."""
    old, new = list(_words(before)), list(_words(after))
    matcher = difflib.SequenceMatcher(None, [w for *_, w in old], [w for *_, w in new], False)
    spans = [
        (old[index][0], old[index][1], "gone")
        for tag, start, end, _, _ in matcher.get_opcodes()
        if tag != "equal"
        for index in range(start, end)
    ]
    return markup(before, _joined(before, spans))


def _visible(text: str) -> Markup:
    parts: list[Markup] = []
    at = 0
    for match in _HIDDEN.finditer(text):
        parts.append(escape(text[at : match.start()]))
        code = _code(match[0])
        name = unicodedata.name(match[0], "control character").lower()
        parts.append(Markup('<span class="hidden-char" title="{}">{}</span>').format(name, code))
        at = match.end()
    parts.append(escape(text[at:]))
    return Markup("").join(parts)


def _code(char: str) -> str:
    return f"U+{ord(char):04X}"


def _words(text: str) -> Iterator[tuple[int, int, str]]:
    """Words with their places, in the form in which they are compared."""
    for match in _WORD.finditer(text):
        word = unicodedata.normalize("NFKD", match[0])
        word = "".join(c for c in word if not unicodedata.combining(c)).replace("ـ", "")
        word = _EDGE.sub("", word.casefold())
        if word:
            yield match.start(), match.end(), word


def _unmatched(words: Sequence[tuple[int, int, str]], left: Counter[str], name: str) -> list[Span]:
    spans = []
    for start, end, word in words:
        if left[word] > 0:
            left[word] -= 1
            spans.append((start, end, name))
    return spans


def _numbers_at(text: str, wanted: Counter[str], name: str) -> Iterator[Span]:
    """Where the wanted numbers stand. A scale word after the digits (300 ألف) belongs to them."""
    for match in _DIGITS.finditer(text):
        found = numbers(match[0])
        if found and wanted[found[0]] > 0:
            wanted[found[0]] -= 1
            digits = re.match(r"\S+", match[0])
            with_scale = numbers(digits[0]) != found[:1] if digits else False
            end = match.end() if with_scale or digits is None else match.start() + digits.end()
            yield match.start(), end, name


def _joined(text: str, spans: Sequence[Span]) -> list[Span]:
    """Spans of words side by side made one, so that a passage reads as a passage."""
    joined: list[Span] = []
    for start, end, name in spans:
        if joined and text[joined[-1][1] : start] == " ":
            start = joined.pop()[0]
        joined.append((start, end, name))
    return joined
