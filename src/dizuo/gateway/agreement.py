"""Whether two questions disagree on something that an answer hangs from, in English and in Chinese.

Two questions may share all their words and want different answers: "from Paris to Rome" and "from Rome to Paris". What
is looked at: negation, numbers with their units, dates, names, opposites, who does what to whom, tense, the kind of
question, language. Strict on purpose: where it errs, a question is answered anew.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from dizuo.gateway import asking
from dizuo.gateway.amounts import dates_in, dimension, numbers_in, units_in
from dizuo.gateway.opposites import OPEN_ZH, OPPOSITES_EN, OPPOSITES_ZH, SHUT_ZH

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")


def language_of(text: str) -> str:
    """zh, en (any text in Latin letters) or other."""
    letters = _LETTER.findall(text)
    han = sum(1 for c in letters if _HAN.match(c))
    if han and han >= 0.15 * len(letters):
        return "zh"
    latin = sum(1 for c in letters if c < "\u0250" or "\uff21" <= c <= "\uff5a")
    return "en" if not letters or latin >= 0.8 * len(letters) else "other"


@dataclass(frozen=True)
class Lexicon:
    """What is known of words. The analyser of the knowledge bases knows it; who joins the parts hands it in."""

    fold: Callable[[str], str]  # width, accents, traditional characters
    terms: Callable[[str], list[str]]  # stems and pairs of characters, in their order
    rarity: Callable[[str], float]  # of a term, the more telling the larger


# --- what a question says -------------------------------------------------------------------------------------

_NEGATION_EN = re.compile(
    r"\b(?:not|no|never|none|without|cannot|neither|nor|nobody|nothing|hardly|unable|fail(?:s|ed|ing)?|refus\w+|lacks?"
    r"|avoid\w*|prevent\w*|stop(?:s|ped)?|except|excluding|un(?:successful\w*|available|able))\b"
    r"|n['’]t\b|\b(?:is|are|was|were|do|does|did|has|have|had|ca|could|wo|would|should|must|need)nt\b",
    re.IGNORECASE,
)
_NO_NEGATION_EN = re.compile(
    r"\bnot only\b|\bwhether or not\b|\bor not\b|\bwhy not\b|\bno problem\b|\bno matter\b|\bno\.\s*\d|\bisn['’]?t it\b"
    r"|\bwhy don['’]?t (?:we|you)\b|\bcan['’]t wait\b|\bthe not\b",
    re.IGNORECASE,
)
_NEGATION_ZH = re.compile(r"不|没|未|无|非|别|勿|莫|拒绝|禁止|避免|防止|失败|除了|以外|之外")
_NO_NEGATION_ZH = re.compile(
    r"(.)不\1|(.)没\2|有没有|是否|能否|可否|不过|不但|不仅|不只|不管|不论|不断|不久|不少|不得了|差不多|不好意思|对不起|不客气"
    r"|不同|不锈钢|要不|来不及|非常|非洲|除非|非得|未来|未必|无论|无线|无人机|无穷|南无|别的|别人|别墅|特别|区别|级别|类别|性别|分别"
    r"|识别|鉴别|个别|告别|辨别|没关系|没事|莫斯科|莫非|丰富不|了不起|不用谢|不丹|非正式|是非|并非偶然|ABO|对不对|行不行|要不要"
)
_AFTER = re.compile(r"[,.;:!?，。；：！？\n]")

_KINDS = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("duration", r"\bhow (?:long|soon|quickly|fast)\b|\bhow much (?:longer|time)\b|多久|多长时间|(?<!哪)(?:几|多少)个?(?:天|小时|分钟|秒|年|月|星期|周|时间)"),
        ("count", r"\bhow (?:many|often|frequently)\b|\bwhat(?:'s| is)? (?:the )?(?:number|count) of\b|(?<!哪)(?:几|多少)(?:个(?!月|小时|星期)|人|次|种|位|家|倍|座|条|件|本|台|名)"),
        ("amount", r"\bhow much\b|\b(?:price|cost|fee)s?\b(?=.*\?)|多少钱|价格|费用|多少"),
        ("size", r"\bhow (?:big|large|tall|high|deep|wide|heavy|far|old|hot|cold)\b|多[高大远重深宽]"),
        ("time", r"\bwhen\b(?! (?:i|you|we|it|the|my|using|trying|a|an)\b)|\bwhat (?:time|day|date|year|month)\b|\b(?:which|what) (?:day|year|date)\b|什么时候|何时|几点|哪[一几]?[年天]|什么时间|几[月号]"),
        ("place", r"\bwhere\b|哪里|哪儿|何处|什么地方|在哪(?!一?[年天])"),
        ("person", r"\bwho(?:se|m)?\b|谁|何人|哪[一几]?位"),
        ("choice", r"哪[一几]?[个家种款部所本张条只项类]"),
        ("reason", r"\bwhy\b|\bhow come\b|\bwhat(?:'s| is| are)? the (?:reason|cause)s?\b|\bwhat caus\w+|为什么|为何|为啥|原因|怎么回事"),
        ("way", r"\bhow (?:do|can|to|should|would|could|does|did|might|is|are)\b|\b(?:steps?|ways?|process|procedure|method|instructions?) (?:to|of|for)\b|怎么|怎样|如何|咋|步骤|方法"),
    )
)  # fmt: skip
# Kinds that an answer to another kind does not answer. The others ("way", a yes or no, a statement) run into each other:
# "Can I change my PIN?" and "How do I change my PIN?" mostly want the same.
_SWITCH_ON = re.compile(r"\b(?:turn|switch)(?:ed|ing|s|es)? on\b|\bactivat(?:e|es|ing)\b", re.IGNORECASE)
_SWITCH_OFF = re.compile(r"\b(?:turn|switch)(?:ed|ing|s|es)? off\b|\bdeactivat(?:e|es|ing)\b", re.IGNORECASE)
_STRICT = frozenset({"duration", "count", "amount", "size", "time", "place", "person", "choice", "reason"})

_NAME = re.compile(
    r"(?<![.!?:]\s)(?<!^)(?<!^[\"'“(])\b[A-Z][\w’'+#-]*|\b[A-Z]{2,}\w*|\b\w*\d[A-Za-z]\w*|\b[A-Za-z]+\d\w*"
)
_MEASURED = re.compile(r"\d+(?:[kcm]m|[km]?g|m|ml|mph|kmh|[kmgt]b|s|h)", re.IGNORECASE)  # 400mg
_LATIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+#._-]*[A-Za-z0-9+#]|[A-Za-z]")
_OTHER_SCRIPT = re.compile(r"[^\W\d_A-Za-z\u00aa-\u024f\u3400-\u9fff\uf900-\ufaff]+")  # て形, α, Δ
_COMMON = frozenset("I I'm I've I'd I'll OK Mr Mrs Ms Dr PM AM ID".split())  # noqa: SIM905
_WORD = re.compile(r"[^\W\d_][\w'’+#-]*|\d[\w.,:]*")
_COUNTED = re.compile(r"(\d[\d.,]*)\s*(?:percent |%)?\s*([^\W\d_]+)")
_RUN = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['’+#.-][^\W\u3400-\u9fff]+)*[+#]*")
_HE = re.compile(r"\b(?:he|him|his)\b|他", re.IGNORECASE)
_SHE = re.compile(r"\b(?:she|her|hers)\b|她", re.IGNORECASE)
_MY = re.compile(r"\b(?:my|mine|our)\b|我的|我们的|我(?=叫|是谁|几岁|多大)", re.IGNORECASE)
_YOUR = re.compile(r"\b(?:your|yours)\b|[你您]的|你(?=叫|是谁|几岁|多大)", re.IGNORECASE)
# Between the one that it comes from and the one that it goes to. "to A from B" is turned round first.
_TURNED = re.compile(r"\b(?:to|into) (?P<to>[\w'-]+(?: [\w'-]+)?) from (?P<from>[\w'-]+)", re.IGNORECASE)
_ROLES = re.compile(
    r"\b(?:to|into|than|from|by|before|after|over|against|per|minus|with|for|versus|vs|instead of|rather than|divided by"
    r"|follow\w*|beat|beats|owes?|sen[dt]s?|gives?|gave|pays?|paid|calls?|lends?|lent|teach\w*|kill\w*|bit(?:e|es)?|lov\w+"
    r"|replac\w*|contain\w*|own\w*|hir\w+|invit\w+|report\w*|help\w*|caus\w*|affect\w*|becomes?|depends?)\b"
    r"|到|至|比|被|把|给|向|对|往|转|换成?|改成|变成|翻译成|成|减|除以|之前|之后|早于|晚于|大于|小于|打败|战胜|借|欠|教|爱|追|咬|导致|影响|叫|属于|包含",
    re.IGNORECASE,
)
_TO_WHOM_ZH = re.compile("[给向对]了?谁")
# What is asked for among several (not 在哪, where), and the person or thing that it is for.
_MEASURES_ZH = "个家种款部所本张条只项类位首些颗座名"
_WHICH_ZH = re.compile(
    rf"(?<![在到去从往])哪(?:[一几](?=[{_MEASURES_ZH}]))?[{_MEASURES_ZH}]?(?![{_MEASURES_ZH}里儿年天一几])([\u3400-\u9fff])"
)
_FOR_ZH = re.compile(
    r"给了?([我你您他她咱]|[\u3400-\u9fff](?=[^给]{0,6}(?:买|写|送|寄|发|办|开|打|做|转|交|请|上|投|取|起|挂|报)))"
)
_AFLOAT_ZH = (re.compile("为什么|为何|为啥|怎么|如何"), re.compile("[今明昨后前]天"))
_ASKS_ZH = re.compile(
    r"[吗呢?？]|什么|甚么|啥|怎|如何|咋|哪|谁|几|多少|多[久长大高远重]|为何|何时|何处|何地|(.)[不没]\1|是否|能否|可否"
)
_WANTS_ZH = re.compile("[我咱请帮]|麻烦|想|要")
_SUBJECTS = frozenset({"i", "we", "he", "she", "they", "我", "你", "他"})
_SHE_TOO = {"您": "你", "俺": "我", "咱": "我", "她": "他", "它": "他"}
_OBJECTS = frozenset({"me", "you", "him", "her", "us", "them"})
_POINTING = frozenset({"this", "that", "these", "those"})
_WAS = frozenset("was were did had wasn't weren't didn't hadn't".split())  # noqa: SIM905
_PAST = _WAS | {"been", "has", "have", "hasn't", "haven't"}
_PASSIVE = frozenset("is are am be get gets getting got has have it's that's".split())  # noqa: SIM905
_UNREAL = re.compile(r"\b(?:to|must|should|could|would|might|may)(?:n't)?(?: \w+)? have been\b", re.IGNORECASE)
# Somebody or something is spoken of, and nothing is wanted: "My card is gone." asks for help, "Tom is gone." for nothing.
_ASKS_EN = re.compile(
    r"[?]|^\s*(?:who|what|which|when|where|why|how|whose|is|are|was|were|do|does|did|can|could|will|would|should|may|has|have)\b"
    r"|\b(?:I|me|my|mine|we|us|our|please)\b",
    re.IGNORECASE,
)
_STATES_EN = re.compile(
    r"\s*(?:(?i:he|she|it|they|you|this|that|these|those|there|no one|nobody|(?:every|some)(?:one|body|thing)|a|an|the|his|her"
    r"|their|your)\b|[A-Z][a-z]+(?<!ing)(?:'s)? [a-z])"
)
# Whether something has happened, in Chinese: 去过吗 and 去吗, 下雨了吗 and 下雨吗.
_EVER_ZH = re.compile("(?<![不经通超])过(?![去程来期敏年节后渡分夜于滤户度])")
_DONE_ZH = re.compile("了(?=[吗嘛没][^\\w]*$)")
_HAPPENED_ZH = re.compile("[了过]|已|有")
# 50 dollars is how many pesos
_IN_SITU = re.compile(
    r"^(?P<what>.+?) (?:is|are|equals?|makes?) (?P<asked>(?:how many|how much|which|what|who)\b[^?]*)", re.IGNORECASE
)
_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "anti", "semi", "de", "mis")
_PRONOUN = re.compile(r"[我你您他她它]们?")


@dataclass(frozen=True)
class Facts:
    """What a question says that another must say as well."""

    text: str
    lexicon: Lexicon

    @cached_property
    def folded(self) -> str:
        plain = self.lexicon.fold(unicodedata.normalize("NFKC", self.text)).replace("’", "'")
        return _SWITCH_OFF.sub("disable", _SWITCH_ON.sub("enable", plain))

    @cached_property
    def lower(self) -> str:
        return self.folded.lower()

    @cached_property
    def language(self) -> str:
        return language_of(self.text)

    @cached_property
    def terms(self) -> tuple[str, ...]:
        return tuple(self.lexicon.terms(self.text))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every word in its order: English ones lower-case, Chinese character by character."""
        return _words(self.folded)

    @cached_property
    def numbers(self) -> frozenset[str]:
        return numbers_in(self.folded)

    @cached_property
    def counted(self) -> dict[str, str]:
        """What follows each number that is written in figures: its unit in Chinese, a term in English."""
        found: dict[str, str] = {}
        for match in _COUNTED.finditer(self.folded):
            after = sorted(units_in(match[2][:3])) if self.language == "zh" else self.lexicon.terms(match[2])
            if after:
                found[match[1]] = after[0]
        return found

    @cached_property
    def units(self) -> frozenset[str]:
        return units_in(self.folded)

    @cached_property
    def dates(self) -> frozenset[str]:
        return dates_in(self.folded)

    @cached_property
    def denied(self) -> tuple[int, frozenset[str]]:
        """How often something is denied, and the terms that stand right after a negation."""
        plain = _NO_NEGATION_EN.sub(" ", _NO_NEGATION_ZH.sub(" ", self.folded))
        pattern = _NEGATION_ZH if self.language == "zh" else _NEGATION_EN
        heads: set[str] = set()
        found = 0
        for match in pattern.finditer(plain):
            found += 1
            after = _AFTER.split(plain[match.end() : match.end() + 60], maxsplit=1)[0]
            telling = [term for term in self.lexicon.terms(after) if self.lexicon.rarity(term) > 2.0]
            heads.update(telling[: 1 if self.language == "zh" else 2])
        return found, frozenset(heads)

    @cached_property
    def asks(self) -> bool:
        """Whether a text wants something. 您是学生 and 您是学生吗 differ in nothing else."""
        if self.language == "zh":
            return _ASKS_ZH.search(self.folded) is not None
        return _ASKS_EN.search(self.folded) is not None or _STATES_EN.match(self.text) is None

    @cached_property
    def states(self) -> bool:
        """Whether a text only states something of others, so that whatever is answered hangs from what was said before."""
        return not (self.asks or (self.language == "zh" and _WANTS_ZH.search(self.folded)))

    @cached_property
    def kinds(self) -> frozenset[str]:
        found = [kind for kind, pattern in _KINDS if pattern.search(self.folded)]
        if "duration" in found or "count" in found:
            found = [kind for kind in found if kind not in ("amount", "way")]
        return frozenset(found)

    @cached_property
    def names(self) -> frozenset[str]:
        """Terms of names: words with a capital inside a sentence, and Latin words in Chinese."""
        if self.language == "zh":
            found = _LATIN_WORD.findall(self.folded)
        else:
            words = _WORD.findall(self.text)
            if sum(word[0].isupper() for word in words) > 0.5 * len(words):
                return frozenset()  # a title, or shouting
            found = [name for name in _NAME.findall(self.text) if name not in _COMMON and not _MEASURED.fullmatch(name)]
        return frozenset(term for name in found for term in self.lexicon.terms(name))


def disagreement(a: Facts, b: Facts) -> str:
    """What the two disagree on, in a word; empty where nothing is seen that keeps one answer from fitting both."""
    return next((name for name, differs in _CHECKS if differs(a, b)), "")


def _units_differ(a: Facts, b: Facts) -> bool:
    if a.units == b.units:
        return False
    shared = {dimension(unit) for unit in a.units} & {dimension(unit) for unit in b.units}
    return bool(a.numbers) or any(dimension(unit) in shared for unit in a.units ^ b.units)


def _counts_differ(a: Facts, b: Facts) -> bool:
    """Whether a number that both say counts one thing here and another there: calories in 12 eggs, eggs of 12 calories."""
    counted_a, counted_b = a.counted, b.counted
    there_a, there_b = a.units.union(a.terms), b.units.union(b.terms)
    unlike = [n for n in counted_a.keys() & counted_b.keys() if counted_a[n] != counted_b[n]]
    if any(counted_a[n] in there_b and counted_b[n] in there_a for n in unlike):
        return True
    return a.language == "en" and any(_counted_elsewhere(n, x, y) for n in unlike for x, y in ((a, b), (b, a)))


def _counted_elsewhere(number: str, a: Facts, b: Facts) -> bool:
    """Whether what the number counts in one stands far from it in the other: 4 lasagne recipes, lasagne for 4 people.
    After the same word it is the number of something, and counts nothing: order 48213."""
    (before_a, _after), (before_b, after) = _beside(number, a), _beside(number, b)
    return before_a != before_b and a.counted[number] in b.terms and a.counted[number] not in after


def _beside(number: str, one: Facts) -> tuple[str, set[str]]:
    at = one.words.index(number) if number in one.words else len(one.words)
    after = one.lexicon.terms(" ".join(one.words[at + 1 : at + 5]))
    return one.words[at - 1] if 0 < at < len(one.words) else "", set(after)


def _denies(a: Facts, b: Facts) -> bool:
    (denies_a, heads_a), (denies_b, heads_b) = a.denied, b.denied
    if denies_a != denies_b:
        return True
    # Both deny, but one denies what the other says.
    return bool((heads_a - heads_b) & set(b.terms)) and bool((heads_b - heads_a) & set(a.terms))


def _strangers(a: Facts, b: Facts) -> bool:
    """Whether one names what the other does not hold in any form."""
    there_a, there_b = set(a.terms), set(b.terms)
    if bool(a.names - there_b) or bool(b.names - there_a):
        return True
    foreign_a, foreign_b = (set(_OTHER_SCRIPT.findall(one.folded)) for one in (a, b))
    return foreign_a != foreign_b


def _opposite(a: Facts, b: Facts) -> bool:
    if a.language == "zh":
        open_shut = [(bool(OPEN_ZH.search(one.folded)), bool(SHUT_ZH.search(one.folded))) for one in (a, b)]
        if sorted(open_shut) == [(False, True), (True, False)]:
            return True
        return any(x in a.folded and y in b.folded and x not in b.folded and y not in a.folded for x, y in OPPOSITES_ZH)
    there_a, there_b = _with_words(a), _with_words(b)
    return any(x in there_a and y in there_b and x not in there_b and y not in there_a for x, y in OPPOSITES_EN)


def _prefixed(a: Facts, b: Facts) -> bool:
    """Whether one has a word and the other the same with un-, non-, dis- … before it."""
    if a.language == "zh":
        return False
    plain_a, plain_b = ({word.removesuffix("'s") for word in one.words} for one in (a, b))
    only_a, only_b = plain_a - plain_b, plain_b - plain_a
    return any(
        long.removeprefix(prefix).lstrip("-") == short
        for one, other in ((only_a, only_b), (only_b, only_a))
        for long in one
        for short in other
        for prefix in _PREFIXES
        if long.startswith(prefix)
    )


def _with_words(one: Facts) -> set[str]:
    return set(one.words) | set(one.terms)


def _tenses_differ(a: Facts, b: Facts) -> bool:
    if a.language == "zh" and bool(_EVER_ZH.search(a.folded)) != bool(_EVER_ZH.search(b.folded)):
        return True
    if a.language == "zh" and any(
        _DONE_ZH.search(one.folded) and not _HAPPENED_ZH.search(other.folded) for one, other in ((a, b), (b, a))
    ):
        return True
    unreal = bool(_UNREAL.search(a.text)) != bool(_UNREAL.search(b.text))
    if unreal or (a.language == "en" and asking.times_differ(a.lower, b.lower)):
        return True
    return _happened(a, b) or _happened(b, a)


def _happened(a: Facts, b: Facts) -> bool:
    """Whether in English one speaks of the past, and nothing in the other does: who was the president, who is."""
    if a.language != "en" or any(word in _PAST or word.endswith(("ed", "'ve")) for word in b.words):
        return False
    if not _WAS.isdisjoint(a.words) or "been" in a.words:
        return True
    if not _PASSIVE.isdisjoint(a.words):
        return False
    done = [word for word in a.words if word.endswith("ed")]
    return any(term in b.terms for word in done for term in a.lexicon.terms(word))


def _whose(a: Facts, b: Facts) -> bool:
    """Mine in one, yours in the other."""

    def side(one: Facts) -> tuple[bool, bool]:
        return _MY.search(one.folded) is not None, _YOUR.search(one.folded) is not None

    (mine_a, yours_a), (mine_b, yours_b) = side(a), side(b)
    if (mine_a and not yours_a and yours_b and not mine_b) or (mine_b and not yours_b and yours_a and not mine_a):
        return True
    said_a, said_b = (_SUBJECTS & {_SHE_TOO.get(word, word) for word in one.words} for one in (a, b))
    if said_a - said_b and said_b - said_a:
        return True
    if a.language == "en":
        object_a, object_b = (_OBJECTS & set(one.words[-2:]) for one in (a, b))
        if object_a - object_b and object_b - object_a:
            return True
        pointed_a, pointed_b = (_POINTING & set(one.words) for one in (a, b))
        if pointed_a - pointed_b and pointed_b - pointed_a:
            return True
    sexes = [(_HE.search(one.folded) is not None, _SHE.search(one.folded) is not None) for one in (a, b)]
    return sexes[0] != sexes[1] and all(any(one) for one in sexes)


def _turned(a: Facts, b: Facts) -> bool:
    """Whether the two say the same things in another order, in a place where the order says who does what to whom."""
    if a.language == "zh" and _apart(_FOR_ZH, a, b):
        return True
    if (
        "谁" in a.folded
        and "谁" in b.folded
        and bool(_TO_WHOM_ZH.search(a.folded)) != bool(_TO_WHOM_ZH.search(b.folded))
    ):
        return True
    if a.language == "en" and asking.subjects_differ(a.lower, b.lower):
        return True
    words_a, words_b = _words(settled(a)), _words(settled(b))
    if sorted(words_a) == sorted(words_b) and words_a != words_b and not _moved(words_a, words_b):
        return True
    if not (_ROLES.search(a.folded) or _ROLES.search(b.folded)):
        return False
    first, second = _arguments(a), _arguments(b)
    for left, right in first:
        for other_left, other_right in second:
            if (left & other_right - other_left) and (right & other_left - other_right):
                return True
    return False


def _moved(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether only a phrase of several words went from one end to the other ("in Python, how …", "how … in Python")."""
    return any(list(a[n:]) + list(a[:n]) == list(b) for n in range(1, len(a))) and not (
        _ROLES.search(" ".join(a)) and len(a) < 6
    )


def settled(one: Facts) -> str:
    """A question's text with what goes before or after its subject in Chinese at the front, where there is one of a kind: 你为什么 is 为什么你."""
    text = _forward(one)
    for afloat in _AFLOAT_ZH:
        if len(found := afloat.findall(text)) == 1:
            text = found[0] + afloat.sub("", text)
    return text


def _forward(one: Facts) -> str:
    text = _TURNED.sub(lambda match: f"from {match['from']} to {match['to']}", one.folded)
    return _IN_SITU.sub(lambda match: f"{match['asked']} is {match['what']}", text) if one.language == "en" else text


def _words(text: str) -> tuple[str, ...]:
    return tuple(_RUN.findall(text.lower()))


def _arguments(one: Facts) -> list[tuple[frozenset[str], frozenset[str]]]:
    """For each word that says who does what to whom: the telling terms right before it and right after it."""
    text = _forward(one)
    found: list[tuple[frozenset[str], frozenset[str]]] = []
    for match in _ROLES.finditer(text):
        before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() : match.end() + 40]
        if one.language == "zh":
            left, right = frozenset(_pieces(before[-5:])), frozenset(_pieces(after[:5]))
        else:
            left, right = frozenset(_telling(before, one)[-3:]), frozenset(_telling(after, one)[:3])
        if left and right:
            found.append((left, right))
    return found


def _telling(text: str, one: Facts) -> list[str]:
    return [term for term in one.lexicon.terms(text) if one.lexicon.rarity(term) > 2.5]


def _pieces(text: str) -> list[str]:
    """Pairs of characters, and pronouns, of a stretch of Chinese."""
    words = re.findall(r"[A-Za-z0-9]+|[\u3400-\u9fff]+", text)
    pairs = [word[n : n + 2] for word in words if _HAN.match(word) for n in range(len(word) - 1)]
    return [*pairs, *(word.lower() for word in words if not _HAN.match(word)), *_PRONOUN.findall(text)]


def _apart(pattern: re.Pattern[str], a: Facts, b: Facts) -> bool:
    """Whether it finds something in both, and nothing that is the same."""
    found_a, found_b = (set(pattern.findall(one.folded)) for one in (a, b))
    return bool(found_a) and bool(found_b) and found_a.isdisjoint(found_b)


def _asked_otherwise(a: Facts, b: Facts) -> bool:
    if a.language == "zh":
        some = {"哪几" in one.folded for one in (a, b) if "几" in one.folded}
        return len(some) > 1 or _apart(_WHICH_ZH, a, b)
    if a.language != "en":
        return False
    return any(differ(a.lower, b.lower) for differ in asking.DIFFERENCES)


_CHECKS: Sequence[tuple[str, Callable[[Facts, Facts], bool]]] = (
    ("language", lambda a, b: a.language != b.language),
    ("number", lambda a, b: a.numbers != b.numbers or _counts_differ(a, b)),
    ("date", lambda a, b: a.dates != b.dates),
    ("unit", _units_differ),
    ("negation", _denies),
    ("name", _strangers),
    ("tense", _tenses_differ),
    ("kind", lambda a, b: (a.kinds & _STRICT) != (b.kinds & _STRICT)),
    ("opposite", lambda a, b: _opposite(a, b) or _prefixed(a, b)),
    ("person", _whose),
    ("direction", _turned),
    ("question", lambda a, b: a.asks != b.asks),
    ("form", _asked_otherwise),
)
