"""Sentence in, sentence out: batches, quality guards and further tries for what looks wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

from .batching import run_batches
from .cache import TranslationCache
from .checkpoint import resolve
from .engine import Engine, Generation, GenerationOptions, Tokens, load_engine
from .errors import ConfigError
from .guards import (
    FLAGS,
    LATIN_REPAIRED,
    LOOP_REPAIRED,
    NAMES_REPAIRED,
    NUMBERS_REPAIRED,
    UNCERTAIN,
    GuardOptions,
    check,
    has_content,
)
from .joining import join_parts
from .names import NameList
from .normalization import normalize
from .repair import repair_latin, repair_loops, repair_numbers
from .shortlist import with_shortlist
from .tuning import rows_for, tune

R = TypeVar("R")

# Takes a text, a counter of tokens and a limit; gives pieces, in order, that fit the limit.
Splitter = Callable[[str, Callable[[str], int], int], list[str]]

# No single character becomes more tokens, even where one sign stands for a phrase.
_SHORTEST_LIMIT = 48
# A number or name that the best hypothesis has lost is often in another of eight, seldom of four,
# and of sixteen no more often.
_SECOND_BEAM = 8
# What is wrong with a sentence still is often right in its parts. They have at most these shares of
# its tokens, which makes two of them, then three; and they are no shorter than a clause.
_PART_SHARES = (0.6, 0.4)
_SHORTEST_PART = 12


@dataclass(frozen=True, slots=True)
class TranslatorOptions:
    """How to translate.

    A sentence of more than `max_source_tokens` (or than the model reads) is translated in pieces:
    models trained on sentences do badly on longer texts, well before their hard limit. A batch
    has at most `max_rows` sentences and `token_budget` tokens, padding included; `auto` times a few
    budgets before the first batch (see `tuning`). With `retry`, what a guard flags is decoded once
    more under `stricter`, and of all hypotheses the one with the fewest flags is taken; what is
    flagged then is translated in parts, too, and those are taken if they have fewer flags. With
    `repair`, numbers that the model plainly got wrong are put right.
    """

    generation: GenerationOptions = field(default_factory=GenerationOptions)
    guards: GuardOptions = field(default_factory=GuardOptions)
    max_source_tokens: int = 200
    token_budget: int | Literal["auto"] = 2048
    max_rows: int = 64
    retry: bool = True
    repair: bool = True

    def __post_init__(self) -> None:
        lowest = {"max_source_tokens": _SHORTEST_LIMIT, "token_budget": 1, "max_rows": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if name == "token_budget" and value == "auto":
                continue
            if not isinstance(value, int) or value < low:
                raise ConfigError(f"{name}: must be {low} or more, not {value!r}")

    def stricter(self) -> GenerationOptions:
        """Make loops impossible, and look at more ways to say it.

        Without a repetition penalty, under which the two engines would differ.
        """
        usual = self.generation
        return replace(
            usual,
            beam_size=max(usual.beam_size, _SECOND_BEAM),
            no_repeat_ngram_size=min(usual.no_repeat_ngram_size or 3, 3),
        )


@dataclass(frozen=True, slots=True)
class Translation:
    """What became of one sentence.

    `flags` are the guards' findings (`guards.FLAGS`) that remain after further tries, which
    `retried` says there were; those that end in `_repaired` say what is not the model's.
    `pieces` is how many parts the model saw: 0 for a segment without letters or digits, which is
    passed through as it is. `score` is the mean log-probability of the output's tokens, None if the
    model saw nothing.
    """

    source: str
    target: str
    flags: tuple[str, ...] = ()
    retried: bool = False
    pieces: int = 1
    score: float | None = None


class Translator:
    """Translates sentences with an engine.

    With `names`, and unless `repair` is off, names of that list are put right (`NameList.repair`).
    With a `cache`, what it holds is not decoded again, and what it lacks is added once a call. No
    other state is held between calls, but for the token budget where that is `auto`.
    """

    def __init__(
        self,
        engine: Engine,
        options: TranslatorOptions | None = None,
        splitter: Splitter | None = None,
        cache: TranslationCache | None = None,
        names: NameList | None = None,
    ) -> None:
        self.engine = engine
        self.options = options or TranslatorOptions()
        self.cache = cache
        self._names = names if self.options.repair else None
        self._splitter = splitter or split_at_spaces
        budget = self.options.token_budget
        self._budget = None if budget == "auto" else budget
        self._limit = min(self.options.max_source_tokens, engine.max_source_tokens)
        if self._limit < _SHORTEST_LIMIT:
            raise ConfigError(
                f"{engine.checkpoint.name} reads {self._limit} tokens at a time, which is too few"
            )

    @classmethod
    def from_checkpoint(
        cls,
        name: str,
        *,
        revision: str | None = None,
        offline: bool | None = None,
        engine: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        compute_type: str | None = None,
        lexical_shortlist: Path | None = None,
        options: TranslatorOptions | None = None,
        splitter: Splitter | None = None,
        names: Sequence[Path | Literal["default"]] = (),
    ) -> Translator:
        """Load the model called `name`: see `resolve`, `with_shortlist` and `load_engine`.

        `names` are lists of names, `default` the one that ships: see `NameList.load`.
        """
        checkpoint = with_shortlist(resolve(name, revision, offline), lexical_shortlist)
        loaded = load_engine(checkpoint, engine, device, threads, compute_type)
        return cls(loaded, options, splitter, names=NameList.load(*names) if names else None)

    def translate(self, sentences: Sequence[str]) -> list[Translation]:
        """Give one translation for each sentence, in order, whatever the sentence holds.

        Sentences that are equal once normalized are decoded once. No text is cut off: a sentence
        that is too long is split, and the translations of its pieces are joined (see `join_parts`).
        """
        normal = [normalize(sentence) for sentence in sentences]
        texts = list(dict.fromkeys(filter(has_content, normal)))
        known: dict[str, Translation] = {}
        key = self._key() if self.cache else ""
        if self.cache:
            found = self.cache.get(key, texts)
            known = {t: Translation(t, *value) for t, value in found.items()}
        pieces, rows = self._split([text for text in texts if text not in known])
        outputs = self._decode(rows)
        fresh = {
            text: _translation(text, _joined(parts, outputs)) for text, parts in pieces.items()
        }
        # An engine that moved to another device meanwhile made some of them in another way.
        if self.cache and key == self._key():
            self.cache.put(key, {text: _value(result) for text, result in fresh.items()})
        known |= fresh
        return [
            replace(known[text], source=sentence)
            if text in known
            else Translation(sentence, sentence, pieces=0)
            for sentence, text in zip(sentences, normal, strict=True)
        ]

    @property
    def token_budget(self) -> int | None:
        """The budget of a batch; None for `auto` before the first sentence."""
        return self._budget

    def _key(self) -> str:
        """What decides how a text is translated, but for the text."""
        options = asdict(replace(self.options, token_budget=1, max_rows=1))
        engine, split = self.engine, self._splitter
        kind = engine.device.partition(":")[0]
        made_by = (engine.checkpoint.digest, engine.name, kind, engine.compute_type)
        name = f"{split.__module__}.{getattr(split, '__qualname__', split)}"
        names = self._names.digest if self._names else None
        return json.dumps([version("khulasa"), made_by, options, self._limit, name, names])

    def close(self) -> None:
        """Free the model's memory."""
        self.engine.close()

    def _split(self, texts: list[str]) -> tuple[dict[str, list[str]], dict[str, list[int]]]:
        """For each text its pieces, and for each piece that occurs its tokens."""
        pieces: dict[str, list[str]] = {}
        rows: dict[str, list[int]] = {}
        for text, tokens in zip(texts, self.engine.tokenize(texts), strict=True):
            if len(tokens) <= self._limit:
                pieces[text] = [text]
                rows[text] = tokens
            else:
                pieces[text] = self._cut(text, self._limit)
                rows.update(zip(pieces[text], self.engine.tokenize(pieces[text]), strict=True))
        return pieces, rows

    def _cut(self, text: str, limit: int) -> list[str]:
        count = self.engine.count_tokens
        parts = self._splitter(text, count, limit) or [text]
        # The splitter may be someone else's: whatever it leaves too long is split here.
        fitting = [p for part in parts for p in split_at_spaces(part, count, limit)]
        return [part for part in fitting if has_content(part)]

    def _decode(self, rows: dict[str, list[int]]) -> dict[str, _Output]:
        """For each piece the best one of its outputs."""
        outputs = self._try_whole(rows)
        if self.options.retry:
            for share in _PART_SHARES:
                outputs |= self._try_in_parts(_doubtful(outputs), rows, share)
        return {
            text: self._with_names(text, self._repaired(text, output, _LAST_RESORT))
            for text, output in outputs.items()
        }

    def _try_whole(self, rows: dict[str, list[int]]) -> dict[str, _Output]:
        outputs = {
            text: self._judged(text, found)
            for text, found in self._run(rows, self.options.generation, self.engine.generate)
        }
        doubtful = {text: rows[text] for text in _doubtful(outputs)}
        if doubtful and self.options.retry:
            options = self.options.stricter()
            for text, found in self._run(doubtful, options, self.engine.hypotheses):
                tries = [outputs[text], *(self._judged(text, result) for result in found)]
                outputs[text] = replace(min(tries, key=_Output.rank), retried=True)
        return outputs

    def _try_in_parts(
        self, outputs: dict[str, _Output], rows: dict[str, list[int]], share: float
    ) -> dict[str, _Output]:
        """Outputs, and those of them that are better when they are made of parts."""
        limits = {text: max(_SHORTEST_PART, math.ceil(share * len(rows[text]))) for text in outputs}
        cut = {text: self._cut(text, limit) for text, limit in limits.items()}
        texts = list(dict.fromkeys(part for parts in cut.values() if parts[1:] for part in parts))
        if not texts:
            return outputs
        found = self._try_whole(dict(zip(texts, self.engine.tokenize(texts), strict=True)))
        better = {}
        for text, parts in cut.items():
            if len(parts) > 1:
                joined = _joined(parts, found)
                # How sure the model is, is asked of the whole: it has one score.
                flags = {*joined.flags} - {UNCERTAIN} | {*self._flags(text, joined.result)}
                flagged = tuple(flag for flag in FLAGS if flag in flags)
                joined = replace(joined, flags=flagged, retried=True)
                if not joined.is_cut:
                    better[text] = min(outputs[text], joined, key=_Output.rank)
        return outputs | better

    def _run(
        self,
        rows: dict[str, list[int]],
        options: GenerationOptions,
        decode: Callable[[Sequence[Tokens], GenerationOptions], list[R]],
    ) -> Iterable[tuple[str, R]]:
        """Decode the rows in batches; each text with what became of it."""
        lines = list(rows.values())
        if self._budget is None and lines:
            self._budget = tune(self.engine, lines, options)
        budget = self._budget or 1
        results = run_batches(
            lines,
            lambda batch: decode(batch, options),
            budget,
            rows_for(budget) if self.options.token_budget == "auto" else self.options.max_rows,
            options.output_limit,
            self.engine.parallel,
        )
        return zip(rows, results, strict=True)

    def _judged(self, text: str, result: Generation) -> _Output:
        return self._repaired(text, _Output(result, self._flags(text, result)), _REPAIRS)

    def _repaired(self, text: str, output: _Output, repairs: Sequence[_Repair]) -> _Output:
        for wrong, repair, mark in repairs if self.options.repair else ():
            repaired = repair(text, output.result.text) if wrong in output.flags else None
            output = self._marked(text, output, repaired, mark)
        return output

    def _with_names(self, text: str, output: _Output) -> _Output:
        repaired = self._names.repair(text, output.result.text) if self._names else None
        return self._marked(text, output, repaired, NAMES_REPAIRED)

    def _marked(self, text: str, output: _Output, repaired: str | None, mark: str) -> _Output:
        """The output with its repaired text, if there is one, judged anew."""
        if repaired is None:
            return output
        result = replace(output.result, text=repaired)
        marks = [flag for flag in output.flags if flag in _MARKS]
        return replace(output, result=result, flags=(*self._flags(text, result), *marks, mark))

    def _flags(self, text: str, result: Generation) -> tuple[str, ...]:
        guards = self.options.guards
        return check(text, result.text, result.truncated, guards, result.score)


# A flag, what takes source and output and may clear it, and the flag that says so.
_Repair = tuple[str, Callable[[str, str], str | None], str]
_REPAIRS: tuple[_Repair, ...] = (
    ("numbers", repair_numbers, NUMBERS_REPAIRED),
    ("latin", repair_latin, LATIN_REPAIRED),
)
# Another try is better than this: a loop often stands for something else.
_LAST_RESORT: tuple[_Repair, ...] = (
    ("repetition", lambda _, target: repair_loops(target), LOOP_REPAIRED),
)
_MARKS = (NUMBERS_REPAIRED, LATIN_REPAIRED, LOOP_REPAIRED, NAMES_REPAIRED)
# Flags of outputs that another try with the same model would not make better.
_NO_DOUBT = (UNCERTAIN, *_MARKS)


@dataclass(frozen=True, slots=True)
class _Output:
    """What the model made of one piece, and what the guards say of it."""

    result: Generation
    flags: tuple[str, ...]
    retried: bool = False
    pieces: int = 1

    @property
    def is_doubtful(self) -> bool:
        """Whether another try could be better."""
        return any(flag not in _NO_DOUBT for flag in self.flags)

    @property
    def is_cut(self) -> bool:
        """Whether there is nothing, or not all."""
        return self.result.truncated or "empty" in self.flags

    def rank(self) -> tuple[bool, int, int, float]:
        """Lower is better: nothing cut off, fewer flags, fewer pieces, a higher score."""
        score = self.result.score or 0.0
        return self.is_cut, len(self.flags), self.pieces, -score


def _value(result: Translation) -> tuple[str, tuple[str, ...], bool, int, float | None]:
    return result.target, result.flags, result.retried, result.pieces, result.score


def _doubtful(outputs: dict[str, _Output]) -> dict[str, _Output]:
    return {text: output for text, output in outputs.items() if output.is_doubtful}


def _joined(texts: Sequence[str], outputs: Mapping[str, _Output]) -> _Output:
    """The outputs of texts in a row as one, with every flag that one of them has."""
    parts = [outputs[text] for text in texts]
    results = [part.result for part in parts]
    flags = {flag for part in parts for flag in part.flags}
    tokens = tuple(token for result in results for token in result.tokens)
    total = sum((result.score or 0.0) * len(result.tokens) for result in results)
    return _Output(
        Generation(
            tokens,
            join_parts((text, outputs[text].result.text) for text in texts),
            total / len(tokens) if tokens else None,
            any(result.truncated for result in results),
        ),
        tuple(flag for flag in FLAGS if flag in flags),
        any(part.retried for part in parts),
        sum(part.pieces for part in parts),
    )


def _translation(source: str, output: _Output) -> Translation:
    result = output.result
    return Translation(
        source, result.text, output.flags, output.retried, output.pieces, result.score
    )


def split_at_spaces(text: str, count: Callable[[str], int], limit: int) -> list[str]:
    """Halve a text, at the space nearest its middle, until each piece has at most `limit` tokens.

    A word that is too long by itself is cut in its middle. Joined again, the pieces are the text.
    """
    if len(text) < 2 or count(text) <= limit:
        return [text]
    middle = len(text) // 2
    before, after = text.rfind(" ", 1, middle), text.find(" ", middle, -1)
    spaces = [space for space in (before, after) if space != -1]
    cut = min(spaces, key=lambda space: abs(space - middle), default=middle)
    left, right = text[:cut].rstrip(), text[cut:].lstrip()
    return [
        piece for half in (left, right) if half for piece in split_at_spaces(half, count, limit)
    ]
