"""What a training run is made of, read from YAML. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MaterialConfig(_Section):
    """One file of pairs, and which of its parts are source and target.

    `target` is what a summarizer learns to write: the sentences of the text that come nearest its
    summary (`oracle`), or the summary itself.
    """

    path: str
    format: Literal["tsv", "jsonl", "articles"] = "tsv"
    source_column: str = "ar"
    target_column: str = "en"
    target: Literal["oracle", "summary"] = "oracle"


class SourceConfig(MaterialConfig):
    """One file of training material, and what is made of it.

    `weight` is how often the source is seen in each pass over the mix: 4 means four times, 0.2
    means a different fifth of it each pass.
    With `vary` the source gives variants of its pairs, with other numbers and Latin-script words,
    and leaves out pairs that have no variant: name the same file a second time. With `names`, a TSV
    of names in both languages, the variants have other names instead, of that file and of the
    source itself. `copies` is how many variants a pair has. With `join` each example is that many
    pairs which follow one another in the file, as one text.
    """

    weight: float = Field(default=1.0, gt=0)
    vary: bool = False
    names: str | None = None
    copies: int = Field(default=1, gt=0)
    join: int = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _one_kind_of_variant(self) -> SourceConfig:
        if self.vary and self.names:
            raise ValueError("has both `vary` and `names`: name the file twice, once with each")
        if self.copies > 1 and not (self.vary or self.names):
            raise ValueError(
                "`copies` are of variants: needs `vary` or `names` (or raise `weight`)"
            )
        return self


class FilterConfig(_Section):
    """Pairs outside these bounds are left out, and counted by reason."""

    max_characters: int = Field(default=600, gt=0)
    max_length_ratio: float = Field(default=3.0, gt=1)
    min_script_share: float = Field(default=0.5, ge=0, le=1)
    numbers_agree: bool = True
    duplicates: bool = True


class VocabularyConfig(_Section):
    """A joint SentencePiece unigram model with byte fallback and split digits.

    `reuse` takes the vocabulary of an existing MarianMT checkpoint instead: a folder, the name of
    one that ships, or a hub id.
    """

    size: int = Field(default=8000, ge=300)
    sample_lines: int = Field(default=400_000, gt=0)
    character_coverage: float = Field(default=0.9995, gt=0, le=1)
    reuse: str | None = None


class ModelConfig(_Section):
    """The shape of a MarianMT; or the checkpoint to go on from (`start_from`), which sets it.

    That is a folder, the name of one that ships, or a hub id. With another vocabulary than its own,
    pieces that it does not know start from those that they can be made of. It can be made deeper
    (`add_encoder_layers`, `add_decoder_layers`): at first the new layers change nothing, so that
    nothing it learned is lost.
    With `outputs: targets` the model can write only pieces that the targets of its training
    material have: a translator into English then cannot leave Arabic letters, and learns faster.
    """

    start_from: str | None = None
    add_encoder_layers: int = Field(default=0, ge=0)
    add_decoder_layers: int = Field(default=0, ge=0)
    d_model: int = 256
    feed_forward: int = 1024
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    activation_dropout: float = Field(default=0.0, ge=0, lt=1)
    max_positions: int = 512
    embedding_start: Literal["random", "alignment"] = "random"
    outputs: Literal["all", "targets"] = "all"


class AlignmentConfig(_Section):
    """Guided attention: by IBM model 1 for a translator, by what is copied for a summarizer.

    `weight` 0 switches it off; it falls to `final_weight` over `decay_updates`.
    """

    pairs: int = Field(default=100_000, gt=0)
    iterations: int = Field(default=5, gt=0)
    weight: float = Field(default=0.0, ge=0)
    final_weight: float = Field(default=0.0, ge=0)
    decay_updates: int = Field(default=3000, gt=0)


class NoiseConfig(_Section):
    """What is done to a translator's examples, anew each time that they are seen; 0 is nothing.

    `segmentation` is the share of pieces that are broken in two, on both sides; `source_masking`
    the share of source tokens that are read as unknown, `target_masking` that of the target's
    tokens as the decoder reads them: what it is to write stays whole.
    """

    segmentation: float = Field(default=0.0, ge=0, lt=1)
    source_masking: float = Field(default=0.0, ge=0, lt=1)
    target_masking: float = Field(default=0.0, ge=0, lt=1)

    def is_on(self) -> bool:
        """Whether there is any noise."""
        return max(self.segmentation, self.source_masking, self.target_masking) > 0


class RankingConfig(_Section):
    """What a summarizer is taught beside writing: to score the better sentences higher.

    `weight` 0 switches it off; it is on from update `from_update`. The scores are those of faithful
    decoding with this `calibration`. The lower `temperature`, the smaller a difference of scores
    is enough; the lower `gain_temperature`, the more the best sentence counts. `context` is how
    often a list is one of what to choose next, after a first sentence, and after a second again.
    `dropout` is the share of sentences that are left out of a text each time that it is seen.
    """

    weight: float = Field(default=0.0, ge=0)
    from_update: int = Field(default=0, ge=0)
    calibration: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=0.5, gt=0)
    gain_temperature: float = Field(default=0.05, gt=0)
    context: float = Field(default=0.5, ge=0, le=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class OptimizationConfig(_Section):
    """AdamW under a warm-up, a plateau and a linear cool-down to zero.

    Batch sizes are in tokens of the longer side, padding counted; they grow from `batch_tokens`
    to `max_batch_tokens` by `batch_growth` tokens an update. With `consistency` each batch goes
    through the model twice, with other units dropped, and with this weight the two predictions
    shall resemble each other (R-Drop, Liang et al. 2021; their alpha of 5 is 2.5 here): an update
    takes twice as long, and less is learned by heart.
    """

    total_updates: int = Field(default=10_000, gt=0)
    warmup_updates: int = Field(default=800, ge=0)
    cooldown_updates: int = Field(default=2_000, ge=0)
    learning_rate: float = Field(default=6e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    consistency: float = Field(default=0.0, ge=0)
    batch_tokens: int = Field(default=1200, gt=0)
    max_batch_tokens: int = Field(default=3000, gt=0)
    batch_growth: float = Field(default=0.3, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class ValidationConfig(MaterialConfig):
    """A development set decoded greedily while training runs."""

    format: Literal["tsv", "jsonl", "articles"] = "articles"
    examples: int = Field(default=200, gt=0)
    every: int = Field(default=1000, gt=0)


class CheckpointConfig(_Section):
    """How often the state is saved, and how many sets of weights are kept to average."""

    every: int = Field(default=500, gt=0)
    keep: int = Field(default=8, gt=0)
    average: int = Field(default=4, gt=0)


class TrainingConfig(_Section):
    """A whole run. `task` decides how examples are made from the sources."""

    task: Literal["translator", "summarizer"] = "translator"
    seed: int = 1
    threads: int | None = None
    sources: dict[str, SourceConfig]
    filters: FilterConfig = FilterConfig()
    vocabulary: VocabularyConfig = VocabularyConfig()
    model: ModelConfig = ModelConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    noise: NoiseConfig = NoiseConfig()
    ranking: RankingConfig = RankingConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    validation: ValidationConfig | None = None
    checkpoints: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _some_is_for_translators(self) -> TrainingConfig:
        # A summarizer learns to copy, and its sentences are found in the tokens as they are.
        joins = any(source.join > 1 for source in self.sources.values())
        for name, is_on in (("noise", self.noise.is_on()), ("join", joins)):
            if self.task != "translator" and is_on:
                raise ValueError(
                    f"{name}: is for translators; leave it out, or set task: translator"
                )
        return self


def load_training_config(path: Path, settings: tuple[str, ...] = ()) -> TrainingConfig:
    """Read a training configuration.

    `settings` are `section.key=value` overrides, values in YAML. Relative paths in the file are
    relative to the working directory. Raises ConfigError for a file or a key that is wrong.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    for setting in settings:
        keys, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: write section.key=value")
        *sections, last = keys.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = yaml.safe_load(value)
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            ": ".join(filter(None, (".".join(map(str, problem["loc"])), _plain(problem["msg"]))))
            for problem in error.errors()
        )
        raise ConfigError(f"{path}: {problems}") from error


def _plain(message: str) -> str:
    """What a validator of ours said, without what pydantic puts before it."""
    return message.removeprefix("Value error, ")
