"""`khulasa shortlist`: a lexical shortlist, which makes a large vocabulary cheap on CTranslate2."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .logs import say

if TYPE_CHECKING:
    from ..pipeline.run_report import Tally
    from ..pipeline.sources import ReadOptions

# Below this many sentences a shortlist lacks much of what other texts need.
_FEW = 10_000


@click.command()
@click.argument("checkpoint")
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--revision", help="The revision of a checkpoint from the hub.")
@click.option("--text-column", default="text", show_default=True, metavar="NAME")
@click.option("--lines", is_flag=True, help="Each line of a text file is a document.")
@click.option(
    "--sentences", default=20_000, show_default=True, type=click.IntRange(1), help="At most."
)
@click.option(
    "--best",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Candidates for each source piece.",
)
@click.option(
    "--frequent",
    default=16_000,
    show_default=True,
    type=click.IntRange(0),
    help="Candidates for any source: the most frequent pieces of the translations.",
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="[default: all]")
def shortlist(
    checkpoint: str,
    texts: tuple[str, ...],
    output: Path,
    revision: str | None,
    text_column: str,
    lines: bool,
    sentences: int,
    best: int,
    frequent: int,
    threads: int | None,
) -> None:
    """Learn from TEXTS which pieces CHECKPOINT translates each source piece with.

    TEXTS are Arabic documents of the kind that will be translated, in any format that `khulasa run`
    reads; each sentence is translated once. Use what comes out with
    `translate.lexical_shortlist: FILE`.
    """
    from ..models.checkpoint import resolve
    from ..models.errors import ConfigError
    from ..models.shortlist import build_shortlist
    from ..pipeline.run_report import Tally
    from ..pipeline.sources import ReadOptions
    from .progress import say_rejects

    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no folder {output.parent}")
    model = resolve(checkpoint, revision)
    options = ReadOptions(text_column=text_column, lines=lines)
    tally = Tally()
    found = list(islice(_sentences(texts, options, tally), sentences))
    say_rejects(tally)
    made = build_shortlist(model, found, best=best, frequent=frequent, threads=threads)
    made.write(output)
    if len(found) < _FEW:
        say(f"few sentences ({len(found):,}): what they lack may come out otherwise", "few")
    click.echo(
        f"{output}: {len(made.always):,} pieces for any source, and for {len(made.candidates):,} "
        f"source pieces {made.mean_candidates:.1f} more in the mean; sentences: {len(found):,}"
    )


def _sentences(texts: tuple[str, ...], options: ReadOptions, tally: Tally) -> Iterator[str]:
    """Each different sentence of the cleaned documents; `tally` counts these."""
    from ..pipeline.document import Document
    from ..pipeline.readers import read
    from ..pipeline.stages import CleanStage, source_sentences

    seen: set[str] = set()
    clean = CleanStage()
    for item in read(texts, options):
        tally.add(item)
        if isinstance(item, Document):
            (document,) = clean([item])
            for _, sentence in source_sentences(document):
                if sentence not in seen:
                    seen.add(sentence)
                    yield sentence
