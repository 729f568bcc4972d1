"""The folder `OUT.parts`: what a batch run has finished, and what it was started with.

One run at a time holds it, by a lock that ends with the process. A shard is a run of input items,
in the order of the input: `000000.part` holds its documents, `000000.rejects.jsonl` its rejects,
and `000000.json`, which is written last and makes it finished, its counts.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..models.errors import ConfigError, KhulasaError
from .document import Document
from .readers import Reject
from .run_report import Tally
from .sources import MANIFEST, PARTIAL_SUFFIX, PARTS_SUFFIX, REJECTS_SUFFIX
from .writers import DurableFile, PartFile, explained, json_line, write_durably

try:
    import fcntl
except ImportError:  # there is no such lock on Windows
    fcntl = None

logger = logging.getLogger(__name__)

LOCK = "lock"
_SHARD = re.compile(r"(\d{6,})\.(?:part|json|rejects\.jsonl)")
_SHOWN = 10


class Parts:
    """The parts of one output. A context manager, which holds the lock.

    Raises KhulasaError where another run holds it, and where the system does not let us write.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(output.name + PARTS_SUFFIX)
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

    def open(self, identity: Mapping[str, Any], restart: bool = False) -> list[Path]:
        """Start, or go on with, the run of this identity; gives the shards that are finished.

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
            self._refuse(changes)
        if not known:
            self.clear()
            text = json.dumps(identity, ensure_ascii=False, indent=1)
            write_durably(self.folder / MANIFEST, text.encode())
        shards = []
        while (path := self.folder / f"{len(shards):06}.json").exists():
            shards.append(path)
        with explained(self.folder):
            for path, number in self._files():
                if number is None or number >= len(shards):
                    path.unlink()
        return shards

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

    def _refuse(self, changes: Sequence[str]) -> None:
        done = sum_of(map(read_shard, self.shards())).items
        lines = "".join(f"\n  {change}" for change in changes)
        raise ConfigError(
            f"{self.output}: an unfinished run ({done:,} records done) is kept in "
            f"{self.folder}, but it was started with something else:{lines}\n"
            "To go on with it, give what it was started with. To throw it away and start over, add "
            "--restart. Or name another output."
        )

    # --- shards ---

    def shards(self) -> list[Path]:
        """The counts of all shards, in order."""
        return sorted(
            (
                path
                for path, number in self._files()
                if number is not None and path.suffix == ".json"
            ),
            key=lambda path: int(path.stem),
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


def read_shard(path: Path) -> Tally:
    """The counts of a shard."""
    return Tally.from_record(json.loads(path.read_bytes()))


def token_budget_of(path: Path) -> int | None:
    """The token budget that a shard was made with."""
    return json.loads(path.read_bytes())["token_budget"]


def sum_of(tallies: Iterable[Tally]) -> Tally:
    """The counts of several shards together."""
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


class Shard:
    """A shard that is being written. Nothing of it counts before `commit`."""

    def __init__(self, folder: Path, number: int, format: str) -> None:  # noqa: A002
        self.tally = Tally()
        self._counts = folder / f"{number:06}.json"
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
