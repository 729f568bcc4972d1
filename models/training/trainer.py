"""The training loop: one trainer for the translator and the summarizer.

A run lives in a folder: `tokenizer/` the vocabulary, `state.pt` everything needed to go on,
`weights/` the last sets of weights, `log.csv` what happened. Killed and started again, it ends in
the same weights as if it had never stopped (with the same number of threads).
"""

from __future__ import annotations

import csv
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .alignment import Ids
from .batches import BatchStream, Example, Position
from .config import OptimizationConfig, TrainingConfig
from .noise import Noise
from .ranking import Lists, Ranking, pack, thin

log = logging.getLogger(__name__)

# Gives, for a source and a target, the matrix [target, source] that attention should resemble.
Guide = Callable[[Ids, Ids], NDArray[np.float32]]

LOG_EVERY = 50
COLUMNS: tuple[str, ...] = (
    "updates", "seconds", "epoch", "tokens", "learning_rate", "batch_tokens", "loss",
    "cross_entropy", "shuffled_cross_entropy", "encoder_deviation", "tokens_per_second",
    "chrf", "bleu", "ranking", "dev_cross_entropy",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Padded tensors of one update. `alignment` is [rows, target, source] or None.

    `target_input` is what the decoder reads: the target one place later, behind the pad token.
    `lists` are the sentences to rank, if any.
    """

    source: torch.Tensor
    source_mask: torch.Tensor
    target: torch.Tensor
    target_mask: torch.Tensor
    target_input: torch.Tensor
    alignment: torch.Tensor | None
    lists: Lists | None = None


def collate(examples: Sequence[Example], pad: int, guide: Guide | None) -> Batch:
    """Pad examples into a batch, with the alignment that attention should resemble, if any."""
    rows = len(examples)
    width = max(len(example.source) for example in examples)
    height = max(len(example.target) for example in examples)
    source = np.full((rows, width), pad, dtype=np.int64)
    target = np.full((rows, height), pad, dtype=np.int64)
    alignment = np.zeros((rows, height, width), dtype=np.float32) if guide else None
    for row, example in enumerate(examples):
        source[row, : len(example.source)] = example.source
        target[row, : len(example.target)] = example.target
        if guide is not None and alignment is not None:
            alignment[row, : len(example.target), : len(example.source)] = guide(
                example.source, example.target
            )
    sources, targets = torch.from_numpy(source), torch.from_numpy(target)
    return Batch(
        sources,
        (sources != pad).long(),
        targets,
        targets != pad,
        functional.pad(targets[:, :-1], (1, 0), value=pad),
        None if alignment is None else torch.from_numpy(alignment),
    )


def twice(batch: Batch) -> Batch:
    """The batch with each of its rows a second time, behind all others."""
    tensors = {
        field.name: torch.cat([value, value])
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **tensors)


def divergence(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """How much two predictions [tokens, classes] of the same tokens differ: nats a token.

    The mean of both Kullback-Leibler divergences, from logits.
    """
    left, right = left.log_softmax(-1), right.log_softmax(-1)
    return ((left.exp() - right.exp()) * (left - right)).sum(-1).mean() / 2


@dataclass(frozen=True)
class Losses:
    """Of one update: cross-entropy per target token, ranking loss per list, target tokens."""

    cross_entropy: float
    ranking: float
    tokens: int


class GuidedHead:
    """Reads the first cross-attention head of the last decoder layer during a forward pass."""

    def __init__(self, model: Any) -> None:
        self.attention = model.model.decoder.layers[-1].encoder_attn
        self.inputs: tuple[torch.Tensor, torch.Tensor] | None = None
        self.attention.register_forward_hook(self._keep, with_kwargs=True)

    def _keep(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _out: Any) -> None:
        states = (*args, kwargs.get("hidden_states"), kwargs.get("key_value_states"))
        query, memory = [state for state in states if isinstance(state, torch.Tensor)][:2]
        self.inputs = query, memory

    def log_attention(self, source_mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [rows, target, source] of the head in the pass just made."""
        assert self.inputs is not None
        query, memory = self.inputs
        size = self.attention.head_dim

        def project(layer: torch.nn.Linear, states: torch.Tensor) -> torch.Tensor:
            return functional.linear(states, layer.weight[:size], layer.bias[:size])

        scores = project(self.attention.q_proj, query) @ project(
            self.attention.k_proj, memory
        ).transpose(1, 2)
        scores = scores * size**-0.5
        return scores.masked_fill(source_mask[:, None, :] == 0, -1e9).log_softmax(-1)


def learning_rate(update: int, options: OptimizationConfig) -> float:
    """Linear warm-up, plateau, linear cool-down to zero over the last updates."""
    warm = min(1.0, (update + 1) / max(1, options.warmup_updates))
    left = (options.total_updates - update) / max(1, options.cooldown_updates)
    return options.learning_rate * min(warm, max(0.0, min(1.0, left)))


def faster_precision() -> str:
    """Time one matrix product in float32 and bfloat16 on this machine and name the faster."""
    seconds = {}
    for name in ("float32", "bfloat16"):
        left = torch.ones(1024, 256, dtype=getattr(torch, name))
        right = torch.ones(256, 1024, dtype=getattr(torch, name))
        torch.mm(left, right)
        start = time.perf_counter()
        for _ in range(5):
            torch.mm(left, right)
        seconds[name] = time.perf_counter() - start
    return min(seconds, key=lambda name: seconds[name])


class Trainer:
    """Trains `model` on `examples` in `folder`, going on from the state that lies there.

    `outputs` are the ids that the model may write: all that occur in targets must be among them.
    `validate` is called with the model and returns figures for the log (such as chrF and BLEU).
    `progress` is called after each update with the figures of the last log line.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: Any,
        examples: Sequence[Example],
        sizes: Sequence[int],
        weights: Sequence[float],
        folder: Path,
        outputs: NDArray[np.int64],
        guide: Guide | None = None,
        noise: Noise | None = None,
        validate: Callable[[Any], dict[str, float]] | None = None,
        progress: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        self.config, self.options = config, config.optimization
        self.model, self.examples, self.folder = model, examples, folder
        self.guide, self.noise = guide, noise
        self.validate, self.progress = validate, progress
        self.pad = model.config.pad_token_id
        self.outputs = torch.from_numpy(outputs)
        self._class = torch.full((self.pad + 1,), -1)
        self._class[self.outputs] = torch.arange(len(outputs))
        self.head = GuidedHead(model) if guide is not None else None
        self.ranking = Ranking(model, self.outputs, config.ranking)
        precision = self.options.precision
        self.precision = faster_precision() if precision == "auto" else precision
        self.optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=self.options.learning_rate,
            betas=self.options.betas,
            weight_decay=self.options.weight_decay,
            fused=True,
        )
        self.validate_every = config.validation.every if config.validation else sys.maxsize
        self.updates, self.tokens, self.seconds = 0, 0, 0.0
        torch.manual_seed(config.seed)
        position = self._restore()
        lengths = np.array([max(len(e.source), len(e.target)) for e in examples], dtype=np.int64)
        self.stream = BatchStream(lengths, sizes, weights, self.options, config.seed, position)

    def run(self) -> None:
        """Train until `total_updates`. Safe to interrupt: the state is saved as configured."""
        log.info(
            "training %d parameters in %s, from update %d to %d",
            sum(p.numel() for p in self.model.parameters()),
            self.precision, self.updates, self.options.total_updates,
        )  # fmt: skip
        self.model.train()
        window: list[Losses] = []
        started, since = time.perf_counter(), time.perf_counter()
        while self.updates < self.options.total_updates:
            batch = self._batch()
            losses = self._update(batch)
            window.append(losses)
            self.updates += 1
            self.tokens += losses.tokens
            due = self.updates % self.validate_every == 0
            last = self.updates == self.options.total_updates
            if self.updates % LOG_EVERY == 0 or due or last:
                now = time.perf_counter()
                self.seconds += now - started
                started = now
                figures = self._figures(batch, window, now - since)
                if (due or last) and self.validate is not None:
                    figures |= self.validate(self.model)
                    self.model.train()
                self._log(figures)
                window, since = [], time.perf_counter()
                if self.progress is not None:
                    self.progress(self.updates, figures)
            if self.updates % self.config.checkpoints.every == 0 or last:
                self.save()

    def _batch(self) -> Batch:
        examples = [self.examples[number] for number in next(self.stream)]
        # Of the update's own, so that a resumed run draws what an uninterrupted one would.
        random = np.random.default_rng([self.config.seed, self.updates])
        if self.noise is not None:
            return self._noisy(examples, self.noise, random)
        options = self.config.ranking
        if not options.weight or self.updates < options.from_update:
            return collate(examples, self.pad, self.guide)
        examples = [thin(example, options.dropout, random) for example in examples]
        lists = pack(examples, self.pad, options, random)
        return replace(collate(examples, self.pad, self.guide), lists=lists)

    def _noisy(
        self, examples: Sequence[Example], noise: Noise, random: np.random.Generator
    ) -> Batch:
        examples = [noise.segment(example, random) for example in examples]
        batch = collate(examples, self.pad, self.guide)
        spared = (self.pad, self.model.config.eos_token_id)

        def hide(ids: torch.Tensor, share: float) -> torch.Tensor:
            return torch.from_numpy(noise.hide(ids.numpy(), share, spared, random))

        return replace(
            batch,
            source=hide(batch.source, noise.options.source_masking),
            target_input=hide(batch.target_input, noise.options.target_masking),
        )

    def _encode(self, batch: Batch, source: torch.Tensor) -> torch.Tensor:
        encoder = self.model.model.encoder
        return encoder(input_ids=source, attention_mask=batch.source_mask).last_hidden_state

    def _predict(self, batch: Batch, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of each target token, row by row, and the class that it is.

        Only `outputs` have a place in the softmax: never pad.
        """
        states = self.model.model.decoder(
            input_ids=batch.target_input,
            encoder_hidden_states=memory,
            encoder_attention_mask=batch.source_mask,
            use_cache=False,
        ).last_hidden_state
        weight = self.model.get_output_embeddings().weight[self.outputs]
        logits = functional.linear(states[batch.target_mask], weight)
        return logits.float(), self._class[batch.target[batch.target_mask]]

    def _loss(self, batch: Batch, memory: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Mean loss over target tokens."""
        logits, wanted = self._predict(batch, memory)
        return functional.cross_entropy(logits, wanted, label_smoothing=smoothing)

    def _guide_weight(self) -> float:
        options = self.config.alignment
        left = max(0.0, 1.0 - self.updates / options.decay_updates)
        return options.final_weight + (options.weight - options.final_weight) * left

    def _update(self, batch: Batch) -> Losses:
        rate = learning_rate(self.updates, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        consistency, rows = self.options.consistency, len(batch.source)
        if consistency:
            batch = twice(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            memory = self._encode(batch, batch.source)
            logits, wanted = self._predict(batch, memory)
            smoothing = self.options.label_smoothing
            loss = functional.cross_entropy(logits, wanted, label_smoothing=smoothing)
            total = loss
            if consistency:
                total = loss + consistency * divergence(*logits.chunk(2))
            if self.head is not None and batch.alignment is not None:
                attention = self.head.log_attention(batch.source_mask)
                guided = -(batch.alignment * attention).sum(-1)[batch.target_mask].mean()
                total = total + self._guide_weight() * guided
            ranking = torch.zeros(())
            if batch.lists is not None:
                ranking = self.ranking.loss(batch.lists, memory[:rows], batch.source_mask[:rows])
                total = total + self.config.ranking.weight * ranking
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            # Engines start decoding from the pad embedding and take it to be zero.
            self.model.get_input_embeddings().weight[self.pad].zero_()
        tokens = int(batch.target_mask.sum()) // (2 if consistency else 1)
        return Losses(float(loss.detach()), float(ranking.detach()), tokens)

    @torch.no_grad()
    def _figures(self, batch: Batch, window: list[Losses], seconds: float) -> dict[str, float]:
        """What tells a healthy run from a collapsed encoder, beside loss and speed."""
        self.model.eval()
        memory = self._encode(batch, batch.source)
        deviation = memory[0][batch.source_mask[0] == 1].std(0).mean()
        # Another sentence's source of nearly the same length: what is lost is what was read.
        shuffled = self._loss(batch, self._encode(batch, batch.source.roll(1, 0)), 0.0)
        tokens = sum(losses.tokens for losses in window)
        figures = {
            "loss": sum(losses.cross_entropy * losses.tokens for losses in window) / tokens,
            "cross_entropy": float(self._loss(batch, memory, 0.0)),
            "shuffled_cross_entropy": float(shuffled),
            "encoder_deviation": float(deviation),
            "tokens_per_second": tokens / seconds,
            "batch_tokens": batch.target.numel(),
        }
        if self.config.ranking.weight:
            figures["ranking"] = sum(losses.ranking for losses in window) / len(window)
        self.model.train()
        return figures

    def _log(self, figures: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        row = {
            "updates": self.updates,
            "seconds": round(self.seconds, 1),
            "epoch": self.stream.position.epoch,
            "tokens": self.tokens,
            "learning_rate": learning_rate(self.updates - 1, self.options),
        } | figures
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})

    def save(self) -> None:
        """Write the state, then a set of weights to average later; drop the oldest set."""
        from safetensors.torch import save_file

        weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        state = {
            "model": weights,
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(self.stream.position),
            "random": torch.get_rng_state(),
            "updates": self.updates,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        temporary = self.folder / "state.pt.new"
        torch.save(state, temporary)
        temporary.replace(self.folder / "state.pt")
        folder = self.folder / "weights"
        folder.mkdir(exist_ok=True)
        save_file(weights, folder / f"{self.updates:08d}.safetensors")
        for old in sorted(folder.glob("*.safetensors"))[: -self.config.checkpoints.keep]:
            old.unlink()

    def _restore(self) -> Position | None:
        path = self.folder / "state.pt"
        if not path.is_file():
            return None
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.updates, self.tokens = state["updates"], state["tokens"]
        self.seconds = state["seconds"]
        return Position(**state["position"])


def average_weights(files: Iterable[Path]) -> dict[str, torch.Tensor]:
    """The mean of several sets of weights: steadier than the last one alone."""
    from safetensors.torch import load_file

    return mean_weights(load_file(path) for path in files)


def mean_weights(sets: Iterable[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of sets of weights with the same names; one is in memory at a time."""
    total: dict[str, torch.Tensor] = {}
    count = 0
    for weights in sets:
        count += 1
        for name, weight in weights.items():
            total[name] = total[name] + weight if name in total else weight
    return {name: weight / count for name, weight in total.items()}
