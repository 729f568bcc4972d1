"""Names: found by their sounds in both languages, and replaced by others on both sides."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from khulasa.models.sounds import transliterations
from khulasa.models.training.config import FilterConfig, SourceConfig
from khulasa.models.training.corpus import load_corpus
from khulasa.models.training.names import collect_names, swap_names


@pytest.mark.parametrize(
    ("arabic", "english", "names"),
    [
        ("زار كيندال نيويورك", "Kendall visited New York", [("كيندال", "Kendall")]),
        ("افتتحت شركة مايكروسوفت مكتبا", "Microsoft opened an office", [("مايكروسوفت", "Microsoft")]),
        ("فازت كرافتشينكو", "Kravchenko won", [("كرافتشينكو", "Kravchenko")]),
        ("عاد إلى فيينا وجوبا", "He went back to Vienna and Juba", [("فيينا", "Vienna"), ("جوبا", "Juba")]),
        ("للمغرب ولباريس ولندن", "Of Morocco, Paris, London", [("باريس", "Paris"), ("لندن", "London")]),
        # What is written together with a name is no part of it; its own first letter is.
        ("سافر إلى تونس وباريس", "He went to Tunis and Paris", [("تونس", "Tunis"), ("باريس", "Paris")]),
        ("وصل لباريس", "He reached Paris", [("باريس", "Paris")]),
        ("وصل إلى ويسبادن", "He reached Wiesbaden", [("ويسبادن", "Wiesbaden")]),
        ("وصل إلى يوكوهاما", "He reached Yokohama", [("يوكوهاما", "Yokohama")]),
        # A capital at the start of a sentence, a month, an acronym, a word of both languages.
        ("قال الوزير إنه غادر", "The minister said that he had left", []),
        ("في 3 نوفمبر", "On 3 November", []),
        ("قالت ناسا", "NASA said", []),
        ("على الإنترنت", "on the internet", []),
        # Names that are translated, have the article, or are not there.
        ("الولايات المتحدة", "The United States", []),
        ("في الرياض", "In Riyadh", []),
        ("غادر الرئيس", "Kendall left", []),
        # One consonant is too few to go by.
        ("عاد إلى ليو", "He went back to Leo", []),
        # Two words that sound alike: which of them it is cannot be told.
        ("سالم وسليم في بيروت", "Salem is in Beirut", [("بيروت", "Beirut")]),
    ],
)  # fmt: skip
def test_names_are_found_by_their_consonants(arabic, english, names):
    assert transliterations((arabic, english)) == names


def test_a_list_of_names_leaves_out_words_that_are_none():
    pairs = [
        ("قال سمير", "Samir said"),
        ("منذ أمس", "Monad was here"),
        ("منذ عام", "a year ago"),
        ("منذ يوم", "a day ago"),
        ("كان راديو هناك", "Radio was there"),
        ("اشترى راديو", "He bought a radio"),
    ]
    dictionary = [
        ("دونالد ترامب", "donald trump"),
        ("عام", "year"),
        ("مدن كندا", "Cities in Canada"),
    ]
    assert collect_names(pairs, dictionary) == [
        ("سمير", "Samir"),
        ("دونالد", "Donald"),
        ("ترامب", "Trump"),
        ("كندا", "Canada"),
    ]


def test_a_name_becomes_another_on_both_sides_and_keeps_what_is_joined_to_it():
    pair = ("سافر سمير إلى باريس، ولباريس سحرها", "Samir went to Paris; Paris's charm holds")
    known = frozenset({("باريس", "Paris")})
    assert swap_names(pair, [("ليما", "Lima")], known, random.Random(1)) == (
        "سافر سمير إلى ليما، ولليما سحرها",
        "Samir went to Lima; Lima's charm holds",
    )
    assert swap_names(("ماء", "water"), [("ليما", "Lima")], known, random.Random(1)) is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.text("ابتثجوي لف1،", max_size=40), st.text("ABTabtw '1,é", max_size=40), st.integers(0, 9)
)
def test_any_text_at_all_is_fine_and_the_same_seed_gives_the_same(arabic, english, seed):
    pair = (arabic, english)
    names = [("ليما", "Lima"), ("جوبا", "Juba")]
    known = frozenset(transliterations(pair))
    first = swap_names(pair, names, known, random.Random(seed))
    assert first == swap_names(pair, names, known, random.Random(seed))
    assert (first is None) == (not known)


def test_a_source_gives_variants_with_names_of_a_list(tmp_path):
    pairs, names = tmp_path / "pairs.tsv", tmp_path / "names.tsv"
    pairs.write_text("زار باريس أمس\tHe visited Paris\nماء\twater\n", encoding="utf-8")
    names.write_text("ليما\tlima\nجوبا\tjuba\nسيول\tseoul\n", encoding="utf-8")
    source = SourceConfig(path=str(pairs), names=str(names), copies=20)
    corpus = load_corpus("pairs", source, FilterConfig(), "translator")
    assert set(corpus.pairs) <= {
        ("زار باريس أمس", "He visited Paris"),
        ("زار ليما أمس", "He visited Lima"),
        ("زار جوبا أمس", "He visited Juba"),
        ("زار سيول أمس", "He visited Seoul"),
    }
    assert len(set(corpus.pairs)) > 2
    assert corpus.pairs == load_corpus("pairs", source, FilterConfig(), "translator").pairs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": True, "names": "names.tsv"}, "both `vary` and `names`"),
        ({"copies": 2}, "needs `vary` or `names`"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SourceConfig(path="pairs.tsv", **options)
