"""A model's name leads to a complete directory, or to an error that says what to do."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from khulasa.models import checkpoint as module
from khulasa.models.checkpoint import resolve, shipped_names
from khulasa.models.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(marian, tmp_path) -> Path:
    """A copy of the tiny checkpoint that may be damaged."""
    return Path(shutil.copytree(marian.path, tmp_path / "copy"))


@pytest.fixture
def shipped(marian, tmp_path, monkeypatch) -> Path:
    """A folder of shipped models with one model in it, `khulasa-test`."""
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    shutil.copytree(marian.path, tmp_path / "shipped/khulasa-test")
    return tmp_path / "shipped"


@pytest.fixture
def hub(marian, tmp_path, monkeypatch):
    """A stand-in for the hub: `cached` and `online` say what there is, `asked` what was fetched."""
    state = SimpleNamespace(cached=None, online=False, asked=[])
    snapshot = tmp_path / "snapshots" / COMMIT

    def snapshot_download(name, revision=None, local_files_only=False, allow_patterns=None):
        if local_files_only:
            if state.cached is None:
                raise LocalEntryNotFoundError("not cached")
            return str(state.cached)
        state.asked.append((name, revision, allow_patterns))
        shutil.copytree(marian.path, snapshot)
        return str(snapshot)

    def model_info(name, revision=None):
        if not state.online:
            raise ConnectionError("Name or service not known")
        names = [*(f.name for f in marian.path.iterdir()), "tf_model.h5", "pytorch_model.bin"]
        return SimpleNamespace(
            sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in names]
        )

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    state.snapshot = snapshot
    return state


def test_a_local_directory_is_taken_as_it_is(copy, no_network):
    found = resolve(str(copy))
    assert (found.path, found.name, found.revision) == (copy.resolve(), str(copy), None)
    assert found.model_type == "marian"


def test_a_shipped_name_comes_before_a_directory_of_that_name(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "khulasa-test").mkdir()
    assert shipped_names() == ["khulasa-test"]
    assert resolve("khulasa-test").path == (shipped / "khulasa-test").resolve()


def test_a_revision_of_a_directory_is_ignored_aloud(copy, caplog):
    assert resolve(str(copy), revision="main").revision is None
    assert "revision main is not used" in caplog.text


@pytest.mark.parametrize("name", ["khulasa-tset", "nothing", "", "a/b/c"])
def test_an_unknown_name_is_told_the_rule(shipped, name):
    with pytest.raises(CheckpointError, match=r"org/name") as caught:
        resolve(name)
    assert "khulasa-test" in str(caught.value)


def test_a_misspelt_name_is_told_the_nearest(shipped):
    with pytest.raises(CheckpointError, match=r"Did you mean khulasa-test\?"):
        resolve("khulasa-tset")


@pytest.mark.parametrize("name", ["source.spm", "target.spm", "vocab.json"])
def test_a_missing_tokenizer_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        resolve(str(copy))


def test_missing_weights_are_named(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights \(model.safetensors or pytorch_model.bin"):
        resolve(str(copy))


def test_a_missing_shard_is_named(copy):
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00002.safetensors"):
        resolve(str(copy))


def test_another_architecture_needs_a_tokenizer_of_some_kind(bart, tmp_path):
    path = Path(shutil.copytree(bart.path, tmp_path / "bart"))
    (path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer \(tokenizer.json or spiece.model"):
        resolve(str(path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": 3}', "{"])
def test_a_config_that_is_none_is_refused(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        resolve(str(copy))


def test_the_digest_follows_the_content_and_not_the_place(marian, copy):
    assert resolve(str(copy)).digest == marian.digest
    (copy / "README.md").write_text("a model card")
    assert resolve(str(copy)).digest == marian.digest
    vocabulary = (copy / "vocab.json").read_text()
    (copy / "vocab.json").write_text(vocabulary + "\n")
    assert resolve(str(copy)).digest != marian.digest


def test_a_cached_hub_model_makes_no_network_call(hub, marian):
    hub.snapshot.parent.mkdir()
    hub.cached = shutil.copytree(marian.path, hub.snapshot)
    found = resolve("org/model", revision=COMMIT)
    assert (found.path, found.revision, hub.asked) == (hub.snapshot, COMMIT, [])


def test_a_download_takes_one_copy_of_the_weights_at_the_commit(hub):
    hub.online = True
    found = resolve("org/model", revision="v1")
    ((name, revision, patterns),) = hub.asked
    assert (name, revision, found.revision) == ("org/model", COMMIT, COMMIT)
    assert {"model.safetensors", "source.spm", "config.json"} <= set(patterns)
    assert not {"pytorch_model.bin", "tf_model.h5"} & set(patterns)


def test_a_cached_model_that_is_incomplete_is_fetched_again(hub, copy):
    hub.online = True
    (copy / "model.safetensors").unlink()
    hub.cached = copy
    assert resolve("org/model", revision="v1").path == hub.snapshot


def test_a_hub_model_without_revision_is_pinned_in_the_log(hub, caplog):
    hub.online = True
    resolve("org/model")
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert COMMIT in record.getMessage()


def test_an_unreachable_hub_is_told_with_the_ways_out(hub, shipped):
    with pytest.raises(CheckpointError, match="cannot be reached") as caught:
        resolve("org/model", revision="v1")
    for way in ("hf download", "HF_HOME", "khulasa-test", "org/model at v1"):
        assert way in str(caught.value)


def test_offline_never_asks_the_hub(hub):
    hub.online = True
    with pytest.raises(CheckpointError, match="working offline"):
        resolve("org/model", revision="v1", offline=True)
    assert hub.asked == []
