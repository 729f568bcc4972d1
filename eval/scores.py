"""What every metric gives back, and what every metric refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ScoreError(ValueError):
    """Text that cannot be scored; the message names the segment and says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Score:
    """One metric over a corpus.

    `value` is the corpus score and `per_item` holds one score per segment, in input order. Both
    are on the 0 to 100 scale (TER, an error rate, may pass 100). For ROUGE `value` is the plain
    mean of `per_item`; BLEU, chrF and TER pool their counts over the corpus first, so there it is
    not. `signature` names every option that the numbers depend on.
    """

    name: str
    value: float
    signature: str
    per_item: tuple[float, ...]
    higher_is_better: bool = True


def segment_name(index: int, ids: Sequence[str] | None) -> str:
    """Name a segment in a message: its number from 0 and, if it has one, its id."""
    return f"segment {index}" if ids is None else f"segment {index} (id {ids[index]!r})"


def check_texts(texts: Sequence[str], what: str, ids: Sequence[str] | None = None) -> None:
    """Raise ScoreError unless `texts` is a non-empty list of strings, one per id.

    `what` is the word for them in the message, such as "hypotheses".
    """
    if isinstance(texts, str):
        raise ScoreError(f"{what}: got one string, need a list of strings, one per segment")
    if len(texts) == 0:
        raise ScoreError(f"{what}: there are none, so there is nothing to score")
    if ids is not None and len(ids) != len(texts):
        raise ScoreError(f"{what}: {len(texts)} segments but {len(ids)} ids; give one id each")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            kind = "missing (None)" if text is None else f"a {type(text).__name__}, not a string"
            raise ScoreError(f"{what}: {segment_name(index, ids)} is {kind}")


def check_pairs(
    hypotheses: Sequence[str], references: Sequence[str], ids: Sequence[str] | None = None
) -> None:
    """Raise ScoreError unless every hypothesis has one reference with something in it.

    An empty hypothesis passes: a system that says nothing has a score, and it is a bad one. An
    empty reference does not: no score against it means anything.
    """
    if not isinstance(hypotheses, str) and not isinstance(references, str):
        short, long = sorted((len(hypotheses), len(references)))
        if short != long:
            raise ScoreError(
                f"{len(hypotheses)} hypotheses but {len(references)} references: the shorter list "
                f"ends before segment {short}; give exactly one reference per hypothesis"
            )
    check_texts(hypotheses, "hypotheses", ids)
    check_texts(references, "references", ids)
    for index, reference in enumerate(references):
        if not reference.strip():
            raise ScoreError(
                f"references: {segment_name(index, ids)} is empty; leave that pair out or fill it"
            )
