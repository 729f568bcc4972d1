"""The data sets of an evaluation: local files, parallel lines or the hub, read as examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from typing import Any

from ..eval.job import Example
from ..models.errors import InputError
from .document import Document, Language
from .evaluate_config import DatasetConfig
from .readers import ReadOptions, Reject, read
from .segment import split_paragraphs, split_sentences

SHIPPED_DATA = Path(__file__).parent.parent / "eval" / "data"


def load_examples(dataset: DatasetConfig, root: Path, tasks: Iterable[str] = ()) -> list[Example]:
    """Read a data set, or the part of it that its `limit` asks for, in its own order.

    References are read for `tasks` only (for all, if there are none). Raises InputError for data
    that is missing, damaged, or not line by line the same length.
    """
    documents = _documents(dataset, root)
    wanted = set(tasks) or {"translation", "summary_ar", "summary_en"}
    stream = (
        (number, _example(dataset.name, document, wanted))
        for number, document in enumerate(documents)
    )
    if dataset.limit is None:
        return [example for _, example in stream]
    chosen = nsmallest(dataset.limit, stream, key=lambda pair: _lot(pair[1]))
    return [example for _, example in sorted(chosen, key=lambda pair: pair[0])]


def _lot(example: Example) -> bytes:
    """A document's place in the draw: by its id, so that adding others does not change it."""
    return sha256(example.id.encode("utf-8", "surrogatepass")).digest()


def _documents(dataset: DatasetConfig, root: Path) -> Iterator[Document]:
    if dataset.source is not None and dataset.reference is not None:
        yield from _parallel(dataset, root)
        return
    if dataset.hub is not None:
        yield from _from_hub(dataset)
        return
    if dataset.path == "shipped":
        path = SHIPPED_DATA / "articles.jsonl"
    else:
        path = root / (dataset.path or "")
    columns = dict(dataset.columns)
    options = ReadOptions(text_column=columns.pop("text", "text"), columns=columns)
    for item in read([str(path)], options):
        if isinstance(item, Reject):
            where = f"{item.source}:{item.line}" if item.line else item.source
            raise InputError(f"{dataset.name}: {where}: {item.reason}")
        yield item


def _from_hub(dataset: DatasetConfig) -> Iterator[Document]:
    import datasets

    name = dataset.hub or ""
    try:
        rows: Any = datasets.load_dataset(
            name,
            dataset.subset,
            split=dataset.split,
            revision=dataset.revision,
            data_files=dataset.data_files and {dataset.split: dataset.data_files},
        )
    except Exception as error:  # the library lets many kinds of errors through
        raise InputError(
            f"{dataset.name}: {name} cannot be read from the hub: {error}. Download its files and "
            "name them by `path`, if this machine has no network or the data set is a script"
        ) from error
    names = {"text": "text", **dataset.columns}
    for number, row in enumerate(rows):
        where = f"{name}[{number}]"
        record = {ours: row[theirs] for ours, theirs in names.items() if theirs in row}
        if "id" not in record and "id" in row:
            record["id"] = row["id"]
        yield Document.from_record(record, where=where, default_id=str(number))


def _parallel(dataset: DatasetConfig, root: Path) -> Iterator[Document]:
    source, reference = (
        _lines(dataset.name, root / name)
        for name in (dataset.source or "", dataset.reference or "")
    )
    if len(source) != len(reference):
        raise InputError(
            f"{dataset.name}: {dataset.source} has {len(source)} lines and {dataset.reference} "
            f"{len(reference)}; line by line they must be the same segments"
        )
    if dataset.documents is None:
        names = [str(number) for number in range(1, len(source) + 1)]
    else:
        names = _lines(dataset.name, root / dataset.documents)
        if len(names) != len(source):
            raise InputError(
                f"{dataset.name}: {dataset.documents} names {len(names)} segments and there are "
                f"{len(source)}"
            )
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, *pair in zip(names, source, reference, strict=True):
        if not all(text.strip() for text in pair):
            raise InputError(f"{dataset.name}: a segment of {name} is empty on one side")
        groups.setdefault(name, []).append((pair[0], pair[1]))
    for name, pairs in groups.items():
        texts, translations = zip(*pairs, strict=True)
        record = {
            "id": name,
            "text": "\n\n".join(texts),
            "reference_translation": "\n\n".join(translations),
        }
        yield Document.from_record(record, where=name, default_id=name)


def _lines(dataset: str, path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{dataset}: {path} is not there; say with --data where the data set's files are"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{dataset}: {path} cannot be read as UTF-8 text: {error}") from error
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _example(dataset: str, document: Document, tasks: set[str]) -> Example:
    given = document.references
    references = {
        "translation": given.translation,
        "summary_ar": _by_sentence(given.summary_ar, "ar"),
        "summary_en": _by_sentence(given.summary_en, "en"),
    }
    return Example(
        dataset=dataset,
        id=document.id,
        source=document.text,
        references={k: v for k, v in references.items() if v is not None and k in tasks},
        title=document.title,
    )


def _by_sentence(text: str | None, language: Language) -> str | None:
    """A sentence a line, as rougeLsum wants it."""
    if text is None:
        return None
    return "\n".join(
        sentence
        for paragraph in split_paragraphs(text)
        for sentence in split_sentences(paragraph, language)
    )
