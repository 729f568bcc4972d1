"""What decodes: the Engine protocol, its options and results, and the engine for each device."""

from __future__ import annotations

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .checkpoint import Checkpoint
from .device import choose_device, first_line, free_memory, is_device_failure, is_out_of_memory
from .errors import CheckpointError, ConfigError, DeviceError

logger = logging.getLogger(__name__)

R = TypeVar("R")

ENGINES = ("auto", "ctranslate2", "transformers")

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to decode. Values are checked here, because the libraries check few of them.

    Decoding is greedy with `beam_size` 1, else a beam search that ends when `beam_size` hypotheses
    are finished. Hypotheses are ranked by log-probability over length to the power of
    `length_penalty`. `repetition_penalty` is the one option under which the engines may differ:
    transformers also counts the token that starts decoding, and in beam search works after the
    softmax, CTranslate2 before it. (For a checkpoint that forces a first token, CTranslate2 counts
    that token's probability and transformers does not; trained models give it nearly 1.)

    An output has `min_new_tokens` tokens or more before its end, and at most `output_limit` tokens.
    """

    beam_size: int = 4
    max_new_tokens: int = 512
    length_factor: float | None = 3.0
    length_offset: int = 16
    min_new_tokens: int = 1
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0

    def __post_init__(self) -> None:
        _require_int("beam_size", self.beam_size, 1)
        _require_int("max_new_tokens", self.max_new_tokens, 1)
        _require_int("length_offset", self.length_offset, 0)
        _require_int("min_new_tokens", self.min_new_tokens, 0)
        _require_int("no_repeat_ngram_size", self.no_repeat_ngram_size, 0)
        _require_number("length_penalty", self.length_penalty, low=-math.inf)
        _require_number("repetition_penalty", self.repetition_penalty, low=0)
        if self.length_factor is not None:
            _require_number("length_factor", self.length_factor, low=0)
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens: {self.min_new_tokens} is above max_new_tokens, "
                f"{self.max_new_tokens}"
            )

    def output_limit(self, source_tokens: int) -> int:
        """Bound the tokens, the end token included, that a source of this length may become.

        `length_factor` times the source plus `length_offset`, but no more than `max_new_tokens`;
        with `length_factor` None, always `max_new_tokens`. A bound that follows the source is the
        cheapest guard against endless loops (Marian's max-length-factor). The source's length is
        rounded up to a multiple of 16, to let rows of about one length share a bound.
        """
        if self.length_factor is None:
            return self.max_new_tokens
        rounded = -(-source_tokens // 16) * 16
        limit = math.ceil(self.length_factor * rounded) + self.length_offset
        return min(self.max_new_tokens, max(1, self.min_new_tokens, limit))


def _require_int(field: str, value: object, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{field}: must be a whole number of {low} or more, not {value!r}")


def _require_number(field: str, value: object, low: float) -> None:
    valid = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not valid or not math.isfinite(value) or value <= low:  # type: ignore[operator]
        above = f" above {low:g}" if math.isfinite(low) else ""
        raise ConfigError(f"{field}: must be a finite number{above}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Generation:
    """One output. `tokens` are ids and end with the end token unless `truncated`.

    `score` is the mean log-probability of the tokens (0 is certain), whatever the length penalty.
    """

    tokens: tuple[int, ...]
    text: str
    score: float | None
    truncated: bool


class Engine(Protocol):
    """A loaded sequence-to-sequence model with its tokenizer.

    Tokens are ids of the checkpoint's own tokenizer, so that they mean the same to every engine.
    """

    @property
    def name(self) -> str:
        """`ctranslate2` or `transformers`."""
        ...

    @property
    def device(self) -> str:
        """Where the model is now: `cpu`, `cuda`, `cuda:1`, `mps`."""
        ...

    @property
    def checkpoint(self) -> Checkpoint:
        """The model that was loaded."""
        ...

    @property
    def compute_type(self) -> str:
        """The type it computes in, such as `float32` or `int8`."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls of `generate` at once, from as many threads, keep it fully busy."""
        ...

    @property
    def max_source_tokens(self) -> int:
        """The longest source that the model accepts, special tokens included."""
        ...

    def tokenize(self, texts: Sequence[str], target: bool = False) -> list[list[int]]:
        """Turn texts into token ids, special tokens included and nothing cut off.

        `target` reads the texts as outputs, for `score`. Names of special tokens inside a text,
        such as `</s>`, are taken for plain text.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Count the tokens that `tokenize` gives for a source."""
        ...

    def generate(self, batch: Sequence[Tokens], options: GenerationOptions) -> list[Generation]:
        """Decode one output for each source, in order.

        What a source becomes does not depend on the other rows of its batch, but for rounding: in
        float32 scores move in their sixth digit, in int8 one text in a hundred may change a word.
        (With a lexical shortlist it does a little: rows of a batch share their candidates, over
        which the scores are then.)
        Sources longer than `max_source_tokens` are the caller's error; ConfigError says so.
        """
        ...

    def hypotheses(
        self, batch: Sequence[Tokens], options: GenerationOptions
    ) -> list[list[Generation]]:
        """Decode likewise, and give all `beam_size` outputs of each search, best first.

        Best by the search's own measure, length penalty included; the first is what `generate`
        gives.
        """
        ...

    def score(self, sources: Sequence[Tokens], targets: Sequence[Tokens]) -> list[list[float]]:
        """Give the log-probability of each target token, given its source and those before it.

        One pass over each pair, without search. Targets are as `tokenize(..., target=True)` or
        `Generation.tokens` give them; each list is as long as its target.
        """
        ...

    def close(self) -> None:
        """Free the model's memory. The engine cannot be used afterwards."""
        ...


def rows_by_limit(
    batch: Sequence[Tokens], options: GenerationOptions, most: int
) -> dict[int, list[int]]:
    """Group the indices of rows that share an output limit, by limit; none is above `most`.

    Rows with different limits must not be decoded together: what beam search keeps depends on the
    limit, and a row's result would depend on its neighbours.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(batch):
        groups[min(most, options.output_limit(len(row)))].append(index)
    return dict(groups)


def require_fit(batch: Sequence[Tokens], most: int) -> None:
    """Raise ConfigError for a source that is longer than `most` tokens."""
    longest = max(map(len, batch), default=0)
    if longest > most:
        raise ConfigError(
            f"a source of {longest} tokens does not fit a model that reads {most}: split it first"
        )


def load_engine(
    checkpoint: Checkpoint,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    compute_type: str | None = None,
) -> Engine:
    """Load a checkpoint for decoding.

    `engine` is `ctranslate2`, `transformers`, or `auto`: CTranslate2 where it can run the model
    (it is several times faster), else transformers with a line in the log that says why. `device`
    is as for `choose_device`. `threads` is the number of CPU threads (None: all that this process
    may use). `compute_type` is a type of the engine, such as `float32`, `int8` or `float16`; None
    or `auto` leaves it to the engine. The result survives a device that gives out: it is a
    `ResilientEngine`.

    Raises CheckpointError, ConfigError or DeviceError.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine: {engine!r} is none of {', '.join(ENGINES)}")
    if threads is not None:
        _require_int("threads", threads, 1)
    chosen = choose_device(device).device

    def load(where: str) -> Engine:
        # A type that was asked of the accelerator need not exist on the CPU.
        wanted = compute_type if where == chosen else None
        return _load(checkpoint, engine, where, threads, wanted or "auto")

    return ResilientEngine(load, chosen)


def _load(
    checkpoint: Checkpoint, engine: str, device: str, threads: int | None, compute_type: str
) -> Engine:
    why = "engine is transformers"
    if engine != "transformers":
        from .ctranslate2_engine import CTranslate2Engine, obstacle

        try:
            if reason := obstacle(checkpoint, device):
                raise CheckpointError(f"CTranslate2 cannot run {checkpoint.name}: {reason}")
            return CTranslate2Engine(checkpoint, device, threads, compute_type)
        except CheckpointError as error:
            if engine == "ctranslate2":
                raise
            why = str(error).rstrip(".")
            if checkpoint.shortlist is None:
                logger.warning("%s. Using transformers, which is slower.", why)
    if checkpoint.shortlist is not None:
        raise ConfigError(f"lexical_shortlist: only CTranslate2 can use one, and {why}")
    from .transformers_engine import TransformersEngine

    return TransformersEngine(checkpoint, device, threads, compute_type)


class ResilientEngine:
    """An engine that goes on when its device gives out; nothing is lost and order is kept.

    When memory runs out, the batch is halved and tried again, and later batches are no larger. When
    one row is still too much, when the device fails in another way, or when the model does not
    even load, the model moves to the CPU, once, with one warning, and the same rows run again.
    Threads may share it.
    """

    def __init__(self, load: Callable[[str], Engine], device: str) -> None:
        self._load = load
        self._limit: int | None = None  # padded tokens that are known to fit
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        failure = None
        try:
            self._engine = load(device)
        except Exception as error:
            if device == "cpu" or not is_device_failure(error):
                raise
            failure = f"loading failed: {first_line(error)}"
        if failure:
            self._step_down(None, device, failure)

    @property
    def _active(self) -> Engine:
        with self._lock:  # held while the model moves
            engine = self._engine
        if engine is None:
            raise DeviceError("the engine is closed")
        return engine

    @property
    def name(self) -> str:
        """The name of the engine that does the work."""
        return self._active.name

    @property
    def device(self) -> str:
        """Where the model is now."""
        return self._active.device

    @property
    def checkpoint(self) -> Checkpoint:
        """The model that was loaded."""
        return self._active.checkpoint

    @property
    def compute_type(self) -> str:
        """The type it computes in."""
        return self._active.compute_type

    @property
    def parallel(self) -> int:
        """How many calls of `generate` at once keep it fully busy."""
        return self._active.parallel

    @property
    def max_source_tokens(self) -> int:
        """The longest source that the model accepts."""
        return self._active.max_source_tokens

    def tokenize(self, texts: Sequence[str], target: bool = False) -> list[list[int]]:
        """Turn texts into token ids."""
        return self._active.tokenize(texts, target)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a source."""
        return self._active.count_tokens(text)

    def generate(self, batch: Sequence[Tokens], options: GenerationOptions) -> list[Generation]:
        """Decode one output for each source, in order."""

        def run(engine: Engine, rows: list[int]) -> list[Generation]:
            return engine.generate([batch[i] for i in rows], options)

        return self._survive(run, [len(row) for row in batch])

    def hypotheses(
        self, batch: Sequence[Tokens], options: GenerationOptions
    ) -> list[list[Generation]]:
        """Decode all outputs of each search, best first."""

        def run(engine: Engine, rows: list[int]) -> list[list[Generation]]:
            return engine.hypotheses([batch[i] for i in rows], options)

        return self._survive(run, [len(row) for row in batch])

    def score(self, sources: Sequence[Tokens], targets: Sequence[Tokens]) -> list[list[float]]:
        """Give the log-probability of each target token."""

        def run(engine: Engine, rows: list[int]) -> list[list[float]]:
            return engine.score([sources[i] for i in rows], [targets[i] for i in rows])

        lengths = [len(s) + len(t) for s, t in zip(sources, targets, strict=True)]
        return self._survive(run, lengths)

    def close(self) -> None:
        """Free the model's memory."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _survive(self, run: Callable[[Engine, list[int]], list[R]], lengths: list[int]) -> list[R]:
        """`run` over the rows 0, 1, ... of these lengths, in as few parts as memory allows."""
        results: list[R] = []
        parts = [list(range(len(lengths)))] if lengths else []
        while parts:
            rows = parts.pop()
            engine = self._active
            cost = len(rows) * max(lengths[i] for i in rows)
            too_large = self._limit is not None and cost > self._limit and len(rows) > 1
            failure = None
            if not too_large:
                try:
                    results += run(engine, rows)
                    continue
                except Exception as error:
                    too_large = is_out_of_memory(error) and len(rows) > 1
                    helpless = engine.device == "cpu" and not too_large
                    if engine is self._engine and (helpless or not is_device_failure(error)):
                        raise
                    failure = first_line(error)
            # What follows is outside `except`, whose traceback holds the tensors of the failed try.
            if too_large:
                if failure:
                    self._limit = cost // 2
                    free_memory()
                    logger.info("memory ran out on %s: smaller batches from here on", engine.device)
                half = len(rows) // 2
                parts += [rows[half:], rows[:half]]
            else:
                self._step_down(engine, engine.device, failure or "")
                parts.append(rows)
        return results

    def _step_down(self, failed: Engine | None, device: str, reason: str) -> None:
        with self._lock:
            if failed is not self._engine:
                return  # another thread was here first
            logger.warning("%s gave out (%s): going on with the CPU, more slowly", device, reason)
            self.close()
            self._limit = None
            free_memory()
            self._engine = self._load("cpu")
