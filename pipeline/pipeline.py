"""The pipeline: the stages of a configuration, over one text or over a stream of documents."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.batching import ahead, windows
from ..models.cache import TranslationCache
from ..models.checkpoint import Checkpoint, resolve
from ..models.device import first_line, is_out_of_memory
from ..models.engine import Engine, load_engine
from ..models.errors import ConfigError, InputError, KhulasaError
from ..models.names import NameList
from ..models.shortlist import with_shortlist
from ..models.summarizer import Summarizer
from ..models.translator import Translator
from .config import Config, load_config
from .document import LANGUAGES, Document, Language
from .readers import Reject
from .segment import split_sentences, split_to_fit
from .stages import CleanStage, ScoreStage, Stage, SummarizeStage, TranslateStage

if TYPE_CHECKING:
    from ray.data import Dataset

    from .ray_runner import Cluster

log = logging.getLogger(__name__)

STAGES = ("clean", "translate", "summarize", "score")

Outcome = Document | Reject


class Pipeline:
    """Arabic text in; clean text, translation, summaries and scores out.

    `stages` names those to run, in the order of `STAGES`; cleaning always comes first. Models are
    loaded once, here. `timings` has the seconds spent so far on reading and on each stage; those
    of models pass while others do. Raises CheckpointError, ConfigError or DeviceError.
    """

    def __init__(self, config: Config, stages: Sequence[str] = STAGES) -> None:
        if unknown := set(stages) - set(STAGES):
            raise ConfigError(f"no stage {', '.join(sorted(unknown))}: there are {STAGES}")
        self.config = config
        self.timings: dict[str, float] = {}
        self._engines: dict[str, Engine] = {}
        self._cache = TranslationCache(config.cache) if config.cache else None
        self.stages: list[Stage] = [CleanStage(config.clean)]
        run = {"khulasa": version("khulasa")}
        if "translate" in stages:
            translator = self._translator()
            run["translator"] = _identity(translator.engine.checkpoint)
            self.stages.append(TranslateStage(translator))
        if "summarize" in stages:
            aligned = config.summarize.summaries == "aligned"
            in_both = "translate" in stages and not aligned
            summarizers = self._summarizers(LANGUAGES if in_both else ("ar",))
            for language, summarizer in summarizers.items():
                run[f"summarizer_{language}"] = _identity(summarizer.engine.checkpoint)
            if "translate" in stages:
                run["summaries"] = config.summarize.summaries
            self.stages.append(SummarizeStage(summarizers, aligned))
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
        documents: Iterable[Outcome],
        on_reject: Callable[[Reject], None] | None = None,
    ) -> Iterator[Document]:
        """Stream documents through, in order, a window at a time: memory does not grow.

        What cannot be processed is given to `on_reject` and left out; without it, the first such
        document raises InputError.
        """
        reject = on_reject or _raise
        for outcome in self.outcomes(documents):
            if isinstance(outcome, Reject):
                reject(outcome)
            else:
                yield outcome

    def outcomes(self, items: Iterable[Outcome]) -> Generator[Outcome, None, None]:
        """Give for each item, in order, what became of it: a finished document, or a reject.

        Work goes by windows of `config.window` items. An outcome depends on its own window alone,
        never on those before: a run that starts again at a window's first item gives the same.
        The models work in a thread of their own while this one reads, cleans and scores, a few
        windows ahead of what is asked for.
        """
        clean, *others = self.stages
        models = [stage for stage in others if not isinstance(stage, ScoreStage)]
        scorers = [stage for stage in others if isinstance(stage, ScoreStage)]

        def admit(window: list[Outcome]) -> list[Outcome]:
            return [self._admit(clean, item) for item in window]

        def infer(window: list[Outcome]) -> tuple[list[Outcome], Mapping[str, str]]:
            for stage in models:
                window = self._through(stage, window)
            return window, self.run_info()

        admitted = map(admit, windows(self._read(items), self.config.window))
        with closing(ahead(infer, admitted)) as inferred:
            for window, run in inferred:
                for stage in scorers:
                    window = self._through(stage, window)
                for outcome in window:
                    yield outcome if isinstance(outcome, Reject) else replace(outcome, run=run)

    def map_dataset(self, dataset: Dataset, cluster: Cluster | None = None) -> Dataset:
        """Run the records of a Ray Dataset through, on the workers of its cluster.

        Its columns are those of an input record: `text`, and what there is of `id`, `title`, `date`
        and `reference_*`. What comes out has the columns of a Parquet output, and one more,
        `reject`: why a record was rejected, else null. Windows are cut from Ray's blocks.
        """
        from .ray_runner import Cluster, map_dataset

        stages = [_name(stage) for stage in self.stages]
        return map_dataset(self.config, stages, dataset, cluster or Cluster())

    def _admit(self, clean: Stage, item: Outcome) -> Outcome:
        """Clean a document; reject one that has nothing for a model."""
        (outcome,) = self._through(clean, [item])
        if isinstance(outcome, Document) and (reason := _obstacle(outcome)):
            return _rejected(outcome, reason)
        return outcome

    def _through(self, stage: Stage, window: Sequence[Outcome]) -> list[Outcome]:
        with self._clock(_name(stage)):
            return _through(stage, window)

    def _read(self, items: Iterable[Outcome]) -> Iterator[Outcome]:
        source = iter(items)
        while True:
            with self._clock("read"):
                item = next(source, None)
            if item is None:
                return
            yield item

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        """Add the time that passes inside to the timings."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start

    @property
    def token_budget(self) -> int | None:
        """The tokens of a translator's batch; None without one, or for `auto` before it started.

        In int8 a text may depend on it. A run that is to give the same again, where this one left
        it to `auto`, must set `translate.options.token_budget` to it.
        """
        translators = [s.translator for s in self.stages if isinstance(s, TranslateStage)]
        return translators[0].token_budget if translators else None

    def run_info(self) -> Mapping[str, str]:
        """What made the results: versions, models, signatures, engine and device."""
        engine = next(iter(self._engines.values()), None)
        where = {"engine": engine.name, "device": engine.device} if engine else {}
        return self._run | where

    def close(self) -> None:
        """Free the models' memory. The pipeline cannot be used afterwards."""
        for engine in self._engines.values():
            engine.close()
        if self._cache:
            self._cache.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _engine(
        self, name: str, revision: str | None, lexical_shortlist: Path | None = None
    ) -> Engine:
        """Load a model, once however many stages use it."""
        checkpoint = with_shortlist(resolve(name, revision), lexical_shortlist)
        if checkpoint.digest not in self._engines:
            config = self.config
            self._engines[checkpoint.digest] = load_engine(
                checkpoint, config.engine, config.device, config.threads, config.compute_type
            )
        return self._engines[checkpoint.digest]

    def _translator(self) -> Translator:
        config = self.config.translate
        engine = self._engine(config.checkpoint, config.revision, config.lexical_shortlist)
        names = NameList.load(*config.names) if config.names else None
        return Translator(engine, config.options, split_to_fit, self._cache, names)

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
    identity = f"{checkpoint.name}@{checkpoint.revision or checkpoint.digest[:12]}"
    if checkpoint.shortlist is None:
        return identity
    return f"{identity} with shortlist {checkpoint.digest[:12]}"


def _obstacle(document: Document) -> str | None:
    """Why a cleaned document cannot go on."""
    if document.clean is None or not document.clean.text:
        return "no text is left after cleaning"
    if any(issue.kind == "no_arabic" for issue in document.issues):
        return "no Arabic text: there is no Arabic letter in it"
    return None


def _name(stage: Stage) -> str:
    return type(stage).__name__.removesuffix("Stage").lower()


def _through(stage: Stage, items: Sequence[Outcome]) -> list[Outcome]:
    """Run a stage over the documents among `items`; each outcome stands in its item's place.

    Documents are worked on together. When that fails for a reason that is not the machine's or the
    configuration's, each is worked on alone, and those that fail again become rejects.
    """
    documents = [item for item in items if isinstance(item, Document)]
    try:
        done: Iterator[Outcome] = iter(stage(documents) if documents else ())
    except Exception as error:
        if _is_fatal(error):
            raise
        if len(documents) == 1:
            log.info("document %s was rejected", documents[0].id, exc_info=True)
            done = iter([_rejected(documents[0], _reason(stage, error))])
        else:
            done = (_through(stage, [document])[0] for document in documents)
    return [next(done) if isinstance(item, Document) else item for item in items]


def _is_fatal(error: Exception) -> bool:
    """Whether an error would come back with every other document."""
    if isinstance(error, InputError):
        return False
    return isinstance(error, KhulasaError) or is_out_of_memory(error)


def _reason(stage: Stage, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    return (
        f"it could not be processed ({_name(stage)}): {type(error).__name__}: {first_line(error)}"
    )


def _rejected(document: Document, reason: str) -> Reject:
    return Reject(document.id, document.origin, document.line, reason, document.text)


def _raise(reject: Reject) -> None:
    raise InputError(f"{reject.source or reject.id}: {reject.reason}")
