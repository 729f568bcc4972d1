"""Variants of training pairs: other numbers and Latin-script words, the same on both sides."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.training.config import FilterConfig, SourceConfig
from khulasa.models.training.corpus import load_corpus
from khulasa.models.training.variants import names_in, vary

NAMES = ["Cairo", "Nile", "Salma", "Petra"]


def numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d.,:]*\d|\d", text)


@pytest.mark.parametrize(
    ("arabic", "english"),
    [
        ("بلغ العدد 250 شخصا", "The number reached 250 people"),
        ("وقع الحادث عام 1987", "The accident happened in 1987"),
        ("ارتفع السعر إلى 1,250.5 دولار", "The price rose to 1,250.5 dollars"),
        ("من 12 إلى 48 ثم 12", "from 12 to 48, then 12"),
    ],
)
def test_numbers_become_others_of_the_same_form_on_both_sides(arabic, english):
    left, right = vary((arabic, english), [], random.Random(1)) or ("", "")
    assert numbers(left) == numbers(right) != numbers(english)
    assert re.sub(r"\d", "0", right) == re.sub(r"\d", "0", english)
    assert re.sub(r"\d", "0", left) == re.sub(r"\d", "0", arabic)


def test_a_year_stays_a_year():
    years = [vary(("عام 2001", "the year 2001"), [], random.Random(i)) for i in range(50)]
    assert all(1900 <= int(pair[1][-4:]) < 2040 for pair in years if pair)


def test_a_latin_word_becomes_another_on_both_sides():
    pair = vary(
        ("افتح Excel ثم أغلق Excel", "Open Excel, then close Excel"), NAMES, random.Random(1)
    )
    assert pair is not None
    (first, second), (third, fourth) = (
        [word for word in re.findall(r"[A-Za-z]\w+", text) if word not in {"Open", "then", "close"}]
        for text in pair
    )
    assert first == second == third == fourth != "Excel"


def test_a_pair_without_latin_words_gets_a_name_before_the_same_mark():
    pair = vary(("قال الوزير، ثم غادر.", "The minister spoke, then left."), NAMES, random.Random(2))
    assert pair is not None
    (left,), (right,) = (re.findall(r" \(([A-Za-z ]+)\)[،,.]", text) for text in pair)
    assert left == right


@pytest.mark.parametrize(
    ("arabic", "english"),
    [
        ("قال الوزير ثم غادر", "The minister spoke, then left."),  # marks that do not match
        ("ثلاثة وزراء", "3 ministers"),  # a number in words on one side
        ("5 وزراء", "5 ministers"),  # a single digit decides the noun's form
        ("العدد 250", "The number is 300"),
    ],
)
def test_what_cannot_be_varied_gives_nothing(arabic, english):
    assert vary((arabic, english), NAMES, random.Random(1)) is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 99))
def test_any_text_at_all_is_fine_and_the_same_seed_gives_the_same(left, right, seed):
    first = vary((left, right), NAMES, random.Random(seed))
    assert first == vary((left, right), NAMES, random.Random(seed))
    assert first != (left, right)


def test_names_are_words_with_a_capital_inside_a_sentence():
    texts = ["Yesterday, Salma went from Cairo to Aswan.", "The BBC asked Salma."]
    assert names_in(texts) == ["Salma", "Cairo", "Aswan"]


def test_a_source_can_give_variants_only(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("بلغ العدد 250\tThe number was 250\nماء\twater\n", encoding="utf-8")
    source = SourceConfig(path=str(path), vary=True)
    corpus = load_corpus("pairs", source, FilterConfig(), "translator")
    ((arabic, english),) = corpus.pairs
    assert numbers(arabic) == numbers(english) != ["250"]
    assert corpus.rejected["nothing to vary"] == 1
    assert corpus.pairs == load_corpus("pairs", source, FilterConfig(), "translator").pairs
