"""What a run did: counts that add up over its shards, its pace on the way, and its report."""

from __future__ import annotations

import heapq
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .document import Document
from .readers import Reject

_KEEP = 5
# Kinds of reasons that a report lists; reasons may quote the data, so there is no end to them.
_REASONS = 50


@dataclass(slots=True)
class Tally:
    """Counts of what came out. `seconds` is the time that it took, in all sessions together.

    `flags` counts issues by `stage:kind`, `reasons` rejects by the kind of their reason. `slowest`
    holds seconds, id and characters of the documents that took longest: documents are worked on by
    windows, and the time of a window is shared out by length. `stage_seconds` are those that each
    stage took; they overlap. `first_rejects` are the first few.
    """

    documents: int = 0
    rejects: int = 0
    sentences: int = 0
    words: int = 0
    seconds: float = 0.0
    stage_seconds: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str, int]] = field(default_factory=list)
    first_rejects: list[str] = field(default_factory=list)

    @property
    def items(self) -> int:
        """How many input records are done with."""
        return self.documents + self.rejects

    def add(self, outcome: Document | Reject) -> None:
        """Count one document or reject."""
        if isinstance(outcome, Reject):
            self.rejects += 1
            self._count_reason(_kind(outcome.reason), 1)
            if len(self.first_rejects) < _KEEP:
                self.first_rejects.append(_described(outcome))
            return
        self.documents += 1
        if outcome.translation:
            self.sentences += len(outcome.translation.sentences)
        if outcome.clean:
            self.words += len(outcome.clean.text.split())
        self.flags.update(f"{issue.stage}:{issue.kind}" for issue in outcome.issues)

    def _count_reason(self, kind: str, times: int) -> None:
        full = len(self.reasons) >= _REASONS and kind not in self.reasons
        self.reasons["other reasons" if full else kind] += times

    def add_time(self, seconds: float, sizes: Mapping[str, int], workers: int = 1) -> None:
        """Add the time of a window. `sizes` are the characters of its documents by id.

        Where several `workers` are at work at the same time, the run gets on by its share of it.
        """
        self.seconds += seconds / workers
        whole = sum(sizes.values()) or 1
        shares = ((seconds * size / whole, name, size) for name, size in sizes.items())
        self.slowest = heapq.nlargest(_KEEP, [*self.slowest, *shares])

    def merge(self, other: Tally) -> None:
        """Add the counts of another part of the run."""
        self.documents += other.documents
        self.rejects += other.rejects
        self.sentences += other.sentences
        self.words += other.words
        self.seconds += other.seconds
        self.stage_seconds.update(other.stage_seconds)
        self.flags.update(other.flags)
        for kind, times in other.reasons.items():
            self._count_reason(kind, times)
        self.slowest = heapq.nlargest(_KEEP, [*self.slowest, *other.slowest])
        self.first_rejects = [*self.first_rejects, *other.first_rejects][:_KEEP]

    def to_record(self) -> dict[str, Any]:
        """Plain JSON values; `from_record` takes them back."""
        return {
            "documents": self.documents,
            "rejects": self.rejects,
            "sentences": self.sentences,
            "words": self.words,
            "seconds": round(self.seconds, 3),
            "stage_seconds": {
                name: round(seconds, 3) for name, seconds in self.stage_seconds.items()
            },
            "flags": dict(self.flags.most_common()),
            "reasons": dict(self.reasons.most_common()),
            "slowest": [
                {"id": name, "characters": size, "seconds": round(seconds, 3)}
                for seconds, name, size in self.slowest
            ],
            "first_rejects": self.first_rejects,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Tally:
        """The counts that `to_record` gave."""
        values = {name: record[name] for name in record if name in cls.__slots__}
        return cls(
            **values
            | {
                "stage_seconds": Counter(record["stage_seconds"]),
                "flags": Counter(record["flags"]),
                "reasons": Counter(record["reasons"]),
                "slowest": [
                    (item["seconds"], item["id"], item["characters"]) for item in record["slowest"]
                ],
            }
        )


def _kind(reason: str) -> str:
    """The reason without what it quotes: what goes before its first colon or bracket."""
    return re.sub(r"\d+", "N", re.split(r"[:(;]", reason, maxsplit=1)[0]).strip()


def _described(reject: Reject) -> str:
    place = f"{reject.source}:{reject.line}" if reject.line else (reject.source or reject.id)
    return f"{place}: {reject.reason}"


@dataclass(slots=True)
class Progress:
    """How far a run is. `resumed` are the counts that it started from, of earlier sessions."""

    tally: Tally = field(default_factory=Tally)
    resumed: Tally = field(default_factory=Tally)
    total: int | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long this session has been at work."""
        return time.perf_counter() - self.started

    def rate(self, count: str) -> float:
        """How many of a count of `Tally`, such as `sentences`, this session does in a second."""
        done = getattr(self.tally, count) - getattr(self.resumed, count)
        return done / max(self.seconds, 1e-9)

    @property
    def eta(self) -> float | None:
        """Seconds that are left, where the total is known and something is done."""
        rate = self.rate("items")
        if self.total is None or not rate:
            return None
        return max(0, self.total - self.tally.items) / rate

    def to_record(self) -> dict[str, Any]:
        """Plain JSON values."""
        eta = self.eta
        return {
            "documents": self.tally.documents,
            "rejects": self.tally.rejects,
            "flags": self.tally.flags.total(),
            "total": self.total,
            "seconds": round(self.seconds, 1),
            "documents_per_second": round(self.rate("documents"), 2),
            "sentences_per_second": round(self.rate("sentences"), 2),
            "words_per_second": round(self.rate("words"), 2),
            "eta_seconds": None if eta is None else round(eta),
        }


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a batch run: its counts and files.

    `resumed` is how many records earlier sessions had done. `is_old` says that the output had been
    made before, from the same inputs by the same settings, so that there was nothing to do.
    """

    tally: Tally
    output: Path | str
    report: Path | str
    rejects: Path | str | None = None
    resumed: int = 0
    is_old: bool = False

    def to_record(self) -> dict[str, Any]:
        """Plain JSON values."""
        record = self.tally.to_record()
        seconds = max(self.tally.seconds, 1e-3)
        for name in ("documents", "sentences", "words"):
            record[f"{name}_per_second"] = round(record[name] / seconds, 2)
        return record | {"resumed": self.resumed}
