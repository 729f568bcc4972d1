"""`khulasa doctor`: what runs where on this machine, and why."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

_PACKAGES = ("torch", "transformers", "ctranslate2", "sentencepiece", "datasets", "sacrebleu")


@click.command()
@click.option("--config", envvar="KHULASA_CONFIG", default="default", metavar="NAME|PATH")
def doctor(config: str) -> int:
    """Tell what runs where on this machine, and why. Exits with 1 if a model cannot be used."""
    from ..pipeline.config import load_config

    settings = load_config(config)
    click.echo(f"khulasa      {version('khulasa')}")
    click.echo(f"python       {platform.python_version()} ({sys.executable})")
    for package in _PACKAGES:
        try:
            click.echo(f"{package:12} {version(package)}")
        except PackageNotFoundError:
            click.echo(f"{package:12} missing: pip install {package}")
    for line in (*_devices(settings.device), *_cache()):
        click.echo(line)
    models = {
        "translator": (settings.translate.checkpoint, settings.translate.revision),
        "summary ar": (settings.summarize.ar, settings.summarize.revision_ar),
        "summary en": (settings.summarize.en, settings.summarize.revision_en),
    }
    click.echo(f"config       {config}")
    sound = [_model(role, *model, engine=settings.engine) for role, model in models.items()]
    return 0 if all(sound) else 1


def _devices(requested: str) -> Iterator[str]:
    from ..models.device import choose_device, cpu_count
    from ..models.errors import DeviceError

    yield f"cpus         {cpu_count()} of {os.cpu_count()} usable"
    try:
        choice = choose_device(requested)
    except DeviceError as error:
        yield f"device       {error}"
        return
    yield f"device       {choice.device} (asked for: {requested})"
    for name, reason in choice.tried:
        yield f"             {name} passed over: {reason}"


def _cache() -> Iterator[str]:
    from ..models.ctranslate2_engine import cache_directory

    folder = cache_directory()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    yield f"cache        {folder} ({size / 1e6:.1f} MB; safe to delete)"
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface")
    offline = " offline" if os.environ.get("HF_HUB_OFFLINE") else ""
    yield f"hub          {home}{offline}"


def _model(role: str, name: str, revision: str | None, engine: str) -> bool:
    from ..models.checkpoint import resolve
    from ..models.ctranslate2_engine import obstacle
    from ..models.errors import CheckpointError

    try:
        # Looks at what is here, and fetches nothing.
        checkpoint = resolve(name, revision, offline=True)
    except CheckpointError as error:
        click.echo(f"{role:12} {name}: {error}")
        return False
    reason = obstacle(checkpoint, "cpu") if engine != "transformers" else "asked for"
    runs = f"transformers ({reason})" if reason else "ctranslate2"
    click.echo(f"{role:12} {name} {checkpoint.digest[:12]} {checkpoint.model_type}, on {runs}")
    return True
