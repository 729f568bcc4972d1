"""Guards flag what is wrong with a translation and leave ordinary ones alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.errors import ConfigError
from khulasa.models.guards import FLAGS, GuardOptions, check, latin_lost, loops, number_changes

GOOD = [
    ("وصل القطار إلى المحطة قبل الموعد.", "The train reached the station early."),
    ("نعم.", "Yes."),
    ("لا، لا، لا!", "No, no, no!"),
    ("بلغ عدد الزوار ٢٥٠٠ زائر.", "There were 2,500 visitors."),
    ("ارتفع السعر ٣٫٥٪ أمس.", "The price rose 3.5% yesterday."),
    ("باع المزارع 5 آلاف شتلة.", "The farmer sold 5,000 seedlings."),
    ("اشترى 3 كتب من السوق.", "He bought three books at the market."),
    ("اشترى خمسة وعشرين كتابا.", "He bought 25 books."),
    ("عقد الاجتماع في 14/2/2023 مساء.", "The meeting was held on February 14, 2023."),
    ("تأسست الشركة عام 1998 وأغلقت عام 1998.", "It was founded and closed in 1998."),
    ("قال خبير من شركة سابك.", "An expert from SABIC (سابك) said so on the record."),
    ("النتيجة: 0 0 0 0 0", "The result: 0 0 0 0 0"),
    ("وقف الجنود جنبا إلى جنب أمس.", "The soldiers stood side by side yesterday."),
    ("يزداد الأمر صعوبة.", "It is getting more and more difficult."),
    ("قال إن ذلك الرجل غادر.", "He said that that man had had to leave."),
    ("غنت فرقة دوران دوران أمس.", "The band Duran Duran sang yesterday."),
    ("مدينة بعد مدينة سقطت.", "City and city fell."),
    ("السكان والسكان الجدد.", "The residents and the residents who are new."),
    ("سقطت المدينة والقرية.", "The city fell, and the cities near it."),
    # Negations that English puts in other ways, and what only looks like one.
    ("لم يحضر الوزير الجلسة.", "The minister did not attend the session."),
    ("لم يحضر الوزير الجلسة.", "The minister failed to attend the session."),
    ("غادر من دون أن يجيب.", "He left without answering."),
    ("لا يملك أحد حلا.", "Nobody has a solution."),
    ("لن ينتهي العمل قبل مايو.", "The work will end in May at the earliest; until then, patience."),
    ("وعد بعدم رفع الضرائب.", "He promised to avoid tax rises."),
    ("ينصحون بعدم نشر العنوان.", "They advise against posting the address."),
    ("لا يعقل أن يغيب أسبوعا.", "It is inconceivable that he is away for a week."),
    ("لا يزال البحث جاريا.", "The search is going on."),
    ("لا يكاد يمر يوم بلا أخبار.", "News comes in by the day."),
    ("هذا جزء لا يتجزأ من العمل.", "This is an integral part of the work."),
    ("حق لم الشمل مكفول.", "The right to family reunification is guaranteed."),
    ("اختلقها من العدم.", "He made it up out of thin air."),
    ("لا شك أنه قادم.", "He is surely coming."),
    ("تكلم ولماذا لا؟", "He spoke, and why is that?"),
]


@pytest.mark.parametrize(("source", "target"), GOOD)
def test_ordinary_translations_pass(source, target):
    assert check(source, target) == ()


BAD = [
    ("نعم.", "", ("empty",)),
    ("نعم.", " ... ", ("empty",)),
    ("وصل القطار إلى المحطة.", "وصل القطار to the station.", ("untranslated",)),
    ("السلطة طازجة.", "salad salad salad salad", ("repetition",)),
    ("السلطة طازجة اليوم.", "It is fresh, it is fresh, it is fresh", ("repetition",)),
    ("ضحك الطفل طويلا.", "The child laughed hahahahahahaha", ("repetition",)),
    ("يحسن البنية التحتية.", "It improves infrastructure infrastructure.", ("doubled",)),
    ("في المحيط الهادئ.", "Pacific in the Pacific.", ("doubled",)),
    ("انتقد المجلس القرار.", "The Council of the council criticized it.", ("doubled",)),
    ("تحدث عن الأمن أمس.", "He spoke of security and security, yesterday.", ("doubled",)),
    ("قال ذلك وهو يبتسم ثم غادر القاعة مع رفاقه الثلاثة.", "He said.", ("length_ratio",)),
    ("نعم.", "Yes, and then he went on to speak about the harvest.", ("length_ratio",)),
    ("بلغ العدد 2500 زائر.", "There were 3500 visitors.", ("numbers",)),
    ("بلغ العدد 2500 زائر.", "There were many visitors.", ("numbers",)),
    ("زار المعرض كثيرون.", "The fair had 340 visitors.", ("numbers",)),
    ("أعلنت شركة Novatel عن هاتفها.", "The company announced its phone.", ("latin",)),
    ("لم يحضر الوزير الجلسة.", "The minister attended the session.", ("negation",)),
    ("ولن يعود إلى منصبه.", "He will return to his post.", ("negation",)),
    ("ليس الحزب أول من اقترح ذلك.", "The party is the first to propose it.", ("negation",)),
    ("يتعهد بعدم استخدام الجيش.", "He vows to use the army.", ("negation",)),
    ("لا تسمح القواعد ببيعها.", "The rules allow them to be sold.", ("negation",)),
    # "Illegal" is of غير قانونية, and the negation before it is lost.
    (
        "توفر أدوات من دون أن تتيح استخدامها في أنشطة غير قانونية.",
        "It provides tools and allows their use in illegal activities.",
        ("negation",),
    ),
    ("وصل القطار إلى نابلس.", "The train reached ⁇ in time.", ("unknown",)),
    ("وصل القطار إلى نابلس.", "The train reached <unk> in time.", ("unknown",)),
]


@pytest.mark.parametrize(("source", "target", "flags"), BAD)
def test_what_is_wrong_is_flagged(source, target, flags):
    assert check(source, target) == flags


def test_negations_are_looked_for_only_where_that_is_on():
    source, target, _ = next(row for row in BAD if row[2] == ("negation",))
    assert check(source, target, options=GuardOptions(negation=False)) == ()


def test_truncation_is_passed_on():
    assert check("نعم.", "Yes", truncated=True) == ("truncated",)
    assert check("نعم.", "", truncated=True) == ("empty", "truncated")


def test_a_loop_that_compresses_too_well_is_flagged():
    target = "the new bridge over the river will open in the spring of next year for cars, " * 5
    assert "repetition" in check("سيفتح الجسر.", target)


def test_repetition_that_the_source_has_is_no_fault():
    assert loops("go go go go")
    assert check("هيا هيا هيا هيا", "go go go go") == ()


def test_small_numbers_may_be_spelled_out_but_not_dropped():
    assert number_changes("اشترى 3 كتب.", "He bought three books.") == ()
    assert number_changes("اشترى 3 كتب.", "He bought books.") == ("3",)
    assert number_changes("اشترى 47 كتابا.", "He bought one book.") == ("47",)


def test_a_future_verb_is_not_taken_for_the_word_six():
    assert number_changes("ستفتح المدرسة قريبا.", "The school opens in 40 days.") == ("40",)
    assert number_changes("ستة كتب.", "6 books.") == ()


def test_a_zero_more_or_less_is_another_number_but_whole_thousands_may_be_words():
    assert number_changes("في 150 مدرسة.", "In 1,500 schools.") == ("150", "1500")
    assert number_changes("بلغ 240 ألف طن.", "It came to 240,0000.") == ("240000", "2400000")
    assert number_changes("بلغ 240 ألف طن.", "It came to 240,000 tonnes.") == ()
    assert number_changes("بلغت النسبة 2.50 في المئة.", "The rate was 2.5 percent.") == ()


def test_a_decimal_mark_more_or_less_is_another_number():
    assert number_changes("بلغ 5.69 مليون.", "It was 569 million.") == ("5690000", "569000000")
    assert number_changes("بلغ 15 جنيها.", "It was 1.5 pounds.") == ("1.5", "15")
    assert number_changes("بلغت ٣٫٥ في المئة.", "It was 3.5 percent.") == ()
    assert number_changes("بلغت 3,5 في المئة.", "It was 3.5 percent.") == ()
    assert number_changes("بلغت 3.0 في المئة.", "It was 3 percent.") == ()
    assert number_changes("بلغ 1,500 دينار.", "It was 1500 dinars.") == ()
    assert number_changes("نحو 0.5 مليون.", "About half a million.") == ()
    assert number_changes("نحو 0.5 مليون.", "About 5 million.") == ("500000", "5000000")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("بلغ العدد 5 آلاف.", "It was 5,000."),
        ("بلغ العدد 5 آلاف.", "It was 5 thousand."),
        ("بلغ العدد 5 آلاف.", "It was five thousand."),
        ("بلغ العدد 5,000.", "It was five thousand."),
        ("بلغ العدد 10 آلاف.", "It was 10000."),
        ("نحو 240 ألفا.", "About 240,000."),
        ("نحو 5.2 مليون.", "About 5,200,000."),
        ("نحو 5.2 مليون.", "About 5.2m."),
        ("نحو 3 ملايين دولار.", "About $3 mn."),
        ("نحو 7 مليارات.", "About 7 billion."),
        ("بين 5 و10 آلاف.", "Between 5,000 and 10,000."),
        ("بين 5 و10 آلاف.", "Between 5 and 10 thousand."),
        ("من 5 إلى 10 آلاف.", "5,000-10,000."),
        ("في 2015 و300 ألف.", "In 2015 and 300,000."),
        ("في سباق 100 متر.", "In the 100m race."),
        ("٢٠ مليون شخص.", "20 million people."),
    ],
)
def test_thousands_and_millions_may_be_digits_or_words(source, target):
    assert number_changes(source, target) == ()


@pytest.mark.parametrize(
    ("source", "target", "changed"),
    [
        ("جهز 42 مركزا.", "42,000 centres.", ("42", "42000")),
        ("جاء 10,000 شخص.", "10.00 people.", ("10", "10000")),
        ("جاء 800 ألف شخص.", "800 people.", ("800", "800000")),
        ("جاء 800 ألف شخص.", "800 million people.", ("800000", "800000000")),
        ("بلغ 3 مليارات.", "It was 3 million.", ("3000000", "3000000000")),
        ("بلغ 5,000.", "One of 5.", ("5", "5000")),
        # What the Arabic spells out may be a number in English; what it has in digits is lost.
        ("جاء 800 ألف من أربعين بلدا.", "800 came from 40 countries.", ("800000",)),
    ],
)
def test_thousands_more_or_less_are_another_number(source, target, changed):
    assert number_changes(source, target) == changed


def test_a_number_of_any_length_is_compared():
    assert number_changes("9" * 6000, "One page of digits.") == ("9" * 6000,)


@pytest.mark.parametrize(
    ("source", "target", "lost"),
    [
        ("أعلنت Novatel عن هاتف Nova X9.", "novatel announced the NOVA X9.", ()),
        ("مثلNovatel وغيرها.", "Novatel and others.", ()),  # glued to an Arabic word
        ("الفيتامين C مفيد.", "The vitamin is useful.", ()),  # a letter alone is no word
        ("هاتف Nova من Novatel.", "The Novatel phone.", ("Nova",)),  # part of a word is not it
        ("قال José ذلك، José.", "He said it.", ("José",)),
    ],
)
def test_words_in_latin_script_are_looked_for(source, target, lost):
    assert latin_lost(source, target) == lost


def test_the_guard_of_latin_words_can_be_turned_off():
    assert check("شركة Nova.", "The company.", options=GuardOptions(latin=False)) == ()


def test_what_the_model_itself_doubts_is_uncertain():
    said = "وصل القطار إلى المحطة.", "The train reached the station."
    assert check(*said, score=-1.2) == ("uncertain",)
    assert check(*said, score=-1.0) == check(*said, score=None) == ()
    assert check(*said, score=-1.2, options=GuardOptions(min_score=None)) == ()
    assert check(*said, score=-0.5, options=GuardOptions(min_score=-0.4)) == ("uncertain",)


def test_the_number_guard_can_be_turned_off():
    options = GuardOptions(numbers=False)
    assert check("بلغ العدد 2500 زائر.", "There were many visitors.", options=options) == ()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=80), st.text(max_size=80), st.booleans())
def test_any_two_texts_are_judged_by_known_flags(source, target, truncated):
    flags = check(source, target, truncated)
    assert list(flags) == [flag for flag in FLAGS if flag in flags]
    assert truncated == ("truncated" in flags)


@pytest.mark.parametrize("text", ["ab" * 30_000, "a b c " * 10_000, "x" * 60_000, "1," * 30_000])
def test_time_grows_with_the_length_and_not_with_its_square(text):
    begin = time.perf_counter()
    check(text, text)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    "values",
    [
        {"max_arabic_share": 1.5},
        {"min_length_ratio": 3.0, "max_length_ratio": 2.0},
        {"max_compression": 0.5},
    ],
)
def test_senseless_thresholds_are_refused(values):
    with pytest.raises(ConfigError, match=r"guards\."):
        GuardOptions(**values)


@pytest.mark.parametrize(
    ("text", "stutters"),
    [
        ("The reinforforforcement came.", True),
        ("The spepepepe of the state.", True),
        ("He laughed: hahaha.", False),
        ("The assessors assess banana and Mississippi.", False),
        ("A hand hand handwritten note.", True),
        ("He had had hadrons; of of office.", True),
        ("Of of office, no no nobody.", False),
    ],
)
def test_a_word_that_stutters_is_a_loop(text, stutters):
    assert loops(text) is stutters
