"""From a model's name to a complete local directory: shipped, local, or from the hub."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CheckpointError

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "shipped"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# In order of preference; the first layout that is there is the one that is used.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SHARDS = {
    "model.safetensors": "model-*.safetensors",
    "pytorch_model.bin": "pytorch_model-*.bin",
}

_MARIAN_TOKENIZER = ("source.spm", "target.spm", "vocab.json")
_TOKENIZER_LAYOUTS = (
    ("tokenizer.json",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.json", "merges.txt"),
)
# All that a tokenizer or a generation may read beside the weights.
_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "target_vocab.json",
    *_MARIAN_TOKENIZER,
    *(name for layout in _TOKENIZER_LAYOUTS for name in layout),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk, complete as far as its files go.

    `name` is what the user called it, `revision` the hub commit it came from (None for a shipped
    or local one) and `digest` a SHA-256 over the files that decide what the model computes. One of
    those may be a lexical `shortlist` (see `with_shortlist`).
    """

    path: Path
    name: str
    revision: str | None
    digest: str
    shortlist: Path | None = None

    @property
    def model_type(self) -> str:
        """The architecture by the name that `config.json` gives it: `marian`, `mt5`, ..."""
        return read_config(self.path)["model_type"]


def shipped_names() -> list[str]:
    """List the models that come with the package, sorted by name."""
    if not SHIPPED.is_dir():
        return []
    return sorted(entry.parent.name for entry in SHIPPED.glob("*/config.json"))


def resolve(name: str, revision: str | None = None, offline: bool | None = None) -> Checkpoint:
    """Find the model called `name` and check that its files are all there.

    `name` is, in this order: a shipped model, a local directory, or a hub id `org/name`, which is
    taken at `revision` (a commit hash or tag) from the hub's local cache if it is there and from
    the network otherwise. `offline=True` never touches the network; None leaves that to the
    `HF_HUB_OFFLINE` environment variable. Raises CheckpointError.
    """
    for path in (SHIPPED / name, Path(name).expanduser()):
        # An empty name would be the folder of all shipped models.
        if name and path.is_dir():
            if revision is not None:
                logger.warning("%s is a local directory: revision %s is not used", name, revision)
            _require_complete(path, name)
            return Checkpoint(path.resolve(), name, None, _digest(path))
    if _HUB_ID.fullmatch(name):
        path = _fetch(name, revision, offline)
        commit = path.name if _COMMIT.fullmatch(path.name) else revision
        if revision is None:
            logger.warning(
                "%s has no pinned revision, so that it may change between runs; this one is %s",
                name,
                commit,
            )
        return Checkpoint(path, name, commit, _digest(path))
    raise CheckpointError(_unknown(name))


def read_config(path: Path) -> dict[str, Any]:
    """Read `config.json` in the directory `path`. Raises CheckpointError."""
    file = path / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} has no config.json: it is not a model directory") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{file} does not name its model_type; was it saved by transformers?")
    return config


def weight_files(path: Path) -> list[str]:
    """List the weight files that will be loaded from `path`; there may be none."""
    for name in _WEIGHTS:
        if (path / name).is_file():
            return [name]
        index = path / f"{name}.index.json"
        if index.is_file():
            try:
                shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                return sorted(set(shards))
            except (ValueError, KeyError, AttributeError) as error:
                raise CheckpointError(f"{index} cannot be read: {error!r}") from error
    return []


def _missing(path: Path) -> str | None:
    """Say what the model directory lacks, in words, or None if it is complete."""
    model_type = read_config(path)["model_type"]
    weights = weight_files(path)
    if not weights:
        return f"the weights ({' or '.join(_WEIGHTS)})"
    wanted = weights
    if model_type == "marian":
        wanted = [*weights, *_MARIAN_TOKENIZER]
    elif not any(all((path / name).is_file() for name in names) for names in _TOKENIZER_LAYOUTS):
        return f"its tokenizer ({' or '.join('+'.join(names) for names in _TOKENIZER_LAYOUTS)})"
    absent = [name for name in wanted if not (path / name).is_file()]
    return ", ".join(absent) or None


def _require_complete(path: Path, name: str) -> None:
    if missing := _missing(path):
        raise CheckpointError(
            f"the model {name} is incomplete: {path} lacks {missing}. "
            "Copy the missing files there, or fetch the model again."
        )


def _digest(path: Path) -> str:
    """SHA-256 over name, size and content of each file that matters, in the order of names."""
    total = hashlib.sha256()
    for name in sorted({*_SMALL_FILES, *weight_files(path)}):
        file = path / name
        if file.is_file():
            total.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def _fetch(name: str, revision: str | None, offline: bool | None) -> Path:
    """Give the directory of a hub model: from the local cache, else from the network."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True)
        # An earlier download may have been cut short, or may have left the weights out.
        if (Path(cached) / "config.json").is_file() and _missing(Path(cached)) is None:
            return Path(cached)
    except LocalEntryNotFoundError:
        pass

    at = f"{name} at {revision}" if revision else name
    if offline or (offline is None and huggingface_hub.constants.HF_HUB_OFFLINE):
        raise CheckpointError(f"{at} is not in the local cache, and working offline. {_ways_out()}")
    path = _download(name, revision, at)
    _require_complete(path, name)
    return path


def _download(name: str, revision: str | None, at: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = huggingface_hub.model_info(name, revision=revision)
        present = {file.rfilename for file in info.siblings or []}
        path = huggingface_hub.snapshot_download(
            name, revision=info.sha or revision, allow_patterns=_wanted_from_hub(present)
        )
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the hub has no model {name}, or it is private or gated: check the spelling, or log "
            f"in with `hf auth login`. {_shipped_hint()}"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"the hub's {name} has no revision {revision}") from error
    except Exception as error:  # the hub client lets many kinds of network errors through
        raise CheckpointError(
            f"{at} is not in the local cache and the hub cannot be reached "
            f"({type(error).__name__}: {error}). {_ways_out()}"
        ) from error
    return Path(path)


def _wanted_from_hub(present: set[str]) -> list[str]:
    """Patterns for one copy of the weights and the small files, and for nothing else."""
    for name in _WEIGHTS:
        if name in present or f"{name}.index.json" in present:
            return [*_SMALL_FILES, name, f"{name}.index.json", _SHARDS[name]]
    return list(_SMALL_FILES)


def _ways_out() -> str:
    return (
        "Download it on a machine with a network (`hf download`) and give its directory as the "
        f"name, or point HF_HOME at a cache that holds it. {_shipped_hint()}"
    )


def _shipped_hint() -> str:
    names = shipped_names()
    return f"These models need no network: {', '.join(names)}." if names else ""


def _unknown(name: str) -> str:
    message = f"there is no model {name!r}."
    if near := difflib.get_close_matches(name, shipped_names(), n=3, cutoff=0.4):
        message += f" Did you mean {' or '.join(near)}?"
    return (
        f"{message} A model is the name of a shipped one ({', '.join(shipped_names()) or 'none'}), "
        "a local directory, or a hub id of the form org/name."
    )
