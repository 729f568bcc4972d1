"""The report: what it says, that nothing in the data escapes, and its parts."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.eval import plots
from khulasa.eval.gate import compare_with_run, without_baseline
from khulasa.eval.history import Entry, Point
from khulasa.eval.job import Plan, score_records
from khulasa.eval.marks import (
    marked_change,
    marked_pair,
    marked_source,
    markup,
    plain,
)
from khulasa.eval.report import render
from khulasa.eval.runs import Record, Run
from khulasa.eval.verdict import headline, markdown, table

EVIL = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202eabc\u2066{{7*7}}`|\n"
)
PLAN = Plan(
    {
        "translation": ["chrf++", "numbers_kept", "length_ratio"],
        "summary_ar": ["rouge1"],
        "summary_en": ["rouge1"],
    },
    samples=50,
)
VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what matters: tags, attributes, text by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.words[self.open[-1]] = self.words.get(self.open[-1], "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def by_class(self, tag: str, name: str) -> list[dict[str, str | None]]:
        return [a for a in self.all(tag) if name in (a.get("class") or "").split()]


def record(i: int, translation: str, **changes) -> Record:
    values = {
        "dataset": "news",
        "id": f"d{i}",
        "title": f"خبر {i}",
        "source": f"افتتح الوزير {i + 10} مدرسة في المدينة.",
        "references": {
            "translation": f"The minister opened {i + 10} schools in the city.",
            "summary_ar": f"افتتاح {i + 10} مدرسة.",
            "summary_en": f"{i + 10} schools open.",
        },
        "texts": {
            "translation": translation,
            "summary_ar": f"افتتاح {i + 10} مدرسة.",
            "summary_en": f"{i + 10} schools open.",
        },
    }
    return Record(**{**values, **changes})


def make_run(name: str, records: list[Record], **info) -> Run:
    info = {"id": name, "job": "nightly", "started": "2026-01-01T00:00:00Z", **info}
    return Run(Path(name), info, records, score_records(records, PLAN))


GOOD = make_run(
    "2026-01-01-nightly",
    [record(i, f"The minister opened {i + 10} schools in the city.") for i in range(8)],
)
BAD = make_run(
    "2026-01-02-nightly",
    [
        *(record(i, "The minister opened schools.") for i in range(7)),
        record(7, "", texts={}, error="no Arabic text"),
    ],
    models={"translator": "tiny@2"},
)
GATE = compare_with_run(BAD, GOOD, {"chrf++": 0.5, "numbers_kept": 1}, seed=1, samples=200)


def entry(run: Run, verdict: str, accepted: str | None = None) -> Entry:
    points = {s.key: Point(s.value, s.low, s.high, s.signature) for s in run.scores}
    return Entry(
        run.id, run.job, "t", run.folder, verdict, None, accepted, "", 8, run.info, points
    )  # fmt: skip


HTML = render(BAD, GATE, baseline=GOOD, history=[entry(GOOD, "passed", "now")])
PAGE = Page(HTML)


def test_the_page_says_the_verdict_and_what_failed():
    assert '<span class="verdict">failed</span>' in HTML
    assert "Translation chrf++, Translation numbers_kept" in headline(GATE)
    assert headline(GATE)[1:] in HTML
    assert "1 could not be processed and counts as empty" in HTML
    assert len(PAGE.by_class("tr", "failed")) == 2
    assert "tiny@2" in HTML
    assert "no Arabic text" in HTML


def test_the_page_stands_alone():
    assert PAGE.all("link") == PAGE.all("img") == PAGE.all("iframe") == []
    assert all("src" not in a for a in PAGE.all("script"))
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", HTML)
    assert "url(" not in HTML
    assert "@import" not in HTML
    assert all(a["href"].startswith("#") for a in PAGE.all("a"))
    assert "style" not in {key for _, a in PAGE.tags for key in a}
    assert not {key for _, a in PAGE.tags for key in a if key.startswith("on")}


def test_the_policy_admits_the_pages_own_script_and_style_only():
    (policy,) = [a["content"] for a in PAGE.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_text_runs_in_its_own_direction():
    bodies = PAGE.by_class("div", "body")
    assert {(a["lang"], a["dir"]) for a in bodies} == {("ar", "rtl"), ("en", "ltr")}
    rtl = [a for a in bodies if a["dir"] == "rtl"]
    # Of three tasks: the source twice, the Arabic summary and its reference.
    assert len(rtl) >= 8 * 4


def test_examples_come_worst_first_and_carry_what_the_filters_ask():
    examples = PAGE.by_class("details", "example")
    assert examples[0]["data-id"] == "d7"
    assert "error" in examples[0]["data-kinds"].split()
    values = [float(a["data-translation"]) for a in examples]
    assert values == sorted(values)
    assert all({"lost", "changed", "fell"} <= set(a["data-kinds"].split()) for a in examples[1:])
    assert all(float(a["data-translation-change"]) < 0 for a in examples)
    options = {a["value"] for a in PAGE.all("option")}
    assert {"lost", "flagged", "error", "changed", "fell", "worst", "fall", "best", "id"} <= options


def test_points_lead_to_their_documents():
    ids = [a["id"] for _, a in PAGE.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in PAGE.all("a")}
    assert targets <= set(ids)
    assert sum(target.startswith("d-") for target in targets) == 8


def test_every_control_has_a_name():
    wrapped = re.sub(r"<label>.*?</label>", "", HTML, flags=re.DOTALL)
    assert "<select" not in wrapped
    assert "<input" not in wrapped
    assert all(a.get("aria-label") for a in PAGE.by_class("svg", "plot"))
    assert all(a.get("scope") for a in PAGE.all("th"))


def test_nothing_in_the_data_becomes_markup():
    evil = [
        record(
            i,
            f"{EVIL} {i}",
            id=f"{i}{EVIL}",
            title=EVIL,
            source=f"نص {EVIL}",
            flags=(EVIL,),
            error=EVIL if i == 3 else None,
        )
        for i in range(6)
    ]
    run = make_run(f"r{EVIL}", evil, models={EVIL: EVIL}, config={"a": EVIL}, device=EVIL)
    old = make_run("old", [record(i, EVIL, id=f"{i}{EVIL}") for i in range(6)])
    gate = compare_with_run(run, old, {"chrf++": 0}, seed=1, samples=20)
    html = render(run, gate, baseline=old, history=[entry(old, "passed")])
    page = Page(html)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not {key for _, a in page.tags for key in a if key.startswith("on")}
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
    assert "U+202E" in html
    assert "{{7*7}}" in html  # data is no template either
    assert ">49<" not in html

    summary = markdown(run, gate)
    assert "<script" not in summary
    assert "<img" not in summary
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", summary)
    rows = [line for line in summary.split("\n") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {11}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(), st.text(), st.text())
def test_marks_change_nothing_but_what_cannot_be_seen(hypothesis, reference, source):
    pair = marked_pair(hypothesis, reference, source)
    shown = (*pair, marked_source(source, hypothesis), marked_change(reference, hypothesis))
    for html, text in zip(shown, (hypothesis, reference, source, reference), strict=True):
        page = Page(f"<p>{html}</p>")
        assert {tag for tag, _ in page.tags} <= {"p", "mark", "span"}
        visible = re.sub(
            r'<span class="hidden-char" title="[^"]*">(U\+[0-9A-F]+)</span>', r"[\1]", html
        )
        visible = re.sub(r"</?mark[^>]*>", "", visible)
        assert visible == str(markup(plain(text)))


def marked(html: str, name: str) -> list[str]:
    return re.findall(rf'<mark class="{name}">(.*?)</mark>', html)


def test_words_that_the_other_text_lacks_are_marked_wherever_they_stand():
    hypothesis, reference = marked_pair(
        "Yesterday, the mayor opened a very big school.", "The mayor opened a school yesterday.", ""
    )
    assert marked(hypothesis, "extra") == ["very big"]
    assert marked(reference, "missing") == []
    hypothesis, reference = marked_pair("ذهب أحمد", "ذَهَبَ أحمد إلى البيت.", "")
    assert marked(hypothesis, "extra") == []
    assert marked(reference, "missing") == ["إلى البيت."]


@pytest.mark.parametrize(
    ("source", "target", "lost"),
    [
        ("قتل ١٢ شخصا وجرح 30.", "12 people were killed and thirty hurt.", ["30"]),
        ("بلغت الكلفة 300 ألف دولار.", "It cost dollars.", ["300 ألف"]),
        ("بلغت الكلفة 300 ألف دولار.", "It cost 300,000 dollars.", []),
        ("في 3 مدن و3 قرى.", "In 3 cities.", ["3"]),
        ("بنسبة 3.5 في المئة", "by 4.5 percent", ["3.5"]),
    ],
)
def test_lost_numbers_are_marked_in_the_source(source, target, lost):
    assert marked(marked_source(source, target), "lost") == lost


def test_added_numbers_are_marked_unless_the_reference_has_them():
    hypothesis, _ = marked_pair("In 2019, 40 people left.", "In 2019 some left.", "غادر بعضهم.")
    assert marked(hypothesis, "added") == ["40"]


def test_a_change_marks_what_is_gone():
    before = marked_change("The old bridge was closed on Sunday.", "The bridge was closed.")
    assert marked(before, "gone") == ["old", "on Sunday."]


def test_long_runs_show_their_worst_documents():
    run = make_run("long", [record(i, f"The minister {i}") for i in range(180)])
    html = render(run, without_baseline(run, {}, "none"))
    assert html.count('<details class="example"') == 150
    assert "the 30 best ones are left out" in html


def test_a_trend_shows_only_scores_that_were_measured_alike():
    old = entry(GOOD, "passed")
    other = Entry(**{
        **{name: getattr(old, name) for name in old.__slots__},
        "scores": {k: Point(p.value, p.low, p.high, "other") for k, p in old.scores.items()},
    })  # fmt: skip
    assert "over 2 runs" in render(BAD, GATE, baseline=GOOD, history=[old])
    assert "over 2 runs" not in render(BAD, GATE, baseline=GOOD, history=[other])


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-3.0, 1e-9], [0.0, 1e6], [99.9, 100.0]])
def test_plots_stay_within_their_frame(values):
    points = [plots.TrendPoint(f"r{i}", v, v - 1, v + 1) for i, v in enumerate(values)]
    dots = [plots.Dot(i, v, "a", "#a") for i, v in enumerate(values)]
    for svg in (
        plots.trend(points, "x"),
        plots.histogram(values, None, "x"),
        plots.histogram(values, [*values, 3.0], "x"),
        plots.scatter(dots, "x"),
    ):
        page = Page(str(svg))
        places = [
            (float(a[x]), float(a[y]))
            for _, a in page.tags
            for x, y in (("x1", "y1"), ("x2", "y2"), ("cx", "cy"), ("x", "y"))
            if x in a and y in a
        ]
        assert places
        assert all(0 <= x <= 340 and 0 <= y <= 150 for x, y in places)


def test_better_is_always_to_the_right():
    def place(better):
        bar = plots.change_bar(2.0, 1.0, 3.0, 0.5, better, "better")
        return float(Page(str(bar)).by_class("circle", "dot")[0]["cx"])

    assert place("lower") < 60 < place("higher")


def test_the_markdown_summary_puts_what_failed_first():
    text = markdown(BAD, GATE)
    assert text.startswith("### ❌ nightly: failed: Translation chrf")
    rows = [line for line in text.split("\n") if line.startswith("| news")]
    assert "**failed**" in rows[0]
    assert "**failed**" in rows[1]
    assert "<details>" in text
    assert "against `2026-01-01-nightly`, 8 documents" in markdown(BAD, GATE)
    assert markdown(GOOD, without_baseline(GOOD, {}, "none")).startswith("### ⚪ nightly")


def test_the_table_for_a_terminal_lines_up():
    lines = table(GATE).split("\n")
    assert "FAILED" in lines[1]
    assert len({line.index("  ", 1) < 60 for line in lines[1:]}) == 1
    assert lines[1].startswith("news/translation/chrf++")


def test_a_first_run_shows_no_empty_columns_nor_filters_that_need_a_baseline():
    html = render(GOOD, without_baseline(GOOD, {"chrf++": 0.5}, "no `other` run"))
    page = Page(html)
    assert "not compared" not in html
    assert "Verdict" not in html
    assert "the trends start with the next one" in html
    assert {"changed", "fell", "fall"}.isdisjoint(a.get("value") for a in page.all("option"))
    assert "<li>No other run</li>" in html
    assert {"changed", "fell", "fall"} < {a.get("value") for a in PAGE.all("option")}


def test_models_and_times_are_put_as_people_say_them():
    run = make_run(
        "2026-01-01-nightly",
        list(GOOD.records),
        started="2026-01-01T02:15:00Z",
        models={"summarizer_ar": "m@1", "summarizer_en": "m@1"},
        timings={"outputs": 1041.2},
    )
    html = render(run, without_baseline(run, {}, ""))
    for text in ("2026-01-01 02:15:00 UTC", "Arabic summarizer and English summ", "17 min 21 s"):
        assert text in html
