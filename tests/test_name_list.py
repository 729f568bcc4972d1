"""Names that a translation spells wrongly, put right from a list."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from khulasa.cli.main import cli
from khulasa.models.errors import ConfigError
from khulasa.models.names import NameList
from khulasa.models.translator import Translator, TranslatorOptions
from khulasa.pipeline.config import load_config

NAMES = NameList(
    {
        "مايكروسوفت": "Microsoft",
        "ليفينغستون": "Livingston",
        "إيران": "Iran",
        "مارك": "Mark",
        "ماساتشوستس": "Massachusetts",
        "أتكينسون": "Atkinson",
        "ألمانيا": "Germany",
    },
    words={"marc", "market", "living", "massive", "iranians", "watkinson"},
)


@pytest.mark.parametrize(
    ("source", "wrong", "right"),
    [
        (
            "قال متحدث باسم مايكروسوفت",
            "The Maikosovt spokesman said",
            "The Microsoft spokesman said",
        ),
        ('وقال "مايكروسوفت"', '"Mikrosolt", it said', '"Microsoft", it said'),
        ("فاز ليفينغستون", "Lelingston's win", "Livingston's win"),
        # What is written together with a name, and two names at once.
        ("سافر لماساتشوستس وأتكينسون", "Massasa and Acticinson", "Massachusetts and Atkinson"),
        # What sounds like the name goes first.
        ("قالت مايكروسوفت", "Mikrosolt and Macrosoft", "Mikrosolt and Microsoft"),
        # A list need not go by sounds.
        ("سافر إلى ألمانيا", "He went to Gremany", "He went to Germany"),
    ],
)
def test_what_resembles_a_lost_name_becomes_the_name(source, wrong, right):
    assert NAMES.repair(source, wrong) == right


@pytest.mark.parametrize(
    ("source", "target"),
    [
        # The name is there, in another spelling, or what is derived from it.
        ("قال مارك", "Mark said"),
        ("قال مارك", "Marc said"),
        ("قالت مايكروسوفت", "Macrosoft said, of Microsoft"),
        ("إيران", "The Iranians"),
        ("مايكروسوفت", "Microsoft and Microsort"),
        # No name of the source is missing, or none of the list.
        ("غادر الرئيس", "Maikosovt left"),
        ("زار مدريد", "He visited Madird"),
        # An English word, another name of the source or the list, another first letter.
        ("فاز ليفينغستون", "Living in town"),
        ("مايكروسوفت ومايكروسوف", "Microsof won"),
        ("فاز أتكينسون", "Mark Watkinson won"),
        ("قال مايكروسوفت", "the microsort said"),
        ("قال مايكروسوفت", "Nobody said it"),
        ("", ""),
    ],
)
def test_what_stands_for_something_else_is_let_be(source, target):
    assert NAMES.repair(source, target) is None


@given(st.lists(st.sampled_from(["Maikosovt", "Marko", "Acticinson", "said", "12", '"', ".", "é"])))
def test_only_words_that_resemble_a_lost_name_change(words):
    source, target = "قال مايكروسوفت وأتكينسون", " ".join(words)
    repaired = NAMES.repair(source, target) or target
    others = {"Maikosovt": "Microsoft", "Acticinson": "Atkinson"}
    assert repaired == " ".join(others.get(word, word) for word in words)


def test_the_list_that_ships_knows_names_and_english_words():
    names = NameList.load("default")
    assert (
        names.repair("فاز فريق ليفينغستون", "The Lelingston team won") == "The Livingston team won"
    )
    assert names.repair("أعلن الرئيس الحزب", "The President announced the Party") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("مايكروسوفت\n", "line 1"),
        ("نيويورك\tNew York\n\nبيت\t\n", "line 3"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(content, message, tmp_path):
    path = tmp_path / "names.tsv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        NameList.load(path)


def test_of_full_names_each_word_is_taken(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("كيرستي هاميلتون\tKirsty Hamilton\n", encoding="utf-8")
    names = NameList.load(path)
    assert names.repair("قالت هاميلتون", "Hamelto said") == "Hamilton said"
    assert names.digest == NameList.load(path).digest != NameList.load("default").digest


def test_what_two_lists_have_is_taken_from_the_first(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("مايكروسوفت\tMicrosift\n", encoding="utf-8")
    both = NameList.load(path, "default")
    assert both.repair("مايكروسوفت", "Maikosoft") == "Microsift"
    assert both.repair("ليفينغستون", "Lelingston") == "Livingston"


def test_a_translator_puts_names_right_and_says_so(fake_engine):
    engine = fake_engine(lambda _text, _options: "A Maikosovt spokesman said.")
    translator = Translator(engine, names=NAMES)
    (result,) = translator.translate(["قال متحدث باسم مايكروسوفت"])
    assert (result.target, result.flags) == ("A Microsoft spokesman said.", ("names_repaired",))
    plain = Translator(engine, TranslatorOptions(repair=False), names=NAMES)
    (result,) = plain.translate(["قال متحدث باسم مايكروسوفت"])
    assert (result.target, result.flags) == ("A Maikosovt spokesman said.", ())


def test_the_list_is_chosen_in_the_configuration(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("", encoding="utf-8")
    config = tmp_path / "mine.yaml"
    several = ("[default]", ("default",)), (f"[{path}, default]", (path, "default"))
    for value, found in (("null", ()), (path, (path,)), *several):
        config.write_text(
            f"translate: {{checkpoint: khulasa-ar-en, names: {value}}}\n"
            "summarize: {ar: khulasa-summary, en: khulasa-summary}\n",
            encoding="utf-8",
        )
        assert load_config(config, {}, {}).translate.names == found
    assert load_config("default", {}, {}).translate.names == ("default",)
    environment = {"KHULASA_TRANSLATE__NAMES": f"[{path}, default]"}
    assert load_config("default", {}, environment).translate.names == (path, "default")


def test_a_list_is_made_out_of_training_material(tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "زار كيندال فيينا\tKendall visited Vienna\nعاد كيندال\tKendall went home\n",
        encoding="utf-8",
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"sources: {{mine: {{path: {pairs}}}}}\n", encoding="utf-8")
    command = ["train", "names", str(tmp_path / "new" / "names.tsv"), "--config", str(recipe)]
    words = tmp_path / "words.txt"
    done = CliRunner().invoke(cli, [*command, "--source", "mine", "--words", str(words)])
    assert done.exit_code == 0, done.output
    assert done.output.endswith("2 names\n")
    found = (tmp_path / "new" / "names.tsv").read_text(encoding="utf-8")
    assert found == "فيينا\tVienna\nكيندال\tKendall\n"
    assert words.read_text(encoding="utf-8") == "home\nkendall\nvienna\nvisited\nwent\n"
    assert NameList.load(tmp_path / "new" / "names.tsv").repair("كيندال", "Kerdal") == "Kendall"
    refused = CliRunner().invoke(cli, [*command, "--source", "yours"])
    assert "has no source yours: mine" in str(refused.exception)
    missing = [*command[:-1], str(tmp_path / "none.yaml")]
    assert "those that ship: summarizer, translator" in str(
        CliRunner().invoke(cli, missing).exception
    )
