"""The document that flows through the pipeline, and the JSON record it is read from and becomes.

Everything here is frozen: a stage gives back a new document with one more field filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ..models.errors import InputError

Language = Literal["ar", "en"]
LANGUAGES: tuple[Language, ...] = ("ar", "en")


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that a reader of the result should know of.

    `stage` is the one that noticed (`read`, `clean`, `translate`, `summarize`, `score`), `kind` a
    word to count by, `where` the place (such as `sentence 4`), `detail` a line for people.
    """

    stage: str
    kind: str
    where: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """A piece of text that cleaning took away, and the name of the rule that did."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Clean:
    """The cleaned text, its paragraphs joined by a blank line, and what was taken away.

    `changes` counts the changes of each rule that changed anything.
    """

    text: str
    removed: tuple[Removal, ...] = ()
    changes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A source sentence, its translation, and the number of the paragraph that holds both.

    `score` is the mean log-probability that the model gave to the tokens of its translation: 0 at
    best, and None for what it did not translate. It ranks sentences by how likely they are right.
    """

    paragraph: int
    source: str
    target: str
    flags: tuple[str, ...] = ()
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Translation:
    """The translated text, in the paragraphs of the source, and its sentences in order."""

    text: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class SummarySentence:
    """A sentence of a summary and the numbers of the sentences it was made from.

    `source` counts the document's sentences from 0, as in `Translation.sentences`. It is empty
    where free decoding wrote something that no sentence supports. `support` is the share of the
    sentence that its source supports, from 0 to 1.
    """

    text: str
    source: tuple[int, ...] = ()
    support: float = 1.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary in one language."""

    text: str
    sentences: tuple[SummarySentence, ...] = ()


@dataclass(frozen=True, slots=True)
class References:
    """What people wrote for the same document, to score against."""

    translation: str | None = None
    summary_ar: str | None = None
    summary_en: str | None = None


REFERENCE_KEYS = {f"reference_{item.name}": item.name for item in fields(References)}


@dataclass(frozen=True, slots=True)
class Document:
    """One document: what was read, and what the stages have made of it so far.

    `origin` and `line` say where it was read, for messages; they are no part of the record.
    """

    id: str
    text: str
    title: str | None = None
    date: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    references: References = References()
    clean: Clean | None = None
    translation: Translation | None = None
    summaries: Mapping[Language, Summary] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    run: Mapping[str, str] = field(default_factory=dict)
    origin: str = field(default="", compare=False)
    line: int | None = field(default=None, compare=False)

    def with_issues(self, *issues: Issue) -> Document:
        """The same document with more issues noted."""
        return replace(self, issues=(*self.issues, *issues))

    @classmethod
    def from_record(
        cls, record: object, *, where: str, default_id: str, text_column: str = "text"
    ) -> Document:
        """Build a document from an input record.

        `where` says in errors where the record stands; `default_id` is used where it has no `id`.
        Keys that are not ours are carried through under `metadata`. Raises InputError for a record
        that is no object, has no text, or has a value of the wrong type.
        """
        if not isinstance(record, Mapping):
            raise InputError(f"{where}: a record must be a JSON object, not {_type_name(record)}")
        values = dict(record)
        if text_column not in values:
            have = ", ".join(map(str, values)) or "none"
            raise InputError(
                f"{where}: no column {text_column!r} (there are: {have}); "
                "name the right one with --text-column"
            )
        text = _string(values.pop(text_column), text_column, where)
        if text is None or not text.strip():
            raise InputError(f"{where}: {text_column!r} is empty")
        identifier = values.pop("id", None)
        title = _string(values.pop("title", None), "title", where)
        date = values.pop("date", None)
        references = {
            name: _string(values.pop(key, None), key, where) or None
            for key, name in REFERENCE_KEYS.items()
        }
        metadata = values.pop("metadata", None)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InputError(f"{where}: 'metadata' must be an object, not {_type_name(metadata)}")
        return cls(
            id=default_id if identifier in (None, "") else str(identifier),
            text=text,
            title=title or None,
            date=None if date in (None, "") else str(date),
            metadata={**(metadata or {}), **values},
            references=References(**references),
        )

    def to_record(self) -> dict[str, Any]:
        """The output record: plain JSON values, always the same keys in the same order."""
        return {
            "id": self.id,
            "title": self.title,
            "date": self.date,
            "metadata": dict(self.metadata),
            "clean": self.clean
            and {
                "text": self.clean.text,
                "removed": [{"rule": r.rule, "text": r.text} for r in self.clean.removed],
                "changes": dict(self.clean.changes),
            },
            "translation": self.translation
            and {
                "text": self.translation.text,
                "sentences": [
                    {
                        "paragraph": s.paragraph,
                        "source": s.source,
                        "target": s.target,
                        "flags": list(s.flags),
                        "score": s.score,
                    }
                    for s in self.translation.sentences
                ],
            },
            "summaries": {
                language: {
                    "text": summary.text,
                    "sentences": [
                        {"text": s.text, "source": list(s.source), "support": s.support}
                        for s in summary.sentences
                    ],
                }
                for language, summary in self.summaries.items()
            },
            "scores": {name: dict(values) for name, values in self.scores.items()},
            "issues": [
                {"stage": i.stage, "kind": i.kind, "where": i.where, "detail": i.detail}
                for i in self.issues
            ],
            "run": dict(self.run),
        }


def _type_name(value: object) -> str:
    names = {type(None): "null", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


def _string(value: object, key: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{where}: {key!r} must be a string, not {_type_name(value)}")
