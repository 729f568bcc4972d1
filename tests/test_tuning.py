"""The token budget that is found by trying: where it stops, and that nothing else depends on it."""

from __future__ import annotations

import pytest

import tiny
from khulasa.models.engine import GenerationOptions
from khulasa.models.errors import ConfigError
from khulasa.models.translator import Translator, TranslatorOptions
from khulasa.models.tuning import BUDGETS, tune

ROWS = [[1] * 19 + [0]] * 3


class Machine:
    """An engine, and a clock that says how long its batches take."""

    def __init__(self, seconds):
        self.now, self.sizes = 0.0, []
        self.engine = tiny.FakeEngine(fails=self.spend)
        self.seconds = seconds

    def spend(self, texts, device):
        self.sizes.append(len(texts))
        self.now += self.seconds(len(texts))

    def tune(self):
        return tune(self.engine, ROWS, GenerationOptions(), lambda: self.now)


def test_a_machine_that_gains_nothing_from_large_batches_gets_small_ones():
    machine = Machine(lambda rows: 0.01 * rows)
    assert machine.tune() == BUDGETS[0]
    assert machine.sizes == [1, 32, 64]


def test_a_machine_that_gains_from_each_gets_the_largest():
    machine = Machine(lambda rows: 0.1)
    assert machine.tune() == BUDGETS[-1]


def test_it_stops_where_the_gain_ends():
    machine = Machine(lambda rows: 0.1 if rows <= 128 else 0.1 * rows / 128)
    assert machine.tune() == 4096


def test_a_slow_machine_is_not_asked_for_long():
    machine = Machine(lambda rows: 4.0)
    assert machine.tune() == BUDGETS[0]
    assert machine.sizes == [1, 32]


def test_outputs_are_those_of_any_budget_and_trials_leave_no_trace():
    texts = [f"النص رقم {n} " + "كلمة " * (n % 9) for n in range(50)]

    def translated(budget):
        engine = tiny.FakeEngine(lambda text, _: f"A text of {len(text)}.")
        made = Translator(engine, TranslatorOptions(token_budget=budget))
        return made, made.translate(texts)

    fixed, expected = translated(2048)
    auto, found = translated("auto")
    assert found == expected
    assert fixed.token_budget == 2048
    assert auto.token_budget in BUDGETS
    again = auto.token_budget
    auto.translate(texts)
    assert auto.token_budget == again


def test_before_the_first_sentence_there_is_no_budget():
    made = Translator(tiny.FakeEngine(), TranslatorOptions(token_budget="auto"))
    assert made.token_budget is None
    made.translate([])
    assert made.token_budget is None


def test_no_other_word_is_a_budget():
    with pytest.raises(ConfigError, match="token_budget"):
        TranslatorOptions(token_budget="large")  # type: ignore[arg-type]
