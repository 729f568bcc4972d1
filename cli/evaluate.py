"""`khulasa evaluate`, `score`, `compare`, `history` and `accept`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..eval.gate import Gate
    from ..eval.history import Entry
    from ..eval.metrics import Metric, Scorer
    from ..eval.runs import Run
    from ..pipeline.evaluate import Outcome

GATE_NOT_MET = 3

_runs = click.option(
    "--runs",
    default="runs",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that runs and their history are in.",
)


@click.command()
@click.argument("config", metavar="CONFIG")
@_runs
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the paths of data sets start. [default: the configuration's folder]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Documents of each data set, at most.")
@click.option("--baseline", metavar="RUN|FILE", help="A run, or a YAML file of thresholds.")
@click.option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.")
@click.option("--pipeline", metavar="NAME|PATH", help="Another pipeline than the configuration's.")
@click.option("--fresh", is_flag=True, help="Do not go on with a run that was killed.")
@click.option("--score-only", metavar="RUN", help="Score the outputs of this run again.")
@click.option(
    "--summary",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append the Markdown summary to this file too.",
)
def evaluate(
    config: str,
    runs: Path,
    data: Path | None,
    limit: int | None,
    baseline: str | None,
    device: str | None,
    pipeline: str | None,
    fresh: bool,
    score_only: str | None,
    summary: Path | None,
) -> int:
    """Evaluate the pipeline over data sets and compare with the baseline.

    CONFIG is an evaluation that ships, such as nightly, or a YAML file. Exits with 3 when a metric
    fell significantly and by more than its tolerance.
    """
    from ..pipeline.evaluate import evaluate as run_evaluation
    from ..pipeline.evaluate import find_run, score_again
    from ..pipeline.evaluate_config import load_evaluation
    from .run import _quiet_libraries

    _quiet_libraries()
    with _plainly():
        overrides = {"baseline": _here(baseline), "pipeline": _here(pipeline)}
        settings, origin = load_evaluation(config, overrides)
        if score_only is not None:
            folder = find_run(score_only, runs, settings.job)
            outcome = score_again(folder, settings, origin, runs)
        else:
            with _bar() as progress:
                outcome = run_evaluation(
                    settings,
                    origin,
                    runs,
                    data=data,
                    limit=limit,
                    fresh=fresh,
                    pipeline_overrides={} if device is None else {"device": device},
                    progress=progress,
                )
    return _finish(outcome, summary)


@click.command()
@click.option("--hyp", required=True, metavar="FILE", help="Hypotheses, a segment a line.")
@click.option("--ref", metavar="FILE", help="References, line by line the same segments.")
@click.option("--src", metavar="FILE", help="Sources, for metrics that look at them.")
@click.option("--metric", "metrics", required=True, metavar="NAME[,NAME]", help="What to measure.")
@click.option("--lang", required=True, type=click.Choice(["ar", "en"]), help="Of hypotheses.")
@click.option(
    "--fold",
    multiple=True,
    type=click.Choice(["alef", "yeh", "teh_marbuta"]),
    help="Letters that Arabic ROUGE takes as one; may be repeated.",
)
@click.option("--clitics", is_flag=True, help="Arabic ROUGE splits ال, and و ف ب ك ل before it.")
@click.option(
    "--encoder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="An encoder such as xlm-roberta-base, for the metric bertscore.",
)
@click.option("--layer", type=click.IntRange(min=0), help="Of the encoder. [default: the last]")
@click.option("--idf", is_flag=True, help="Weigh words in bertscore by how rare they are.")
@click.option(
    "--external",
    multiple=True,
    metavar="NAME=COMMAND",
    help="A metric NAME behind a command that reads and writes JSON lines; repeatable.",
)
@click.option("--seed", default=12345, show_default=True, help="Of the interval's resampling.")
@click.option("--segments", is_flag=True, help="Give the score of each segment too.")
@click.option("--json", "as_json", is_flag=True, help="Print for programs.")
def score(
    hyp: str,
    ref: str | None,
    src: str | None,
    metrics: str,
    lang: Any,
    fold: tuple[str, ...],
    clitics: bool,
    encoder: str | None,
    layer: int | None,
    idf: bool,
    external: tuple[str, ...],
    seed: int,
    segments: bool,
    as_json: bool,
) -> int:
    """Score a file of hypotheses, one segment a line.

    Metrics against references: bleu, chrf, chrf++, ter, rouge1, rouge2, rougeL, rougeLsum,
    bertscore (with --encoder). A wrong name lists those against sources, and those of the
    hypotheses alone.
    """
    from ..eval.metrics import Items, measure
    from ..eval.significance import bootstrap_interval

    rouge = {f"fold_{name}": True for name in fold} | ({"clitics": True} if clitics else {})
    names = list(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
    with _plainly():
        hypotheses = _lines(hyp)
        others = {name: _lines(name) for name in (ref, src) if name is not None}
        scorers = _others(encoder, layer, idf, external)
        _check_metrics(names, scorers, ref=ref, src=src)
        for name, lines in others.items():
            if len(lines) != len(hypotheses):
                raise click.ClickException(
                    f"{hyp} has {len(hypotheses)} lines and {name} has {len(lines)}: "
                    "line by line they must be the same segments"
                )
        if ref and (empty := [n for n, line in enumerate(others[ref], 1) if not line.strip()]):
            raise click.ClickException(
                f"{ref}: line {empty[0]} is empty; fill it, or leave that line out of every file"
            )
        items = Items(
            hypotheses=hypotheses,
            language=lang,
            references=others[ref] if ref else None,
            sources=others[src] if src else None,
            ids=[f"line {number}" for number in range(1, len(hypotheses) + 1)],
            rouge=rouge,
        )
        results = []
        for found in measure(names, items, scorers):
            interval = bootstrap_interval(found.statistics, seed=seed)
            result = {
                "metric": found.metric.name,
                "value": found.score.value,
                "low": interval.low,
                "high": interval.high,
                "better": found.metric.better,
                "segments": len(hypotheses),
                "signature": found.score.signature,
            }
            if segments:
                result["per_segment"] = list(found.score.per_item)
            results.append(result)
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False, indent=1))
        return 0
    for result in results:
        interval = f"[{result['low']:.2f}, {result['high']:.2f}]"
        click.echo(
            f"{result['metric']:18} {result['value']:7.2f}  {interval:17} {result['signature']}"
        )
        for number, value in enumerate(result.get("per_segment", ()), 1):
            click.echo(f"  line {number:<6} {value:7.2f}")
    return 0


@click.command()
@click.argument("baseline", metavar="RUN_A")
@click.argument("others", metavar="RUN_B...", nargs=-1, required=True)
@_runs
@click.option(
    "--test",
    type=click.Choice(["bootstrap", "randomization"]),
    default="bootstrap",
    show_default=True,
)
@click.option("--seed", default=12345, show_default=True)
@click.option("--samples", type=click.IntRange(min=1), help="[default: 1000, or 10000]")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the HTML page of RUN_B against RUN_A here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print for programs.")
def compare(
    baseline: str,
    others: tuple[str, ...],
    runs: Path,
    test: Any,
    seed: int,
    samples: int | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Compare runs with RUN_A, over the documents that all of them have.

    A run is an id, a part of one, `latest`, or a folder. With several, p is corrected by Holm.
    """
    from ..eval.gate import compare_with_run
    from ..eval.runs import read_run
    from ..pipeline.evaluate import find_run

    if report and len(others) > 1:
        raise click.UsageError("--report is for two runs")
    with _plainly():
        old = read_run(find_run(baseline, runs))
        new = [read_run(find_run(name, runs)) for name in others]
        rows = _comparisons(old, new, test=test, seed=seed, samples=samples)
        if report:
            from ..eval.report import render

            gate = compare_with_run(new[0], old, {}, seed=seed)
            report.write_text(render(new[0], gate, baseline=old), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return 0
    click.echo(f"baseline: {old.id}; test: {test}; a star: p < 0.05")
    name = None
    for row in rows:
        if row["run"] != name:
            name = row["run"]
            click.echo(f"\n{name}\n{'':44}{'A':>8} {'B':>8} {'B - A':>8} {'p':>7}")
        key = f"{row['dataset']}/{row['task']}/{row['metric']}"
        if "note" in row:
            click.echo(f"{key:44}{row['note']}")
            continue
        star = "*" if row["adjusted_p"] < 0.05 else ""
        click.echo(
            f"{key:44}{row['baseline']:8.2f} {row['system']:8.2f} {row['difference']:+8.2f} "
            f"{row['adjusted_p']:7.4f}{star}"
        )
    return 0


@click.command()
@_runs
@click.option("--job", help="Only runs of this job.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Show this; repeatable.")
@click.option("--last", default=20, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print for programs.")
def history(runs: Path, job: str | None, metrics: tuple[str, ...], last: int, as_json: bool) -> int:
    """List the runs, oldest first, with their verdicts and scores."""
    from ..eval.history import FILE, History

    with _plainly():
        entries = History(runs / FILE).runs(job, last=last)
    if as_json:
        click.echo(json.dumps([_entry(e) for e in entries], ensure_ascii=False, indent=1))
        return 0
    if not entries:
        click.echo(f"no run yet in {runs / FILE}; `khulasa evaluate nightly` makes one", err=True)
        return 0
    wanted = metrics or ("chrf++", "rougeL")
    keys = [
        key
        for key in dict.fromkeys(key for entry in entries for key in entry.scores)
        if key[2] in wanted or f"{key[1]}/{key[2]}" in wanted or "/".join(key) in wanted
    ]
    for number, key in enumerate(keys, 1):
        click.echo(f"({number}) {'/'.join(key)}")
    width = max(len(entry.id) for entry in entries)
    head = "".join(f"{f'({number})':>9}" for number in range(1, len(keys) + 1))
    click.echo(f"{'run':{width}}  {'verdict':11} {'docs':>5}{head}")
    for entry in entries:
        values = "".join(
            f"{entry.scores[key].value:9.2f}" if key in entry.scores else f"{'':9}" for key in keys
        )
        accepted = f"  accepted{f': {entry.note}' if entry.note else ''}" if entry.accepted else ""
        click.echo(f"{entry.id:{width}}  {entry.verdict:11} {entry.documents:5}{values}{accepted}")
    return 0


@click.command()
@click.argument("run", metavar="RUN")
@_runs
@click.option("--note", default="", help="Why, for the history.")
def accept(run: str, runs: Path, note: str) -> int:
    """Make RUN the baseline of its job: later runs are compared with it."""
    from ..eval.history import FILE, History

    with _plainly():
        store = History(runs / FILE)
        entry = store.find(run)
        store.accept(entry.id, note)
    click.echo(f"accepted {entry.id} as the baseline of {entry.job}")
    return 0


def _others(
    encoder: str | None, layer: int | None, idf: bool, external: Sequence[str]
) -> dict[str, tuple[Metric, Scorer]]:
    """The metrics that options of `score` make."""
    from ..eval.bertscore import BertScorer
    from ..eval.external import ExternalScorer

    scorers: list[BertScorer | ExternalScorer] = []
    if encoder is not None:
        scorers.append(BertScorer("bertscore", encoder, layer, idf))
    elif layer is not None or idf:
        raise click.UsageError("--layer and --idf are for bertscore: give its --encoder too")
    for definition in external:
        name, _, command = definition.partition("=")
        if not name or not command.strip():
            raise click.UsageError(
                f"--external {definition!r}: give NAME=COMMAND, such as comet='python comet.py'"
            )
        scorers.append(ExternalScorer(name, tuple(shlex.split(command)), needs="nothing"))
    return {scorer.name: (scorer.metric, scorer) for scorer in scorers}


def _check_metrics(
    names: Sequence[str],
    others: Mapping[str, tuple[Metric, Scorer]],
    *,
    ref: str | None,
    src: str | None,
) -> None:
    """Say which name or file on the command line is wrong or missing."""
    from ..eval.metrics import METRICS, require_known
    from ..eval.scores import ScoreError

    if "bertscore" in names and "bertscore" not in others:
        raise click.UsageError("bertscore: give the folder of an encoder with --encoder")
    try:
        require_known(names, list(others))
    except ScoreError as error:
        raise click.UsageError(f"--metric: {error}") from error
    for name in names:
        needs = others[name][0].needs if name in others else METRICS[name].needs
        if needs == "reference" and ref is None:
            raise click.UsageError(f"{name} needs references: give them with --ref")
        if needs == "source" and src is None:
            raise click.UsageError(f"{name} needs sources: give them with --src")


def _here(name: str | None) -> str | None:
    """A file named on the command line is meant from here, not from the configuration's folder."""
    return str(Path(name).resolve()) if name and Path(name).is_file() else name


def _finish(outcome: Outcome, summary: Path | None) -> int:
    """Print the scores and the verdict; gives the exit code."""
    from ..eval.verdict import headline, table

    gate: Gate = outcome.gate
    click.echo(table(gate))
    click.echo()
    for note in gate.notes:
        click.echo(f"note: {note}")
    failures = sum(record.error is not None for record in outcome.run.records)
    if failures:
        click.echo(f"note: {failures} documents could not be processed and count as empty")
    click.echo(f"{outcome.run.id}: {headline(gate)}")
    if outcome.accepted:
        click.echo("accepted as the baseline of later runs")
    click.echo(f"report: {outcome.report}")
    if summary:
        with summary.open("a", encoding="utf-8") as stream:
            stream.write(outcome.summary.read_text(encoding="utf-8"))
    return GATE_NOT_MET if gate.verdict == "failed" else 0


def _comparisons(
    old: Run, new: Sequence[Run], *, test: Any, seed: int, samples: int | None
) -> list[dict[str, Any]]:
    """A row for each run and score, runs in the order given."""
    from dataclasses import asdict

    from ..eval.gate import compare_scores

    by_run: dict[str, list[dict[str, Any]]] = {run.id: [] for run in new}
    for wanted in old.scores:
        key = dict(zip(("dataset", "task", "metric"), wanted.key, strict=True))
        found = compare_scores(
            wanted,
            old,
            {run.id: run for run in new},
            seed=seed,
            samples=samples,
            test=test,
        )
        for run, rows in by_run.items():
            if isinstance(found, str):
                rows.append({"run": run, **key, "note": found})
            else:
                comparison, documents = found[run]
                rows.append({"run": run, **asdict(comparison), **key, "documents": documents})
    return [row for rows in by_run.values() for row in rows]


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "job": entry.job,
        "started": entry.started,
        "folder": str(entry.folder),
        "verdict": entry.verdict,
        "baseline": entry.baseline,
        "accepted": entry.accepted,
        "note": entry.note,
        "documents": entry.documents,
        "scores": {
            "/".join(key): {"value": point.value, "low": point.low, "high": point.high}
            for key, point in entry.scores.items()
        },
    }


def _lines(name: str) -> list[str]:
    """The lines of a file, or of stdin for `-`; only a line feed ends one."""
    try:
        with click.open_file(name, "rb") as stream:
            text = stream.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise click.ClickException(f"{name}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{name}: cannot be read as UTF-8 text: {error}") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


@contextmanager
def _plainly() -> Iterator[None]:
    """Turn what the metrics refuse into an error for the command line."""
    from ..eval.scores import ScoreError
    from ..models.errors import InputError

    try:
        yield
    except ScoreError as error:
        raise InputError(str(error)) from error


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    with tqdm(unit=" documents", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
