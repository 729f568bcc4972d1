"""The history of runs: one SQLite file, small enough to commit or to copy.

A run is stored with its scores and their intervals; what it said about each document stays in its
folder. Folders are stored relative to the file, so that both can move together.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .runs import MetricScore
from .scores import ScoreError

FILE = "history.sqlite"
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    started TEXT NOT NULL,
    folder TEXT NOT NULL,
    verdict TEXT NOT NULL,
    baseline TEXT,
    accepted TEXT,
    note TEXT NOT NULL DEFAULT '',
    documents INTEGER NOT NULL,
    info TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_job ON runs (job, id);
CREATE TABLE IF NOT EXISTS scores (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    dataset TEXT NOT NULL,
    task TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    better TEXT NOT NULL,
    signature TEXT NOT NULL,
    documents INTEGER NOT NULL,
    PRIMARY KEY (run, dataset, task, metric)
);
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A score in the history: its value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    signature: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the history.

    `verdict` is `passed`, `failed` or `no baseline`. `accepted` is when it was accepted as a
    baseline, or None. `scores` is by (dataset, task, metric).
    """

    id: str
    job: str
    started: str
    folder: Path
    verdict: str
    baseline: str | None
    accepted: str | None
    note: str
    documents: int
    info: Mapping[str, Any]
    scores: Mapping[tuple[str, str, str], Point]


class History:
    """The runs in one SQLite file, which is made when something is first stored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        info: Mapping[str, Any],
        folder: Path,
        scores: Sequence[MetricScore],
        *,
        documents: int,
        verdict: str,
        baseline: str | None,
    ) -> None:
        """Store a run; one that is there already (it was scored again) keeps its acceptance."""
        base = self.path.parent.resolve()
        place = folder.resolve()
        if place.is_relative_to(base):
            place = place.relative_to(base)
        with self._open() as db:
            db.execute(
                "INSERT INTO runs (id, job, started, folder, verdict, baseline, documents, info) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "folder = excluded.folder, verdict = excluded.verdict, "
                "baseline = excluded.baseline, documents = excluded.documents, "
                "info = excluded.info",
                (
                    info["id"],
                    info["job"],
                    info["started"],
                    place.as_posix(),
                    verdict,
                    baseline,
                    documents,
                    json.dumps(info, ensure_ascii=False),
                ),
            )
            db.execute("DELETE FROM scores WHERE run = ?", (info["id"],))
            db.executemany(
                "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (info["id"], *s.key, s.value, s.low, s.high, s.better, s.signature, n)
                    for s, n in ((score, len(score.per_item)) for score in scores)
                ],
            )

    def accept(self, run: str, note: str = "") -> None:
        """Make a run the baseline of its job, from now until another is accepted.

        Raises ScoreError if the history does not have it.
        """
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        with self._open() as db:
            changed = db.execute(
                "UPDATE runs SET accepted = ?, note = ? WHERE id = ?", (now, note, run)
            ).rowcount
        if not changed:
            raise ScoreError(f"{self.path}: there is no run {run!r}")

    def runs(self, job: str | None = None, *, last: int | None = None) -> list[Entry]:
        """The runs of a job (or of all), oldest first; `last` keeps only so many."""
        if not self.path.exists():
            return []
        with self._open() as db:
            rows = db.execute(
                "SELECT * FROM runs WHERE ?1 IS NULL OR job = ?1 ORDER BY id DESC LIMIT ?2",
                (job, -1 if last is None else last),
            ).fetchall()
            return [self._entry(db, row) for row in reversed(rows)]

    def accepted(self, job: str, besides: str = "") -> Entry | None:
        """The run of a job, other than the one named, that was accepted last; or None."""
        if not self.path.exists():
            return None
        with self._open() as db:
            row = db.execute(
                "SELECT * FROM runs WHERE job = ? AND id <> ? AND accepted IS NOT NULL "
                "ORDER BY accepted DESC LIMIT 1",
                (job, besides),
            ).fetchone()
            return None if row is None else self._entry(db, row)

    def find(self, name: str, job: str | None = None) -> Entry:
        """Find a run: by its id, by a part of one that fits no other, or `latest`.

        Raises ScoreError that names the candidates.
        """
        if not self.path.exists():
            raise ScoreError(
                f"{name!r} is no run: there is no history in {self.path}; say with --runs where "
                "the runs are, or give the folder of a run"
            )
        entries = self.runs(job)
        if not entries:
            raise ScoreError(f"{self.path}: the history has no run" + (f" of {job}" * bool(job)))
        if name == "latest":
            return entries[-1]
        found = [e for e in entries if e.id == name] or [e for e in entries if name in e.id]
        if len(found) == 1:
            return found[0]
        some = ", ".join(entry.id for entry in (found or entries)[-5:])
        reason = "fits more than one run" if found else "is no run"
        raise ScoreError(f"{self.path}: {name!r} {reason}; the newest are: {some}")

    def _entry(self, db: sqlite3.Connection, row: sqlite3.Row) -> Entry:
        points = {
            (s["dataset"], s["task"], s["metric"]): Point(
                s["value"], s["low"], s["high"], s["signature"]
            )
            for s in db.execute("SELECT * FROM scores WHERE run = ? ORDER BY rowid", (row["id"],))
        }
        return Entry(
            **{k: row[k] for k in ("id", "job", "started", "verdict", "baseline", "accepted")},
            folder=self.path.parent / row["folder"],
            note=row["note"],
            documents=row["documents"],
            info=json.loads(row["info"]),
            scores=points,
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file in a transaction, and make its tables if it is new."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as db, db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA foreign_keys = ON")
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    db.executescript(
                        f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;"
                    )
                elif version != _VERSION:
                    raise ScoreError(
                        f"{self.path}: a history of version {version}; this program reads "
                        f"version {_VERSION}"
                    )
                yield db
        except sqlite3.DatabaseError as error:
            raise ScoreError(f"{self.path}: cannot be used as a history: {error}") from error
