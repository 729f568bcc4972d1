"""The fast engine: CTranslate2, over models that are converted once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, read_config
from .device import cpu_count, first_line, is_out_of_memory
from .engine import Generation, GenerationOptions, Tokens, require_fit, rows_by_limit
from .errors import CheckpointError, ConfigError
from .transformers_engine import CheckpointTokenizer, forced_scores, loading, require_all_weights

logger = logging.getLogger(__name__)

ARCHITECTURES = ("bart", "marian", "mbart", "mt5", "pegasus", "t5")
# Written last into a conversion: it says which files there are and what they hold.
_SEAL = "khulasa.json"
# Raise it when the way we convert changes.
_RECIPE = 1
# On a CPU, fewer rows at once leave it waiting for the weights, and more do not fit its caches: in
# opus-mt's shape with beam 4, 8 rows reach nine tenths of the best speed, 64 do too.
_LEAST_ROWS = 8
_MOST_ROWS = 32
# Rounding moves log-probabilities by less than a thousandth; a wrong conversion, by far more.
_MOST_DIFFERENCE = 0.01


def obstacle(checkpoint: Checkpoint, device: str) -> str | None:
    """Say why CTranslate2 cannot run this checkpoint on this device, as far as is cheap to tell."""
    config = read_config(checkpoint.path)
    if config["model_type"] not in ARCHITECTURES:
        return f"its architecture, {config['model_type']}, is none of {', '.join(ARCHITECTURES)}"
    if not config.get("share_encoder_decoder_embeddings", True):
        return "its source and target have separate vocabularies"
    if device == "mps":
        return "it does not run on mps"
    try:
        import ctranslate2
    except ImportError as error:
        return f"the ctranslate2 package cannot be imported ({first_line(error)})"
    if device.startswith("cuda") and not ctranslate2.get_cuda_device_count():
        return "this build of ctranslate2 sees no CUDA device"
    return None


class CTranslate2Engine:
    """An `Engine` on `ctranslate2.Translator`."""

    name = "ctranslate2"
    # While the texts of one batch are put together, the workers have another.
    parallel = 2

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        threads: int | None = None,
        compute_type: str = "auto",
    ) -> None:
        kind, _, index = device.partition(":")
        if compute_type == "auto":
            compute_type = _default_type(kind, checkpoint.model_type)
        _require_type(compute_type, kind)
        self.checkpoint = checkpoint
        self.compute_type = compute_type
        self.device = device
        self._tokenizer = CheckpointTokenizer(checkpoint)
        self._pieces = self._tokenizer.pieces()
        self._ids = {piece: i for i, piece in enumerate(self._pieces)}
        # Several workers of one thread beat one worker of several, because the matrices are small:
        # more than 1.5 times as fast on two cores.
        threads = threads or cpu_count()
        self._workers = min(threads, 8) if kind == "cpu" else 1
        self._translator: Any = load_converted(
            checkpoint,
            compute_type,
            device=kind,
            device_index=int(index or 0),
            inter_threads=self._workers,
            intra_threads=max(1, threads // self._workers),
        )

    @property
    def max_source_tokens(self) -> int:
        """The longest source that the model accepts."""
        return self._tokenizer.max_source_tokens

    def tokenize(self, texts: Sequence[str], target: bool = False) -> list[list[int]]:
        """Turn texts into token ids."""
        return self._tokenizer.encode(texts, target)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a source."""
        return len(self._tokenizer.encode([text])[0])

    def generate(self, batch: Sequence[Tokens], options: GenerationOptions) -> list[Generation]:
        """Decode one output for each source, in order."""
        return [found for (found,) in self._search(batch, options, 1)]

    def hypotheses(
        self, batch: Sequence[Tokens], options: GenerationOptions
    ) -> list[list[Generation]]:
        """Decode all outputs of each search, best first."""
        return self._search(batch, options, options.beam_size)

    def score(self, sources: Sequence[Tokens], targets: Sequence[Tokens]) -> list[list[float]]:
        """Give the log-probability of each target token."""
        if not sources:
            return []
        end = self._tokenizer.end
        # CTranslate2 adds the end token itself, and scores it.
        bare = [t[:-1] if t and t[-1] == end else t for t in targets]
        results = self._translator.score_batch(
            self._names(sources),
            self._names(bare),
            max_input_length=0,
            **self._shares(len(sources)),
        )
        return [
            result.log_probs[: len(target)] for result, target in zip(results, targets, strict=True)
        ]

    def close(self) -> None:
        """Free the model's memory."""
        self._translator = None

    def _search(
        self, batch: Sequence[Tokens], options: GenerationOptions, count: int
    ) -> list[list[Generation]]:
        require_fit(batch, self.max_source_tokens)
        results: dict[int, list[Generation]] = {}
        most = self._tokenizer.max_target_tokens
        for limit, rows in rows_by_limit(batch, options, most).items():
            decoded = self._decode([batch[i] for i in rows], options, limit, count)
            results.update(zip(rows, decoded, strict=True))
        return [results[i] for i in range(len(batch))]

    def _decode(
        self, rows: list[Tokens], options: GenerationOptions, limit: int, count: int
    ) -> list[list[Generation]]:
        pad, end = self._tokenizer.pad, self._tokenizer.end
        forced = self._tokenizer.forced_start
        results = self._translator.translate_batch(
            self._names(rows),
            target_prefix=None if forced is None else [[self._pieces[forced]]] * len(rows),
            beam_size=options.beam_size,
            num_hypotheses=count,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            min_decoding_length=min(options.min_new_tokens, limit),
            max_decoding_length=limit,
            max_input_length=0,
            suppress_sequences=[[self._pieces[pad]]] if self._has_pad else None,
            use_vmap=self.checkpoint.shortlist is not None,
            return_end_token=True,
            return_scores=True,
            **self._shares(len(rows)),
        )
        outputs = [
            [self._ids[piece] for piece in pieces]
            for result in results
            for pieces in result.hypotheses
        ]
        if options.repetition_penalty != 1 or options.no_repeat_ngram_size:
            # Penalties change the probabilities that a search reports: ask for the plain ones.
            sources = [
                r for r, result in zip(rows, results, strict=True) for _ in result.hypotheses
            ]
            scores = [sum(s) / len(s) if s else None for s in self.score(sources, outputs)]
        else:
            # The search divides by the length to the power of the penalty: undo that.
            power = options.length_penalty - 1
            reported = (score for result in results for score in result.scores)
            scores = [
                score * len(output) ** power if output else None
                for score, output in zip(reported, outputs, strict=True)
            ]
        generations = (
            Generation(
                tuple(output),
                self._tokenizer.decode(output),
                score,
                truncated=output[-1:] != [end],
            )
            for output, score in zip(outputs, scores, strict=True)
        )
        return [list(islice(generations, len(result.hypotheses))) for result in results]

    @property
    def _has_pad(self) -> bool:
        # The converter drops Marian's padding from the vocabulary.
        return self.checkpoint.model_type != "marian"

    def _names(self, rows: Sequence[Tokens]) -> list[list[str]]:
        return [[self._pieces[token] for token in row] for row in rows]

    def _shares(self, rows: int) -> dict[str, Any]:
        """Divide a batch among the workers: a batch on its own keeps only one of them busy."""
        share = -(-rows // self._workers)
        if self.device == "cpu":
            share = max(_LEAST_ROWS, min(_MOST_ROWS, share))
        return {"max_batch_size": share, "batch_type": "examples"}


def _default_type(kind: str, model_type: str) -> str:
    """int8 on the CPU for speed; float16 on the GPU, but not for T5, which overflows in it."""
    import ctranslate2

    if kind == "cpu":
        return "int8" if "int8" in ctranslate2.get_supported_compute_types("cpu") else "float32"
    return "float32" if model_type in ("t5", "mt5") else "float16"


def _require_type(compute_type: str, kind: str) -> None:
    import ctranslate2

    supported = ctranslate2.get_supported_compute_types(kind)
    if compute_type not in supported:
        raise ConfigError(
            f"compute_type: CTranslate2 on this {kind} has auto, {', '.join(sorted(supported))}, "
            f"not {compute_type!r}"
        )


def cache_directory() -> Path:
    """Where conversions are kept: KHULASA_CACHE, else the user's cache directory by platform."""
    if chosen := os.environ.get("KHULASA_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/khulasa"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local"
        return Path(local) / "khulasa/Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "khulasa"


def load_converted(checkpoint: Checkpoint, compute_type: str, **arguments: Any) -> Any:
    """Load the checkpoint into a `ctranslate2.Translator`; convert it first if need be.

    A conversion is keyed by the checkpoint's digest, the converter's version and the type. One
    that is damaged is made again. Raises CheckpointError if the checkpoint cannot be converted.
    """
    import ctranslate2

    key = f"{checkpoint.digest[:32]}-{compute_type}-ct2-{ctranslate2.__version__}-r{_RECIPE}"
    entry = cache_directory() / "ctranslate2" / key
    if entry.exists() and not _is_sound(entry):
        logger.info("the converted model in %s is damaged: converting again", entry)
        shutil.rmtree(entry, ignore_errors=True)
    if not entry.exists():
        _convert(checkpoint, compute_type, entry)
    try:
        return ctranslate2.Translator(str(entry), compute_type=compute_type, **arguments)
    except ValueError as error:
        raise CheckpointError(f"CTranslate2 cannot load {entry}: {first_line(error)}") from error


def _convert(checkpoint: Checkpoint, compute_type: str, entry: Path) -> None:
    """Convert into a directory of our own, then rename: others see all of it or nothing."""
    logger.info("converting %s, once, into %s", checkpoint.name, entry)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".converting-", dir=entry.parent))
    except OSError as error:
        raise CheckpointError(
            f"the cache {entry.parent} cannot be written ({error}): set KHULASA_CACHE to a "
            "directory that can"
        ) from error
    try:
        built = scratch / "model"
        _run_converter(checkpoint, compute_type, built)
        (built / _SEAL).write_text(json.dumps(_contents(built)), encoding="utf-8")
        try:
            built.rename(entry)
        except OSError:
            if not _is_sound(entry):  # else another process was faster, which is as good
                raise
    except OSError as error:
        raise CheckpointError(f"{checkpoint.name} cannot be converted: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_converter(checkpoint: Checkpoint, compute_type: str, output: Path) -> None:
    """Convert with CTranslate2's own converter, and check that the result computes the same.

    The check is made in float32, where a right conversion differs by rounding only. `output` and
    what lies beside it are ours to write.
    """
    import torch
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        """The stock one, from full precision, and from checkpoints that are whole."""

        model: Any = None

        def load_model(self, model_class: Any, model_name_or_path: str, **kwargs: Any) -> Any:
            if self.model is None:
                kwargs |= {"dtype": torch.float32, "local_files_only": True}
                self.model, report = super().load_model(
                    model_class, model_name_or_path, output_loading_info=True, **kwargs
                )
                require_all_weights(checkpoint, report)
                if checkpoint.model_type == "marian":
                    _require_zero_start(checkpoint, self.model)
                _complete_config(self.model.config)
            return self.model

    converter = Converter(str(checkpoint.path))
    exact = output if compute_type == "float32" else output.with_name("exact")
    vmap = str(checkpoint.shortlist) if checkpoint.shortlist else None
    try:
        with loading():
            converter.convert(str(exact), vmap, quantization="float32")
            difference = _difference(checkpoint, converter.model, exact)
            if exact != output:
                converter.convert(str(output), vmap, quantization=compute_type)
    except (CheckpointError, OSError):
        raise
    except Exception as error:  # the converter asserts, indexes and raises as it goes
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"CTranslate2 cannot convert {checkpoint.name}: {first_line(error)}"
        ) from error
    if difference > _MOST_DIFFERENCE:
        raise CheckpointError(
            f"the conversion of {checkpoint.name} for CTranslate2 computes something else: token "
            f"log-probabilities are off by {difference:.0%}"
        )


def _complete_config(config: Any) -> None:
    """Tell the converter what it reads from fields that transformers 5 has dropped or redefined."""
    before = {"bart": False, "mbart": True, "pegasus": True}.get(config.model_type)
    if before is not None:
        config.normalize_before = before
    if config.model_type == "pegasus":
        config.normalize_embedding = False
    if config.model_type in ("t5", "mt5"):
        # The converter scales the decoder's output by this field. transformers 5 keeps it true
        # always, and scales by another one, which mT5 does not have.
        config.tie_word_embeddings = getattr(config, "scale_decoder_outputs", False)


def _difference(checkpoint: Checkpoint, model: Any, converted: Path) -> float:
    """Measure how far the conversion's log-probabilities are from the model's, as a share."""
    import ctranslate2

    tokenizer = CheckpointTokenizer(checkpoint)
    pieces = tokenizer.pieces()
    # Any tokens will do, as long as they are neither special nor all alike.
    tokens = [11 + 7 * i % (len(pieces) // 2) for i in range(12)]
    source, target = [*tokens, tokenizer.end], [*reversed(tokens), tokenizer.end]
    expected = forced_scores(model.eval(), tokenizer, [source], [target])[0]
    names = [[pieces[token] for token in row] for row in (source, target[:-1])]
    translator = ctranslate2.Translator(str(converted), compute_type="default", intra_threads=1)
    found = translator.score_batch(names[:1], names[1:])[0].log_probs
    return sum(abs(a - b) for a, b in zip(expected, found, strict=True)) / -sum(expected)


def _require_zero_start(checkpoint: Checkpoint, model: Any) -> None:
    """Refuse a Marian model that would not decode as it does in transformers.

    There, decoding starts from the embedding of the padding; CTranslate2 starts from zero, and
    drops the last entry of the vocabulary as the padding.
    """
    weight = model.get_decoder().get_input_embeddings().weight
    pad = model.config.pad_token_id
    start = model.config.decoder_start_token_id
    if pad != len(weight) - 1 or start != pad or weight[pad].abs().max().item() != 0:
        raise CheckpointError(
            f"CTranslate2 cannot run {checkpoint.name}: decoding must start from <pad>, the last "
            "of the vocabulary, with an embedding of zeros"
        )


def _contents(directory: Path) -> dict[str, str]:
    contents = {}
    for file in sorted(directory.iterdir()):
        if file.name != _SEAL:
            with file.open("rb") as stream:
                contents[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return contents


def _is_sound(entry: Path) -> bool:
    """Whether a conversion holds what was written into it."""
    try:
        return json.loads((entry / _SEAL).read_text(encoding="utf-8")) == _contents(entry)
    except (OSError, ValueError):
        return False
