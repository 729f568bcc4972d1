"""Files that are named by a URL: object stores, and whatever else pyarrow reaches.

`s3://`, `gs://`, `abfs://`, `hdfs://` and `file://` are known. Who may read and write, and where
the store is, pyarrow takes from the environment, as the store's own tools do.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..models.device import first_line
from ..models.errors import InputError, KhulasaError
from . import hub_dataset

_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://[^/]*)/?(.*)", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")


def is_url(name: str | Path | None) -> bool:
    """Whether it names a file or a folder by a URL. Datasets, `hf://`, are something else."""
    is_text = isinstance(name, str) and not name.startswith(hub_dataset.PREFIX)
    return is_text and _FORM.fullmatch(str(name)) is not None


def expand(url: str) -> list[str]:
    """The files that a URL stands for, sorted: itself, those in a folder, those of a pattern.

    Those in a folder are all that are not hidden, at any depth. There is none where nothing is
    there. Raises KhulasaError where the store cannot be asked.
    """
    root, path = _split(url)
    if not _MAGIC.search(path):
        with reached(url):
            files, place = _located(url)
            kind = files.get_file_info(place).type.name
        if kind == "File":
            return [url]
        found = _files_in(url) if kind == "Directory" else []
        return [name for name in found if not _is_hidden(name.removeprefix(url))]
    pattern = path.split("/")
    plain = next(n for n, part in enumerate(pattern) if _MAGIC.search(part))
    found = _files_in("/".join([root, *pattern[:plain]]))
    return [name for name in found if _matches(_split(name)[1].split("/"), pattern)]


def _files_in(url: str) -> list[str]:
    """All files in a folder, at any depth, sorted."""
    from pyarrow.fs import FileSelector

    root, _ = _split(url)
    with reached(url):
        files, place = _located(url)
        found = files.get_file_info(FileSelector(place, allow_not_found=True, recursive=True))
    start = len(_located(root)[1])
    return sorted(
        f"{root}/{info.path[start:].lstrip('/')}" for info in found if info.type.name == "File"
    )


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def covers(name: str, file: str) -> bool:
    """Whether a file is one of those that a URL stands for, if it is there."""
    root, path = _split(name)
    if not _MAGIC.search(path):
        return f"{file}/".startswith(f"{name.rstrip('/')}/")
    return _split(file)[0] == root and _matches(_split(file)[1].split("/"), path.split("/"))


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a pattern, part by part; `**` stands for any number of parts."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches(path[n:], pattern[1:]) for n in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])


def open_url(url: str) -> Any:
    """The bytes of a file, as a stream in which one can go to any place. Raises OSError."""
    files, place = _located(url)
    return files.open_input_file(place)


def stamp(url: str) -> dict[str, Any] | None:
    """What tells a file's content from another without reading it; None if it is no file."""
    with reached(url):
        files, place = _located(url)
        info = files.get_file_info(place)
    return {"bytes": info.size, "modified": info.mtime_ns} if info.type.name == "File" else None


def read_url(url: str) -> bytes:
    """What a file holds. Raises OSError."""
    with open_url(url) as stream:
        return stream.read()


def write_url(url: str, *contents: bytes | Path) -> None:
    """Write bytes, and what is in local files, to one file. Raises OSError."""
    files, place = _located(url)
    if files.type_name == "local":
        files.create_dir(place.rpartition("/")[0], recursive=True)
    with files.open_output_stream(place) as stream:
        for content in contents:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, stream, 2**20)


def names_in(url: str) -> list[str]:
    """The names of the files in a folder and those below it, from there. Raises OSError."""
    return [name[len(url) + 1 :] for name in _files_in(url)]


def delete_urls(urls: Sequence[str]) -> None:
    """Delete files. Raises OSError."""
    for url in urls:
        files, place = _located(url)
        files.delete_file(place)


def _split(url: str) -> tuple[str, str]:
    match = _FORM.fullmatch(url)
    assert match
    return match[1], match[2]


def _located(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    root, path = _split(url)
    files, base = _file_system(root)
    return files, f"{base}/{path}".rstrip("/") or "/"


@lru_cache(maxsize=32)
def _file_system(root: str) -> tuple[Any, str]:
    """The file system of what a URL starts with: its scheme and its bucket, host or nothing.

    The rest of a URL is not given to pyarrow, which wants it encoded.
    """
    from pyarrow.fs import FileSystem

    try:
        files, base = FileSystem.from_uri(f"{root}/")
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{root}: {first_line(error)}") from error
    return files, base.rstrip("/")


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turn errors of a store into a KhulasaError."""
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise KhulasaError(f"{url}: the store refuses: {first_line(error)}") from error
