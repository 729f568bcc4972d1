"""A document laid out for reading on a terminal.

Right-to-left lines stand by themselves: a terminal cannot order a line that runs both ways.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

import click

from ..pipeline.document import Document, Summary

_NAMES = {"ar": "Arabic", "en": "English"}


def present(document: Document, color: bool) -> str:
    """The report of one document. `color` adds ANSI styles."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    lines = [line for block in _blocks(document, width) for line in (*block, "")]
    text = "\n".join(lines)
    return text if color else click.unstyle(text)


def _blocks(document: Document, width: int) -> Iterator[list[str]]:
    head = f"── {document.id} "
    yield [click.style(head + "─" * max(0, width - len(head)), bold=True)]
    if document.title:
        yield [document.title]
    if document.date:
        yield [f"Date: {document.date}"]
    if document.clean:
        removed = ", ".join(r.rule for r in document.clean.removed)
        yield [_heading("Clean text", f"taken away: {removed}" if removed else "")]
        yield from _paragraphs(document.clean.text, width)
    if document.translation:
        yield [_heading("Translation", document.run.get("translator", ""))]
        yield from _paragraphs(document.translation.text, width)
    for language, summary in document.summaries.items():
        yield [
            _heading(f"Summary, {_NAMES[language]}", document.run[f"summarizer_{language}"]),
            *_summary(summary, width),
        ]
    if document.scores:
        yield [_heading("Scores", ""), *_scores(document)]
    if document.issues:
        yield [_heading("Warnings", ""), *_warnings(document)]


def _heading(name: str, note: str) -> str:
    return click.style(name, fg="cyan", bold=True) + (
        click.style(f"  {note}", dim=True) * bool(note)
    )


def _paragraphs(text: str, width: int) -> Iterator[list[str]]:
    for paragraph in text.split("\n\n"):
        yield textwrap.wrap(paragraph, width) or [""]


def _summary(summary: Summary, width: int) -> Iterator[str]:
    for sentence in summary.sentences:
        yield from textwrap.wrap(sentence.text, width)
    sources = [
        ", ".join(str(n) for n in sentence.source) or "none" for sentence in summary.sentences
    ]
    yield click.style(f"from sentences {'; '.join(sources)}", dim=True)


def _scores(document: Document) -> Iterator[str]:
    for name, values in document.scores.items():
        if name == "checks":
            continue
        yield f"{name:12}" + "  ".join(f"{key} {value:.1f}" for key, value in values.items())
    checks = document.scores.get("checks", {})
    if checks:
        shown = [
            (key, checks[key])
            for key in ("numbers_kept", "latin_words_kept", "untranslated", "length_ratio", "loop")
            if key in checks
        ]
        yield f"{'checks':12}" + "  ".join(f"{key} {value:.2f}" for key, value in shown)


def _warnings(document: Document) -> Iterator[str]:
    for issue in document.issues:
        yield click.style(f"{issue.stage}: {issue.kind}", fg="yellow") + (
            f" ({issue.where})" if issue.where else ""
        )
        if issue.detail:
            yield f"  {issue.detail}"
