"""The cache of translations: what it spares, what it keeps apart, and files that are none."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from khulasa.models.cache import TranslationCache
from khulasa.models.engine import GenerationOptions
from khulasa.models.errors import ConfigError
from khulasa.models.translator import Translator, TranslatorOptions

TEXTS = ["قال الوزير إن العمل بدأ.", "ورحب الأهالي.", "...", "ورحب  الأهالي."]


@pytest.fixture
def cache(tmp_path):
    cache = TranslationCache(tmp_path / "folder" / "cache.sqlite")
    yield cache
    cache.close()


def translator(cache, options=None, **engine):
    fake = tiny.FakeEngine(lambda text, _: f"The words of {len(text)} letters.", **engine)
    return Translator(fake, options, cache=cache)


def test_what_is_kept_is_not_decoded_again_and_reads_the_same(cache):
    expected = translator(None).translate(TEXTS)
    first = translator(cache)
    assert first.translate(TEXTS[:2]) == expected[:2]
    again = translator(cache)
    assert again.translate(TEXTS) == expected
    assert again.engine.batches == []
    assert [result.source for result in expected] == TEXTS


def test_only_what_is_new_is_decoded(cache):
    translator(cache).translate(TEXTS[:1])
    second = translator(cache)
    second.translate(TEXTS)
    decoded = {text for batch in second.engine.batches for text in batch}
    assert TEXTS[1] in decoded
    assert all(text in TEXTS[1] for text in decoded)


@pytest.mark.parametrize(
    "options",
    [
        TranslatorOptions(GenerationOptions(beam_size=1)),
        TranslatorOptions(retry=False),
        TranslatorOptions(max_source_tokens=100),
    ],
    ids=["generation", "retry", "limit"],
)
def test_other_options_have_entries_of_their_own(cache, options):
    translator(cache).translate(TEXTS)
    other = translator(cache, options)
    other.translate(TEXTS)
    assert other.engine.batches


def test_batches_are_no_part_of_the_key_but_model_and_type_are(cache):
    translator(cache).translate(TEXTS)
    same = translator(cache, TranslatorOptions(token_budget=64, max_rows=3))
    same.translate(TEXTS)
    assert not same.engine.batches
    for name, value in (
        ("checkpoint", replace(same.engine.checkpoint, digest="1" * 64)),
        ("compute_type", "int8"),
        ("device", "cuda:1"),
    ):
        other = translator(cache)
        setattr(other.engine, name, value)
        other.translate(TEXTS)
        assert other.engine.batches, name


def test_what_an_engine_made_while_it_moved_is_not_kept(cache):
    moving = translator(cache)

    def fails(texts, device):
        moving.engine.device = "cpu"

    moving.engine.device, moving.engine.fails = "cuda", fails
    moving.translate(TEXTS)
    after = translator(cache)
    after.translate(TEXTS)
    assert after.engine.batches


def test_the_first_entry_stays(cache):
    cache.put("key", {"text": ("first", ("loop",), True, 2, -0.125)})
    cache.put("key", {"text": ("second", (), False, 1, None)})
    assert cache.get("key", ["text", "else"]) == {"text": ["first", ("loop",), True, 2, -0.125]}


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be taken for one " * 40, None]
)
def test_a_file_that_is_something_else_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "notes"
    if content:
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE users (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"cache: .*notes cannot be used"):
        TranslationCache(path)
    assert path.read_bytes() == before


def test_a_damaged_cache_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "cache"
    cache = TranslationCache(path)
    cache.put("k", {str(n): ("x" * 50, (), False, 1, None) for n in range(500)})
    cache.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="delete it"):
        TranslationCache(path).get("k", [str(n) for n in range(500)])


def test_a_directory_that_cannot_be_made_is_a_wrong_configuration(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cache"):
        TranslationCache(tmp_path / "file" / "cache")


def test_whoever_opens_it_first_may_still_be_reading(tmp_path):
    path = tmp_path / "cache"
    TranslationCache(path).close()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN")
    other.execute("SELECT * FROM translations").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(path).execute("PRAGMA journal_mode = WAL")
    threading.Timer(0.3, other.close).start()
    cache = TranslationCache(path)
    cache.put("k", {"a": ("b", (), False, 1, None)})
    assert list(cache.get("k", ["a"])) == ["a"]
    cache.close()


WRITER = """
import sys
import threading
from khulasa.models.cache import TranslationCache
cache = TranslationCache(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(40):
    cache.put("k", {f"{n}-{i}": (sys.argv[2], (), False, 1, None) for i in range(20)})
    print(n, flush=True)
"""


def start(path: Path, name: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_two_processes_share_a_file_and_a_kill_leaves_whole_windows(tmp_path):
    path = tmp_path / "cache"
    one, other = start(path, "one"), start(path, "other")
    for process in (one, other):
        assert process.stdout.readline() == "ready\n"
    for process in (one, other):
        process.stdin.write("go\n")
        process.stdin.flush()
    for _ in range(10):
        other.stdout.readline()
    other.send_signal(signal.SIGKILL)
    one.communicate(timeout=60)
    other.communicate(timeout=60)
    assert one.returncode == 0
    cache = TranslationCache(path)
    for n in range(40):
        found = cache.get("k", [f"{n}-{i}" for i in range(20)])
        assert len(found) == 20
        assert len({value[0] for value in found.values()}) == 1
    cache.close()
