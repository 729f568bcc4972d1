"""Batches by token budget: longest first, and the original order back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")


def make_batches(
    lengths: Sequence[int],
    budget: int,
    max_rows: int = 64,
    kind: Callable[[int], object] = lambda length: None,
    parallel: int = 1,
) -> list[list[int]]:
    """Group the indices of `lengths` into batches that cost at most `budget` tokens each.

    A batch costs its rows times its longest row, padding included. Rows go longest first, so that
    a batch too large for memory is met at the start of a run and rows of a batch are about
    equally long; equal lengths keep their order, so that the same input always gives the same
    batches. A row longer than the budget gets a batch of its own, and so do rows of a `kind`, which
    is asked of their length. Where `parallel` batches are worked on at once, they are made as equal
    as can be, and each worker gets as many: else some would wait for the last.
    """
    if budget < 1 or max_rows < 1:
        raise ConfigError(f"a batch needs a budget and rows of 1 or more, not {budget}, {max_rows}")
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))

    def fill(budget: int) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = 0
        for index in order:
            room = batches and len(batches[-1]) < max_rows and kind(longest) == kind(lengths[index])
            if room and (len(batches[-1]) + 1) * longest <= budget:
                batches[-1].append(index)
            else:
                batches.append([index])
                longest = lengths[index]
        return batches

    batches = fill(budget)
    if parallel == 1:
        return batches
    most = -(-len(batches) // parallel) * parallel
    # The smallest budget that is enough for so many batches makes the largest of them smallest.
    too_small = 0
    while budget - too_small > 1:
        tried = (budget + too_small) // 2
        found = fill(tried)
        if len(found) <= most:
            budget, batches = tried, found
        else:
            too_small = tried
    return batches


def run_batches(
    rows: Sequence[Sequence[T]],
    run: Callable[[list[Sequence[T]]], Sequence[R]],
    budget: int,
    max_rows: int = 64,
    kind: Callable[[int], object] = lambda length: None,
    parallel: int = 1,
) -> list[R]:
    """Apply `run` to `rows` batch by batch; one result for each row, in the order of `rows`.

    `parallel` calls of `run` go on at once, each in a thread of its own.
    """
    batches = make_batches([len(row) for row in rows], budget, max_rows, kind, parallel)

    def apply(batch: list[int]) -> Sequence[R]:
        return run([rows[i] for i in batch])

    results: dict[int, R] = {}
    if parallel == 1 or len(batches) < 2:
        for batch in batches:
            results.update(zip(batch, apply(batch), strict=True))
    else:
        with ThreadPoolExecutor(parallel, "khulasa-batch") as pool:
            for batch, found in zip(batches, pool.map(apply, batches), strict=True):
                results.update(zip(batch, found, strict=True))
    return [results[i] for i in range(len(rows))]


def ahead(run: Callable[[T], R], items: Iterable[T], depth: int = 2) -> Generator[R, None, None]:
    """Give `run(item)` for each item, in order; `run` is up to `depth` items ahead of the caller.

    `run` works in one other thread, while this one draws the items and does whatever the caller
    does between results: neither waits for the other as long as both have work. What `items` or
    `run` raise comes out after the results of the items before. Closing the generator waits for the
    item in hand and drops the others.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(1, "khulasa-ahead")
    try:
        source = iter(items)
        failure: BaseException | None = None
        while True:
            try:
                pending.append(pool.submit(run, next(source)))
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)


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
