"""What fills the gaps of templates: names, places, dates, numbers, in both languages; lists are in values.json."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Value:
    """A value as it stands in a text, and as an argument of a call."""

    text: str
    argument: Any


@cache
def lists() -> Mapping[str, Any]:
    """By kind: words by language, or under `enum` the words of each value."""
    return json.loads(files("dizuo.data.programs").joinpath("values.json").read_text("utf-8"))


def choices(kind: str) -> list[str] | None:
    """The values of an enumeration; None for any other kind."""
    known = lists().get(kind, {})
    return list(known["enum"]) if "enum" in known else None


def value(kind: str, language: str, chance: random.Random) -> Value:
    """A random value of a kind: a list of values.json, or one of those below. `int:2:10` is a whole number, `said:…`
    the very words."""
    if kind.startswith("said:"):
        return Value(kind[5:], kind[5:])
    if kind.startswith("int:"):
        _int, low, high = kind.split(":")
        n = chance.randint(int(low), int(high))
        return Value(str(n), n)
    if kind in _MADE:
        return _MADE[kind](language, chance)
    known = lists()[kind]
    if "enum" in known:
        argument = chance.choice(list(known["enum"]))
        return Value(known["enum"][argument][language], argument)
    text = chance.choice(known[language])
    return Value(text, text)


def _date(language: str, chance: random.Random) -> Value:
    day = date(2026, 1, 1) + timedelta(days=chance.randrange(720))
    iso = day.isoformat()
    if language == "zh":
        return Value(chance.choice((f"{day.year}年{day.month}月{day.day}日", iso)), iso)
    return Value(chance.choice((f"{day.day} {day:%B} {day.year}", f"{day:%B} {day.day}, {day.year}", iso)), iso)


def _time(language: str, chance: random.Random) -> Value:
    hour, minute = chance.randint(6, 22), chance.choice((0, 0, 15, 30, 45, chance.randrange(60)))
    argument = f"{hour:02}:{minute:02}"
    if language == "zh":
        half = "上午" if hour < 12 else "下午" if hour < 18 else "晚上"
        minutes = "" if minute == 0 else "半" if minute == 30 else f"{minute}分"
        return Value(chance.choice((argument, f"{half}{hour if hour <= 12 else hour - 12}点{minutes}")), argument)
    half = "am" if hour < 12 else "pm"
    spoken = f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {half}"
    return Value(chance.choice((argument, spoken)), argument)


def _month(language: str, chance: random.Random) -> Value:
    day = date(chance.randint(2023, 2026), chance.randint(1, 12), 1)
    text = f"{day.year}年{day.month}月" if language == "zh" else f"{day:%B %Y}"
    return Value(text, f"{day:%Y-%m}")


def _number(language: str, chance: random.Random) -> Value:
    n = chance.choice((chance.randint(1, 500), round(chance.uniform(1, 300), 1), round(chance.uniform(1, 99), 2)))
    return Value(str(n), n)


def _rate(language: str, chance: random.Random) -> Value:
    n = round(chance.uniform(1, 9), 1)
    return Value(str(n), n)


def _minutes(language: str, chance: random.Random) -> Value:
    n = chance.choice((15, 20, 30, 45, 60, 90, 120))
    return Value(str(n), n)


def _thousands(language: str, chance: random.Random) -> Value:
    n = 1000 * chance.randint(5, 600)
    return Value(str(n), n)


def code(language: str, chance: random.Random) -> Value:
    """Letters and digits, such as KX-482."""
    text = "".join(chance.choices(_LETTERS, k=2)) + chance.choice(("-", "")) + str(chance.randint(100, 9999))
    return Value(text, text)


def _order(language: str, chance: random.Random) -> Value:
    letters = "".join(chance.choices(_LETTERS, k=2))
    n = chance.randint(1000, 9_999_999)
    text = chance.choice((str(n), f"A{n}", f"{letters}-{n}"))
    return Value(text, text)


def _email(language: str, chance: random.Random) -> Value:
    name = chance.choice(lists()["person"]["en"]).lower().replace(" ", chance.choice((".", "_", "")))
    text = f"{name}@{chance.choice(('example.com', 'example.org', 'mail.example', 'corp.example'))}"
    return Value(text, text)


_MADE = {
    "date": _date, "time": _time, "month": _month, "number": _number, "rate": _rate, "minutes": _minutes,
    "thousands": _thousands, "code": code, "order": _order, "email": _email,
}  # fmt: skip
