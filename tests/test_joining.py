"""Translations of parts as one sentence."""

from __future__ import annotations

import pytest

from khulasa.models.joining import join_parts


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        ([("قال الوزير", "The minister said."), ("إن", "That it is.")], "The minister said that it is."),
        ([("قال،", "He said."), ("وهو", "While he left.")], "He said, while he left."),
        ([("قال،", "He said,"), ("ثم", "Then he left.")], "He said, then he left."),
        ([("قال", "He said"), ("في", "In Paris, It is.")], "He said in Paris, It is."),
        ([("قال", "He said."), ("", ""), ("في", "In Paris.")], "He said in Paris."),
        # Names, abbreviations, and sentences that end as such, stay as they are.
        ([("قال", "He met"), ("محمد", "Paris and Rome.")], "He met Paris and Rome."),
        ([("في", "In the U.S."), ("US", "US forces.")], "In the U.S. US forces."),
        ([("قال", "He said..."), ("ثم", "It is.")], "He said... it is."),
        ([("قال ذلك.", "He said it."), ("ثم ذهب.", "Then he left.")], "He said it. Then he left."),
        ([("«ذلك.»", '"That."'), ("هو", "It is.")], '"That." It is.'),
        ([("هل؟", "Is it?"), ("هو", "It's here.")], "Is it? It's here."),
        ([("وحده", "Alone.")], "Alone."),
        ([], ""),
    ],
)  # fmt: skip
def test_parts_become_one_sentence(parts, joined):
    assert join_parts(parts) == joined
