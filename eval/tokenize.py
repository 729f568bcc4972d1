"""Words for ROUGE.

The tokenizer most ROUGE tools use keeps a-z and 0-9 and drops the rest, so identical Arabic texts
score 0. A plain Unicode word pattern is little better: it breaks a word at every vowel sign. The
Arabic tokenizer here knows both, and its signature says every choice it made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from .scores import ScoreError

Language = Literal["ar", "en"]

_VERSION = 1

# Vowel signs and Qur'anic annotation; not letters, so a text with and without them reads the same.
_DIACRITICS = "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
_DIACRITICS_EXTENDED = "\u0898-\u089f\u08ca-\u08e1\u08e3-\u08ff"
# The same signs as presentation forms. NFKC would put a space before them, and break the word.
_DIACRITICS_FORMS = "\ufc5e-\ufc63\ufe70-\ufe7f"
_LATIN_MARKS = "\u0300-\u036f"
# Tatweel, soft hyphen, zero-width characters, directional controls, byte order mark.
INVISIBLE = "\u0640\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"

_DIACRITICS_RE = re.compile(f"[{_DIACRITICS}{_DIACRITICS_EXTENDED}{_DIACRITICS_FORMS}]+")
_INVISIBLE_RE = re.compile(f"[{INVISIBLE}]+")
_PRESENTATION_RE = re.compile("[\ufb50-\ufc5d\ufc64-\ufdff\ufe80-\ufefc]+")
_WORD_RE = re.compile(f"(?:[^\\W_]|[{_DIACRITICS}{_DIACRITICS_EXTENDED}{_LATIN_MARKS}])+")
_ENGLISH_WORD_RE = re.compile("[a-z0-9]+")

# Arabic and Persian digits, for str.translate.
DIGITS = {ord(c): str(i % 10) for i, c in enumerate("٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹")}
_ALEF = dict.fromkeys(map(ord, "أإآٱ"), "ا")
_YEH = dict.fromkeys(map(ord, "ىی"), "ي")
_TEH_MARBUTA = {ord("ة"): "ه"}

# The article, with what may stand before it. The stem must keep three letters, so that the words
# الله, التي, والد and بالغ stay whole. A prefix without the article is left alone: spelling does
# not tell it from the first letter of a word (وزير, فريق, سياسة).
_CLITICS_RE = re.compile("([وف]?)(?:([بك]?)(ال)|(ل)(ل))(?=.{3})")


class RougeTokenizer:
    """Splits a text into the words that ROUGE counts: `tokenizer(text)` gives a list of strings.

    Arabic ("ar"): compose (NFC), spell presentation forms out, delete tatweel and invisible
    controls, casefold, and take runs of letters, marks and digits. Options:

    - `diacritics`: keep vowel signs (off: they are deleted).
    - `fold_alef` (أ إ آ ٱ as ا), `fold_yeh` (ى as ي), `fold_teh_marbuta` (ة as ه): forgive spelling
      that careless writing mixes up. Off, because they also make different words equal.
    - `fold_digits`: read ٠-٩ and ۰-۹ as 0-9.
    - `clitics`: split the article ال, and و ف ب ك ل where they precede it. A guess from spelling,
      not a morphological analysis; it does not see through kept diacritics.

    English ("en"): lower case, runs of a-z and 0-9, as in the original ROUGE script, so that scores
    can be compared with published ones. Letters with accents and other scripts are dropped. Its one
    option is `stemmer` (Porter, on words longer than three letters), which needs `nltk`.

    In both, a line break ends a word. An option of the other language raises ScoreError.
    """

    def __init__(
        self,
        language: Language,
        *,
        diacritics: bool = False,
        fold_alef: bool = False,
        fold_yeh: bool = False,
        fold_teh_marbuta: bool = False,
        fold_digits: bool = True,
        clitics: bool = False,
        stemmer: bool = False,
    ) -> None:
        self.language = language
        self._diacritics = diacritics
        self._clitics = clitics
        self._fold: dict[int, str] = {}
        self._stem: Callable[[str], str] | None = None
        if language == "ar":
            if stemmer:
                raise ScoreError("stemmer: it is an English (Porter) stemmer; drop it for Arabic")
            for wanted, table in (
                (fold_digits, DIGITS),
                (fold_alef, _ALEF),
                (fold_yeh, _YEH),
                (fold_teh_marbuta, _TEH_MARBUTA),
            ):
                if wanted:
                    self._fold |= table
            self.signature = (
                f"tok:khulasa-ar|dia:{'keep' if diacritics else 'strip'}|tat:strip"
                f"|alef:{_fold_name(fold_alef)}|yeh:{_fold_name(fold_yeh)}"
                f"|teh:{_fold_name(fold_teh_marbuta)}|dig:{_fold_name(fold_digits)}"
                f"|clit:{'split' if clitics else 'keep'}|case:fold|v:{_VERSION}"
            )
        elif language == "en":
            if diacritics or fold_alef or fold_yeh or fold_teh_marbuta or clitics:
                raise ScoreError("an Arabic option was set for the English tokenizer; drop it")
            if stemmer:
                self._stem = _porter()
            stem = "porter" if stemmer else "no"
            self.signature = f"tok:khulasa-en|chars:a-z0-9|case:lower|stem:{stem}|v:{_VERSION}"
        else:
            raise ScoreError(f"language {language!r}: need 'ar' or 'en'")

    def __call__(self, text: str) -> list[str]:
        """Return the words of `text`, in order."""
        return self._english(text) if self.language == "en" else self._arabic(text)

    def _english(self, text: str) -> list[str]:
        words = _ENGLISH_WORD_RE.findall(text.lower())
        if self._stem is None:
            return words
        stem = self._stem
        return [stem(word) if len(word) > 3 else word for word in words]

    def _arabic(self, text: str) -> list[str]:
        text = _PRESENTATION_RE.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
        text = _INVISIBLE_RE.sub("", text)
        # Compose before deleting marks: a hamza may be written as a mark, but it is a letter.
        text = unicodedata.normalize("NFC", text)
        if not self._diacritics:
            text = _DIACRITICS_RE.sub("", text)
        words = _WORD_RE.findall(text.translate(self._fold).casefold())
        return [part for word in words for part in _split(word)] if self._clitics else words

    def __repr__(self) -> str:
        return f"RougeTokenizer({self.signature!r})"


def _fold_name(folded: bool) -> str:
    return "fold" if folded else "keep"


def _split(word: str) -> list[str]:
    match = _CLITICS_RE.match(word)
    if match is None:
        return [word]
    conjunction, preposition, article, to, _ = match.groups()
    # للكتاب is ل + الكتاب with the alef left out in writing.
    parts = (conjunction, to, "ال") if to else (conjunction, preposition, article)
    return [part for part in (*parts, word[match.end() :]) if part]


def _porter() -> Callable[[str], str]:
    try:
        from nltk.stem.porter import PorterStemmer
    except ImportError as error:
        raise ScoreError(
            "stemmer: it needs nltk, which is not installed; run `pip install nltk` or leave it off"
        ) from error
    return PorterStemmer().stem
