"""Paragraphs, sentences, and pieces that fit a model; and how they are joined again.

Three steps, each usable alone: `split_paragraphs`, then `split_sentences` (or `sentence_spans`,
its lossless form) on each paragraph, then `split_to_fit` on each sentence that may be too long
for a model. Nothing is rewritten and no character but white space between parts is left out.

Where the marks leave a doubt, the sentence goes on: a model translates two sentences in one go
better than two halves of one.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from . import abbreviations as words

Language = Literal["ar", "en"]

_NEWLINES = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_MARKS = ".!?…؟۔"
_CLOSE_QUOTES = "»”’›\"'"
_ARABIC_LETTERS = "\u0620-\u063f\u0641-\u064a\u066e-\u06d3"

_LINE = re.compile(f"[^{_NEWLINES}]+")
_WORD_CHARACTER = re.compile(r"[^\W_]")
_NEXT = re.compile(r"\S")

# End marks, alone or several («؟!», ". . ."), then everything closing that belongs to them: quotes
# and brackets, also after a stray space where they cannot be opening, and references like [12].
_CLOSING = r"(?:\s*+(?:[»”)\]}›]|\[\d{1,3}\])|[\"'’])*+"
_END = re.compile(
    rf"(?P<run>[{_MARKS}]++(?:\s++[{_MARKS}]++(?=[\s»”)\]}}›]|$))*+)(?P<closing>{_CLOSING})"
)
# Signs that follow an end mark but carry the sentence on.
_CONTINUING = frozenset(",;:،؛)]}»”›")
_BRACKETS = re.compile(r"\([^()]{0,300}\)|\[[^\[\]]{0,300}\]")

_LEFT_WORD = re.compile(r"[^\W_][\w.]*$")
_WORD_BEFORE = re.compile(r"(\w+)\s*$")
_RIGHT_WORD = re.compile(r"\w+")
_LIST_NUMBER = re.compile(rf"\d{{1,3}}(?:\.\d{{1,3}})*|[ivxIVX]{{1,4}}|[A-Za-z{_ARABIC_LETTERS}]")
_ARABIC_LETTER = re.compile(f"[{_ARABIC_LETTERS}]")
# Letters joined by stops, each "letter" spelled in one or two: U.S, Ph.D, أ.ف.ب, بي.بي.سي
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_HOUR = frozenset(("a.m", "p.m"))
_ADDRESS = re.compile(r"://|www\.|@")
_ENGLISH_SPEAKER = re.compile(r"(?:[A-Z][\w.’'-]*\s){1,3}(\w+)")

# How far back an abbreviation or the beginning of a short quotation is looked for, in characters.
_ABBREVIATION_REACH = 24
_QUOTATION_REACH = 80
_ADDRESS_REACH = 300


def split_paragraphs(text: str) -> list[str]:
    r"""Split `text` into its paragraphs.

    Every line break ends a paragraph: cleaned text has "\n\n" between paragraphs, and any other
    number or kind of line break (one newline, "\r\n", U+2028, blank lines holding spaces)
    counts as the same. White space round a paragraph is dropped and empty ones are left out, so
    no paragraph holds a line break and the empty text has no paragraphs. On text that
    `join_paragraphs` made from such paragraphs this is its exact inverse.
    """
    lines = (match.group().strip() for match in _LINE.finditer(text))
    return [line for line in lines if line]


def join_paragraphs(paragraphs: list[str]) -> str:
    """Join paragraphs with one blank line between them."""
    return "\n\n".join(paragraphs)


def split_sentences(paragraph: str, language: Language) -> list[str]:
    """Split a paragraph into its sentences, in order, without white space at their edges.

    Raises ValueError for a language other than "ar" and "en".
    """
    return [paragraph[start:end] for start, end in sentence_spans(paragraph, language)]


def sentence_spans(paragraph: str, language: Language) -> list[tuple[int, int]]:
    """Find the sentences of a paragraph as (start, end) offsets into it.

    The spans do not overlap, come in order, and cover every character that is not white space;
    `paragraph[end_of_one:start_of_next]` is white space or empty. So writing translations into
    the spans and keeping what lies between them keeps the layout.

    A sentence ends at a line break or at one of `. ! ? … ؟ ۔`, with the quotes and brackets that
    close there. `؛` and `:` end no sentence. A mark ends none inside a number, address, file
    name or abbreviation, after a list number, inside round or square brackets, or before a
    comma. In English it ends none before a small letter. In Arabic, which has no capitals, `...`
    ends none unless the line ends; a stop with no space after it does end one between two Arabic
    words («انتهى الأمر.وقال»).

    Raises ValueError for a language other than "ar" and "en".
    """
    if language not in get_args(Language):
        raise ValueError(f'language is {language!r}; expected "ar" or "en"')
    spans: list[tuple[int, int]] = []
    for line in _LINE.finditer(paragraph):
        spans.extend(_line_spans(paragraph, line.start(), line.end(), language))
    return spans


@dataclass(frozen=True, slots=True)
class _Mark:
    """One run of end marks, and what is needed to judge whether a sentence ends there."""

    text: str
    sentence: int  # where the running sentence starts
    at: int  # where the marks start
    run: str  # the marks, without the spaces between them
    closing: str
    end: int  # behind the marks and all that closes with them
    next: int  # the next character that is not a space

    @property
    def is_ellipsis(self) -> bool:
        return self.run.strip(".…") == "" and self.run != "."

    @property
    def closes_quotation(self) -> bool:
        return any(sign in _CLOSE_QUOTES for sign in self.closing)

    def next_word(self) -> str:
        """Return the next word, or "" where a full stop shows it to be an initial."""
        found = _RIGHT_WORD.match(self.text, self.next)
        if not found or self.text.startswith(".", found.end()):
            return ""
        return found.group()


def _line_spans(text: str, start: int, stop: int, language: Language) -> Iterator[tuple[int, int]]:
    first = _NEXT.search(text, start, stop)
    if not first:
        return
    stop = start + len(text[start:stop].rstrip())
    sentence = first.start()
    word = _first_word(text, sentence, stop)
    brackets = _BRACKETS.finditer(text, sentence, stop)
    bracket = next(brackets, None)
    for found in _END.finditer(text, sentence, stop):
        at, end = found.start(), found.end()
        following = _NEXT.search(text, end, stop)
        if not following:
            break
        # Marks before the first letter belong to what comes after them.
        if word >= at:
            continue
        while bracket and bracket.end() <= at:
            bracket = next(brackets, None)
        run = "".join(found["run"].split())
        mark = _Mark(text, sentence, at, run, found["closing"], end, following.start())
        opened = bracket.start() if bracket and bracket.start() < at else None
        if opened is not None and bracket and not _may_end_in_bracket(mark, opened, bracket.end()):
            continue
        if _is_list_number(mark, word) or not _ends_sentence(mark, language):
            continue
        following_word = _first_word(text, mark.next, stop)
        if following_word == stop:  # only signs follow: they stay with this sentence
            break
        yield sentence, end
        sentence, word = mark.next, following_word
    yield sentence, stop


def _first_word(text: str, start: int, stop: int) -> int:
    found = _WORD_CHARACTER.search(text, start, stop)
    return found.start() if found else stop


def _may_end_in_bracket(mark: _Mark, opened: int, closed: int) -> bool:
    """Return False inside a bracket, and after one like (!) or (...) within a sentence."""
    if mark.end < closed:
        return False
    return opened == mark.sentence or mark.run == "."


def _is_list_number(mark: _Mark, word: int) -> bool:
    """Tell whether the sentence so far is only "1", "2.3", "IV" or "a": its text comes now."""
    return mark.run == "." and _LIST_NUMBER.fullmatch(mark.text, word, mark.at) is not None


def _ends_sentence(mark: _Mark, language: Language) -> bool:
    if mark.text[mark.next] in _CONTINUING:
        return False
    if mark.next == mark.end:
        return _ends_without_space(mark, language)
    if mark.run == "." and _is_abbreviation(mark):
        return False
    return _ends_english(mark) if language == "en" else _ends_arabic(mark)


def _ends_english(mark: _Mark) -> bool:
    text = mark.text
    word = _first_word(text, mark.next, min(mark.next + 20, len(text)))
    if text[word : word + 1].islower() and not text[word + 1 : word + 2].isupper():  # not: iPhone
        return False
    if mark.is_ellipsis and mark.next_word() == "I":
        return False
    if mark.closes_quotation and mark.run != ".":
        speaker = _ENGLISH_SPEAKER.match(text, mark.next)
        return not (speaker and speaker[1] in words.ENGLISH_SAYING)
    return True


def _ends_arabic(mark: _Mark) -> bool:
    if mark.is_ellipsis:
        return False
    if not mark.closes_quotation:
        return True
    if mark.next_word() in words.ARABIC_SAYING:
        return False
    return mark.run == "." or _closes_speech(mark)


def _closes_speech(mark: _Mark) -> bool:
    """Tell «قال: «إلى أين؟»» from a title like «من أنا؟» that stands inside a sentence."""
    begin = max(mark.sentence, mark.at - _QUOTATION_REACH)
    opened = max(mark.text.rfind(sign, begin, mark.at) for sign in "«“‘\"'")
    if opened <= mark.sentence:
        return True
    before = mark.text[begin:opened].rstrip()
    return before[-1:] in (":", "،", ",")


def _ends_without_space(mark: _Mark, language: Language) -> bool:
    text = mark.text
    left, right = text[mark.at - 1], text[mark.next]
    if mark.is_ellipsis or _is_in_address(mark):
        return False
    if language == "en":
        return mark.run != "." and left.islower() and right.isupper()
    if not (_ARABIC_LETTER.match(left) and _ARABIC_LETTER.match(right)):
        return False
    if mark.run != ".":
        return True
    left_word, right_word = _left_word(mark), _RIGHT_WORD.match(text, mark.next)
    if "." in left_word or left_word in words.ARABIC_ABBREVIATIONS or not right_word:
        return False
    # Spelled-out letters are short on at least one side: «إيه.بي.سي».
    left_size, right_size = _letters(left_word), _letters(right_word.group())
    return left_size >= 3 and right_size >= 2 and left_size + right_size >= 6


def _letters(word: str) -> int:
    return sum(character.isalpha() for character in word)


def _is_in_address(mark: _Mark) -> bool:
    before = mark.text[max(mark.sentence, mark.at - _ADDRESS_REACH) : mark.at]
    return bool(_ADDRESS.search(before)) and bool(_ADDRESS.search(before.split()[-1]))


def _left_word(mark: _Mark) -> str:
    """Return the word that touches the mark, with stops inside it but not the last: "U.S"."""
    begin = max(mark.sentence, mark.at - _ABBREVIATION_REACH)
    found = _LEFT_WORD.search(mark.text[begin : mark.at])
    return found.group() if found else ""


def _is_abbreviation(mark: _Mark) -> bool:
    """Tell whether the full stop only marks an abbreviation. Goes by the script of the word."""
    word = _left_word(mark)
    if not word:
        # «د . أحمد»: a lone letter keeps its stop even with a space between.
        begin = max(mark.sentence, mark.at - _ABBREVIATION_REACH)
        pieces = mark.text[begin : mark.at].split()
        word = pieces[-1] if pieces and len(pieces[-1]) == 1 else ""
        return bool(_ARABIC_LETTER.match(word)) and _is_arabic_abbreviation(word, mark)
    if _ARABIC_LETTER.match(word):
        return _is_arabic_abbreviation(word, mark)
    return _is_english_abbreviation(word, mark)


def _is_arabic_abbreviation(word: str, mark: _Mark) -> bool:
    if len(word) == 2:
        word = word.removeprefix("و")  # «ود. سعاد»
    if len(word) == 1:
        begin = max(mark.sentence, mark.at - _ABBREVIATION_REACH)
        before = _WORD_BEFORE.search(mark.text[begin : mark.at].rstrip()[:-1])
        # «عام 2024 م.» and «المجموعة ب.»: a unit or a name, not a title.
        if before and (before[1][-1].isdigit() or before[1] in words.ARABIC_LABELS):
            return False
    elif not (_DOTTED.fullmatch(word) or word in words.ARABIC_ABBREVIATIONS):
        return False
    return mark.next_word() not in words.ARABIC_OPENERS


def _is_english_abbreviation(word: str, mark: _Mark) -> bool:
    small = word.lower()
    if word in words.ENGLISH_TITLES or small in words.ENGLISH_NEVER_LAST:
        return True
    if small in _HOUR:
        return mark.next_word() in words.ENGLISH_AFTER_HOUR
    is_initial = len(word) == 1 and word.isupper()
    if is_initial or word in words.ENGLISH_MAYBE_LAST or _DOTTED.fullmatch(word):
        return mark.next_word() not in words.ENGLISH_OPENERS
    return small in words.ENGLISH_BEFORE_NUMBER and mark.text[mark.next].isdigit()


# --- Pieces that fit ------------------------------------------------------------------------


def _any_of(choices: frozenset[str]) -> str:
    return "|".join(map(re.escape, sorted(choices)))


# Where a sentence may be cut, best first; a cut is made at the end of a match.
_CUT_LEVELS = (
    re.compile(
        rf"[{_NEWLINES}]|(?:[!?؟۔…]|\.\.+|(?<=[^\W\d_]{{3}})\.){_CLOSING}(?=\s)|[؟۔](?=\w)",
    ),
    re.compile(r"[;:؛](?=\s)|؛(?!\d)"),
    re.compile(r"[,،](?=\s)|،(?!\d)|\s(?=[-–—]\s)"),
    re.compile(
        rf"\s(?=و(?:\w{{2,}}))(?!(?:{_any_of(words.ARABIC_WAW_WORDS)})\b)"
        rf"|{''.join(f'(?<!{word})' for word in sorted(words.ARABIC_BEFORE_AN))}\s"
        rf"(?=(?:{_any_of(words.ARABIC_CONNECTIVES | words.ENGLISH_CONNECTIVES)})\s)"
    ),
)
_SPACE = re.compile(r"\s")
# How far a cut may lie from the place that would make equal pieces, as a share of one piece.
_CUT_REACH = 0.35
# Room left in each piece when their number is chosen, so that such a cut seldom makes one too long.
_FILL = 0.85
# First guess at the characters in a token; corrected by the first count.
_CHARACTERS_PER_TOKEN = 4.0
# A cut inside a word looks this far for a place that keeps letter and marks together.
_CLUSTER_REACH = 64


def split_to_fit(sentence: str, count_tokens: Callable[[str], int], limit: int) -> list[str]:
    """Split a sentence into pieces of at most `limit` tokens, as `count_tokens` counts them.

    A sentence that fits comes back whole (without the white space round it; white space alone
    gives no piece). Otherwise it is cut into pieces of about equal length: near each ideal place
    after an end mark if there is one, else after `؛ ; :`, else after `،` or `,`, else before a
    connective, else at a space; and inside a word only when a word alone is too long. Then
    letters keep their combining marks where they can. The pieces hold every character of the
    sentence in order, save white space at their edges.

    `count_tokens` should not count fewer tokens for a text than for its beginning. It is called
    about twice for each piece, each time on little more text than would fill two, however long
    the sentence is. A single character above the limit is a piece all the same.

    Raises ValueError if `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}; a piece needs room for at least 1 token")
    pieces: list[str] = []
    per_token = _CHARACTERS_PER_TOKEN
    waiting = [sentence.strip()]
    while waiting:
        piece = waiting.pop()
        if not piece:
            continue
        seen, tokens = _count_enough(piece, count_tokens, limit, per_token)
        if tokens <= limit or len(piece) == 1:
            pieces.append(piece)
            continue
        per_token = seen / tokens
        cut = _cut(piece, max(2, math.ceil(len(piece) / (per_token * limit * _FILL))))
        waiting.append(piece[cut:].lstrip())
        waiting.append(piece[:cut].rstrip())
    return pieces


def _count_enough(
    text: str, count_tokens: Callable[[str], int], limit: int, per_token: float
) -> tuple[int, int]:
    """Count tokens until it is sure whether `text` fits. Returns (characters counted, tokens).

    If a beginning of the text is above the limit, so is the text: a text of megabytes need not go
    through the tokenizer as a whole.
    """
    size = max(16, math.ceil(2 * limit * per_token))
    while size < len(text):
        tokens = count_tokens(text[:size])
        if tokens > limit:
            return size, tokens
        size *= 2
    return len(text), count_tokens(text)


def _cut(text: str, parts: int) -> int:
    """Return the best place to cut `text` in two, if it is to become `parts` equal pieces."""
    share = len(text) / parts
    ideal = round(share * (parts // 2))
    reach = max(1, int(share * _CUT_REACH))
    low, high = max(1, ideal - reach), min(len(text) - 1, ideal + reach)
    for level in _CUT_LEVELS:
        # The end lies further off so that a level can look at the words after the cut.
        places = [found.end() for found in level.finditer(text, low - 1, high + 20)]
        places = [place for place in places if low <= place <= high]
        if places:
            return min(places, key=lambda place: abs(place - ideal))
    return _space_near(text, ideal, reach) or _cluster_edge_near(text, ideal)


def _space_near(text: str, ideal: int, reach: int) -> int | None:
    """Return the space nearest to `ideal`, if possible not one after a word like «في» or "the"."""
    while True:
        low, high = max(0, ideal - reach), min(len(text), ideal + reach)
        places = [found.start() for found in _SPACE.finditer(text, low, high)]
        if places:
            places.sort(key=lambda place: abs(place - ideal))
            free = (place for place in places if not _leans_on_next(text, place))
            return next(free, places[0])
        if low == 0 and high == len(text):
            return None
        reach *= 4


def _leans_on_next(text: str, space: int) -> bool:
    before = text[max(0, space - 12) : space].split()
    if not before:
        return False
    word = before[-1]
    return word in words.LEANING_WORDS or (len(word) == 2 and word[0].isalpha() and word[1] == ".")


def _cluster_edge_near(text: str, ideal: int) -> int:
    ideal = min(max(ideal, 1), len(text) - 1)
    for distance in range(_CLUSTER_REACH):
        for place in (ideal - distance, ideal + distance):
            if 0 < place < len(text) and not _is_inside_cluster(text, place):
                return place
    return ideal


def _is_inside_cluster(text: str, place: int) -> bool:
    """Tell whether a cut would part a mark from its letter, or an emoji from itself.

    A short form of the rules of Unicode Standard Annex 29 for what a reader takes as one sign.
    """
    before, after = text[place - 1], text[place]
    if "\u200d" in (before, after) or unicodedata.category(after) in ("Mn", "Mc", "Me"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True
    if not _is_regional(after):
        return False
    begin = place
    while begin > 0 and place - begin < _CLUSTER_REACH and _is_regional(text[begin - 1]):
        begin -= 1
    return (place - begin) % 2 == 1  # flags are pairs


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
