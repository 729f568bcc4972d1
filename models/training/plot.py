"""The learning curves of a run, from its log."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import InputError, KhulasaError

# A panel of the picture: its title, and the columns of the log that it shows.
_PANELS = (
    (
        "Cross-entropy (nats a token)",
        ("cross_entropy", "shuffled_cross_entropy", "dev_cross_entropy"),
    ),
    ("Encoder deviation over positions", ("encoder_deviation",)),
    ("Development set", ("chrf", "bleu")),
    ("Tokens a second", ("tokens_per_second",)),
)


def plot_log(folder: Path, picture: Path) -> None:
    """Draw the log of the run in `folder` against target tokens seen, as PNG, SVG or PDF.

    Raises InputError where there is no log, and KhulasaError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise KhulasaError("plots need matplotlib: pip install 'khulasa[train]'") from None
    log = folder / "log.csv"
    if not log.is_file():
        raise InputError(f"{folder}: no log.csv; this is not the folder of a training run")
    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        for column in columns:
            # The log of an older run may lack a column.
            points = [
                (int(row["tokens"]) / 1e6, float(row[column])) for row in rows if row.get(column)
            ]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=column, lw=1)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("million target tokens", fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(picture)
