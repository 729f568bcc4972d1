"""Documents that are longer than the model reads: cut into sections, and packed into its source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .engine import Engine, Tokens
from .errors import ConfigError

# Where sentences must be left out or cut to fit the source, so many stay.
_LEAST_KEPT = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence as the model reads it.

    `index` is its place in the document, if it has one, and `centrality` how much it has in common
    with the rest of it (see `support`), where that counts.
    """

    index: int
    text: str
    units: int  # what it costs of the length: words, or 1 if sentences are counted
    is_candidate: bool
    centrality: float = 0.0


@dataclass(slots=True)
class Section:
    """What the model reads at once, and what became of it.

    `picked` is filled by faithful decoding, `written` and `unfinished` by free decoding.
    """

    lines: list[Line]
    source: list[int]
    budget: int
    is_whole: bool
    picked: list[tuple[Line, float]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    unfinished: bool = False


def units(lines: Iterable[Line]) -> int:
    """What these lines cost of the length."""
    return sum(line.units for line in lines)


class Frame:
    """The special tokens that the tokenizer puts around a text."""

    def __init__(self, engine: Engine, target: bool) -> None:
        empty, probe = engine.tokenize(["", "a"], target)
        common = 0
        while common < min(len(empty), len(probe)) and empty[common] == probe[common]:
            common += 1
        self.head = list(empty[:common])
        self.tail = list(empty[common:])
        self.size = len(empty)

    def body(self, row: Tokens) -> list[int]:
        """The tokens of the text alone."""
        return list(row[len(self.head) : len(row) - len(self.tail)])

    def wrap(self, body: list[int]) -> list[int]:
        """The tokens of a text with the special ones around them."""
        return [*self.head, *body, *self.tail]


class SourceReader:
    """Packs sentences into sources that the model can read, behind the prefix that it wants.

    `nothing` is the source of an empty text. Raises ConfigError for a prefix that leaves no room.
    """

    def __init__(self, engine: Engine, prefix: str) -> None:
        self._engine = engine
        self._prefix = prefix.strip()
        self._frame = Frame(engine, target=False)
        self.nothing = engine.tokenize([self._prefix])[0]
        # What is left of the model's source for the document.
        self._room = engine.max_source_tokens - len(self.nothing)
        if self._room < 1:
            raise ConfigError(
                f"prefix: {self._prefix!r} leaves no room in a source of "
                f"{engine.max_source_tokens} tokens"
            )

    def sections(
        self,
        lines: Sequence[Line],
        budget: int,
        in_one: bool = False,
        opening: str | None = None,
    ) -> tuple[list[Section], bool]:
        """Cut a text into as few sections as fit, each with its budget of the summary's length.

        `in_one` makes it one section, whatever its length. Else each section is read behind
        `opening`, if it does not have it: a model that learned from whole articles takes the first
        sentence that it sees for the one that matters most. The second value says whether some of
        the text had to be left out.
        """
        lengths = [min(self._room, len(body)) for body in self._bodies([x.text for x in lines])]
        room = self._room
        if opening and (sum(lengths) > room or all(line.text != opening for line in lines)):
            ahead = len(self._bodies([opening])[0])
            if in_one or ahead > room // _LEAST_KEPT:
                opening = None
            else:
                room -= ahead
        parts = [range(len(lines))] if in_one else balance(lengths, room)
        total = units(lines)
        shares = apportion(budget, [units(lines[i] for i in part) for part in parts])
        sections, is_cut = [], False
        for part, share in zip(parts, shares, strict=True):
            own = [lines[i] for i in part]
            texts = [line.text for line in own]
            if opening and opening not in texts and sum(lengths[i] for i in part) <= room:
                texts.insert(0, opening)
            source, left_out = self._source(texts)
            is_cut |= left_out
            most = budget
            if len(parts) > 1:
                # Up to twice the share, to leave a choice, but no more than half of the section.
                twice = min(math.ceil(2 * budget * units(own) / total), units(own) // 2)
                most = max(1, share, twice)
            sections.append(Section(own, source, most, len(parts) == 1))
        return sections, is_cut

    def _source(self, texts: list[str]) -> tuple[list[int], bool]:
        """The tokens of these sentences for the encoder, and whether some had to be left out."""
        joined = " ".join([self._prefix, *texts] if self._prefix else texts)
        row = self._engine.tokenize([joined])[0]
        if len(row) <= self._engine.max_source_tokens:
            return row, False
        # A few words of each say nothing: rather fewer sentences, taken evenly from all, of which
        # there is room for a good part.
        bodies = self._bodies(texts)
        part = max(1, min(max(map(len, bodies)), self._room // _LEAST_KEPT))
        most = min(len(texts), self._room // part)
        bodies = [bodies[i * len(texts) // most] for i in range(most)]
        # Short ones in full, and what remains of the room in equal parts to the long ones.
        room = self._room
        kept: dict[int, list[int]] = {}
        for done, i in enumerate(sorted(range(most), key=lambda i: len(bodies[i]))):
            kept[i] = bodies[i][: room // (most - done)]
            room -= len(kept[i])
        content = [token for i in range(most) for token in kept[i]]
        return self._frame.wrap(self._frame.body(self.nothing) + content), True

    def _bodies(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text as it stands after another: some tokenizers see the space."""
        before, *rows = self._engine.tokenize(["a", *(f"a {text}" for text in texts)])
        skipped = len(before) - self._frame.size
        return [self._frame.body(row)[skipped:] for row in rows]


def balance(lengths: Sequence[int], limit: int) -> list[range]:
    """Cut a sequence into as few consecutive parts of at most `limit` as can be, evenly filled.

    Of all cuts into that many parts, the largest part is as small as possible. A single length
    above the limit is a part of its own. Nothing gives one empty part.
    """

    def fill(most: int) -> list[range]:
        parts, start, size = [], 0, 0
        for i, length in enumerate(lengths):
            if i > start and size + length > most:
                parts.append(range(start, i))
                start, size = i, 0
            size += length
        return [*parts, range(start, len(lengths))]

    fewest = len(fill(limit))
    low, high = 1, limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(fill(middle)) <= fewest else (middle + 1, high)
    return fill(high)


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes` by largest remainders; ties go to the first."""
    whole = sum(sizes) or 1
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(total * sizes[i] % whole), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares
