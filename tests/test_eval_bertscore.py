"""BERTScore with a tiny random encoder: against a plain computation, and what it refuses."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from khulasa.eval.bertscore import BertScorer
from khulasa.eval.metrics import Items, measure
from khulasa.eval.scores import ScoreError

HYPOTHESES = ["the port opened", "two ships left the port", "وصلت السفينة", ""]
REFERENCES = ["the port opened again", "a ship left", "وصلت السفينة أمس", "the port"]
WORDS = [
    "the",
    "a",
    "two",
    "port",
    "ship",
    "ships",
    "opened",
    "left",
    "again",
    "وصلت",
    "السفينة",
    "أمس",
]
POSITIONS = 12


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a random BERT of two layers that reads 10 words at a time."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    path = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    path.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(path / "vocab.txt"), model_max_length=POSITIONS).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        initializer_range=1.0,
    )
    BertModel(config).save_pretrained(path)
    return str(path)


def plainly(encoder, hypothesis, reference, layer, weights):
    """The published formula, token by token, one text at a time and without batches."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder).eval()

    def embed(text):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**ids, output_hidden_states=True).hidden_states[layer][0]
        return ids["input_ids"][0].tolist(), states.double()

    def one_way(ids, vectors, others):
        total = weight = 0.0
        for token, vector in zip(ids, vectors, strict=True):
            if token in (tokenizer.cls_token_id, tokenizer.sep_token_id):
                continue
            best = max(float(torch.cosine_similarity(vector, other, dim=0)) for other in others)
            total += weights(token) * best
            weight += weights(token)
        return total / weight

    (ids, vectors), (their_ids, others) = embed(hypothesis), embed(reference)
    precision, recall = one_way(ids, vectors, others), one_way(their_ids, others, vectors)
    return 100 * 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("idf", [False, True])
def test_scores_are_those_of_the_formula(encoder, layer, idf):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    there = Counter(t for text in REFERENCES for t in set(tokenizer(text)["input_ids"]))

    def weights(token):
        return math.log((len(REFERENCES) + 1) / (there[token] + 1)) if idf else 1.0

    score = BertScorer("bertscore", encoder, layer=layer, idf=idf)(
        Items(HYPOTHESES, "en", references=REFERENCES)
    )
    expected = [
        plainly(encoder, h, r, 2 if layer is None else layer, weights) if h else 0.0
        for h, r in zip(HYPOTHESES, REFERENCES, strict=True)
    ]
    assert score.per_item == pytest.approx(expected, abs=1e-4)
    assert score.value == pytest.approx(np.mean(expected), abs=1e-4)
    assert f"layer:{layer or 2}|idf:{'yes' if idf else 'no'}|rescale:no" in score.signature
    assert "encoder:tiny-bert@" in score.signature


def test_it_takes_part_like_any_other_metric(encoder):
    scorer = BertScorer("bertscore", encoder)
    chrf, bert = measure(
        ["chrf", "bertscore"],
        Items(REFERENCES, "en", references=REFERENCES),
        {"bertscore": (scorer.metric, scorer)},
    )
    assert bert.score.per_item == pytest.approx([100] * 4)
    assert bert.statistics.value == pytest.approx(chrf.score.value)


def test_a_long_text_is_read_to_its_end(encoder):
    start = "the port opened again " * 5
    scorer = BertScorer("bertscore", encoder)
    same, other = scorer(
        Items([start + "two ships left", start], "en", references=[start + "two ships left"] * 2)
    ).per_item
    assert same == pytest.approx(100)
    assert other < 99.9


@pytest.mark.parametrize(
    ("options", "references", "message"),
    [
        ({"encoder": "/nowhere"}, REFERENCES, "/nowhere is no folder with an encoder"),
        ({"layer": 3}, REFERENCES, "layer 3: .* has layers 0 to 2"),
        ({"idf": True}, REFERENCES[:1], "idf needs more than one reference"),
    ],
)
def test_what_it_cannot_do_is_said(encoder, options, references, message):
    scorer = BertScorer(**{"name": "bertscore", "encoder": encoder, **options})
    with pytest.raises(ScoreError, match=message):
        scorer(Items(HYPOTHESES[: len(references)], "en", references=references))


def test_weights_that_cannot_be_read_are_named(encoder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    with pytest.raises(ScoreError, match=f"the encoder in {tmp_path} cannot be used"):
        BertScorer("bertscore", str(tmp_path))(Items(["a"], "en", references=["b"]))
