"""Cleaning: what each rule changes, what none may touch, and that a second run changes nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from khulasa.models import normalization
from khulasa.models.errors import ConfigError, InputError
from khulasa.pipeline.clean import RULES, CleanOptions, clean
from khulasa.pipeline.document import Removal

CASES = json.loads((Path(__file__).parent / "data" / "clean.json").read_text(encoding="utf-8"))
BODY = "أعلنت الشركة اليوم أنها ستفتح ثلاثة مصانع جديدة، وأن العمل فيها سيبدأ في الصيف المقبل."


def by_label(cases):
    return [pytest.param(case, id=case["label"]) for case in cases]


@pytest.mark.parametrize("case", by_label(CASES["changed"]))
def test_real_text_is_cleaned(case):
    result = clean(case["original"])
    assert result.text == case["text"]
    assert result.title == case.get("title")
    assert result.date == case.get("date")
    assert [removal.rule for removal in result.removed] == case.get("removed", [])
    assert sum(result.counts.values()) > 0
    assert clean(result.text).text == result.text


@pytest.mark.parametrize("case", by_label(CASES["unchanged"]))
def test_good_text_is_left_alone(case):
    result = clean(case["original"])
    assert result.text == case.get("text", case["original"])
    assert (result.title, result.date, result.removed) == (None, None, ())


@pytest.mark.parametrize(("line", "date"), CASES["dates"])
def test_a_date_line_at_the_top_is_lifted(line, date):
    result = clean(f"{line}\n\n{BODY}")
    assert (result.date, result.text) == (date, BODY)
    assert result.counts["date"] == 1


@pytest.mark.parametrize(("prefix", "date"), CASES["date_prefixes"])
def test_a_date_before_the_first_sentence_is_lifted(prefix, date):
    result = clean(prefix + BODY)
    assert (result.date, result.text) == (date, BODY)


def test_a_removal_has_its_rule_and_its_text():
    result = clean(f"{BODY}\nالمصدر: وكالات")
    assert result.removed == (Removal("agency_footer", "المصدر: وكالات"),)
    assert result.counts == {"agency_footer": 1}


def test_each_change_is_counted_under_its_rule():
    assert clean("كَتَبَ الـولـد “درسه”.").counts == {"quotes": 2, "tashkeel": 3, "tatweel": 2}


def test_single_line_breaks_part_paragraphs_unless_lines_are_joined():
    text = "سطر أول من فقرة\nوسطر ثان منها.\n\nفقرة أخرى."
    assert clean(text).text.count("\n\n") == 2
    joined = clean(text, CleanOptions(join_lines=True))
    assert joined.text == "سطر أول من فقرة وسطر ثان منها.\n\nفقرة أخرى."
    assert joined.counts == {"join_lines": 1}


def test_options_change_the_rules():
    text = "قَالَ “نعم” ١٢٫٥٪."
    assert clean(text, CleanOptions(tashkeel=False)).text == 'قَالَ "نعم" ١٢٫٥٪.'
    assert clean(text, CleanOptions(quotes="keep")).text == "قال “نعم” ١٢٫٥٪."
    assert clean(text, CleanOptions(digits="ascii")).text == 'قال "نعم" 12.5%.'


SKIPPABLE = {
    "dateline": f"القاهرة (رويترز) - {BODY}",
    "read_also": f"{BODY}\n\nاقرأ أيضا: خبر آخر",
    "share": f"{BODY}\n\nشارك المقال",
    "photo_credit": f"الصورة: رويترز\n\n{BODY}",
    "agency_footer": f"{BODY}\n\nالمصدر: وكالات",
    "duplicate": f"{BODY}\n\n{BODY}",
    "teaser": f"{BODY[:60]}...\n\n{BODY}",
    "date": f"2026-02-19\n\n{BODY}",
    "title": f"ثلاثة مصانع جديدة للشركة\n\n{BODY}",
    "tatweel": "العـــربية",
    "entities": "س &amp; ص",
    "repeated_letters": "رااااائع",
    "special_tokens": "رمز </s> خاص",
    "missing_spaces": "مجموعةAcme",
}


@pytest.mark.parametrize("rule", SKIPPABLE)
def test_a_skipped_rule_leaves_the_text(rule):
    text = SKIPPABLE[rule]
    assert clean(text).text != text
    assert clean(text, CleanOptions(skip=(rule,))).text == text


def test_an_unknown_rule_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'teaser'"):
        CleanOptions(skip=("teasers",))


def test_an_unknown_choice_is_refused():
    with pytest.raises(ConfigError, match="digits"):
        CleanOptions(digits="latin")  # pyright: ignore[reportArgumentType]


def test_rules_are_named_once():
    assert len(set(RULES)) == len(RULES)


def test_a_web_page_gives_its_title_and_paragraphs():
    page = (
        "<!DOCTYPE html><html><head><title>ثلاثة مصانع جديدة</title></head>"
        "<body><nav>الرئيسية</nav>"
        f"<article><h1>ثلاثة مصانع جديدة</h1><p>{BODY}</p><p>وقال المدير: {BODY}</p></article>"
        "</body></html>"
    )
    result = clean(page)
    assert result.title == "ثلاثة مصانع جديدة"
    assert result.text.split("\n\n")[-2:] == [BODY, f"وقال المدير: {BODY}"]
    assert result.counts["html"] == 1


def test_a_megabyte_in_one_line_keeps_every_word():
    sentence = "وأضاف المسؤول أنّ الشـركة ستواصل العمل في المشروع. "
    result = clean(sentence * 20_000)
    assert result.text == ("وأضاف المسؤول أن الشركة ستواصل العمل في المشروع. " * 20_000).strip()
    assert result.counts["tashkeel"] == result.counts["tatweel"] == 20_000


@pytest.mark.parametrize(
    "piece",
    [" ", "<", "<p ", "&amp;", "</p ", "\u200c", "ـ", "ا", ".", ">>", "</s>", "<!--", "(", "ااaa"],
)
def test_hostile_repetition_is_settled(piece):
    result = clean(piece * 30_000)
    assert clean(result.text).text == result.text


# ------------------------------------------------------------------------------- properties

HOSTILE = [
    "\n", "\n\n", " ", "...", "…", "!!!", "<b>", "</b>", "<br>", "<p>", "</p>", "<html>", "&amp;",
    "&lt;", "&#38;", "&", "amp;", "lt;", "</s>", "<s>", "<", ">", ">>", "<<", ">>fra<<", "▁",
    "\u200c", "\u200f", "\ufeff", "\u0640", "هـ", "َ", "ّ", "\u0654", "\u06d6", "ﷺ", "ﻻ", "ﱞ",
    "ی", "ک", "پ", "“", "«", "»", "—", "\x00", "\x85", "\u2028", "\ud800", "\udc00", "\ue000",
    "ط§", "Ø§Ù„", "١٢", "Ａ",
    "19 فبراير 2026", "2026-02-19", "date 2026-02-19 ", "العنوان: ", "# ", "القاهرة (رويترز) - ",
    "القاهرة - رويترز - ", "اقرأ أيضا: ", "شارك", "فيسبوك", "واتساب", "المصدر: وكالات", "(أ ف ب)",
    "الصورة: رويترز", "Acme", "a1", "افتتاح مصنع جديد للشركة", BODY, BODY[:50] + "...", "و" + BODY, "ااااا",
]  # fmt: skip
ARABIC = st.text(st.sampled_from("ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءآأؤإئ ،؛؟.!"), max_size=12)
ANY = st.text(max_size=4)
TEXTS = st.lists(st.sampled_from(HOSTILE) | ARABIC | ANY, max_size=16).map("".join)
PARAGRAPHS = st.lists(st.sampled_from(HOSTILE) | ARABIC, max_size=8).map("\n".join)


@given(TEXTS | PARAGRAPHS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_cleaning_twice_is_cleaning_once(text):
    try:
        once = clean(text)
    except InputError:  # a web page without text
        assume(False)
    twice = clean(once.text)
    assert twice.text == once.text
    assert (twice.title, twice.date, twice.removed) == (None, None, ())


@given(TEXTS | PARAGRAPHS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_clean_text_has_the_promised_shape(text):
    try:
        result = clean(text)
    except InputError:
        assume(False)
    for paragraph in result.text.split("\n\n") if result.text else []:
        assert paragraph
        assert paragraph == " ".join(paragraph.split())
    assert "\x00" not in result.text
    result.text.encode("utf-8")  # no lone surrogate


@given(TEXTS)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_normalizing_twice_is_normalizing_once(text):
    once = normalization.normalize(text)
    assert normalization.normalize(once) == once
    assert "\n" not in once


@pytest.mark.parametrize(
    "token", ["</s>", "<pad>", "<unk>", "<s>", ">>fra<<", "<<<</s>", "＜pad＞"]
)
def test_no_special_token_is_left_for_the_tokenizer(token):
    normalized = normalization.normalize(f"{token} نص {token}")
    assert not any(special in normalized for special in ("</s>", "<pad>", "<unk>", "<s>", ">>"))


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        (normalization.strip_tatweel, "هـؤلاء 1445هـ (هـ) فقهـ بـ5", "هؤلاء 1445هـ (هـ) فقه ب5"),
        (normalization.strip_tashkeel, "مُدَرِّسٌ", "مدرس"),
        (normalization.strip_invisible, "می\u200cروم پیش چاپ", "می روم پیش چاپ"),
        (normalization.strip_invisible, "كت\u200cاب", "كتاب"),
        (normalization.fold_presentation_forms, "ﷲ ﻼ ﹰ ﷺ", "الله لا ً ﷺ"),
        (normalization.fix_surrogates, "\ud83d\ude00\ud83d", "😀"),
        (normalization.fold_digits, "٣٬٥۶٪", "3,56%"),
        (normalization.squeeze_punctuation, "1,2 -- ---- ..", "1,2 -- - .."),
        (normalization.compose, "ا\u0654", "أ"),
        (normalization.add_missing_spaces, "كأسBetfred، وRedStateأن", "كأس Betfred، وRedState أن"),
        (normalization.add_missing_spaces, "عبرwww.example.com", "عبر www.example.com"),
        (normalization.add_missing_spaces, "طرازX5 وHTMLالخاص", "طراز X5 وHTML الخاص"),
    ],
)
def test_a_step_does_one_thing(step, before, after):
    assert step(before) == after
    assert step.apply(before)[1] > 0
    assert step.apply(after) == (after, 0)


@pytest.mark.parametrize(
    "text",
    [
        "وRedState", "بـIBM", "لFlow", "سGoogle", "كBBC", "الURL", "بالURL", "والGeoJSON", "للURL",
        "iPhoneات", "VPNها", "#رؤيةVision", "@قناةBBC", "رؤية_Vision", "example.comمن",
        "https://example.com/خبرnews", "طرازX", "E1و", "1445هـ", "5Gفي", "X-رايX", "ICE (أيس)",
    ],
)  # fmt: skip
def test_what_is_written_together_gets_no_space(text):
    assert normalization.add_missing_spaces.apply(text) == (text, 0)
