"""The pairs that were written for the translator: fit to train on, and apart from what it is measured on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from khulasa.models.training.config import FilterConfig, SourceConfig
from khulasa.models.training.corpus import load_corpus

ROOT = Path(__file__).parent.parent
WRITTEN = ROOT / "models" / "training" / "data"
ARTICLES = ROOT / "eval" / "data" / "articles.jsonl"
WORDS_IN_A_ROW = 8


def runs_of_words(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {
        tuple(words[first : first + WORDS_IN_A_ROW])
        for first in range(len(words) - WORDS_IN_A_ROW + 1)
    }


@pytest.mark.parametrize("name", ["sentences", "terms"])
def test_every_pair_passes_the_filters_and_is_there_once(name):
    source = SourceConfig(path=str(WRITTEN / f"{name}.tsv"))
    corpus = load_corpus(name, source, FilterConfig(), "translator")
    assert len(corpus.pairs) > 1000
    assert not corpus.rejected


def test_no_sentence_shares_a_passage_with_the_evaluation_set():
    measured: set[tuple[str, ...]] = set()
    for line in ARTICLES.read_text(encoding="utf-8").splitlines():
        article = json.loads(line)
        measured |= runs_of_words(article["text"]) | runs_of_words(article["reference_translation"])
    assert measured
    for line in (WRITTEN / "sentences.tsv").read_text(encoding="utf-8").splitlines():
        assert not (runs_of_words(line) & measured), line
