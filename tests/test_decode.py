"""Decoding bytes, and taking an article out of a web page."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khulasa.models.errors import InputError
from khulasa.pipeline.decode import decode, repair_mojibake
from khulasa.pipeline.html import extract_html, looks_like_html

TEXT = "أعلنت الوزارة أمس أن العمل في المشروع الجديد سيبدأ خلال أيام، وأن الكلفة لم تتغير."


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("windows-1256", "windows-1256"),
        ("iso-8859-6", "iso-8859-6"),
    ],
)
def test_arabic_is_read_in_each_encoding(codec, name):
    assert decode(TEXT.encode(codec)) == (TEXT, name)


@pytest.mark.parametrize("word", ["نعم", "السلام عليكم", "القاهرة", "Windows: النظام"])
def test_a_few_words_are_enough_for_windows_1256(word):
    assert decode(word.encode("windows-1256")) == (word, "windows-1256")


@pytest.mark.parametrize("data", [b"", b"plain ASCII", "نص\x00 فيه صفر".encode()])
def test_valid_utf8_is_taken_as_such(data):
    assert decode(data) == (data.decode(), "utf-8")


@pytest.mark.parametrize(
    "data",
    [
        "Le gouvernement a décidé l'été dernier.".encode("latin-1"),
        "Правительство заявило, что правила изменятся".encode("cp1251"),
        TEXT.encode()[:41] + b"\xff" + TEXT.encode()[41:],
        TEXT.encode()[:-2] + b"\xd9",
    ],
)
def test_other_bytes_are_refused_with_their_offset(data):
    with pytest.raises(UnicodeDecodeError) as cause:
        data.decode()
    with pytest.raises(InputError, match=rf"offset {cause.value.start} .*iconv"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"%PDF-1.7\n...", "pdftotext"),
        (b"PK\x03\x04\x14\x00", "Office"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "PNG"),
        (gzip.compress(TEXT.encode()), "gunzip"),
        (bytes(range(32)) * 20, "control characters"),
        (b"\x00" * 50 + b"abc", "control characters"),
    ],
)
def test_what_is_not_text_is_refused_by_name(data, word):
    with pytest.raises(InputError, match=word):
        decode(data)


def test_text_cut_off_in_utf16_is_refused():
    with pytest.raises(InputError, match="UTF-16 but is broken"):
        decode(TEXT.encode("utf-16")[:-1])


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_give_text_or_an_input_error(data):
    try:
        text, encoding = decode(data)
    except InputError as error:
        assert str(error)
    else:
        assert isinstance(text, str)
        assert encoding


@pytest.mark.parametrize("wrong", ["windows-1256", "latin-1"])
def test_utf8_read_by_the_wrong_encoding_is_repaired(wrong):
    garbled = TEXT.encode().decode(wrong)
    assert garbled != TEXT
    assert repair_mojibake(garbled) == (TEXT, 1)


@pytest.mark.parametrize(
    "text", [TEXT, "خط «النسخ» وخط “الثلث”…", "Déjà vu à Besançon", "ظ… ط§", "Ã", ""]
)
def test_good_text_is_not_repaired(text):
    assert repair_mojibake(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!doctype html><html><body>نص</body></html>", True),
        ("\n<html lang='ar'>", True),
        ("<p>فقرة</p>", True),
        ("الوسم <p> يبدأ فقرة، والوسم </p> ينهيها.", False),
        ("< 5 درجات", False),
        ("", False),
    ],
)
def test_html_is_told_from_prose(text, expected):
    assert looks_like_html(text) is expected


PAGE = f"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html><html lang="ar"><head><title>مشروع جديد للمياه - صحيفة</title>
<meta property="og:title" content="مشروع جديد للمياه">
<meta property="article:published_time" content="2026-02-19T10:00:00+00:00"></head>
<body><nav><a href="/">الرئيسية</a><a href="/s">رياضة</a></nav>
<article><h1>مشروع جديد للمياه</h1><p>{TEXT}</p><p>وقال الوزير: {TEXT}</p></article>
<script>var x = "سر";</script><footer>اتصل بنا</footer></body></html>"""


def test_the_article_of_a_page_is_found_with_its_title_and_date():
    article = extract_html(PAGE)
    assert (article.title, article.date) == ("مشروع جديد للمياه", "2026-02-19")
    paragraphs = article.text.split("\n\n")
    assert TEXT in paragraphs
    assert f"وقال الوزير: {TEXT}" in paragraphs
    assert "سر" not in article.text
    assert "الرئيسية" not in article.text


def test_a_page_without_an_article_gives_all_its_text():
    assert extract_html("<html><body><ul><li>أول<li>ثان</ul></body></html>").text.split() == [
        "أول",
        "ثان",
    ]


@pytest.mark.parametrize("page", ["", "<html></html>", "<html><script>x()</script></html>"])
def test_a_page_without_text_is_refused(page):
    with pytest.raises(InputError, match="holds no text"):
        extract_html(page)
