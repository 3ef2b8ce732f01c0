"""Small things to look for in questions and sentences: what kind of answer is asked for, names, numbers, negation."""

import re

from dizuo.knowledge.analyze import terms

CHINESE = re.compile(r"[\u3400-\u9fff]")

# How a Chinese question is put, and its smallest words. They go before the rest is cut into pairs: 是什 and 有哪 tell
# nothing of what it is about.
ASKING_ZH = re.compile(
    r"什么时候|什么时间|什么地方|什么样|什么|哪一[年天个位种]|哪[些个里儿位年天种几]|哪|谁|多少|多长|多久|多大|多高|多远|几|"
    r"怎么样|怎么办|怎么|怎样|如何|为什么|为何|何时|何地|何处|何人|何种|何|是否|是不是|有没有|能不能|可不可以|能否|可否|可以|"
    r"请问|请|一下|我们|你们|他们|她们|吗|呢|吧|啊|的|了|是|在|有|被|于|和|与|及|由|以|为|对|从|到|把|将|而|也|就|都|又|或|"
    r"我|你|您|该|其|这|那|[，。？！、；：,?!]"
)

# What is asked for, by the words of the question; the first that matches decides.
_ASKED = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            "number",
            r"\bhow (?:many|much|long|old|far|tall|high|large|big|often|fast|deep|wide)\b"
            r"|\b(?:what|which) (?:percent|percentage|number|amount|population|proportion|fraction)\b"
            r"|多少|几[^乎率何]|多[长久大高远重]|(?:率|量|面积|比例)是",
        ),
        (
            "time",
            r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade|time|era|age)\b"
            r"|什么时[候间]|何时|哪一?[年天月日]|几[年月日号]|哪个(?:年代|世纪|朝代|时期)|时间是",
        ),
        ("reason", r"\bwhy\b|\bwhat (?:reason|caused?|purpose)\b|为什么|为何|原因|目的"),
        ("way", r"^\s*how\b|怎么|怎样|如何|方法|步骤"),
        ("person", r"\bwho(?:se|m)?\b|谁|何人|哪[一几]?位|哪些人|哪个人|(?:作者|导演|创始人)是"),
        (
            "place",
            r"\bwhere\b|\b(?:what|which) (?:country|city|state|place|region|area|river|continent|town|county)\b"
            r"|哪里|哪儿|何地|何处|什么地方|哪[一个几些]*(?:国|省|市|城|地|县|区|州|岛)|位于|(?:国家|省|市)是",
        ),
    )
)

_MONTH = "january|february|march|april|may|june|july|august|september|october|november|december"
_COUNT = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|million|"
    "billion|half|third|quarter|dozen|both|single|several|once|twice"
)
_ANSWERS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "number": rf"\d|\b(?i:{_COUNT})\b"
        r"|[一二两三四五六七八九十百千万亿半]+[个人名位座条次年月日天部种家所米公里岁级项点分]",
        "time": rf"\b\d{{3,4}}s?\b|\b(?i:{_MONTH})\b|\bcentur|\b(?:today|now)\b"
        r"|\d年|\d月|\d日|世纪|年代|时期|[春夏秋冬]季|朝",
        "reason": r"\b(?:because|due to|since|so that|in order|caused?|therefore|reason|to \w+)\b"
        r"|因为|由于|因此|所以|为了|因|导致|使得|故|以便",
        "way": r"\b(?i:by|through|using|with|via|use|run|set|click|open|choose|press)\b|`"
        r"|通过|利用|使用|用|以|运行|设置|点击|打开|选择|先|然后",
        "place": r"\b(?:in|at|near|from|to|of|on|In|At) (?:the )?[A-Z]|[省市县区国州岛镇村路山河江湖洋海湾城站]",
    }.items()
}

_NAME = re.compile(r"(?<![.!?:]\s)(?<!^)\b[A-Z][\w’'-]*[a-zA-Z0-9]\b|\b[A-Z]{2,}\b")
_FULL_NAME = re.compile(r"\b[A-Z][\w’'-]+(?:\s+(?:(?:of|de|von|van|the)\s+)?[A-Z][\w’'-]+)+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NEGATION = re.compile(
    r"\b(?:not|no|never|none|without|cannot|except|neither|nor|nobody|nothing|rarely)\b|n['’]t\b|不|没|未|无|非|除了",
    re.IGNORECASE,
)
_ROW = re.compile(r"\s*\||[^\t\n]*\t")
_HEADING = re.compile(r"#{1,6}\s|(?:\||[-+=*_ ])[-|:+=*_ ]+$|(?:```|~~~)\s*\w*\s*$")

# Stems as `analyze.terms` makes them; each in both directions.
_PAIRS = """
    first/last more/less most/least increas/decreas larg/small largest/smallest high/low highest/lowest befor/after
    begin/end start/end earli/late earliest/latest north/south east/west northern/southern eastern/western old/young
    oldest/youngest win/lose won/lost maximum/minimum rise/fall rose/fell best/worst strong/weak intern/extern
    import/export major/minor public/privat legal/illeg accept/reject allow/forbid long/short longest/shortest
    增加/减少 最大/最小 最高/最低 最早/最晚 第一/最后 开始/结束 上升/下降 东部/西部 南部/北部 允许/禁止 最多/最少
    最长/最短 成功/失败
"""
OPPOSITES = tuple(tuple(order) for pair in _PAIRS.split() for order in (pair.split("/"), pair.split("/")[::-1]))


def asked_kind(question: str) -> str:
    """number, time, reason, way, person, place or other: what kind of thing the question asks for."""
    return next((kind for kind, pattern in _ASKED if pattern.search(question)), "other")


def answers(kind: str, sentence: str) -> bool | None:
    """Whether a sentence holds something of that kind. None: nothing is known to look for."""
    pattern = _ANSWERS.get(kind)
    return None if pattern is None else pattern.search(sentence) is not None


def names_in(text: str, *, sentence_starts: bool = False) -> frozenset[str]:
    """Terms of the names in a text: capitalised words within sentences; `sentence_starts`: full names there as well."""
    patterns = (_NAME, _FULL_NAME) if sentence_starts else (_NAME,)
    return frozenset(term for pattern in patterns for name in pattern.findall(text) for term in terms(name))


def numbers_in(text: str) -> frozenset[str]:
    """Numbers as they are written, thousands separators left out."""
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))


def is_heading(sentence: str) -> bool:
    """Whether this is a heading, the rule of a table or a bare fence: it names what follows and answers nothing."""
    return _HEADING.match(sentence) is not None


def is_row(sentence: str) -> bool:
    """Whether this is a row of a table."""
    return _ROW.match(sentence) is not None
