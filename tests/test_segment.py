"""Segmentation: paragraphs, Arabic and English sentences, and pieces that fit a model."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.pipeline.segment import (
    join_paragraphs,
    sentence_spans,
    split_paragraphs,
    split_sentences,
    split_to_fit,
)

CASES = json.loads((Path(__file__).parent / "data" / "sentences.json").read_text("utf-8"))

# Pieces of text that meet every rule, mixed with characters of any kind.
TEXT = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                *["انتهى", "وقال", "د", "أ.د", "م", "بي.بي", "U.S", "Dr", "p.m", "The", "he", "12"],
                *[".", "؟", "!", "...", "…", "،", "؛", ":", "۔", "«", "»", '"', "(", ")", "[", "]"],
                *[" ", "  ", "\n", "\u00a0", "\u2028", "\r\n", "1.", "٢.", "www.", "a@b.c"],
                *["👩‍👩‍👧", "👍🏽", "🇪🇬🇸🇦", "كَتَبَ", "e\u0301", "\u0651", "\u200d"],
            ]
        ),
    ),
    max_size=40,
).map("".join)
LANGUAGES = st.sampled_from(["ar", "en"])


def count_words(text: str) -> int:
    return len(text.split())


def count_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) // 3 + 1


def solid(text: str) -> str:
    return "".join(text.split())


# --- paragraphs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n \n", []),
        ("فقرة واحدة.", ["فقرة واحدة."]),
        ("أولى.\n\nثانية.", ["أولى.", "ثانية."]),
        ("أولى.\nثانية.", ["أولى.", "ثانية."]),
        ("\n\nأولى. \r\n \t\r\n\n  ثانية.\u2028ثالثة.\n", ["أولى.", "ثانية.", "ثالثة."]),
        ("مسافات  داخلية\tتبقى", ["مسافات  داخلية\tتبقى"]),
    ],
)
def test_every_line_break_ends_a_paragraph(text, expected):
    assert split_paragraphs(text) == expected


def test_joined_paragraphs_have_one_blank_line_between_them():
    assert join_paragraphs(["أ", "ب"]) == "أ\n\nب"
    assert join_paragraphs([]) == ""


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT)
def test_paragraphs_survive_joining_and_splitting_and_lose_nothing(text):
    paragraphs = split_paragraphs(text)
    assert split_paragraphs(join_paragraphs(paragraphs)) == paragraphs
    assert solid("".join(paragraphs)) == solid(text)


# --- sentences


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['language']}: {case['note']}")
def test_sentences_are_split_as_a_reader_would(case):
    assert split_sentences(case["text"], case["language"]) == case["sentences"]


def test_the_table_of_sentences_is_large_enough_and_its_notes_are_distinct():
    languages = [case["language"] for case in CASES]
    assert languages.count("ar") >= 60
    assert languages.count("en") >= 40
    assert len({(case["language"], case["note"]) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['language']}: {case['note']}")
def test_a_sentence_alone_is_not_split_again(case):
    for sentence in case["sentences"]:
        assert split_sentences(sentence, case["language"]) == [sentence]


@settings(max_examples=250, deadline=None, derandomize=True)
@given(TEXT, LANGUAGES)
def test_spans_are_ordered_and_leave_out_only_white_space(text, language):
    spans = sentence_spans(text, language)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
    gaps = [text[end:start] for end, start in zip(edges[::2], edges[1::2], strict=True)]
    assert all(not gap.strip() for gap in gaps)
    rebuilt = gaps[0] + "".join(
        text[start:end] + gap for (start, end), gap in zip(spans, gaps[1:], strict=True)
    )
    assert rebuilt == text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT, LANGUAGES)
def test_only_a_line_of_signs_alone_gives_a_sentence_without_letters_or_digits(text, language):
    for line in split_paragraphs(text):
        sentences = split_sentences(line, language)
        if len(sentences) > 1:
            assert all(any(sign.isalnum() for sign in sentence) for sentence in sentences)


def test_an_unknown_language_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match='"ar" or "en"'):
        sentence_spans("Bonjour.", "fr")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "text",
    [". " * 50_000, "- ! " * 30_000, "(" * 100_000, "اا.اا" * 30_000, " " * 100_000 + ".", '"' * 9],
    ids=["stops", "signs", "brackets", "no spaces", "spaces", "quotes"],
)
def test_odd_texts_of_any_size_come_back_whole(text):
    for language in ("ar", "en"):
        assert solid("".join(split_sentences(text, language))) == solid(text)


# --- pieces that fit

LONG_PARAGRAPH = (
    "أعلنت بلدية المدينة صباح الثلاثاء أنها ستبدأ خلال الأسابيع المقبلة تنفيذ مشروع واسع لترميم "
    "السوق القديم الذي يعود بناؤه إلى القرن السادس عشر ويضم أكثر من مئتي دكان صغير، وذلك بعد أن "
    "انتهت لجنة الخبراء من دراسة حالة الجدران والأسقف الخشبية التي تضررت كثيراً بفعل الأمطار في "
    "الشتاء الماضي، وقالت المهندسة المشرفة على المشروع إن العمل سيجري على ثلاث مراحل حتى يستطيع "
    "التجار مواصلة البيع في معظم الأجنحة بينما تغلق الأجنحة الأخرى بالتناوب؛ وأوضحت أن المرحلة "
    "الأولى تشمل البوابة الشمالية والنافورة وأن كلفتها تبلغ 3.5 مليون دينار تدفع البلدية نصفها "
    "وتتحمل غرفة التجارة النصف الآخر، لكن عدداً من التجار أبدوا قلقهم من طول المدة لأن موسم "
    "السياحة يبدأ في الربيع وهو الموسم الذي يعتمدون عليه في تغطية نفقات العام كله"
)


def test_a_long_paragraph_without_a_full_stop_is_cut_where_its_clauses_meet():
    assert split_sentences(LONG_PARAGRAPH, "ar") == [LONG_PARAGRAPH]
    assert count_words(LONG_PARAGRAPH) > 100
    pieces = split_to_fit(LONG_PARAGRAPH, count_words, 40)
    assert " ".join(pieces) == LONG_PARAGRAPH
    assert [piece.split()[-1] for piece in pieces[:-1]] == ["صغير،", "الأجنحة", "الآخر،"]
    assert all(20 <= count_words(piece) <= 40 for piece in pieces)


@pytest.mark.parametrize(
    ("sentence", "limit", "expected"),
    [
        ("", 5, []),
        ("  \n", 5, []),
        ("جملة قصيرة هنا", 3, ["جملة قصيرة هنا"]),
        ("  جملة قصيرة هنا ", 3, ["جملة قصيرة هنا"]),
        # An end mark is preferred to a semicolon, that to a comma, that to a connective.
        (
            "ذهب علي، ثم عاد... ثم نام؛ وصحا مبكراً",
            6,
            ["ذهب علي، ثم عاد...", "ثم نام؛ وصحا مبكراً"],
        ),
        (
            "ذهب علي إلى السوق، واشترى خبزاً؛ ثم عاد ماشياً، ونام",
            8,
            ["ذهب علي إلى السوق، واشترى خبزاً؛", "ثم عاد ماشياً، ونام"],
        ),
        (
            "ذهب علي إلى السوق ثم اشترى، ثم عاد إلى بيته ونام",
            8,
            ["ذهب علي إلى السوق ثم اشترى،", "ثم عاد إلى بيته ونام"],
        ),
        # Before the conjunction, but not before a word that begins with the same letter.
        (
            "ألقى الوزير كلمة قصيرة وغادر القاعة برفقة ضيوفه",
            5,
            ["ألقى الوزير كلمة قصيرة", "وغادر القاعة برفقة ضيوفه"],
        ),
        (
            "عاش الشيخ هنا وحده زمناً طويلاً جداً",
            4,
            ["عاش الشيخ هنا وحده", "زمناً طويلاً جداً"],
        ),
        # Not after a word that leans on the next one.
        ("حضر الرجل من البيت الكبير", 4, ["حضر الرجل", "من البيت الكبير"]),
        # A title is no end mark, and stays with its name.
        ("رأى سمير د. خالد العمري هنا", 4, ["رأى سمير د. خالد", "العمري هنا"]),
        (
            "The clerk opened the old ledger and the visitors read it aloud",
            8,
            ["The clerk opened the old ledger", "and the visitors read it aloud"],
        ),
        ("One line\nanother line", 3, ["One line", "another line"]),
    ],
)
def test_a_cut_is_made_at_the_best_place_near_the_middle(sentence, limit, expected):
    assert split_to_fit(sentence, count_words, limit) == expected


def test_a_word_is_cut_only_when_it_is_too_long_alone():
    assert split_to_fit("ab cdefghijkl", len, 10) == ["ab", "cdefghijkl"]
    assert split_to_fit("a" * 16, len, 10) == ["a" * 8, "a" * 8]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("كَتَبَ", 4, ["كَ", "تَبَ"]),
        ("e\u0301e\u0301e\u0301", 4, ["e\u0301", "e\u0301e\u0301"]),
        ("🇪🇬🇸🇦🇯🇴", 4, ["🇪🇬", "🇸🇦🇯🇴"]),
        ("👍🏽👍🏽", 3, ["👍🏽", "👍🏽"]),
        ("👩‍👩‍👧👩‍👩‍👧", 5, ["👩‍👩‍👧", "👩‍👩‍👧"]),
    ],
)
def test_a_cut_inside_a_word_keeps_marks_with_their_letter(text, limit, expected):
    assert split_to_fit(text, len, limit) == expected


def test_a_cluster_longer_than_the_limit_is_cut_rather_than_left_too_long():
    zalgo = "a" + "\u0301" * 300
    pieces = split_to_fit(zalgo, len, 50)
    assert "".join(pieces) == zalgo
    assert max(map(len, pieces)) <= 50


def test_a_character_above_the_limit_is_kept_all_the_same():
    assert split_to_fit("🌍🌍", count_bytes, 1) == ["🌍", "🌍"]


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_an_error(limit):
    with pytest.raises(ValueError, match=str(limit)):
        split_to_fit("نص", len, limit)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    TEXT,
    st.sampled_from([(len, 1), (count_words, 1), (count_bytes, 2)]),
    st.integers(min_value=0, max_value=40),
)
def test_pieces_fit_and_hold_every_character_in_order(text, counter, extra):
    count, least = counter
    limit = least + extra
    pieces = split_to_fit(text, count, limit)
    assert solid("".join(pieces)) == solid(text)
    assert all(piece == piece.strip() != "" for piece in pieces)
    assert all(count(piece) <= limit for piece in pieces)
    if count(text.strip()) <= limit:
        assert pieces == [text.strip()] * bool(text.strip())
    # Only white space is lost, and only at edges: each piece stands in the text as it is.
    position = 0
    for piece in pieces:
        found = text.find(piece, position)
        assert not text[position:found].strip()
        position = found + len(piece)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["كَ", "e\u0301", "🇪🇬", "👍🏽", "ب", "x"]), max_size=60).map("".join)
)
def test_no_piece_begins_with_a_mark_when_the_limit_has_room_for_its_letter(text):
    for piece in split_to_fit(text, len, 6):
        assert not unicodedata.category(piece[0]).startswith("M")
        assert piece[0] != "🏽"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(min_value=60, max_value=600), st.integers(min_value=20, max_value=60))
def test_words_without_marks_give_pieces_without_a_tiny_rest(words, limit):
    pieces = split_to_fit(" ".join(["كلمات"] * words), count_words, limit)
    sizes = [count_words(piece) for piece in pieces]
    assert sum(sizes) == words
    if len(sizes) > 1:
        assert min(sizes) >= limit // 3


def test_a_huge_line_is_counted_in_small_parts_only():
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return len(text) // 4 + 1

    text = "كلمة أخرى وكلمة طويلة جداً في سطر واحد بلا نهاية " * 8_000
    pieces = split_to_fit(text, count, 100)
    assert solid("".join(pieces)) == solid(text)
    assert len(counted) < 2.5 * len(pieces)
    assert max(counted) < 2_000
    assert sum(counted) < 6 * len(text)


def test_a_count_that_is_no_sum_of_its_parts_still_gives_fitting_pieces():
    def count(text: str) -> int:
        return 2 + len(text.split()) + text.count("ا")

    pieces = split_to_fit(LONG_PARAGRAPH, count, 12)
    assert all(count(piece) <= 12 for piece in pieces)
    assert " ".join(pieces) == LONG_PARAGRAPH
    assert all(first and second for first, second in pairwise(pieces))
