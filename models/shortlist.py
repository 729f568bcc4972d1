"""Lexical shortlists: the pieces that a source may become, so that no others are computed.

With a large vocabulary the output layer is half of the work. A shortlist says for each source piece
which target pieces the model has aligned with it, and which may come in any output; CTranslate2
then multiplies with these rows alone (its vocabulary map). It belongs to one checkpoint.
"""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .checkpoint import Checkpoint
from .device import cpu_count
from .engine import GenerationOptions, Tokens
from .errors import CheckpointError, ConfigError, InputError
from .normalization import normalize

# The file is CTranslate2's: a source piece, a tab, candidates. Its first line stands for a piece
# that no text has, and names the checkpoint.
_HEADER = "khulasa-shortlist-of-"
# Sentences that go to the model in one call.
_CHUNK = 1024
_BATCH_TOKENS = 4096
_LONGEST_SOURCE = 200


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The pieces that may come in any output, and for each source piece those that it may become.

    `digest` is the checkpoint's.
    """

    digest: str
    always: tuple[str, ...]
    candidates: dict[str, tuple[str, ...]]

    @property
    def mean_candidates(self) -> float:
        """How many pieces a source piece adds to those that are always there."""
        return sum(map(len, self.candidates.values())) / max(1, len(self.candidates))

    def write(self, path: Path) -> None:
        """Write the vocabulary map of CTranslate2: to a file beside, then under its name."""
        rules = {_HEADER + self.digest: (), "": self.always} | self.candidates
        scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
        with scratch.open("w", encoding="utf-8", newline="\n") as file:
            for piece, candidates in rules.items():
                file.write(f"{piece}\t{' '.join(candidates)}\n")
        scratch.replace(path)


def with_shortlist(checkpoint: Checkpoint, path: Path | None) -> Checkpoint:
    """Give the checkpoint, to be run with the shortlist in `path`; with None, as it is.

    Its digest is then of both. Raises CheckpointError for a shortlist of another checkpoint.
    """
    if path is None:
        return checkpoint
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"lexical_shortlist: {path} cannot be read: {error}") from error
    first = content.partition(b"\n")[0].decode("utf-8", "replace").rstrip("\t")
    if not first.startswith(_HEADER):
        raise CheckpointError(
            f"{path} is no lexical shortlist of ours: make one with `khulasa shortlist`"
        )
    if first.removeprefix(_HEADER) != checkpoint.digest:
        raise CheckpointError(
            f"the lexical shortlist {path} was made for another checkpoint than {checkpoint.name} "
            f"({first.removeprefix(_HEADER)[:12]}, not {checkpoint.digest[:12]}): make one with "
            "`khulasa shortlist`"
        )
    digest = hashlib.sha256(checkpoint.digest.encode() + content).hexdigest()
    return replace(checkpoint, digest=digest, shortlist=path.resolve())


def build_shortlist(
    checkpoint: Checkpoint,
    texts: Iterable[str],
    *,
    best: int = 100,
    frequent: int = 16_000,
    threads: int | None = None,
) -> Shortlist:
    """Translate source sentences, align the outputs by the model's own attention, and count.

    A source piece keeps the `best` target pieces that are most associated with it (count times
    pointwise mutual information), and those that read the same, for what is copied. Pieces that no
    text has are translated alone. Always there are the `frequent` most frequent target pieces, all
    bytes, digits and punctuation, and single Latin letters. Sentences of more than 200 tokens are
    passed over. Raises ConfigError for an architecture other than Marian, and InputError where no
    text is left.
    """
    if checkpoint.model_type != "marian":
        # The tokens that CTranslate2 looks up by number (the end, a forced beginning) must come
        # first in the vocabulary: it forgets to look them up again when the candidates change.
        raise ConfigError(
            f"a lexical shortlist is for Marian checkpoints, not for {checkpoint.model_type}"
        )
    for name, value in (("best", best), ("frequent", frequent)):
        if value < 0:
            raise ConfigError(f"{name}: must be 0 or more, not {value}")
    aligner = _Aligner(checkpoint, threads)
    rows = [row for row in aligner.encode(texts) if 1 < len(row) <= _LONGEST_SOURCE]
    if not rows:
        raise InputError("a lexical shortlist needs texts to translate: there is none")
    links = Counter(link for row in aligner.align(rows) for link in row)
    outputs = Counter[int]()
    for (_, target), count in links.items():
        outputs[target] += count
    pieces = aligner.pieces
    seen = {token for row in rows for token in row}
    unseen = [i for i, piece in enumerate(pieces) if i not in seen and _is_arabic(piece)]
    for link in aligner.align([[token, aligner.end] for token in unseen]):
        links.update(dict.fromkeys(link, 1))

    always = {i for i, piece in enumerate(pieces) if _is_sign(piece)} | {aligner.end}
    always |= {target for target, _ in outputs.most_common(frequent)}
    candidates = _associated(links, best)
    for source, targets in _same(pieces).items():
        candidates[source] |= targets
    names = {i: piece for i, piece in enumerate(pieces) if not set(piece) & set(" \t\r\n")}
    return Shortlist(
        checkpoint.digest,
        tuple(names[i] for i in sorted(always & names.keys())),
        {
            names[source]: tuple(names[i] for i in sorted((targets - always) & names.keys()))
            for source, targets in sorted(candidates.items())
            if source in names and targets - always
        },
    )


class _Aligner:
    """Translates greedily, and says which source piece each output piece looked at most."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        from .ctranslate2_engine import load_converted
        from .transformers_engine import CheckpointTokenizer

        self._tokenizer = CheckpointTokenizer(checkpoint)
        self._translator = load_converted(
            checkpoint, "int8", inter_threads=threads or cpu_count(), intra_threads=1
        )
        self.end = self._tokenizer.end
        # Without the padding, which the conversion does not have.
        self.pieces = self._tokenizer.pieces()[: self._tokenizer.pad]

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        return self._tokenizer.encode([normalize(text) for text in texts])

    def align(self, rows: Sequence[Tokens]) -> Iterator[list[tuple[int, int]]]:
        """For each row, in any order, its (source, target) pairs, the end token left out."""
        import numpy as np

        ids = {piece: i for i, piece in enumerate(self.pieces)}
        ordered = sorted(rows, key=len)
        for start in range(0, len(ordered), _CHUNK):
            chunk = ordered[start : start + _CHUNK]
            results = self._translator.translate_batch(
                [[self.pieces[token] for token in row] for row in chunk],
                beam_size=1,
                max_input_length=0,
                max_decoding_length=GenerationOptions().output_limit(len(chunk[-1])),
                max_batch_size=_BATCH_TOKENS,
                batch_type="tokens",
                return_attention=True,
            )
            for row, result in zip(chunk, results, strict=True):
                output = [ids[piece] for piece in result.hypotheses[0]]
                if output:
                    # The end of the source is where attention rests when it is of no use.
                    looked_at = np.asarray(result.attention[0])[:, : len(row) - 1].argmax(1)
                    yield [(row[i], token) for i, token in zip(looked_at, output, strict=True)]


def _associated(links: Counter[tuple[int, int]], best: int) -> dict[int, set[int]]:
    """For each source piece, the targets with the highest count times mutual information."""
    sources, targets = Counter[int](), Counter[int]()
    for (source, target), count in links.items():
        sources[source] += count
        targets[target] += count
    total = links.total()
    ranked: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for (source, target), count in links.items():
        gain = count * math.log(count * total / (sources[source] * targets[target]))
        ranked[source].append((-gain, target))
    kept = {source: {t for _, t in sorted(found)[:best]} for source, found in ranked.items()}
    return defaultdict(set, kept)


def _same(pieces: Sequence[str]) -> dict[int, set[int]]:
    """For each piece those that read the same, but for the space and the script of digits."""
    groups: dict[str, set[int]] = defaultdict(set)
    for i, piece in enumerate(pieces):
        groups[_reading(piece)].add(i)
    return {
        i: {other for other in groups[_reading(piece)] if not _is_arabic(pieces[other])}
        for i, piece in enumerate(pieces)
    }


def _reading(piece: str) -> str:
    text = unicodedata.normalize("NFKC", piece.strip("▁"))
    return "".join(str(unicodedata.digit(c, c)) for c in text)


def _is_arabic(piece: str) -> bool:
    return any("\u0600" <= c <= "\u06ff" for c in piece)


def _is_sign(piece: str) -> bool:
    """Whether an output may need the piece whatever its source: bytes, signs, single letters."""
    text = piece.strip("▁")
    if text.startswith("<0x") or (len(text) == 1 and text.isascii()):
        return True
    return len(text) <= 2 and not any(c.isalpha() for c in text) and not _is_arabic(text)
