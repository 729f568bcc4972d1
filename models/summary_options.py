"""How to summarize: what the caller asks for, and what a checkpoint's own files say."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .checkpoint import Checkpoint
from .engine import GenerationOptions
from .errors import ConfigError

Decoding = Literal["faithful", "free"]
Order = Literal["source", "score"]

_DEFAULT_BEAM_SIZE = 4
_DEFAULT_NEW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class SummarizerOptions:
    """How to summarize, and how long. Values are checked here.

    Exactly one of `sentences` (at most so many), `words` (at most so many) and `share` (at most
    this share of the document's words, above 0 and below 1) is set. A summary has a sentence even
    if every one is over the limit of words; it is then the shortest that could be had.

    `order` puts faithful summaries in the order of the document (`source`) or best first (`score`).
    `calibration`, `centrality`, `shortlist` and `rescored` are explained in `selection`.

    What is None is the checkpoint's own setting where it has a sensible one: `calibration` (else
    1), `centrality` (else 0), `beam_size` (else 4), `length_penalty` (free decoding; else, and in
    faithful decoding, 1), `max_new_tokens` (else 128, or what `words` or `share` need),
    `min_new_tokens` (else 1; never more than half the limit) and `prefix`, the words that some
    models want before the document, such as `summarize: ` (else none). `no_repeat_ngram_size` is
    not: the 2 of some models forbids a name of two words to come twice.

    `batch_tokens` bounds the tokens in the model at once.
    """

    decoding: Decoding = "faithful"
    sentences: int | None = 3
    words: int | None = None
    share: float | None = None
    order: Order = "source"
    calibration: float | None = None
    centrality: float | None = None
    shortlist: int | None = 8
    rescored: int | None = 1
    beam_size: int | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int = 3
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    prefix: str | None = None
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        for name, choices in (("decoding", get_args(Decoding)), ("order", get_args(Order))):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{name}: must be {' or '.join(choices)}, not {getattr(self, name)!r}"
                )
        lengths = [n for n in ("sentences", "words", "share") if getattr(self, n) is not None]
        if len(lengths) != 1:
            raise ConfigError(
                "sentences, words, share: exactly one must be set and the others None, not "
                f"{' and '.join(lengths) or 'none of them'}"
            )
        for name in ("sentences", "words", "shortlist", "rescored", "batch_tokens"):
            value = getattr(self, name)
            if value is None and name != "batch_tokens":
                continue
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}: must be a whole number of 1 or more, not {value!r}")
        if self.share is not None and not (_is_number(self.share) and 0 < self.share < 1):
            raise ConfigError(f"share: must be a number above 0 and below 1, not {self.share!r}")
        for name in ("calibration", "centrality"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ConfigError(f"{name}: must be a number of 0 or more, not {value!r}")
        if self.prefix is not None and not isinstance(self.prefix, str):
            raise ConfigError(f"prefix: must be a text, not {self.prefix!r}")
        # The rest is what GenerationOptions checks.
        optional = ("beam_size", "length_penalty", "max_new_tokens", "min_new_tokens")
        given = {name: getattr(self, name) for name in optional if getattr(self, name) is not None}
        GenerationOptions(no_repeat_ngram_size=self.no_repeat_ngram_size, **given)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


def _number(value: Any, low: float, high: float, default: float = 1.0) -> float:
    return float(value) if _is_number(value) and low <= value <= high else default


@dataclass(frozen=True, slots=True)
class CheckpointDefaults:
    """How a checkpoint's authors summarize with it, as far as its files say."""

    beam_size: int = _DEFAULT_BEAM_SIZE
    length_penalty: float = 1.0
    max_new_tokens: int = _DEFAULT_NEW_TOKENS
    min_new_tokens: int = 1
    prefix: str = ""
    calibration: float = 1.0
    centrality: float = 0.0


def read_defaults(checkpoint: Checkpoint) -> CheckpointDefaults:
    """The generation settings in a checkpoint's files, without those that cannot be meant.

    `task_specific_params` for summarization come first (T5 and BART keep several tasks there), then
    `generation_config.json`, then `config.json`.
    """
    config = _read_json(checkpoint, "config.json")
    tasks = config.get("task_specific_params")
    task = tasks.get("summarization") if isinstance(tasks, dict) else None
    found = config | _read_json(checkpoint, "generation_config.json")
    found |= task if isinstance(task, dict) else {}
    beams, penalty, prefix = (found.get(k) for k in ("num_beams", "length_penalty", "prefix"))
    # Ours: what a ranker was trained with, and what goes well with its scores.
    calibration, centrality = found.get("calibration"), found.get("centrality")
    longest = found.get("max_new_tokens") or found.get("max_length")
    shortest = found.get("min_new_tokens") or found.get("min_length")
    return CheckpointDefaults(
        # 1 and a length of 20 are what the library writes where nobody chose.
        beams if type(beams) is int and 2 <= beams <= 16 else _DEFAULT_BEAM_SIZE,
        _number(penalty, -5.0, 5.0),
        longest if type(longest) is int and 32 <= longest <= 256 else _DEFAULT_NEW_TOKENS,
        shortest if type(shortest) is int and 1 <= shortest <= 128 else 1,
        prefix if isinstance(prefix, str) else "",
        _number(calibration, 0.0, 10.0),
        _number(centrality, 0.0, 100.0, default=0.0),
    )


def _read_json(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    try:
        content = json.loads((checkpoint.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # generation_config.json need not be there; loading has checked the other
    return content if isinstance(content, dict) else {}
