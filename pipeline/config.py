"""The configuration of a pipeline: YAML, then environment, then flags; checked before any work."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..models.errors import ConfigError
from ..models.summarizer import SummarizerOptions
from ..models.translator import TranslatorOptions
from .clean import CleanOptions

CONFIGS = Path(__file__).parent.parent / "configs"
PREFIX = "KHULASA_"
# Other settings of ours that live in the environment and are no part of a configuration.
_NOT_CONFIG = {"KHULASA_CACHE", "KHULASA_CONFIG", "KHULASA_MPS"}

Positive = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _several(value: object) -> object:
    """What may be one or several, or none, as several."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path) else value


class TranslateConfig(_Section):
    """The translator's checkpoint and options.

    `lexical_shortlist` is a file that `khulasa shortlist` made for the checkpoint. `names` are TSVs
    of names in Arabic and English (`NameList.load`); `default` is the one that ships.
    """

    checkpoint: str
    revision: str | None = None
    lexical_shortlist: Path | None = None
    names: Annotated[tuple[Literal["default"] | Path, ...], BeforeValidator(_several)] = ()
    options: TranslatorOptions = TranslatorOptions()


class SummarizeConfig(_Section):
    """The summarizers: one checkpoint for each language (it may be the same).

    With `summaries: aligned` the English summary is made of the translations of the sentences that
    were chosen in Arabic, and `en` is not used. It needs faithful decoding.
    """

    ar: str
    en: str
    revision_ar: str | None = None
    revision_en: str | None = None
    summaries: Literal["independent", "aligned"] = "independent"
    options: SummarizerOptions = SummarizerOptions()

    @model_validator(mode="after")
    def _require_sentences_to_align(self) -> Self:
        if self.summaries == "aligned" and self.options.decoding != "faithful":
            raise ConfigError(
                "summarize.summaries: aligned takes whole sentences, so that "
                "summarize.options.decoding must be faithful, not "
                f"{self.options.decoding!r}"
            )
        return self


class ScoreConfig(_Section):
    """How Arabic and English summaries are compared with references: see `RougeTokenizer`."""

    fold_alef: bool = False
    fold_yeh: bool = False
    fold_teh_marbuta: bool = False
    clitics: bool = False


class Config(_Section):
    """Everything that decides what a pipeline gives back, and how it works.

    Documents are worked on in windows of `window`. `cache` is a file in which translations are
    kept for later runs, made if it is not there.
    """

    engine: Literal["auto", "ctranslate2", "transformers"] = "auto"
    device: str = "auto"
    threads: Positive | None = None
    compute_type: str | None = None
    window: Positive = 64
    cache: Path | None = None
    clean: CleanOptions = CleanOptions()
    translate: TranslateConfig
    summarize: SummarizeConfig
    score: ScoreConfig = ScoreConfig()


def config_names() -> list[str]:
    """The names of the configurations that ship."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def load_config(
    name: str | Path = "default",
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration called `name`: one that ships, or a path to a YAML file.

    Stronger settings go over weaker ones: `overrides` (dotted keys, such as
    `translate.options.generation.beam_size`; None is not an override) over the environment
    (`KHULASA_DEVICE`, `KHULASA_TRANSLATE__CHECKPOINT`: sections are parted by two underscores)
    over the file over the defaults. Raises ConfigError that names the file, the key and, for an
    unknown key, the nearest one.
    """
    path, values = read_yaml(name, CONFIGS, "configuration")
    for key, value in _environment(os.environ if environment is None else environment):
        _put(values, key, value, f"{PREFIX}{'__'.join(key).upper()}")
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(values, dotted.split("."), value, dotted)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_problems(error))}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_yaml(name: str | Path, folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Find and read the YAML file called `name`: one in `folder`, or a path; gives path and keys.

    `kind` is the word for it in messages. Raises ConfigError for a name that is not there, with the
    nearest one that is, and for a file that is not a mapping.
    """
    path = Path(name)
    if not path.suffix and not path.is_file():
        path = folder / f"{name}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        near = difflib.get_close_matches(str(name), names, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"no {kind} {str(name)!r}: {hint}Give a path to a YAML file or one of "
            f"{', '.join(names)}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a {kind} is a mapping of keys to values")
    return path, values


def _environment(environment: Mapping[str, str]) -> Iterator[tuple[list[str], Any]]:
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in _NOT_CONFIG:
            value = environment[name]
            try:
                parsed = yaml.safe_load(value)
            except yaml.YAMLError:
                parsed = value
            yield name.removeprefix(PREFIX).lower().split("__"), parsed


def _put(values: dict[str, Any], key: list[str], value: Any, origin: str) -> None:
    *sections, last = key
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{origin}: {section!r} is a value and has no keys")
    values[last] = value


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        message = problem["msg"]
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _known_keys(place[:-1])
            near = difflib.get_close_matches(place[-1], known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            message = f"unknown key; {hint}"
        yield f"{'.'.join(place)}: {message}"


def _known_keys(sections: list[str]) -> list[str]:
    """The keys of the section at this place, of a pydantic model or a dataclass."""
    kind: Any = Config
    for section in sections:
        kind = get_type_hints(kind)[section]
    return list(get_type_hints(kind) if is_dataclass(kind) else kind.model_fields)
