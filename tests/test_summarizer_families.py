"""The summarizers that people use, by their files: each loads by name and summarizes, on both engines."""

from __future__ import annotations

import pytest

import tiny
from khulasa.models.checkpoint import resolve
from khulasa.models.engine import load_engine
from khulasa.models.summarizer import Summarizer, SummarizerOptions
from khulasa.models.summary_options import CheckpointDefaults, read_defaults

ENGINES = ("transformers", "ctranslate2")
DEFAULTS = {
    "mt5-xlsum": CheckpointDefaults(4, 0.6, 84, 1, ""),
    "pegasus-xsum": CheckpointDefaults(8, 0.6, 64, 1, ""),
    "bart-cnn": CheckpointDefaults(4, 2.0, 142, 56, " "),
}


@pytest.fixture(scope="module", params=DEFAULTS)
def family(request, tmp_path_factory):
    """The name of a family, and a tiny checkpoint of it."""
    path = tmp_path_factory.mktemp("public") / request.param
    return request.param, str(tiny.build_public(path, request.param))


def load(name: str, engine: str, **options) -> Summarizer:
    return Summarizer.from_checkpoint(
        name,
        engine=engine,
        device="cpu",
        threads=1,
        compute_type="float32",
        options=SummarizerOptions(**options),
    )


def test_a_family_s_own_settings_are_found_where_it_keeps_them(family):
    name, path = family
    assert read_defaults(resolve(path)) == DEFAULTS[name]


def test_a_checkpoint_summarizes_by_its_name_alone_and_alike_on_both_engines(family):
    _, path = family
    documents = [[*tiny.SENTENCES], [*tiny.SENTENCES[::-1]], [*tiny.SENTENCES[:2]]]
    found = {}
    for engine in ENGINES:
        faithful = load(path, engine, sentences=2)
        assert faithful.engine.name == engine
        free = Summarizer(faithful.engine, SummarizerOptions("free", no_repeat_ngram_size=0))
        chosen, written = faithful.summarize(documents), free.summarize(documents)
        faithful.close()
        for result, document in zip(chosen, documents, strict=True):
            assert [document[s.source[0]] for s in result.sentences] == [
                s.text for s in result.sentences
            ]
            assert len(result.sentences) == 2
        assert all(result.text for result in written)
        found[engine] = (
            [[s.source for s in result.sentences] for result in chosen],
            [(result.text, result.flags) for result in written],
        )
    assert found["transformers"] == found["ctranslate2"]


def test_what_the_tokenizer_knows_and_the_model_does_not_is_never_asked_of_it(family):
    _, path = family
    text = "one <mask> two <unk> three <pad> four </s> five"
    for name in ENGINES:
        engine = load_engine(resolve(path), name, "cpu", threads=1, compute_type="float32")
        (row,) = engine.tokenize([text])
        (scores,) = engine.score([row], [row])
        assert len(scores) == len(row)
        assert all(score < 0 for score in scores)
        engine.close()


def test_a_least_length_holds_on_both_engines_and_gives_way_to_a_low_limit(tmp_path):
    path = str(tiny.build_public(tmp_path / "bart", "bart-cnn", eos_bias=8.0))
    texts = {}
    for engine in ENGINES:
        made = load(path, engine, decoding="free", no_repeat_ngram_size=0)
        document = [[*tiny.SENTENCES]]
        long = made.summarize(document)[0]
        short = Summarizer(
            made.engine, SummarizerOptions("free", no_repeat_ngram_size=0, max_new_tokens=20)
        ).summarize(document)[0]
        texts[engine] = long.text, short.text
        assert len(short.text) < len(long.text)
        made.close()
    assert texts["transformers"] == texts["ctranslate2"]
