"""Builders of tiny checkpoints with random weights: no translation, but the real layout.

And an engine without any model. Every builder writes a directory that `AutoTokenizer` and `AutoModelForSeq2SeqLM` can load, takes
about a second, needs no network, and gives the same weights for the same seed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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

TINY_MARIAN = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "init_std": 0.3,
}


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
    sentences: Iterable[str] = SENTENCES,
    pieces: int = VOCABULARY,
    size: int | None = None,
    shape: Mapping[str, Any] = TINY_MARIAN,
    alter: Callable[[Any], None] = lambda model: None,
) -> Path:
    """Write a Marian checkpoint with opus-mt's layout: `</s>`, `<unk>`, pieces, `<pad>` last.

    `eos_bias` is added to the logit of `</s>` (higher: shorter outputs), `pad_embedding` fills
    the row that decoding starts from (anything but 0 is a broken checkpoint), and `positions`
    is the longest sequence the model accepts. `pieces` are learned from `sentences`, and the
    vocabulary is filled up to `size` with pieces that occur nowhere. `shape` is what the model's
    configuration says of layers; `alter` may change its weights.
    """
    import torch
    from transformers import MarianConfig, MarianMTModel

    path.mkdir(parents=True, exist_ok=True)
    specials = {"unk_id": 1, "eos_id": 0, "bos_id": -1, "pad_id": -1}
    model = train_pieces(sentences, pieces, **specials)
    for name in ("source.spm", "target.spm"):
        (path / name).write_bytes(model.serialized_model_proto())
    names = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    names += [f"▁filler{number}" for number in range((size or 0) - len(names) - 1)]
    vocabulary = {name: i for i, name in enumerate([*names, "<pad>"])}
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
            activation_function="swish",
            scale_embedding=True,
            max_position_embeddings=positions,
            pad_token_id=pad,
            decoder_start_token_id=pad,
            eos_token_id=0,
            forced_eos_token_id=0,
            **shape,
        )
    )
    with torch.no_grad():
        model.get_input_embeddings().weight[pad] = pad_embedding  # type: ignore[index]
        model.final_logits_bias[0, 0] = eos_bias
        alter(model)
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
    compute_type = "float32"
    parallel = 1

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

    def hypotheses(
        self, batch: Sequence[Sequence[int]], options: GenerationOptions
    ) -> list[list[Generation]]:
        return [[result] for result in self.generate(batch, options)]

    def score(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        self.fails(["".join(map(chr, row[:-1])) for row in sources], self.device)
        return [[-float(token) for token in row] for row in targets]

    def close(self) -> None:
        self.closed = True


# The public summarizers' own files, in small: what their config.json and generation settings say is
# theirs, but for the sizes.

_BART_CNN = {
    "activation_dropout": 0.0,
    "activation_function": "gelu",
    "add_final_layer_norm": False,
    "architectures": ["BartForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "classifier_dropout": 0.0,
    "decoder_layerdrop": 0.0,
    "decoder_start_token_id": 2,
    "dropout": 0.1,
    "early_stopping": True,
    "encoder_layerdrop": 0.0,
    "eos_token_id": 2,
    "force_bos_token_to_be_generated": True,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
    "gradient_checkpointing": False,
    "init_std": 0.02,
    "is_encoder_decoder": True,
    "length_penalty": 2.0,
    "max_length": 142,
    "max_position_embeddings": 1024,
    "min_length": 56,
    "model_type": "bart",
    "no_repeat_ngram_size": 3,
    "normalize_before": False,
    "num_beams": 4,
    "output_past": True,
    "pad_token_id": 1,
    "prefix": " ",
    "scale_embedding": False,
    "task_specific_params": {
        "summarization": {
            "early_stopping": True,
            "length_penalty": 2.0,
            "max_length": 142,
            "min_length": 56,
            "no_repeat_ngram_size": 3,
            "num_beams": 4,
        }
    },
    "use_cache": True,
}

_PEGASUS_XSUM = {
    "activation_dropout": 0.1,
    "activation_function": "relu",
    "add_bias_logits": False,
    "add_final_layer_norm": True,
    "architectures": ["PegasusForConditionalGeneration"],
    "attention_dropout": 0.1,
    "bos_token_id": 0,
    "decoder_layerdrop": 0.0,
    "decoder_start_token_id": 0,
    "dropout": 0.1,
    "encoder_layerdrop": 0.0,
    "eos_token_id": 1,
    "extra_pos_embeddings": 1,
    "force_bos_token_to_be_generated": False,
    "forced_eos_token_id": 1,
    "gradient_checkpointing": False,
    "init_std": 0.02,
    "is_encoder_decoder": True,
    "length_penalty": 0.6,
    "max_length": 64,
    "max_position_embeddings": 512,
    "model_type": "pegasus",
    "normalize_before": True,
    "normalize_embedding": False,
    "num_beams": 8,
    "pad_token_id": 0,
    "scale_embedding": True,
    "static_position_embeddings": True,
    "use_cache": True,
}

_MT5_XLSUM = {
    "architectures": ["MT5ForConditionalGeneration"],
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "gradient_checkpointing": False,
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06,
    "length_penalty": 0.6,
    "max_length": 84,
    "model_type": "mt5",
    "no_repeat_ngram_size": 2,
    "num_beams": 4,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "tokenizer_class": "T5Tokenizer",
    "use_cache": True,
}

_TRANSFORMER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_hidden_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}


def build_public(path: Path, family: str, *, eos_bias: float = 3.0) -> Path:
    """Write a checkpoint with the files of a public summarizer: bart-cnn, pegasus-xsum, mt5-xlsum.

    The tokenizer's files, its special tokens and their numbers, the configuration with the settings
    for generation in the places where each has them, and weights in the format of the time.
    `eos_bias` is added to the logit of `</s>`, where the family has a place for it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    path.mkdir(parents=True, exist_ok=True)
    if family == "bart-cnn":
        size = _byte_level_tokenizer(path)
        # The published vocabulary has one entry fewer than the tokenizer, whose last is <mask>.
        config = _BART_CNN | _TRANSFORMER | {"vocab_size": size - 1}
    else:
        model = train_pieces(SENTENCES, VOCABULARY, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
        (path / "spiece.model").write_bytes(model.serialized_model_proto())
        if family == "pegasus-xsum":
            write_json(path / "tokenizer_config.json", {"model_max_length": 512})
            config = _PEGASUS_XSUM | _TRANSFORMER | {"vocab_size": len(model) + 103}
        else:
            write_json(
                path / "tokenizer_config.json",
                {
                    "additional_special_tokens": None,
                    "eos_token": "</s>",
                    "extra_ids": 0,
                    "pad_token": "<pad>",
                    "sp_model_kwargs": {},
                    "tokenizer_class": "T5Tokenizer",
                    "unk_token": "<unk>",
                },
            )
            shape = {"d_ff": 64, "d_kv": 16, "d_model": 32, "num_heads": 2}
            layers = {"num_layers": 2, "num_decoder_layers": 2}
            # Some entries stand for nothing, to make the number round.
            config = _MT5_XLSUM | shape | layers | {"vocab_size": len(model) + 12}
    write_json(path / "config.json", config)
    if family == "pegasus-xsum":
        names = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "forced_eos_token_id")
        names += ("length_penalty", "max_length", "num_beams", "pad_token_id")
        write_json(path / "generation_config.json", {name: config[name] for name in names})
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(path))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and "embed_positions" not in name:
                weight.mul_(10 if family != "mt5-xlsum" else 1)
        if family != "mt5-xlsum":
            model.final_logits_bias[0, config["eos_token_id"]] = eos_bias
        if family == "pegasus-xsum":
            # A trained one never writes its masks and reserved tokens.
            model.final_logits_bias[0, 2:105] = -100
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    return path


def _byte_level_tokenizer(path: Path) -> int:
    """Write vocab.json and merges.txt as BART has them; return the number of entries."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(SENTENCES, vocab_size=360, special_tokens=specials)
    tokenizer.save_model(str(path))
    vocabulary = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    vocabulary["<mask>"] = len(vocabulary)
    write_json(path / "vocab.json", vocabulary)
    write_json(path / "tokenizer_config.json", {"model_max_length": 1024})
    return len(vocabulary)
