"""Translations kept on disk, so that no segment is translated twice: not in a run, nor in a later.

An SQLite file. An entry is found by a digest of everything that decides a translation: the caller's
key (model, engine, options) and the text. Entries are never replaced, so that whoever reads one
reads what the first writer made. Any number of processes may share a file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ConfigError

# "khul", in the field that SQLite's header has for such a mark; and the layout's number.
_APPLICATION = 0x6B68756C
_LAYOUT = 1
_WAIT_SECONDS = 60.0


class TranslationCache:
    """A file of translations, made if it is not there.

    Raises ConfigError for a file that is something else, is damaged, cannot be read or written, or
    stays locked for a minute.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Stages may run in a thread of their own; only one uses the cache.
            self._database = sqlite3.connect(
                self.path, _WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._open()
        except ConfigError:
            self._database.close()
            raise

    def _open(self) -> None:
        run = self._database.execute
        # One at a time: two processes may make the same file.
        run("BEGIN IMMEDIATE")
        mark, layout, tables = (
            run(statement).fetchone()[0]
            for statement in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if not tables and not mark:
            run(f"PRAGMA application_id = {_APPLICATION}")
            run(f"PRAGMA user_version = {_LAYOUT}")
            run("CREATE TABLE translations (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        elif (mark, layout) != (_APPLICATION, _LAYOUT):
            run("ROLLBACK")
            raise sqlite3.DatabaseError("it was made by something else")
        run("COMMIT")
        self._write_ahead()
        run("PRAGMA synchronous = NORMAL")
        run("SELECT key, value FROM translations LIMIT 1").fetchone()

    def _write_ahead(self) -> None:
        """Switch to write-ahead logging, for which SQLite itself does not wait."""
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > end:
                    raise
            time.sleep(0.02)

    def get(self, key: str, texts: Sequence[str]) -> dict[str, list[Any]]:
        """Give what is kept for those of the texts that are there."""
        found = {}
        with self._explained():
            for text in texts:
                row = self._database.execute(
                    "SELECT value FROM translations WHERE key = ?", (_digest(key, text),)
                ).fetchone()
                if row:
                    target, flags, *rest = json.loads(row[0])
                    found[text] = [target, tuple(flags), *rest]
        return found

    def put(self, key: str, values: Mapping[str, Sequence[Any]]) -> None:
        """Keep these values (JSON's, by text): all of them or, when interrupted, none."""
        if not values:
            return
        rows = [(_digest(key, t), json.dumps(v, ensure_ascii=False)) for t, v in values.items()]
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("INSERT OR IGNORE INTO translations VALUES (?, ?)", rows)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file. The cache cannot be used afterwards."""
        self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise ConfigError(
                f"cache: {self.path} cannot be used as a cache of translations ({error}): name "
                "another file, or delete it if it is one that got damaged"
            ) from error


def _digest(key: str, text: str) -> bytes:
    return hashlib.sha256(f"{key}\0{text}".encode("utf-8", "surrogatepass")).digest()[:20]
