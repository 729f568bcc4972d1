"""How far a run is and what it did: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..pipeline.run_report import Progress, RunReport, Tally
from .logs import say


class ProgressLines:
    """Says how far the run is every `every` seconds: a short run says nothing."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        _say_resumed(progress)
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            say(_line(progress), "progress", **progress.to_record())

    def close(self) -> None:
        """There is nothing to take away."""


class ProgressBar:
    """A bar at the bottom of the terminal, gone at the end."""

    _INTERVAL = 0.5

    def __init__(self) -> None:
        self._bar: Any = None
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        _say_resumed(progress)
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.total,
                initial=progress.resumed.items,
                unit=" documents",
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
                smoothing=0,  # documents are finished a window at a time
            )
        self._bar.update(progress.tally.items - self._bar.n)
        now = time.monotonic()
        if now - self._last >= self._INTERVAL:
            self._last = now
            self._bar.set_postfix_str(", ".join(_pace(progress) + _trouble(progress.tally)))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def progress_display(every: float, json_lines: bool) -> ProgressLines | ProgressBar:
    """The display that fits: a bar for people at a terminal, else lines."""
    if json_lines or not sys.stderr.isatty():
        return ProgressLines(every)
    return ProgressBar()


def _say_resumed(progress: Progress) -> None:
    done = progress.resumed.items
    if done and done == progress.tally.items:
        say(f"going on after {done:,} records done before", "resumed", records=done)


def _line(progress: Progress) -> str:
    done = f"{progress.tally.items:,} documents"
    if progress.total:
        share = progress.tally.items / progress.total
        done = f"{progress.tally.items:,} of {progress.total:,} documents ({share:.0%})"
    parts = [done, f"{progress.rate('items'):,.1f} documents/s"]
    parts += _pace(progress) + _trouble(progress.tally)
    if progress.eta is not None:
        parts.append(f"{duration(progress.eta)} left")
    return ", ".join(parts)


def _pace(progress: Progress) -> list[str]:
    names = ("sentences", "words") if progress.tally.sentences else ("words",)
    rates = {name: progress.rate(name) for name in names}
    return [f"{rate:,.0f} {name}/s" for name, rate in rates.items() if rate]


def _trouble(tally: Tally) -> list[str]:
    counts = {"rejected": tally.rejects, "flags": tally.flags.total()}
    return [f"{count:,} {name}" for name, count in counts.items() if count]


def say_rejects(tally: Tally, kept: object = None) -> None:
    """Say how many records were rejected, and the first few."""
    if not tally.rejects:
        return
    for reject in tally.first_rejects:
        say(f"rejected: {reject}", "reject")
    if more := tally.rejects - len(tally.first_rejects):
        say(f"... and {more:,} more", "rejects")
    where = f", kept in {kept}" if kept else ""
    say(f"{tally.documents:,} done, {tally.rejects:,} rejected{where}", "rejects")


def say_report(report: RunReport) -> None:
    """Say what a batch run did."""
    tally = report.tally
    if report.is_old:
        say(
            f"{report.output} is finished already: the same inputs, settings and models made it "
            f"({_documents(tally.documents)}, {tally.rejects:,} rejected). "
            "Give --restart to make it again.",
            "finished",
            **report.to_record(),
        )
        return
    say_rejects(tally, report.rejects)
    pace = f"{tally.documents / max(tally.seconds, 1e-3):,.1f} a second"
    before = f", {report.resumed:,} of the records in earlier sessions" if report.resumed else ""
    say(
        f"{report.output}: {_documents(tally.documents)} in {duration(tally.seconds)} "
        f"({pace}{before}); more in {report.report}",
        "finished",
        **report.to_record(),
    )
    if tally.flags:
        flags = ", ".join(f"{kind} {count:,}" for kind, count in tally.flags.most_common(8))
        say(f"flags: {flags}", "flags")


def _documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count:,} documents"


def duration(seconds: float) -> str:
    """Seconds for people: `12.3 s`, `4 min 5 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"
