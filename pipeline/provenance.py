"""What it takes to repeat a run: commit, versions, and the digests of the models."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .config import Config

# What decides what comes out, beside the models.
_PACKAGES = ("khulasa", "torch", "transformers", "ctranslate2", "sentencepiece", "sacrebleu")


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that a folder is at, and whether tracked files differ from it; None if unknown."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that have a say in what comes out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_digests(settings: Config, stages: Sequence[str]) -> dict[str, str]:
    """The models by role, with their revision or the start of their digest."""
    from ..models.checkpoint import resolve
    from ..models.shortlist import with_shortlist

    wanted: dict[str, tuple[str, str | None]] = {}
    if "translate" in stages:
        wanted["translator"] = (settings.translate.checkpoint, settings.translate.revision)
    if "summarize" in stages:
        wanted["summarizer_ar"] = (settings.summarize.ar, settings.summarize.revision_ar)
        if "translate" in stages:
            wanted["summarizer_en"] = (settings.summarize.en, settings.summarize.revision_en)
    found = {}
    for role, (name, revision) in wanted.items():
        checkpoint = resolve(name, revision)
        if role == "translator":
            checkpoint = with_shortlist(checkpoint, settings.translate.lexical_shortlist)
        found[role] = f"{name}@{checkpoint.digest[:16]}"
    return found
