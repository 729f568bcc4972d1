"""Checks without a reference: numbers, dates, names, quotes, loops; and what must not trip them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.eval.fidelity import (
    REPETITION_LIMIT,
    check_summary,
    check_translation,
    dates,
    dates_kept,
    has_loop,
    latin_words_kept,
    length_ratio,
    numbers,
    numbers_kept,
    quotation_pairs,
    repetition_ratio,
    summary_agreement,
    translated_agreement,
    untranslated_share,
)

ARABIC_NEWS = (
    "أعلنت بلدية المدينة أمس افتتاح مكتبة عامة جديدة تضم أكثر من عشرين ألف كتاب، وقالت مديرة "
    "المشروع إن القاعات ستبقى مفتوحة حتى ساعات المساء طوال أيام الأسبوع. وحضر الافتتاح عدد من "
    "الكتاب والطلبة الذين تجولوا بين الرفوف وسألوا عن شروط الاستعارة. وتأمل البلدية أن تصبح "
    "المكتبة ملتقى لسكان الأحياء المجاورة، بعد أن ظل المبنى القديم مغلقا سنوات بسبب أعمال الترميم "
    "التي تأخرت أكثر من مرة لنقص التمويل وتغير المقاولين."
)
ENGLISH_NEWS = (
    "The city council opened a new public library yesterday with more than twenty thousand books, "
    "and the head of the project said the reading rooms would stay open late every day of the "
    "week. Writers and students came to the opening, walked among the shelves and asked how to "
    "borrow. The council hopes that people from nearby quarters will meet there, now that the old "
    "building, closed for years while repairs dragged on for want of money, is open again."
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("بلغ العدد ١٢٣ شخصا", ["123"]),
        ("سنة ۱۹۹۰", ["1990"]),
        ("١٬٢٣٤٬٥٦٧ دولار", ["1234567"]),
        ("1,234,567.50 dollars", ["1234567.5"]),
        ("نما ٣٫٥٪ أو 3,5% أو ٣،٥ في المئة", ["3.5", "3.5", "3.5"]),
        ("1.234.567 or 1.234,5", ["1234567", "1234.5"]),
        ("1.500 دينار", ["1500"]),
        ("0.250 and 3.142", ["0.25", "3.142"]),
        ("10\u00a0000 شخص", ["10000"]),
        ("العددان 5، 12", ["5", "12"]),
        ("1,2,3 and 1.2.3", ["1", "2", "3", "1", "2", "3"]),
        ("at 10:30, in 2019-2020.", ["10", "30", "2019", "2020"]),
        ("007 and 000", ["7", "0"]),
        ("the G20 and H1N1 but COVID-19, 5th, 1990s", ["19", "5", "1990"]),
        ("و20 شخصا وب5 دول", ["20", "5"]),
        ("يوم 17/5/2024 أو 2024-05-17", ["17", "2024", "17", "2024"]),
        ("٢٠\u200f٢٤", ["2024"]),
        ("نسبة 24/30", ["24", "30"]),
        ("three people", []),
        ("300 ألف نسمة و5 آلاف و٢٫٥ مليون", ["300000", "5000", "2500000"]),
        (
            "300,000 people, 1.25 billion, 5-million, 3 Trillion",
            ["300000", "1250000000", "5000000", "3000000000000"],
        ),
        ("£2.8bn, 5 ألفاظ، 3 millionaires, 3 m", ["2800000000", "5", "3", "3"]),
        ("", []),
    ],
)
def test_numbers_are_read_in_one_spelling(text, expected):
    assert numbers(text) == expected


def test_lost_and_added_numbers_are_told_apart():
    check = numbers_kept("قتل ١٢ وأصيب ٣٠ في ٢٠٢٤", "12 were killed and 13 wounded in 2024")
    assert (check.kept, check.lost, check.added) == (("12", "2024"), ("30",), ("13",))
    assert check.share == pytest.approx(2 / 3)


def test_a_number_said_twice_must_be_there_twice():
    check = numbers_kept("5 ثم 5", "5")
    assert (check.kept, check.lost) == (("5",), ("5",))


def test_no_numbers_means_nothing_lost():
    assert numbers_kept("لا أرقام", "no numbers").share == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("بلغت الصادرات ١٬٢٥٠٫٥ مليون", "Exports reached 1,250.5 million"),
        ("17/5/2024", "17 May 2024"),
        ("بنسبة ١٠٪", "by 10 per cent"),
        ("نحو 300 ألف شخص", "some 300,000 people"),
        ("بلغت ٢٬٥٠٠٬٠٠٠ دينار", "reached 2.5 million dinars"),
    ],
)
def test_another_spelling_of_a_number_is_not_a_lost_number(source, target):
    check = numbers_kept(source, target)
    assert (check.lost, check.added) == ((), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("في ١٧ مايو ٢٠٢٤", ["2024-05-17"]),
        ("في 17 أيار/مايو 2024", ["2024-05-17"]),
        ("17 كانون الثاني (يناير) 2020", ["2020-01-17"]),
        ("3 من كانون الأول", ["--12-03"]),
        ("May 17, 2024 and 3rd of June 2020", ["2024-05-17", "2020-06-03"]),
        ("on 5 August", ["--08-05"]),
        ("يوم 30 أيلول، من عام 1882", ["1882-09-30"]),
        ("منذ فبراير 2011", ["2011-02"]),
        ("بمايو 2011", ["2011-05"]),
        ("31/12/2023 و2023-12-31 و12/31/2023 و31.12.2023", ["2023-12-31"] * 4),
        ("13/13/2023", []),
        # A month name without day or year, and words that only look like months.
        ("قالت مارس", []),
        ("you may go 5 times, a march of 3 days", []),
        ("مايونيز 5", []),
        ("24/30", []),
        ("", []),
    ],
)
def test_dates_are_found_in_both_languages(text, expected):
    assert dates(text) == expected


def test_a_changed_month_is_a_lost_date():
    check = dates_kept("وصل في 3 حزيران 2021", "He arrived on 3 July 2021")
    assert (check.lost, check.added) == (("2021-06-03",), ("2021-07-03",))
    assert dates_kept("وصل في 3 حزيران 2021", "He arrived on June 3, 2021").share == 1


def test_latin_words_of_the_source_must_be_in_the_target():
    check = latin_words_kept("أطلقت Google خدمة YouTube Music", "google launched a Music service")
    assert (check.kept, check.lost, check.added) == (("google", "music"), ("youtube",), ())
    assert latin_words_kept("لا شيء", "nothing").share == 1


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("قال «نعم» ثم «لا»", 2),
        ('He said “yes” and "no"', 2),
        ("„ja“", 1),
        ("it's the dogs' 'day'", 0),
        ("an open « quote", 0),
        ('5" pipe', 0),
    ],
)
def test_quoted_passages_are_counted(text, pairs):
    assert quotation_pairs(text) == pairs


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The minister said", 0.0),
        ("قال الوزير", 1.0),
        ("abcd، قال ٣", 3 / 7),
        ("123 ؟!", 0.0),
        ("ﻗﺎﻝ", 1.0),
        ("", 0.0),
    ],
)
def test_the_arabic_share_counts_letters_only(text, share):
    assert untranslated_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", [ARABIC_NEWS, ENGLISH_NEWS, f"{ENGLISH_NEWS} {ARABIC_NEWS}"])
def test_ordinary_prose_of_any_length_is_not_repetition(text):
    assert repetition_ratio(text) < REPETITION_LIMIT
    assert not has_loop(text)


@pytest.mark.parametrize(
    "loop", ["the people of ", "لجنة الأمن ", "I don't know, ", "and he said that he "]
)
def test_a_long_loop_is_repetition_wherever_it_stands(loop):
    assert repetition_ratio(loop * 12) > REPETITION_LIMIT
    buried = f"{ENGLISH_NEWS} {loop * 50} {ENGLISH_NEWS}"
    assert repetition_ratio(buried) > REPETITION_LIMIT
    assert has_loop(buried)


def test_dense_arabic_with_recurring_terms_is_not_repetition():
    text = (
        "بلغت حصة القطاع الخاص 74 في المئة من القروض، وحصة القطاع العام 12 في المئة من القروض، "
        "وحصة القطاع الزراعي 9 في المئة من القروض، وحصة قطاع البناء خمسة في المئة"
    )
    assert len(text.encode()) / len(zlib.compress(text.encode())) > 2.2
    assert repetition_ratio(text) < 0.8 * REPETITION_LIMIT


def test_a_short_text_has_no_ratio():
    assert repetition_ratio("ha " * 15) == 0


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("the salad salad salad", True),
        ("قال إن قال إن قال إن", True),
        ("Thank you. Thank you. Thank you.", True),
        ("yes\nyes\nyes", True),
        ("salad salad", False),
        ("لا لا لا", False),
        ("....................", False),
        ("--- --- --- ---", False),
        ("1000000000000", False),
        ("هههههههههههه", False),
        ("very good, very bad, very odd", False),
        ("", False),
    ],
)
def test_loops_are_three_in_a_row(text, loops):
    assert has_loop(text) is loops


def test_a_loop_after_a_dotted_line_is_still_found():
    assert has_loop("............ the end the end the end")


def test_the_loop_check_is_quick_on_long_text():
    rng = random.Random(1)
    text = " ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(3000))
    start = time.process_time()
    assert not has_loop(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("source", "target", "ratio"),
    [
        ("كتب", "wrote!", 5 / 3),
        ("كَتَبَ", "كتب", 1.0),
        ("...", "!", 1.0),
        ("...", "abc", 3.0),
        ("كتب", "", 0.0),
    ],
)
def test_length_counts_letters_and_digits(source, target, ratio):
    assert length_ratio(source, target) == pytest.approx(ratio)


def test_a_good_translation_passes_every_check():
    result = check_translation(
        "قالت شركة Nokia يوم 5 مارس 2024 إن «الأرباح» ارتفعت ٣٫٥٪ إلى ١٬٢٠٠ مليون.",
        "Nokia said on 5 March 2024 that “profits” rose 3.5% to 1,200 million.",
    )
    for name in ("numbers_kept", "dates_kept", "latin_words_kept", "quotations_kept"):
        assert result.pop(name) == 1, name
    assert 0.5 < result.pop("length_ratio") < 2
    assert result.pop("repetition") < REPETITION_LIMIT
    assert result == {
        "numbers_added": 0,
        "dates_added": 0,
        "untranslated": 0,
        "loop": 0,
    }


def test_a_bad_translation_fails_the_checks_it_should():
    result = check_translation(
        "قالت شركة Nokia إن «الأرباح» ارتفعت ٣٫٥٪ عام 2024.",
        "The الأرباح rose 5% in 2024 " + "and rose again " * 10,
    )
    assert result["numbers_kept"] == 0.5
    assert result["numbers_added"] == 1
    assert result["latin_words_kept"] == 0
    assert result["quotations_kept"] == 0
    assert 0 < result["untranslated"] < 0.2
    assert result["loop"] == 1
    assert result["repetition"] > REPETITION_LIMIT


def test_an_extract_passes_the_summary_checks():
    first = ARABIC_NEWS.split(".")[0] + "."
    result = check_summary(ARABIC_NEWS, first)
    assert result["coverage"] == 1
    assert result["novel_bigrams"] == 0
    assert result["numbers_supported"] == 1
    assert result["density"] == result["words"]
    assert result["compression"] > 2
    assert result["loop"] == 0


def test_an_invented_number_in_a_summary_shows():
    result = check_summary("فاز الفريق 3 مرات في 2020", "فاز الفريق ٣ مرات، نعم ٣، في ٢٠٢١")
    assert result["numbers_supported"] == pytest.approx(2 / 3)


@given(source=st.text(max_size=80), target=st.text(max_size=80))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_text_gives_numbers_and_shares_within_bounds(source, target):
    result = check_translation(source, target) | check_summary(source, target)
    shares = {"numbers_kept", "dates_kept", "latin_words_kept", "quotations_kept", "untranslated"}
    shares |= {"numbers_supported", "coverage", "novel_bigrams", "loop"}
    assert all(isinstance(value, float) and 0 <= value < 1e6 for value in result.values())
    assert all(result[name] <= 1 for name in shares)


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_text_keeps_everything_of_itself(text):
    assert numbers_kept(text, text).lost == ()
    assert dates_kept(text, text).added == ()
    assert latin_words_kept(text, text).lost == ()
    assert length_ratio(text, text) == 1


def test_the_checks_load_nothing_heavy():
    code = (
        "import sys, khulasa.eval.fidelity as f; f.check_summary('نص', 'نص');"
        "bad = {'numpy', 'sacrebleu', 'torch', 'nltk'} & set(sys.modules);"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 3), (0, 3), 1.0),
        ((0, 3), (3,), 2 / 3),
        ((0, 1), (1, 2), 0.5),
        ((2, 2, 2), (2,), 1.0),  # a sentence counts once
        ((0,), (1,), 0.0),
        ((), (1,), 0.0),
        ((), (), 0.0),
    ],
)
def test_summaries_agree_as_far_as_their_sentences_do(first, second, expected):
    assert summary_agreement(first, second) == summary_agreement(second, first) == expected


def test_summaries_in_their_own_words_are_compared_through_a_translation():
    english = {"فتح الميناء.": "The port opened."}
    assert translated_agreement("فتح الميناء.", "The port opened.", english.get) == pytest.approx(1)
    near = translated_agreement("فتح الميناء.", "The port was opened.", english.get)
    assert 0.4 < near < 1
    assert translated_agreement("فتح الميناء.", "", english.get) == 0
