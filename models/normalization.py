"""Character-level steps that bring Arabic text to the spelling a translation model was trained on.

Every step is a `Step`: call it for str -> str, or use its `apply` to learn also how many changes
it made. `normalize` runs the standard sequence on one line or paragraph; the translator and the
training recipes both use it, so that a model is asked in the spelling it has seen. No step
unifies alef, hamza, ya or ta marbuta (that makes different words), and digits stay as written.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable

# Ranges as they stand inside a regex character class.
TASHKEEL = "\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06ed\u08d3-\u08e1\u08e3-\u08ff"
TATWEEL = "\u0640"
ARABIC_LETTERS = "\u0620-\u063f\u0641-\u064a\u066e-\u066f\u0671-\u06d3\u06ee-\u06ef\u06fa-\u06ff"
BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Soft hyphen, ZWSP, ZWNJ, ZWJ, word joiner and its kin, BOM, variation selectors, blank fillers.
ZERO_WIDTH = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff"
)

QUOTES = {
    **dict.fromkeys("“”„‟《》〝〞〟", '"'),
    **dict.fromkeys("‘’‚‛ʼ", "'"),
}
DASHES = dict.fromkeys("‐‑‒–—―−﹘﹣⸺⸻", "-")
DIGITS = {
    **{chr(0x0660 + digit): str(digit) for digit in range(10)},
    **{chr(0x06F0 + digit): str(digit) for digit in range(10)},
    "٪": "%",
    "٫": ".",
    "٬": ",",
}
# Letters of Persian and Urdu keyboards that stand for an Arabic letter of the same look.
LOOK_ALIKES = {"ی": "ي", "ک": "ك"}

# ﷺ, ﷻ and ﷽ stand for whole phrases: as one sign they are shorter and clearer than four words.
_PHRASE_LIGATURES = "\ufdfa\ufdfb\ufdfd"
_FOREIGN_LETTERS = re.compile("[پچژگٹڈڑںےہھۆێڵڕ]")
_ARABIC_SIGNS = re.compile(r"ة|\bال\w")


class Step:
    """One named change of characters.

    `step(text)` gives the changed text. `step.apply(text)` gives the changed text and the number
    of changes. A step has no state and raises nothing.
    """

    def __init__(self, name: str, apply: Callable[[str], tuple[str, int]]) -> None:
        functools.update_wrapper(self, apply)
        self.name = name
        self.apply = apply

    def __call__(self, text: str) -> str:
        """Give the changed text."""
        return self.apply(text)[0]

    def __repr__(self) -> str:
        return f"Step({self.name!r})"


def _step(name: str) -> Callable[[Callable[[str], tuple[str, int]]], Step]:
    return lambda apply: Step(name, apply)


def _replace(table: dict[str, str]) -> Callable[[str], tuple[str, int]]:
    """Make a function that replaces each character of the table and counts the replacements."""
    pattern = re.compile("[" + "".join(map(re.escape, table)) + "]")
    return lambda text: pattern.subn(lambda match: table[match[0]], text)


def is_arabic(text: str) -> bool:
    """Whether text in Arabic script is Arabic rather than Persian, Urdu or Kurdish.

    Letters that Arabic lacks are weighed against ta marbuta and the article. Text with neither is
    taken for Arabic, and so is an Arabic text with the odd foreign name in it.
    """
    foreign = len(_FOREIGN_LETTERS.findall(text))
    return foreign == 0 or len(_ARABIC_SIGNS.findall(text)) >= foreign


_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@_step("surrogates")
def fix_surrogates(text: str) -> tuple[str, int]:
    """Join surrogate pairs into the character they encode; delete those that stand alone."""
    text, pairs = _SURROGATE_PAIR.subn(
        lambda match: match[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    text, lone = _SURROGATE.subn("", text)
    return text, pairs + lone


_LINE_BREAK = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


@_step("newlines")
def unify_newlines(text: str) -> tuple[str, int]:
    r"""Turn every kind of line break into \n, and a paragraph separator into two of them."""
    return _LINE_BREAK.subn(lambda match: "\n\n" if match[0] == "\u2029" else "\n", text)


_INVISIBLE = re.compile(f"[{BIDI}{ZERO_WIDTH}]")


@_step("invisible")
def strip_invisible(text: str) -> tuple[str, int]:
    """Delete direction marks, zero-width characters, soft hyphens and byte order marks.

    SentencePiece would read most of them as a space and split the word. Only in Persian does the
    zero-width non-joiner part two words; there it becomes a space.
    """
    non_joiners = 0
    if "\u200c" in text and not is_arabic(text):
        non_joiners = text.count("\u200c")
        text = text.replace("\u200c", " ")
    text, deleted = _INVISIBLE.subn("", text)
    return text, deleted + non_joiners


_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")


@_step("control")
def strip_control(text: str) -> tuple[str, int]:
    """Delete control characters; private-use characters (icon fonts) become a space."""
    text, controls = _CONTROL.subn("", text)
    text, icons = _PRIVATE_USE.subn(" ", text)
    return text, controls + icons


_PRESENTATION = re.compile(f"(?![{_PHRASE_LIGATURES}])[\ufb50-\ufdff\ufe70-\ufefc]")


@functools.cache
def _base_letters(form: str) -> str:
    # The forms of a lone mark decompose to a space or tatweel and the mark: only the mark is text.
    return unicodedata.normalize("NFKC", form).lstrip(f" {TATWEEL}")


@_step("presentation_forms")
def fold_presentation_forms(text: str) -> tuple[str, int]:
    """Turn letters coded by their shape (as in text from PDF files) into ordinary letters."""
    changed = 0

    def fold(match: re.Match[str]) -> str:
        nonlocal changed
        letters = _base_letters(match[0])
        changed += letters != match[0]
        return letters

    return _PRESENTATION.sub(fold, text), changed


_FULL_WIDTH = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
fold_full_width = Step("full_width", _replace(_FULL_WIDTH))
fold_quotes = Step("quotes", _replace(QUOTES))
fold_dashes = Step("dashes", _replace(DASHES))
fold_ellipsis = Step("ellipsis", _replace({"…": "...", "‥": ".."}))
fold_digits = Step("digits", _replace(DIGITS))

_TASHKEEL = re.compile(f"[{TASHKEEL}]")


@_step("tashkeel")
def strip_tashkeel(text: str) -> tuple[str, int]:
    """Delete vowel and Koranic marks. Hamza and madda marks stay: they belong to the letter."""
    return _TASHKEEL.subn("", text)


_TATWEEL_RUN = re.compile(f"{TATWEEL}+")
_WORD_PART = re.compile(f"[{ARABIC_LETTERS}{TASHKEEL}\u0653-\u0655]")


@_step("tatweel")
def strip_tatweel(text: str) -> tuple[str, int]:
    """Delete tatweel where it stretches a word.

    One is kept where it carries meaning: in هـ as a word of its own (`1445 هـ`, or the letter of
    a list), and away from any letter, where it serves as a bullet or dash.
    """
    deleted = 0

    def strip(match: re.Match[str]) -> str:
        nonlocal deleted
        before, after = text[max(match.start() - 2, 0) : match.start()], text[match.end() :][:1]
        follows_letter = bool(before) and bool(_WORD_PART.match(before[-1]))
        starts_word = before[-1:] == "ه" and not _WORD_PART.match(before[:-1])
        keep = not _WORD_PART.match(after) and (starts_word or not follows_letter)
        deleted += len(match[0]) - keep
        return TATWEEL if keep else ""

    return _TATWEEL_RUN.sub(strip, text), deleted


_fold_look_alikes = _replace(LOOK_ALIKES)


@_step("look_alikes")
def fold_look_alikes(text: str) -> tuple[str, int]:
    """Turn Persian ya and kaf into the Arabic letters, unless the text is not Arabic."""
    return _fold_look_alikes(text) if is_arabic(text) else (text, 0)


@_step("nfc")
def compose(text: str) -> tuple[str, int]:
    """Bring the text to Unicode form NFC. Counts one change if it was not (a line is the unit)."""
    if unicodedata.is_normalized("NFC", text):
        return text, 0
    lines = text.split("\n")
    composed = [unicodedata.normalize("NFC", line) for line in lines]
    return "\n".join(composed), sum(a != b for a, b in zip(lines, composed, strict=True))


_ARABIC = f"[{ARABIC_LETTERS}{TASHKEEL}]"
_LATIN = "[A-Za-zÀ-ÖØ-öø-ɏ]"
# Found first, as nearly every text has none and this is ten times as fast.
_TOUCHING = re.compile(f"{_LATIN}(?:(?<={_ARABIC}.)|(?=[0-9]*+{_ARABIC}))")
# Not within an address, a name with @ or a hashtag.
_MIXED_WORD = re.compile(rf"(?<![\w@#/.\-])(?:{_ARABIC}|{_LATIN}|[0-9])++")
_RUN = re.compile(f"{_ARABIC}+|(?:{_LATIN}|[0-9])+")
# What Arabic writes together with its word, of whatever script: و ف ب ك ل س and the article.
_PREFIX = re.compile("[وف]?(?:[بك]?ال|لل|[بكلس])?")
_ENDINGS = ("ات", "ية", "ين", "ون", "ها", "هم")


@_step("missing_spaces")
def add_missing_spaces(text: str) -> tuple[str, int]:
    """Part a word in Latin script from an Arabic one that it is run into: `مجموعةAcme`.

    What Arabic writes together with the next word stays so, as in `وAcme`, and so do endings.
    """
    if not _TOUCHING.search(text):
        return text, 0
    added = 0

    def part(match: re.Match[str]) -> str:
        nonlocal added
        runs = _RUN.findall(match[0])
        word = runs[0]
        for before, run in itertools.pairwise(runs):
            if re.match(_ARABIC, run):
                latin, belongs = before, run in _ENDINGS
            else:
                latin, belongs = run, _PREFIX.fullmatch(before)
            # A single letter may be a prefix, a suffix, or the name of a thing: `طرازX`.
            if min(len(before), len(run)) > 1 and latin[0].isalpha() and not belongs:
                word += " "
                added += 1
            word += run
        return word

    return _MIXED_WORD.sub(part, text), added


_LETTER_RUN = re.compile(r"(.)\1{3,}")


@_step("repeated_letters")
def squeeze_letters(text: str) -> tuple[str, int]:
    """Shorten a letter repeated four times or more to two."""
    changed = 0

    def squeeze(match: re.Match[str]) -> str:
        nonlocal changed
        if not match[1].isalpha():
            return match[0]
        changed += 1
        return match[1] * 2

    return _LETTER_RUN.sub(squeeze, text), changed


# Not the slash, for `file:///`. Dots are apart: three of them are an ellipsis.
_PUNCTUATION_RUN = re.compile(r"([!؟?،,؛;:*_=~#|•·^\-\"'<>%٪۔])\1{2,}")
_DOT_RUN = re.compile(r"\.{4,}")


@_step("repeated_punctuation")
def squeeze_punctuation(text: str) -> tuple[str, int]:
    """Shorten a mark repeated three times or more to one, and four dots or more to `...`."""
    text, marks = _PUNCTUATION_RUN.subn(r"\1", text)
    text, dots = _DOT_RUN.subn("...", text)
    return text, marks + dots


_SPECIAL_TOKEN = re.compile(
    r"<(/?)(s|pad|unk|mask|bos|eos|sep|cls|extra_id_\d{1,4})>|(>)(?=>)|\u2581", re.IGNORECASE
)


def _break_token(match: re.Match[str]) -> str:
    if match[3]:
        return "> "
    return f"< {match[1]}{match[2]} >" if match[2] else " "


@_step("special_tokens")
def break_special_tokens(text: str) -> tuple[str, int]:
    """Put spaces into `</s>`, `<pad>`, `>>fra<<` and the like, and one for SentencePiece's `▁`.

    A Marian tokenizer reads such literals as control tokens, and `>>…<<` as a language code, even
    when they are part of a user's text.
    """
    return _SPECIAL_TOKEN.subn(_break_token, text)


_BLANK = re.compile(r"[^\S\n ]")
_SPACE_RUN = re.compile("  +")
_LINE_EDGE = re.compile(r" +\n *|\n +")


@_step("spaces")
def squeeze_spaces(text: str) -> tuple[str, int]:
    """Make any run of blanks one plain space, and none at the edges of a line."""
    text, blanks = _BLANK.subn(" ", text)
    text, runs = _SPACE_RUN.subn(" ", text)
    text, edges = _LINE_EDGE.subn("\n", text)
    stripped = text.strip(" ")
    return stripped, blanks + runs + edges + (stripped != text)


# The order matters: what deletes or folds comes before NFC and the repeats, since it can bring
# letters together; special tokens come after all that could spell one.
STEPS: tuple[Step, ...] = (
    fix_surrogates,
    unify_newlines,
    strip_invisible,
    strip_control,
    fold_presentation_forms,
    fold_full_width,
    fold_quotes,
    fold_dashes,
    fold_ellipsis,
    strip_tashkeel,
    strip_tatweel,
    fold_look_alikes,
    compose,
    add_missing_spaces,
    squeeze_letters,
    squeeze_punctuation,
    break_special_tokens,
    squeeze_spaces,
)

# One step can give another something to do (a deleted mark joins letters to a run); two or three
# rounds settle any text that was not built to nest such cases.
MAX_ROUNDS = 8


def normalize(text: str) -> str:
    """Give one line or paragraph in the spelling a translation model expects.

    Line breaks become spaces. Normalizing twice is the same as normalizing once.
    """
    for _ in range(MAX_ROUNDS):
        before = text
        for step in STEPS:
            text = step(text)
        text = " ".join(text.split())
        if text == before:
            break
    return text
