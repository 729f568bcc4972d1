"""Batches keep every row once, keep to their budget, and give back the order of the input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.batching import make_batches, run_batches, windows
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
