"""A list of names out of training material: what `translate.names` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..normalization import normalize
from ..sounds import LATIN_WORD, transliterations
from .config import MaterialConfig
from .corpus import read_pairs
from .names import collect_names


def write_names(sources: Iterable[MaterialConfig], target: Path, words: Path | None = None) -> int:
    """Write the names that both languages spell by the same sounds, and count them.

    Each Arabic name once, sorted, with the English that it has most often. With `words`, all words
    of the English are written there in lower case, one a line.
    """
    seen: dict[tuple[str, str], None] = {}
    for source in sources:
        for arabic, english in read_pairs(source, "translator"):
            seen[normalize(arabic), normalize(english)] = None
    counts = Counter(name for pair in seen for name in transliterations(pair))
    names = dict(sorted(collect_names(seen), key=lambda name: counts[name]))
    lines = [f"{arabic}\t{english}\n" for arabic, english in sorted(names.items())]
    for file in filter(None, (target, words)):
        file.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(lines), encoding="utf-8")
    if words:
        found = {word.lower() for _, english in seen for word in LATIN_WORD.findall(english)}
        words.write_text("".join(f"{word}\n" for word in sorted(found)), encoding="utf-8")
    return len(names)
