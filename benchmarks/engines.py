"""How fast the two engines decode, on a MarianMT of opus-mt's shape.

Builds a checkpoint of 76.8 million random weights, fixes every output's length, and runs the same
sentences through transformers (float32, sorted batches of 16) and CTranslate2 (int8) in turns:
each round gives one ratio of sentences per second.

Run: python benchmarks/engines.py [--sentences 32] [--rounds 5] [--tokens 20]
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PIECES = 62_834  # opus-mt-ar-en's vocabulary

WORDS = """
قال الوزير إن الحكومة ستفتح مدارس جديدة في المدينة خلال العام المقبل بعد أن
أعلنت الشركة عن خطة كبيرة لتطوير الميناء وزيادة عدد العمال فيه وسط ترحيب من
الأهالي ومطالب بمزيد من الخدمات
""".split()  # noqa: SIM905 (a list of so many would be unreadable)


def build_checkpoint(folder: Path) -> Path:
    """Write a MarianMT of opus-mt's shape (512 wide, 6 + 6 layers) with random weights."""
    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS),
        model_prefix=str(folder / "source"),
        vocab_size=200,
        hard_vocab_limit=False,
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "source.model").rename(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = [model.id_to_piece(number) for number in range(len(model))]
    pieces += [f"▁filler{number}" for number in range(PIECES - len(pieces) - 1)] + ["<pad>"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "ar", "target_lang": "en"})
    )
    torch.manual_seed(1)
    marian = MarianMTModel(
        MarianConfig(
            vocab_size=PIECES,
            d_model=512,
            encoder_layers=6,
            decoder_layers=6,
            encoder_attention_heads=8,
            decoder_attention_heads=8,
            encoder_ffn_dim=2048,
            decoder_ffn_dim=2048,
            activation_function="swish",
            scale_embedding=True,
            max_position_embeddings=512,
            pad_token_id=PIECES - 1,
            decoder_start_token_id=PIECES - 1,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        embedding: Any = marian.get_input_embeddings().weight
        embedding[-1] = 0
    marian.save_pretrained(folder)
    print(f"{sum(p.numel() for p in marian.parameters()) / 1e6:.1f} M parameters")
    return folder


def main() -> None:
    """Time both engines and print the ratio: minimum, median and maximum over the rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--beam-size", type=int, default=4)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["KHULASA_CACHE"] = scratch + "/cache"
        os.environ["TRANSFORMERS_VERBOSITY"] = "error"
        folder = Path(scratch) / "opus-shaped"
        folder.mkdir()
        compare(build_checkpoint(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Run the rounds and print the figures."""
    from khulasa.models.batching import run_batches
    from khulasa.models.checkpoint import resolve
    from khulasa.models.device import cpu_count
    from khulasa.models.engine import Engine, GenerationOptions, load_engine

    rng = random.Random(7)
    sentences = [
        " ".join(rng.choices(WORDS, k=rng.randint(6, 30))) for _ in range(options.sentences)
    ]
    checkpoint = resolve(str(folder))
    fixed = GenerationOptions(
        beam_size=options.beam_size,
        min_new_tokens=options.tokens,
        max_new_tokens=options.tokens,
        length_factor=None,
    )

    def timed(engine: Engine, budget: int, rows: int) -> Callable[[], float]:
        batch = engine.tokenize(sentences)

        def run() -> float:
            start = time.perf_counter()
            run_batches(batch, lambda part: engine.generate(part, fixed), budget, rows)
            return len(sentences) / (time.perf_counter() - start)

        return run

    slow = timed(load_engine(checkpoint, "transformers", "cpu", None, "float32"), 10**9, 16)
    fast = timed(load_engine(checkpoint, "ctranslate2", "cpu", None, "int8"), 4096, 64)
    for warm_up in (slow, fast):
        warm_up()
    ratios = []
    for number in range(1, options.rounds + 1):
        left, right = fast(), slow()
        ratios.append(left / right)
        print(
            f"round {number}: ctranslate2 int8 {left:.2f}, transformers float32 {right:.2f} "
            f"sentences a second, ratio {left / right:.2f}"
        )
    print(
        f"ctranslate2 int8 / transformers float32, beam {options.beam_size}, {cpu_count()} CPUs: "
        f"min {min(ratios):.2f}, median {statistics.median(ratios):.2f}, max {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
