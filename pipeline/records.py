"""From a file to its records, one at a time, whatever the format.

Damage never stops the stream: it comes out as an item with a reason and without a record.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ..models.errors import InputError
from .decode import decode
from .html import extract_html
from .hub_dataset import HubDataset
from .sources import (
    COLUMNAR,
    DATASET,
    DamagedError,
    Lines,
    ReadOptions,
    SourceFile,
    open_source,
    valid_text,
)
from .urls import is_url, open_url

logger = logging.getLogger(__name__)

# One JSON array or object has to be in memory as a whole; lines of JSON do not.
JSON_LIMIT = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Item:
    """A record as it stands in a file, or the reason why there is none.

    `line` is None where the file holds one record. `encoding` is named if it is not UTF-8.
    """

    line: int | None
    record: object = None
    reason: str | None = None
    raw: bytes | str = ""
    encoding: str | None = None


def records(file: SourceFile, options: ReadOptions) -> Iterator[Item]:
    """The records of a file, and one item more with the reason if the file breaks off."""
    line = 0
    try:
        for item in _items(file, options):
            line = item.line or 0
            yield item
    except (DamagedError, OSError, EOFError, zlib.error) as error:
        if file.format == DATASET:  # the network's fault: to go on would lose what is left
            raise InputError(f"{file.source}: unreadable after row {line}: {error}") from error
        what = f"unreadable after line {line}" if line else "unreadable"
        yield Item(None, reason=f"{what}: {error}")


def _items(file: SourceFile, options: ReadOptions) -> Iterator[Item]:
    if file.format in COLUMNAR:
        yield from _columnar_items(file)
        return
    with open_source(file) as stream:
        if file.format in ("csv", "tsv"):
            yield from _csv_items(stream, file, options)
        elif file.format == "jsonl":
            yield from _json_lines(Lines(stream))
        elif file.format == "json":
            yield from _json_items(Lines(stream))
        elif file.format == "html":
            yield _html_item(stream)
        elif file.format == "text":
            yield from _text_items(stream, options.lines)
        else:
            yield from _stdin_items(stream, options.lines)


def check_columns(file: SourceFile, options: ReadOptions) -> None:
    """Raise InputError if the header lacks a column. A damaged file is left for its turn."""
    try:
        if file.format in COLUMNAR:
            import pyarrow

            try:
                with _open_table(file) as (names, _):
                    if names is not None:
                        _require_columns(names, file, options)
            except pyarrow.ArrowException as error:
                raise DamagedError from error
        else:
            with open_source(file) as stream:
                lines = Lines(stream)
                _csv_header(iter(lines), lines, file, options)
    except (DamagedError, OSError, EOFError, zlib.error) as error:
        logger.debug("%s: %s", file.source, error)


# --- text and HTML ---


class Text(dict[str, Any]):
    """A record that we made from a text: its keys are ours, not the input's."""


def _stdin_items(stream: io.BufferedReader, lines: bool) -> Iterator[Item]:
    if lines:
        yield from _text_items(stream, lines)
        return
    first = 1
    while (head := stream.peek()) and not head.strip():
        first += stream.read(len(head)).count(b"\n")
    if re.match(rb"(?:\xef\xbb\xbf)?\s*(?:\{|\[\s*\{)", head):
        yield from _json_items(Lines(stream, first))
    else:
        yield from _text_items(stream, lines)


def _text_items(stream: io.BufferedReader, lines: bool) -> Iterator[Item]:
    if not lines:
        yield _whole(stream)
        return
    source = Lines(stream)
    for number, line in source:
        if not line.strip():
            continue
        try:
            text, encoding = source.decode(line)
        except InputError as error:
            yield Item(number, reason=f"undecodable: {error}", raw=line)
            continue
        yield Item(number, Text(text=text.rstrip("\r")), raw=text, encoding=encoding)


def _whole(stream: io.BufferedReader) -> Item:
    data = stream.read()
    if not data.strip():
        return Item(None, reason="it is empty" if not data else "it holds only white space")
    try:
        text, encoding = decode(data)
    except InputError as error:
        return Item(None, reason=str(error))
    if not text.strip():
        return Item(None, reason="it holds only white space")
    other = None if encoding.startswith("utf-8") else encoding
    return Item(None, Text(text=text), raw=text, encoding=other)


def _html_item(stream: io.BufferedReader) -> Item:
    item = _whole(stream)
    if item.reason is not None:
        return item
    try:
        article = extract_html(str(item.raw))
    except InputError as error:
        return replace(item, record=None, reason=str(error))
    return replace(item, record=Text(text=article.text, title=article.title, date=article.date))


# --- JSON ---

# Deeper nesting than this would pass the parser and then break what writes it.
_DEPTH = 100


def _json_lines(lines: Lines) -> Iterator[Item]:
    for number, line in lines:
        if line.strip():
            yield _json_item(number, line, lines)


def _json_item(number: int | None, line: bytes, lines: Lines) -> Item:
    try:
        text, encoding = lines.decode(line)
    except InputError as error:
        return Item(number, reason=f"undecodable: {error}", raw=line)
    try:
        return Item(number, parse_json(text), raw=line, encoding=encoding)
    except ValueError as error:
        return Item(number, reason=str(error), raw=line)


def parse_json(text: str) -> Any:
    """One JSON value. Raises ValueError whose message says what is wrong and where."""
    try:
        # NaN and Infinity are no JSON, but pandas writes them for what is missing.
        value = json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column" if "\n" in text.strip() else "column"
        raise ValueError(f"not JSON: {error.msg} at {place} {error.colno}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"not JSON that can be read: {error}") from error
    if text.count("[") + text.count("{") > _DEPTH and _too_deep(value):
        raise ValueError(f"not JSON that can be read: nested more than {_DEPTH} deep")
    if "\\ud" in text or "\\uD" in text:  # an escape may stand for half a character
        value = json.loads(valid_text(json.dumps(value, ensure_ascii=False)))
    return value


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _json_items(lines: Lines) -> Iterator[Item]:
    """The records of a .json file: one array, one object, or really lines of JSON."""
    filled = ((number, line) for number, line in lines if line.strip())
    start = [pair for pair in (next(filled, None), next(filled, None)) if pair is not None]
    if not start:
        yield Item(None, reason="it is empty")
        return
    if len(start) == 1 or not _are_lines(start[0][1], start[1][1]):
        yield from _json_whole(start, filled, lines)
        return
    for number, line in chain(start, filled):
        yield _json_item(number, line, lines)


def _are_lines(first: bytes, second: bytes) -> bool:
    """Whether a file that starts so is of JSON lines. Pretty-printed JSON has no such start."""
    if not first.lstrip().startswith(b"{"):
        return False
    if second.lstrip().startswith(b"{"):
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _json_whole(
    start: list[tuple[int, bytes]], rest: Iterable[tuple[int, bytes]], lines: Lines
) -> Iterator[Item]:
    parts, size, last = [], 0, 0
    for number, line in chain(start, rest):
        parts.append(b"\n" * (number - last - 1) + line)
        size += len(line) + 1
        last = number
        if size > JSON_LIMIT:
            raise DamagedError(
                f"one JSON value of more than {JSON_LIMIT // 2**20} MB does not fit; "
                "write one object per line instead, as .jsonl"
            )
    item = _json_item(None, b"\n".join(parts), lines)
    if not isinstance(item.record, list):
        yield item
        return
    if not item.record:
        yield Item(None, reason="the JSON array is empty")
    for number, record in enumerate(item.record, 1):
        yield Item(number, record, encoding=item.encoding)


# --- CSV and TSV ---

_FIELD_LIMIT = 2**31 - 1
# A quote that is not closed within this many lines is taken for a mistake.
_ROW_LINES = 1000
_OPEN_QUOTE = "unexpected end of data"  # csv's words for a quote that is not closed


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    text: str
    values: list[str] | None
    problem: str = ""


def _csv_items(stream: io.BufferedReader, file: SourceFile, options: ReadOptions) -> Iterator[Item]:
    lines = Lines(stream)
    numbered = iter(lines)
    header, delimiter = _csv_header(numbered, lines, file, options)
    undecoded: deque[Item] = deque()
    encoding: list[str | None] = [None]

    def decoded() -> Iterator[tuple[int, str]]:
        for number, line in numbered:
            try:
                text, encoding[0] = lines.decode(line)
            except InputError as error:
                undecoded.append(Item(number, reason=f"undecodable: {error}", raw=line[: 2**16]))
                continue
            yield number, text.replace("\0", "")

    for row in _csv_rows(decoded(), delimiter, len(header)):
        while undecoded:
            yield undecoded.popleft()
        values, problem = row.values, row.problem
        if values is not None:
            if not any(value.strip() for value in values):
                continue
            extra = [value for value in values[len(header) :] if value.strip()]
            if extra:
                problem = f"{len(values)} fields where the header has {len(header)}"
            values += [""] * (len(header) - len(values))
        if problem or values is None:
            yield Item(row.line, reason=f"not a row of the table: {problem}", raw=row.text)
            continue
        # A column without a name comes from a trailing delimiter.
        record = {name: value for name, value in zip(header, values, strict=False) if name}
        yield Item(row.line, record, raw=row.text, encoding=lines.encoding or encoding[0])
    yield from undecoded


def _csv_header(
    numbered: Iterator[tuple[int, bytes]], lines: Lines, file: SourceFile, options: ReadOptions
) -> tuple[list[str], str]:
    """The names of the columns and the delimiter: the file's own, or another that fits better."""
    line = next((line for _, line in numbered if line.strip()), None)
    if line is None:
        raise DamagedError("it is empty")
    try:
        text, _ = lines.decode(line)
    except InputError as error:
        raise DamagedError(str(error)) from error
    usual = "\t" if file.format == "tsv" else ","
    found: dict[str, list[str]] = {}
    for delimiter in dict.fromkeys((usual, ",", "\t", ";")):
        values, _ = _split_row(text.replace("\0", ""), delimiter)
        found[delimiter] = [name.strip() for name in values or []]
        if options.text_column in found[delimiter]:
            usual = delimiter
            break
    _require_columns(found[usual], file, options)
    return found[usual], usual


def _require_columns(names: Sequence[str], file: SourceFile, options: ReadOptions) -> None:
    for name in (options.text_column, *options.columns.values()):
        if name not in names:
            have = ", ".join(filter(None, names)) or "none"
            message = f"{file.source}: no column {name!r} (there are: {have})"
            # References are read by their id: there the option would not help.
            if name == options.text_column and name != "id":
                message += "; name the right one with --text-column"
            raise InputError(message)
    named = [name for name in names if name]
    if twice := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
        raise InputError(f"{file.source}: more than one column is named {twice[0]!r}: rename one.")


def _split_row(text: str, delimiter: str) -> tuple[list[str] | None, str]:
    """The values of one row, or what is wrong with it."""
    if csv.field_size_limit() < _FIELD_LIMIT:
        csv.field_size_limit(_FIELD_LIMIT)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True)), ""
    except csv.Error as error:
        return None, str(error)
    except StopIteration:
        return [], ""


def _csv_rows(lines: Iterator[tuple[int, str]], delimiter: str, width: int) -> Iterator[_Row]:
    """The rows. One that is broken costs its first line only: reading goes on at the second."""
    pending: deque[tuple[int, str]] = deque()

    def following() -> tuple[int, str] | None:
        return pending.popleft() if pending else next(lines, None)

    while (first := following()) is not None:
        number, text = first
        values, problem = _split_row(text, delimiter)
        # Most TSV files do not quote: there a quote is a character like others.
        whole = delimiter == "\t" and text.count("\t") == width - 1
        taken = [text]
        more: list[tuple[int, str]] = []
        quotes = text.count('"')
        while problem == _OPEN_QUOTE and len(taken) < _ROW_LINES and (pair := following()):
            more.append(pair)
            taken.append(pair[1])
            if whole and pair[1].count("\t") == width - 1:
                break  # the next row already: this file does not quote
            quotes += pair[1].count('"')
            if '"' in pair[1] and quotes % 2 == 0:
                values, problem = _split_row("\n".join(taken), delimiter)
        if values is None:
            pending.extendleft(reversed(more))
            if whole:
                values = text.rstrip("\r").split("\t")
                problem = ""
            elif problem == _OPEN_QUOTE:
                problem = "a quote is opened and not closed"
            yield _Row(number, text, values, problem)
        else:
            yield _Row(number, "\n".join(taken), values)


# --- Parquet and Arrow ---

_BATCH = 256


def _columnar_items(file: SourceFile) -> Iterator[Item]:
    import pyarrow

    number = 0
    try:
        with _open_table(file) as (_, batches):
            for batch in batches():
                for row in range(batch.num_rows):
                    number += 1
                    yield _row_item(number, batch, row)
    except pyarrow.ArrowException as error:
        raise DamagedError(str(error)) from error


@contextmanager
def _open_table(
    file: SourceFile,
) -> Iterator[tuple[list[str] | None, Callable[[], Iterator[Any]]]]:
    """The names of the columns, if they are known, and a function that gives batches of rows."""
    import pyarrow

    if file.format == DATASET:
        columns, rows = HubDataset.parse(file.name).open()
        yield columns, lambda: rows
        return
    opening = open_url if is_url(file.name) else pyarrow.memory_map
    with opening(file.name) as source:
        if file.format == "parquet":
            from pyarrow import parquet

            table = parquet.ParquetFile(source)
            names = table.schema_arrow.names
            yield names, lambda: table.iter_batches(batch_size=_BATCH, use_threads=False)
            return
        try:
            opened: Any = pyarrow.ipc.open_file(source)
            batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
        except pyarrow.ArrowInvalid:
            source.seek(0)
            opened = batches = pyarrow.ipc.open_stream(source)
        yield (
            opened.schema.names,
            lambda: (
                batch.slice(start, _BATCH)
                for batch in batches
                for start in range(0, batch.num_rows, _BATCH)
            ),
        )


def _row_item(number: int, batch: Any, row: int) -> Item:
    record: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith("__index_level_"):  # pandas' row names
            continue
        try:
            record[name] = _plain(column[row].as_py())
        except UnicodeDecodeError as error:
            return Item(number, reason=f"undecodable: column {name!r}: {error}")
    return Item(number, record)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, str):
        return valid_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
