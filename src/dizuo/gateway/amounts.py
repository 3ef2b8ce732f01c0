"""Numbers, units and dates of a text in one form, in English and in Chinese: 万 is 10000, "half past" stays words.

Numbers written in words count where they say an amount. One does not: "one" and 一 are pronouns and articles as often.
"""

import re

_DIGITS = "零一二三四五六七八九"
_ZH_DIGIT = {c: n for n, c in enumerate(_DIGITS)} | {"〇": 0, "两": 2, "壹": 1, "贰": 2, "叁": 3}
_ZH_STEP = {"十": 10, "百": 100, "千": 1000}
_ZH_NUMBER = re.compile(r"[零〇一二三四五六七八九两十百千万亿]+(?:点[零一二三四五六七八九]+)?")
# Words that hold a numeral and say no number.
_ZH_WORDS = re.compile(
    r"万一|一般|一些|一下|一样|一起|一直|一定|一点儿?|一种|一旦|一边|一切|统一|唯一|第一时间|同一|万能|(?<![一二两三四五六七八九十百几数])千万|百度|十分|三明治|四川|"
    r"星期[一二三四五六]|周[一二三四五六]|礼拜[一二三四五六]|[一二三四五六七八九十]+月(?!份?的?[内后前])|一个|一家|一张|一次|一位|一名|一台|一部"
)
_EN_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)*(?:\s?(?:k|m|bn|thousand|million|billion|trillion)\b|\s?[万亿千百])?"
    r"|\d+(?:\.\d+)*(?:[万亿千百])?",
    re.IGNORECASE,
)
_SCALE = {
    "k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9, "trillion": 1e12,
    "百": 1e2, "千": 1e3, "万": 1e4, "亿": 1e8,
}  # fmt: skip
_EN_SMALL = {
    word: n
    for n, words in enumerate(
        (
            "zero", "", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
            "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
        )
    )
    for word in words.split()
}  # fmt: skip
_EN_TENS = {
    word: (n + 2) * 10
    for n, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
}
_EN_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000, "dozen": 12}
_EN_ORDINALS = {
    word: n
    for n, word in enumerate("zeroth first second third fourth fifth sixth seventh eighth ninth tenth".split())  # noqa: SIM905
}
_A_SECOND = frozenset("a an one per each every this that split half".split())  # noqa: SIM905 — a time, no ordinal
_MANY = frozenset({"dozens", "hundreds", "thousands", "millions", "billions"})
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b", re.IGNORECASE)
_ZH_ORDINAL = re.compile(r"第([零一二三四五六七八九十百\d]+)")
_EN_WORD = re.compile(r"[A-Za-z]+")
_HALF = re.compile(r"\bhalf\b|半(?=[个年小天月价])|一半", re.IGNORECASE)


def numbers_in(text: str) -> frozenset[str]:
    """The numbers of a text by their value; ordinals apart ("#3")."""
    found: set[str] = set()
    for pattern in (_ORDINAL, _ZH_ORDINAL):
        for match in pattern.finditer(text):
            found.add(f"#{_plain(_chinese(match[1]))}")
        text = pattern.sub(" ", text)
    if _HALF.search(text):
        found.add("half")
    for match in _EN_NUMBER.finditer(text):
        found.add(_figure(match[0]))
    text = _EN_NUMBER.sub(" ", text)
    found |= _in_english_words(text)
    for match in _ZH_NUMBER.finditer(_ZH_WORDS.sub(" ", text)):
        value = _chinese(match[0])
        if value != 1:
            found.add(_plain(value))
    return frozenset(found)


def _figure(written: str) -> str:
    match = re.match(r"([-+]?[\d,.]+)\s?(.*)", written)
    assert match is not None
    digits, scale = match[1].replace(",", ""), match[2].lower()
    if digits.count(".") > 1:
        return digits  # a version or an address
    return _plain(float(digits) * _SCALE.get(scale, 1))


def _plain(value: float) -> str:
    """With all its figures: 2024001 and 2024002 are not the same."""
    return str(int(value)) if value == int(value) else repr(value)


def _in_english_words(text: str) -> set[str]:
    found: set[str] = set()
    total, current, open_, before = 0, 0, False, ""
    for word in [*(w.lower() for w in _EN_WORD.findall(text)), ""]:
        if word in _EN_SMALL or word in _EN_TENS:
            current += _EN_SMALL.get(word, 0) + _EN_TENS.get(word, 0)
            open_ = True
        elif word in _EN_SCALES:
            scale = _EN_SCALES[word]
            current = max(current, 1) * scale
            if scale >= 1000:
                total, current = total + current, 0
            open_ = True
        elif word == "and" and open_:
            continue
        else:
            if open_:
                found.add(str(total + current))
            total, current, open_ = 0, 0, False
            if word in _EN_ORDINALS and word != "zeroth" and not (word == "second" and before in _A_SECOND):
                found.add(f"#{_EN_ORDINALS[word]}")
            elif word in _MANY:
                found.add(word)
            elif word in ("twice", "double"):
                found.add("2 times")
        before = word
    return found


def _chinese(written: str) -> float:
    """The value of a number in Chinese characters: 三千五百, 一亿两千万, 二〇二四."""
    if written.isdigit() and written.isascii():
        return float(written)
    whole, _point, fraction = written.partition("点")
    if len(whole) > 1 and all(c in _ZH_DIGIT for c in whole):
        value = float("".join(str(_ZH_DIGIT[c]) for c in whole))
    else:
        value = 0.0
        for scale, sign in ((1e8, "亿"), (1e4, "万")):
            if sign in whole:
                head, _sign, whole = whole.rpartition(sign)
                value += (_chinese(head) if head else 1.0) * scale
        value += _below_ten_thousand(whole)
    if fraction:
        value += float("0." + "".join(str(_ZH_DIGIT.get(c, 0)) for c in fraction))
    return value


def _below_ten_thousand(written: str) -> int:
    total, digit = 0, 0
    for c in written:
        if c in _ZH_STEP:
            total += (digit or 1) * _ZH_STEP[c]
            digit = 0
        else:
            digit = _ZH_DIGIT.get(c, int(c) if c.isdigit() and c.isascii() else 0)
    return total + digit


# --- units ----------------------------------------------------------------------------------------------------

_UNITS: tuple[tuple[str, str, str], ...] = (  # unit, dimension, how it is written
    ("km", "length", r"\b(?:kms?|kilomet(?:er|re)s?)\b|(?<=\d)km\b|公里|千米"),
    ("mile", "length", r"\bmiles?\b|英里"),
    ("cm", "length", r"\b(?:cm|centimet(?:er|re)s?)\b|(?<=\d)cm\b|厘米|公分"),
    ("mm", "length", r"\b(?:mm|millimet(?:er|re)s?)\b|(?<=\d)mm\b|毫米"),
    ("m", "length", r"\bmet(?:er|re)s?\b|(?<=\d)\s?m\b|(?<![千厘毫公分])米(?![饭线粉酒])"),
    ("ft", "length", r"\b(?:feet|foot|ft)\b|英尺"),
    ("inch", "length", r"\binch(?:es)?\b|英寸"),
    ("kg", "mass", r"\b(?:kgs?|kilos?|kilograms?)\b|(?<=\d)kg\b|公斤|千克"),
    ("mg", "mass", r"\b(?:mg|milligrams?)\b|(?<=\d)mg\b|毫克"),
    ("g", "mass", r"\bgrams?\b|(?<=\d)\s?g\b|(?<![千毫])克(?=$|[^服里隆拉])"),
    ("lb", "mass", r"\b(?:lbs?|pounds? of)\b|英磅|(?<!英)磅"),
    ("oz", "mass", r"\b(?:oz|ounces?)\b|盎司"),
    ("jin", "mass", r"(?<!公)斤"),
    ("tonne", "mass", r"\btons?\b|\btonnes?\b|吨"),
    ("litre", "volume", r"\b(?:lit(?:er|re)s?)\b|(?<!毫)升(?![级职高学值])"),
    ("ml", "volume", r"\b(?:ml|millilit(?:er|re)s?)\b|(?<=\d)ml\b|毫升"),
    ("gallon", "volume", r"\bgallons?\b|加仑"),
    ("celsius", "temperature", r"\bcelsius\b|°c|℃|摄氏"),
    ("fahrenheit", "temperature", r"\bfahrenheit\b|°f|℉|华氏"),
    ("second", "time", r"\bsecs?\b|\bseconds\b|(?<=\d)\s?s\b|秒"),
    ("minute", "time", r"\bmin(?:ute)?s?\b|分钟"),
    ("hour", "time", r"\bhours?\b|\bhrs?\b|小时|钟头"),
    ("day", "time", r"\bdays?\b|(?<![今明昨后前每聊春夏秋冬星])天(?![气空然津才堂])|工作日"),
    ("week", "time", r"\bweeks?\b|个?(?:星期|礼拜)(?![一二三四五六日天])|(?<=[一二两三四五六几\d])周"),
    ("month", "time", r"\bmonths?\b|个月"),
    ("decade", "time", r"\bdecades?\b"),
    ("century", "time", r"\bcentur(?:y|ies)\b|世纪"),
    ("year", "time", r"\byears?\b|(?<=[一二两三四五六七八九十几\d])年(?!\d)"),
    ("dollar", "money", r"\$|\b(?:usd|dollars?)\b|美元|美金"),
    ("euro", "money", r"€|\b(?:eur|euros?)\b|欧元"),
    ("pound", "money", r"£|\b(?:gbp|pounds?)\b(?! of)|英镑"),
    ("yuan", "money", r"¥|\b(?:rmb|cny|yuan)\b|人民币|(?<![美欧日单公韩次多])元(?=$|[^素旦宵])|块钱?"),
    ("yen", "money", r"\b(?:jpy|yen)\b|日元"),
    ("percent", "share", r"%|\bper ?cent\b|百分之"),
    ("kb", "data", r"\b(?:kb|kilobytes?)\b|(?<=\d)kb\b"),
    ("mb", "data", r"\b(?:mb|megabytes?)\b|(?<=\d)mb\b"),
    ("gb", "data", r"\b(?:gb|gigabytes?)\b|(?<=\d)gb?\b(?<=[gb])"),
    ("tb", "data", r"\b(?:tb|terabytes?)\b|(?<=\d)tb\b"),
    ("mph", "speed", r"\bmph\b|miles per hour"),
    ("kmh", "speed", r"\bkm/?h\b|\bkph\b"),
    ("acre", "area", r"\bacres?\b|英亩"),
    ("hectare", "area", r"\bhectares?\b|公顷"),
    ("mu", "area", r"(?<!英)亩"),
    ("sqm", "area", r"\bsquare met\w+|平方米|平米"),
    ("sqft", "area", r"\bsquare f\w+|平方英尺"),
)  # fmt: skip
# ASCII, so that a unit ends where Chinese begins: 32kg的.
_UNIT = tuple((unit, re.compile(pattern, re.IGNORECASE | re.ASCII)) for unit, _of, pattern in _UNITS)
_DIMENSION = {unit: of for unit, of, _pattern in _UNITS}


def units_in(text: str) -> frozenset[str]:
    """The units of measure and the currencies that a text speaks of."""
    return frozenset(unit for unit, pattern in _UNIT if pattern.search(text))


def dimension(unit: str) -> str:
    """What a unit measures."""
    return _DIMENSION[unit]


# --- dates ----------------------------------------------------------------------------------------------------

_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
_ZH_MONTH = re.compile(r"(1[0-2]|[1-9]|十[一二]?|[一二三四五六七八九])月")
_ZH_WEEKDAY = re.compile(r"(?:星期|周|礼拜)([一二三四五六日天末])")
_DATES = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        *((f"month {n}", rf"\b(?:{name}|{name[:3]}\.)(?!\w)") for n, name in enumerate(_MONTHS, 1) if name not in ("may", "march")),
        ("month 3", r"\b(?-i:March)\b"),
        ("month 5", r"\b(?:in|of|by|until|since|next|last|this) may\b|\bmay \d|\d(?:st|nd|rd|th)? may\b"),
        *((f"weekday {n}", rf"\b{name}s?\b") for n, name in enumerate(_WEEKDAYS, 1)),
        ("weekend", r"\bweekends?\b|周末"),
        ("today", r"\btoday\b|\btonight\b|今天|今日|今晚"),
        ("tomorrow", r"\btomorrow\b|明天|明日|明早|明晚"),
        ("yesterday", r"\byesterday\b|昨天|昨日|昨晚"),
        ("after tomorrow", r"后天"),
        ("before yesterday", r"前天"),
        ("morning", r"\bmorning\b|早上|上午|早晨|清晨"),
        ("noon", r"\bnoon\b|中午|正午"),
        ("afternoon", r"\bafternoon\b|下午|午后"),
        ("evening", r"\bevening\b|\btonight\b|晚上|傍晚|今晚|明晚|昨晚"),
        ("midnight", r"\bmidnight\b|半夜|午夜|凌晨"),
        ("am", r"(?<=\d)\s?a\.?m\b"),
        ("pm", r"(?<=\d)\s?p\.?m\b"),
        *((f"{of} {unit}", rf"\b{of} {unit}\b") for of in ("this", "next", "last", "previous") for unit in ("week", "month", "year", "quarter")),
        ("last week", r"上个?(?:周|星期)"), ("this week", r"[本这]个?(?:周|星期)"), ("next week", r"下个?(?:周|星期)"),
        ("last month", r"上个?月"), ("this month", r"[本这]个?月"), ("next month", r"下个?月"),
        ("last year", r"去年"), ("this year", r"今年"), ("next year", r"明年"), ("two years ago", r"前年"),
        ("spring", r"\bspring\b|春[天季]"), ("summer", r"\bsummer\b|夏[天季]"),
        ("autumn", r"\bautumn\b|秋[天季]"), ("winter", r"\bwinter\b|冬[天季]"),
        ("weekday", r"\bweekdays?\b|工作日"), ("bc", r"\bb\.?c\.?\b|公元前"),
    )
)  # fmt: skip


def dates_in(text: str) -> frozenset[str]:
    """Months, days of the week, times of the day and days counted from today."""
    found = {name for name, pattern in _DATES if pattern.search(text)}
    for match in _ZH_MONTH.finditer(text):
        found.add(f"month {_plain(_chinese(match[1]))}")
    for match in _ZH_WEEKDAY.finditer(text):
        day = "一二三四五六日".find(match[1].replace("天", "日"))
        found.add(f"weekday {day + 1}" if day >= 0 else "weekend")
    return frozenset(found)
