"""Fixtures that many tests share: no network, a private cache, and tiny models."""

from __future__ import annotations

import os
import socket

# Before any library reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

import tiny
from khulasa.models.checkpoint import Checkpoint, resolve


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep converted models out of the user's cache; they are made once per session."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("KHULASA_CACHE", str(path))
        yield path


@pytest.fixture(scope="session")
def marian(tmp_path_factory) -> Checkpoint:
    """A tiny Marian checkpoint of opus-mt's layout. Read it, do not change it."""
    return resolve(str(tiny.build_marian(tmp_path_factory.mktemp("marian") / "tiny-marian")))


@pytest.fixture(scope="session")
def bart(tmp_path_factory) -> Checkpoint:
    """A tiny BART checkpoint. Read it, do not change it."""
    return resolve(str(tiny.build_bart(tmp_path_factory.mktemp("bart") / "tiny-bart")))


@pytest.fixture(scope="session")
def mt5(tmp_path_factory) -> Checkpoint:
    """A tiny checkpoint of mT5's shape. Read it, do not change it."""
    return resolve(str(tiny.build_mt5(tmp_path_factory.mktemp("mt5") / "tiny-mt5")))


@pytest.fixture(scope="session")
def t5(tmp_path_factory) -> Checkpoint:
    """A tiny T5 checkpoint. Read it, do not change it."""
    return resolve(str(tiny.build_t5(tmp_path_factory.mktemp("t5") / "tiny-t5")))


@pytest.fixture
def fake_engine():
    """The class `tiny.FakeEngine`: call it to make an engine without a model."""
    return tiny.FakeEngine


@pytest.fixture
def no_network(monkeypatch):
    """Make every attempt to open a socket an error."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a network call was made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
