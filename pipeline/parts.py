"""What a batch run has finished, and what it was started with: the folder `OUT.parts`.

One run at a time holds it, by a lock that ends with the process. A shard is a run of input items,
in the order of the input: `000000.part` holds its documents, `000000.rejects.jsonl` its rejects,
and `000000.json`, which is written last and makes it finished, its counts.

Where the output is a folder named by a URL, its files are the shards, and are not joined.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ..models.errors import ConfigError, InputError, KhulasaError
from .document import Document
from .readers import Reject
from .run_report import Tally
from .sources import MANIFEST, PARTIAL_SUFFIX, PARTS_SUFFIX, REJECTS_SUFFIX
from .urls import delete_urls, names_in, reached, read_url, write_url
from .writers import OURS, DurableFile, PartFile, explained, json_line, write_durably

try:
    import fcntl
except ImportError:  # there is no such lock on Windows
    fcntl = None

logger = logging.getLogger(__name__)

LOCK = "lock"
_SHARD = re.compile(r"(\d{6,})\.(?:part|json|rejects\.jsonl)")
_URL_SHARD = re.compile(rf"{OURS}/(\d{{6,}})\.json")
_OF_A_RUN = re.compile(rf"{OURS}/.*|\d{{6,}}\.(?:jsonl|parquet)")
_SHOWN = 10


class Shards(Protocol):
    """Where finished shards are, by number. It can be sent to other processes."""

    def counts(self, number: int) -> dict[str, Any]:
        """Give the counts of a finished shard. Raises OSError if it is not there."""
        ...

    def writing(self) -> AbstractContextManager[Path]:
        """Lend a folder to write shards in; they are finished when it is given back."""
        ...


@dataclass(frozen=True, slots=True)
class LocalShards:
    """Shards in a folder that is seen by all who work on them."""

    folder: Path

    def counts(self, number: int) -> dict[str, Any]:
        return json.loads(shard_path(self.folder, number).read_bytes())

    @contextmanager
    def writing(self) -> Iterator[Path]:
        yield self.folder


@dataclass(frozen=True, slots=True)
class UrlShards:
    """Shards that are files of a folder named by a URL, in the format of the output."""

    url: str
    format: str

    def counts(self, number: int) -> dict[str, Any]:
        return json.loads(read_url(f"{self.url}/{OURS}/{number:06}.json"))

    @contextmanager
    def writing(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="khulasa-") as scratch:
            folder = Path(scratch)
            yield folder
            for counts in folder.glob("*.json"):
                ours, name = f"{self.url}/{OURS}", counts.stem
                with reached(self.url):
                    write_url(f"{self.url}/{name}.{self.format}", part_of(counts))
                    if (rejects := rejects_of(counts)).exists():
                        write_url(f"{ours}/{rejects.name}", rejects)
                    write_url(f"{ours}/{counts.name}", counts)  # last: it makes it finished


class Parts:
    """The parts of one output. A context manager, which holds the lock.

    Raises KhulasaError where another run holds it, and where the system does not let us write.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(output.name + PARTS_SUFFIX)
        self.shards = LocalShards(self.folder)
        self._lock: IO[bytes] | None = None
        self._is_removed = False

    def __enter__(self) -> Parts:
        with explained(self.folder):
            while self._lock is None:
                self._lock = self._take_lock()
        return self

    def _take_lock(self) -> IO[bytes] | None:
        """The locked file; None if a run that ended at this moment took it away."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / LOCK
        try:
            lock = path.open("a+b")
        except FileNotFoundError:
            return None
        try:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except FileNotFoundError:
            is_there = False
        except BlockingIOError:
            lock.seek(0)
            process = lock.read().decode(errors="replace").strip() or "unknown"
            lock.close()
            raise KhulasaError(
                f"{self.output}: another run (process {process}) is writing this output. Wait for "
                "its end, stop it, or name another output."
            ) from None
        if not is_there:
            lock.close()
            return None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        return lock

    def __exit__(self, *_: object) -> None:
        if not self._is_removed and not (self.folder / MANIFEST).exists():
            self.remove()
        if self._lock:
            self._lock.close()
            self._lock = None

    # --- the manifest ---

    def open(
        self, identity: Mapping[str, Any], restart: bool = False, in_order: bool = True
    ) -> list[int]:
        """Start, or go on with, the run of this identity; gives the shards that are finished.

        If they are made `in_order`, what comes after a gap is thrown away.

        Raises ConfigError, which says what differs, for an unfinished run of another identity.
        """
        known = None if restart else self._manifest()
        if known and not is_resumable(known):
            logger.warning(
                "%s: an unfinished run was of stdin, which cannot be read again: starting over",
                self.output,
            )
            known = None
        if known and (changes := list(differences(known, identity))):
            _refuse(self, changes)
        if not known:
            self.clear()
            text = json.dumps(identity, ensure_ascii=False, indent=1)
            write_durably(self.folder / MANIFEST, text.encode())
        numbers = self.numbers()
        if in_order:
            first_gap = next(n for n in range(len(numbers) + 1) if n not in numbers)
            numbers = [number for number in numbers if number < first_gap]
        with explained(self.folder):
            for path, number in self._files():
                if number not in numbers:
                    path.unlink()
        return numbers

    def _manifest(self) -> dict[str, Any] | None:
        path = self.folder / MANIFEST
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: cannot be read ({error}). Start over with --restart."
            ) from error

    # --- shards ---

    def numbers(self) -> list[int]:
        """The numbers of all finished shards, in order."""
        files = self._files()
        return sorted(
            number for path, number in files if number is not None and path.suffix == ".json"
        )

    def _files(self) -> Iterator[tuple[Path, int | None]]:
        """The files of shards, with their number, or None for those that were never completed."""
        for path in list(self.folder.iterdir()) if self.folder.exists() else ():
            partial = path.name.endswith(PARTIAL_SUFFIX)
            match = _SHARD.fullmatch(path.name.removesuffix(PARTIAL_SUFFIX))
            if match:
                yield path, None if partial else int(match[1])

    def clear(self) -> None:
        """Throw away what is done. Files that are not ours stay."""
        with explained(self.folder):
            for name in (MANIFEST, MANIFEST + PARTIAL_SUFFIX):
                (self.folder / name).unlink(missing_ok=True)
            for path, _ in self._files():
                path.unlink()

    def remove(self) -> None:
        """Remove the folder with what is ours in it; that it cannot be is no error."""
        try:
            self.clear()
            self._is_removed = True  # from here on it may be another run's
            (self.folder / LOCK).unlink(missing_ok=True)
            self.folder.rmdir()
        except (OSError, KhulasaError) as error:
            logger.info("%s: it stays, as it cannot be removed: %s", self.folder, error)


class UrlParts:
    """The same for an output that is a folder named by a URL.

    `000000.jsonl` (or `.parquet`) holds the documents of a shard; what else there is goes into the
    folder `_khulasa` in it, which readers of such folders pass over. There is no lock.
    """

    def __init__(self, output: str, format: str) -> None:  # noqa: A002
        self.output = output
        self.folder = output.rstrip("/")
        self.shards = UrlShards(self.folder, format)
        self._manifest = f"{self.folder}/{OURS}/{MANIFEST}"

    def __enter__(self) -> UrlParts:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def open(
        self, identity: Mapping[str, Any], restart: bool = False, in_order: bool = False
    ) -> list[int]:
        """Start, or go on with, the run of this identity; see `Parts.open`."""
        assert not in_order  # what is there was made by a cluster
        manifest = f"{OURS}/{MANIFEST}"
        with reached(self.folder):
            files = names_in(self.folder)
            known = json.loads(read_url(self._manifest)) if manifest in files else None
        if files and not known:
            raise InputError(
                f"{self.output}: there are files in this folder that no run wrote, such as "
                f"{files[0]}. Name another."
            )
        if known and not restart and (changes := list(differences(known, identity))):
            _refuse(self, changes)
        if restart or not known:
            with reached(self.folder):
                old = [name for name in files if _OF_A_RUN.fullmatch(name) and name != manifest]
                delete_urls([f"{self.folder}/{name}" for name in old])
                text = json.dumps(identity, ensure_ascii=False, indent=1)
                write_url(self._manifest, text.encode())
        return self.numbers()

    def numbers(self) -> list[int]:
        """The numbers of all finished shards, in order."""
        with reached(self.folder):
            files = set(names_in(self.folder))
        finished = (match[1] for name in files if (match := _URL_SHARD.fullmatch(name)))
        return sorted(int(n) for n in finished if f"{n}.{self.shards.format}" in files)

    def remove(self) -> None:
        """Nothing is in the way."""


def _refuse(parts: Parts | UrlParts, changes: Sequence[str]) -> None:
    done = sum_of(parts.shards, parts.numbers()).items
    lines = "".join(f"\n  {change}" for change in changes)
    raise ConfigError(
        f"{parts.output}: an unfinished run ({done:,} records done) is kept in "
        f"{parts.folder}, but it was started with something else:{lines}\n"
        "To go on with it, give what it was started with. To throw it away and start over, add "
        "--restart. Or name another output."
    )


def shard_path(folder: Path, number: int) -> Path:
    """The counts of a shard by its number; what names and makes a finished one."""
    return folder / f"{number:06}.json"


def sum_of(shards: Shards, numbers: Iterable[int]) -> Tally:
    """The counts of several shards together."""
    total = Tally()
    for number in numbers:
        total.merge(Tally.from_record(shards.counts(number)))
    return total


class Shard:
    """A shard that is being written. Nothing of it counts before `commit`."""

    def __init__(self, folder: Path, number: int, format: str) -> None:  # noqa: A002
        self.tally = Tally()
        self._counts = shard_path(folder, number)
        self._part = PartFile(part_of(self._counts), format)
        self._rejects: DurableFile | None = None

    def add(self, outcome: Document | Reject) -> None:
        """Write what became of the next item."""
        self.tally.add(outcome)
        if isinstance(outcome, Document):
            self._part.write(outcome)
            return
        path = rejects_of(self._counts)
        with explained(path):
            if self._rejects is None:
                self._rejects = DurableFile(path)
            self._rejects.stream.write(json_line(outcome.to_record()))

    def commit(self, token_budget: int | None) -> None:
        """Put the shard on disk: it is finished. `token_budget` is what it was made with."""
        self._part.commit()
        if self._rejects:
            with explained(self._rejects.path):
                self._rejects.commit()
        record = {**self.tally.to_record(), "token_budget": token_budget}
        write_durably(self._counts, json_line(record))

    def discard(self) -> None:
        """Remove what is written so far."""
        self._part.discard()
        if self._rejects:
            self._rejects.discard()


def part_of(counts: Path) -> Path:
    """The documents of a shard."""
    return counts.with_suffix(".part")


def rejects_of(counts: Path) -> Path:
    """The rejects of a shard; the file exists if there are any."""
    return counts.with_suffix(REJECTS_SUFFIX)


# --- identities ---


def is_resumable(identity: Mapping[str, Any]) -> bool:
    """Whether all inputs can be read again."""
    return None not in identity["inputs"].values()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two identities, a line each: settings as `key: old -> new`, inputs."""
    yield from _first(list(_setting_differences(old, new)))
    yield from _first(list(_input_differences(old["inputs"], new["inputs"])))


def _first(lines: list[str]) -> list[str]:
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*lines[:_SHOWN], *more]


def _setting_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, now = (dict(_flat({**identity, "inputs": {}})) for identity in (old, new))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            yield f"{key}: {before.get(key, 'nothing')} -> {now.get(key, 'nothing')}"


def _input_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield f"input {name}: no longer given"
        elif name not in old:
            yield f"input {name}: new"
        elif old[name] != new[name]:
            sizes = [f"{(of[name] or {}).get('bytes', 0):,}" for of in (old, new)]
            size = f" ({sizes[0]} -> {sizes[1]} bytes)" if sizes[0] != sizes[1] else ""
            yield f"input {name}: its content has changed{size}"
    if old.keys() == new.keys() and list(old) != list(new):
        yield "inputs: given in another order"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)
