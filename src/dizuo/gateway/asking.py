"""How an English question is put: what kind of answer it wants, who does what, what must be and may be, of which part.

Only closed classes of words are looked at: interrogatives, auxiliaries, quantifiers, pronouns, prepositions. Vectors
hardly see them, and each may turn an answer round: can I, do I have to; who kills, whom does he kill; the longest, all
but the longest. In Chinese they count among what a question says already (`wording.py`).
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
    r"^(?:(?:hi|hello|hey|please|so|and|but|then|also|ok|okay|well|just"
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

_DONE = (
    r"(?:\w+ed|been|gone|done|made|sent|paid|got|gotten|taken|given|seen|found|lost|left|come|become|bought|sold|told|kept"
    r"|held|built|put|set|cut|met|read|said|won|begun|written|spoken|broken|chosen|risen|grown|shown|known|flown|drawn)"
)
_WAS = re.compile(
    rf"\b(?:was|were|did|had)(?:n't)?\b|(?:\b(?:has|have)(?:n't)?|'ve)(?! to\b)(?: [\w']+){{0,3}}? {_DONE}\b"
)
_COURTESY = re.compile(r"\b(?:please|kindly|thanks|thank you|hi|hello|hey)\b")
# Where something else is told beside the question, in a clause of its own.
_TELLS_MORE = re.compile(
    r"(?<=\w )(?:if|when|while|after|before|because|since|until|that (?:i|you|we|he|she|it|they|the|my|our|your))\b"
    r"|[,.;:!?]\s+\w"
)
_MAY_OR_WILL = re.compile(
    r"\b(?:will|shall|can|must|may|should|can't|cannot|won't|mustn't|shouldn't|going to|possible|allowed|permitted)\b"
    r"|'ll\b"
)
_SUBJECT = re.compile(
    r"\b(?:do|does|did|can|could|must|should|will|would|may|might|shall)(?:n't)?"
    r" (?P<whose>(?:my|our|the|your|his|her|their|an?) )?(?P<who>[a-z]+)\b"
)

_AS_A_WAY = re.compile(
    r"\bhow (?:to|(?:do|can|could|should|would|must|might|may) (?:i|we|one)|(?:i|we|one) (?:can|could|should|would))\b"
    r"|\bwhat(?:'s| is| are)? (?:the )?(?:best |right |easiest )?(?:way|steps?|procedure|process) (?:to|of|for)\b"
    r"|\bis there (?:a|any) way (?:to|i can|of)\b|\bin (?:what|which) way\b"
    r"|\bwhat (?:do|should|can|must|would) (?:i|we) (?:(?:have|need) to )?do\b"
)
# Of prepositions, those that a wording does not exchange: what is for the landlord is not from him.
_PREPOSITIONS = re.compile(r"\b(?:from|by|without|out|over|under|between|against|before|after|until|since|than)\b")
_OPENS = re.compile(
    r"(?P<what>who|whom|(?:which|what)(?! (?:time|day|date|year)\b)"
    r"|how (?:much|many|long|old|far|big|large|tall|high|deep|wide|heavy|fast|soon|hot|cold))\b"
    r"|(?P<when>when|(?:which|what) (?:time|day|date|year))\b|(?P<where>where)\b|(?P<why>why)\b|(?P<how>how)\b"
    rf"|(?P<polar>if|whether|{_AUXILIARY})\b"
)
_WAS_DONE, _DID, _GOT = re.compile(r"\b(?:was|were)\b"), re.compile(r"\bdid\b"), re.compile(r"\bget(?:ting)?\b|\bgot\b")
_AND_ME = re.compile(r"\band (?:i|me|us|myself)\b(?! \w+ed\b)|\b(?:me|us) and \w")

# Which of them, how much of it, how many, before and after what, now or ever.
_SCOPE = re.compile(
    r"\b(?:only|all|both|each|every|others?|another|else|same|except|excluding|besides|apart from|aside from"
    r"|rather|instead|most|least|more|less|fewer|enough|even|again|almost|nearly|last|next|previous|first|own|together"
    r"|alone|always|ever|once|several|few|too(?= \w)|back|half|before|after|during|until|between|under|over|through"
    r"|because|out|now|nowadays|current(?:ly)?|former(?:ly)?|(?:all|any\w*|every\w*|no\w*) but)\b"
)
_ELSE = re.compile(r"\b(?:he|she|him|her|his|hers)\b")
_THEY = re.compile(r"\b(?:they|them)\b")
_WORD = re.compile(r"[a-z]+")
_YOU = re.compile(r"\byou\b")


@lru_cache(maxsize=8192)
def form_of(text: str) -> Form:
    """What is wanted of lower-case English: a way to do it, a thing (a place, a reason), yes or no; or unsaid."""
    asked = " ".join(_ASKED_OF.sub(" , ", text).split())
    if _WAY.search(asked):
        return "way"
    if _UNSAID.search(asked):
        return ""
    heads = _heads(asked)
    if any(_WH.match(head) for head in heads):
        return "what"
    if any(_POLAR.match(head) for head in heads):
        return "polar"
    return "what" if _WH_INSIDE.search(asked) else ""


def _heads(text: str) -> list[str]:
    """Every clause, without what may go before its opening."""
    return [_BEFORE.sub("", clause.strip() + " ") for clause in _CLAUSE.split(text)]


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


def times_differ(a: str, b: str) -> bool:
    """Whether one asks of what was, and the other of what will or may be: Where was I, where can I get vaccinated?"""
    a, b = (_COURTESY.sub(" ", _ASKED_OF.sub(" ", one)).strip(" ,.!") for one in (a, b))
    if _TELLS_MORE.search(a) or _TELLS_MORE.search(b):
        return False
    (was_a, then_a), (was_b, then_b) = ((bool(_WAS.search(one)), bool(_MAY_OR_WILL.search(one))) for one in (a, b))
    return (was_a and not then_a and then_b and not was_b) or (was_b and not then_b and then_a and not was_a)


def prepositions_differ(a: str, b: str) -> bool:
    """Whether only one says from, by, without: a poem for him, a poem from him."""
    return set(_PREPOSITIONS.findall(_bare(a))) != set(_PREPOSITIONS.findall(_bare(b)))


def openings_differ(a: str, b: str) -> bool:
    """Whether one asks when and the other how, why or whether. `forms_differ` knows ways of doing it from the rest."""
    opens_a, opens_b = _openings(a), _openings(b)
    return bool(opens_a) and bool(opens_b) and opens_a.isdisjoint(opens_b)


def voices_differ(a: str, b: str) -> bool:
    """Whether one tells what somebody did, and the other what was done to him: did she turn it down, was she."""
    (done_a, did_a), (done_b, did_b) = ((bool(_WAS_DONE.search(one)), bool(_DID.search(one))) for one in (a, b))
    if (done_a and not did_a and did_b and not done_b) or (done_b and not did_b and did_a and not done_a):
        return not (_GOT.search(a) or _GOT.search(b))
    return False


def _bare(text: str) -> str:
    """Without what only asks for the answer, and with one word for a way to do it."""
    return _AS_A_WAY.sub(" how ", _ASKED_OF.sub(" , ", _COURTESY.sub(" ", text)))


@lru_cache(maxsize=8192)
def _openings(text: str) -> frozenset[str]:
    found = (_OPENS.match(head) for head in _heads(_bare(text)))
    return frozenset(one.lastgroup for one in found if one is not None and one.lastgroup is not None)


def companies_differ(a: str, b: str) -> bool:
    """Whether only one speaks of somebody and me."""
    return bool(_AND_ME.search(a)) != bool(_AND_ME.search(b))


def subjects_differ(a: str, b: str) -> bool:
    """Whether I do in one what somebody does in the other, whom both name: does my landlord give me notice, do I."""
    (mine_a, others_a), (mine_b, others_b) = (_subjects(one) for one in (a, b))
    words_a, words_b = (set(_WORD.findall(one)) for one in (a, b))
    return (mine_a and not mine_b and bool(others_b & words_a)) or (mine_b and not mine_a and bool(others_a & words_b))


def _subjects(text: str) -> tuple[bool, set[str]]:
    found = [(match["whose"], match["who"]) for match in _SUBJECT.finditer(_ASKED_OF.sub(" ", text))]
    return any(who in ("i", "we") for _whose, who in found), {who for whose, who in found if whose}


def scopes_differ(a: str, b: str) -> bool:
    """Whether one speaks of others, more or fewer: the first, all but the first."""
    return set(_SCOPE.findall(a)) != set(_SCOPE.findall(b))


def others_differ(a: str, b: str) -> bool:
    """Whether only one speaks of somebody else."""
    if bool(_ELSE.search(a)) != bool(_ELSE.search(b)):
        return True
    (they_a, they_b), (you_a, you_b) = ((bool(p.search(a)), bool(p.search(b))) for p in (_THEY, _YOU))
    return they_a != they_b and you_a != you_b and they_a != you_a


DIFFERENCES = (
    forms_differ,
    modalities_differ,
    sides_differ,
    scopes_differ,
    others_differ,
    companies_differ,
    prepositions_differ,
    openings_differ,
    voices_differ,
)
