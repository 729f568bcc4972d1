"""Names that a translation spells wrongly, put right from a list.

Small models hear names that they do not know: ليفينغستون becomes Lelingston. A list says how a name
is spelled, and what stands for it in the translation is the word that resembles it, if there is one
that nothing else in the source accounts for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

from .checkpoint import SHIPPED
from .errors import ConfigError
from .normalization import normalize
from .repair import likeness, matched
from .sounds import ARABIC_WORD, LATIN_WORD, Pair, sound_alike, stems, transliterations

# Letters that a name and what stands for it must share, in order, over all of both.
_ALIKE = 0.6
_SHORTEST = 3


class NameList:
    """Arabic names and how English spells them.

    `words` are words that English has, names among them: they are let be.
    """

    def __init__(self, names: Mapping[str, str], words: Collection[str] = ()) -> None:
        # As the source is when it is looked up. Plain letters stay, and this is on every start.
        self._names = {
            arabic if ARABIC_WORD.fullmatch(arabic) else normalize(arabic): english
            for arabic, english in names.items()
        }
        self._words = frozenset(word.lower() for word in (*words, *self._names.values()))
        content = repr((sorted(self._names.items()), sorted(self._words)))
        self.digest = hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def load(cls, *paths: Path | Literal["default"]) -> NameList:
        """Read TSVs of Arabic and English names; `default` is the one that ships.

        What several of them have is taken from the first. Of a line with several words on a side,
        those are taken that are spelled by the same sounds. Raises ConfigError for a file that
        cannot be read or a line that has no second column.
        """
        names: dict[str, str] = {}
        for path in paths:
            for name, spelled in _read(SHIPPED / "names.tsv" if path == "default" else path):
                names.setdefault(name, spelled)
        return cls(names, (SHIPPED / "words.txt").read_text(encoding="utf-8").split())

    def repair(self, source: str, target: str) -> str | None:
        """The translation with names of the list in place of words that resemble them.

        Such a word has a capital, begins with the same letter and is none that English is known to
        have; and it either sounds like the name or like no word of the source. None if there is
        none.
        """
        latin = dict.fromkeys(LATIN_WORD.findall(target))
        odd = [w for w in latin if len(w) >= _SHORTEST and w[0].isupper() and not self._knows(w)]
        if not odd:
            return None
        known = [word for word in latin if self._knows(word)]
        arabic = dict.fromkeys(ARABIC_WORD.findall(source))
        heard = {w: {s for each in arabic for s in stems(each) if sound_alike(s, w)} for w in odd}
        choices = matched(
            # What sounds alike goes first.
            (alike + (stem in heard[word]), name, word)
            for stem, name in filter(None, map(self._find, arabic))
            if not any(_stands_for(word, stem, name) for word in known)
            for word in odd
            if word[0] == name[0]
            and (not heard[word] or stem in heard[word])
            and (alike := likeness(word.lower(), name.lower())) >= _ALIKE
        )
        if not choices:
            return None
        return LATIN_WORD.sub(lambda found: choices.get(found[0], found[0]), target)

    def _knows(self, word: str) -> bool:
        return word.lower() in self._words

    def _find(self, word: str) -> Pair | None:
        """The name that an Arabic word is or has behind a prefix, and its English."""
        return next(((s, self._names[s]) for s in stems(word) if s in self._names), None)


def _read(file: Path) -> Iterator[Pair]:
    """The names of a TSV, each a word in both languages."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"translate.names: {file} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        arabic, _, english = (part.strip() for part in line.partition("\t"))
        if not arabic or not english:
            raise ConfigError(
                f"translate.names: {file}, line {number}: expected Arabic, tab, English"
            )
        if " " in f"{arabic}{english}":
            yield from transliterations((arabic, english))
        else:
            yield arabic, english


def _stands_for(word: str, stem: str, name: str) -> bool:
    """Whether an English word is the name, is spelled another way, or is derived from it."""
    beginning = name.lower()[: max(_SHORTEST, len(name) - 2)]
    return word.lower().startswith(beginning) or (word[0].isupper() and sound_alike(stem, word))
