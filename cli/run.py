"""`khulasa run`, and `clean`, `translate` and `summarize` for a part of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from .logs import log, say, use_json

if TYPE_CHECKING:
    from ..pipeline.config import Config
    from ..pipeline.readers import Source
    from ..pipeline.run_report import Tally

Command = Callable[..., Any]

_INPUT_FORMATS = ("text", "html", "jsonl", "json", "csv", "tsv", "parquet", "arrow")
_FORMATS = ("jsonl", "csv", "parquet", "tmx")


def _options(command: Command) -> Command:
    """The arguments that every pipeline command takes."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.argument("inputs", nargs=-1, metavar="[INPUT]..."),
        click.option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write here instead of stdout. A run that was stopped goes on when run again.",
        ),
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
        click.option("--id-column", metavar="NAME", help="[default: id]"),
        click.option("--title-column", metavar="NAME", help="[default: title]"),
        click.option("--date-column", metavar="NAME", help="[default: date]"),
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
        click.option(
            "--shard-size",
            type=click.IntRange(1),
            metavar="N",
            help="Documents after which what is done is safe on disk. [default: 1024, or 60 s]",
        ),
        click.option("--restart", is_flag=True, help="Throw away what an earlier run has done."),
        click.option(
            "--progress-every",
            type=click.FloatRange(0, min_open=True),
            default=30,
            show_default=True,
            metavar="SECONDS",
            help="How often to say how far it is, where there is no terminal.",
        ),
        click.option("--log-json", is_flag=True, help="Write JSON lines to stderr."),
        click.option(
            "--runner",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Work in this process, or on the workers of a Ray cluster.",
        ),
        click.option(
            "--address",
            metavar="auto|HOST:PORT|ray://...",
            help="The Ray cluster. [default: $RAY_ADDRESS, else this machine]",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            metavar="N",
            help="Ray workers. [default: as many as there is room for]",
        ),
        click.option(
            "--gpus-per-worker",
            type=click.FloatRange(0),
            metavar="F",
            help="GPUs of a Ray worker; 0.5: two share one. [default: 0]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _number_or_auto(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value in (None, "auto"):
        return value
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither auto nor a number of 1 or more.")
    return int(value)


def _model_options(command: Command) -> Command:
    """The arguments of commands that load a model."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Where to compute."),
        click.option(
            "--engine",
            type=click.Choice(["auto", "ctranslate2", "transformers"]),
            help="What to compute with.",
        ),
        click.option(
            "--batch-tokens",
            metavar="N|auto",
            callback=_number_or_auto,
            help="Tokens that a batch of the translator may hold; auto finds what is fastest.",
        ),
        click.option(
            "--cache", metavar="FILE", help="Keep translations here, and take those of before."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_options
@_model_options
@click.option(
    "--summaries",
    type=click.Choice(["independent", "aligned"]),
    help="Summarize both texts, or translate what was chosen in Arabic. [default: independent]",
)
def run(**arguments: Any) -> int:
    """Clean, translate, summarize and score INPUT.

    INPUT is text, HTML, JSONL, CSV, TSV, Parquet or Arrow files, directories of such files, - for
    stdin, or a split of a Hugging Face dataset as hf://NAME[:CONFIG]:SPLIT. One document on a
    terminal is printed to be read; anything else is one JSON record a document.
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
    input_format: str | None,
    config: str,
    text_column: str,
    id_column: str | None,
    title_column: str | None,
    date_column: str | None,
    lines: bool,
    references: str | None,
    report: bool | None,
    log_json: bool,
    device: str | None = None,
    engine: str | None = None,
    batch_tokens: int | str | None = None,
    cache: str | None = None,
    summaries: str | None = None,
    runner: str,
    address: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    **options: Any,
) -> int:
    from ..pipeline.batch import is_batch
    from ..pipeline.config import load_config
    from ..pipeline.readers import ReadOptions, Source

    if not inputs:
        if sys.stdin.isatty():
            raise click.UsageError("No INPUT. Give files or directories, or - to read from stdin.")
        inputs = ("-",)
    if report and output:
        raise click.UsageError("--report is for the terminal: leave out -o.")
    on_ray = runner == "ray"
    if not on_ray and not (address is workers is gpus_per_worker is None):
        raise click.UsageError("--address, --workers and --gpus-per-worker are for --runner ray.")
    if on_ray and not is_batch(output):
        raise click.UsageError("--runner ray writes to a file: name it with -o.")
    cluster = (address, workers, gpus_per_worker or 0.0) if on_ray else None
    if log_json:
        use_json()
    overrides = {
        "device": device,
        "engine": engine,
        "cache": cache,
        "translate.options.token_budget": batch_tokens,
        "summarize.summaries": summaries,
    }
    settings = load_config(config, overrides)
    named = {"id": id_column, "title": title_column, "date": date_column}
    columns = {ours: theirs for ours, theirs in named.items() if theirs}
    source = Source(inputs, ReadOptions(text_column, lines, input_format, columns), references)
    _quiet_libraries()
    if is_batch(output):
        return _to_file(source, settings, stages, output or "", log_json, cluster, **options)
    return _to_stdout(source, settings, stages, output, report, log_json, **options)


def _to_file(
    source: Source,
    settings: Config,
    stages: Sequence[str],
    output: str,
    log_json: bool,
    cluster: tuple[str | None, int | None, float] | None,
    *,
    output_format: str | None,
    strict: bool,
    shard_size: int | None,
    restart: bool,
    progress_every: float,
) -> int:
    from ..pipeline.batch import SHARD_SIZE, Batch, StoppedError, run_batch
    from .progress import progress_display, say_report

    batch = Batch(source, settings, output, stages, output_format, shard_size or SHARD_SIZE)
    start = run_batch
    if cluster:
        from ..pipeline.ray_runner import Cluster, run_on_ray

        start = partial(run_on_ray, cluster=Cluster(*cluster))
    try:
        with closing(progress_display(progress_every, log_json)) as show, _stopping() as stop:
            report = start(batch, restart=restart, on_progress=show, should_stop=stop.is_set)
    except StoppedError as error:
        say(" ".join([f"{error}.", *error.__notes__]), "stopped")
        return 130
    say_report(report)
    return _exit_code(report.tally, strict)


def _to_stdout(
    source: Source,
    settings: Config,
    stages: Sequence[str],
    output: str | None,
    report: bool | None,
    log_json: bool,
    *,
    output_format: str | None,
    strict: bool,
    progress_every: float,
    **_: Any,
) -> int:
    from ..pipeline.batch import require_outputs
    from ..pipeline.document import Document
    from ..pipeline.pipeline import Pipeline
    from ..pipeline.run_report import Progress
    from ..pipeline.writers import open_writer
    from .present import present
    from .progress import progress_display, say_rejects

    require_outputs(output, output_format, source)
    stream = source.read()
    first = list(islice(stream, 2))
    if report is None:
        report = output is None and sys.stdout.isatty() and len(first) == 1
    progress = Progress()
    with ExitStack() as stack:
        pipeline = stack.enter_context(Pipeline(settings, stages))
        show = stack.enter_context(closing(progress_display(progress_every, log_json)))
        write = None if report else stack.enter_context(open_writer(output, output_format)).write
        for outcome in pipeline.outcomes(chain(first, stream)):
            progress.tally.add(outcome)
            if isinstance(outcome, Document):
                if write:
                    write(outcome)
                else:
                    click.echo(present(outcome, color=sys.stdout.isatty()))
            if write:
                show(progress)
    say_rejects(progress.tally)
    return _exit_code(progress.tally, strict)


def _exit_code(tally: Tally, strict: bool) -> int:
    """0; where there are rejects, 4 under --strict, and 1 if nothing came out."""
    if not tally.rejects:
        return 0
    if strict:
        return 4
    return 0 if tally.documents else 1


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets. The second ends the process at once."""
    stop = threading.Event()

    def handle(*_: Any) -> None:
        if stop.is_set():
            os._exit(130)  # what is finished is on disk
        stop.set()
        log.warning("stopping after the documents in hand; once more to stop at once")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _quiet_libraries() -> None:
    """Keep the model libraries' own chatter off stderr: what matters, we say."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
