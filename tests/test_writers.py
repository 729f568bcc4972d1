"""Writing: formats, the record's schema, whole files or none, refusals, and rejects."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import random
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from khulasa.models.errors import InputError, KhulasaError
from khulasa.pipeline import writers
from khulasa.pipeline.document import (
    Clean,
    Document,
    Issue,
    Removal,
    Sentence,
    Summary,
    SummarySentence,
    Translation,
)
from khulasa.pipeline.readers import Reject, read
from khulasa.pipeline.writers import (
    CSV_SCORES,
    open_writer,
    output_format,
    rejects_path,
    require_not_input,
)

SCHEMA = json.loads((files("khulasa.pipeline") / "record.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)

BARE = Document("bare", "وصل القطار.")
FULL = Document(
    id="news:1",
    text="وصل القطار. «نعم» قال، ثم مضى.",
    title="وصول, القطار",
    date="2026-02-03",
    metadata={"source": "news.jsonl", "page": 3, "tags": ["سفر", None]},
    clean=Clean("وصل القطار.\n\nثم مضى.", (Removal("teaser", "عاجل"),), {"tatweel": 2}),
    translation=Translation(
        'The train arrived.\n\nThen it <left> & "went".',
        (
            Sentence(0, "وصل القطار.", "The train arrived.", (), -0.25),
            Sentence(1, "ثم مضى.", 'Then it <left> & "went".', ("repetition", "numbers"), -0.875),
            Sentence(1, "؟", ""),
        ),
    ),
    summaries={
        "ar": Summary("وصل القطار.", (SummarySentence("وصل القطار.", (0,)),)),
        "en": Summary("The train arrived.", (SummarySentence("The train arrived.", (0, 1), 0.5),)),
    },
    scores={"translation": {"bleu": 41.25, "chrf": 60.0}, "checks": {"numbers": 1.0}},
    issues=(Issue("translate", "repetition", "sentence 1", "said twice"),),
    run={"khulasa": "0.1.0", "device": "cpu"},
)
DOCUMENTS = [FULL, BARE]


def write(target: Path | None, documents: Any = DOCUMENTS, kind: str | None = None) -> None:
    with open_writer(None if target is None else str(target), kind) as writer:
        for document in documents:
            writer.write(document)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the record ---


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("document", [FULL, BARE, replace(FULL, translation=None, summaries={})])
def test_records_fit_the_schema(document: Document) -> None:
    VALIDATOR.validate(json.loads(json.dumps(document.to_record())))


def test_the_schema_names_the_keys_of_the_record_in_their_order() -> None:
    record = FULL.to_record()
    assert list(SCHEMA["properties"]) == SCHEMA["required"] == list(record)
    for name in ("clean", "translation"):
        assert SCHEMA["$defs"][name]["required"] == list(record[name])
    assert SCHEMA["$defs"]["summary"]["required"] == list(record["summaries"]["ar"])
    assert SCHEMA["$defs"]["issue"]["required"] == list(record["issues"][0])


@pytest.mark.parametrize(
    "change",
    [
        {"id": 5},
        {"extra": 1},
        {"scores": {"translation": {"bleu": "high"}}},
        {"summaries": {"fr": {"text": "", "sentences": []}}},
        {"issues": [{"stage": "dream", "kind": "", "where": "", "detail": ""}]},
        {"clean": {"text": "x"}},
    ],
)
def test_the_schema_refuses_other_records(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**FULL.to_record(), **change})


# --- formats ---


def test_json_lines_are_plain_utf8_one_record_a_line(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl")
    data = (tmp_path / "out.jsonl").read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert "وصل القطار".encode() in data
    assert b"\r" not in data
    lines = data.split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [d.to_record() for d in DOCUMENTS]


@pytest.mark.parametrize(
    "name", ["o.jsonl", "o.jsonl.gz", "o.jsonl.zst", "o.csv", "o.csv.gz", "o.parquet", "o.tmx"]
)
def test_the_same_documents_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    written = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / name)
        written.append((tmp_path / folder / name).read_bytes())
    assert written[0] == written[1]
    assert names(tmp_path / "a") == [name]


def test_packed_files_hold_what_plain_ones_do(tmp_path: Path) -> None:
    for suffix in ("", ".gz", ".zst"):
        write(tmp_path / f"o.jsonl{suffix}")
    plain = (tmp_path / "o.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "o.jsonl.gz").read_bytes()) == plain
    packed = io.BytesIO((tmp_path / "o.jsonl.zst").read_bytes())
    assert zstandard.ZstdDecompressor().stream_reader(packed).read() == plain


def test_csv_is_flat_with_a_column_for_each_chosen_score(tmp_path: Path) -> None:
    write(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        full, bare = csv.DictReader(file)
    assert list(full) == [
        *("id", "title", "date", "clean", "translation", "summary_ar", "summary_en", "flags"),
        "metadata",
        *CSV_SCORES,
    ]
    assert full["clean"] == "وصل القطار.\n\nثم مضى."
    assert full["title"] == "وصول, القطار"
    assert full["summary_en"] == "The train arrived."
    assert full["flags"] == "translate:repetition repetition numbers"
    assert (full["translation.bleu"], full["summary_ar.rouge1"]) == ("41.25", "")
    assert json.loads(full["metadata"]) == FULL.metadata
    assert set(bare.values()) == {"bare", "{}", ""}


def test_csv_scores_can_be_chosen(tmp_path: Path) -> None:
    with open_writer(str(tmp_path / "o.csv"), scores=["checks.numbers"]) as writer:
        writer.write(FULL)
    header, row = csv.reader(io.StringIO((tmp_path / "o.csv").read_text("utf-8")))
    assert (header[-1], row[-1]) == ("checks.numbers", "1.0")


def test_parquet_is_nested_and_holds_free_objects_as_json(tmp_path: Path) -> None:
    write(tmp_path / "o.parquet")
    full, bare = pq.read_table(tmp_path / "o.parquet").to_pylist()
    record = FULL.to_record()
    assert full["translation"] == record["translation"]
    assert full["summaries"] == record["summaries"]
    assert full["issues"] == record["issues"]
    for key in ("metadata", "scores", "run"):
        assert json.loads(full[key]) == record[key]
    assert json.loads(full["clean"]["changes"]) == {"tatweel": 2}
    assert bare["translation"] is None
    assert bare["summaries"] == {"ar": None, "en": None}


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_ROW_GROUP_DOCUMENTS", 3)
    write(tmp_path / "o.parquet", [replace(BARE, id=str(n)) for n in range(7)])
    file = pq.ParquetFile(tmp_path / "o.parquet")
    assert file.metadata.num_row_groups == 3
    assert file.read().column("id").to_pylist() == list("0123456")
    monkeypatch.setattr(writers, "_ROW_GROUP_CHARACTERS", 10)
    write(tmp_path / "long.parquet", [replace(BARE, clean=Clean(BARE.text))] * 3)
    assert pq.ParquetFile(tmp_path / "long.parquet").metadata.num_row_groups == 3


@pytest.mark.parametrize("name", ["o.jsonl", "o.csv", "o.parquet", "o.tmx"])
def test_no_documents_give_a_valid_empty_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [])
    assert names(tmp_path) == [name]
    if name == "o.parquet":
        assert pq.read_table(tmp_path / name).num_rows == 0
    if name == "o.tmx":
        assert ET.parse(tmp_path / name).findall(".//tu") == []


LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def test_tmx_has_a_unit_for_each_translated_sentence(tmp_path: Path) -> None:
    write(tmp_path / "o.tmx")
    root = ET.parse(tmp_path / "o.tmx").getroot()
    assert root.attrib == {"version": "1.4"}
    header = root.find("header")
    assert header is not None
    assert header.attrib["srclang"] == "ar"
    units = root.findall("body/tu")
    texts = [{v.attrib[LANGUAGE]: v.findtext("seg") for v in unit.findall("tuv")} for unit in units]
    assert texts == [
        {"ar": "وصل القطار.", "en": "The train arrived."},
        {"ar": "ثم مضى.", "en": 'Then it <left> & "went".'},
    ]
    assert [(p.attrib["type"], p.text) for p in units[1].findall("prop")] == [
        ("document", "news:1"),
        ("flag", "repetition"),
        ("flag", "numbers"),
        ("score", "-0.875"),
    ]


ANY_TEXT = st.text(st.characters(), max_size=30)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(source=ANY_TEXT, target=ANY_TEXT, name=ANY_TEXT)
def test_any_text_can_be_written_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, source: str, target: str, name: str
) -> None:
    document = Document(
        id=name,
        text="x",
        title=target,
        metadata={name: source, "n": float("nan")},
        clean=Clean(source),
        translation=Translation(target, (Sentence(0, source, target),)),
    )
    folder = tmp_path_factory.getbasetemp()
    for suffix in ("jsonl", "csv", "parquet", "tmx"):
        write(folder / f"any.{suffix}", [document])
    sound = [
        "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        for text in (source, target, name)
    ]
    record = json.loads((folder / "any.jsonl").read_bytes())
    assert [record["clean"]["text"], record["title"], record["id"]] == sound
    VALIDATOR.validate(record)
    with (folder / "any.csv").open(encoding="utf-8", newline="") as file:
        _, row = csv.reader(file)
    assert [row[3], row[4], row[0]] == sound
    (row,) = pq.read_table(folder / "any.parquet").to_pylist()
    assert [row["clean"]["text"], row["title"], row["id"]] == sound
    units = ET.parse(folder / "any.tmx").findall(".//seg")
    if source.strip() and target.strip():
        kept = [writers._NOT_XML.sub("", text) for text in (source, target)]
        assert [unit.text or "" for unit in units] == kept


# --- targets ---


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        (None, None, ("jsonl", None)),
        ("-", "csv", ("csv", None)),
        ("o.jsonl", None, ("jsonl", None)),
        ("o.NDJSON.GZ", None, ("jsonl", "gzip")),
        ("o.tmx.zst", None, ("tmx", "zstd")),
        ("o.dat", "tmx", ("tmx", None)),
        ("o.parquet", None, ("parquet", None)),
    ],
)
def test_the_format_is_the_one_named_or_that_of_the_suffix(
    target: str | None, kind: str | None, expected: tuple[str, str | None]
) -> None:
    assert output_format(target, kind) == expected


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        ("o.docx", None, r"its suffix does not say .*\.jsonl, .*\.tmx"),
        ("o", None, "its suffix does not say"),
        ("o.jsonl", "xml", "No output format 'xml': there are jsonl, csv, parquet, tmx"),
        ("o.parquet.gz", None, "Leave '.gz' off"),
        ("o.parquet.zst", None, "Leave '.zst' off"),
        ("no/such/o.jsonl", None, "there is no folder"),
        ("", "jsonl", "folder"),
    ],
)
def test_targets_that_cannot_be_are_refused(
    tmp_path: Path, target: str, kind: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_writer(str(tmp_path / target), kind)


def test_an_older_file_is_replaced_and_keeps_its_mode_and_link(tmp_path: Path) -> None:
    target = tmp_path / "real.jsonl"
    target.write_text("old")
    target.chmod(0o600)
    (tmp_path / "link.jsonl").symlink_to(target)
    with open_writer(str(tmp_path / "link.jsonl")) as writer:
        writer.write(BARE)
        assert target.read_text() == "old"
    assert (tmp_path / "link.jsonl").is_symlink()
    assert json.loads(target.read_bytes())["id"] == "bare"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_device_is_written_to_and_not_replaced() -> None:
    write(Path("/dev/null"), kind="jsonl")
    assert Path("/dev/null").is_char_device()
    assert rejects_path("/dev/null") is None


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    reader = subprocess.Popen(["cat", tmp_path / "pipe.jsonl"], stdout=subprocess.PIPE)
    write(tmp_path / "pipe.jsonl")
    assert len(reader.communicate(timeout=20)[0].splitlines()) == 2
    assert names(tmp_path) == ["pipe.jsonl"]


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz", "o.jsonl.zst", "o.parquet", "o.tmx"])
def test_a_failure_keeps_what_is_done_under_another_name(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(RuntimeError, match="boom"), open_writer(str(tmp_path / name)) as writer:
        writer.write(FULL)
        raise RuntimeError("boom")
    assert (tmp_path / name).read_text() == "old"
    assert names(tmp_path) == [name, f"{name}.partial"]
    assert f"1 documents are in {tmp_path / name}.partial" in caplog.text
    (tmp_path / f"{name}.partial").replace(tmp_path / f"again.{name}")
    again = tmp_path / f"again.{name}"
    if name == "o.parquet":
        assert pq.read_table(again).num_rows == 1
    elif name == "o.tmx":
        assert len(ET.parse(again).findall(".//tu")) == 2
    else:
        assert [type(item) for item in read([str(again)])] == [Reject]  # whole, but has no text


def test_a_failure_before_the_first_document_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_writer(str(tmp_path / "o.csv")):
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz", "o.csv", "o.parquet"])
def test_a_full_disk_is_said_clearly(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(io.RawIOBase):
        def __init__(self) -> None:
            self.size = 0

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.size += len(data)
            if self.size > 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(data)

    monkeypatch.setattr(Path, "open", lambda *_: Full())
    with (
        pytest.raises(KhulasaError, match=rf"{name}: cannot be written: no space is left"),
        open_writer(str(tmp_path / name)) as writer,
    ):
        for n in range(20):
            writer.write(replace(BARE, clean=Clean(random.Random(n).randbytes(20_000).hex())))
    assert f"{name}.partial" in caplog.text


def test_a_device_that_is_full_is_said_clearly() -> None:
    with pytest.raises(KhulasaError, match="no space is left"):
        write(Path("/dev/full"), kind="jsonl")


def test_a_folder_without_permission_is_said_clearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.raises(KhulasaError, match="no permission to write there"),
        open_writer(str(tmp_path / "o.jsonl")),
    ):
        pass


# --- stdout ---


@pytest.mark.parametrize("target", [None, "-"])
def test_stdout_gets_json_lines(target: str | None, capfdbinary: Any) -> None:
    with open_writer(target) as writer:
        writer.write(FULL)
    assert json.loads(capfdbinary.readouterr().out) == FULL.to_record()


SCRIPT = """
import sys
from khulasa.pipeline.document import Document
from khulasa.pipeline.writers import open_writer
try:
    with open_writer(None, sys.argv[1]) as writer:
        for n in range(int(sys.argv[2])):
            writer.write(Document(str(n), "x" * 1000, title="t" * 1000))
except BrokenPipeError:
    sys.exit(7)
"""


def test_a_reader_that_goes_away_ends_the_run_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "jsonl", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 7
    process.stderr.close()


def test_parquet_can_go_through_a_pipe() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, "parquet", "3"], capture_output=True, check=True
    )
    assert pq.read_table(io.BytesIO(result.stdout)).num_rows == 3


# --- inputs are safe ---


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ("a.jsonl", ["a.jsonl"]),
        ("a.jsonl", ["b.txt", "sub/../a.jsonl"]),
        ("link.jsonl", ["a.jsonl"]),
        ("a.jsonl", ["link.jsonl"]),
        ("a.jsonl", ["hard.jsonl"]),
        ("a.jsonl", ["."]),
        ("a.jsonl", ["*.jsonl"]),
        ("a.csv", ["a.rejects.jsonl"]),
        ("new.jsonl", ["new.jsonl.partial"]),
    ],
)
def test_an_input_is_never_written_over(tmp_path: Path, target: str, inputs: list[str]) -> None:
    for name in ("a.jsonl", "b.txt", "a.rejects.jsonl", "new.jsonl.partial"):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="would destroy an input"):
        require_not_input(str(tmp_path / target), [str(tmp_path / name) for name in inputs])


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        (None, ["a.jsonl"]),
        ("-", ["a.jsonl"]),
        ("new.jsonl", ["a.jsonl", "."]),
        ("a.tmx", [".", "gone.txt", "-"]),
        ("a.jsonl", ["b.txt", "-", "نص طويل " * 200, "sub"]),
    ],
)
def test_other_outputs_are_fine(
    tmp_path: Path, target: str | None, inputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.txt", "a.tmx", "new.rejects.jsonl"):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    require_not_input(target, inputs)


def test_importing_readers_and_writers_loads_nothing_heavy() -> None:
    code = (
        "import sys, khulasa.pipeline.readers, khulasa.pipeline.writers;"
        "print([m for m in ('torch', 'pyarrow', 'datasets', 'trafilatura') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"
