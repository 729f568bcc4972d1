"""Noise on training examples: the same text in other pieces, and hidden tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khulasa.models.training.batches import Example
from khulasa.models.training.config import NoiseConfig
from khulasa.models.training.noise import UNKNOWN_ID, Noise, find_splits

PIECES = ["</s>", "<unk>", "▁", "▁new", "s", "news", "▁news", "ne", "w", "ws", "<0xD8>", "خبر",
          "خ", "بر", "<pad>"]  # fmt: skip
PAD = len(PIECES) - 1


def ids(*pieces: str) -> np.ndarray:
    return np.array([PIECES.index(piece) for piece in pieces], dtype=np.int32)


def text(numbers: np.ndarray) -> str:
    return "".join(PIECES[number] for number in numbers)


def noise(longest: int = 100, **options: float) -> Noise:
    return Noise(NoiseConfig(**options), PIECES, np.arange(PAD), longest)


@pytest.mark.parametrize(
    ("piece", "halves"),
    [
        ("▁news", [("▁", "news"), ("▁new", "s")]),
        ("news", [("ne", "ws")]),
        ("ws", [("w", "s")]),
        ("خبر", [("خ", "بر")]),
    ],
)
def test_a_piece_breaks_wherever_both_halves_are_pieces(piece, halves):
    found = find_splits(PIECES, range(len(PIECES)))[PIECES.index(piece)]
    assert found == [(PIECES.index(a), PIECES.index(b)) for a, b in halves]


@pytest.mark.parametrize("piece", ["</s>", "<unk>", "<0xD8>", "<pad>", "▁", "s", "▁new", "بر"])
def test_bytes_special_tokens_and_pieces_without_parts_stay_whole(piece):
    assert PIECES.index(piece) not in find_splits(PIECES, range(len(PIECES)))


def test_halves_that_targets_do_not_have_are_no_way_to_break_a_piece():
    allowed = [PIECES.index(piece) for piece in ("▁", "news", "▁news")]
    assert find_splits(PIECES, allowed) == {PIECES.index("▁news"): [(2, 5)]}


@given(
    st.lists(st.sampled_from(range(PAD)), max_size=30),
    st.lists(st.sampled_from(range(PAD)), max_size=30),
    st.integers(0, 1000),
)
def test_other_pieces_are_the_same_text(source, target, seed):
    example = Example(np.array(source, dtype=np.int32), np.array(target, dtype=np.int32))
    found = noise(segmentation=0.5).segment(example, np.random.default_rng(seed))
    assert text(found.source) == text(example.source)
    assert text(found.target) == text(example.target)
    assert found.source.dtype == example.source.dtype


def test_pieces_break_as_often_as_is_said():
    example = Example(ids(*["▁news"] * 4000), ids("</s>"))
    found = noise(10_000, segmentation=0.1).segment(example, np.random.default_rng(0))
    assert 350 < len(found.source) - 4000 < 450


def test_a_text_that_would_grow_too_long_stays_as_it_is():
    example = Example(ids(*["▁news"] * 5), ids("▁news", "</s>"))
    found = noise(5, segmentation=0.99).segment(example, np.random.default_rng(0))
    assert found.source.tolist() == example.source.tolist()
    assert len(found.target) == 3


def test_hidden_tokens_are_unknown_and_the_end_and_padding_are_spared():
    rows = np.array([[2, 3, 4, 5, 0], [6, 7, 0, PAD, PAD]] * 200, dtype=np.int64)
    found = Noise.hide(rows, 0.25, (0, PAD), np.random.default_rng(0))
    kept = found == rows
    assert kept[np.isin(rows, (0, PAD))].all()
    assert (found[~kept] == UNKNOWN_ID).all()
    assert 0.2 < 1 - kept[~np.isin(rows, (0, PAD))].mean() < 0.3


def test_nothing_is_hidden_where_nothing_is_asked_for():
    rows = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert (Noise.hide(rows, 0.0, (), np.random.default_rng(0)) == rows).all()
