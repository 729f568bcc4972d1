"""Where documents come from: input names to files, files to bytes, bytes to lines of text."""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

from ..models.errors import ConfigError, InputError
from .decode import decode
from .document import REFERENCE_KEYS

STDIN = "-"
SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
REJECTS_SUFFIX = ".rejects.jsonl"

TABLES = ("csv", "tsv", "parquet", "arrow")
COLUMNAR = ("parquet", "arrow")
SINGLE = ("text", "html")
_RENAMED = ("id", "title", "date", *REFERENCE_KEYS)
# What `datasets` writes beside its Arrow files.
_NOT_DATA = {"dataset_info.json", "dataset_dict.json", "state.json"}
_KNOWN = f"{', '.join(SUFFIXES)} (all but the last two also with {' or '.join(COMPRESSIONS)})"
_BLOCK = 2**16


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read.

    `text_column` names the text in records. `lines` makes each line of a text file a document.
    `format` is that of every input, whatever its suffix. `columns` renames: our key (id, title,
    date, reference_*) to the input's. Raises ConfigError for a format or key that does not exist.
    """

    text_column: str = "text"
    lines: bool = False
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"No input format {self.format!r}: there are {', '.join(FORMATS)}.")
        if unknown := [key for key in self.columns if key not in _RENAMED]:
            raise ConfigError(
                f"No column of ours is named {unknown[0]!r}: there are {', '.join(_RENAMED)}, and "
                "the text column has an option of its own."
            )


_SURROGATE = re.compile("[\ud800-\udfff]")


def valid_text(text: str) -> str:
    """The text without lone surrogates, which cannot be written as UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def file_format(name: str) -> tuple[str, str | None] | None:
    """The format and the compression that a file's suffix stands for; None if it is not known."""
    path = Path(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    if compression:
        path = path.with_suffix("")
    found = SUFFIXES.get(path.suffix)
    if found is None or (compression and found in COLUMNAR):
        return None
    return found, compression


def file_stem(name: str) -> str:
    """A file's name without its folder and the suffixes that we know."""
    path = Path(name)
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    if path.suffix.lower() in SUFFIXES:
        path = path.with_suffix("")
    return valid_text(path.name)


def input_files(inputs: Sequence[str], options: ReadOptions | None = None) -> list[str]:
    """The files that the inputs stand for, each once: files, folders, patterns, and - for stdin.

    Folders give the files of known suffix in them, at any depth, sorted, without hidden files and
    rejects of earlier runs. Raises InputError for what is not there, for a file of unknown suffix
    and for a folder without files to read.
    """
    options = options or ReadOptions()
    found = chain.from_iterable(_expand(name, options) for name in inputs)
    return list(dict.fromkeys(found))


def _expand(name: str, options: ReadOptions) -> list[str]:
    if name == STDIN:
        return [name]
    path = Path(name)
    try:
        if path.is_dir():
            return _files_in(name)
        exists = path.exists()
    except (OSError, ValueError):  # such as a name that is too long
        exists = False
    if exists:
        if options.format is None and file_format(name) is None:
            raise InputError(
                f"{valid_text(name)}: its suffix does not say what it holds. Known suffixes: "
                f"{_KNOWN}. Rename the file, or give text or JSON lines on stdin as {STDIN}."
            )
        if not os.access(path, os.R_OK):
            raise InputError(f"{valid_text(name)}: no permission to read the file.")
        return [name]
    if glob.has_magic(name):
        # Patterns come to us when the shell found no match, or none was in use.
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (keeps names as given)
        if matches:
            return [file for match in matches for file in _expand(match, options)]
        raise InputError(f"{valid_text(name)}: no file matches this pattern.")
    shown = name if len(name) <= 200 else name[:200] + "..."
    raise InputError(f"{valid_text(shown)}: no such file or folder.")


def _files_in(folder: str) -> list[str]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if _is_data(name)]
    files = [str(path) for path in sorted(found) if path.is_file()]
    if not files:
        raise InputError(
            f"{valid_text(folder)}: no file to read in this folder. Suffixes: {_KNOWN}."
        )
    return files


def _is_data(name: str) -> bool:
    if name.startswith(".") or name in _NOT_DATA or name.endswith(REJECTS_SUFFIX):
        return False
    return file_format(name) is not None


class DamagedError(Exception):
    """The rest of a file cannot be read."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read, by its name as given; its format is empty where stdin has to tell."""

    name: str
    format: str
    compression: str | None

    @property
    def source(self) -> str:
        """The name for people and records."""
        return "stdin" if self.name == STDIN else valid_text(self.name)

    @property
    def stem(self) -> str:
        """What ids are made from."""
        return "stdin" if self.name == STDIN else file_stem(self.name)


def source_file(name: str, options: ReadOptions) -> SourceFile:
    """One of the `input_files` with its format. Raises InputError if it cannot be streamed."""
    kind, compression = file_format(name) or ("", None)
    if not kind and Path(name).suffix.lower() in COMPRESSIONS:
        compression = COMPRESSIONS[Path(name).suffix.lower()]
    kind = options.format or kind
    if kind in COLUMNAR and (name == STDIN or compression):
        raise InputError(
            f"{valid_text(name)}: a {kind} file cannot be read from stdin or compressed as a "
            "whole. Give the plain file by its name."
        )
    return SourceFile(name, kind, compression)


# --- bytes and lines ---


@contextmanager
def open_source(file: SourceFile) -> Iterator[io.BufferedReader]:
    """The unpacked bytes of a file, or of stdin, which stays open afterwards."""
    if file.name == STDIN:
        stdin = sys.stdin.buffer
        # A test or a host program may put something without `peek` there.
        wrap = not isinstance(stdin, io.BufferedReader)
        stream = io.BufferedReader(cast("Any", stdin)) if wrap else stdin
        try:
            yield stream
        finally:
            if wrap:
                stream.detach()
        return
    with Path(file.name).open("rb", buffering=0) as plain:
        if file.compression == "gzip":
            unpacked: Any = gzip.GzipFile(fileobj=plain)
        elif file.compression == "zstd":
            # pyarrow notices a file that was cut off; the zstandard package ends as if all is well.
            import pyarrow

            unpacked = pyarrow.CompressedInputStream(plain, "zstd")
        else:
            unpacked = plain
        with io.BufferedReader(unpacked, _BLOCK) as stream:
            yield stream


_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _encoding_of(head: bytes) -> str | None:
    """The encoding of a file of lines, from its start; None for UTF-8 and for what varies.

    Raises DamagedError if it is no text at all.
    """
    for mark, name in _WIDE_MARKS:
        if head.startswith(mark):
            return name
    valid = True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        valid = False
    if valid and b"\0" not in head and b"\x06" not in head:
        return None
    try:
        encoding = decode(head[: len(head) // 2 * 2])[1]
    except InputError as error:
        if valid or b"\0" not in head:
            return None
        raise DamagedError(str(error)) from error
    return None if encoding.startswith("utf-8") else encoding


class Lines:
    """The lines of a stream by number from 1, split at the line feed alone, and their decoder."""

    def __init__(self, stream: io.BufferedReader, first: int = 1) -> None:
        self.stream = stream
        self.first = first
        self.encoding = _encoding_of(stream.peek())
        self._wide = self.encoding is not None and self.encoding.startswith(("utf-16", "utf-32"))

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        lines = self._transcoded() if self._wide else iter(self.stream)
        for number, line in enumerate(lines, self.first):
            # A file joined from several has a mark at the start of each.
            yield number, line.removesuffix(b"\n").removeprefix(codecs.BOM_UTF8)

    def _transcoded(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.encoding or "")()
        rest = ""
        try:
            while block := self.stream.read1(_BLOCK):
                *lines, rest = (rest + decoder.decode(block)).split("\n")
                yield from (line.encode("utf-8", "replace") for line in lines)
            rest += decoder.decode(b"", final=True)
        except UnicodeError as error:
            raise DamagedError(f"not valid {self.encoding}: {error}") from error
        yield rest.encode("utf-8", "replace")

    def decode(self, line: bytes) -> tuple[str, str | None]:
        """The text, and its encoding if it is not UTF-8. Raises InputError."""
        try:
            return line.decode(), self.encoding if self._wide else None
        except UnicodeDecodeError:
            pass
        try:
            text, encoding = decode(line)
        except InputError:
            # A short line may not show what it is in, where the whole file does.
            if self.encoding is None or len(line) > 40:
                raise
            return line.decode(self.encoding, "replace"), self.encoding
        if self.encoding and self.encoding != encoding:
            return line.decode(self.encoding, "replace"), self.encoding
        return text, encoding
