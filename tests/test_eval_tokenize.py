"""The ROUGE tokenizer: what is one word, what is folded, and what must stay apart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from khulasa.eval.scores import ScoreError
from khulasa.eval.tokenize import RougeTokenizer

TASHKEEL = "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u0670"
ARABIC_WORDS = st.text(alphabet="ابتثجحخدذرزسشصضطظعغفقكلمنهويىةأإآؤئء ،.؟12٣", max_size=40)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("قَالَ الرَّئِيسُ", ["قال", "الرئيس"]),
        ("جمــيل جداً", ["جميل", "جدا"]),
        ("هٰذا الكتاب", ["هذا", "الكتاب"]),
        ("ﷺ", ["صلى", "الله", "عليه", "وسلم"]),
        # A vowel sign and a doubling sign as presentation forms.
        ("قَال\ufe76 مر\ufc60ة", ["قال", "مرة"]),
        ("عام ١٤٤٥ هـ", ["عام", "1445", "ه"]),
        ("«قال، نعم؟»", ["قال", "نعم"]),
        ("كوفيد19 وG20", ["كوفيد19", "وg20"]),
        ("Straße CAFE\u0301", ["strasse", "café"]),
        ("على علي", ["على", "علي"]),
        ("إن أن آن", ["إن", "أن", "آن"]),
        ("مدرسة مدرسه", ["مدرسة", "مدرسه"]),
        ("سطر\nثان", ["سطر", "ثان"]),
        ("؟!…", []),
        ("", []),
    ],
)
def test_arabic_words(text, words):
    assert RougeTokenizer("ar")(text) == words


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("والكتاب", ["و", "ال", "كتاب"]),
        ("فبالقلم", ["ف", "ب", "ال", "قلم"]),
        ("كالقمر", ["ك", "ال", "قمر"]),
        ("وللشعب", ["و", "ل", "ال", "شعب"]),
        ("الكتاب", ["ال", "كتاب"]),
        # These only look as if they had a prefix.
        ("الله", ["الله"]),
        ("لله", ["لله"]),
        ("التي", ["التي"]),
        ("والد", ["والد"]),
        ("بالغ", ["بالغ"]),
        ("وزير", ["وزير"]),
        ("فريق", ["فريق"]),
        ("سياسة", ["سياسة"]),
        ("كلمة", ["كلمة"]),
        ("بلد", ["بلد"]),
    ],
)
def test_clitics_are_split_only_at_the_article(word, parts):
    assert RougeTokenizer("ar", clitics=True)(word) == parts
    assert RougeTokenizer("ar")(word) == [word]


def test_every_option_shows_in_the_signature():
    options = ["diacritics", "fold_alef", "fold_yeh", "fold_teh_marbuta", "clitics"]
    signatures = {RougeTokenizer("ar").signature, RougeTokenizer("ar", fold_digits=False).signature}
    signatures |= {RougeTokenizer("ar", **{name: True}).signature for name in options}
    signatures |= {RougeTokenizer("en").signature, RougeTokenizer("en", stemmer=True).signature}
    assert len(signatures) == len(options) + 4
    assert RougeTokenizer("ar").signature == (
        "tok:khulasa-ar|dia:strip|tat:strip|alef:keep|yeh:keep|teh:keep|dig:fold|clit:keep"
        "|case:fold|v:1"
    )


@pytest.mark.parametrize("stemmer", [False, True])
def test_english_words_are_those_of_rouge_score(stemmer):
    theirs, ours = DefaultTokenizer(stemmer), RougeTokenizer("en", stemmer=stemmer)
    texts = [
        "The U.S. economy grew 3.5% in Q2; exports weren't falling.",
        "naïve café İstanbul ﬁne ١٢٣ Ⅷ K_e-lvin K",
        "running runners ran easily, relational conditional dies dying",
        "",
    ]
    rng = random.Random(5)
    alphabet = "abcXYZ 019.,-_'\n\téİßسل\u0301\u212a"
    texts += ["".join(rng.choices(alphabet, k=30)) for _ in range(300)]
    for text in texts:
        assert ours(text) == theirs.tokenize(text)


@pytest.mark.parametrize(
    ("language", "options"),
    [
        ("ar", {"stemmer": True}),
        ("en", {"fold_alef": True}),
        ("en", {"clitics": True}),
        ("fr", {}),
    ],
)
def test_options_of_another_language_are_refused(language, options):
    with pytest.raises(ScoreError):
        RougeTokenizer(language, **options)


@given(text=ARABIC_WORDS, seed=st.integers(0, 1000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_vowel_signs_and_tatweel_never_change_the_words(text, seed):
    rng = random.Random(seed)
    marked = "".join(
        char + (rng.choice([*TASHKEEL, "\u0640", "\u200d", ""]) if char.isalpha() else "")
        for char in text
    )
    assert RougeTokenizer("ar")(marked) == RougeTokenizer("ar")(text)


@given(text=st.text(max_size=60))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_words_of_any_text_are_never_empty_and_come_back_as_they_are(text):
    tokenizer = RougeTokenizer("ar")
    words = tokenizer(text)
    assert all(words)
    assert tokenizer(" ".join(words)) == words
