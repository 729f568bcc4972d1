"""The reference engine: any sequence-to-sequence checkpoint, on PyTorch."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from .checkpoint import Checkpoint
from .device import cpu_count, first_line, is_out_of_memory
from .engine import Generation, GenerationOptions, Tokens, require_fit, rows_by_limit
from .errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

COMPUTE_TYPES = ("auto", "float32", "float16", "bfloat16")

# Models with relative positions read any length, but were trained on about this many tokens.
_DEFAULT_LENGTH = 512
# Tokenizers that know no limit say so by a number like 10^30.
_NO_LIMIT = 10**6
# Scores need rows x tokens x vocabulary numbers: at most this many at once (256 MB of float32).
_LOGITS_AT_ONCE = 1 << 26

_LOADING = threading.RLock()


class CheckpointTokenizer:
    """The checkpoint's tokenizer and what its files say of lengths and special tokens.

    Both engines use it, so that both see the same ids. It takes any string.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        try:
            with loading():
                tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True)
            config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
        except Exception as error:  # parsers of many formats, each with errors of its own
            raise CheckpointError(
                f"the tokenizer of {checkpoint.name} in {checkpoint.path} cannot be loaded: "
                f"{first_line(error)}. Fetch the model again."
            ) from error
        try:
            generation = GenerationConfig.from_pretrained(checkpoint.path, local_files_only=True)
        except OSError:  # older checkpoints keep these values in config.json
            generation = GenerationConfig.from_model_config(config)

        self._tokenizer: Any = tokenizer
        self.config: Any = config
        self.pad: int = tokenizer.pad_token_id
        self.end: int = tokenizer.eos_token_id
        self.start: int | None = generation.decoder_start_token_id
        self.forced_start: int | None = generation.forced_bos_token_id
        if self.start is None:
            self.start = getattr(config, "decoder_start_token_id", None)

        self._hidden = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        # The ways in which plain text could be read as something else.
        names = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len)
        self._special = re.compile("|".join(map(re.escape, reversed(names))))
        self._languages = frozenset(getattr(tokenizer, "supported_language_codes", ()))

        positions = getattr(config, "max_position_embeddings", None)
        declared = tokenizer.model_max_length
        known = [n for n in (positions, declared) if n and n < _NO_LIMIT]
        self.max_source_tokens: int = min(known, default=_DEFAULT_LENGTH)
        self.max_target_tokens: int = positions or _NO_LIMIT

    def encode(self, texts: Sequence[str], target: bool = False) -> list[list[int]]:
        """Turn texts into token ids with special tokens, nothing cut off."""
        if not texts:
            return []
        plain = [self._as_plain_text(text) for text in texts]
        argument = {"text_target": plain} if target else {"text": plain}
        # `verbose` would warn of long texts: splitting is our caller's business.
        return self._tokenizer(**argument, verbose=False)["input_ids"]

    def decode(self, tokens: Tokens) -> str:
        """Give the text of an output. Unknown pieces show as `<unk>`, other specials do not."""
        shown = [token for token in tokens if token not in self._hidden]
        return self._tokenizer.decode(shown, clean_up_tokenization_spaces=False).strip()

    def pieces(self) -> list[str]:
        """List the name of each token, by id."""
        names = self._tokenizer.get_vocab()
        size = max(max(names.values()) + 1, self.config.vocab_size)
        by_id = {i: name for name, i in names.items()}
        return [by_id.get(i, f"<extra_id_{i - len(names)}>") for i in range(size)]

    def _as_plain_text(self, text: str) -> str:
        # SentencePiece takes no lone surrogates, and ends a text at NUL.
        text = text.encode("utf-8", "replace").decode().replace("\0", " ")
        text = self._special.sub(lambda match: " ".join(match[0]), text)
        code = text.lstrip()
        if code.startswith(">>") and code.partition("<<")[0] + "<<" not in self._languages:
            text = text.replace(">>", "> >", 1)
        return text


class TransformersEngine:
    """An `Engine` on `AutoModelForSeq2SeqLM`."""

    name = "transformers"
    parallel = 1

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        threads: int | None = None,
        compute_type: str = "auto",
    ) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM, GenerationConfig

        if compute_type not in COMPUTE_TYPES:
            raise ConfigError(
                f"compute_type: the transformers engine has {', '.join(COMPUTE_TYPES)}, "
                f"not {compute_type!r}"
            )
        self.checkpoint = checkpoint
        self.device = device
        self._tokenizer = CheckpointTokenizer(checkpoint)
        if self._tokenizer.start is None:
            raise CheckpointError(f"{checkpoint.name} does not name its decoder_start_token_id")
        if device == "cpu":
            # PyTorch does not know of a container's quota, and slows down when it has too many.
            torch.set_num_threads(threads or min(torch.get_num_threads(), cpu_count()))
        # By name, because the default takes the file's: half precision is slow on many CPUs.
        self.compute_type = "float32" if compute_type == "auto" else compute_type
        dtype = getattr(torch, self.compute_type)
        try:
            with loading():
                model, report = AutoModelForSeq2SeqLM.from_pretrained(
                    checkpoint.path, dtype=dtype, local_files_only=True, output_loading_info=True
                )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointError(
                f"the weights of {checkpoint.name} in {checkpoint.path} cannot be loaded: "
                f"{first_line(error)}. Fetch the model again."
            ) from error
        require_all_weights(checkpoint, report)
        # `generate` fills gaps in our options from the checkpoint's: a forced end token would hide
        # that an output was cut off, max_length would warn beside max_new_tokens at each call, and
        # others would do what CTranslate2 does not. Our options are the whole truth.
        model.generation_config = GenerationConfig()
        self._model: Any = model.eval().to(device)

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

    def _search(
        self, batch: Sequence[Tokens], options: GenerationOptions, count: int
    ) -> list[list[Generation]]:
        require_fit(batch, self.max_source_tokens)
        outputs: dict[int, list[list[int]]] = {}
        most = self._tokenizer.max_target_tokens
        for limit, rows in rows_by_limit(batch, options, most).items():
            decoded = self._decode([batch[i] for i in rows], options, limit, count)
            outputs |= {row: decoded[n * count :][:count] for n, row in enumerate(rows)}
        tokens = [output for i in range(len(batch)) for output in outputs[i]]
        sources = [row for row in batch for _ in range(count)]
        # A pass of its own costs less than keeping the distribution over the vocabulary of every
        # step and beam, which is what `generate` would do to return scores.
        generations = [
            Generation(
                tuple(output),
                self._tokenizer.decode(output),
                sum(scores) / len(scores) if scores else None,
                truncated=output[-1:] != [self._tokenizer.end],
            )
            for output, scores in zip(tokens, self.score(sources, tokens), strict=True)
        ]
        return [generations[i : i + count] for i in range(0, len(generations), count)]

    def score(self, sources: Sequence[Tokens], targets: Sequence[Tokens]) -> list[list[float]]:
        """Give the log-probability of each target token."""
        longest = max(map(len, targets), default=0)
        if not longest:
            return [[] for _ in targets]
        step = max(1, _LOGITS_AT_ONCE // (longest * self._model.config.vocab_size))
        scores: list[list[float]] = []
        for first in range(0, len(sources), step):
            part = slice(first, first + step)
            scores += forced_scores(self._model, self._tokenizer, sources[part], targets[part])
        return scores

    def close(self) -> None:
        """Free the model's memory."""
        self._model = None

    def _decode(
        self, rows: list[Tokens], options: GenerationOptions, limit: int, count: int
    ) -> list[list[int]]:
        """`count` outputs for each row, those of a row together."""
        import torch
        from transformers import GenerationConfig

        pad, end = self._tokenizer.pad, self._tokenizer.end
        beams = options.beam_size > 1
        config = GenerationConfig(
            num_beams=options.beam_size,
            num_return_sequences=count,
            # The rule that CTranslate2 has too: stop at the first `num_beams` finished hypotheses.
            early_stopping=beams,
            length_penalty=options.length_penalty if beams else None,
            max_new_tokens=limit,
            min_new_tokens=min(options.min_new_tokens, limit),
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            # Padding is no output. With its share of the probability given to the rest, scores are
            # those of CTranslate2, whose Marian vocabulary has no padding.
            suppress_tokens=[pad],
            renormalize_logits=True,
            do_sample=False,
            decoder_start_token_id=self._tokenizer.start,
            forced_bos_token_id=self._tokenizer.forced_start,
            pad_token_id=pad,
            eos_token_id=end,
        )
        ids, mask = _padded(rows, pad, self.device)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids, attention_mask=mask, generation_config=config
            )
        return [_until_end(row[1:], end, pad) for row in output.tolist()]


@contextmanager
def loading() -> Iterator[None]:
    """Load something with transformers: one thread at a time, and quietly.

    Loading switches PyTorch's defaults for the whole process, and two threads that do it at once
    get models with missing weights. What is silenced is progress bars, and advice on a package
    that Marian never calls.
    """
    from transformers.utils import logging as transformers_logging

    with _LOADING, warnings.catch_warnings():
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            warnings.filterwarnings("ignore", message=".*sacremoses")
            yield
        finally:
            if bars:
                transformers_logging.enable_progress_bar()


def require_all_weights(checkpoint: Checkpoint, report: dict[str, Any]) -> None:
    """Raise CheckpointError if loading left weights at random, which transformers only logs."""
    wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if wrong:
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise CheckpointError(
            f"the weights of {checkpoint.name} in {checkpoint.path} lack {shown}: the model would "
            "run on random numbers. Fetch it again, or save it again with save_pretrained."
        )


def forced_scores(
    model: Any, tokenizer: CheckpointTokenizer, sources: Sequence[Tokens], targets: Sequence[Tokens]
) -> list[list[float]]:
    """Give the log-probability of each target token under a transformers model, in one pass.

    Equal sources are encoded once. Padding gets no share of the probability, as in CTranslate2.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    distinct = {source: i for i, source in enumerate(dict.fromkeys(map(tuple, sources)))}
    ids, mask = _padded(list(distinct), tokenizer.pad, model.device)
    rows = torch.tensor([distinct[tuple(source)] for source in sources], device=model.device)
    labels, wanted = _padded(targets, tokenizer.pad, model.device)
    start = labels.new_full((len(labels), 1), tokenizer.start or 0)
    wanted = wanted.bool()

    def without_padding(_: Any, states: tuple[Any, ...]) -> Any:
        # Over the vocabulary, which is most of the work, only what will be read.
        return (states[0][wanted],)

    hook = model.get_output_embeddings().register_forward_pre_hook(without_padding)
    try:
        with torch.inference_mode():
            encoded = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            logits = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded[rows]),
                attention_mask=mask[rows],
                decoder_input_ids=torch.cat([start, labels[:, :-1]], dim=1),
            ).logits.float()
            logits[:, tokenizer.pad] = -torch.inf
            scores = logits.gather(-1, labels[wanted].unsqueeze(-1)).squeeze(-1)
            flat = iter((scores - logits.logsumexp(-1)).tolist())
    finally:
        hook.remove()
    return [list(islice(flat, len(target))) for target in targets]


def _padded(rows: Sequence[Tokens], pad: int, device: Any) -> tuple[Any, Any]:
    """Pack rows into a tensor of ids, padded on the right, with its attention mask."""
    import torch

    width = max(map(len, rows))
    ids = [[*row, *[pad] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _until_end(tokens: list[int], end: int, pad: int) -> list[int]:
    """Take off an output's padding: keep it up to the first end token, all of it if cut off."""
    if end in tokens:
        return tokens[: tokens.index(end) + 1]
    return [token for token in tokens if token != pad]
