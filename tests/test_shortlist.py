"""Lexical shortlists: what they hold, whom they belong to, and that they only ever narrow."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import tiny
from khulasa.cli.main import cli
from khulasa.models.checkpoint import resolve
from khulasa.models.ctranslate2_engine import CTranslate2Engine, cache_directory
from khulasa.models.engine import GenerationOptions, load_engine
from khulasa.models.errors import CheckpointError, ConfigError, InputError
from khulasa.models.shortlist import Shortlist, build_shortlist, with_shortlist
from khulasa.models.translator import Translator
from khulasa.pipeline.config import load_config
from khulasa.pipeline.pipeline import Pipeline
from khulasa.pipeline.provenance import model_digests

SENTENCES = tiny.SENTENCES[:6]
SHORT = GenerationOptions(max_new_tokens=24)


@pytest.fixture(scope="module")
def made(marian) -> Shortlist:
    return build_shortlist(marian, SENTENCES, threads=1)


@pytest.fixture
def file(made, tmp_path):
    made.write(tmp_path / "shortlist.txt")
    return tmp_path / "shortlist.txt"


@pytest.fixture(scope="module")
def plain(marian):
    return CTranslate2Engine(marian, threads=1, compute_type="float32")


def narrow(marian, tmp_path, always=(), candidates=None):
    """An engine with a shortlist of just these."""
    path = tmp_path / "narrow.txt"
    Shortlist(marian.digest, tuple(always), candidates or {}).write(path)
    return CTranslate2Engine(with_shortlist(marian, path), threads=1, compute_type="float32")


def pieces_of(engine, results) -> set[str]:
    return {engine._pieces[token] for result in results for token in result.tokens}


# --- What is in it


def test_signs_digits_and_single_letters_may_come_in_any_output(marian):
    always = build_shortlist(marian, SENTENCES, frequent=0, threads=1).always
    assert {"</s>", ".", "2", "0", "a", "T"} <= set(always)
    assert not {"<pad>", "ا", "؟"} & set(always)
    assert all(len(piece.strip("▁")) <= 2 for piece in always if piece != "</s>")


def test_what_is_copied_is_among_the_candidates(marian):
    made = build_shortlist(marian, SENTENCES, best=0, frequent=0, threads=1)
    latin = [p for p in made.candidates if p.strip("▁").isascii() and len(p.strip("▁")) > 1]
    assert latin
    assert all(piece in made.candidates[piece] for piece in latin)


def test_every_output_can_be_made_from_its_own_candidates(marian):
    made = build_shortlist(marian, SENTENCES, frequent=0, threads=1)
    engine = CTranslate2Engine(marian, threads=1, compute_type="int8")
    rows = engine.tokenize(SENTENCES)
    for row, result in zip(rows, engine.generate(rows, GenerationOptions(1)), strict=True):
        allowed = set(made.always).union(
            *(made.candidates.get(engine._pieces[token], ()) for token in row)
        )
        assert pieces_of(engine, [result]) <= allowed


def test_fewer_are_kept_when_fewer_are_asked_for(marian):
    wide = build_shortlist(marian, SENTENCES, best=50, frequent=0, threads=1)
    slim = build_shortlist(marian, SENTENCES, best=1, frequent=0, threads=1)
    assert slim.always == wide.always
    assert slim.mean_candidates < wide.mean_candidates


def test_the_same_texts_give_the_same_file(marian, made, tmp_path):
    again = build_shortlist(marian, SENTENCES, threads=1)
    for name, shortlist in (("a", made), ("b", again)):
        shortlist.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("arguments", [{"best": -1}, {"frequent": -1}], ids=str)
def test_a_negative_number_is_named(marian, arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        build_shortlist(marian, SENTENCES, **arguments)


def test_no_texts_and_other_architectures_are_refused(marian, mt5):
    with pytest.raises(InputError, match="texts"):
        build_shortlist(marian, ["", " "])
    with pytest.raises(ConfigError, match="mt5"):
        build_shortlist(mt5, SENTENCES)


# --- What it does to an engine


def test_outputs_stay_as_they_are_when_all_pieces_are_allowed(marian, plain, tmp_path):
    engine = narrow(marian, tmp_path, plain._pieces[:-1])
    rows = plain.tokenize(SENTENCES)
    assert engine.generate(rows, SHORT) == plain.generate(rows, SHORT)


def test_an_output_has_only_pieces_of_the_shortlist_of_its_batch(marian, plain, tmp_path):
    rows = plain.tokenize(SENTENCES)
    before = pieces_of(plain, plain.generate(rows, SHORT))
    always = [p for p in plain._pieces[:-1] if p not in before][:40]
    engine = narrow(marian, tmp_path, always)
    for options in (SHORT, GenerationOptions(max_new_tokens=24, no_repeat_ngram_size=2)):
        found = engine.generate(rows, options)
        assert pieces_of(engine, found) <= {*always, "</s>", "<unk>"}
        assert [result.truncated for result in found] == [r.tokens[-1] != 0 for r in found]


def test_rows_share_candidates_and_each_batch_has_its_own(marian, plain, tmp_path):
    one, other = plain.tokenize(SENTENCES[:2])
    named = plain._pieces[next(t for t in one if t not in other)]
    always = plain._pieces[:20]
    rest = tuple(plain._pieces[20:-1])
    engine = narrow(marian, tmp_path, always, {named: rest})
    free = [result.tokens for result in plain.generate([one, other], SHORT)]

    def tokens(*rows):
        return [result.tokens for result in engine.generate(rows, SHORT)]

    assert tokens(one) == free[:1]
    assert pieces_of(engine, engine.generate([other], SHORT)) <= {*always, "</s>", "<unk>"}
    assert tokens(one) == free[:1]
    assert tokens(one, other) == free


def test_scores_of_given_outputs_are_over_the_whole_vocabulary(marian, plain, tmp_path):
    engine = narrow(marian, tmp_path, plain._pieces[:40])
    sources = plain.tokenize(SENTENCES)
    targets = plain.tokenize(SENTENCES[::-1], target=True)
    engine.generate(sources, SHORT)
    for one, two in zip(engine.score(sources, targets), plain.score(sources, targets), strict=True):
        assert one == pytest.approx(two, abs=1e-5)


# --- Whom it belongs to


def test_a_conversion_with_a_shortlist_is_one_of_its_own(marian, plain, file):
    folders = set((cache_directory() / "ctranslate2").iterdir())
    CTranslate2Engine(with_shortlist(marian, file), threads=1, compute_type="float32")
    (added,) = set((cache_directory() / "ctranslate2").iterdir()) - folders
    assert (added / "vmap.txt").read_bytes() == file.read_bytes()
    without = [folder for folder in folders if folder.name.startswith(marian.digest[:32])]
    assert without
    assert not any((folder / "vmap.txt").exists() for folder in without)


def test_a_shortlist_of_another_checkpoint_is_refused(file, tmp_path):
    other = resolve(str(tiny.build_marian(tmp_path / "other", seed=5)))
    with pytest.raises(CheckpointError, match="another checkpoint"):
        with_shortlist(other, file)


def test_a_file_that_is_no_shortlist_is_refused(marian, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        with_shortlist(marian, tmp_path / "none.txt")
    path = tmp_path / "lexicon.tsv"
    path.write_text("بيت\thouse\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="khulasa shortlist"):
        with_shortlist(marian, path)


def test_other_engines_say_that_they_cannot_use_one(marian, file):
    with pytest.raises(ConfigError, match="lexical_shortlist: only CTranslate2"):
        load_engine(with_shortlist(marian, file), "transformers", "cpu", 1)


def test_auto_does_not_fall_back_to_an_engine_that_cannot_use_it(marian, file, tmp_path):
    broken = resolve(str(tiny.build_marian(tmp_path / "broken", pad_embedding=0.5)))
    Shortlist(broken.digest, (), {}).write(file)
    with pytest.raises(ConfigError, match=r"lexical_shortlist.*embedding of zeros"):
        load_engine(with_shortlist(broken, file), "auto", "cpu", 1)


def test_the_key_of_the_cache_and_the_manifest_tell_it_apart(marian, made, file):
    def keys():
        name = str(marian.path)
        config = load_config("default", {"translate.checkpoint": name}, {})
        listed = load_config(
            "default", {"translate.checkpoint": name, "translate.lexical_shortlist": file}, {}
        )
        translator = Translator.from_checkpoint(
            name, engine="ctranslate2", threads=1, lexical_shortlist=file
        )
        digests = [model_digests(c, ["translate", "summarize"]) for c in (config, listed)]
        assert digests[0].pop("translator") != digests[1]["translator"]
        assert digests[0].items() < digests[1].items()
        return translator._key(), digests[1]["translator"]

    before = keys()
    Shortlist(made.digest, made.always, {}).write(file)
    assert all(a != b for a, b in zip(before, keys(), strict=True))


def test_the_pipeline_uses_it_for_the_translator_alone(marian, file):
    name = str(marian.path)
    values = {
        "translate.checkpoint": name,
        "translate.lexical_shortlist": file,
        "summarize.ar": name,
        "summarize.en": name,
        "engine": "ctranslate2",
        "threads": 1,
    }
    with Pipeline(load_config("default", values, {})) as pipeline:
        engines = pipeline._engines.values()
        assert [engine.checkpoint.shortlist for engine in engines] == [file.resolve(), None]


# --- The command


def test_the_command_writes_a_shortlist_and_says_what_is_in_it(marian, made, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join([*SENTENCES, SENTENCES[0]]), encoding="utf-8")
    output = tmp_path / "out.txt"
    arguments = ["shortlist", str(marian.path), str(texts), "--lines", "-o", str(output)]
    result = CliRunner().invoke(cli, [*arguments, "--threads", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{len(made.always):,} pieces for any source" in result.output
    assert "sentences: 7" in result.output
    assert with_shortlist(marian, output).shortlist == output


def test_the_command_says_which_records_it_could_not_read(marian, tmp_path, caplog):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "وصل القطار."}\n{"body": "ثم مضى."}\n', encoding="utf-8")
    arguments = ["shortlist", str(marian.path), str(texts), "-o", str(tmp_path / "out.txt")]
    with caplog.at_level("INFO", logger="khulasa"):
        result = CliRunner().invoke(cli, [*arguments, "--threads", "1"], catch_exceptions=False)
    said = result.output + caplog.text
    assert "sentences: 1" in said
    assert "texts.jsonl:2: no column 'text'" in said
    assert "few sentences (1)" in said


def test_the_command_looks_for_the_place_of_its_output_first(tmp_path):
    arguments = ["shortlist", "khulasa-ar-en", "none.txt", "-o", str(tmp_path / "no" / "out.txt")]
    with pytest.raises(ConfigError, match="no folder"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
