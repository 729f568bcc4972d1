"""Builders of tiny checkpoints with random weights: no translation, but the real layout.

And an engine without any model. Every builder writes a directory that `AutoTokenizer` and `AutoModelForSeq2SeqLM` can load, takes
about a second, needs no network, and gives the same weights for the same seed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from khulasa.models.checkpoint import Checkpoint
from khulasa.models.engine import Generation, GenerationOptions

SENTENCES = (
    "وصل القطار إلى المحطة قبل الموعد بعشر دقائق.",
    "تزرع القرية الزيتون والتين منذ مئات السنين.",
    "قال المهندس إن الجسر الجديد سيفتح في الربيع.",
    "اشترى أحمد ثلاثة كتب من المكتبة القديمة.",
    "هل تعرف الطريق إلى السوق؟ نعم، هو قريب من هنا.",
    "بلغ عدد الزوار 2500 زائر في اليوم الأول.",
    "The train reached the station ten minutes early.",
    "The village has grown olives and figs for hundreds of years.",
    "The engineer said the new bridge will open in spring.",
    "Ahmad bought three books from the old library.",
    "Do you know the way to the market? Yes, it is near here.",
    "There were 2500 visitors on the first day.",
)

VOCABULARY = 160


def train_pieces(sentences: Iterable[str], size: int, **options: Any) -> Any:
    """Train a SentencePiece model and return its processor. The same call gives the same bytes."""
    import sentencepiece

    # Not into a file: the model would hold the file's path.
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def build_marian(
    path: Path,
    *,
    seed: int = 0,
    eos_bias: float = 3.0,
    pad_embedding: float = 0.0,
    dtype: str = "float32",
    positions: int = 512,
) -> Path:
    """Write a Marian checkpoint with opus-mt's layout: `</s>`, `<unk>`, pieces, `<pad>` last.

    `eos_bias` is added to the logit of `</s>` (higher: shorter outputs), `pad_embedding` fills
    the row that decoding starts from (anything but 0 is a broken checkpoint), and `positions`
    is the longest sequence the model accepts.
    """
    import torch
    from transformers import MarianConfig, MarianMTModel

    path.mkdir(parents=True, exist_ok=True)
    specials = {"unk_id": 1, "eos_id": 0, "bos_id": -1, "pad_id": -1}
    model = train_pieces(SENTENCES, VOCABULARY, **specials)
    for name in ("source.spm", "target.spm"):
        (path / name).write_bytes(model.serialized_model_proto())
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<pad>"])}
    write_json(path / "vocab.json", vocabulary)
    write_json(
        path / "tokenizer_config.json",
        {
            "source_lang": "ar",
            "target_lang": "en",
            "model_max_length": positions,
            "tokenizer_class": "MarianTokenizer",
        },
    )

    pad = len(vocabulary) - 1
    torch.manual_seed(seed)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=len(vocabulary),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            activation_function="swish",
            scale_embedding=True,
            max_position_embeddings=positions,
            init_std=0.3,
            pad_token_id=pad,
            decoder_start_token_id=pad,
            eos_token_id=0,
            forced_eos_token_id=0,
        )
    )
    with torch.no_grad():
        model.get_input_embeddings().weight[pad] = pad_embedding  # type: ignore[index]
        model.final_logits_bias[0, 0] = eos_bias
    model.generation_config.max_length = 512
    model.generation_config.num_beams = 4
    model.generation_config.bad_words_ids = [[pad]]
    model.to(getattr(torch, dtype)).save_pretrained(path)
    return path


def _fast_tokenizer(path: Path, *, start: str | None, specials: list[str]) -> int:
    """Write a tokenizer.json over SentencePiece's pieces; return the size of the vocabulary.

    `specials` come first in the vocabulary; `start` is put before each text, `</s>` after it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    trained = train_pieces(SENTENCES, VOCABULARY, unk_id=0, bos_id=-1, eos_id=-1)
    pieces = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(1, len(trained))]
    scored = [*((token, 0.0) for token in specials), *pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=specials.index("<unk>")))
    tokenizer.add_special_tokens(specials)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    ends = [(token, specials.index(token)) for token in (start, "</s>") if token]
    tokenizer.post_processor = TemplateProcessing(
        single=" ".join(filter(None, [start, "$A", "</s>"])), special_tokens=ends
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=start,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=512,
    ).save_pretrained(path)
    return tokenizer.get_vocab_size()


def build_bart(path: Path, *, seed: int = 0, eos_bias: float = 3.0, positions: int = 512) -> Path:
    """Write a BART checkpoint: learned positions, `</s>` starts decoding, `<s>` is forced first."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    size = _fast_tokenizer(path, start="<s>", specials=["<s>", "<pad>", "</s>", "<unk>"])
    torch.manual_seed(seed)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=size,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=positions,
            init_std=0.3,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=2,
        )
    )
    model.generation_config.forced_bos_token_id = 0
    with torch.no_grad():
        model.final_logits_bias[0, 2] = eos_bias
    model.save_pretrained(path)
    return path


def build_t5(path: Path, *, seed: int = 0, multilingual: bool = False) -> Path:
    """Write a T5 checkpoint, or with `multilingual` one of mT5's shape (gated, untied)."""
    import torch
    from transformers import (
        MT5Config,
        MT5ForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
    )

    size = _fast_tokenizer(path, start=None, specials=["<pad>", "</s>", "<unk>"])
    shape = {
        "vocab_size": size,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 2,
        "initializer_factor": 1.0,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    if multilingual:
        config = MT5Config(**shape, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
        model = MT5ForConditionalGeneration(config)
    else:
        model = T5ForConditionalGeneration(T5Config(**shape))
    model.save_pretrained(path)
    return path


def build_mt5(path: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of mT5's shape."""
    return build_t5(path, seed=seed, multilingual=True)


class FakeEngine:
    """An `Engine` without a model, for tests of what is built around one.

    Each character of a text is a token (its code point) and 0 is the end token, so that tokens can
    be read back as the text. `reply(text, options)` says what a text becomes (None: cut off at the
    limit); `fails(texts, device)` may raise, in the place of a device that does. `batches` records
    the texts of each call that succeeded.
    """

    name = "fake"

    def __init__(
        self,
        reply: Callable[[str, GenerationOptions], str | None] = lambda text, _: text.upper(),
        fails: Callable[[list[str], str], None] = lambda _texts, _device: None,
        device: str = "cpu",
        max_source_tokens: int = 512,
    ) -> None:
        self.reply = reply
        self.fails = fails
        self.device = device
        self.max_source_tokens = max_source_tokens
        self.checkpoint = Checkpoint(Path("fake"), "fake", None, "0" * 64)
        self.batches: list[list[str]] = []
        self.closed = False

    def tokenize(self, texts: Sequence[str], target: bool = False) -> list[list[int]]:
        return [[*map(ord, text), 0] for text in texts]

    def count_tokens(self, text: str) -> int:
        return len(text) + 1

    def generate(
        self, batch: Sequence[Sequence[int]], options: GenerationOptions
    ) -> list[Generation]:
        texts = ["".join(map(chr, row[:-1])) for row in batch]
        self.fails(texts, self.device)
        self.batches.append(texts)
        results = []
        for text in texts:
            reply = self.reply(text, options)
            shown = text if reply is None else reply
            tokens = tuple(map(ord, shown)) + (() if reply is None else (0,))
            results.append(Generation(tokens, shown, -len(shown) / 100, truncated=reply is None))
        return results

    def score(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        self.fails(["".join(map(chr, row[:-1])) for row in sources], self.device)
        return [[-float(token) for token in row] for row in targets]

    def close(self) -> None:
        self.closed = True
