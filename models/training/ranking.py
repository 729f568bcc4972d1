"""A listwise objective for faithful decoding: the better sentence shall get the higher score.

Faithful decoding chooses among the sentences of a text by the mean log-probability that the model
gives them, less what it gives them without the text. Here those scores are trained: for one text, a
softmax over them shall resemble a softmax over what each sentence would add to the summary (ListNet
by Cao et al. 2007, on the candidates' own probabilities as in BRIO by Liu et al. 2022).

All candidates of a text are scored in one pass, as one row of the decoder: each attends to what was
chosen before it and to itself, and counts its positions as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .batches import Candidates, Example
from .config import RankingConfig

END_ID = 0


@dataclass(frozen=True)
class Lists:
    """One list of candidates a row, packed; `rows` are the rows of the batch they belong to.

    `inputs`, `positions`, `wanted` and `owner` are [rows, width]: the decoder's inputs and their
    positions, the token that each is to predict and the candidate, counted over all rows, that the
    token belongs to (-1: none). `visible` is [rows, 1, width, width]. `gains` is [rows, most], what
    each candidate is worth, and `place` where in it each candidate stands.
    """

    rows: torch.Tensor
    inputs: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    wanted: torch.Tensor
    owner: torch.Tensor
    gains: torch.Tensor
    place: tuple[torch.Tensor, torch.Tensor]


def thin(example: Example, share: float, random: np.random.Generator) -> Example:
    """Leave out this share of the sentences, at random, but none that the target is made of."""
    candidates = example.candidates
    if candidates is None or not share:
        return example
    kept = [
        number
        for number, drop in enumerate(random.random(len(candidates.bounds)) < share)
        if number in candidates.in_target or not drop
    ]
    if len(kept) < 2:
        return example
    bounds, parts, end = [], [], 0
    for number in kept:
        first, last = candidates.bounds[number]
        parts.append(example.source[first:last])
        bounds.append((end, end + last - first))
        end += last - first
    in_target = frozenset(i for i, number in enumerate(kept) if number in candidates.in_target)
    parts.append(example.source[-1:])
    left = Candidates(tuple(bounds), in_target, candidates.overlap.subset(kept))
    return replace(example, source=np.concatenate(parts), candidates=left)


def draw_context(
    candidates: Candidates, options: RankingConfig, random: np.random.Generator
) -> list[int]:
    """Sentences that are taken to be chosen already: none, one or two, good ones more often."""
    context: list[int] = []
    most = min(2, len(candidates.bounds) - 2)
    while len(context) < most and random.random() < options.context:
        rest, gains = _gains(candidates, context)
        chances = np.exp((gains - gains.max()) / options.gain_temperature)
        context.append(int(random.choice(rest, p=chances / chances.sum())))
    return context


def _gains(candidates: Candidates, context: Sequence[int]) -> tuple[list[int], NDArray[np.float64]]:
    rest = [i for i in range(len(candidates.bounds)) if i not in context]
    return rest, np.array([candidates.overlap.value((*context, i)) for i in rest])


def pack(
    examples: Sequence[Example], pad: int, options: RankingConfig, random: np.random.Generator
) -> Lists | None:
    """A list for each example that has candidates; None where none has two or more."""
    lists = []
    for row, example in enumerate(examples):
        candidates = example.candidates
        if candidates is None or len(candidates.bounds) < 2:
            continue
        context = draw_context(candidates, options, random)
        rest, gains = _gains(candidates, context)
        texts = [example.source[slice(*bounds)] for bounds in candidates.bounds]
        head = np.concatenate([[pad], *(texts[i] for i in context)])
        lists.append((row, head, [texts[i] for i in rest], gains))
    if not lists:
        return None
    width = max(len(head) - 1 + sum(map(len, texts)) for _, head, texts, _ in lists)
    most = max(len(texts) for _, _, texts, _ in lists)
    inputs = np.full((len(lists), width), pad, dtype=np.int64)
    positions = np.zeros((len(lists), width), dtype=np.int64)
    wanted = np.full((len(lists), width), -1, dtype=np.int64)
    owner = np.full((len(lists), width), -1, dtype=np.int64)
    worth = np.full((len(lists), most), -np.inf, dtype=np.float32)
    places = []
    for number, (_, head, texts, gains) in enumerate(lists):
        # -2 is the context, that all of the row see.
        before = end = len(head) - 1
        inputs[number, :end], owner[number, :end] = head[:-1], -2
        positions[number, :end] = np.arange(end)
        for column, text in enumerate(texts):
            own = slice(end, end + len(text))
            inputs[number, own] = [head[-1], *text[:-1]]
            positions[number, own] = before + np.arange(len(text))
            wanted[number, own] = text
            owner[number, own] = len(places)
            places.append((number, column))
            end += len(text)
        worth[number, : len(texts)] = gains
    same = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == -2)
    visible = same & (positions[:, None, :] <= positions[:, :, None])
    rows, columns = np.array(places).T
    return Lists(
        torch.tensor([row for row, *_ in lists]),
        torch.from_numpy(inputs),
        torch.from_numpy(positions),
        torch.from_numpy(visible[:, None]),
        torch.from_numpy(wanted),
        torch.from_numpy(owner),
        torch.from_numpy(worth),
        (torch.from_numpy(rows), torch.from_numpy(columns)),
    )


class Ranking:
    """The objective for one model, whose `outputs` are the ids that it may write."""

    def __init__(self, model: Any, outputs: torch.Tensor, options: RankingConfig) -> None:
        self.model, self.outputs, self.options = model, outputs, options
        self._class = torch.full((model.config.vocab_size,), -1)
        self._class[outputs] = torch.arange(len(outputs))

    def loss(self, lists: Lists, memory: torch.Tensor, memory_mask: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, a mean over lists, of the scores' softmax under the gains' softmax.

        `memory` is the encoder's output for the batch that the lists were packed from.
        """
        wanted = (lists.gains / self.options.gain_temperature).softmax(-1)
        scores = self.scores(lists, memory, memory_mask) / self.options.temperature
        found = scores.log_softmax(-1).masked_fill(wanted == 0, 0.0)
        return -(wanted * found).sum(-1).mean()

    def scores(self, lists: Lists, memory: torch.Tensor, memory_mask: torch.Tensor) -> torch.Tensor:
        """Scores [rows, most] as in faithful decoding; minus infinity where no candidate is."""
        own = self._log_probabilities(lists, memory[lists.rows], memory_mask[lists.rows])
        if self.options.calibration:
            own = own - self.options.calibration * self._without_text(lists)
        owner = lists.owner[lists.owner >= 0]
        candidates = len(lists.place[0])
        sums = torch.zeros(candidates).index_add(0, owner, own)
        scores = torch.full_like(lists.gains, -torch.inf)
        return scores.index_put(lists.place, sums / torch.bincount(owner, minlength=candidates))

    @torch.no_grad()
    def _without_text(self, lists: Lists) -> torch.Tensor:
        training = self.model.training
        self.model.eval()
        nothing = torch.full((1, 1), END_ID)
        memory = self.model.model.encoder(input_ids=nothing).last_hidden_state
        rows = len(lists.rows)
        result = self._log_probabilities(
            lists, memory.expand(rows, -1, -1), nothing.new_ones(rows, 1)
        )
        self.model.train(training)
        return result

    def _log_probabilities(
        self, lists: Lists, memory: torch.Tensor, memory_mask: torch.Tensor
    ) -> torch.Tensor:
        """Of the candidates' tokens, one after the other.

        This is the pass of MarianDecoder, which has no argument for positions of one's own.
        """
        decoder = self.model.model.decoder
        places = decoder.embed_positions(lists.inputs.shape, position_ids=lists.positions)
        states = decoder.embed_tokens(lists.inputs) * decoder.embed_scale + places
        states = functional.dropout(states, decoder.dropout, decoder.training)
        seen = memory_mask[:, None, None, :].bool()
        for layer in decoder.layers:
            states = layer(states, lists.visible, memory, encoder_attention_mask=seen)
        own = lists.owner >= 0
        weight = self.model.get_output_embeddings().weight[self.outputs]
        logits = functional.linear(states[own], weight).float()
        return -functional.cross_entropy(logits, self._class[lists.wanted[own]], reduction="none")
