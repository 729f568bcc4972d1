"""Configurations: the order of settings, and errors that say what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from khulasa.models.errors import ConfigError
from khulasa.pipeline.config import CONFIGS, config_names, load_config

MINIMAL = """
translate: {checkpoint: a}
summarize: {ar: b, en: c}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["default", "opus"])
def test_the_configurations_that_ship_are_valid(name):
    config = load_config(name, environment={})
    assert config.device == "auto"
    assert name in config_names()


def test_a_hub_model_in_a_shipped_configuration_has_a_revision():
    config = load_config("opus", environment={})
    assert config.translate.revision
    assert config.summarize.revision_ar
    assert config.summarize.revision_en


def test_flag_goes_over_environment_over_file_over_default(tmp_path):
    path = write(tmp_path, MINIMAL + "engine: transformers\ndevice: mps\nwindow: 5\n")
    environment = {"KHULASA_DEVICE": "cuda", "KHULASA_WINDOW": "7", "KHULASA_CACHE": "/elsewhere"}
    config = load_config(path, {"device": "cpu", "engine": None}, environment)
    assert config.device == "cpu"  # flag
    assert config.window == 7  # environment
    assert config.engine == "transformers"  # file; an override of None is none
    assert config.threads is None  # default


def test_the_environment_reaches_into_sections(tmp_path):
    environment = {
        "KHULASA_TRANSLATE__OPTIONS__GENERATION__BEAM_SIZE": "2",
        "KHULASA_TRANSLATE__CHECKPOINT": "other",
    }
    config = load_config(write(tmp_path, MINIMAL), environment=environment)
    assert config.translate.options.generation.beam_size == 2
    assert config.translate.checkpoint == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devise: cpu", "devise: unknown key; did you mean 'device'"),
        ("clean: {digit: ascii}", "clean.digit: unknown key; did you mean 'digits'"),
        ("score: {zzz: 1}", "score.zzz: unknown key; known keys: fold_alef"),
        ("engine: onnx", "engine: Input should be 'auto', 'ctranslate2' or 'transformers'"),
        ("window: 0", "window: Input should be greater than 0"),
        ("clean: {skip: [no_such_rule]}", "no_such_rule"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_to_write(tmp_path, text, message):
    path = write(tmp_path, MINIMAL + text + "\n")
    with pytest.raises(ConfigError) as error:
        load_config(path, environment={})
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_misspelt_generation_option_is_named_deep_down(tmp_path):
    path = write(
        tmp_path,
        "translate: {checkpoint: a, options: {generation: {beam_sise: 3}}}\n"
        "summarize: {ar: b, en: c}\n",
    )
    with pytest.raises(ConfigError, match="did you mean 'beam_size'"):
        load_config(path, environment={})


def test_a_value_that_an_option_class_refuses_is_a_config_error(tmp_path):
    path = write(
        tmp_path,
        "translate: {checkpoint: a, options: {generation: {beam_size: 0}}}\n"
        "summarize: {ar: b, en: c}\n",
    )
    with pytest.raises(ConfigError, match="beam_size"):
        load_config(path, environment={})


def test_an_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        load_config("defualt", environment={})
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml", environment={})


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_config(write(tmp_path, text), environment={})


def test_an_environment_key_below_a_plain_value_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="KHULASA_DEVICE__NAME"):
        load_config(
            write(tmp_path, MINIMAL + "device: cpu\n"), environment={"KHULASA_DEVICE__NAME": "x"}
        )


def test_training_recipes_that_ship_are_valid():
    from khulasa.models.training.config import load_training_config

    recipes = sorted((CONFIGS / "training").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        assert load_training_config(recipe).task in recipe.stem
