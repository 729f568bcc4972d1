"""Nights in a row from the command line, with a fake pipeline; data sets; the other commands."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from khulasa.cli.main import main
from khulasa.eval.bertscore import BertScorer
from khulasa.eval.history import History
from khulasa.eval.job import Example
from khulasa.models.errors import ConfigError, InputError
from khulasa.pipeline import evaluate as module
from khulasa.pipeline.config import CONFIGS, ScoreConfig, load_config
from khulasa.pipeline.document import Clean, Summary, SummarySentence, Translation
from khulasa.pipeline.evaluate_config import (
    DatasetConfig,
    evaluation_names,
    home_of,
    load_evaluation,
    make_plan,
)
from khulasa.pipeline.evaluate_data import SHIPPED_DATA, load_examples
from khulasa.pipeline.evaluate_system import pipeline_system
from khulasa.pipeline.pipeline import Pipeline
from khulasa.pipeline.readers import Reject

ARTICLES = [
    json.loads(line)
    for line in (SHIPPED_DATA / "articles.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]
BY_TEXT = {article["text"]: article for article in ARTICLES}


class FakePipeline:
    """Gives the references back; `damage` says how many words to drop, `dies_at` when to stop."""

    damage = 0
    dies_at: int | None = None
    rejects = False
    made = 0
    seen = 0

    def __init__(self, settings, stages) -> None:
        type(self).made += 1
        self.stages = [SimpleNamespace(translator=self)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run_info(self):
        return {"engine": "fake", "device": "cpu"}

    def map(self, documents, on_reject):
        for document in documents:
            if type(self).seen == self.dies_at:
                raise KeyboardInterrupt
            type(self).seen += 1
            article = BY_TEXT[document.text]
            if self.rejects and article["id"][-1] in "01234":
                on_reject(Reject(document.id, "", None, "no Arabic text"))
                continue
            summaries = {
                language: Summary(text, (SummarySentence(text, (0,)),))
                for language in ("ar", "en")
                if (text := self.spoil(article[f"reference_summary_{language}"]))
            }
            yield replace(
                document,
                clean=Clean(document.text),
                translation=Translation(self.spoil(article["reference_translation"]), ()),
                summaries=summaries,
            )

    def translate(self, sentences):
        return [SimpleNamespace(target=f"In English: {len(text)}") for text in sentences]

    def spoil(self, text: str) -> str:
        if not self.damage:
            return text
        return " ".join(word for i, word in enumerate(text.split(" ")) if i % self.damage)


@pytest.fixture
def pipeline(monkeypatch):
    """A fresh class each time; change its attributes to change the model."""
    fake = type("Fake", (FakePipeline,), {})
    monkeypatch.setattr("khulasa.pipeline.pipeline.Pipeline", fake)
    monkeypatch.setattr(module, "model_digests", lambda *_: {"translator": f"fake@{fake.damage}"})
    return fake


@pytest.fixture
def khulasa(monkeypatch, capfd, tmp_path):
    """Run a command in this process; gives its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("KHULASA_CONFIG", "KHULASA_DEVICE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["khulasa", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return stop.value.code or 0, out, err

    return run


def folders() -> list[Path]:
    return sorted(path for path in Path("runs").iterdir() if path.is_dir())


def test_two_good_nights_and_one_with_a_damaged_model(khulasa, pipeline):
    nights = []
    for damage in (0, 0, 3):
        pipeline.damage = damage
        nights.append(khulasa("evaluate", "nightly", "--limit", 12, "--summary", "summary.md"))
    assert [code for code, _, _ in nights] == [0, 0, 3]
    first, second, third = (out for _, out, _ in nights)
    assert "accepted as the baseline" in first
    assert "no other run of this job is accepted" in first
    assert "passed, 11 metrics within tolerance" in second
    assert "failed: Translation chrf++, Translation bleu" in third

    good, bad = folders()[1:]
    page = (bad / "report.html").read_text(encoding="utf-8")
    assert '<span class="verdict">failed</span>' in page
    assert "Translation chrf++" in page
    assert folders()[0].name in page  # what it was compared with
    assert "translator (fake@0 → fake@3)" in page
    assert '<span class="verdict">passed</span>' in (good / "report.html").read_text("utf-8")
    assert (bad / "summary.md").read_text("utf-8").startswith("### ❌ nightly: failed")
    assert Path("summary.md").read_text("utf-8").count("### ") == 3

    verdicts = [entry.verdict for entry in History(Path("runs/history.sqlite")).runs()]
    assert verdicts == ["no baseline", "passed", "failed"]
    gate = json.loads((bad / "gate.json").read_bytes())
    assert gate["verdict"] == "failed"


def test_what_it_takes_to_repeat_a_run_is_in_its_folder(khulasa, pipeline):
    khulasa("evaluate", "nightly", "--limit", 6)
    (folder,) = folders()
    info = json.loads((folder / "run.json").read_bytes())
    assert info["finished"]
    assert info["models"] == {"translator": "fake@0"}
    assert (info["engine"], info["device"]) == ("fake", "cpu")
    assert info["data"][0]["documents"] == 6
    assert len(info["data"][0]["sha256"]) == 64
    assert info["config"]["pipeline"]["translate"]["checkpoint"] == "khulasa-ar-en"
    assert info["config"]["evaluation"]["samples"] == 1000
    assert {"python", "khulasa", "sacrebleu"} <= info["versions"].keys()
    assert {"outputs", "score"} <= info["timings"].keys()
    assert info["seeds"] == {"bootstrap": 12345}


def test_a_killed_run_goes_on_and_is_one_run(khulasa, pipeline):
    pipeline.dies_at = 18
    assert khulasa("evaluate", "nightly", "--limit", 20)[0] == 130
    pipeline.dies_at = None
    code, _, err = khulasa("evaluate", "nightly", "--limit", 20)
    assert code == 0
    assert "going on with" in err
    assert len(folders()) == 1
    assert pipeline.seen == 18 + 4  # the first batch of 16 was safe
    assert len((folders()[0] / "outputs.jsonl").read_text("utf-8").splitlines()) == 20


def test_a_killed_run_is_left_alone_when_the_model_has_changed(khulasa, pipeline):
    pipeline.dies_at = 0
    khulasa("evaluate", "nightly", "--limit", 6)
    pipeline.dies_at, pipeline.damage = None, 5
    code, _, err = khulasa("evaluate", "nightly", "--limit", 6)
    assert (code, "going on" in err, len(folders())) == (0, False, 2)


def test_scoring_can_be_redone_alone(khulasa, pipeline):
    khulasa("evaluate", "nightly", "--limit", 6)
    (folder,) = folders()
    before = (folder / "scores.json").read_bytes()
    for name in ("scores.json", "report.html", "gate.json"):
        (folder / name).unlink()
    pipeline.made = 0
    code, _, _ = khulasa("evaluate", "nightly", "--score-only", "latest")
    assert (code, pipeline.made) == (0, 0)
    assert (folder / "scores.json").read_bytes() == before
    assert (folder / "report.html").is_file()


def test_documents_that_failed_count_and_are_shown(khulasa, pipeline):
    khulasa("evaluate", "nightly", "--limit", 8)
    pipeline.rejects = True
    code, out, _ = khulasa("evaluate", "nightly", "--limit", 8, "--fresh")
    assert "documents could not be processed and count as empty" in out
    page = (folders()[-1] / "report.html").read_text("utf-8")
    assert "no Arabic text" in page
    assert "could not be processed and count as empty" in page
    assert code in (0, 3)


def test_another_run_is_accepted_as_the_baseline(khulasa, pipeline):
    for damage in (0, 3, 3):
        pipeline.damage = damage
        khulasa("evaluate", "nightly", "--limit", 8)
    code, out, _ = khulasa("accept", folders()[1].name, "--note", "known, a smaller model")
    assert (code, "accepted" in out) == (0, True)
    assert khulasa("evaluate", "nightly", "--limit", 8)[0] == 0
    code, out, _ = khulasa("history", "--metric", "translation/chrf++")
    assert code == 0
    rows = [line for line in out.split("\n") if "-nightly" in line]
    assert len(rows) == 4
    assert "known, a smaller model" in rows[1]
    assert "(1) articles/translation/chrf++" in out
    listed = json.loads(khulasa("history", "--json")[1])
    assert [r["verdict"] for r in listed] == ["no baseline", "failed", "failed", "passed"]
    assert khulasa("accept", "nothing-like-it")[0] == 1


def test_runs_are_compared_by_name(khulasa, pipeline):
    for damage in (0, 3, 4):
        pipeline.damage = damage
        khulasa("evaluate", "nightly", "--limit", 8)
    a, b, c = (folder.name for folder in folders())
    code, out, _ = khulasa("compare", a, b, "--report", "page.html")
    assert code == 0
    (row,) = [line for line in out.split("\n") if "translation/chrf++" in line]
    assert row.endswith("*")
    assert "<!DOCTYPE html>" in Path("page.html").read_text("utf-8")
    code, out, _ = khulasa("compare", a, b, c, "--test", "randomization", "--samples", 99, "--json")
    rows = json.loads(out)
    assert {row["run"] for row in rows} == {b, c}
    chrf = [row for row in rows if row["metric"] == "chrf++"]
    assert all(row["adjusted_p"] >= row["p_value"] for row in chrf)
    assert all(row["test"] == "randomization" for row in chrf)


def test_a_named_run_or_thresholds_may_be_the_baseline(khulasa, pipeline):
    pipeline.damage = 3
    khulasa("evaluate", "nightly", "--limit", 8)
    Path("limits.yaml").write_text("translation/chrf++: 95\n", "utf-8")
    code, out, _ = khulasa("evaluate", "nightly", "--limit", 8, "--baseline", "limits.yaml")
    assert code == 3
    assert "failed: Translation chrf++" in out
    first = folders()[0].name
    assert khulasa("evaluate", "nightly", "--limit", 8, "--baseline", first)[0] == 0
    Path("limits.yaml").write_text("chrf++: many\n", "utf-8")
    code, _, err = khulasa("evaluate", "nightly", "--limit", 8, "--baseline", "limits.yaml")
    assert (code, "'many' is not a number" in err) == (2, True)


# --- score ---


def write(name: str, *lines: str) -> str:
    Path(name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return name


def test_files_are_scored_line_by_line(khulasa, tmp_path):
    hyp = write("hyp.txt", "The minister opened three schools.", "He left.")
    ref = write("ref.txt", "The minister opened three schools.", "He went away.")
    code, out, _ = khulasa(
        "score", "--hyp", hyp, "--ref", ref, "--metric", "chrf++,rouge1", "--lang", "en", "--json",
        "--segments",
    )  # fmt: skip
    assert code == 0
    chrf, rouge = json.loads(out)
    assert chrf["metric"] == "chrf++"
    assert chrf["per_segment"][0] == pytest.approx(100)
    assert rouge["value"] == pytest.approx(100 * (1 + 0.4) / 2)
    assert (rouge["segments"], rouge["low"] <= rouge["value"] <= rouge["high"]) == (2, True)
    code, out, _ = khulasa("score", "--hyp", hyp, "--ref", ref, "--metric", "bleu", "--lang", "en")
    assert out.startswith("bleu")
    assert "version:" in out


def test_arabic_options_reach_the_tokenizer(khulasa, tmp_path):
    hyp, ref = write("h", "مدرسه احمد"), write("r", "مدرسة أحمد")
    arguments = (
        "score",
        "--hyp",
        hyp,
        "--ref",
        ref,
        "--metric",
        "rouge1",
        "--lang",
        "ar",
        "--json",
    )
    assert json.loads(khulasa(*arguments)[1])[0]["value"] == 0
    folded = khulasa(*arguments, "--fold", "alef", "--fold", "teh_marbuta")[1]
    assert json.loads(folded)[0]["value"] == pytest.approx(100)
    assert "alef:fold" in json.loads(folded)[0]["signature"]


def test_only_a_line_feed_ends_a_segment(khulasa, tmp_path):
    hyp, ref = write("h", "one\u2028two\x85three"), write("r", "one two three")
    code, out, _ = khulasa(
        "score", "--hyp", hyp, "--ref", ref, "--metric", "chrf", "--lang", "en", "--json"
    )
    assert (code, json.loads(out)[0]["segments"]) == (0, 1)


@pytest.mark.parametrize(
    ("lines", "metric", "exit_code", "message"),
    [
        (("a",), "bleu", 1, "h has 2 lines and r has 1"),
        (("a", " "), "bleu", 1, "r: line 2 is empty"),
        (("a", "b"), "blue", 2, "did you mean 'bleu'"),
        (("a", "b"), "numbers_kept", 2, "numbers_kept needs sources: give them with --src"),
        (("a", "b"), "bertscore", 2, "give the folder of an encoder"),
        (("a", "b"), "source_dice", 1, "compares the two summaries of an evaluation"),
    ],
)
def test_what_cannot_be_scored_is_an_error(khulasa, tmp_path, lines, metric, exit_code, message):
    hyp, ref = write("h", "a", "b"), write("r", *lines)
    code, out, err = khulasa(
        "score", "--hyp", hyp, "--ref", ref, "--metric", metric, "--lang", "en"
    )
    assert (code, out) == (exit_code, "")
    assert message in err


def test_references_that_are_not_given_or_not_there_are_asked_for(khulasa, tmp_path):
    hyp = write("h", "a")
    code, _, err = khulasa("score", "--hyp", hyp, "--metric", "bleu", "--lang", "en")
    assert (code, "bleu needs references: give them with --ref" in err) == (2, True)
    code, _, err = khulasa("score", "--hyp", hyp, "--ref", "r", "--metric", "bleu", "--lang", "en")
    assert (code, "r: there is no such file" in err) == (1, True)


def test_a_metric_behind_a_command_is_scored_like_the_others(khulasa, tmp_path):
    hyp, ref = write("h", "a b", "c"), write("r", "a b", "d")
    code = "import sys, json\nfor x in map(json.loads, sys.stdin):\n"
    code += " print(json.dumps({'score': 100.0 * (x['hypothesis'] == x['reference'])}))"
    Path("exact.py").write_text(code, "utf-8")
    arguments = ("score", "--hyp", hyp, "--ref", ref, "--lang", "en", "--json", "--metric")
    command = f"exact={sys.executable} exact.py"
    found = json.loads(khulasa(*arguments, "exact,chrf", "--external", command)[1])
    assert [result["metric"] for result in found] == ["exact", "chrf"]
    assert found[0]["value"] == 50
    code, _, err = khulasa(*arguments, "exact", "--external", "exact.py")
    assert (code, "give NAME=COMMAND" in err) == (2, True)


# --- configurations and data ---


@pytest.mark.parametrize("name", evaluation_names())
def test_evaluations_that_ship_are_valid(name):
    config, path = load_evaluation(name)
    assert config.job == path.stem == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metric: {}", "unknown key; did you mean 'metrics'"),
        ("tolerances: {rouge1: 1}", "'rouge1' is not measured"),
        ("tolerances: {translation/blue: 1}", "did you mean 'translation/bleu'"),
        ("bertscore: {x: {layer: 9}}", "bertscore.x.encoder: this key is missing"),
        ("bertscore: {x: {encoder: a, layers: 9}}", "did you mean 'layer'"),
        ("tolerances: {bleu: -1}", "cannot be negative"),
        ("metrics: {translation: [blue]}", "did you mean 'bleu'"),
        ("datasets: [{name: x}]", "give one of path, source or hub, not none"),
        ("datasets: [{name: x, source: a}]", "source and reference go together"),
        ("datasets: [{name: x, path: a, limits: 3}]", "did you mean 'limit'"),
        ("datasets: [{name: x, path: a}, {name: x, path: b}]", "a name is there twice"),
        ("datasets: [{name: ../x, path: a}]", "name: String should match"),
    ],
)
def test_a_wrong_evaluation_is_named_with_what_to_write(tmp_path, text, message):
    base = {
        "datasets": "datasets: [{name: a, path: shipped}]",
        "metrics": "metrics: {translation: [bleu]}",
    }
    base[text.split(":")[0]] = text
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(base.values()), "utf-8")
    with pytest.raises(ConfigError) as error:
        load_evaluation(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["nigthly", "configs/nightly.yaml", "configs/nightly"])
def test_an_unknown_evaluation_suggests_the_nearest(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'nightly'"):
        load_evaluation(name)


def test_evaluations_are_found_beside_the_configurations_of_pipelines():
    config, path = load_evaluation(CONFIGS / "nightly.yaml")
    assert (config.job, path) == ("nightly", CONFIGS / "evaluation" / "nightly.yaml")
    assert home_of(path) == Path()  # as for the evaluation that ships, by name


@pytest.mark.parametrize("name", ["default", CONFIGS / "default.yaml"])
def test_the_configuration_of_a_pipeline_is_told_from_that_of_an_evaluation(name):
    with pytest.raises(ConfigError, match="configuration of a pipeline, not of an evaluation"):
        load_evaluation(name)


def test_encoders_and_commands_of_an_evaluation_are_metrics(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "datasets: [{name: a, path: shipped}]\n"
        "metrics: {translation: [comet, closeness]}\n"
        "external: {comet: {command: [comet]}}\n"
        "bertscore: {closeness: {encoder: xlm-r, layer: 9, idf: true}}\n",
        "utf-8",
    )
    config, _ = load_evaluation(path)
    _, scorer = make_plan(config, ScoreConfig(), tmp_path).others["closeness"]
    assert scorer == BertScorer("closeness", str(tmp_path / "xlm-r"), layer=9, idf=True)


def test_a_limit_draws_the_same_documents_whatever_is_added(tmp_path):
    whole = load_examples(DatasetConfig(name="a", path="shipped"), tmp_path)
    some = load_examples(DatasetConfig(name="a", path="shipped", limit=20), tmp_path)
    more = load_examples(DatasetConfig(name="a", path="shipped", limit=30), tmp_path)
    assert len(whole) == 130
    assert len(some) == 20
    order = [example.id for example in whole]
    ids = [example.id for example in some]
    assert ids == sorted(ids, key=order.index)
    assert set(ids) < {example.id for example in more}


def test_columns_are_mapped_and_references_wanted_for_the_tasks_only(tmp_path):
    line = {"id": 7, "body": "افتتح الوزير مدرسة.", "abs": "افتتاح مدرسة. وشكر.", "title": "خبر"}
    (tmp_path / "x.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    dataset = DatasetConfig(
        name="x", path="x.jsonl", columns={"text": "body", "reference_summary_ar": "abs"}
    )
    (example,) = load_examples(dataset, tmp_path, ["summary_ar"])
    # A sentence a line, for rougeLsum.
    summary = {"summary_ar": "افتتاح مدرسة.\nوشكر."}
    assert example == Example("x", "7", line["body"], summary, "خبر")
    assert load_examples(dataset, tmp_path, ["translation"])[0].references == {}


def parallel(tmp_path, ar, en, documents=None) -> DatasetConfig:
    for name, lines in (("s", ar), ("r", en), ("d", documents or [])):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), "utf-8")
    return DatasetConfig(name="p", source="s", reference="r", documents="d" if documents else None)


def test_aligned_files_are_segments_or_documents(tmp_path):
    ar, en = ["واحد", "اثنان", "ثلاثة"], ["one", "two", "three"]
    found = load_examples(parallel(tmp_path, ar, en), tmp_path)
    assert [(e.id, e.source, e.references["translation"]) for e in found] == [
        ("1", "واحد", "one"),
        ("2", "اثنان", "two"),
        ("3", "ثلاثة", "three"),
    ]
    found = load_examples(parallel(tmp_path, ar, en, ["bbc.1", "bbc.1", "cnn.2"]), tmp_path)
    assert [(e.id, e.source, e.references["translation"]) for e in found] == [
        ("bbc.1", "واحد\n\nاثنان", "one\n\ntwo"),
        ("cnn.2", "ثلاثة", "three"),
    ]


@pytest.mark.parametrize(
    ("ar", "en", "documents", "message"),
    [
        (["واحد", "اثنان"], ["one"], None, "s has 2 lines and r 1"),
        (["واحد", ""], ["one", "two"], None, "a segment of 2 is empty"),
        (["واحد"], ["one"], ["a", "b"], "d names 2 segments and there are 1"),
    ],
)
def test_files_that_are_not_aligned_are_refused(tmp_path, ar, en, documents, message):
    with pytest.raises(InputError, match=message):
        load_examples(parallel(tmp_path, ar, en, documents), tmp_path)


def test_missing_data_say_how_to_point_at_them(khulasa, pipeline):
    code, _, err = khulasa("evaluate", "ntrex")
    assert code == 1
    assert "--data" in err
    assert not Path("runs").exists()


def test_a_hub_data_set_is_mapped(monkeypatch, tmp_path):
    import datasets

    asked = {}

    def load_dataset(name, subset, **options):
        asked.update(name=name, subset=subset, **options)
        return [{"id": "1", "url": "u", "text": "نص قصير.", "summary": "ملخص.", "title": "عنوان"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    config, _ = load_evaluation("xlsum-hub")
    (example,) = load_examples(config.datasets[0], tmp_path, config.metrics)
    assert (example.id, example.source, example.title) == ("1", "نص قصير.", "عنوان")
    assert example.references == {"summary_ar": "ملخص."}
    assert asked["name"] == "csebuetnlp/xlsum"
    assert asked["data_files"] == {"test": "arabic/test/*.parquet"}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(InputError, match="cannot be read from the hub"):
        load_examples(config.datasets[0], tmp_path)


def test_a_real_pipeline_is_a_system(marian):
    settings = load_config(
        "default",
        {
            "threads": 1,
            "translate.checkpoint": str(marian.path),
            "summarize.ar": str(marian.path),
            "summarize.en": str(marian.path),
        },
        environment={},
    )
    examples = [
        Example("x", "same", "أعلنت الوزارة افتتاح 3 مدارس. ورحب الأهالي بالقرار."),
        Example("x", "english", "There is no Arabic here."),
    ]
    with Pipeline(settings, ("clean", "translate", "summarize")) as pipeline:
        good, bad = pipeline_system(pipeline)(examples)
    assert set(good.texts) == {"translation", "summary_ar", "summary_en"}
    assert good.source == examples[0].source
    assert good.evidence["summary_ar"]
    assert bad.texts == {}
    assert "no Arabic" in bad.error


# --- the set that ships ---


def test_the_shipped_set_is_aligned_sentence_by_sentence():
    assert len(ARTICLES) == 130
    assert len({article["id"] for article in ARTICLES}) == 130
    pairs = 0
    for article in ARTICLES:
        ar_end = en_end = 0
        for ar_start, ar_stop, en_start, en_stop in article["alignment"]:
            # Between two sentences there is nothing but space.
            assert article["text"][ar_end:ar_start].strip() == ""
            assert article["reference_translation"][en_end:en_start].strip() == ""
            assert article["text"][ar_start:ar_stop].strip()
            ar_end, en_end = ar_stop, en_stop
            pairs += 1
        assert ar_end == len(article["text"])
        assert en_end == len(article["reference_translation"])
        assert article["text"].count("\n\n") == article["reference_translation"].count("\n\n")
        assert article["reference_summary_ar"]
        assert article["reference_summary_en"]
    card = (SHIPPED_DATA / "README.md").read_text("utf-8")
    assert f"{pairs:,}" in card
    assert "CC0" in card
    assert (SHIPPED_DATA / "articles.jsonl").stat().st_size < 600_000
