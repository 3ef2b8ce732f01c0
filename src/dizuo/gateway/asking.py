"""How an English question is put: what kind of answer it wants, who does what, what must be and may be, of which part.

Only closed classes of words are looked at: interrogatives, auxiliaries, quantifiers, pronouns. Vectors hardly see them,
and each may turn an answer round: can I, do I have to; who kills, whom does he kill; the longest, all but the longest.
In Chinese they count among what a question says already (`wording.py`).
"""

import re
from functools import lru_cache
from typing import Literal

Form = Literal["way", "what", "polar", ""]

_AUXILIARY = (
    r"(?:is|are|am|was|were|do|does|did|can|could|will|would|should|shall|may|might|must|has|have|had"
    r"|(?:is|are|was|were|do|does|did|could|would|should|has|have|had)n't|can't|cannot|won't)"
)
# What only asks for the answer that the rest is about.
_ASKED_OF = re.compile(
    r"\b(?:can|could|would|will|do|does|did) (?:you|any(?:one|body)|some(?:one|body))"
    r" (?:please |kindly |also |happen to )?"
    r"(?:tell|explain|show|know|help|describe|say|let|give|guide|walk|advise|clarify|teach)\b(?: (?:to )?(?:me|us))?"
    r"|\bi(?:'d| would)? (?:want|like|need|love|(?:was|am) trying) to (?:know|ask|learn|find out|understand)\b"
    r"|\bi(?:'m| am| was)? wonder(?:ing)?\b|\b(?:tell|show|explain to|teach|help|ask) (?:me|us)\b|\bany idea\b"
)
_CLAUSE = re.compile(r"[,.;:?!]+")
_BEFORE = re.compile(
    r"(?:(?:hi|hello|hey|please|so|and|but|then|also|ok|okay|well|just"
    r"|at|on|in|for|from|to|with|by|of|about|under|until) )+"
)
_WAY = re.compile(
    rf"\bhow (?:to|{_AUXILIARY})\b|\bhow (?:i|we|you|one) (?:can|could|should|would)\b|\bin (?:what|which) way\b"
    r"|\b(?:what|which)\b.*\b(?:steps?|ways?|process|procedure|method|instructions)\b"
    r"|\bwhat (?:do|should|can|could|must|would) (?:i|we|you|one) (?:(?:have|need) to )?do\b"
)
_WH = re.compile(rf"(?:(?:who|whom|whose|what|which|why|how)(?:'s|'re|'d)?|(?:when|where)(?:'s| {_AUXILIARY}| to))\b")
_UNSAID = re.compile(r"\b(?:is|are) there (?:a|any|some) (?:easy |good |simple )?(?:ways?|method|process|procedure)\b")
_WH_INSIDE = re.compile(r"\b(?:what|whom|whose|why|how|which)\b")
_POLAR = re.compile(rf"(?:{_AUXILIARY}|whether)\b")

_NEEDED = re.compile(
    r"\b(?:must|should|shall|ought|need(?:s|ed)?|ha(?:ve|s|d) to|required?|requires|necessary|mandatory|obligatory"
    r"|obliged|supposed to|shouldn't|mustn't)\b"
)
_POSSIBLE = re.compile(r"\b(?:can|could|may|might|able|possible|allow(?:ed|s)?|permit(?:ted|s)?|can't|cannot)\b")

_ASKS_OBJECT = re.compile(r"\bwhom\b|\b(?:who|what|which(?: [\w'-]+){1,3}) (?:do|does|did)(?:n't)?\b")
_ASKS_SUBJECT = re.compile(
    rf"(?:^|[,.;:?!] )(?:who|what|which) (?!{_AUXILIARY}\b|(?:else|to|i|you|he|she|it|we|they|the|a|an|my|your)\b)\w"
)
_ANY_AUXILIARY = re.compile(rf"\b{_AUXILIARY}\b|'(?:s|re|ll|ve|d)\b")

# Which of them, how much of it, how many, before and after what, now or ever.
_SCOPE = re.compile(
    r"\b(?:only|all|both|each|every|others?|another|else|same|except|excluding|besides|apart from|aside from"
    r"|rather|instead|most|least|more|less|fewer|enough|even|again|almost|nearly|last|next|previous|first|own|together"
    r"|alone|always|ever|once|several|few|too(?= \w)|back|half|before|after|during|until|between|under|over|through"
    r"|because|out|now|nowadays|current(?:ly)?|former(?:ly)?|(?:all|any\w*|every\w*|no\w*) but)\b"
)
_ELSE = re.compile(r"\b(?:he|she|him|her|his|hers)\b")
_THEY = re.compile(r"\b(?:they|them)\b")
_YOU = re.compile(r"\byou\b")


@lru_cache(maxsize=8192)
def form_of(text: str) -> Form:
    """What is wanted of lower-case English: a way to do it, a thing (a place, a reason), yes or no; or unsaid."""
    asked = " ".join(_ASKED_OF.sub(" , ", text).split())
    if _WAY.search(asked):
        return "way"
    if _UNSAID.search(asked):
        return ""
    heads = [_BEFORE.sub("", clause.strip() + " ", count=1) for clause in _CLAUSE.split(asked)]
    if any(_WH.match(head) for head in heads):
        return "what"
    if any(_POLAR.match(head) for head in heads):
        return "polar"
    return "what" if _WH_INSIDE.search(asked) else ""


def forms_differ(a: str, b: str) -> bool:
    """Whether one wants another kind of answer than the other: Can I return it? How do I return it?"""
    return bool(form_of(a)) and bool(form_of(b)) and form_of(a) != form_of(b)


def modalities_differ(a: str, b: str) -> bool:
    """Whether one asks what must be, and the other what may be or what is. Of a way to do it, it is one."""
    (form, other), (needed, needed_b) = (form_of(a), form_of(b)), (bool(_NEEDED.search(a)), bool(_NEEDED.search(b)))
    if "way" in (form, other) or not form or not other:
        return False
    possible, possible_b = (bool(_POSSIBLE.search(_ASKED_OF.sub(" ", one))) for one in (a, b))
    if form == "polar" == other:
        return needed != needed_b
    return (needed and not needed_b and possible_b) or (needed_b and not needed and possible)


def sides_differ(a: str, b: str) -> bool:
    """Whether one asks who does it, and the other to whom it is done."""
    (object_a, object_b) = (bool(_ASKS_OBJECT.search(one)) for one in (a, b))
    (subject_a, subject_b) = (bool(_ASKS_SUBJECT.search(one)) and not _ANY_AUXILIARY.search(one) for one in (a, b))
    return (object_a and subject_b) or (object_b and subject_a)


def scopes_differ(a: str, b: str) -> bool:
    """Whether one speaks of others, more or fewer: the first, all but the first."""
    return set(_SCOPE.findall(a)) != set(_SCOPE.findall(b))


def others_differ(a: str, b: str) -> bool:
    """Whether only one speaks of somebody else."""
    if bool(_ELSE.search(a)) != bool(_ELSE.search(b)):
        return True
    (they_a, they_b), (you_a, you_b) = ((bool(p.search(a)), bool(p.search(b))) for p in (_THEY, _YOU))
    return they_a != they_b and you_a != you_b and they_a != you_a


DIFFERENCES = (forms_differ, modalities_differ, sides_differ, scopes_differ, others_differ)
