"""A run and its verdict in words: a line, a table for a terminal, Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .gate import Gate, Line
from .marks import plain
from .runs import Run

TASK_NAMES = {
    "translation": "Translation",
    "summary_ar": "Arabic summary",
    "summary_en": "English summary",
    "agreement": "Agreement of the summaries",
}
STATUS_WORDS = {
    "failed": "failed",
    "worse": "worse",
    "better": "better",
    "same": "no change",
    "changed": "changed",
    "alone": "not compared",
}
_MD_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~@-])")


def markdown(run: Run, gate: Gate) -> str:
    """A summary for a pull request or a chat: what gates and what changed, then the rest."""
    mark = {"passed": "✅", "failed": "❌", "no baseline": "⚪"}[gate.verdict]
    against = f" against `{_code(gate.baseline)}`" if gate.baseline else ""
    out = [
        f"### {mark} {_md(run.job)}: {_md(headline(gate))}",
        "",
        f"Run `{_code(run.id)}`{against}, {len(run.records)} documents.",
    ]
    out += [f"- {_md(note)}" for note in gate.notes]
    telling = [
        x for x in gate.lines if x.tolerance is not None or x.status not in ("same", "alone")
    ]
    rest = [line for line in gate.lines if line not in telling]
    order = {"failed": 0, "worse": 1}
    telling.sort(key=lambda line: order.get(line.status, 2))
    if telling:
        out += ["", *_md_table(telling)]
    if rest:
        out += ["", f"<details><summary>{len(rest)} other scores</summary>", ""]
        out += [*_md_table(rest), "", "</details>"]
    return "\n".join(out) + "\n"


def headline(gate: Gate) -> str:
    """The verdict in a line."""
    gating = [x for x in gate.lines if x.tolerance is not None and x.status != "alone"]
    if gate.verdict == "no baseline":
        return "nothing to compare with"
    if gate.verdict == "passed":
        return f"passed, {len(gating)} metrics within tolerance"
    names = ", ".join(f"{task_name(line.task)} {line.metric}" for line in gate.failed[:4])
    more = f" and {len(gate.failed) - 4} more" if len(gate.failed) > 4 else ""
    return f"failed: {names}{more} got worse by more than chance and tolerance"


def table(gate: Gate) -> str:
    """The scores as lines of text for a terminal, all of them left to right."""
    rows = [("", "score", "baseline", "change", "p", "tolerance", "")]
    rows += [
        (
            "/".join(map(plain, line.key)),
            number(line.value),
            number(line.baseline),
            number(line.difference, sign=True),
            "" if line.p_value is None else f"{line.p_value:.3f}",
            "" if line.tolerance is None else f"{line.tolerance:g}",
            "FAILED" if line.status == "failed" else STATUS_WORDS[line.status],
        )
        for line in gate.lines
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, 6) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def task_name(task: str) -> str:
    """What a task is called in front of people."""
    return TASK_NAMES.get(task, task)


def number(value: float | None, *, sign: bool = False) -> str:
    """Two decimals and a true minus sign; empty for None, and never minus zero."""
    if value is None:
        return ""
    text = f"{value:+.2f}" if sign else f"{value:.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _md(text: str) -> str:
    """Data in Markdown: no markup, no mention, no tag, no line break survives."""
    text = " ".join(plain(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return _MD_SPECIAL.sub(r"\\\1", text.replace(">", "&gt;"))


def _code(text: str | None) -> str:
    """Data in a code span, which knows no escapes."""
    return re.sub(r"[`|<>\s]+", " ", plain(text or "")).strip()


def _md_table(lines: Sequence[Line]) -> Iterator[str]:
    names = "data set|task|metric|score|baseline|change|95 % interval|p|tolerance|verdict"
    yield f"| {' | '.join(names.split('|'))} |"
    yield "|---|---|---|--:|--:|--:|:-:|--:|--:|---|"
    for line in lines:
        interval = ""
        if line.low is not None and line.high is not None:
            interval = f"{number(line.low, sign=True)} to {number(line.high, sign=True)}"
        status = STATUS_WORDS[line.status]
        cells: Sequence[str] = (
            _md(line.dataset),
            _md(task_name(line.task)),
            _md(line.metric),
            number(line.value),
            number(line.baseline),
            number(line.difference, sign=True),
            interval,
            "" if line.p_value is None else f"{line.p_value:.3f}",
            "" if line.tolerance is None else f"{line.tolerance:g}",
            f"**{status}**" if line.status == "failed" else status,
        )
        yield f"| {' | '.join(cells)} |"
