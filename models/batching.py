"""Batches by token budget: longest first, and the original order back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from .errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")


def make_batches(lengths: Sequence[int], budget: int, max_rows: int = 64) -> list[list[int]]:
    """Group the indices of `lengths` into batches that cost at most `budget` tokens each.

    A batch costs its rows times its longest row, padding included. Rows go longest first, so that
    a batch too large for memory is met at the start of a run and rows of a batch are about
    equally long; equal lengths keep their order, so that the same input always gives the same
    batches. A row longer than the budget gets a batch of its own.
    """
    if budget < 1 or max_rows < 1:
        raise ConfigError(f"a batch needs a budget and rows of 1 or more, not {budget}, {max_rows}")
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        room = batches and len(batches[-1]) < max_rows
        if room and (len(batches[-1]) + 1) * longest <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches


def run_batches(
    rows: Sequence[Sequence[T]],
    run: Callable[[list[Sequence[T]]], Sequence[R]],
    budget: int,
    max_rows: int = 64,
) -> list[R]:
    """Apply `run` to `rows` batch by batch; one result for each row, in the order of `rows`."""
    results: dict[int, R] = {}
    for batch in make_batches([len(row) for row in rows], budget, max_rows):
        results.update(zip(batch, run([rows[i] for i in batch]), strict=True))
    return [results[i] for i in range(len(rows))]


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of `size` items (the last may be shorter), holding one at a time."""
    if size < 1:
        raise ConfigError(f"a window needs a size of 1 or more, not {size}")
    window: list[T] = []
    for item in items:
        window.append(item)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
