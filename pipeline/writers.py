"""Writing documents: JSON lines, CSV, Parquet or TMX, to a file that is whole or is not there.

A file is written under the name `TARGET.partial` and gets its own name when it is complete.
"""

from __future__ import annotations

import csv
import errno
import glob
import gzip
import importlib.metadata
import io
import json
import logging
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol
from xml.sax.saxutils import escape, quoteattr

from ..models.errors import InputError, KhulasaError
from .document import Document
from .sources import (
    COMPRESSIONS,
    PARTIAL_SUFFIX,
    REJECTS_SUFFIX,
    REPORT_SUFFIX,
    STDIN,
    is_data,
    valid_text,
)
from .urls import is_url

logger = logging.getLogger(__name__)

STDOUT = STDIN
# What a run keeps, in an output that is a folder by its URL, beside the documents.
OURS = "_khulasa"
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".tmx": "tmx",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
# The scores that get a column in CSV, where one file has room for a few only.
CSV_SCORES = (
    "translation.bleu",
    "translation.chrf",
    "translation.ter",
    "summary_ar.rouge1",
    "summary_ar.rougeL",
    "summary_en.rouge1",
    "summary_en.rougeL",
)
_CSV_COLUMNS = (
    "id",
    "title",
    "date",
    "clean",
    "translation",
    "summary_ar",
    "summary_en",
    "flags",
    "metadata",
)


# --- formats ---


class _Encoder(Protocol):
    """Writes documents in one format to a stream of bytes. `close` completes the format.

    `append` adds the documents of a part: a file that `PartFile` wrote in the same format.
    """

    def write(self, document: Document) -> None: ...

    def append(self, part: Path) -> None: ...

    def close(self) -> None: ...


def json_line(record: Mapping[str, Any]) -> bytes:
    """A record as one line of JSON in UTF-8: the same bytes for the same record."""
    return valid_text(_json_text(record) + "\n").encode()


def _json_text(value: Any) -> str:
    """The value as JSON. A number that JSON does not have (NaN, infinity) becomes null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_writable(value), ensure_ascii=False, default=str)


def _writable(value: Any) -> Any:
    """The same value, without lone surrogates and numbers that are none."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return value


class _Text:
    """A format of bytes one after the other: those of each document between a head and a foot."""

    def __init__(
        self,
        stream: IO[bytes],
        encode: Callable[[Document], bytes],
        head: bytes = b"",
        foot: bytes = b"",
    ) -> None:
        self._stream = stream
        self._encode = encode
        self._foot = foot
        self._stream.write(head)

    def write(self, document: Document) -> None:
        self._stream.write(self._encode(document))

    def append(self, part: Path) -> None:
        _copy(part, self._stream)

    def close(self) -> None:
        self._stream.write(self._foot)


def _copy(path: Path, stream: IO[bytes]) -> None:
    with path.open("rb") as source:
        shutil.copyfileobj(source, stream, 2**20)


def _encode_json(document: Document) -> bytes:
    return json_line(document.to_record())


def _encode_csv(document: Document, scores: Sequence[str]) -> bytes:
    """One row a document, flat. Flags are `stage:kind` and those of sentences, each once."""
    summaries = document.summaries
    flags = [f"{issue.stage}:{issue.kind}" for issue in document.issues]
    if document.translation:
        flags += [flag for s in document.translation.sentences for flag in s.flags]
    values = [
        document.id,
        document.title,
        document.date,
        document.clean and document.clean.text,
        document.translation and document.translation.text,
        summaries["ar"].text if "ar" in summaries else None,
        summaries["en"].text if "en" in summaries else None,
        " ".join(dict.fromkeys(flags)),
        _json_text(dict(document.metadata)),
    ]
    for name in scores:
        group, _, metric = name.partition(".")
        values.append(document.scores.get(group, {}).get(metric))
    return _csv_row(values)


def _csv_row(values: Sequence[Any]) -> bytes:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(values)
    return valid_text(row.getvalue()).encode()


# What XML 1.0 does not allow, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _tmx_head() -> bytes:
    version = importlib.metadata.version("khulasa")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
        f'<header creationtool="khulasa" creationtoolversion={quoteattr(version)} '
        'segtype="sentence" o-tmf="khulasa" adminlang="en" srclang="ar" '
        'datatype="plaintext"/>\n<body>\n'
    ).encode()


_TMX_FOOT = b"</body>\n</tmx>\n"


def _encode_tmx(document: Document) -> bytes:
    """Translation memory (TMX 1.4): one unit for each sentence that has a translation."""
    units = []
    for sentence in document.translation.sentences if document.translation else ():
        if not sentence.source.strip() or not sentence.target.strip():
            continue
        notes = [("document", document.id), *(("flag", flag) for flag in sentence.flags)]
        if sentence.score is not None:
            notes.append(("score", f"{sentence.score:g}"))
        units.append(
            "<tu>\n"
            + "".join(f'<prop type="{kind}">{_xml(text)}</prop>\n' for kind, text in notes)
            + f'<tuv xml:lang="ar"><seg>{_xml(sentence.source)}</seg></tuv>\n'
            + f'<tuv xml:lang="en"><seg>{_xml(sentence.target)}</seg></tuv>\n'
            + "</tu>\n"
        )
    return "".join(units).encode()


def _xml(text: str) -> str:
    # A bare carriage return would be read as a line feed.
    return escape(_NOT_XML.sub("", text), {"\r": "&#13;"})


_ROW_GROUP_DOCUMENTS = 1000
_ROW_GROUP_CHARACTERS = 2**24


class _Parquet:
    """The record, nested: rows of `parquet_row`."""

    def __init__(self, stream: IO[bytes]) -> None:
        from pyarrow import parquet

        self._schema = parquet_schema()
        self._writer = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def write(self, document: Document) -> None:
        self._add(parquet_row(document))

    def append(self, part: Path) -> None:
        from pyarrow import parquet

        with parquet.ParquetFile(part) as table:
            for batch in table.iter_batches(batch_size=64, use_threads=False):
                for row in batch.to_pylist():
                    self._add(row)

    def _add(self, row: dict[str, Any]) -> None:
        # Row groups depend on the rows alone: parts, however cut, give the same file.
        self._rows.append(row)
        self._size += len(row["clean"]["text"]) if row["clean"] else 0
        if len(self._rows) >= _ROW_GROUP_DOCUMENTS or self._size >= _ROW_GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows, self._size = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def parquet_row(document: Document) -> dict[str, Any]:
    """The record for a table: objects whose keys are not fixed are columns of JSON text."""
    row = document.to_record()
    for name in ("metadata", "scores", "run"):
        row[name] = _json_text(row[name])
    if row["clean"]:
        row["clean"]["changes"] = _json_text(row["clean"]["changes"])
    return _writable(row)


def parquet_schema() -> Any:
    """The pyarrow schema of rows of `parquet_row`."""
    import pyarrow as pa

    text = pa.string()
    removal = pa.struct({"rule": text, "text": text})
    sentence = pa.struct(
        {
            "paragraph": pa.int32(),
            "source": text,
            "target": text,
            "flags": pa.list_(text),
            "score": pa.float64(),
        }
    )
    summary_sentence = pa.struct(
        {"text": text, "source": pa.list_(pa.int32()), "support": pa.float64()}
    )
    summary = pa.struct({"text": text, "sentences": pa.list_(summary_sentence)})
    issue = pa.struct({"stage": text, "kind": text, "where": text, "detail": text})
    return pa.schema(
        {
            "id": text,
            "title": text,
            "date": text,
            "metadata": text,
            "clean": pa.struct({"text": text, "removed": pa.list_(removal), "changes": text}),
            "translation": pa.struct({"text": text, "sentences": pa.list_(sentence)}),
            "summaries": pa.struct({"ar": summary, "en": summary}),
            "scores": text,
            "issues": pa.list_(issue),
            "run": text,
        }
    )


# --- where it goes ---


def output_format(target: str | None, format: str | None = None) -> tuple[str, str | None]:  # noqa: A002
    """The format and compression for a target. Raises InputError if nothing says which."""
    if format is not None and format not in FORMATS:
        raise InputError(f"No output format {format!r}: there are {', '.join(FORMATS)}.")
    if target in (None, STDOUT):
        return format or "jsonl", None
    if is_url(target):
        if format in ("csv", "tmx"):
            raise InputError(f"{target}: the files in such a folder can be jsonl or parquet.")
        return format or "jsonl", None
    path = Path(str(target))
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression:
        path = path.with_suffix("")
    found = format or SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InputError(
            f"{target}: its suffix does not say which format to write. Known suffixes: "
            f"{', '.join(SUFFIXES)}, all but .parquet also with {' or '.join(COMPRESSIONS)}. "
            "Rename it or name the format with --output-format."
        )
    if found == "parquet" and compression:
        raise InputError(
            f"{target}: Parquet is compressed inside. Leave {Path(str(target)).suffix!r} off."
        )
    return found, compression


def rejects_path(target: str | None) -> Path | None:
    """Where the rejects of a run go: for `news.csv` to `news.rejects.jsonl`, for stdout nowhere."""
    if target is None or target == STDOUT:
        return None
    path = Path(target)
    if is_special(path):
        return None
    return _beside(path, REJECTS_SUFFIX)


def report_path(target: str | Path) -> Path:
    """Where the report of a run goes: for `news.csv` to `news.report.json`."""
    return _beside(Path(target), REPORT_SUFFIX)


def _beside(path: Path, suffix: str) -> Path:
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    if path.suffix.lower() in SUFFIXES:
        path = path.with_suffix("")
    return path.with_name(path.name + suffix)


def require_not_input(target: str | None, inputs: Iterable[str]) -> None:
    """Raise InputError if `target`, or what goes beside it, would destroy one of the inputs."""
    rejects = rejects_path(target)
    if target is None or rejects is None:
        return
    ours = (Path(target), Path(target + PARTIAL_SUFFIX), rejects, report_path(target))
    written = [path for path in ours if path.exists()]
    for name in inputs if written else ():
        for source in _existing(name):
            for path in written:
                if _is_read(path, source):
                    raise InputError(
                        f"{path}: writing here would destroy an input ({source}). "
                        "Name another output."
                    )


def _existing(name: str) -> list[Path]:
    try:
        if name != STDIN and Path(name).exists():
            return [Path(name)]
    except (OSError, ValueError):  # such as a name that is too long: reading will report it
        return []
    return [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207


def _is_read(path: Path, source: Path) -> bool:
    if not source.is_dir():
        return path.samefile(source)
    inside = path.resolve().is_relative_to(source.resolve())
    return inside and is_data(path.name)


class DurableFile:
    """A file that gets its name when it is whole and on disk; it is NAME.partial until then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self.stream = self.partial.open("wb")

    def commit(self) -> None:
        """Put the file on disk and give it its name, instead of an older one."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        if self.path.exists():
            shutil.copymode(self.path, self.partial)
        self.partial.replace(self.path)
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Leave what there is under its temporary name."""
        with suppress(OSError):  # it is not going to be used: no matter what it holds
            self.stream.close()

    def discard(self) -> None:
        """Remove what there is."""
        self.close()
        self.partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk: a new or a removed file is there, or not, after that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_durably(path: Path, *contents: bytes | Path) -> None:
    """Write bytes, and what is in files, to a file that is whole or not there.

    Raises KhulasaError.
    """
    with explained(path):
        file = DurableFile(path)
        try:
            for content in contents:
                if isinstance(content, bytes):
                    file.stream.write(content)
                else:
                    _copy(content, file.stream)
            file.commit()
        except BaseException:
            file.discard()
            raise


class Writer:
    """Writes documents to a target. A context manager: the file is complete when it ends well.

    On failure what was written stays beside the target as `TARGET.partial`, and a warning says so.
    Raises KhulasaError where the system does not let us write. When the reader of a pipe has gone,
    BrokenPipeError passes through.
    """

    def __init__(
        self,
        target: str | None,
        compression: str | None,
        encoder: Callable[[IO[bytes]], _Encoder],
    ) -> None:
        self.count = 0
        self._name = "stdout" if target is None or target == STDOUT else target
        self._path = None if target is None or target == STDOUT else Path(target)
        # None for stdout, and for a pipe or device, which must not be replaced by a file.
        self._file: DurableFile | None = None
        self._compression = compression
        self._make_encoder = encoder
        self._encoder: _Encoder | None = None
        self._stream: Any = None
        self._closing = ExitStack()

    def __enter__(self) -> Writer:
        with self._explained(), ExitStack() as closing:
            self._stream = self._open(closing)
            self._encoder = self._make_encoder(self._stream)
            self._closing = closing.pop_all()
        return self

    def _open(self, closing: ExitStack) -> Any:
        """The stream to write to. `closing` will complete it, from the inside out."""
        if self._path is None:
            sys.stdout.flush()
            stream: Any = sys.stdout.buffer
            closing.callback(stream.flush)
            return stream
        if is_special(self._path):
            stream = closing.enter_context(self._path.open("wb"))
        else:
            self._file = DurableFile(self._path.resolve())  # a link stays: its file is replaced
            stream = self._file.stream
        if self._compression == "gzip":
            # No name and no time in the header: the same bytes each time.
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0)
            return closing.enter_context(packed)
        if self._compression == "zstd":
            import pyarrow

            return closing.enter_context(pyarrow.CompressedOutputStream(_Unclosed(stream), "zstd"))
        return stream

    def write(self, document: Document) -> None:
        """Write one document."""
        if self._encoder is None:
            raise ValueError("a Writer writes inside its `with` block only")
        with self._explained():
            self._encoder.write(document)
            if self._compression is None:
                self._stream.flush()
        self.count += 1

    def append(self, part: Path) -> None:
        """Write the documents of a part: what a `PartFile` of the same format holds."""
        if self._encoder is None:
            raise ValueError("a Writer writes inside its `with` block only")
        with self._explained():
            self._encoder.append(part)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._explained():
                self._finish()
                if error is None:
                    if self._file:
                        self._file.commit()
                    return
        except (KhulasaError, BrokenPipeError):
            self._keep()
            if error is None:
                raise
            logger.debug("%s: could not be completed", self._name, exc_info=True)
        else:
            self._keep()

    def _finish(self) -> None:
        encoder, self._encoder = self._encoder, None
        with self._closing:
            if encoder:
                encoder.close()

    def _keep(self) -> None:
        """Leave what there is under its temporary name, if there is anything, and say so."""
        if self._file is None:
            return
        if self.count:
            self._file.close()
            shown = Path(self._name).with_name(self._file.partial.name)
            logger.warning(
                "%s was not completed: %d documents are in %s", self._name, self.count, shown
            )
        else:
            self._file.discard()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the system into ours."""
        try:
            with explained(self._name):
                yield
        except BrokenPipeError:
            if self._path is None:
                _silence_stdout()
            raise


class _Unclosed(io.RawIOBase):
    """A stream that stays open when pyarrow closes it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._inner = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._inner.write(data)


def is_special(path: Path) -> bool:
    """Whether it is there and is neither a file nor a folder: a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def explained(name: str | Path) -> Iterator[None]:
    """Turn errors of the system about writing to `name` into a KhulasaError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _write_error(str(name), error) from error


def _write_error(name: str, error: OSError) -> KhulasaError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "no space is left on the disk. Free some, or write elsewhere"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        what = "no permission to write there"
    else:
        what = error.strerror or str(error)
    return KhulasaError(f"{name}: cannot be written: {what}.")


def _silence_stdout() -> None:
    """Let what is left in stdout's buffer go nowhere, so that the exit is quiet."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        logger.debug("stdout has no file of its own", exc_info=True)


def open_writer(
    target: str | None,
    format: str | None = None,  # noqa: A002
    *,
    scores: Sequence[str] = CSV_SCORES,
) -> Writer:
    """A writer to a file, or to stdout for None and `-`. Use it as a context manager.

    The format is jsonl, csv, parquet or tmx: the one named, else the one of the suffix, else
    jsonl. A further `.gz` or `.zst` compresses. `scores` are the columns `group.metric` of CSV.
    Raises InputError for a target that cannot be one.
    """
    kind, compression = output_format(target, format)
    if target is not None and target != STDOUT:
        if Path(target).is_dir():
            raise InputError(f"{target}: this is a folder. Name a file in it.")
        if not Path(target).resolve().parent.is_dir():
            raise InputError(f"{target}: there is no folder {Path(target).parent}. Create it.")
    return Writer(target, compression, partial(_encoder, kind, scores))


def _encoder(kind: str, scores: Sequence[str], stream: IO[bytes], whole: bool = True) -> _Encoder:
    """The encoder of a format; for a part of a file instead of the `whole`, without its ends."""
    if kind == "parquet":
        return _Parquet(stream)
    head = foot = b""
    encode = _encode_json
    if kind == "csv":
        head, encode = _csv_row([*_CSV_COLUMNS, *scores]), partial(_encode_csv, scores=scores)
    elif kind == "tmx":
        head, foot, encode = _tmx_head(), _TMX_FOOT, _encode_tmx
    return _Text(stream, encode, head, foot) if whole else _Text(stream, encode)


class PartFile:
    """A part of an output, for `Writer.append`: on disk, under its name, after `commit` alone."""

    def __init__(self, path: Path, format: str) -> None:  # noqa: A002
        with explained(path):
            self._file = DurableFile(path)
            self._encoder = _encoder(format, CSV_SCORES, self._file.stream, whole=False)

    def write(self, document: Document) -> None:
        """Write one document."""
        with explained(self._file.path):
            self._encoder.write(document)

    def commit(self) -> None:
        """Put the whole part on disk."""
        with explained(self._file.path):
            self._encoder.close()
            self._file.commit()

    def discard(self) -> None:
        """Remove what there is."""
        self._file.discard()
