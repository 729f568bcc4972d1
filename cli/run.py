"""`khulasa run`, and `clean`, `translate` and `summarize` for a part of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..pipeline.document import Document

Command = Callable[..., Any]

_INPUT_FORMATS = ("text", "html", "jsonl", "json", "csv", "tsv", "parquet", "arrow")
_FORMATS = ("jsonl", "csv", "parquet", "tmx")


def _options(command: Command) -> Command:
    """The arguments that every pipeline command takes."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.argument("inputs", nargs=-1, metavar="[INPUT]..."),
        click.option("-o", "--output", metavar="FILE", help="Write here instead of stdout."),
        click.option(
            "--output-format",
            type=click.Choice(_FORMATS),
            help="Format of the output. [default: by the file's suffix, else jsonl]",
        ),
        click.option(
            "--config",
            envvar="KHULASA_CONFIG",
            default="default",
            show_default=True,
            metavar="NAME|PATH",
            help="A configuration that ships (default, opus) or a YAML file.",
        ),
        click.option(
            "--input-format",
            type=click.Choice(_INPUT_FORMATS),
            help="Format of every input. [default: by each file's suffix]",
        ),
        click.option("--text-column", default="text", show_default=True, metavar="NAME"),
        click.option("--lines", is_flag=True, help="Each line of a text file is a document."),
        click.option(
            "--references",
            metavar="FILE",
            help="JSON lines with id and reference_translation, reference_summary_ar or _en.",
        ),
        click.option("--strict", is_flag=True, help="Exit with 4 when a record was rejected."),
        click.option(
            "--report/--json",
            "report",
            default=None,
            help="Print for people or for programs. [default: by the terminal]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _model_options(command: Command) -> Command:
    """The arguments of commands that load a model."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Where to compute."),
        click.option(
            "--engine",
            type=click.Choice(["auto", "ctranslate2", "transformers"]),
            help="What to compute with.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_options
@_model_options
def run(**arguments: Any) -> int:
    """Clean, translate, summarize and score INPUT.

    INPUT is text, HTML, JSONL, CSV, TSV or Parquet files, directories of such files, or - for
    stdin. One document on a terminal is printed to be read; anything else is one JSON record a
    document.
    """
    return _process(("clean", "translate", "summarize", "score"), **arguments)


@click.command()
@_options
def clean(**arguments: Any) -> int:
    """Clean Arabic text and say what was taken away."""
    return _process(("clean",), **arguments)


@click.command()
@_options
@_model_options
def translate(**arguments: Any) -> int:
    """Clean Arabic text and translate it into English."""
    return _process(("clean", "translate", "score"), **arguments)


@click.command()
@_options
@_model_options
def summarize(**arguments: Any) -> int:
    """Clean Arabic text and summarize it in Arabic."""
    return _process(("clean", "summarize", "score"), **arguments)


def _process(
    stages: Sequence[str],
    *,
    inputs: tuple[str, ...],
    output: str | None,
    output_format: str | None,
    input_format: str | None,
    config: str,
    text_column: str,
    lines: bool,
    references: str | None,
    strict: bool,
    report: bool | None,
    device: str | None = None,
    engine: str | None = None,
) -> int:
    from ..pipeline.config import load_config
    from ..pipeline.pipeline import Pipeline
    from ..pipeline.readers import ReadOptions, attach_references, read, read_references
    from ..pipeline.writers import RejectWriter, open_writer, require_not_input

    if not inputs:
        if sys.stdin.isatty():
            raise click.UsageError("No INPUT. Give files or directories, or - to read from stdin.")
        inputs = ("-",)
    settings = load_config(config, {"device": device, "engine": engine})
    require_not_input(output, [*inputs, *([references] if references else [])])
    stream = read(inputs, ReadOptions(text_column, lines, input_format))
    if references:
        stream = attach_references(stream, read_references(references))
    first = list(islice(stream, 2))
    stream = chain(first, stream)
    if report is None:
        report = output is None and sys.stdout.isatty() and len(first) == 1

    _quiet_libraries()
    with ExitStack() as stack:
        pipeline = stack.enter_context(Pipeline(settings, stages))
        rejects = stack.enter_context(RejectWriter(output))
        results = pipeline.map(stream, rejects.write)
        if report:
            from .present import present

            def emit(document: Document) -> None:
                click.echo(present(document, color=sys.stdout.isatty()))
        else:
            emit = stack.enter_context(open_writer(output, output_format)).write
            results = _with_progress(results)
        written = 0
        for document in results:
            emit(document)
            written += 1
        return _finish(written, rejects, strict)


def _finish(written: int, rejects: Any, strict: bool) -> int:
    """Say what was rejected and give the exit code: 0, 4 under --strict, 1 if nothing came out."""
    if not rejects.count:
        return 0
    for reject in rejects.first:
        place = f"{reject.source}:{reject.line}" if reject.line else (reject.source or reject.id)
        click.echo(f"khulasa: rejected: {place}: {reject.reason}", err=True)
    if rejects.count > len(rejects.first):
        click.echo(f"khulasa: ... and {rejects.count - len(rejects.first)} more", err=True)
    where = f", kept in {rejects.path}" if rejects.path else ""
    click.echo(f"khulasa: {written} done, {rejects.count} rejected{where}", err=True)
    if strict:
        return 4
    return 0 if written else 1


def _with_progress(documents: Iterator[Any]) -> Iterator[Any]:
    if not sys.stderr.isatty():
        return documents
    from tqdm import tqdm

    return iter(tqdm(documents, unit=" documents", file=sys.stderr, leave=False))


def _quiet_libraries() -> None:
    """Keep the model libraries' own chatter off stderr: what matters, we say."""
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "" if sys.stderr.isatty() else "1")
