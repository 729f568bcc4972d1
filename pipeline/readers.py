"""Reading documents: files of many formats, one record at a time, so that memory stays flat.

Wrong usage (a file that is not there, a suffix that says nothing, a column that the header lacks)
raises InputError at once. Damaged data never stops the stream: it comes out as a Reject.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..models.errors import InputError
from .document import REFERENCE_KEYS, Document, Issue, References
from .records import Item, Text, check_columns, parse_json, records
from .sources import (
    DATASET,
    SINGLE,
    STDIN,
    TABLES,
    ReadOptions,
    SourceFile,
    count_records,
    fingerprint,
    input_files,
    is_file,
    source_file,
    valid_text,
)

__all__ = [
    "ReadOptions",
    "Reject",
    "Source",
    "attach_references",
    "input_files",
    "read",
    "read_references",
]

logger = logging.getLogger(__name__)

RAW_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be processed, where it stands, why, and the start of what it is.

    `line` counts from 1: the line of a text, the row of a Parquet or Arrow file, the item of a
    JSON array. It is None where the whole file, or the rest of it, is rejected.
    """

    id: str
    source: str
    line: int | None
    reason: str
    raw: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", self.raw[:RAW_LIMIT])

    def to_record(self) -> dict[str, Any]:
        """Plain JSON values, always the same keys in the same order."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def read(
    inputs: Sequence[str], options: ReadOptions | None = None, skip: int = 0
) -> Iterator[Document | Reject]:
    """Read the documents of all inputs, in order, as they are asked for, but the first `skip`.

    A document without an id takes its file's stem, with `:` and its line where there are more. It
    names its file under `metadata` as `source`, if it has no `source` itself. Ids may repeat.

    Raises InputError before anything is read: see `input_files`; and where the header of a table
    lacks a column that was asked for.
    """
    options = options or ReadOptions()
    files = [source_file(name, options) for name in input_files(inputs, options)]
    for file in files:
        if file.format == DATASET or (file.format in TABLES and is_file(file.name)):
            check_columns(file, options)
    return _read_files(files, options, skip)


def _read_files(
    files: Sequence[SourceFile], options: ReadOptions, skip: int
) -> Iterator[Document | Reject]:
    for file in files:
        if skip and file.is_one(options):
            skip -= 1  # without reading it
            continue
        for item in _read_file(file, options):
            if skip:
                skip -= 1
            else:
                yield _to_document(item, file, options)


def _read_file(file: SourceFile, options: ReadOptions) -> Iterator[Item]:
    unseen = set(options.columns.values()) if file.format not in SINGLE else set()
    read_any = False
    for item in records(file, options):
        if unseen and isinstance(item.record, dict):
            read_any = True
            unseen -= item.record.keys()
        yield item
    if read_any and unseen:
        logger.warning("%s: no record has %s", file.source, ", ".join(sorted(unseen)))


def _to_document(item: Item, file: SourceFile, options: ReadOptions) -> Document | Reject:
    identifier = file.stem if item.line is None else f"{file.stem}:{item.line}"
    where = f"{file.source}:{item.line}"
    reason = item.reason
    if reason is None:
        record, text_column = item.record, "text"
        if not isinstance(record, Text):
            text_column = options.text_column
            if isinstance(record, dict):
                record = _renamed(record, options.columns)
                if file.format in TABLES and "metadata" in record:
                    record["metadata"] = as_object(record["metadata"])
        try:
            document = Document.from_record(
                record, where=where, default_id=identifier, text_column=text_column
            )
        except InputError as error:
            reason = str(error).removeprefix(f"{where}: ")
        else:
            return _noted(document, item, file)
        if isinstance(record, dict) and record.get("id") not in (None, ""):
            identifier = str(record["id"])
    raw = item.raw or (json.dumps(item.record, ensure_ascii=False) if item.record else "")
    if isinstance(raw, bytes):
        raw = raw[: 4 * RAW_LIMIT].decode("utf-8", "backslashreplace")
    return Reject(identifier, file.source, item.line, reason, valid_text(raw[:RAW_LIMIT]))


def _noted(document: Document, item: Item, file: SourceFile) -> Document:
    document = replace(document, origin=file.source, line=item.line)
    if file.name != STDIN:
        document = replace(document, metadata={"source": file.source, **document.metadata})
    if item.encoding:
        detail = f"{item.encoding}, converted to UTF-8"
        document = document.with_issues(Issue("read", "encoding", detail=detail))
    return document


def _renamed(record: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record under our keys. What stood under a key of ours before goes to the metadata."""
    present = {ours: theirs for ours, theirs in columns.items() if theirs in record}
    rest = {key: value for key, value in record.items() if key not in present.values()}
    pushed = {key: rest.pop(key) for key in present if key in rest}
    if pushed and isinstance(metadata := rest.get("metadata") or {}, dict):
        rest["metadata"] = {**metadata, **pushed}
    return {**rest, **{ours: record[theirs] for ours, theirs in present.items()}}


def as_object(value: Any) -> Any:
    """The metadata of a table's row: an object, the JSON of one, or just a column of that name."""
    if isinstance(value, str):
        try:
            parsed = parse_json(value)
        except ValueError:
            parsed = None
        return parsed if isinstance(parsed, dict) else {"metadata": value}
    return value if value is None or isinstance(value, dict) else {"metadata": value}


# --- references ---


def read_references(path: str) -> dict[str, References]:
    """Read what people wrote, by document id: JSON lines with `id` and `reference_*` keys.

    Tables with such columns do as well. Raises InputError, with file and line, for anything that
    cannot be used: a wrong file of references would make every score wrong.
    """
    options = ReadOptions(text_column="id")
    file = source_file(next(iter(input_files([path]))), options)
    if Path(path).is_dir() or file.format in ("", *SINGLE):
        raise InputError(
            f"{valid_text(path)}: references must be in a file of JSON lines or a table."
        )
    if file.format in TABLES:
        check_columns(file, options)
    found: dict[str, References] = {}
    for item in records(file, options):
        where = file.source if item.line is None else f"{file.source}:{item.line}"
        identifier, references = _to_references(item, where)
        if identifier in found:
            raise InputError(f"{where}: the id {identifier!r} was there before: keep one of them.")
        found[identifier] = references
    if not found:
        raise InputError(f"{file.source}: there is no reference in this file.")
    return found


def _to_references(item: Item, where: str) -> tuple[str, References]:
    if item.reason is not None:
        raise InputError(f"{where}: {item.reason}")
    record = item.record
    if not isinstance(record, dict):
        raise InputError(f"{where}: a record must be a JSON object")
    if record.get("id") in (None, ""):
        raise InputError(f"{where}: no 'id' to tell whose references these are")
    values: dict[str, str | None] = {}
    for key, name in REFERENCE_KEYS.items():
        value = record.get(key)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{where}: {key!r} must be a string")
        values[name] = value or None
    if not any(key in record for key in REFERENCE_KEYS):
        raise InputError(f"{where}: none of {', '.join(REFERENCE_KEYS)} is there")
    return str(record["id"]), References(**values)


def attach_references(
    documents: Iterable[Document | Reject], references: Mapping[str, References]
) -> Iterator[Document | Reject]:
    """Give each document the references of its id; they go before those in its record.

    References whose document never came are reported in one warning at the end.
    """
    unused = dict.fromkeys(references)
    for document in documents:
        if isinstance(document, Document) and document.id in references:
            unused.pop(document.id, None)
            ours = references[document.id]
            given = {
                item.name: getattr(ours, item.name) or getattr(document.references, item.name)
                for item in fields(References)
            }
            document = replace(document, references=References(**given))
        yield document
    if unused:
        some = ", ".join(list(unused)[:5]) + (", ..." if len(unused) > 5 else "")
        logger.warning(
            "%d of %d references match no document by id: %s", len(unused), len(references), some
        )


# --- all of a run's input ---


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that a run reads: inputs by name, how to read them, and a file of references."""

    inputs: Sequence[str]
    options: ReadOptions = field(default_factory=ReadOptions)
    references: str | None = None

    def read(self, skip: int = 0) -> Iterator[Document | Reject]:
        """The items of all inputs in order, without the first `skip`. Raises as `read` does."""
        if self.references is None:
            return read(self.inputs, self.options, skip)
        # References are looked for by every document's id, so as to report those of none.
        items = read(self.inputs, self.options)
        return islice(attach_references(items, read_references(self.references)), skip, None)

    def fingerprint(self) -> dict[str, Any]:
        """By name, what tells the content of each input; None for one that is no file."""
        names = input_files(self.inputs, self.options)
        names += [self.references] if self.references else []
        return {valid_text(name): fingerprint(name) for name in names}

    def total(self) -> int | None:
        """About how many items there are; None if an input does not tell."""
        total = 0
        for name in input_files(self.inputs, self.options):
            count = count_records(source_file(name, self.options), self.options)
            if count is None:
                return None
            total += count
        return total
