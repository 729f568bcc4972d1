"""`khulasa train`: the recipes behind the shipped models, for anyone's own data."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..models.training.config import TrainingConfig


def _recipe(name: str, settings: tuple[str, ...]) -> TrainingConfig:
    """A recipe that ships, or a YAML file."""
    from ..models.errors import ConfigError
    from ..models.training.config import load_training_config
    from ..pipeline.config import CONFIGS

    path, shipped = Path(name), CONFIGS / "training"
    if not path.is_file():
        path = shipped / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
        raise ConfigError(f"no training configuration {name!r}; those that ship: {known}")
    return load_training_config(path, settings)


@click.group()
def train() -> None:
    """Train or fine-tune a translator or a summarizer, and export what was trained."""


@click.command()
@click.option(
    "--config",
    required=True,
    metavar="NAME|PATH",
    help="A recipe that ships, such as translator, or a YAML file.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.pass_context
def start(ctx: click.Context, config: str, output: Path, settings: tuple[str, ...]) -> None:
    """Train in a folder, or go on with what lies there; it may be killed at any moment."""
    from ..models.errors import ConfigError
    from ..models.training.recipe import train as run

    logging.getLogger("khulasa").setLevel(logging.INFO)
    recipe = _recipe(config, settings)
    if recipe.task != ctx.info_name:
        raise ConfigError(f"{config} is a recipe for a {recipe.task}, not for a {ctx.info_name}")

    from tqdm import tqdm

    with tqdm(total=recipe.optimization.total_updates, unit=" updates", disable=None) as bar:

        def progress(updates: int, figures: dict[str, Any]) -> None:
            bar.update(updates - bar.n)
            bar.set_postfix({k: round(v, 2) for k, v in figures.items() if k != "batch_tokens"})

        run(recipe, output, progress)


for _task in ("translator", "summarizer"):
    train.add_command(
        click.Command(_task, **{k: getattr(start, k) for k in ("callback", "params", "help")})
    )


@train.command()
@click.argument("run_folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--average", default=4, show_default=True, help="Sets of weights to average.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="How far to go from the checkpoint that the run started from to the run's weights.",
)
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="RUN_FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another run from the same checkpoint, to take the mean with. May be repeated.",
)
def export(
    run_folder: Path, target: Path, average: int, share: float, others: tuple[Path, ...]
) -> None:
    """Write a run's averaged weights as a checkpoint that --config and other tools can load."""
    from ..models.training.recipe import export as write

    write(run_folder, target, average, share=share, others=others)
    click.echo(f"{target}")


@train.command()
@click.argument("run_folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
def plot(run_folder: Path, picture: Path) -> None:
    """Draw a run's learning curves into PICTURE (.png, .svg or .pdf)."""
    from ..models.training.plot import plot_log

    plot_log(run_folder, picture)
    click.echo(f"{picture}")


@train.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--config",
    required=True,
    metavar="NAME|PATH",
    help="The recipe of a translator, whose sources are read.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only these; all if none.")
@click.option(
    "--words",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all English words, one a line.",
)
def names(
    target: Path,
    config: str,
    settings: tuple[str, ...],
    sources: tuple[str, ...],
    words: Path | None,
) -> None:
    """Write the names of training material to TARGET, a list for translate.names.

    Those that both languages spell by the same sounds, as TSV: Arabic, English.
    """
    from ..models.errors import ConfigError
    from ..models.training.name_list import write_names

    recipe = _recipe(config, settings)
    unknown = set(sources) - set(recipe.sources)
    if unknown:
        raise ConfigError(
            f"{config} has no source {', '.join(sorted(unknown))}: {', '.join(recipe.sources)}"
        )
    chosen = [source for name, source in recipe.sources.items() if not sources or name in sources]
    count = write_names(chosen, target, words)
    click.echo(f"{target}: {count} names")
