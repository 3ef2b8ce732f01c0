"""Questions made from a sentence by rules: a span of it is the answer, the rest is turned into the question.

English: the span gets a question word by what it looks like (date, number, place, person, thing) and stays where it
stood ("… was founded in what year?"), is brought to the front with its verb ("When was … founded?"), or the parts
change places, "wh B A" (Fabbri et al. 2020, §3.2). Chinese asks where the answer stands, so there the span is replaced.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}}, \d{{4}}|{_MONTH} \d{{4}}|1[1-9]\d\d|20[0-2]\d)\b"
)
_COUNT = re.compile(
    r"\b(\d{1,3}(?:,\d{3})+|\d{1,6}|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty)\b(?= [a-z]{3,})"
)
_SHARE = re.compile(r"\b\d[\d,.]*(?: percent\b|%)")
_NAME = re.compile(
    r"(?<![.!?\"“] )(?<!^)\b[A-Z][\w’'-]+(?:(?: (?:of|the|de|von|van|and|for)(?: the)?)? [A-Z][\w’'-]+){0,5}"
)
_THING = re.compile(
    r"\b(?:is|as|by|of|with|for) ((?:an?|the) (?:[a-z][a-z-]+ ){1,4}?[a-z][a-z-]+)"
    r"(?=[,.;]| that| which| and| in | of | on )"
)
_PLACE_BEFORE = re.compile(r"\b(?:in|at|near|from|to|towards|outside|around)(?: the)? $")
_PERSON_BEFORE = re.compile(
    r"\b(?:by|with|president|king|queen|actor|actress|singer|director|author|writer|minister|senator|coach|brother|"
    r"sister|son|daughter|wife|husband|father|mother|friend|producer|professor|architect|manager|married|succeeded) $",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"^(?:He|She|It|They)\b")
_OPENER = re.compile(
    r"^(?:However|Also|Therefore|Then|Thus|Later|Meanwhile|In addition|For example|Additionally|Furthermore|Moreover)"
    r",? "
)
_GLUED_BEFORE = re.compile(r"[-–—$£€(#.&/\d]$|\ban? $|\b(?:million|and|or|,) ?$")
_GLUED_AFTER = re.compile(r"[-–—%’'/&(]|\.\w| (?:and|or|to) \d|, [A-Z]| (?:and|or) [A-Z]")
_ENDS_PHRASE = re.compile(
    r"[,.;:)?!]|$| (?:in|on|at|by|from|to|with|for|as|was|were|is|are|has|had|who|which|that|when|where|until|during|"
    r"after|before|and|but|under|against|into|through|because)\b"
)
_SUBJECT = (
    r"(?!(?:While|When|After|Before|In|On|At|Although|As|Since|During|For|By|With|From|To|If|Of|Among|Because|There)\b)"
)
_AUX = re.compile(
    rf"^(?P<subject>{_SUBJECT}[^,;:]{{2,70}}?) "
    r"(?P<aux>was|were|is|are|has|had|can|could|will|would|may|must) (?P<rest>[a-z].+)$"
)
_PAST = re.compile(rf"^(?P<subject>{_SUBJECT}[^,;:]{{2,60}}?) (?P<verb>[a-z]+) (?P<rest>.+)$")
_IRREGULAR = {
    "became": "become", "began": "begin", "bought": "buy", "brought": "bring", "built": "build", "came": "come",
    "chose": "choose", "died": "die", "drew": "draw", "fell": "fall", "fought": "fight", "found": "find",
    "gave": "give", "got": "get", "grew": "grow", "held": "hold", "kept": "keep", "knew": "know", "led": "lead",
    "left": "leave", "lost": "lose", "made": "make", "met": "meet", "paid": "pay", "ran": "run",
    "rose": "rise", "said": "say", "saw": "see", "sent": "send", "served": "serve", "sold": "sell", "spent": "spend",
    "spoke": "speak", "stood": "stand", "taught": "teach", "thought": "think", "told": "tell", "took": "take",
    "went": "go", "won": "win", "wore": "wear", "wrote": "write", "received": "receive", "moved": "move",
    "married": "marry", "studied": "study", "published": "publish", "opened": "open", "joined": "join",
    "worked": "work", "played": "play", "started": "start", "returned": "return", "appeared": "appear",
    "founded": "found", "released": "release", "attended": "attend", "graduated": "graduate", "retired": "retire",
    "produced": "produce", "recorded": "record", "signed": "sign", "created": "create", "introduced": "introduce",
    "established": "establish", "lived": "live", "remained": "remain", "used": "use",
    "named": "name", "called": "call", "defeated": "defeat", "scored": "score", "finished": "finish",
    "featured": "feature", "launched": "launch", "designed": "design", "acquired": "acquire", "elected": "elect",
}  # fmt: skip

_PAST_INSIDE = re.compile(r"\b(?:and|but|who|which|that)\b")

_ZH_COUNTED = "人|公里|平方公里|米|公尺|名|座|个|所|部|首|次|集|条|种|户|元|吨|岁|层"
_ZH_DONE = "执导|主演|创作|作曲|编剧|设计|创办|创立|发行|制作|担任|建造|出版|提出|命名"
# Chinese spans, each with the words that ask for it.
_ZH = (
    (re.compile(r"(?:公元前?)?\d{1,4}年\d{1,2}月\d{1,2}日"), ("哪一天", "什么时候", "何年何月何日")),
    (re.compile(r"(?:公元前?)?(?<!\d)\d{3,4}年(?!代|度|前|后|间|\d)"), ("哪一年", "哪年", "什么时候")),
    (re.compile(rf"(?<![\d.年月])\d[\d,.]*(?:余|多|万|亿)*(?={_ZH_COUNTED})"), ("多少",)),
    (re.compile(r"《[^《》]{1,20}》"), ("哪部作品", "什么作品")),
    (re.compile(r"(?:位于|地处)([^，。；、（）]{2,14})(?=[，。；])"), ("哪里", "什么地方")),
    (re.compile(r"(?:毕业于|就读于|任职于)([^，。；、（）]{3,14})(?=[，。；])"), ("哪里", "哪所学校")),
    (re.compile(rf"由([^，。；、（）由的\d]{{2,8}})(?={_ZH_DONE})"), ("谁", "什么人或机构")),
    (re.compile(r"(?:[被又]称为|名为|简称|别名|又称|俗称)([^，。；、（）]{2,10})(?=[，。；])"), ("什么",)),
    (re.compile(r"(?:隶属于|隶属|归属于)([^，。；、（）]{2,12})(?=[，。；])"), ("什么", "哪里")),
)  # fmt: skip
_ZH_PRONOUN = re.compile(r"^(?:他|她|它|其|该[^，。]{1,3}?)(?=[于在是的由曾为有毕出])")
_ZH_LINK = re.compile(r"^(?:但|而|并且?|同时|此外|另外|因此|随后|后来|之后|然而|不过|同年)[，]?")


_BROKEN = re.compile(r"^[a-z]|^(?:And|But|Or|That|Which|Who)\b|[()\[\]\"“”;:]")
_ZH_GOES_ON = re.compile(r"^[于在是由曾为有毕出被将又以自与其担从获]")
_ZH_BROKEN = re.compile(r"[（）()「」“”\"：《]|^[^，]{0,3}$")


@dataclass(frozen=True)
class Made:
    """A question, and where its answer stands in the sentence: characters `start` to `end`."""

    question: str
    start: int
    end: int


def english(sentence: str, topic: str, chance: random.Random, *, natural: bool) -> Iterator[Made]:
    """Questions about an English sentence. `topic` takes the place of a pronoun that opens it.

    `natural`: only the forms that a person would write; without, also "wh B A", with words left out.
    """
    for start, end, wh in _english_spans(sentence):
        before, after = sentence[:start], sentence[end:].rstrip(" .!?")
        question = _english_question(_OPENER.sub("", before), after, wh, topic, chance, natural)
        if question and (6 if natural else 4) <= len(question.split()) <= 26:
            yield Made(question, start, end)


def _english_spans(sentence: str) -> Iterator[tuple[int, int, str]]:
    taken: list[tuple[int, int]] = []
    for pattern, kind in ((_DATE, "date"), (_SHARE, "share"), (_COUNT, "count"), (_NAME, "name"), (_THING, "thing")):
        for match in pattern.finditer(sentence):
            start, end = match.span(pattern.groups)
            if any(start < to and at < end for at, to in taken) or not _stands_alone(sentence, start, end, kind):
                continue
            taken.append((start, end))
            yield start, end, _wh(sentence, match, kind)


def _stands_alone(sentence: str, start: int, end: int, kind: str) -> bool:
    """Whether the span is a whole phrase: not a part of a name, a range or a sum."""
    if _GLUED_BEFORE.search(sentence[:start]) or _GLUED_AFTER.match(sentence[end:]):
        return False
    return kind in ("count", "share") or _ENDS_PHRASE.match(sentence[end:]) is not None


def _wh(sentence: str, match: re.Match[str], kind: str) -> str:
    before = sentence[: match.start()]
    if kind == "date":
        return "what year" if match[0].isdigit() else "what date"
    if kind == "count":
        return "how many"
    if kind == "share":
        return "what percentage"
    if kind == "thing":
        return "what"
    if _PERSON_BEFORE.search(before):
        return "who"
    return "what place" if _PLACE_BEFORE.search(before) else "what"


def _english_question(before: str, after: str, wh: str, topic: str, chance: random.Random, natural: bool) -> str:
    before = _PRONOUN.sub(topic.replace("\\", ""), before)
    fronted = _fronted(before, after, wh, chance)
    if fronted and (natural or chance.random() < 0.6):
        return fronted
    clause = re.split(r"[;:]|, (?:and|but|while|although|which|who) ", after)[0]
    if chance.random() < 0.5:
        clause = clause.split(",")[0]
    if natural or chance.random() < 0.4:
        asked = _tidy(f"{_short(before)}{wh}{clause}?")
        return "" if natural and _BROKEN.search(asked) else asked
    words = [wh.capitalize(), *clause.split(), *_short(before).split()]
    dropped = chance.choice((0.0, 0.1, 0.25))
    kept = [word for n, word in enumerate(words) if n < 2 or chance.random() >= dropped]
    return " ".join(kept).rstrip(" ,") + "?"


def _short(before: str) -> str:
    """The last clause of what stands before the answer, where it has words enough to be understood."""
    cut = re.split(r"(?<=[,;:]) ", before)
    last = cut[-1]
    return last if len(last.split()) >= 4 else before


def _fronted(before: str, after: str, wh: str, chance: random.Random) -> str:
    """The question word in front, the verb inverted: for an answer that a preposition leads to, or an object."""
    head = re.match(r"^(.*?)(?: (?P<prep>in|on|at|by|from|to|with|for|of))?(?: the)? ?$", before)
    if head is None or not head[1] or re.search(r"[,(\"“]", head[1]):
        return ""
    prep = head["prep"] or ""
    tail = "" if chance.random() < 0.7 else re.split(r"[,;:]", after)[0]
    if wh == "how many":
        noun = re.match(r" ([a-z-]+(?: [a-z-]+)?)", after)
        wh, tail = f"how many {noun[1] if noun else ''}".strip(), ""
    asked = f"{prep} {wh}".strip()
    if wh in ("what year", "what date") and prep in ("in", "on") and chance.random() < 0.6:
        asked = "when"
    elif wh == "what place" and prep in ("in", "at", "near") and chance.random() < 0.8:
        asked = "where"
    elif wh == "who" and prep == "by":
        asked = "by whom" if chance.random() < 0.5 else "who"
        tail = tail if asked == "by whom" else f"{tail} by"
    if with_aux := _AUX.match(head[1] + " x"):
        rest = with_aux["rest"].removesuffix("x").strip()
        if not prep or not rest or _PAST_INSIDE.search(rest):
            return ""
        return _tidy(f"{asked} {with_aux['aux']} {_low(with_aux['subject'])} {rest}{tail}?")
    if (past := _PAST.match(head[1] + " x")) and past["verb"] in _IRREGULAR:
        rest = past["rest"].removesuffix("x").strip()
        if (rest and not prep and not wh.startswith("how many")) or after.startswith(" and"):
            return ""
        return _tidy(f"{asked} did {_low(past['subject'])} {_IRREGULAR[past['verb']]} {rest}{tail}?")
    return ""


def _tidy(question: str) -> str:
    text = re.sub(r"\s+", " ", question).replace(" ?", "?").replace(" ,", ",")
    return text[:1].upper() + text[1:]


def _low(subject: str) -> str:
    return (
        subject[:1].lower() + subject[1:]
        if re.match(r"(?:The|A|An|This|His|Her|Its|Their|In|At)\b", subject)
        else subject
    )


def chinese(sentence: str, topic: str, chance: random.Random) -> Iterator[Made]:
    """Questions about a Chinese sentence: the clause that holds the answer, with a question word in its place."""
    taken: list[tuple[int, int]] = []
    for pattern, words in _ZH:
        for match in pattern.finditer(sentence):
            start, end = match.span(pattern.groups)
            if any(start < to and at < end for at, to in taken):
                continue
            taken.append((start, end))
            opening = max(sentence.rfind(mark, 0, start) for mark in "，；。：") + 1
            closing = min(
                (at for at in (sentence.find(mark, end) for mark in "，；。") if at >= 0), default=len(sentence)
            )
            before = _ZH_LINK.sub("", sentence[opening:start])
            rest = sentence[end:closing]
            if len(before + rest) < 4 or _ZH_BROKEN.search(before + rest):
                continue
            clause = _ZH_PRONOUN.sub("", f"{before}{chance.choice(words)}{rest}")
            if topic not in clause:
                clause = f"{topic}{clause}" if _ZH_GOES_ON.match(clause) else f"关于{topic}：{clause}"
            if 6 <= len(clause) <= 44:
                yield Made(f"{clause}？", start, end)


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text start and end."""
    found: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(r"(?<=[a-z\d)\"”’%])[.!?][\"”’]?(?=\s+[A-Z\"“])|[。！？][”」』）]?|\n+", text):
        end = match.end()
        if text[start:end].strip():
            found.append(
                (start + len(text[start:end]) - len(text[start:end].lstrip()), start + len(text[start:end].rstrip()))
            )
        start = end
    if text[start:].strip():
        found.append((start + len(text[start:]) - len(text[start:].lstrip()), len(text.rstrip())))
    return found
