"""Batches keep every row once, keep to their budget, and give back the order of the input."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.batching import ahead, make_batches, run_batches, windows
from khulasa.models.errors import ConfigError

LENGTHS = st.lists(st.integers(0, 60), max_size=80)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 300), st.integers(1, 20))
def test_each_row_comes_once_and_no_batch_is_above_its_budget(lengths, budget, max_rows):
    batches = make_batches(lengths, budget, max_rows)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 300))
def test_the_longest_come_first_and_equals_keep_their_order(lengths, budget):
    order = [i for batch in make_batches(lengths, budget) for i in batch]
    assert order == sorted(order, key=lambda i: (-lengths[i], i))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text("abc", max_size=9), max_size=40), st.integers(1, 50))
def test_results_come_back_in_the_order_of_the_rows(rows, budget):
    assert run_batches(rows, lambda batch: [row[::-1] for row in batch], budget) == [
        row[::-1] for row in rows
    ]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 300), st.integers(1, 20), st.integers(2, 5))
def test_workers_get_equal_batches_within_the_same_limits(lengths, budget, max_rows, parallel):
    alone, batches = (make_batches(lengths, budget, max_rows, parallel=n) for n in (1, parallel))
    assert [i for b in batches for i in b] == [i for b in alone for i in b]
    assert len(alone) <= len(batches) <= -(-len(alone) // parallel) * parallel
    cost, before = (
        max((len(b) * max(lengths[i] for i in b) for b in found), default=0)
        for found in (batches, alone)
    )
    assert cost <= before and all(len(b) <= max_rows for b in batches)


def test_no_worker_waits_for_the_last_batch():
    # Three full batches, and then a few rows: of two workers one would do twice as much.
    assert [len(batch) for batch in make_batches([10] * 25, 100)] == [10, 10, 5]
    assert [len(batch) for batch in make_batches([10] * 25, 100, parallel=2)] == [7, 7, 7, 4]
    assert [len(batch) for batch in make_batches([10] * 4, 100, parallel=2)] == [2, 2]


def test_padding_is_counted():
    # 10 + 2 + 2 tokens, but three rows padded to 10 would cost 30.
    assert make_batches([2, 10, 2], budget=20) == [[1, 0], [2]]
    assert make_batches([2, 10, 2], budget=30) == [[1, 0, 2]]


def test_a_row_above_the_budget_is_alone():
    assert make_batches([5, 50, 5], budget=10) == [[1], [0, 2]]


def test_a_result_that_is_missing_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        run_batches(["a", "b"], lambda batch: batch[:1], budget=10)


def test_windows_hold_one_list_at_a_time():
    taken = []
    stream = windows((taken.append(i) or i for i in range(5)), 2)
    assert next(stream) == [0, 1]
    assert taken == [0, 1]
    assert list(stream) == [[2, 3], [4]]


@pytest.mark.parametrize(("budget", "max_rows"), [(0, 1), (1, 0), (-5, 4)])
def test_senseless_limits_are_refused(budget, max_rows):
    with pytest.raises(ConfigError):
        make_batches([1], budget, max_rows)


def test_rows_of_two_kinds_share_no_batch():
    assert make_batches([3, 9, 4, 8], 100, kind=lambda length: length > 5) == [[1, 3], [2, 0]]


@pytest.mark.parametrize("parallel", [1, 2, 5])
def test_calls_at_once_give_the_same_results(parallel):
    rows = ["a" * (n % 7) for n in range(40)]
    busy, most, lock = 0, 0, threading.Lock()
    meet = threading.Barrier(parallel)

    def run(batch):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        meet.wait(10)
        with lock:
            busy -= 1
        return [row.upper() for row in batch]

    assert run_batches(rows, run, 100, 4, parallel=parallel) == [row.upper() for row in rows]
    assert most == parallel


def test_an_error_in_one_of_the_calls_comes_out():
    with pytest.raises(ZeroDivisionError):
        run_batches(["a"] * 9, lambda batch: 1 / 0, 100, 1, parallel=3)


def test_work_ahead_keeps_order_and_its_distance():
    drawn, results = [], []
    stream = ahead(lambda n: n * n, (drawn.append(n) or n for n in range(6)), depth=2)
    for result in stream:
        results.append(result)
        assert len(drawn) <= len(results) + 2
    assert results == [0, 1, 4, 9, 16, 25]
    assert threads() == 0


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_errors_of_either_side_come_after_what_was_before_them(depth):
    def source():
        yield from (4, 2, 1)
        raise KeyError("unreadable")

    found = []
    with pytest.raises(KeyError, match="unreadable"):
        found.extend(keep(ahead(lambda n: 8 // n, source(), depth), found))
    assert found == [2, 4, 8]
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(keep(ahead(lambda n: 8 // n, [4, 2, 0, 1], depth), found))
    assert found == [2, 4]
    assert threads() == 0


def test_a_stream_that_is_closed_early_finishes_what_is_in_hand_and_no_more():
    started, go = [], threading.Event()

    def run(n):
        started.append(n)
        if n:
            go.wait(10)
        return n

    stream = ahead(run, itertools.count(), depth=3)
    assert next(stream) == 0
    threading.Timer(0.05, go.set).start()
    stream.close()
    assert threads() == 0
    assert started in ([0], [0, 1])


def keep(stream, found):
    for item in stream:
        found.append(item)
    return []


def threads():
    return sum(thread.name.startswith("khulasa-ahead") for thread in threading.enumerate())
