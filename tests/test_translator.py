"""The translator gives one translation for each sentence, in order, and says what looks wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from khulasa.models.engine import Generation, GenerationOptions
from khulasa.models.errors import ConfigError
from khulasa.models.guards import FLAGS, GuardOptions
from khulasa.models.translator import Translator, TranslatorOptions, split_at_spaces

PLAIN = "وصل القطار إلى المحطة قبل الموعد."
LOOP = "salad salad salad salad salad"


def translator(reply=None, splitter=None, limit=200, **options) -> Translator:
    engine = tiny.FakeEngine(reply or (lambda text, _: f"<{len(text)}> " + "x" * len(text)))
    chosen = TranslatorOptions(max_source_tokens=limit, **options)
    return Translator(engine, chosen, splitter)


def calls(made: Translator) -> list[str]:
    """What the model was asked, in order."""
    return [text for batch in made.engine.batches for text in batch]


@pytest.fixture(scope="module")
def real(marian):
    made = Translator.from_checkpoint(
        str(marian.path),
        device="cpu",
        threads=1,
        options=TranslatorOptions(GenerationOptions(beam_size=1, max_new_tokens=12)),
    )
    yield made
    made.close()


def test_translations_come_in_the_order_of_the_sentences():
    made = translator(lambda text, _: text[::-1], retry=False, token_budget=30)
    sentences = ["abcd", "b", "cc cd cc cd", "d d", "efefefefefefef"]
    assert [t.source for t in made.translate(sentences)] == sentences
    assert [t.target for t in made.translate(sentences)] == [s[::-1] for s in sentences]


def test_equal_sentences_are_decoded_once():
    made = translator(lambda text, _: "The train came early.", retry=False)
    results = made.translate([PLAIN, "وصلَ القطارُ إلى المحطة قبل الموعد.", f" {PLAIN} "])
    assert calls(made) == [PLAIN]
    assert [r.target for r in results] == ["The train came early."] * 3
    assert results[1].source == "وصلَ القطارُ إلى المحطة قبل الموعد."


def test_a_wrong_number_is_put_right_and_said_without_another_try():
    made = translator(lambda text, _: "The number was 2500.")
    (result,) = made.translate(["بلغ العدد 250."])
    assert (result.target, result.flags) == ("The number was 250.", ("numbers_repaired",))
    assert (result.retried, len(calls(made))) == (False, 1)


def test_an_uncertain_sentence_is_flagged_and_not_decoded_again():
    options = GuardOptions(min_score=0.0)
    made = translator(lambda text, _: "The train came early.", guards=options)
    (result,) = made.translate([PLAIN])
    assert (result.flags, result.retried) == (("uncertain",), False)
    assert len(calls(made)) == 1


def test_a_garbled_name_is_put_right_and_said_without_another_try():
    made = translator(lambda text, _: "Novatl opened in 20225.")
    (result,) = made.translate(["افتتحت Novatel في 2022."])
    assert result.target == "Novatel opened in 2022."
    assert result.flags == ("numbers_repaired", "latin_repaired")
    assert not result.retried


def test_numbers_are_left_as_the_model_wrote_them_on_request():
    made = translator(lambda text, _: "The number was 2500.", repair=False)
    (result,) = made.translate(["بلغ العدد 250."])
    assert (result.target, result.flags) == ("The number was 2500.", ("numbers",))


def test_a_number_that_is_lost_altogether_is_tried_again_and_flagged():
    made = translator(lambda text, _: "There were many.")
    (result,) = made.translate(["بلغ العدد 250."])
    assert (result.target, result.flags, result.retried) == ("There were many.", ("numbers",), True)


@pytest.mark.parametrize(
    "text", ["", "   ", "...", "؟!", "😀 😀", "—", "\u200f", "\0", "* * *", "\n"]
)
def test_what_has_no_letter_or_digit_is_passed_through_untouched(text):
    made = translator()
    (result,) = made.translate([text])
    assert (result.target, result.flags, result.pieces, result.score) == (text, (), 0, None)
    assert calls(made) == []


def test_a_long_sentence_is_translated_in_pieces_and_nothing_is_lost():
    words = [f"w{i}" for i in range(60)]
    made = translator(lambda text, _: text.upper(), limit=50)
    (result,) = made.translate([" ".join(words)])
    assert result.pieces > 1
    assert result.target.split() == [word.upper() for word in words]
    assert all(len(text) < 50 for text in calls(made))


def test_the_given_splitter_is_asked_and_checked():
    asked = []

    def splitter(text, count, limit):
        asked.append((text, count("abc"), limit))
        return text.split("; ")

    made = translator(lambda text, _: text.upper(), splitter, limit=50)
    first, second = "ab " * 13 + "ab", "cd" * 10 + " " + "ef" * 30
    (result,) = made.translate([f"{first}; {second}"])
    assert asked == [(result.source, 4, 50)]
    # The second of its pieces was still too long.
    assert set(calls(made)) == {first, *split_at_spaces(second, made.engine.count_tokens, 50)}


def test_a_splitter_that_gives_nothing_loses_nothing():
    made = translator(lambda text, _: text.upper(), lambda *_: [], limit=50)
    (result,) = made.translate(["ab " * 40])
    assert result.target.split() == ["AB"] * 40


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("ab ", min_size=1, max_size=90), st.integers(2, 20))
def test_pieces_fit_and_make_up_the_text_again(text, limit):
    text = " ".join(text.split())
    pieces = split_at_spaces(text, lambda piece: len(piece) + 1, limit)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    assert all(len(piece) < limit for piece in pieces)
    assert all(piece == piece.strip() for piece in pieces)


def test_a_flagged_output_is_decoded_once_more_with_stricter_options():
    seen = []

    def reply(text, options):
        seen.append(options)
        return "It is a fresh salad." if options.no_repeat_ngram_size else LOOP

    made = translator(reply, generation=GenerationOptions(beam_size=2))
    loop, fine = made.translate(["السلطة طازجة اليوم.", PLAIN])
    assert (loop.target, loop.flags, loop.retried) == ("It is a fresh salad.", (), True)
    assert len(seen) == 4
    first, second = seen[0], seen[-1]
    assert (first.no_repeat_ngram_size, first.beam_size) == (0, 2)
    assert (second.no_repeat_ngram_size, second.beam_size) == (3, 8)
    assert fine.retried


class Several(tiny.FakeEngine):
    """Has more than one hypothesis when it is asked for all."""

    def __init__(self, *replies: str) -> None:
        super().__init__(lambda text, _: replies[0])
        self.replies = replies

    def hypotheses(self, batch, options):
        found = [Generation((0,), text, -1.0 - i, False) for i, text in enumerate(self.replies)]
        return [found for _ in self.generate(batch, options)]


def test_of_all_hypotheses_of_the_second_try_the_one_that_keeps_most_is_taken():
    replies = ("Many came.", "Acme sold many.", "Acme sold 250.", "250 were sold by Acme.")
    sure = TranslatorOptions(guards=GuardOptions(min_score=None))
    (result,) = Translator(Several(*replies), sure).translate(["باعت Acme نحو 250."])
    assert (result.target, result.flags, result.retried) == ("Acme sold 250.", (), True)
    (fine,) = Translator(Several("Acme sold 250.", "250.")).translate(["باعت Acme نحو 250."])
    assert (fine.target, fine.retried) == ("Acme sold 250.", False)


def test_a_second_try_that_is_no_better_is_not_taken():
    def reply(text, options):
        return f"{LOOP} 77" if options.no_repeat_ngram_size else LOOP

    (result,) = translator(reply, repair=False).translate(["السلطة طازجة اليوم."])
    assert (result.target, result.flags, result.retried) == (LOOP, ("repetition",), True)


# Three clauses, of which each has a number.
LONG = "وصل 250 شخصا إلى المدينة أمس، وغادر 340 منهم في المساء، وبقي 170 في الفندق القديم"


def keeps_all_in_short(text: str, _options: GenerationOptions) -> str:
    """Loses every number but the first of what is longer than a clause."""
    found = re.findall(r"\d+", text)
    return f"There were {', '.join(found if len(text) < 50 else found[:1])} of all those people."


def test_what_stays_wrong_is_translated_in_parts():
    made = translator(keeps_all_in_short)
    (result,) = made.translate([LONG])
    assert (result.flags, result.retried) == ((), True)
    assert result.pieces in (2, 3)
    assert [int(n) for n in re.findall(r"\d+", result.target)] == [250, 340, 170]
    # Twice as a whole; then in parts, which together are the text.
    assert calls(made)[:2] == [LONG, LONG]
    parts = sorted(calls(made)[-result.pieces :], key=LONG.index)
    assert " ".join(parts) == LONG
    assert result.score is not None


def test_without_retry_nothing_is_translated_in_parts():
    made = translator(keeps_all_in_short, retry=False, repair=False)
    (result,) = made.translate([LONG])
    assert (result.flags, result.pieces, calls(made)) == (("numbers",), 1, [LONG])


def test_parts_that_are_no_better_are_not_taken():
    whole = "There were so many people there that nobody counted them any more."
    made = translator(lambda text, _: whole if text == LONG else "There were some people there.")
    (result,) = made.translate([LONG])
    assert (result.target, result.flags) == (whole, ("numbers",))
    assert (result.pieces, result.retried) == (1, True)


@pytest.mark.parametrize("part", ["", None])
def test_parts_that_lose_a_part_are_not_taken(part):
    def reply(text, _options):
        return "There were many." if text == LONG else part if "340" in text else "170 and 250."

    (result,) = translator(reply, repair=False).translate([LONG])
    assert (result.target, result.pieces) == ("There were many.", 1)


def test_a_clause_is_not_taken_apart():
    made = translator(lambda text, _: "Many.")
    made.translate(["بلغ 250."])
    assert set(calls(made)) == {"بلغ 250."}


def test_a_loop_that_stays_is_said_once_and_told():
    made = translator(lambda *_: f"In 20225 there was {LOOP} today.")
    (result,) = made.translate(["في 2022 كانت السلطة طازجة."])
    assert result.target == "In 2022 there was salad today."
    assert result.flags == ("numbers_repaired", "loop_repaired")
    assert result.retried


def test_of_two_tries_with_as_many_flags_the_more_probable_is_taken():
    # The fake engine scores a shorter output higher.
    def reply(text, options):
        return "salad salad salad salad" if options.no_repeat_ngram_size else LOOP

    (result,) = translator(reply, repair=False).translate(["السلطة طازجة اليوم."])
    assert result.target == "salad salad salad salad"


def test_without_retry_the_flag_stays():
    made = translator(lambda *_: LOOP, retry=False, repair=False)
    (result,) = made.translate(["السلطة طازجة اليوم."])
    assert (result.flags, result.retried, len(calls(made))) == (("repetition",), False, 1)


def test_an_ordinary_output_is_not_decoded_again():
    made = translator(lambda *_: "The train reached the station early.")
    (result,) = made.translate([PLAIN])
    assert (result.flags, result.retried, len(calls(made))) == ((), False, 1)


def test_truncation_and_emptiness_are_reported():
    truncated, empty = translator(lambda text, _: None if text == PLAIN else "").translate(
        [PLAIN, "نعم."]
    )
    assert "truncated" in truncated.flags
    assert (empty.target, empty.flags) == ("", ("empty",))


def test_the_flags_of_all_pieces_are_on_the_sentence():
    def reply(text, _):
        return f"{LOOP} {text}" if text.startswith("a") else f"{text} 99"

    pieces = ["abc def ghi jkl mno pqr stu", "cba fed ihg lkj onm rqp uts"]
    made = translator(reply, lambda *_: pieces, limit=50, repair=False)
    (result,) = made.translate([" ".join(pieces)])
    assert result.flags == ("repetition", "numbers")
    assert result.pieces == 2


@pytest.mark.parametrize("values", [{"max_source_tokens": 5}, {"token_budget": 0}, {"max_rows": 0}])
def test_senseless_options_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        TranslatorOptions(**values)


def test_a_model_that_reads_next_to_nothing_is_refused():
    with pytest.raises(ConfigError, match="too few"):
        Translator(tiny.FakeEngine(max_source_tokens=8))


def test_nothing_gives_nothing():
    assert translator().translate([]) == []


NASTY = ["</s>", ">>fra<< bonjour", "<pad>", "a\0b", "😀 نعم 😀", "\ud800x", "xyz" * 900, "\n", "1"]


def test_nasty_text_goes_through_a_real_model(real, no_network):
    sentences = [*NASTY, *tiny.SENTENCES, "؟"]
    results = real.translate(sentences)
    assert [r.source for r in results] == sentences
    assert results[6].pieces > 1
    assert all(set(r.flags) <= set(FLAGS) for r in results)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*NASTY, PLAIN]),
            st.text(st.characters(exclude_categories=()), max_size=60),
        ),
        max_size=5,
    )
)
def test_any_texts_give_as_many_translations(real, sentences):
    results = real.translate(sentences)
    assert [r.source for r in results] == sentences


def test_the_same_input_gives_the_same_output(real):
    sentences = list(tiny.SENTENCES)
    first = {r.source: r.target for r in real.translate(sentences)}
    again = {r.source: r.target for r in real.translate(sentences[::-1])}
    assert first == again
