"""The pipeline: the stages of a configuration, over one text or over a stream of documents."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..models.batching import windows
from ..models.checkpoint import Checkpoint, resolve
from ..models.engine import Engine, load_engine
from ..models.errors import ConfigError, InputError
from ..models.summarizer import Summarizer
from ..models.translator import Translator
from .config import Config, load_config
from .document import LANGUAGES, Document, Language
from .readers import Reject
from .segment import split_sentences, split_to_fit
from .stages import CleanStage, ScoreStage, Stage, SummarizeStage, TranslateStage

log = logging.getLogger(__name__)

STAGES = ("clean", "translate", "summarize", "score")


class Pipeline:
    """Arabic text in; clean text, translation, summaries and scores out.

    `stages` names those to run, in the order of `STAGES`; cleaning always comes first. Models are
    loaded once, here. Raises CheckpointError, ConfigError or DeviceError.
    """

    def __init__(self, config: Config, stages: Sequence[str] = STAGES) -> None:
        if unknown := set(stages) - set(STAGES):
            raise ConfigError(f"no stage {', '.join(sorted(unknown))}: there are {STAGES}")
        self.config = config
        self._engines: dict[str, Engine] = {}
        self.stages: list[Stage] = [CleanStage(config.clean)]
        run = {"khulasa": version("khulasa")}
        if "translate" in stages:
            translator = self._translator()
            run["translator"] = _identity(translator.engine.checkpoint)
            self.stages.append(TranslateStage(translator))
        if "summarize" in stages:
            summarizers = self._summarizers(LANGUAGES if "translate" in stages else ("ar",))
            for language, summarizer in summarizers.items():
                run[f"summarizer_{language}"] = _identity(summarizer.engine.checkpoint)
            self.stages.append(SummarizeStage(summarizers))
        if "score" in stages:
            scorer = ScoreStage(config.score)
            run |= scorer.signatures()
            self.stages.append(scorer)
        self._run = run

    @classmethod
    def from_config(
        cls,
        name: str | Path = "default",
        stages: Sequence[str] = STAGES,
        **overrides: Any,
    ) -> Pipeline:
        """Build the pipeline of a configuration that ships (`default`, `opus`) or of a YAML file.

        `overrides` are top-level keys of the configuration, such as `device="cpu"`.
        """
        return cls(load_config(name, overrides), stages)

    def __call__(self, text: str, **fields: Any) -> Document:
        """Run one text through. `fields` are other fields of `Document`, such as `title`.

        Raises InputError for a text that cannot be processed.
        """
        identifier = fields.pop("id", None) or hashlib.sha256(text.encode()).hexdigest()[:16]
        return next(self.map([Document(id=identifier, text=text, **fields)]))

    def map(
        self,
        documents: Iterable[Document | Reject],
        on_reject: Callable[[Reject], None] | None = None,
    ) -> Iterator[Document]:
        """Stream documents through, in order, a window at a time: memory does not grow.

        What cannot be processed is given to `on_reject` and left out; without it, the first such
        document raises InputError.
        """
        reject = on_reject or _raise
        for window in windows(documents, self.config.window):
            yield from self._run_window(window, reject)

    def _run_window(
        self, window: Sequence[Document | Reject], reject: Callable[[Reject], None]
    ) -> Iterator[Document]:
        clean, *others = self.stages
        ready = []
        for item in window:
            if isinstance(item, Reject):
                reject(item)
                continue
            try:
                (document,) = clean([item])
            except InputError as error:
                reject(_rejected(item, str(error)))
                continue
            if reason := _obstacle(document):
                reject(_rejected(item, reason))
            else:
                ready.append(document)
        for stage in others:
            ready = stage(ready)
        run = self.run_info()
        for document in ready:
            yield replace(document, run=run)

    def run_info(self) -> Mapping[str, str]:
        """What made the results: versions, models, signatures, engine and device."""
        engine = next(iter(self._engines.values()), None)
        where = {"engine": engine.name, "device": engine.device} if engine else {}
        return self._run | where

    def close(self) -> None:
        """Free the models' memory. The pipeline cannot be used afterwards."""
        for engine in self._engines.values():
            engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _engine(self, name: str, revision: str | None) -> Engine:
        """Load a model, once however many stages use it."""
        checkpoint = resolve(name, revision)
        if checkpoint.digest not in self._engines:
            config = self.config
            self._engines[checkpoint.digest] = load_engine(
                checkpoint, config.engine, config.device, config.threads, config.compute_type
            )
        return self._engines[checkpoint.digest]

    def _translator(self) -> Translator:
        config = self.config.translate
        engine = self._engine(config.checkpoint, config.revision)
        return Translator(engine, config.options, split_to_fit)

    def _summarizers(self, languages: Sequence[Language]) -> dict[Language, Summarizer]:
        config = self.config.summarize
        return {
            language: Summarizer(
                self._engine(getattr(config, language), getattr(config, f"revision_{language}")),
                config.options,
                partial(split_sentences, language=language),
            )
            for language in languages
        }


def _identity(checkpoint: Checkpoint) -> str:
    """A model's name and what pins it down: its revision, or the start of its digest."""
    return f"{checkpoint.name}@{checkpoint.revision or checkpoint.digest[:12]}"


def _obstacle(document: Document) -> str | None:
    """Why a cleaned document cannot go on."""
    if document.clean is None or not document.clean.text:
        return "no text is left after cleaning"
    if any(issue.kind == "no_arabic" for issue in document.issues):
        return "no Arabic text: there is no Arabic letter in it"
    return None


def _rejected(document: Document, reason: str) -> Reject:
    source = str(document.metadata.get("source", ""))
    return Reject(id=document.id, source=source, line=None, reason=reason, raw=document.text)


def _raise(reject: Reject) -> None:
    raise InputError(f"{reject.source or reject.id}: {reject.reason}")
