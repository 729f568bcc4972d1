"""The report of a run as one self-contained HTML page.

The page needs no network and opens from disk. Everything in it that comes from data is escaped,
and its content security policy admits no script and no style but its own, named by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from . import plots
from .gate import Gate, Line
from .history import Entry
from .job import TASKS
from .marks import marked_change, marked_pair, marked_source, markup, plain
from .runs import MetricScore, Record, Run
from .verdict import STATUS_WORDS, TASK_NAMES, headline, number, task_name

TEMPLATES = Path(__file__).parent / "templates"

MAX_EXAMPLES = 150
MAX_TREND = 60
_MAX_PLOTS = 12

_ROLES = {
    "translator": "Translator",
    "summarizer_ar": "Arabic summarizer",
    "summarizer_en": "English summarizer",
}
# The metric that stands for a task where one must: for sorting, and in the plots.
_LEADING = ("chrf++", "rougeL", "rouge1", "chrf", "bleu", "rougeLsum", "rouge2", "ter")
_METRIC_WORDS = {
    "bleu": "Word n-grams shared with the reference, with a penalty for brevity.",
    "chrf": "Character n-grams shared with the reference (F, recall counts double).",
    "chrf++": "chrF with word unigrams and bigrams.",
    "ter": "Edits per reference word needed to make the output the reference; lower is better.",
    "rouge1": "Words shared with the reference summary (F).",
    "rouge2": "Word pairs shared with the reference summary (F).",
    "rougeL": "Longest common sequence of words with the reference summary (F).",
    "rougeLsum": "rougeL, sentence by sentence.",
    "numbers_kept": "Share of the source's numbers that are in the output.",
    "numbers_added": "Numbers per document that the source does not have.",
    "numbers_supported": "Share of the output's numbers that the source has.",
    "dates_kept": "Share of the source's dates that are in the output.",
    "dates_added": "Dates per document that the source does not have.",
    "latin_words_kept": "Share of the words in Latin script (names, brands) that are kept.",
    "quotations_kept": "Quoted passages: the smaller count over the larger.",
    "length_ratio": "Letters of output per letter of source.",
    "untranslated": "Share of the output's letters that are still Arabic.",
    "repetition": "How well the output compresses; above 2.4 it goes round in circles.",
    "loop": "Documents in which a stretch stands three times in a row, per cent.",
    "coverage": "Share of summary words that lie in passages copied from the source.",
    "density": "Mean length, in words, of the copied passage that a summary word lies in.",
    "compression": "Source words per summary word.",
    "novel_unigrams": "Share of the summary's words that the source does not have.",
    "novel_bigrams": "Share of the summary's word pairs that the source does not have.",
    "novel_trigrams": "Share of the summary's word triples that the source does not have.",
    "words": "Length in words.",
    "empty": "Documents without any output, per cent.",
    "source_dice": "How far both summaries rest on the same sentences of the source (Dice, or F).",
    "translated_chrf": "chrF of the English summary against the Arabic one, translated.",
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """A task's texts of one example, marked, and its score."""

    task: str
    source: Markup
    source_language: str
    hypothesis: Markup
    reference: Markup
    before: Markup | None
    language: str
    chips: Sequence[tuple[str, str, str]]


def render(
    run: Run, gate: Gate, *, baseline: Run | None = None, history: Sequence[Entry] = ()
) -> str:
    """Build the page. `history` are the runs of the job, oldest first; this one may be there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = lambda text: plain(str(text))
    environment.filters["text"] = lambda text: markup(str(text))
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    scores = {score.key: score for score in run.scores}
    chosen = _chosen(run, gate)
    leading = {(s.dataset, s.task): s for s in _leading(run)}
    records, hidden = _worst_first(run.records, leading)
    page = environment.get_template("report.html.j2").render(
        run=run,
        gate=gate,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=_title(run, gate),
        headline=headline(gate),
        documents=len(run.records),
        compared=gate.baseline is not None,
        tested=any(line.p_value is not None for line in gate.lines),
        against_run=baseline is not None,
        first=not any(entry.id < run.id for entry in history),
        failures=sum(record.error is not None for record in run.records),
        groups=list(_groups(gate)),
        scores=scores,
        lines={line.key: line for line in gate.lines},
        change=_change,
        number=number,
        arrow={"higher": "↑", "lower": "↓", "neither": ""},
        status_words=STATUS_WORDS,
        task_names=TASK_NAMES,
        metric_words=_METRIC_WORDS,
        trends=list(_trends(run, gate, history, chosen)),
        histograms=[
            _histogram(score, baseline)
            for score in chosen
            if len(set(score.per_item.values())) > 2  # of yes or no there is no distribution
        ],
        scatters=list(_scatters(run, leading, {(r.dataset, r.id) for r in records})),
        examples=[_example(r, run, baseline, leading, i) for i, r in enumerate(records)],
        hidden_examples=hidden,
        datasets=list(dict.fromkeys(record.dataset for record in records)),
        tasks=[task for task in TASK_NAMES if task != "agreement" and _has_task(run, task)],
        leading={task: s.metric for (_, task), s in leading.items()},
        facts=list(_facts(run)),
        details=[
            (name.capitalize(), json.dumps(run.info[name], indent=2, ensure_ascii=False))
            for name in ("config", "data", "models", "versions", "timings")
            if run.info.get(name)
        ],
        signatures=[("/".join(s.key), s.signature) for s in run.scores],
    )
    # What came from data may hold half a surrogate pair, which no file can.
    return page.encode("utf-8", "replace").decode("utf-8")


# --- what the page shows ---


def _title(run: Run, gate: Gate) -> str:
    return f"{run.job}: {gate.verdict} · {run.id}"


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """The run in few words, for the head of the page."""
    info = run.info
    yield "Run", run.id
    yield "Started", re.sub("[TZ]", " ", str(info.get("started", ""))).strip() + " UTC"
    roles: dict[str, list[str]] = {}
    for name, model in (info.get("models") or {}).items():
        roles.setdefault(str(model), []).append(_ROLES.get(name) or str(name))
    for model, names in roles.items():
        yield " and ".join(names), model
    where = [str(info[k]) for k in ("engine", "device") if info.get(k)]
    if where:
        yield "Computed on", ", ".join(where)
    if git := info.get("git"):
        yield "Commit", f"{git['commit'][:12]}{' (with changes)' if git.get('dirty') else ''}"
    if seconds := (info.get("timings") or {}).get("outputs"):
        minutes, rest = divmod(round(seconds), 60)
        yield "Time for the outputs", f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _groups(gate: Gate) -> Iterator[tuple[str, str, list[Line]]]:
    """The lines by data set and task."""
    keys = dict.fromkeys((line.dataset, line.task) for line in gate.lines)
    for dataset, task in keys:
        yield (
            dataset,
            task,
            [line for line in gate.lines if (line.dataset, line.task) == (dataset, task)],
        )


def _chosen(run: Run, gate: Gate) -> list[MetricScore]:
    """The scores that are worth a plot: those that gate, else those that lead; and the failed."""
    gating = {x.key for x in gate.lines if x.tolerance is not None}
    failed = {x.key for x in gate.failed}
    scores = [s for s in run.scores if s.key in gating] or list(_leading(run))
    scores.sort(key=lambda score: score.key not in failed)
    return scores[:_MAX_PLOTS]


def _leading(run: Run) -> Iterator[MetricScore]:
    for key in dict.fromkeys((s.dataset, s.task) for s in run.scores):
        scores = [s for s in run.scores if (s.dataset, s.task) == key]
        by_name = {s.metric: s for s in scores}
        best = next((by_name[name] for name in _LEADING if name in by_name), None)
        directed = next((s for s in scores if s.better != "neither"), scores[0])
        yield best or directed


def _has_task(run: Run, task: str) -> bool:
    return any(task in r.texts or task in r.references for r in run.records)


def _label(score: MetricScore) -> str:
    return f"{task_name(score.task)}: {score.metric}"


def _trends(
    run: Run, gate: Gate, history: Sequence[Entry], chosen: Sequence[MetricScore]
) -> Iterator[tuple[str, str, Markup]]:
    past = [entry for entry in history if entry.id < run.id][-(MAX_TREND - 1) :]
    failed_now = {line.key for line in gate.failed}
    for score in chosen:
        points = [
            plots.TrendPoint(
                entry.id,
                point.value,
                point.low,
                point.high,
                failed=entry.verdict == "failed",
                accepted=entry.accepted is not None,
            )
            for entry in past
            if (point := entry.scores.get(score.key)) and point.signature == score.signature
        ]
        if not any(point.value for point in points) and not score.value:
            continue  # always zero, as it should be
        now = plots.TrendPoint(
            run.id,
            score.value,
            score.low,
            score.high,
            failed=score.key in failed_now,
            current=True,
        )
        yield score.dataset, _label(score), plots.trend([*points, now], _label(score))


def _histogram(score: MetricScore, baseline: Run | None) -> tuple[str, str, Markup]:
    old = baseline.score(score.key) if baseline else None
    values = list(score.per_item.values())
    # Of the same documents only: else the outline is of another set, and of another height.
    before = [old.per_item[i] for i in score.per_item if i in old.per_item] if old else None
    plot = plots.histogram(values, before, _label(score))
    return score.dataset, _label(score), plot


def _scatters(
    run: Run, leading: Mapping[tuple[str, str], MetricScore], shown: set[tuple[str, str]]
) -> Iterator[tuple[str, str, Markup]]:
    for (dataset, task), score in leading.items():
        if task == "agreement":
            continue
        dots = [
            plots.Dot(
                len(record.source.split()),
                score.per_item[record.id],
                f"{record.id}: {score.per_item[record.id]:.1f}",
                f"#{_anchor(record)}" if (dataset, record.id) in shown else "#examples",
            )
            for record in run.records
            if record.dataset == dataset and record.id in score.per_item
        ]
        yield dataset, _label(score), plots.scatter(dots, _label(score))


def _anchor(record: Record) -> str:
    """A name for links that no id in the data can break out of, or collide with."""
    name = f"{record.dataset}\0{record.id}".encode("utf-8", "surrogatepass")
    return f"d-{hashlib.sha256(name).hexdigest()[:12]}"


def _goodness(score: MetricScore | None, record: Record) -> float | None:
    """A document's score with the sign turned so that more is better."""
    if score is None or record.id not in score.per_item:
        return None
    value = score.per_item[record.id]
    return -value if score.better == "lower" else value


def _worst_first(
    records: Sequence[Record], leading: Mapping[tuple[str, str], MetricScore]
) -> tuple[list[Record], int]:
    """The documents that the page shows, worst first, and how many it leaves out."""

    def rank(record: Record) -> tuple[bool, float]:
        values = [
            value
            for task in TASKS
            if (value := _goodness(leading.get((record.dataset, task)), record)) is not None
        ]
        return record.error is None, values[0] if values else 0.0

    ranked = sorted(records, key=rank)
    return ranked[:MAX_EXAMPLES], max(0, len(ranked) - MAX_EXAMPLES)


def _example(
    record: Record,
    run: Run,
    baseline: Run | None,
    leading: Mapping[tuple[str, str], MetricScore],
    index: int,
) -> dict[str, Any]:
    """One document as the template shows it."""
    old = baseline and next(
        (r for r in baseline.records if (r.dataset, r.id) == (record.dataset, record.id)), None
    )
    cells, ranks = [], {}
    for task in ("translation", "summary_ar", "summary_en"):
        if not _has_task(run, task):
            continue
        score = leading.get((record.dataset, task))
        before = baseline.score(score.key) if baseline and score else None
        value = _goodness(score, record)
        change = None
        if value is not None and (past := _goodness(before, record)) is not None:
            change = value - past
        ranks[task] = (value, change)
        cells.append(_cell(record, old, task, run, baseline))
    lost = record.error is None and any('class="lost"' in cell.source for cell in cells)
    return {
        "record": record,
        "anchor": _anchor(record),
        "open": index < 3,
        "cells": cells,
        "ranks": ranks,
        "lost": lost,
        "changed": bool(old and old.texts != record.texts),
        "fell": any(change is not None and change < 0 for _, change in ranks.values()),
    }


def _cell(record: Record, old: Record | None, task: str, run: Run, baseline: Run | None) -> _Cell:
    text = record.text(task)
    source = record.source_of(task)
    hypothesis, reference = marked_pair(text, record.references.get(task, ""), source)
    before = old.text(task) if old else None
    return _Cell(
        task=task,
        source=marked_source(source, text) if task == "translation" else markup(source),
        source_language="en" if task == "summary_en" else "ar",
        hypothesis=hypothesis,
        reference=reference,
        before=None if before is None or before == text else marked_change(before, text),
        language=TASKS[task],
        chips=list(_chips(record, task, run, baseline)),
    )


def _chips(
    record: Record, task: str, run: Run, baseline: Run | None
) -> Iterator[tuple[str, str, str]]:
    """A document's scores: name, value with change, and whether it got better or worse."""
    for score in run.scores:
        if (score.dataset, score.task) != (record.dataset, task) or score.better == "neither":
            continue
        if record.id not in score.per_item:
            continue
        value = score.per_item[record.id]
        old = baseline.score(score.key) if baseline else None
        change, kind = "", "same"
        if old and record.id in old.per_item:
            difference = value - old.per_item[record.id]
            if abs(difference) >= 0.05:
                change = f" ({number(difference, sign=True)})"
                kind = "better" if (difference > 0) == (score.better == "higher") else "worse"
        yield score.metric, f"{number(value)}{change}", kind


def _change(line: Line) -> Markup:
    if line.difference is None or line.low is None or line.high is None:
        return Markup("")
    return plots.change_bar(
        line.difference, line.low, line.high, line.tolerance, line.better, line.status
    )


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
