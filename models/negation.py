"""Whether a negation of an Arabic sentence is still there in its English translation.

By word lists, so that only the plain case is found: the Arabic says "not", and nothing in the
English does. That is the error that turns a sentence around while it still reads well.
"""

from __future__ import annotations

import re

# لم، لن, ليس with any subject, دون أن, and عدم before what is not done; لا before a verb, but not
# in لا يزال (still) and لا يكاد (hardly).
_ARABIC = re.compile(
    r"\b(?:[وف]?(?:لم|لن|ليس(?:ت|وا)?|لست|لسنا)|[وف]?ب?دون أن|[وفبلك]?عدم|"
    r"[وف]?لا(?= [يتن]\w)(?! [يت](?:زال|كاد)))\b"
)
# Of adjectives and nouns ("غير قانونية" is "illegal"): each accounts for one word of _PREFIXED.
_ARABIC_ADJECTIVE = re.compile(r"\b[وفبلك]?(?:ال)?غير\b(?! أن)")
# What only looks like one: لم شمل is "reunite", and جزء لا يتجزأ an integral part.
_NOT_NEGATION = re.compile(r"\b[وفبل]?(?:لم (?:ال)?شمل\w*|العدم|لا [يت]تجزأ)\b")

_ENGLISH = re.compile(
    r"\b(?:no|not|none|nor|neither|never|nothing|nobody|nowhere|without|cannot|hardly|barely|"
    r"rarely|scarcely|seldom|little|fewer|few|only|yet|until|still|unless|except|excluding|beyond|"
    r"less|least|instead|despite|regardless|under|too|free|ends?|ended|ending|"
    r"(?:other|rather|more|earlier|later) than|short of|"
    # Verbs and nouns that say no by themselves.
    r"(?:fail|lack|refus|reject|declin|avoid|prevent|prohibit|forbid|stop|deny|deni|neglect|ignor|"
    r"los[ts]|exclud|abstain|refrain|absen|withh|resist|oppos|miss)\w*|"
    r"bann?\w*|rul\w+ out|advis\w+ against)\b|n['’]t\b",
    re.IGNORECASE,
)  # fmt: skip
_PREFIXED = re.compile(
    r"\b(?:un\w{4,}|dis\w{4,}|mis\w{4,}|non\w*|"
    r"in(?:ab|acti|adequ|appropri|capa|complet|conceiv|correct|differen|effect|eligib|secur|separ|"
    r"stab|suffic|toler|visib|valid|consist|compat|access|advert|hum|just)\w*|"
    r"im(?:mun|pun|possib|probab|proper|patien|mature|mobil)\w*|"
    r"i(?:ll(?:eg|ic)|rreg|rrel|rrepl|rresp|rrevers)\w*|\w{2,}less(?:ly|ness)?)\b|\b(?:non|anti|un)-",
    re.IGNORECASE,
)


def negation_lost(source: str, target: str) -> bool:
    """Whether the Arabic negates, and neither a word nor a prefix of the English does."""
    source = _NOT_NEGATION.sub(" ", source)
    if not _ARABIC.search(source) or _ENGLISH.search(target):
        return False
    return len(_PREFIXED.findall(target)) <= len(_ARABIC_ADJECTIVE.findall(source))
