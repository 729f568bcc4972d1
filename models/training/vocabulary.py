"""The joint vocabulary: a SentencePiece model in the files that MarianTokenizer reads."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from .corpus import Corpus

END, UNKNOWN, PAD = "</s>", "<unk>", "<pad>"
TOKENIZER_FILES = ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json")


def sample_lines(corpora: Sequence[Corpus], limit: int, seed: int) -> list[str]:
    """Lines of both languages in the proportions of the training mix, at most `limit`."""
    order = random.Random(seed)
    weighted = [(corpus, min(corpus.weight, 1.0)) for corpus in corpora]
    total = sum(2 * len(corpus.pairs) * weight for corpus, weight in weighted)
    lines: list[str] = []
    for corpus, weight in weighted:
        count = int(len(corpus.pairs) * weight * min(1.0, limit / total))
        for source, target in order.sample(corpus.pairs, count):
            lines += (source, target)
    return lines


def train_vocabulary(
    corpora: Sequence[Corpus], folder: Path, size: int, limit: int, coverage: float, seed: int
) -> None:
    """Train a joint SentencePiece model and write Marian's tokenizer files into `folder`.

    The vocabulary is `</s>`, `<unk>`, the pieces, then `<pad>` last: CTranslate2 assumes that the
    pad entry, which starts the decoder, is the last one. Raises ConfigError where the material is
    too little for the size.
    """
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / "joint"
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample_lines(corpora, limit, seed)),
            model_prefix=str(prefix),
            vocab_size=size - 1,
            model_type="unigram",
            character_coverage=coverage,
            byte_fallback=True,
            split_digits=True,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        # SentencePiece names the largest size that the material allows.
        raise ConfigError(
            f"vocabulary.size {size}: {str(error).rsplit(']', 1)[-1].strip()}"
        ) from None
    model = folder / "source.spm"
    prefix.with_suffix(".model").replace(model)
    prefix.with_suffix(".vocab").unlink()
    shutil.copy(model, folder / "target.spm")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    vocabulary = {pieces.id_to_piece(number): number for number in range(len(pieces))}
    vocabulary[PAD] = len(vocabulary)
    (folder / "vocab.json").write_text(
        json.dumps(vocabulary, ensure_ascii=False, indent=0), encoding="utf-8"
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "MarianTokenizer",
                "source_lang": "ar",
                "target_lang": "en",
                "model_max_length": 512,
                "separate_vocabs": False,
            },
            indent=2,
        ),
        encoding="utf-8",
    )


def copy_vocabulary(source: Path, folder: Path) -> None:
    """Take the tokenizer files of another MarianMT checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(source / name, folder / name)
