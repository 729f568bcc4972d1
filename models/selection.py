"""Faithful decoding: sentences of the document, chosen by the model's own probabilities.

A candidate c of n tokens, after the sentences p that were chosen before it, in a document x, scores

    ( log P(c | x, p) - calibration * log P(c | nothing, p) ) / n ** length_penalty
        + centrality * how central c is

where P is the model's, over the tokens of c alone: the end token is left out, because the options
decide how long a summary gets. The target is p and c joined by spaces. The second term is what the
sentence would score as the summary of an empty text; with `calibration` 1 the score is the
pointwise mutual information of sentence and document. With 0 it is the plain log-probability,
which favours short sentences that fit any document. The model has no say in how central a sentence
is, from 0 to 1: it goes by the number of other sentences of the document that each of its words
comes in (`support.centrality`). Each checkpoint has its own weight for it, which should not outdo
what the model is sure of. The best candidate is chosen, and so on until the length is reached;
equal scores go by position.

Two options bound how many candidates are scored. Of more than `shortlist` candidates (or twice as
many as are wanted) only the most prominent enter: those that share most words with other sentences
and stand early (`support.prominence`; the model has no say in it). After the first sentence, only
the `rescored` best by their latest score are scored again; with 1 nothing is, and all are chosen by
what they are worth alone. With both None, the choice is the full greedy search.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .batching import make_batches
from .engine import Engine
from .sections import Frame, Line, Section, units
from .summary_options import CheckpointDefaults, SummarizerOptions
from .support import content_words, prominence

# Decoders were trained on outputs of about this length, and few have more positions.
_MAX_TARGET = 512
# Each target token has a score for every entry of the vocabulary: more than this many tokens at
# once do not stay in the processor's cache, and take longer.
_CPU_TARGETS = 512


class Selector:
    """Chooses sentences of sections. `nothing` is the source of an empty text.

    `own` has the checkpoint's weights, for where the options leave them open.
    """

    def __init__(
        self,
        engine: Engine,
        options: SummarizerOptions,
        nothing: Sequence[int],
        own: CheckpointDefaults,
    ) -> None:
        self._engine = engine
        self._options = options
        given = options.calibration, options.centrality
        self._calibration = own.calibration if given[0] is None else given[0]
        self.centrality = own.centrality if given[1] is None else given[1]
        self._nothing = list(nothing)
        self._power = 1.0 if options.length_penalty is None else options.length_penalty
        self._frame = Frame(engine, target=True)
        self._limit = min(engine.max_source_tokens, _MAX_TARGET)
        self._budget = options.batch_tokens
        if engine.device == "cpu":
            self._budget = min(self._budget, _CPU_TARGETS)

    def choose(self, sections: Sequence[Section]) -> None:
        """Fill `picked` in each section, best first; all sections in step."""
        pools = [self._shortlist(section) for section in sections]
        active = [i for i in range(len(sections)) if pools[i]]
        scores: list[dict[Line, float]] = [dict.fromkeys(pool, 0.0) for pool in pools]
        is_first = True
        while active:
            rivals = {i: self._rivals(sections[i], scores[i], is_first) for i in active}
            rows = [(i, line) for i in active for line in rivals[i]]
            if not is_first and self._options.rescored == 1:
                rows = []  # with one rival there is nothing to compare
            found = self._score(
                [(sections[i].source, [p.text for p, _ in sections[i].picked]) for i, _ in rows],
                [line.text for _, line in rows],
            )
            for (i, line), score in zip(rows, found, strict=True):
                scores[i][line] = score + self.centrality * line.centrality
            for i in active:
                best = max(rivals[i], key=lambda line: (scores[i][line], -line.index))
                sections[i].picked.append((best, scores[i].pop(best)))
            active = [i for i in active if self._affordable(sections[i], scores[i])]
            is_first = False

    def _rivals(self, section: Section, scores: dict[Line, float], is_first: bool) -> list[Line]:
        """The candidates that are scored for the next place."""
        rivals = self._affordable(section, scores)
        if is_first:
            return rivals
        rivals.sort(key=lambda line: (-scores[line], line.index))
        return rivals[: self._options.rescored]

    def _affordable(self, section: Section, lines: Iterable[Line]) -> list[Line]:
        """Those that still fit the budget; the shortest if none does and nothing is picked."""
        lines = list(lines)
        left = section.budget - units(line for line, _ in section.picked)
        fitting = [line for line in lines if line.units <= left]
        if not fitting and not section.picked:
            fitting = [min(lines, key=lambda line: (line.units, line.index))]
        return fitting

    def _shortlist(self, section: Section) -> list[Line]:
        """The candidates of a section that are worth scoring."""
        pool = [line for line in section.lines if line.is_candidate]
        pool = self._affordable(section, pool) if pool else []
        if self._options.shortlist is None:
            return pool
        wanted = math.ceil(2 * section.budget * len(pool) / max(1, units(pool)))
        size = max(self._options.shortlist, wanted)
        if len(pool) <= size:
            return pool
        ranks = prominence([content_words(line.text) for line in section.lines])
        by_line = dict(zip(section.lines, ranks, strict=True))
        pool.sort(key=lambda line: (-by_line[line], line.index))
        return sorted(pool[:size], key=lambda line: line.index)

    def _score(
        self, contexts: list[tuple[list[int], list[str]]], candidates: list[str]
    ) -> list[float]:
        """The score of each candidate, given its source and the sentences chosen before it."""
        targets = self._targets([chosen for _, chosen in contexts], candidates)
        sources = [source for source, _ in contexts]
        calibration = self._calibration
        pairs = [(source, row) for source, (row, _) in zip(sources, targets, strict=True)]
        if calibration:
            pairs += [(self._nothing, row) for row, _ in targets]
        sums = [
            sum(found[own])
            for found, (_, own) in zip(
                self._log_probabilities(pairs), targets * (2 if calibration else 1), strict=True
            )
        ]
        results = []
        for i, (_, own) in enumerate(targets):
            value = sums[i] - (calibration * sums[len(targets) + i] if calibration else 0.0)
            value /= max(1, own.stop - own.start) ** self._power
            # A token that the model cannot produce makes it infinite, or not a number.
            results.append(value if math.isfinite(value) else -math.inf)
        return results

    def _targets(
        self, prefixes: list[list[str]], candidates: list[str]
    ) -> list[tuple[list[int], slice]]:
        """The target tokens of each candidate after its prefix, and where the candidate's own are.

        Where both are too long for the decoder, the prefix loses its first sentences, and a
        candidate that is too long by itself loses its end.
        """
        frame, limit = self._frame, self._limit
        results: list[tuple[list[int], slice]] = []
        joined = [" ".join([*p, c]) for p, c in zip(prefixes, candidates, strict=True)]
        whole = [frame.body(row) for row in self._engine.tokenize(joined, target=True)]
        texts = list(dict.fromkeys(" ".join(prefix) for prefix in prefixes if prefix))
        before = dict(zip(texts, self._engine.tokenize(texts, target=True), strict=True))
        room = limit - frame.size
        for prefix, candidate, body in zip(prefixes, candidates, whole, strict=True):
            if len(body) > room and prefix:
                results += self._targets([prefix[1:]], [candidate])
                continue
            body = body[:room]
            start = len(frame.body(before[" ".join(prefix)])) if prefix else 0
            start = min(start, max(0, len(body) - 1))
            own = slice(len(frame.head) + start, len(frame.head) + len(body))
            results.append((frame.wrap(body), own))
        return results

    def _log_probabilities(self, pairs: list[tuple[list[int], list[int]]]) -> list[list[float]]:
        # All targets of a source together, because an engine may then read the source only once.
        rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, (source, _) in enumerate(pairs):
            rows[tuple(source)].append(i)
        results: dict[int, list[float]] = {}
        for source, own in rows.items():
            lengths = [len(pairs[i][1]) for i in own]
            most = max(1, self._options.batch_tokens // (len(source) + max(lengths)))
            for batch in make_batches(lengths, self._budget, most):
                targets = [pairs[own[k]][1] for k in batch]
                found = self._engine.score([source] * len(batch), targets)
                results.update(zip((own[k] for k in batch), found, strict=True))
        return [results[i] for i in range(len(pairs))]
