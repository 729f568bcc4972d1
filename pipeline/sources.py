"""Where documents come from: input names to files, files to bytes, bytes to lines of text."""

from __future__ import annotations

import codecs
import glob
import gzip
import hashlib
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
from . import hub_dataset, urls
from .decode import decode
from .document import REFERENCE_KEYS
from .hub_dataset import HubDataset

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
# What a run leaves beside its output, or leaves behind when it stops: no data to read.
REJECTS_SUFFIX = ".rejects.jsonl"
REPORT_SUFFIX = ".report.json"
PARTIAL_SUFFIX = ".partial"
PARTS_SUFFIX = ".parts"
MANIFEST = "manifest.json"

DATASET = "dataset"
COLUMNAR = ("parquet", "arrow", DATASET)
TABLES = ("csv", "tsv", *COLUMNAR)
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

    Splits of datasets (see `hub_dataset`) stand for themselves; files, folders and patterns may be
    URLs (see `urls`).

    Folders give the files of known suffix in them, at any depth, sorted, without hidden files and
    rejects of earlier runs. Raises InputError for what is not there, for a file of unknown suffix
    and for a folder without files to read.
    """
    options = options or ReadOptions()
    found = chain.from_iterable(_expand(name, options) for name in inputs)
    return list(dict.fromkeys(found))


def _expand(name: str, options: ReadOptions) -> list[str]:
    if name == STDIN or name.startswith(hub_dataset.PREFIX):
        return [name]
    if urls.is_url(name):
        return _expand_url(name, options)
    path = Path(name)
    try:
        if path.is_dir():
            return _files_in(name)
        exists = path.exists()
    except (OSError, ValueError):  # such as a name that is too long
        exists = False
    if exists:
        _require_format(name, options)
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


def _expand_url(name: str, options: ReadOptions) -> list[str]:
    found = urls.expand(name)
    if not found:
        raise InputError(f"{valid_text(name)}: no such file or folder, or no file to read in it.")
    if found == [name]:
        _require_format(name, options)
        return found
    files = [file for file in found if is_data(file.rpartition("/")[2])]
    if not files:
        raise InputError(f"{valid_text(name)}: no file to read there. Suffixes: {_KNOWN}.")
    return files


def _require_format(name: str, options: ReadOptions) -> None:
    if options.format is None and file_format(name) is None:
        raise InputError(
            f"{valid_text(name)}: its suffix does not say what it holds. Known suffixes: "
            f"{_KNOWN}. Rename the file, or give text or JSON lines on stdin as {STDIN}."
        )


def _files_in(folder: str) -> list[str]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(Path(parent, name))]
        found += [Path(parent, name) for name in names if is_data(name)]
    files = [str(path) for path in sorted(found) if path.is_file()]
    if not files:
        raise InputError(
            f"{valid_text(folder)}: no file to read in this folder. Suffixes: {_KNOWN}."
        )
    return files


def _is_hidden(folder: Path) -> bool:
    is_parts = folder.name.endswith(PARTS_SUFFIX) and (folder / MANIFEST).exists()
    return is_parts or folder.name.startswith(".")


def is_data(name: str) -> bool:
    """Whether a folder that is read gives the file of this name."""
    if name.startswith(".") or name in _NOT_DATA or name.endswith((REJECTS_SUFFIX, REPORT_SUFFIX)):
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
        if self.format == DATASET:
            return HubDataset.parse(self.name).stem
        return "stdin" if self.name == STDIN else file_stem(self.name)

    def is_one(self, options: ReadOptions) -> bool:
        """Whether it is read as one document (or rejected as one), whatever it holds."""
        return self.format == "html" or (self.format == "text" and not options.lines)


def source_file(name: str, options: ReadOptions) -> SourceFile:
    """One of the `input_files` with its format. Raises InputError if it cannot be streamed."""
    if name.startswith(hub_dataset.PREFIX):
        HubDataset.parse(name)
        return SourceFile(name, DATASET, None)
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


# --- what a file is and how much it holds ---

# Of a larger file, as many bytes are read for its fingerprint: in pieces, evenly spaced.
_SAMPLE = 64 * 2**20
_PIECES = 64
# Lines of larger files are not counted beforehand.
_COUNTED = 2**31


def fingerprint(name: str) -> dict[str, Any] | None:
    """What tells a file's content from another: its size and a hash. None if it is no file.

    A file of more than 64 MB is hashed at 64 evenly spaced places, of 1 MB each. One that is named
    by a URL is not read: its size and time of change must do.
    """
    if name.startswith(hub_dataset.PREFIX):
        return HubDataset.parse(name).fingerprint()
    if urls.is_url(name):
        return urls.stamp(name)
    path = Path(name)
    if name == STDIN or not path.is_file():
        return None
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb", buffering=0) as stream:
        if size <= _SAMPLE:
            while block := stream.read(2**20):
                digest.update(block)
        else:
            piece = _SAMPLE // _PIECES
            for number in range(_PIECES):
                stream.seek((size - piece) * number // (_PIECES - 1))
                digest.update(stream.read(piece))
    return {"bytes": size, "sha256": digest.hexdigest()[:32]}


def count_records(file: SourceFile, options: ReadOptions) -> int | None:
    """About how many records a file holds; None where it takes too long to tell."""
    if file.is_one(options):
        return 1
    if file.format == DATASET:
        return HubDataset.parse(file.name).total()
    path = Path(file.name)
    if file.name == STDIN or file.compression or not path.is_file():
        return None
    try:
        if file.format == "parquet":
            from pyarrow import parquet

            return parquet.read_metadata(path).num_rows
        if file.format in ("jsonl", "text") and path.stat().st_size <= _COUNTED:
            with path.open("rb", buffering=0) as stream:
                return sum(block.count(b"\n") for block in iter(lambda: stream.read(2**20), b""))
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors; reading will report it
        return None
    return None


# --- bytes and lines ---


def is_file(name: str) -> bool:
    """Whether it can be read more than once: it is no pipe."""
    return urls.is_url(name) or Path(name).is_file()


def open_file(name: str) -> Any:
    """The bytes of a file as they are, without a buffer. Raises OSError."""
    return urls.open_url(name) if urls.is_url(name) else Path(name).open("rb", buffering=0)


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
    with open_file(file.name) as plain:
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
