"""A MarianMT with starting weights from which it learns instead of collapsing.

A post-norm encoder trained at a high rate on little data can come to give the same vector at
every position, and cross-attention then has nothing to align. Two remedies: residual branches
scaled down at the start (after Wang et al. 2022, "DeepNet", simplified), and source embeddings
that start near those of their translations.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import resolve
from ..errors import CheckpointError
from .alignment import TranslationTable
from .config import ModelConfig

# The weights that have a row or an entry for each piece.
_OF_PIECES = ("shared.weight", "embed_tokens.weight", "lm_head.weight", "final_logits_bias")
_ARABIC = re.compile(r"[\u0600-\u06FF]")


def build_marian(shape: ModelConfig, vocabulary: int) -> Any:
    """Build a MarianMTModel: Xavier weights, residual branches scaled, the pad row zero."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    pad = vocabulary - 1
    model = MarianMTModel(
        MarianConfig(
            vocab_size=vocabulary,
            d_model=shape.d_model,
            encoder_layers=shape.encoder_layers,
            decoder_layers=shape.decoder_layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=shape.feed_forward,
            decoder_ffn_dim=shape.feed_forward,
            activation_function="relu",
            dropout=shape.dropout,
            attention_dropout=shape.attention_dropout,
            activation_dropout=shape.activation_dropout,
            max_position_embeddings=shape.max_positions,
            scale_embedding=True,
            share_encoder_decoder_embeddings=True,
            tie_word_embeddings=True,
            pad_token_id=pad,
            eos_token_id=0,
            decoder_start_token_id=pad,
            forced_eos_token_id=None,
        )
    )
    _xavier(model)
    with torch.no_grad():
        embedding: Any = model.get_input_embeddings().weight
        embedding.normal_(std=shape.d_model**-0.5)
        embedding[pad] = 0
    return model


def _xavier(model: Any) -> None:
    """Draw all matrices but the embeddings, those of residual branches scaled down."""
    import torch

    residual = (2 * (model.config.encoder_layers + model.config.decoder_layers)) ** -0.5
    scaled = ("v_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                gain = residual if name.endswith(scaled) else 1.0
                torch.nn.init.xavier_uniform_(weight, gain=gain)


def continued_model(shape: ModelConfig, pieces: Sequence[str]) -> Any:
    """The MarianMT at `shape.start_from`, with the dropout and positions of `shape`.

    Where `shape` adds layers to it, its outputs are the same before training. Where `pieces`, the
    vocabulary of the run, are not its own, they start from what it knows of them: see
    `transferred_embeddings`. Raises CheckpointError where source and target have embeddings apart.
    """
    import torch
    from transformers import MarianMTModel

    folder = resolve(str(shape.start_from)).path
    trained: Any = MarianMTModel.from_pretrained(folder, dtype=torch.float32)
    config = copy.deepcopy(trained.config)
    known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    is_other = sorted(known, key=lambda piece: known[piece]) != list(pieces)
    if is_other:
        if not config.share_encoder_decoder_embeddings:
            raise CheckpointError(
                f"{shape.start_from} has embeddings of its own for each side, and can only be "
                "trained with its vocabulary: set vocabulary.reuse to the same checkpoint"
            )
        config.vocab_size = config.decoder_vocab_size = len(pieces)
        config.pad_token_id = config.decoder_start_token_id = len(pieces) - 1
    config.dropout, config.max_position_embeddings = shape.dropout, shape.max_positions
    config.attention_dropout = shape.attention_dropout
    config.activation_dropout = shape.activation_dropout
    config.encoder_layers += shape.add_encoder_layers
    config.num_hidden_layers = config.encoder_layers
    config.decoder_layers += shape.add_decoder_layers
    model = MarianMTModel(config)
    if shape.add_encoder_layers or shape.add_decoder_layers:
        _xavier(model)
    # Positions are computed, not learned, so that there may be more of them than before.
    weights = {k: v for k, v in trained.state_dict().items() if "embed_positions" not in k}
    if is_other:
        weights = {k: v for k, v in weights.items() if not k.endswith(_OF_PIECES)}
        vectors = trained.get_input_embeddings().weight.detach().numpy()
        embeddings = transferred_embeddings(vectors, known, pieces)
        weights["model.shared.weight"] = torch.from_numpy(embeddings)
    for side, added in (
        ("encoder", shape.add_encoder_layers),
        ("decoder", shape.add_decoder_layers),
    ):
        weights = _spread(weights, f"model.{side}.layers.", added)
    model.load_state_dict(weights, strict=False)
    for stack, added in (
        (model.model.encoder.layers, shape.add_encoder_layers),
        (model.model.decoder.layers, shape.add_decoder_layers),
    ):
        for place in _places(len(stack) - added, added):
            _make_neutral(stack[place], stack[place - 1])
    return model


def transferred_embeddings(
    vectors: NDArray[np.float32], known: Mapping[str, int], pieces: Sequence[str]
) -> NDArray[np.float32]:
    """A vector for each piece of another vocabulary: [pieces, width], the last, the pad's, zero.

    A piece that is `known` keeps its vector. Another starts as the mean of those that it can be
    made of, as few as can be, drawn out to the usual length; or at random, if it has a letter that
    is not known at all.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    usual = float(np.median(lengths[lengths > 0]))
    found = np.random.default_rng(0).normal(size=(len(pieces), vectors.shape[1]))
    found *= usual / np.linalg.norm(found, axis=1, keepdims=True)
    for number, piece in enumerate(pieces):
        parts = _fewest_parts(piece, known)
        if len(parts) == 1:
            found[number] = vectors[parts[0]]
        elif parts:
            mean = vectors[parts].mean(0)
            found[number] = mean * usual / max(float(np.linalg.norm(mean)), 1e-6)
    found[-1] = 0
    return found.astype(np.float32)


def _fewest_parts(text: str, known: Mapping[str, int]) -> list[int]:
    """The ids of the fewest pieces that make up the text; none if it cannot be made."""
    best: list[list[int] | None] = [[]]
    for end in range(1, len(text) + 1):
        ways = [
            [*before, known[text[start:end]]]
            for start, before in enumerate(best)
            if before is not None and text[start:end] in known
        ]
        best.append(min(ways, key=len, default=None))
    return best[-1] or []


def _places(layers: int, added: int) -> list[int]:
    """Where new layers stand among the old: spread, never first; last only if there are enough."""
    return [number * layers // added + number + 1 for number in range(added)]


def _spread(weights: dict[str, Any], prefix: str, added: int) -> dict[str, Any]:
    """Renumber the layers of a stack, so that new ones find their places between them."""
    numbers = {int(k.removeprefix(prefix).split(".")[0]) for k in weights if k.startswith(prefix)}
    new = set(_places(len(numbers), added))
    free = [number for number in range(len(numbers) + added) if number not in new]
    spread = {}
    for name, weight in weights.items():
        if name.startswith(prefix):
            number, _, rest = name.removeprefix(prefix).partition(".")
            name = f"{prefix}{free[int(number)]}.{rest}"
        spread[name] = weight
    return spread


def _make_neutral(layer: Any, before: Any) -> None:
    """Let a new layer change nothing: its residual branches add zero.

    A post-norm layer ends by normalizing, scaling and shifting. What is normalized already is not
    changed by that, so the scale and shift of the layer before move behind this one. (After Chen
    et al. 2016, "Net2Net", which has no layer normalization.)
    """
    import torch

    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if ".out_proj." in name or name.startswith("fc2."):
                weight.zero_()
        layer.final_layer_norm.load_state_dict(before.final_layer_norm.state_dict())
        before.final_layer_norm.reset_parameters()


def align_embeddings(
    model: Any, pieces: list[str], table: TranslationTable, target_counts: np.ndarray
) -> None:
    """Start every Arabic piece near its English counterparts' vectors.

    Each becomes the normalized sum of them, weighted by t(english | arabic) and damped by
    1 / sqrt(count + 100) so that frequent function words do not draw everything to themselves,
    plus 0.3 of its own random vector.
    """
    import torch

    weight = model.get_input_embeddings().weight
    vectors = weight.detach().numpy().copy()
    arabic = np.array([bool(_ARABIC.search(piece)) for piece in pieces])
    source, target = np.divmod(table.key, table.vocabulary)
    keep = arabic[source] & ~arabic[target]
    source, target, probability = source[keep], target[keep], table.probability[keep]
    share = (probability / np.sqrt(target_counts[target] + 100.0)).astype(np.float32)
    sums = np.zeros_like(vectors)
    for first in range(0, len(source), 100_000):
        chunk = slice(first, first + 100_000)
        np.add.at(sums, source[chunk], share[chunk, None] * vectors[target[chunk]])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    found = lengths[:, 0] > 0
    usual = np.linalg.norm(vectors[found], axis=1, keepdims=True)
    vectors[found] = sums[found] / lengths[found] * usual + 0.3 * vectors[found]
    with torch.no_grad():
        weight.copy_(torch.from_numpy(vectors))
