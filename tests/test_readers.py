"""Reading: formats, ids, encodings, damaged data, references, and flat memory."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import random
import string
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.errors import ConfigError, InputError
from khulasa.pipeline.document import Document, References
from khulasa.pipeline.hub_dataset import HubDataset
from khulasa.pipeline.readers import (
    RAW_LIMIT,
    ReadOptions,
    Reject,
    attach_references,
    input_files,
    read,
    read_references,
)
from khulasa.pipeline.sources import (
    FORMATS,
    count_records,
    file_stem,
    fingerprint,
    source_file,
)

ONE = "فتحت المكتبة أبوابها صباح الأحد."
TWO = "زار المعرض ألف طالب من المدارس القريبة."
PROSE = "قال مدير المكتبة إن عدد القراء زاد هذا العام، وإن الكتب الجديدة وصلت من العاصمة."
PAGE = f"<html><head><title>خبر</title></head><body><article><p>{PROSE}</p></article></body></html>"


def jsonl(*records: Any) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def split(items: Any) -> tuple[list[Document], list[Reject]]:
    found = list(items)
    documents = [item for item in found if isinstance(item, Document)]
    return documents, [item for item in found if isinstance(item, Reject)]


def read_one(
    tmp_path: Path, name: str, data: bytes | str, **options: Any
) -> tuple[list[Document], list[Reject]]:
    put(tmp_path, {name: data})
    return split(read([str(tmp_path / name)], ReadOptions(**options)))


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zst}

# --- formats ---

FILES = [
    ("a.txt", f"{ONE}\n{TWO}\n", ["a"], [f"{ONE}\n{TWO}\n"]),
    ("a.text", ONE, ["a"], [ONE]),
    ("A.TXT", ONE, ["A"], [ONE]),
    ("report.v2.txt", ONE, ["report.v2"], [ONE]),
    ("a.html", PAGE, ["a"], [PROSE]),
    ("a.htm", PAGE, ["a"], [PROSE]),
    ("a.jsonl", jsonl({"text": ONE}, {"id": "x", "text": TWO}), ["a:1", "x"], [ONE, TWO]),
    ("a.ndjson", b"\n" + jsonl({"text": ONE}), ["a:2"], [ONE]),
    ("a.json", jsonl({"text": ONE}, {"text": TWO}), ["a:1", "a:2"], [ONE, TWO]),
    ("a.json", json.dumps([{"text": ONE}, {"text": TWO}]), ["a:1", "a:2"], [ONE, TWO]),
    ("a.json", json.dumps([{"text": ONE}], indent=2), ["a:1"], [ONE]),
    ("a.json", json.dumps({"text": ONE}, indent=2), ["a"], [ONE]),
    ("a.json", json.dumps({"text": ONE}), ["a"], [ONE]),
    ("a.csv", f"id,text\n7,{ONE}\n,{TWO}\n", ["7", "a:3"], [ONE, TWO]),
    ("a.csv", f'text\n"{ONE}\r\n{TWO}"\n{ONE}\n', ["a:2", "a:4"], [f"{ONE}\r\n{TWO}", ONE]),
    ("a.csv", f'text\r\n"قال ""نعم"" ثم مضى"\r\n{ONE}\r\n', ["a:2", "a:3"], None),
    ("a.csv", f"id;text\n1;{ONE}, {TWO}\n", ["1"], [f"{ONE}, {TWO}"]),
    ("a.csv", f"text,,\n{ONE},,\n,,\n", ["a:2"], [ONE]),
    ("a.csv", f"text,title\n{ONE}\n", ["a:2"], [ONE]),
    ("a.csv", f"id,text\n1,{ONE}\0\n", ["1"], [ONE]),
    ("a.csv", b"\xef\xbb\xbf" + f"text\n{ONE}\n".encode(), ["a:2"], [ONE]),
    ("a.tsv", f"id\ttext\n1\t{ONE}\n", ["1"], [ONE]),
    ("a.tsv", f'id\ttext\n1\t"{ONE}\n{TWO}"\n', ["1"], [f"{ONE}\n{TWO}"]),
    ("a.tsv", f'id\ttext\n1\t"نعم" قالها\n2\t"{TWO}\n', ["1", "2"], ['"نعم" قالها', f'"{TWO}']),
]
TEXT_LIKE = [case for case in FILES if "." in case[0]]


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize(("name", "data", "ids", "texts"), TEXT_LIKE)
def test_reads_each_format_plain_and_compressed(
    tmp_path: Path, packing: str, name: str, data: bytes | str, ids: list[str], texts: list[str]
) -> None:
    plain = data if isinstance(data, bytes) else data.encode()
    documents, rejects = read_one(tmp_path, name + packing, PACKERS[packing](plain))
    assert not rejects
    assert [document.id for document in documents] == ids
    if texts is not None:
        assert [document.text for document in documents] == texts
    assert {document.metadata["source"] for document in documents} == {
        str(tmp_path / (name + packing))
    }


def test_a_doubled_quote_in_csv_is_one_quote(tmp_path: Path) -> None:
    documents, _ = read_one(tmp_path, "a.csv", 'text\n"قال ""نعم"" ثم مضى"\n')
    assert documents[0].text == 'قال "نعم" ثم مضى'


def test_lines_makes_each_filled_line_a_document(tmp_path: Path) -> None:
    text = f"{ONE}\r\n\n  \n{TWO}\u2028{TWO}\x85{TWO}"
    documents, rejects = read_one(tmp_path, "a.txt", text, lines=True)
    assert not rejects
    assert [d.id for d in documents] == ["a:1", "a:4"]
    assert [d.text for d in documents] == [ONE, f"{TWO}\u2028{TWO}\x85{TWO}"]


def test_a_web_page_gives_its_title_and_date(tmp_path: Path) -> None:
    page = PAGE.replace(
        "<title>", '<meta property="article:published_time" content="2026-03-04"><title>'
    )
    documents, _ = read_one(tmp_path, "a.html", page)
    assert (documents[0].title, documents[0].date) == ("خبر", "2026-03-04")


def test_record_keys_become_fields_references_and_metadata(tmp_path: Path) -> None:
    record = {
        "text": ONE,
        "id": 12,
        "title": "عنوان",
        "date": "2026-01-02",
        "topic": "كتب",
        "source": "وكالة",
        "reference_translation": "The library opened.",
        "metadata": {"page": 3},
    }
    (document,), _ = read_one(tmp_path, "a.jsonl", jsonl(record))
    assert (document.id, document.title, document.date) == ("12", "عنوان", "2026-01-02")
    assert document.metadata == {"source": "وكالة", "page": 3, "topic": "كتب"}
    assert document.references == References(translation="The library opened.")


def test_columns_are_renamed_and_nothing_is_lost(tmp_path: Path) -> None:
    data = jsonl({"body": ONE, "headline": "جديد", "title": "قديم", "key": "k1"})
    columns = {"title": "headline", "id": "key"}
    (document,), _ = read_one(tmp_path, "a.jsonl", data, text_column="body", columns=columns)
    assert (document.id, document.title, document.text) == ("k1", "جديد", ONE)
    assert document.metadata["title"] == "قديم"
    assert "headline" not in document.metadata


def test_a_renamed_column_that_no_record_has_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_one(tmp_path, "a.jsonl", jsonl({"text": ONE}), columns={"title": "headlin"})
    assert "no record has headlin" in caplog.text


def test_a_forced_format_goes_before_the_suffix(tmp_path: Path) -> None:
    documents, _ = read_one(tmp_path, "dump.log", jsonl({"text": ONE}), format="jsonl")
    assert [d.text for d in documents] == [ONE]
    documents, _ = read_one(tmp_path, "dump.log.gz", gzip.compress(ONE.encode()), format="text")
    assert [d.text for d in documents] == [ONE]


TABLE = {
    "id": [1, None, 3],
    "text": [ONE, TWO, None],
    "date": [None, "2026-01-01", None],
    "score": [1.5, float("nan"), 2.0],
    "blob": [b"\xff\xfe\x00", b"ok", None],
}


def write_parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def write_arrow_file(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table)


def write_arrow_stream(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_stream(path, table.schema) as sink:
        sink.write_table(table)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", write_parquet),
        ("a.arrow", write_arrow_file),
        ("a.arrow", write_arrow_stream),
    ],
)
def test_reads_parquet_and_both_kinds_of_arrow(
    tmp_path: Path, name: str, write: Callable[[Path, pa.Table], None]
) -> None:
    write(tmp_path / name, pa.table(TABLE))
    documents, rejects = split(read([str(tmp_path / name)]))
    assert [d.id for d in documents] == ["1", "a:2"]
    assert [d.text for d in documents] == [ONE, TWO]
    assert documents[1].date == "2026-01-01"
    assert documents[0].metadata["blob"] == "<3 bytes>"
    assert documents[1].metadata == {
        "source": str(tmp_path / name),
        "score": None,
        "blob": "ok",
    }
    assert [(r.id, r.line, r.reason) for r in rejects] == [("3", 3, "'text' is empty")]


def test_types_of_parquet_become_json_values(tmp_path: Path) -> None:
    import datetime
    import decimal

    day = datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.UTC)
    row = {"text": ONE, "date": day, "n": decimal.Decimal("1.50"), "tags": [{"a": [b"x"]}]}
    write_parquet(tmp_path / "a.parquet", pa.Table.from_pylist([row]))
    (document,), _ = split(read([str(tmp_path / "a.parquet")]))
    assert document.date == "2026-02-03T04:05:00+00:00"
    assert (document.metadata["n"], document.metadata["tags"]) == ("1.50", [{"a": ["x"]}])


def test_broken_utf8_in_a_parquet_row_rejects_that_row_only(tmp_path: Path) -> None:
    bad = pa.array([ONE.encode(), b"\xff\xfe", TWO.encode()]).view(pa.string())
    write_parquet(tmp_path / "a.parquet", pa.table({"text": bad}))
    documents, rejects = split(read([str(tmp_path / "a.parquet")]))
    assert [d.text for d in documents] == [ONE, TWO]
    assert rejects[0].line == 2
    assert rejects[0].reason.startswith("undecodable: column 'text'")


def test_a_column_named_metadata_in_a_table_does_no_harm(tmp_path: Path) -> None:
    data = f'text,metadata\n{ONE},ورق\n{TWO},"{{""page"": 2}}"\n'
    documents, rejects = read_one(tmp_path, "a.csv", data)
    assert not rejects
    assert [d.metadata.get("metadata", d.metadata.get("page")) for d in documents] == ["ورق", 2]


# --- which files ---


def test_folders_give_known_files_sorted_at_any_depth(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "b.txt": ONE,
            "a/z.jsonl": jsonl({"text": TWO}),
            "a/notes.md": "x",
            ".hidden.txt": ONE,
            ".git/x.txt": ONE,
            "old.rejects.jsonl": "{}",
            "c.txt.partial": ONE,
            "C.html.gz": b"",
            "dataset_info.json": "{}",
            "sub.txt/in.txt": ONE,
        },
    )
    names = [str(Path(name).relative_to(tmp_path)) for name in input_files([str(tmp_path)])]
    assert names == ["C.html.gz", "a/z.jsonl", "b.txt", "sub.txt/in.txt"]


def test_patterns_are_expanded_and_each_file_is_read_once(tmp_path: Path) -> None:
    put(tmp_path, {"b.txt": TWO, "a.txt": ONE, "x.md": "x", "odd[1].txt": ONE})
    pattern = str(tmp_path / "?.txt")
    assert input_files([pattern, str(tmp_path / "a.txt")]) == [
        str(tmp_path / "a.txt"),
        str(tmp_path / "b.txt"),
    ]
    odd = str(tmp_path / "odd[1].txt")
    assert input_files([odd]) == [odd]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.txt", "gone.txt: no such file"),
        ("*.nothing", "no file matches"),
        ("notes.md", r"notes.md: its suffix .*\.txt, .*\.jsonl, .*\.parquet.*\.gz"),
        ("table.parquet.gz", "its suffix"),
        ("empty", "empty: no file to read in this folder"),
        ("نص طويل " * 400, "no such file"),
        ("nul\0.txt", "no such file"),
    ],
)
def test_wrong_names_raise_before_anything_is_read(tmp_path: Path, name: str, message: str) -> None:
    put(tmp_path, {"a.txt": ONE, "notes.md": "x", "empty/x.md": "x", "table.parquet.gz": b""})
    with pytest.raises(InputError, match=message):
        read([str(tmp_path / "a.txt"), str(tmp_path / name)])


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("a.csv", "id,body\n1,x\n", {}, r"no column 'text' \(there are: id, body\).*--text-column"),
        ("a.tsv", "id\tbody\n1\tx\n", {}, r"no column 'text' \(there are: id, body\)"),
        ("a.csv.gz", gzip.compress(b"id,body\n"), {}, "no column 'text'"),
        ("a.csv", "id,text\n", {"columns": {"title": "head"}}, "no column 'head'"),
        ("a.csv", "text,text\nx,y\n", {}, "more than one column is named 'text'"),
        ("a.csv", "id,text\n", {"format": "parquet", "name": "-"}, "cannot be read from stdin"),
    ],
)
def test_a_header_without_the_column_raises_at_once(
    tmp_path: Path, name: str, data: bytes | str, options: dict[str, Any], message: str
) -> None:
    put(tmp_path, {name: data})
    given = options.pop("name", str(tmp_path / name)) if "name" in options else tmp_path / name
    with pytest.raises(InputError, match=message):
        read([str(given)], ReadOptions(**options))


def test_a_parquet_schema_without_the_column_raises_at_once(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", pa.table({"body": [ONE]}))
    with pytest.raises(InputError, match=r"no column 'text' \(there are: body\)"):
        read([str(tmp_path / "a.parquet")])


@pytest.mark.parametrize("options", [{"format": "docx"}, {"columns": {"titel": "x"}}])
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="there are"):
        ReadOptions(**options)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("d/a.jsonl.gz", "a"), ("a.v2.txt", "a.v2"), ("a.log", "a.log"), ("x.json.zst", "x")],
)
def test_the_stem_is_the_name_without_known_suffixes(name: str, stem: str) -> None:
    assert file_stem(name) == stem


# --- stdin ---


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (ONE.encode(), ["stdin"]),
        (jsonl({"text": ONE}, {"text": TWO}), ["stdin:1", "stdin:2"]),
        (b"\xef\xbb\xbf \n\n" + jsonl({"text": ONE}, {"id": "q", "text": TWO}), ["stdin:3", "q"]),
        (json.dumps([{"text": ONE}]).encode(), ["stdin:1"]),
        ("[نص بين قوسين]".encode(), ["stdin"]),
        (b"", []),
        (b" \n \n", []),
    ],
)
def test_stdin_is_text_or_json_by_its_first_character(
    monkeypatch: pytest.MonkeyPatch, data: bytes, ids: list[str]
) -> None:
    feed(monkeypatch, data)
    documents, rejects = split(read(["-"]))
    assert [d.id for d in documents] == ids
    assert len(rejects) == (0 if ids else 1)
    assert all("source" not in d.metadata for d in documents)


def test_stdin_by_lines_and_by_a_named_format(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, f"{ONE}\n{{{TWO}\n".encode())
    documents, _ = split(read(["-"], ReadOptions(lines=True)))
    assert [d.id for d in documents] == ["stdin:1", "stdin:2"]
    feed(monkeypatch, f"id,text\n5,{ONE}\n".encode())
    documents, _ = split(read(["-"], ReadOptions(format="csv")))
    assert [d.id for d in documents] == ["5"]


# --- damaged data ---

JSON_CASES = [
    (b"not json", "not JSON: Expecting value at column 1"),
    (b'{"text": "cut', "not JSON: Unterminated string starting at at column 10"),
    (b'{"text": "a"} extra', "not JSON: Extra data at column 15"),
    (b'{"text": "a\tb"}', "not JSON: Invalid control character at at column 12"),
    (b'"text"', "a record must be a JSON object, not a string"),
    (b"[1, 2]", "a record must be a JSON object, not a list"),
    (b"null", "a record must be a JSON object, not null"),
    (b'{"body": "a"}', "no column 'text' (there are: body); name the right one"),
    (b"{}", "no column 'text' (there are: none)"),
    (b'{"text": " \\n "}', "'text' is empty"),
    (b'{"text": null}', "'text' is empty"),
    (b'{"text": 5}', "'text' must be a string"),
    (b'{"text": "a", "title": []}', "'title' must be a string, not a list"),
    (b'{"text": "a", "metadata": 3}', "'metadata' must be an object"),
    (b'{"text": "\xff\xfe\x81"}', "undecodable: "),
    (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
    (b'{"text": "a", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "not JSON that can be read: nested"),
    (b"[" * 100_000, "not JSON that can be read: nested"),
    (b"\x00\x00\x00", "not JSON: Expecting value at column 1"),
]


@pytest.mark.parametrize(("line", "reason"), JSON_CASES)
def test_a_bad_line_is_rejected_with_its_reason_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    data = jsonl({"text": ONE}) + line + b"\n" + jsonl({"text": TWO})
    documents, rejects = read_one(tmp_path, "a.jsonl", data)
    assert [d.id for d in documents] == ["a:1", "a:3"]
    (reject,) = rejects
    assert reject.reason.startswith(reason)
    assert (reject.id, reject.line, reject.source) == ("a:2", 2, str(tmp_path / "a.jsonl"))
    assert len(reject.raw) <= RAW_LIMIT
    assert (
        json.loads(json.dumps(reject.to_record()))["raw"][:3] == line.decode("utf-8", "replace")[:3]
    )


def test_a_reject_has_the_id_of_its_record_and_a_bounded_raw(tmp_path: Path) -> None:
    data = jsonl({"id": "k", "text": 5, "rest": "م" * 50_000})
    _, (reject,) = read_one(tmp_path, "a.jsonl", data)
    assert reject.id == "k"
    assert len(reject.raw) == RAW_LIMIT
    assert list(reject.to_record()) == ["id", "source", "line", "reason", "raw"]


WHOLE_CASES = [
    ("a.txt", b"", "it is empty"),
    ("a.txt", b" \n\t\n", "it holds only white space"),
    ("a.txt", "\u00a0\n\ufeff\u2003".encode().replace("\ufeff".encode(), b""), "only white space"),
    ("a.txt", b"%PDF-1.7\n" + bytes(range(256)), "a PDF file"),
    ("a.txt", bytes(range(256)) * 4, "not a text file"),
    ("a.html", b"", "it is empty"),
    ("a.html", b"<html><body></body></html>", "no text"),
    ("a.jsonl", gzip.compress(bytes(range(256)) * 400), "a gzip file"),
    ("a.json", b"", "it is empty"),
    ("a.json", b"[]", "the JSON array is empty"),
    ("a.json", b'[{"text": "a"},\n {"text": ]', "not JSON: Expecting value at line 2, column 11"),
    ("a.csv", b"", "it is empty"),
    ("a.csv.gz", b"not gzip", "unreadable"),
    ("a.txt.zst", b"not zstd at all", "unreadable"),
    ("a.parquet", b"", "unreadable"),
    ("a.parquet", b"PAR1 and then nothing", "unreadable"),
    ("a.arrow", b"ARROW1 no", "unreadable"),
]


@pytest.mark.parametrize(("name", "data", "reason"), WHOLE_CASES)
def test_a_file_without_anything_to_read_is_one_reject_and_the_next_is_read(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    put(tmp_path, {name: data, "z.txt": TWO})
    documents, rejects = split(read([str(tmp_path)]))
    assert [d.text for d in documents] == [TWO]
    assert [(r.id, r.line, r.source) for r in rejects] == [("a", None, str(tmp_path / name))]
    assert reason in rejects[0].reason


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_what_comes_before_the_cut_of_a_packed_file_is_kept_and_the_cut_reported(
    tmp_path: Path, packing: str
) -> None:
    noise = random.Random(7)
    records = [
        {"text": ONE, "noise": "".join(noise.choices(string.ascii_letters, k=100))}
        for _ in range(2000)
    ]
    packed = PACKERS[packing](jsonl(*records))
    documents, rejects = read_one(tmp_path, f"a.jsonl{packing}", packed[: len(packed) // 2])
    assert 100 < len(documents) < 2000
    assert rejects[-1].reason.startswith(f"unreadable after line {len(documents)}")


def test_one_json_value_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khulasa.pipeline.records.JSON_LIMIT", 2**20)
    data = b"[" + b",\n".join([json.dumps({"text": "ن" * 1000}).encode()] * 400) + b"]"
    documents, (reject,) = read_one(tmp_path, "a.json", data)
    assert not documents
    assert "more than 1 MB" in reject.reason
    assert ".jsonl" in reject.reason


CSV_CASES = [
    (f'1,"{ONE}" x,z\n2,{TWO},z\n', ["2"], [2], "',' expected after"),
    (f"1,{ONE},z,more\n2,{TWO},z\n", ["2"], [2], "4 fields where the header has 3"),
    (f'1,"{ONE},z\n2,{TWO},z\n3,{TWO},z\n', ["2", "3"], [2], "a quote is opened and not closed"),
    (f"1,,z\n2,{TWO},z\n", ["2"], [2], "'text' is empty"),
    (f"1\n2,{TWO}\n", ["2"], [2], "'text' is empty"),
]


@pytest.mark.parametrize(("rows", "ids", "lines", "reason"), CSV_CASES)
def test_a_broken_row_costs_no_other_row(
    tmp_path: Path, rows: str, ids: list[str], lines: list[int], reason: str
) -> None:
    documents, rejects = read_one(tmp_path, "a.csv", "id,text,note\n" + rows)
    assert [d.id for d in documents] == ids
    assert [r.line for r in rejects] == lines
    assert reason in rejects[0].reason


def test_an_open_quote_in_a_long_table_does_not_swallow_it(tmp_path: Path) -> None:
    rows = [f"{n},{ONE}" for n in range(3000)]
    rows[5] = f'5,"{ONE}'
    documents, rejects = read_one(tmp_path, "a.csv", "id,text\n" + "\n".join(rows))
    assert len(documents) == 2999
    assert [r.line for r in rejects] == [7]


# --- encodings ---


@pytest.mark.parametrize("encoding", ["windows-1256", "iso-8859-6", "utf-16", "utf-16-le"])
def test_a_text_in_another_encoding_is_converted_and_noted(tmp_path: Path, encoding: str) -> None:
    (document,), _ = read_one(tmp_path, "a.txt", PROSE.encode(encoding))
    assert document.text == PROSE
    (issue,) = document.issues
    assert (issue.stage, issue.kind) == ("read", "encoding")
    assert issue.detail == f"{encoding}, converted to UTF-8"


@pytest.mark.parametrize("encoding", ["windows-1256", "iso-8859-6", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate([PROSE, "ظل"]))),
        ("a.tsv", "id\ttext\r\n" + "".join(f"{n}\t{x}\r\n" for n, x in enumerate([PROSE, "ظل"]))),
        ("a.jsonl", jsonl({"id": 0, "text": PROSE}, {"id": 1, "text": "ظل"}).decode()),
    ],
)
def test_lines_in_another_encoding_are_converted_and_noted(
    tmp_path: Path, encoding: str, name: str, text: str
) -> None:
    documents, rejects = read_one(tmp_path, name, text.encode(encoding))
    assert not rejects
    assert [d.text for d in documents] == [PROSE, "ظل"]
    assert [d.issues[0].detail for d in documents] == [f"{encoding}, converted to UTF-8"] * 2


def test_one_line_in_another_encoding_is_converted_alone(tmp_path: Path) -> None:
    line = jsonl({"text": PROSE})
    data = line + line.decode().encode("windows-1256") + line
    documents, rejects = read_one(tmp_path, "a.jsonl", data)
    assert not rejects
    assert [d.text for d in documents] == [PROSE] * 3
    assert [len(d.issues) for d in documents] == [0, 1, 0]


def test_a_damaged_utf8_line_is_rejected_and_not_guessed(tmp_path: Path) -> None:
    line = jsonl({"text": PROSE})
    data = line + line.replace("ق".encode(), b"\xd9", 1) + line
    documents, rejects = read_one(tmp_path, "a.jsonl", data)
    assert len(documents) == 2
    assert [r.line for r in rejects] == [2]
    assert rejects[0].reason.startswith("undecodable")


def test_utf16_that_breaks_off_rejects_the_rest_only(tmp_path: Path) -> None:
    data = jsonl({"text": ONE}).decode().encode("utf-16") + "\n{".encode("utf-16-le") + b"\x00\xd8"
    documents, rejects = read_one(tmp_path, "a.jsonl", data)
    assert [d.text for d in documents] in ([ONE], [])
    assert "utf-16" in rejects[-1].reason


def test_marks_and_unicode_line_ends_do_not_disturb_json_lines(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    text = f"{ONE}\u2028{TWO}\u2029\x85\x0b\x0c"
    line = json.dumps({"text": text}, ensure_ascii=False).encode()
    documents, rejects = read_one(tmp_path, "a.jsonl", mark + line + b"\r\n" + mark + line)
    assert not rejects
    assert [d.text for d in documents] == [text] * 2
    assert not documents[0].issues


def test_half_characters_and_numbers_that_are_none_do_not_reach_the_document(
    tmp_path: Path,
) -> None:
    data = b'{"text": "\\ud83d\\ude00 a \\ud800", "\\uDC00": "\\udfff", "n": NaN, "m": -Infinity}\n'
    (document,), _ = read_one(tmp_path, "a.jsonl", data)
    assert document.text == "\U0001f600 a \ufffd"
    assert document.metadata["\ufffd"] == "\ufffd"
    assert document.metadata["n"] is document.metadata["m"] is None


def test_a_file_name_that_is_not_utf8_gives_an_id_that_can_be_written(tmp_path: Path) -> None:
    name = str(tmp_path) + "/" + b"\xff\xe1.txt".decode("utf-8", "surrogateescape")
    Path(name).write_text(ONE)
    (document,), _ = split(read([str(tmp_path)]))
    document.id.encode()
    str(document.metadata["source"]).encode()
    assert document.text == ONE


# --- long and many ---


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_a_line_of_five_megabytes_is_a_document(tmp_path: Path, name: str) -> None:
    text = "كلمة " * 600_000
    data = {
        "a.jsonl": jsonl({"text": text}).decode(),
        "a.csv": f'text,id\n"{text}",1\n',
        "a.tsv": f"text\tid\n{text}\t1\n",
    }[name]
    (document,), rejects = read_one(tmp_path, name, data)
    assert not rejects
    assert document.text == text


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl.gz", "a.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    count, text = 700, PROSE * 100
    if name == "a.parquet":
        pq.write_table(pa.table({"text": [text] * count}), tmp_path / name, row_group_size=50)
    else:
        lines = {
            "a.jsonl": jsonl({"text": text}) * count,
            "a.csv": b"text\n" + f"{text.replace(',', '')}\n".encode() * count,
            "a.txt": f"{text}\n".encode() * count,
        }
        plain = lines[name.removesuffix(".gz")]
        (tmp_path / name).write_bytes(gzip.compress(plain) if name.endswith("gz") else plain)
        assert len(plain) > 10_000_000
    stream = read([str(tmp_path / name)], ReadOptions(lines=True))
    next(stream)
    tracemalloc.start()
    try:
        assert sum(isinstance(item, Document) for item in stream) == count - 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, {"a.txt": ONE, "b.txt": TWO})
    stream = read([str(tmp_path)])
    assert isinstance(next(stream), Document)
    (tmp_path / "b.txt").unlink()
    (reject,) = list(stream)
    assert isinstance(reject, Reject)
    assert reject.reason.startswith("unreadable")


# --- any bytes ---


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.binary(max_size=300))
def test_no_bytes_break_a_reader(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for head in (b"", b"id,text\n", b'{"text": "a"}\n', b"[", b"\xff\xfe", b"PAR1"):
        (folder / f"a.{kind}").write_bytes(head + data)
        try:
            items = list(read([str(folder / f"a.{kind}")], ReadOptions(format=kind)))
        except InputError as error:
            assert kind in {"csv", "tsv"}
            assert "column" in str(error)
            continue
        for item in items:
            record = item.to_record()
            json.dumps(record, ensure_ascii=False).encode()


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(CELL, CELL.filter(str.strip)), min_size=1, max_size=6))
@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv", ";")])
def test_a_quoted_table_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, kind: str, delimiter: str, rows: list[tuple[str, str]]
) -> None:
    import csv

    if kind == "tsv":  # rows of tabs and line feeds alike cannot be told apart
        rows = [(note.replace("\t", " "), text.replace("\t", " ")) for note, text in rows]
    path = tmp_path_factory.getbasetemp() / f"a.{kind}"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([("note", "text", "end"), *((note, text, "z") for note, text in rows)])
    documents, rejects = split(read([str(path)]))
    assert not rejects
    assert [(d.metadata["note"], d.text) for d in documents] == rows


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip), min_size=1, max_size=5
    )
)
def test_any_text_in_json_lines_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "a.jsonl"
    path.write_bytes(jsonl(*({"text": text} for text in texts)))
    documents, rejects = split(read([str(path)]))
    assert not rejects
    assert [d.text for d in documents] == texts


# --- references ---


def test_references_are_read_by_id_from_json_lines_and_tables(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "r.jsonl": jsonl(
                {"id": 1, "reference_translation": "One.", "reference_summary_ar": ""},
                {"id": "b", "reference_summary_en": "Two.", "other": 3},
            ),
            "r.csv": "id,reference_translation,reference_summary_en\n1,One.,\nb,,Two.\n",
        },
    )
    expected = {"1": References(translation="One."), "b": References(summary_en="Two.")}
    assert read_references(str(tmp_path / "r.jsonl")) == expected
    assert read_references(str(tmp_path / "r.csv")) == expected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.jsonl", b"nope\n", "r.jsonl:1: not JSON"),
        ("r.jsonl", jsonl([1]), "r.jsonl:1: a record must be a JSON object"),
        ("r.jsonl", jsonl({"reference_translation": "x"}), "r.jsonl:1: no 'id'"),
        ("r.jsonl", jsonl({"id": "a", "reference": "x"}), "r.jsonl:1: none of reference_tr"),
        ("r.jsonl", jsonl({"id": "a", "reference_translation": 5}), "must be a string"),
        ("r.jsonl", jsonl(*[{"id": "a", "reference_translation": "x"}] * 2), "r.jsonl:2: the id"),
        ("r.jsonl", b"", "there is no reference"),
        ("r.csv", b"key,reference_translation\n", r"no column 'id' \(there are: key, ref"),
        ("r.txt", b"x", "JSON lines or a table"),
    ],
)
def test_a_wrong_file_of_references_raises_with_its_place(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    put(tmp_path, {name: data})
    with pytest.raises(InputError, match=message):
        read_references(str(tmp_path / name))


def test_a_missing_file_of_references_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_references(str(tmp_path / "gone.jsonl"))
    with pytest.raises(InputError, match="JSON lines or a table"):
        read_references("-")


def test_references_are_attached_by_id_and_the_unmatched_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reject = Reject("r", "f", 1, "why")
    stream = [
        Document("a", ONE, references=References(translation="old", summary_en="kept")),
        reject,
        Document("b", TWO),
    ]
    references = {"a": References(translation="new"), "zz": References(translation="never")}
    with caplog.at_level(logging.WARNING):
        first, second, third = attach_references(stream, references)
    assert isinstance(first, Document)
    assert first.references == References(translation="new", summary_en="kept")
    assert second is reject
    assert third == stream[2]
    assert "1 of 2 references match no document by id: zz" in caplog.text


# --- datasets, fingerprints and totals ---


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A dataset of two splits as one has it after a download."""
    folder = tmp_path_factory.mktemp("data") / "news"
    folder.mkdir()
    rows = {
        "key": ["a", "b", None],
        "body": ["نص أول", "نص ثان", ""],
        "extra": [{"n": 1}, None, None],
    }
    pq.write_table(pa.table(rows), folder / "train-00000.parquet")
    pq.write_table(
        pa.table({"key": ["t"], "body": ["نص"], "extra": [{"n": 2}]}), folder / "test-00000.parquet"
    )
    return folder


def test_a_split_of_a_dataset_is_read_with_its_columns(dataset: Path) -> None:
    options = ReadOptions("body", columns={"id": "key"})
    first, second, bad = read([f"hf://{dataset}:train"], options)
    assert isinstance(first, Document)
    assert (first.id, first.text, first.metadata["extra"]) == ("a", "نص أول", {"n": 1})
    assert first.metadata["source"] == f"hf://{dataset}:train"
    assert second.id == "b"
    assert isinstance(bad, Reject)
    assert (bad.id, bad.line) == ("news:3", 3)
    (test,) = read([f"hf://datasets/{dataset}:default:test"], options)
    assert test.id == "t"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://{}:dev", "dev"),
        ("hf://{}:other:train", "other"),
        ("hf://{}", "SPLIT"),
        ("hf://:train", "SPLIT"),
        ("hf://{}:", "SPLIT"),
        ("hf://{}:train", "no column 'text' .there are: key, body, extra"),
        ("hf://nobody/nothing@v1:train", "nobody/nothing"),
    ],
)
def test_a_dataset_that_cannot_be_read_raises_at_once(
    dataset: Path, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read([name.format(dataset)])


def test_a_name_of_a_dataset_is_taken_apart() -> None:
    assert HubDataset.parse("hf://datasets/o/n@v2:ar:test") == HubDataset("o/n", "test", "ar", "v2")
    assert HubDataset.parse("hf://o/n:train").stem == "n"


def test_a_fingerprint_is_of_the_content_alone(
    tmp_path: Path, dataset: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 1000)
    before = fingerprint(str(path))
    os.utime(path, (1, 1))
    assert fingerprint(str(path)) == before
    path.write_bytes(b"x" * 999 + b"y")
    assert fingerprint(str(path)) != before
    monkeypatch.setattr("khulasa.pipeline.sources._SAMPLE", 640)  # as for a large file
    sampled = fingerprint(str(path))
    assert sampled == fingerprint(str(path)) != before
    path.write_bytes(b"z" + b"x" * 998 + b"y")
    assert fingerprint(str(path)) != sampled
    assert fingerprint("-") is None
    train = fingerprint(f"hf://{dataset}:train")
    assert train == fingerprint(f"hf://{dataset}:train") is not None


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("a.jsonl", 3),
        ("a.txt", 1),
        ("a.html", 1),
        ("a.parquet", 3),
        ("a.csv", None),
        ("a.jsonl.gz", None),
        ("-", None),
    ],
)
def test_the_total_is_told_where_that_is_cheap(
    tmp_path: Path, name: str, total: int | None, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "a.parquet":
        pq.write_table(pa.table({"text": ["ا", "ب", "ت"]}), name)
    elif name != "-":
        Path(name).write_text("text\n1\n2\n", encoding="utf-8")
    options = ReadOptions()
    assert count_records(source_file(name, options), options) == total


def test_documents_know_where_they_were_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"text": "نص", "source": "press"}\n', encoding="utf-8")
    (document,) = read([str(path)])
    assert isinstance(document, Document)
    assert (document.origin, document.line) == (str(path), 2)
    assert document.metadata == {"source": "press"}
