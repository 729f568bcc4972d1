"""The command line as its users run it: what goes to stdout, what to stderr, and exit codes."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from khulasa.cli.main import main

ARTICLE = "أعلنت الوزارة أن 3 مدارس جديدة ستفتح في المدينة.\n\nورحب الأهالي بالقرار. وشكروا الوزير."
SCRIPT = Path(sys.executable).parent / "khulasa"


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory, marian) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(
        f"threads: 1\ntranslate: {{checkpoint: {marian.path}}}\n"
        f"summarize: {{ar: {marian.path}, en: {marian.path}}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def khulasa(monkeypatch, capfd, tiny_config, tmp_path):
    """Run a command in this process; gives its exit code, stdout and stderr."""
    monkeypatch.setenv("KHULASA_CONFIG", str(tiny_config))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["khulasa", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return stop.value.code or 0, out, err

    return run


def records(text: str) -> list[dict]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_a_file_becomes_one_record_on_stdout_and_nothing_else(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    code, out, err = khulasa("run", "a.txt")
    (record,) = records(out)
    assert (code, err) == (0, "")
    assert record["id"] == "a"
    assert len(record["translation"]["sentences"]) == 3
    assert set(record["summaries"]) == {"ar", "en"}


def test_the_same_run_twice_gives_the_same_bytes(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    assert khulasa("run", "a.txt", "-o", "1.jsonl")[0] == 0
    assert khulasa("run", "a.txt", "-o", "2.jsonl")[0] == 0
    assert Path("1.jsonl").read_bytes() == Path("2.jsonl").read_bytes()


def test_stdin_is_read_with_a_dash_and_without_one(khulasa):
    for arguments in (("-",), ()):
        code, out, _ = khulasa("clean", *arguments, stdin=ARTICLE.encode())
        assert code == 0
        assert records(out)[0]["clean"]["text"] == ARTICLE


def test_a_report_for_people_keeps_right_to_left_lines_apart(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    code, out, _ = khulasa("run", "a.txt", "--report")
    assert code == 0
    for heading in ("Clean text", "Translation", "Summary, Arabic", "Summary, English", "Scores"):
        assert heading in out
    assert "\x1b[" not in out  # no colour where there is no terminal
    assert any(
        line and all(not c.isascii() or c in " .،3" for c in line) for line in out.split("\n")
    )


@pytest.mark.parametrize("command", ["clean", "translate", "summarize"])
def test_single_stages_fill_in_what_they_say(khulasa, command):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    code, out, _ = khulasa(command, "a.txt")
    (record,) = records(out)
    assert code == 0
    assert bool(record["translation"]) == (command == "translate")
    assert bool(record["summaries"]) == (command == "summarize")


def test_unknown_columns_are_carried_through_and_references_scored(khulasa):
    line = {"id": 7, "body": ARTICLE, "section": "محلي", "reference_translation": "Three schools"}
    Path("a.jsonl").write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    code, out, _ = khulasa("run", "a.jsonl", "--text-column", "body")
    (record,) = records(out)
    assert code == 0
    assert record["id"] == "7"
    assert record["metadata"]["section"] == "محلي"
    assert "bleu" in record["scores"]["translation"]


def test_references_may_come_from_a_parallel_file(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    Path("r.jsonl").write_text(
        '{"id": "a", "reference_summary_ar": "مدارس جديدة"}\n', encoding="utf-8"
    )
    code, out, _ = khulasa("run", "a.txt", "--references", "r.jsonl")
    assert code == 0
    assert records(out)[0]["scores"]["summary_ar"]["rouge1"] >= 0


# Bad input: each gets its message, its exit code, and nothing on stdout that is not a record.


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "empty"),
        ("blank.txt", b" \n\t \n", "white space"),
        ("english.txt", b"No Arabic here at all.", "no Arabic"),
        ("nul.txt", b"\x00\x00\x00\x00", ""),
        ("paper.txt", b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n", "PDF"),
    ],
)
def test_a_file_with_nothing_to_process_is_an_error(khulasa, name, content, message):
    Path(name).write_bytes(content)
    code, out, err = khulasa("clean", name)
    assert (code, out) == (1, "")
    assert name in err
    assert message in err


def test_windows_1256_is_converted_and_said(khulasa):
    Path("old.txt").write_bytes(ARTICLE.encode("windows-1256"))
    code, out, _ = khulasa("clean", "old.txt")
    (record,) = records(out)
    assert code == 0
    assert record["clean"]["text"] == ARTICLE
    assert any("1256" in issue["detail"] for issue in record["issues"])


def test_nul_bytes_in_a_text_are_dropped(khulasa):
    Path("a.txt").write_bytes(ARTICLE.replace(" ", " \x00").encode())
    code, out, _ = khulasa("clean", "a.txt")
    assert code == 0
    assert records(out)[0]["clean"]["text"] == ARTICLE


def test_arabic_mixed_with_other_scripts_is_processed_and_noted(khulasa):
    Path("a.txt").write_text(
        "قال الوزير: the whole speech was in English, 全部. وشكرهم.", encoding="utf-8"
    )
    code, out, _ = khulasa("clean", "a.txt")
    assert code == 0
    assert records(out)[0]["issues"][0]["kind"] == "mixed_script"


def test_a_line_of_five_megabytes_is_cleaned_whole(khulasa):
    line = "أعلنت الوزارة أن مدارس جديدة ستفتح في المدينة ورحب الأهالي بالقرار " * 42_000
    Path("long.txt").write_text(line, encoding="utf-8")
    assert Path("long.txt").stat().st_size > 5_000_000
    code, out, _ = khulasa("clean", "long.txt")
    assert code == 0
    assert records(out)[0]["clean"]["text"] == line.strip()


def test_special_tokens_in_the_text_do_no_harm(khulasa):
    Path("a.txt").write_text(">>fra<< قال الوزير </s> إن العمل <pad> بدأ.", encoding="utf-8")
    code, out, _ = khulasa("run", "a.txt")
    (record,) = records(out)
    assert code == 0
    assert "</s>" not in record["clean"]["text"]
    assert record["translation"]["sentences"][0]["target"]


def bad_lines() -> str:
    good = json.dumps({"id": "good", "text": ARTICLE}, ensure_ascii=False)
    return "\n".join([good, "{not json", '{"id": "no text"}', '["list"]', '{"text": 5}', good, ""])


def test_bad_records_go_to_the_rejects_file_and_the_run_goes_on(khulasa):
    Path("a.jsonl").write_text(bad_lines(), encoding="utf-8")
    code, _, err = khulasa("clean", "a.jsonl", "-o", "out.jsonl")
    assert code == 0
    assert len(records(Path("out.jsonl").read_text(encoding="utf-8"))) == 2
    rejects = records(Path("out.rejects.jsonl").read_text(encoding="utf-8"))
    assert [reject["line"] for reject in rejects] == [2, 3, 4, 5]
    assert rejects[0]["raw"] == "{not json"
    assert "2 done, 4 rejected" in err


def test_strict_turns_rejects_into_exit_code_4(khulasa):
    Path("a.jsonl").write_text(bad_lines(), encoding="utf-8")
    code, out, err = khulasa("clean", "a.jsonl", "--strict")
    assert code == 4
    assert len(records(out)) == 2
    assert "a.jsonl:2" in err


BAD = {
    b"{not json": "not JSON",
    b'{"id": "x", "text": "\xd9\x86': "not JSON",
    b'{"text": "\xd9\x86\xd8\xb5 \xff\xfe\xfd"}': "undecodable",
    '["نص"]'.encode(): "a record must be a JSON object, not a list",
    b"17": "a record must be a JSON object",
    b'{"id": "x", "body": "y"}': "no column 'text' (there are: id, body",
    b'{"text": ""}': "'text' is empty",
    b'{"text": " \\n "}': "'text' is empty",
    b'{"text": ["x"]}': "'text' must be a string, not a list",
    '{"text": "نص", "title": 5}'.encode(): "'title' must be a string",
    '{"text": "نص", "metadata": "x"}'.encode(): "'metadata' must be an object",
    b'{"text": "No Arabic at all."}': "no Arabic text",
    '{"text": "\u200b\u00ad"}'.encode(): "no text is left after cleaning",
    b"[" * 200 + b"]" * 200: "nested more than 100 deep",
}


def test_ten_thousand_documents_with_one_bad_in_a_hundred_lose_nothing_else(khulasa):
    kinds = list(BAD.items())
    lines = [
        kinds[n // 100 % len(kinds)][0]
        if n % 100 == 37
        else json.dumps({"id": n, "text": f"وصل القطار رقم {n}."}, ensure_ascii=False).encode()
        for n in range(10_000)
    ]
    Path("in.jsonl").write_bytes(b"\n".join(lines))
    code, out, err = khulasa("clean", "in.jsonl", "-o", "out.jsonl")
    assert (code, out) == (0, "")
    assert "9,900 done, 100 rejected, kept in out.rejects.jsonl" in err
    done = [record["id"] for record in records(Path("out.jsonl").read_text(encoding="utf-8"))]
    assert done == [str(n) for n in range(10_000) if n % 100 != 37]
    rejects = records(Path("out.rejects.jsonl").read_text(encoding="utf-8"))
    assert [reject["line"] for reject in rejects] == list(range(38, 10_000, 100))
    for n, reject in enumerate(rejects):
        raw, reason = kinds[n % len(kinds)]
        assert reject["source"] == "in.jsonl"
        assert reason in reject["reason"]
        assert reject["raw"]
        assert reject["raw"] in raw.decode(errors="backslashreplace")
    report = json.loads(Path("out.report.json").read_text(encoding="utf-8"))
    assert (report["documents"], report["rejects"]) == (9900, 100)
    # It is finished, so this only looks.
    code, _, err = khulasa("clean", "in.jsonl", "-o", "out.jsonl", "--strict")
    assert code == 4
    assert "finished already" in err


def test_a_run_that_was_begun_with_something_else_says_what_and_exits_with_2(khulasa):
    Path("a.jsonl").write_text(bad_lines(), encoding="utf-8")
    parts = Path("out.jsonl.parts")
    parts.mkdir()
    manifest = {"config": {"window": 9}, "inputs": {"a.jsonl": {"bytes": 1}}}
    (parts / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, _, err = khulasa("clean", "a.jsonl", "-o", "out.jsonl")
    assert code == 2
    for words in ("input a.jsonl: its content has changed", "config.window: 9 -> 64", "--restart"):
        assert words in err
    assert khulasa("clean", "a.jsonl", "-o", "out.jsonl", "--restart")[0] == 0
    assert not parts.exists()


def test_stdin_into_a_file_is_no_run_to_go_on_with(khulasa):
    code, _, err = khulasa("clean", "-", "-o", "out.jsonl", stdin=ARTICLE.encode())
    assert code == 0
    assert len(records(Path("out.jsonl").read_text(encoding="utf-8"))) == 1
    parts = Path("out.jsonl.parts")
    parts.mkdir()
    (parts / "manifest.json").write_text('{"inputs": {"-": null}}')
    code, _, err = khulasa("clean", "-", "-o", "out.jsonl", stdin=ARTICLE.encode())
    assert code == 0
    assert "cannot be read again" in err


def test_what_goes_to_stderr_can_be_json(khulasa):
    Path("a.jsonl").write_text(bad_lines(), encoding="utf-8")
    options = ("--log-json", "--progress-every", "1e-9")
    code, _, err = khulasa("clean", "a.jsonl", "-o", "out.jsonl", *options)
    events = records(err)
    assert code == 0
    assert all({"time", "level", "message", "event"} <= event.keys() for event in events)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "progress"
    assert kinds.count("reject") == 4
    (finished,) = (event for event in events if event["event"] == "finished")
    assert (finished["documents"], finished["rejects"]) == (2, 4)
    code, _, err = khulasa("clean", "gone.jsonl", "--log-json")
    assert code == 1
    assert records(err)[0]["level"] == "error"


def test_a_short_run_says_its_result_only(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    code, out, err = khulasa("clean", "a.txt", "-o", "out.jsonl")
    assert (code, out) == (0, "")
    assert err.count("\n") == 1
    assert err.startswith("khulasa: out.jsonl: 1 document in ")


def test_columns_can_be_named(khulasa):
    line = {"key": "k", "head": "عنوان", "day": "2026-01-02", "body": ARTICLE, "id": 3}
    Path("a.jsonl").write_text(json.dumps(line, ensure_ascii=False), encoding="utf-8")
    names = {"text": "body", "id": "key", "title": "head", "date": "day"}
    options = [f"--{ours}-column={theirs}" for ours, theirs in names.items()]
    (record,) = records(khulasa("clean", "a.jsonl", *options)[1])
    assert (record["id"], record["title"], record["date"]) == ("k", "عنوان", "2026-01-02")
    assert record["metadata"]["id"] == 3


def test_summaries_can_be_aligned(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    (record,) = records(khulasa("run", "a.txt", "--json", "--summaries", "aligned")[1])
    targets = [sentence["target"] for sentence in record["translation"]["sentences"]]
    chosen = [n for s in record["summaries"]["ar"]["sentences"] for n in s["source"]]
    assert chosen
    assert [s["text"] for s in record["summaries"]["en"]["sentences"]] == [
        targets[number] for number in chosen
    ]


def test_translations_are_cached_and_batches_sized(khulasa):
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    first = khulasa("translate", "a.txt", "--cache", "cache.db", "--batch-tokens", "100")
    assert first[0] == 0
    assert Path("cache.db").stat().st_size > 0
    assert khulasa("translate", "a.txt", "--cache", "cache.db") == first


@pytest.mark.parametrize(
    ("arguments", "code", "messages"),
    [
        (["run", "a.jsonl", "--report", "-o", "x.jsonl"], 2, ["--report", "-o"]),
        (["run", "a.jsonl", "--batch-tokens", "many"], 2, ["many", "auto"]),
        (["run", "a.jsonl", "-o", "x.jsonl", "--shard-size", "0"], 2, ["--shard-size"]),
        (["run", "hf://owner/news"], 1, ["hf://NAME", "SPLIT"]),
        (["run", "nowhere.txt"], 1, ["nowhere.txt", "no such file"]),
        (["run", "folder"], 1, ["folder", "no file to read"]),
        (["run", "data.xyz"], 1, ["data.xyz", ".jsonl"]),
        (["run", "table.csv"], 1, ["table.csv", "text", "--text-column"]),
        (["run", "table.csv", "--config", "defautl"], 2, ["did you mean 'default'"]),
        (["run", "table.csv", "--config", "typo.yaml"], 2, ["devise", "device"]),
        (["run", "a.jsonl", "--device", "tpu"], 2, ["tpu", "cuda"]),
        (["run", "a.jsonl", "-o", "a.jsonl"], 1, ["a.jsonl", "input"]),
        (["run", "--config", "model.yaml", "a.jsonl"], 1, ["khulasa-ar-em", "khulasa-ar-en"]),
        (["run", "--config", "broken.yaml", "a.jsonl"], 1, ["source.spm"]),
        (["rnu", "a.jsonl"], 2, ["Did you mean 'run'"]),
        (["run", "--nonsense", "a.jsonl"], 2, ["--nonsense"]),
    ],
)
def test_wrong_usage_says_what_and_what_to_do(khulasa, tmp_path, marian, arguments, code, messages):
    Path("folder").mkdir()
    Path("data.xyz").write_text("x", encoding="utf-8")
    Path("table.csv").write_text("body,id\nنص,1\n", encoding="utf-8")
    Path("a.jsonl").write_text(json.dumps({"text": ARTICLE}) + "\n", encoding="utf-8")
    config = "translate: {checkpoint: %s}\nsummarize: {ar: x, en: x}\n"
    Path("typo.yaml").write_text(config % "x" + "devise: cpu\n", encoding="utf-8")
    Path("model.yaml").write_text(config % "khulasa-ar-em", encoding="utf-8")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in marian.path.iterdir():
        if file.name != "source.spm":
            (damaged / file.name).write_bytes(file.read_bytes())
    Path("broken.yaml").write_text(config % damaged, encoding="utf-8")
    exit_code, out, err = khulasa(*arguments)
    assert exit_code == code, err
    assert out == ""
    for message in messages:
        assert message in err
    assert "Traceback" not in err


def test_an_unreachable_hub_names_the_ways_out(khulasa):
    Path("hub.yaml").write_text(
        "translate: {checkpoint: nobody/no-such-model, revision: abc}\nsummarize: {ar: x, en: x}\n",
        encoding="utf-8",
    )
    Path("a.txt").write_text(ARTICLE, encoding="utf-8")
    code, _, err = khulasa("run", "--config", "hub.yaml", "a.txt")
    assert code == 1
    assert "nobody/no-such-model" in err
    assert "HF_HOME" in err


def test_doctor_tells_devices_engines_models_and_cache(khulasa, marian):
    code, out, _ = khulasa("doctor")
    assert code == 0
    for word in ("python", "torch", "cuda passed over", "cache", "translator", marian.digest[:12]):
        assert word in out


def test_doctor_names_a_model_that_cannot_be_used(khulasa):
    Path("bad.yaml").write_text("translate: {checkpoint: nope}\nsummarize: {ar: nope, en: nope}\n")
    code, out, _ = khulasa("doctor", "--config", "bad.yaml")
    assert code == 1
    assert "nope" in out


def test_training_needs_a_recipe_of_its_own_task(khulasa):
    code, _, err = khulasa("train", "summarizer", "--config", "translator", "--output", "run")
    assert code == 2
    assert "recipe for a translator" in err


# As real processes.


def test_help_names_the_commands():
    run = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True)
    for command in ("run", "clean", "translate", "summarize", "train", "doctor"):
        assert command in run.stdout


def test_one_document_on_a_terminal_is_a_coloured_report(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(ARTICLE, encoding="utf-8")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, "clean", path], stdout=follower, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other end has closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    assert process.wait() == 0
    assert b"Clean text" in shown
    assert b"\x1b[" in shown


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps({"text": ARTICLE}) + "\n") * 2000, encoding="utf-8")
    process = subprocess.Popen(
        [SCRIPT, "clean", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(100)
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.wait()
    assert "Traceback" not in errors
