"""Translations of the parts of a sentence, put together as one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .guards import is_finished

# Words that have a capital only where a sentence begins.
_FUNCTION_WORD = re.compile(
    r"\A(?:"
    r"A|An|The|This|That|These|Those|And|Or|But|Nor|So|As|If|Than|Though|"
    r"Although|Because|Since|While|When|Where|Which|Who|Whose|Whom|What|How|After|"
    r"Before|During|Until|At|By|For|From|In|Into|Of|Off|On|Onto|Out|Over|Through|"
    r"To|Under|Up|Upon|With|Within|Without|About|Above|Across|Against|Along|Among|"
    r"Around|Behind|Below|Between|Beyond|Despite|Except|Near|Per|Toward|Towards|"
    r"According|He|She|It|They|We|You|His|Her|Its|Their|Our|Your|Him|Them|There|"
    r"Here|Is|Are|Was|Were|Has|Have|Had|Be|Been|Being|Does|Did|Can|Could|Would|"
    r"Should|Must|Not|No|Also|Then|Only|Both|Each|All|Any|Some|Such|More|Most|"
    r"Other|Another|One|Two|Three"
    r")(?![\w'’-])"
)
# Not that of "U.S." or of "...".
_STOP = re.compile(r"(?<=\w\w)\.\Z")


def join_parts(parts: Iterable[tuple[str, str]]) -> str:
    """Join translations with a space, given with their sources, in order.

    A model ends what it is given as a sentence, and begins it as one. Where the source goes on
    behind a part, the stop of its translation becomes a comma if the source has one, and goes if
    not, and the next part begins with a small letter where its first word is no name.
    """
    joined, before = "", ""
    for source, target in parts:
        if before and not is_finished(before):
            joined = _STOP.sub("," if before.endswith(("،", ",")) else "", joined)
            target = _FUNCTION_WORD.sub(lambda word: word[0].lower(), target)
        if target:
            joined, before = f"{joined} {target}".lstrip(), source
    return joined
