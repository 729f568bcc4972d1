"""A pipeline as the system that an evaluation job scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..eval.job import TRANSLATED, Example, Output, System
from ..models.translator import Translator
from .document import Document, Summary
from .readers import Reject


def pipeline_system(pipeline: Any, *, translate_summaries: bool = False) -> System:
    """A pipeline as a job wants it: an output for each example, failures noted and not lost.

    `translate_summaries` adds the Arabic summaries in English, by the pipeline's own translator.
    """

    def run(examples: Sequence[Example]) -> list[Output]:
        rejected: dict[str, str] = {}

        def reject(item: Reject) -> None:
            rejected[item.id] = item.reason

        documents = [
            Document(id=str(number), text=example.source, title=example.title)
            for number, example in enumerate(examples)
        ]
        made = {d.id: _output(d) for d in pipeline.map(documents, reject)}
        if translate_summaries:
            (translator,) = (s.translator for s in pipeline.stages if hasattr(s, "translator"))
            made = dict(zip(made, _with_translations(made.values(), translator), strict=True))
        return [
            made.get(number) or Output(error=rejected.get(number, "the pipeline gave nothing back"))
            for number in map(str, range(len(examples)))
        ]

    return run


def _output(document: Document) -> Output:
    texts, evidence = {}, {}
    if document.translation is not None:
        texts["translation"] = document.translation.text
    for language, summary in document.summaries.items():
        texts[f"summary_{language}"] = _sentence_a_line(summary)
        evidence[f"summary_{language}"] = sorted({n for s in summary.sentences for n in s.source})
    flags = dict.fromkeys(
        f"{issue.stage}: {issue.kind}" for issue in document.issues if issue.stage != "read"
    )
    return Output(
        texts=texts,
        source=document.clean.text if document.clean else None,
        flags=list(flags),
        evidence=evidence,
    )


def _with_translations(outputs: Iterable[Output], translator: Translator) -> list[Output]:
    """Add the Arabic summaries in English, sentence by sentence; all are translated as one."""
    outputs = list(outputs)
    lines = [output.texts.get("summary_ar", "").split("\n") for output in outputs]
    targets = iter(translator.translate([line for group in lines for line in group]))
    translated = ["\n".join(next(targets).target for _ in group) for group in lines]
    return [
        replace(output, texts={**output.texts, TRANSLATED: text})
        for output, text in zip(outputs, translated, strict=True)
    ]


def _sentence_a_line(summary: Summary) -> str:
    return "\n".join(sentence.text for sentence in summary.sentences) or summary.text


def stages_for(tasks: Iterable[str]) -> tuple[str, ...]:
    """The stages that these tasks need."""
    wanted = {"clean"}
    for task in tasks:
        if task != "summary_ar":
            wanted.add("translate")
        if task != "translation":
            wanted.add("summarize")
    return tuple(stage for stage in ("clean", "translate", "summarize") if stage in wanted)
