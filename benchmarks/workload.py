"""What the benchmark works on: a MarianMT of opus-mt's shape, and Arabic-looking documents.

The weights are random, but for a part that fixes every output's length: a head in the decoder's
last layer looks at the source token that stands where the next output token will, and passes on
whether it is the end. So an output has as many tokens as its source, whatever decodes it and with
whichever options, and what is compared is speed alone.
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny

PIECES = 62_834  # opus-mt-ar-en's vocabulary
WIDTH = 512
HEADS = 8
OPUS_SHAPE = {
    "d_model": WIDTH,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 4 * WIDTH,
    "decoder_ffn_dim": 4 * WIDTH,
    "init_std": 0.02,
}


def build_checkpoint(folder: Path, layers: int = 6) -> Path:
    """Write the checkpoint: 76.8 million parameters with its six and six layers."""
    return tiny.build_marian(
        folder,
        seed=1,
        eos_bias=0.0,
        sentences=[s for d in documents(200, seed=1) for p in d for s in p],
        pieces=2000,
        size=PIECES,
        shape=OPUS_SHAPE | {"encoder_layers": layers, "decoder_layers": layers},
        alter=end_with_source,
    )


def write_shortlist(checkpoint: Path, path: Path) -> None:
    """Write a lexical shortlist for that checkpoint: 16,000 pieces for any source, 8 for each.

    They are drawn at random. The model's own would be no test: it writes six different pieces.
    """
    from khulasa.models.checkpoint import resolve
    from khulasa.models.shortlist import Shortlist

    rng = random.Random(11)
    vocabulary = json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8"))
    end, *pieces = list(vocabulary)[:-1]
    candidates = {piece: tuple(rng.sample(pieces, 8)) for piece in pieces}
    always = (end, *rng.sample(pieces, 16_000))
    Shortlist(resolve(str(checkpoint)).digest, always, candidates).write(path)


def end_with_source(model: Any) -> None:
    """Make a Marian model of `WIDTH` end each output after as many tokens as its source has.

    The fast waves of the position embeddings, and one number beside them, are kept free of all
    else. In the end token's embedding that number is set. The first head over the source, in the
    decoder's last layer, compares positions and copies the number.
    """
    half, size, flag = WIDTH // 2, WIDTH // HEADS, WIDTH // 2 - 1
    # Sines come first, then cosines; the last sine is of a wave so slow that it stays near 0.
    waves = [*range(size // 2), *range(half, half + size // 2)]
    kept = [*waves, flag]
    embedding = model.get_input_embeddings().weight
    embedding[:, kept] = 0
    embedding[0] = 0
    embedding[0, flag] = 0.4
    body = model.model
    for layer in [*body.encoder.layers, *body.decoder.layers]:
        layer.self_attn.out_proj.weight[kept] = 0
        layer.fc2.weight[kept] = 0
    for layer in body.decoder.layers:
        layer.encoder_attn.out_proj.weight[kept] = 0
    head = body.decoder.layers[-1].encoder_attn
    for projection in (head.q_proj, head.k_proj, head.v_proj):
        projection.weight[:size] = 0
    head.out_proj.weight[:, :size] = 0
    for row, wave in enumerate(waves):
        head.q_proj.weight[row, wave] = head.k_proj.weight[row, wave] = 4
    head.v_proj.weight[0, flag] = 1
    head.out_proj.weight[flag, 0] = 8


def documents(count: int, seed: int = 7, sentences: int = 9) -> Iterator[list[list[str]]]:
    """Make documents, each a list of paragraphs, which are lists of sentences.

    `sentences` is their mean number. Words are made of Arabic letters, as often as in a language
    (the n-th word about 1/n). Lengths of sentences are log-normal, as in news: half have more than
    16 words, one in twenty more than 40. No sentence comes twice.
    """
    rng = random.Random(seed)
    words = _words(random.Random(3), 6000)
    weights = [1 / (rank + 8) for rank in range(len(words))]
    for _ in range(count):
        left = max(1, round(rng.gauss(sentences, sentences / 3)))
        paragraphs = []
        while left > 0:
            size = min(left, rng.randint(1, 4))
            left -= size
            paragraphs.append([_sentence(rng, words, weights) for _ in range(size)])
        yield paragraphs


def text_of(document: list[list[str]]) -> str:
    """A document as plain text."""
    return "\n\n".join(" ".join(paragraph) for paragraph in document)


def cpus() -> int:
    """The CPUs that this process may use."""
    from khulasa.models.device import cpu_count

    return cpu_count()


def write_corpus(path: Path, count: int) -> None:
    """Write short documents as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for number, document in enumerate(documents(count, seed=5, sentences=2)):
            record = {"id": str(number), "text": text_of(document)}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _sentence(rng: random.Random, words: list[str], weights: list[float]) -> str:
    length = min(90, max(4, round(rng.lognormvariate(2.77, 0.56))))
    return " ".join(rng.choices(words, weights, k=length)) + "."


def _words(rng: random.Random, count: int) -> list[str]:
    letters = "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"
    words: dict[str, None] = {}
    while len(words) < count:
        stem = "".join(rng.sample(letters, rng.choice((3, 3, 4, 4, 5))))
        words[rng.choice(("", "", "", "ال", "و", "ب", "م")) + stem] = None
    return list(words)
