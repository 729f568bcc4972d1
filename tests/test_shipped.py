"""The models that ship: complete, small, alike in both engines, and as good as promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sacrebleu

from khulasa.models.checkpoint import SHIPPED, resolve, shipped_names
from khulasa.models.engine import GenerationOptions, load_engine
from khulasa.models.summarizer import Summarizer, SummarizerOptions
from khulasa.models.translator import Translator

ARTICLES = Path(__file__).parent.parent / "eval" / "data" / "articles.jsonl"


@pytest.fixture(scope="module")
def articles() -> list[dict]:
    with ARTICLES.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def pairs(articles) -> list[tuple[str, str]]:
    """Every twelfth aligned sentence."""
    found = [
        (article["text"][a:b], article["reference_translation"][c:d])
        for article in articles
        for a, b, c, d in article["alignment"]
    ]
    return found[::12]


def test_each_has_a_card_with_licence_data_scores_and_limits():
    assert shipped_names() == ["khulasa-ar-en", "khulasa-summary"]
    for name in shipped_names():
        card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
        for part in ("license:", "## Training", "## Scores", "## Limits"):
            assert part in card, (name, part)


def test_together_they_stay_small():
    total = sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file())
    assert total < 30e6


def test_the_translator_reaches_chrf_35_without_a_network(pairs, no_network):
    translator = Translator.from_checkpoint("khulasa-ar-en", device="cpu")
    targets = [result.target for result in translator.translate([s for s, _ in pairs])]
    translator.close()
    assert sacrebleu.corpus_chrf(targets, [[t for _, t in pairs]]).score > 35
    assert not any("\u0600" <= letter <= "\u06ff" for target in targets for letter in target)


def test_the_translator_decodes_alike_in_both_engines(pairs):
    checkpoint = resolve("khulasa-ar-en")
    sources = [source for source, _ in pairs[:24]]
    outputs = []
    for name in ("ctranslate2", "transformers"):
        engine = load_engine(checkpoint, name, "cpu", None, "float32")
        greedy = GenerationOptions(beam_size=1, max_new_tokens=100)
        outputs.append([g.tokens for g in engine.generate(engine.tokenize(sources), greedy)])
        engine.close()
    assert outputs[0] == outputs[1]


def test_the_summarizer_is_not_below_the_lead(articles):
    from khulasa.eval.summary import score_summaries

    some = articles[::4]
    texts = [[a["text"][start:end] for start, end, *_ in a["alignment"]] for a in some]
    references = [article["reference_summary_ar"] for article in some]
    summarizer = Summarizer.from_checkpoint(
        "khulasa-summary", options=SummarizerOptions(sentences=2), device="cpu"
    )
    chosen = [result.text for result in summarizer.summarize(texts)]
    summarizer.close()
    lead = [" ".join(text[:2]) for text in texts]
    scores = [
        score_summaries(system, references, "ar")["rouge1"].value for system in (chosen, lead)
    ]
    assert scores[0] > scores[1] - 1.0
