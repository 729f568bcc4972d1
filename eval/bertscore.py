"""BERTScore (Zhang et al. 2020) with any encoder that lies on this machine.

Each token of one text is matched with the token of the other whose contextual embedding is nearest
(cosine). Precision is the mean over the hypothesis's tokens, recall over the reference's, and the
score is their F1, times 100. With `idf` the means are weighted by how rare a token is among the
references. Values are raw, not rescaled by a baseline: those of one encoder and layer can be
compared with each other and with nothing else.

As in the authors' own program, the frame that an encoder puts around a text (`[CLS]`, `[SEP]`) can
be matched but has no weight of its own. Unlike there, a text that is longer than the encoder reads
is not cut but embedded in windows.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .metrics import Items, Metric
from .scores import Score, ScoreError
from .significance import Array

_WEIGHTS = ("*.safetensors", "*.bin")
_BATCH = 32
_NOTHING: Array = np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as the encoder read it: token ids, a weight for each, and unit vectors in rows."""

    ids: Sequence[int]
    framing: Sequence[bool]
    vectors: Array


@dataclass(frozen=True)
class BertScorer:
    """BERTScore with the encoder in the folder `encoder` (as `save_pretrained` writes it).

    `layer` counts the encoder's layers from 1, 0 being what goes into the first; None is the last.
    The authors chose the layer that agrees best with people, such as 9 of
    `bert-base-multilingual-cased` and of `xlm-roberta-base`, and 17 of `xlm-roberta-large`.
    `device` is where to compute, in torch's words.

    Call it with items that have references. Raises ScoreError for a folder without a usable
    encoder, a layer that it does not have, and `idf` over a single reference.
    """

    name: str
    encoder: str
    layer: int | None = None
    idf: bool = False
    device: str = "cpu"

    @property
    def metric(self) -> Metric:
        """The metric that this scorer computes."""
        return Metric(self.name, "higher", "reference")

    def __call__(self, items: Items) -> Score:
        references = items.references or ()
        texts = self._embed([*items.hypotheses, *references])
        hypotheses, others = texts[: len(items.hypotheses)], texts[len(items.hypotheses) :]
        weights = self._weights(others)
        values = [100 * _f1(*pair, weights) for pair in zip(hypotheses, others, strict=True)]
        return Score(self.name, sum(values) / len(values), self.signature, tuple(values))

    @property
    def signature(self) -> str:
        """All that the numbers depend on, with the start of a digest of the weights."""
        import transformers

        layer = self._layers if self.layer is None else self.layer
        return (
            f"metric:bertscore|score:f1|avg:mean|encoder:{Path(self.encoder).name}@{self._digest}"
            f"|layer:{layer}|idf:{'yes' if self.idf else 'no'}|rescale:no"
            f"|transformers:{transformers.__version__}"
        )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The tokenizer and the encoder, from disk only."""
        from transformers import AutoModel, AutoTokenizer

        if not (Path(self.encoder) / "config.json").is_file():
            raise ScoreError(
                f"{self.name}: {self.encoder} is no folder with an encoder; download one, such as "
                "xlm-roberta-base, with its config.json, weights and tokenizer, and name its folder"
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.encoder, local_files_only=True)
            model = AutoModel.from_pretrained(self.encoder, local_files_only=True)
            model = model.to(self.device).float().eval()
        except Exception as error:  # the library lets many kinds of errors through
            reason = str(error).strip().split("\n")[0]
            raise ScoreError(
                f"{self.name}: the encoder in {self.encoder} cannot be used: {reason}"
            ) from error
        layers = model.config.num_hidden_layers
        if self.layer is not None and not 0 <= self.layer <= layers:
            raise ScoreError(
                f"{self.name}: layer {self.layer}: the encoder in {self.encoder} has layers 0 "
                f"to {layers}"
            )
        return tokenizer, model

    @property
    def _layers(self) -> int:
        return self._loaded[1].config.num_hidden_layers

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256()
        for pattern in _WEIGHTS:
            for path in sorted(Path(self.encoder).glob(pattern)):
                with path.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()[:16]

    def _embed(self, texts: Sequence[str]) -> list[_Text]:
        """Embed texts in windows of what the encoder reads, windows of like length together."""
        tokenizer, _ = self._loaded
        windows: list[list[int]] = []
        owners: list[int] = []
        before, after = _frame(tokenizer)
        size = self._window(len(before) + len(after))
        for number, text in enumerate(texts):
            ids = tokenizer.encode(text.strip(), add_special_tokens=False, verbose=False)
            for start in range(0, len(ids), size):
                windows.append([*before, *ids[start : start + size], *after])
                owners.append(number)
        vectors: dict[int, Array] = {}
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            vectors |= zip(batch, self._vectors([windows[i] for i in batch]), strict=True)
        framing = {*before, *after}
        found: list[tuple[list[int], list[Array]]] = [([], []) for _ in texts]
        for number, owner in enumerate(owners):
            found[owner][0].extend(windows[number])
            found[owner][1].append(vectors[number])
        return [
            _Text(ids, [i in framing for i in ids], np.concatenate(rows) if rows else _NOTHING)
            for ids, rows in found
        ]

    def _window(self, frame: int) -> int:
        """Tokens of text that fit into one window, beside a frame of so many."""
        tokenizer, model = self._loaded
        limits = [tokenizer.model_max_length]
        if places := getattr(model.config, "max_position_embeddings", None):
            # RoBERTa and its kin count places from the one after their padding.
            after = (tokenizer.pad_token_id or 0) + 1 if "roberta" in model.config.model_type else 0
            limits.append(places - after)
        return max(1, min(limits) - frame)

    def _vectors(self, windows: Sequence[Sequence[int]]) -> list[Array]:
        import torch

        tokenizer, model = self._loaded
        width = max(map(len, windows))
        pad = tokenizer.pad_token_id or 0
        ids = torch.tensor([[*w, *[pad] * (width - len(w))] for w in windows])
        mask = torch.tensor([[1] * len(w) + [0] * (width - len(w)) for w in windows])
        with torch.inference_mode():
            states = model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                output_hidden_states=True,
            ).hidden_states[-1 if self.layer is None else self.layer]
            states = torch.nn.functional.normalize(states, dim=-1).cpu().double().numpy()
        return [states[row, : len(window)] for row, window in enumerate(windows)]

    def _weights(self, references: Sequence[_Text]) -> dict[int, float] | None:
        """The inverse document frequency of each token of the references; None if unwanted."""
        if not self.idf:
            return None
        if len(references) < 2:
            raise ScoreError(f"{self.name}: idf needs more than one reference to be counted over")
        there = Counter(token for text in references for token in set(text.ids))
        return {
            token: math.log((len(references) + 1) / (count + 1)) for token, count in there.items()
        } | {-1: math.log(len(references) + 1)}  # for a token that no reference has


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the encoder expects before and after a text, such as [CLS] and [SEP]."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def _f1(hypothesis: _Text, reference: _Text, weights: dict[int, float] | None) -> float:
    if not hypothesis.ids or not reference.ids:
        return 0.0
    nearness = hypothesis.vectors @ reference.vectors.T
    precision = _mean(nearness.max(axis=1), hypothesis, weights)
    recall = _mean(nearness.max(axis=0), reference, weights)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _mean(values: Array, text: _Text, weights: dict[int, float] | None) -> float:
    """The weighted mean; 0 if nothing has weight, that is, if every word is in every reference."""
    each = np.array(
        [
            0.0 if framing else 1.0 if weights is None else weights.get(token, weights[-1])
            for token, framing in zip(text.ids, text.framing, strict=True)
        ]
    )
    return float(values @ each / each.sum()) if each.sum() > 0 else 0.0
