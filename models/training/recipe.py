"""A training run from configuration to checkpoint: `train`, then `export`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import accumulate, chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import resolve
from ..errors import CheckpointError, ConfigError
from ..guards import arabic_share
from .alignment import TranslationTable, copy_alignment, soft_alignment, train_ibm1
from .batches import Candidates, Example
from .config import TrainingConfig, ValidationConfig, load_training_config
from .corpus import Choice, Corpus, Pair, article_choices, load_corpus, normalize, read_pairs
from .noise import Noise
from .vocabulary import TOKENIZER_FILES, copy_vocabulary, train_vocabulary

log = logging.getLogger(__name__)

END_ID = 0
IMPOSSIBLE = -10_000.0  # as a logit; float16 can hold it


_NOTHING_LEFT = "no example is left after filtering: see the counts in the log"


def train(
    config: TrainingConfig,
    folder: Path,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train in `folder`, or go on with what lies there, until the configured last update.

    Raises InputError for material that cannot be read and ConfigError where nothing is left of it.
    """
    import torch

    from .trainer import Trainer

    if config.threads:
        torch.set_num_threads(config.threads)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.model_dump_json(indent=2), encoding="utf-8")
    corpora = [
        load_corpus(name, source, config.filters, config.task)
        for name, source in config.sources.items()
    ]
    if not any(corpus.pairs for corpus in corpora):
        raise ConfigError(_NOTHING_LEFT)
    tokenizer = folder / "tokenizer"
    if not (tokenizer / "vocab.json").is_file():
        options = config.vocabulary
        if options.reuse:
            # A folder may hold a tokenizer alone; a checkpoint of a hub or of khulasa's is a name.
            known = Path(options.reuse)
            copy_vocabulary(known if known.is_dir() else resolve(options.reuse).path, tokenizer)
        else:
            train_vocabulary(
                corpora, tokenizer, options.size, options.sample_lines,
                options.character_coverage, config.seed,
            )  # fmt: skip
    pieces = vocabulary_pieces(tokenizer)
    longest = config.model.max_positions
    groups = []
    for corpus, source in zip(corpora, config.sources.values(), strict=True):
        is_ranked = config.ranking.weight > 0 and source.format == "articles"
        choices = article_choices(source) if is_ranked else {}
        groups.append(encode(corpus.pairs, tokenizer, longest, choices))
    examples = [example for group in groups for example in group]
    if not examples:
        raise ConfigError(_NOTHING_LEFT)
    log.info("%d examples, vocabulary of %d", len(examples), len(pieces))

    outputs = output_ids(config, examples, len(pieces))
    np.save(folder / "outputs.npy", outputs)
    torch.manual_seed(config.seed)
    table, guide = None, None
    if config.task == "summarizer":
        guide = copy_alignment
    elif config.alignment.weight or (
        config.model.embedding_start == "alignment" and not config.model.start_from
    ):
        table = alignment_table(config, groups, len(pieces), folder)
        guide = partial(soft_alignment, table)
    model = starting_model(config, pieces, groups, table)
    restrict_outputs(model, outputs)
    trainer = Trainer(
        config,
        model,
        examples,
        [len(group) for group in groups],
        [corpus.weight for corpus in corpora],
        folder,
        outputs,
        guide if config.alignment.weight else None,
        Noise(config.noise, pieces, outputs, longest) if config.noise.is_on() else None,
        validator(config.validation, config.task, tokenizer) if config.validation else None,
        progress,
    )
    trainer.run()


def vocabulary_pieces(tokenizer: Path) -> list[str]:
    """The vocabulary in the order of its ids. Raises CheckpointError where pad is not last."""
    vocabulary = json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8"))
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    if pieces[-1] != "<pad>":
        raise CheckpointError(f"{tokenizer}: <pad> must be the last entry of vocab.json")
    return pieces


def encode(
    pairs: Sequence[Pair],
    tokenizer: Path,
    longest: int,
    choices: Mapping[str, Choice] | None = None,
) -> list[Example]:
    """Token ids of pairs, each side ending in the end token; longer ones are left out.

    Sources that `choices` has are given with their sentences.
    """
    source, target = (Encoder(tokenizer, name) for name in ("source.spm", "target.spm"))
    chosen = [(choices or {}).get(text) for text, _ in pairs]
    texts = [c.sentences if c else (text,) for (text, _), c in zip(pairs, chosen, strict=True)]
    # All at once: SentencePiece starts its threads anew for each call.
    sentences = iter(source([*chain(*texts)]))
    targets = target([wanted for _, wanted in pairs])
    examples = []
    for (_, wanted), choice, some, ids in zip(pairs, chosen, texts, targets, strict=True):
        parts = list(islice(sentences, len(some)))
        example = Example(
            np.array([*chain(*parts), END_ID], dtype=np.int32),
            np.array([*ids, END_ID], dtype=np.int32),
            candidates(parts, choice, wanted) if choice else None,
        )
        if max(len(example.source), len(example.target)) <= longest:
            examples.append(example)
    return examples


class Encoder:
    """Turns texts into ids of the vocabulary, without an end token."""

    def __init__(self, tokenizer: Path, name: str) -> None:
        import sentencepiece

        vocabulary = json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8"))
        self._model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / name))
        # The model's own ids may differ from those of vocab.json.
        pieces = map(self._model.id_to_piece, range(len(self._model)))
        self._ids = [vocabulary.get(piece, 1) for piece in pieces]

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._ids[i] for i in line] for line in self._model.encode(list(texts))]


def candidates(parts: Sequence[Sequence[int]], choice: Choice, target: str) -> Candidates:
    """The sentences of a text, given their tokens."""
    ends = [0, *accumulate(map(len, parts))]
    in_target = (i for i, text in enumerate(choice.sentences) if text in target)
    return Candidates(tuple(pairwise(ends)), frozenset(in_target), choice.overlap)


def output_ids(config: TrainingConfig, examples: Sequence[Example], vocabulary: int) -> Any:
    """The ids that the model may write, ascending: never pad, which is the last."""
    if config.model.outputs == "all":
        return np.arange(vocabulary - 1)
    written = [example.target for example in examples]
    written += [example.source for example in examples if example.candidates]
    return np.unique(np.concatenate(written)).astype(np.int64)


# With byte fallback the first byte of every Arabic letter is one of these.
_ARABIC_BYTES = ("<0xD8>", "<0xD9>", "<0xDA>", "<0xDB>")


def is_arabic_piece(piece: str) -> bool:
    """Whether a piece is Arabic: the English of some pairs quotes an Arabic word or two."""
    return piece in _ARABIC_BYTES or arabic_share(piece) > 0


def restrict_outputs(model: Any, outputs: Any) -> None:
    """Make every other output impossible, in any engine: by the bias that MarianMT has for it."""
    import torch

    with torch.no_grad():
        model.final_logits_bias.fill_(IMPOSSIBLE)
        model.final_logits_bias[0, torch.from_numpy(outputs)] = 0


def alignment_table(
    config: TrainingConfig, groups: Sequence[Sequence[Example]], vocabulary: int, folder: Path
) -> TranslationTable:
    """IBM model 1 over a sample that follows the weights; kept in the run's folder."""
    path = folder / "alignment.npz"
    if path.is_file():
        stored = np.load(path)
        return TranslationTable(vocabulary, stored["key"], stored["probability"])
    random = np.random.default_rng(config.seed)
    weights = [source.weight for source in config.sources.values()]
    sizes = [min(1.0, weight) * len(group) for weight, group in zip(weights, groups, strict=True)]
    share = min(1.0, config.alignment.pairs / max(1.0, sum(sizes)))
    sample = [
        (group[number].source, group[number].target)
        for size, group in zip(sizes, groups, strict=True)
        for number in random.permutation(len(group))[: int(size * share)]
        if len(group[number].source) <= 80 and len(group[number].target) <= 80
    ]
    log.info("aligning %d pairs", len(sample))
    table = train_ibm1(sample, vocabulary, config.alignment.iterations)
    np.savez(path, key=table.key, probability=table.probability)
    return table


def starting_model(
    config: TrainingConfig,
    pieces: list[str],
    groups: Sequence[Sequence[Example]],
    table: TranslationTable | None,
) -> Any:
    """A fresh MarianMT, or the checkpoint to fine-tune."""
    from .initialization import align_embeddings, build_marian, continued_model

    shape = config.model
    if shape.start_from:
        return continued_model(shape, pieces)
    model = build_marian(shape, len(pieces))
    if table is not None and shape.embedding_start == "alignment":
        counts = np.zeros(len(pieces))
        for group in groups:
            for example in group:
                np.add.at(counts, example.target, 1)
        align_embeddings(model, pieces, table, counts)
    return model


def validator(
    options: ValidationConfig, task: str, tokenizer: Path
) -> Callable[[Any], dict[str, float]]:
    """A function that measures a model on the development set.

    It gives the cross-entropy of the references (nats a token; against that of training it shows
    what was learned by heart), and chrF and BLEU of greedy output.
    """
    pairs = [(normalize(source), target) for source, target in read_pairs(options, task)]
    # Every nth pair, so that the sample does not come from the first articles alone.
    pairs = pairs[:: max(1, len(pairs) // options.examples)][: options.examples]
    examples = encode([(source, normalize(target)) for source, target in pairs], tokenizer, 10_000)
    references = [target for _, target in pairs]

    def validate(model: Any) -> dict[str, float]:
        import sacrebleu

        hypotheses = greedy(model, [example.source for example in examples], tokenizer)
        return {
            "dev_cross_entropy": reference_loss(model, examples),
            "chrf": sacrebleu.corpus_chrf(hypotheses, [references]).score,
            "bleu": sacrebleu.corpus_bleu(hypotheses, [references]).score,
        }

    return validate


def reference_loss(model: Any, examples: Sequence[Example]) -> float:
    """Cross-entropy of targets in nats a token, over the tokens that the model may write."""
    import torch
    from torch.nn import functional

    from .trainer import collate

    pad = model.config.pad_token_id
    ordered = sorted(examples, key=lambda example: len(example.source))
    model.eval()
    total, tokens = 0.0, 0
    for first in range(0, len(ordered), 32):
        batch = collate(ordered[first : first + 32], pad, None)
        with torch.inference_mode():
            logits = model(
                input_ids=batch.source,
                attention_mask=batch.source_mask,
                decoder_input_ids=batch.target_input,
            ).logits
        # Pieces that no training target had are impossible, and say nothing of the others.
        counted = batch.target_mask & (model.final_logits_bias[0] == 0)[batch.target]
        total += float(
            functional.cross_entropy(logits[counted], batch.target[counted], reduction="sum")
        )
        tokens += int(counted.sum())
    return total / tokens


def greedy(model: Any, sources: Sequence[np.ndarray], tokenizer: Path) -> list[str]:
    """Greedy outputs of a model in training, in order."""
    import sentencepiece
    import torch

    pieces = vocabulary_pieces(tokenizer)
    target = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "target.spm"))
    pad = model.config.pad_token_id
    order = sorted(range(len(sources)), key=lambda number: len(sources[number]))
    outputs = [""] * len(sources)
    model.eval()
    for first in range(0, len(order), 32):
        rows = order[first : first + 32]
        width = max(len(sources[row]) for row in rows)
        ids = torch.full((len(rows), width), pad)
        for place, row in enumerate(rows):
            ids[place, : len(sources[row])] = torch.from_numpy(sources[row]).long()
        with torch.inference_mode():
            generated = model.generate(
                input_ids=ids,
                attention_mask=(ids != pad).long(),
                num_beams=1,
                do_sample=False,
                max_new_tokens=min(model.config.max_position_embeddings - 1, 2 * width + 8),
            )
        for row, line in zip(rows, generated.tolist(), strict=True):
            outputs[row] = target.decode_pieces([pieces[i] for i in line if i not in (END_ID, pad)])
    return outputs


def export(
    folder: Path,
    target: Path,
    average: int,
    beam_size: int = 4,
    share: float = 1.0,
    others: Sequence[Path] = (),
) -> None:
    """Write the mean of a run's last `average` sets of weights as a Hugging Face checkpoint.

    With `others` it is the mean over all of these runs, which must have started from the same
    checkpoint with the same vocabulary: else their weights do not go together (Wortsman et al.
    2022, "Model soups"). With a `share` below 1, each weight goes only so far from that checkpoint
    to where the runs took it (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    Weights are stored as float16: half the size, with no measurable loss for inference.
    """
    import shutil

    import torch
    from transformers import GenerationConfig

    from .trainer import average_weights, mean_weights

    config = _config_of(folder)
    pieces = vocabulary_pieces(folder / "tokenizer")
    for other in others:
        start = _config_of(other).model.start_from
        if not start or start != config.model.start_from:
            raise ConfigError(
                f"{other}: started from {start or 'nothing'}, not, as {folder} did, from "
                f"{config.model.start_from or 'nothing'}: only runs that started from one "
                "checkpoint have a mean"
            )
        if vocabulary_pieces(other / "tokenizer") != pieces:
            raise ConfigError(f"{other}: has another vocabulary than {folder}")
    folders = (folder, *others)
    model = starting_model(config, pieces, [], None)
    if share < 1 and not config.model.start_from:
        raise ConfigError(
            f"{folder}: a share needs a run that started from a checkpoint (model.start_from); "
            "this one did not, so leave the share out"
        )
    weights = mean_weights(average_weights(_last_weights(each, average)) for each in folders)
    start = model.state_dict()
    model.load_state_dict(
        {name: torch.lerp(start[name], weight, share) for name, weight in weights.items()},
        strict=False,
    )
    outputs = [np.load(each / "outputs.npy") for each in folders]
    possible = reduce(np.union1d, outputs)
    if config.task == "translator" and config.model.outputs == "targets":
        possible = [i for i in possible.tolist() if not is_arabic_piece(pieces[i])]
    restrict_outputs(model, np.asarray(possible))
    pad = model.config.pad_token_id
    with torch.no_grad():
        model.get_input_embeddings().weight[pad].zero_()
    model.generation_config = GenerationConfig(
        num_beams=beam_size,
        bad_words_ids=[[pad]],
        pad_token_id=pad,
        eos_token_id=END_ID,
        decoder_start_token_id=pad,
    )
    if config.ranking.weight:
        # What the scores were trained with is what they should be decoded with.
        model.config.task_specific_params = {
            "summarization": {"calibration": config.ranking.calibration}
        }
    model.half().save_pretrained(target)
    for name in TOKENIZER_FILES:
        shutil.copy(folder / "tokenizer" / name, target / name)


def _config_of(folder: Path) -> TrainingConfig:
    path = folder / "config.json"
    if not (folder / "weights").is_dir() or not path.is_file():
        raise CheckpointError(f"{folder}: not the folder of a run, or of one without weights yet")
    return load_training_config(path)  # JSON is YAML


def _last_weights(folder: Path, count: int) -> list[Path]:
    files = sorted((folder / "weights").glob("*.safetensors"))[-count:]
    if not files:
        raise CheckpointError(f"{folder}: no weights yet; train at least until the first save")
    return files


__all__ = ["Corpus", "export", "train"]
