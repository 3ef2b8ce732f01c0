"""Conversations about tools that are put together from verbs, things and their parameters (composed.json).

Over a hundred different tools, where tools.py has fewer with more natural requests: here the right tool is told from
others with the same verb or about the same thing, and each value from the others by the words beside it. Every fifth
thing comes in the split `test` only.

`open_rows` makes the things up from words of a text, so that no tool comes twice: which tool is meant, and which value
goes where, can then only be read.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from dizuo.data.programs.reading import Paragraph
from dizuo.data.programs.recall import names
from dizuo.data.programs.values import Value, choices, value

_HELD_OUT = 5
_NO_TOOL = 0.1
_OFFERED = (0, 0, 1, 1, 2, 3)  # other tools beside the right one
_OPEN_OFFERED = (0, 1, 2, 2, 3, 3, 4)
_OPEN_VALUES = ("city", "date", "time", "number", "person", "email", "int:2:900", "minutes", "order", "item")
_TYPES = {"int": "integer", "minutes": "integer", "thousands": "integer", "number": "number", "rate": "number"}
_PHRASES = {
    "en": ("with {p} {v}", "with a {p} of {v}", "where the {p} is {v}", "{p}: {v}", "and the {p} is {v}",
           "using {v} as {p}"),
    "zh": ("{p}为{v}", "{p}是{v}", "{p}：{v}", "{p}{v}", "以{v}作为{p}"),
}  # fmt: skip
_REFUSED = {
    "en": ("None of the tools that I have can do that.", "I have no tool for that."),
    "zh": ("我现有的工具做不到这一点。", "没有适合的工具。"),
}


@cache
def _listing() -> Mapping[str, Any]:
    return json.loads(files("dizuo.data.programs").joinpath("composed.json").read_text("utf-8"))


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Endless rows `messages`, `tools`, `lang`, `call`, as `tools.rows` gives them; English and Chinese in turn."""
    things = [one for n, one in enumerate(_listing()["things"])
              if (n % _HELD_OUT == _HELD_OUT - 1) == (split == "test")]  # fmt: skip
    n = 0
    while True:
        language = ("en", "zh")[n % 2]
        chance = random.Random(f"{seed}:composed:{split}:{n}")  # noqa: S311  # no secret
        yield {"id": f"composed:{split}:{n}", "lang": language, **_row(things, language, chance)}
        n += 1


def open_rows(passages: Mapping[str, Iterator[Paragraph]], split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Rows as those of `rows`, about things made up from words of the passages, until these end.

    `passages` are by language: names of tools and parameters are English, what is said of them in the row's language.
    """
    n = 0
    for passage in passages["en"]:
        chinese = next(passages["zh"], None)
        if chinese is None:
            return
        chance = random.Random(f"{seed}:open:{split}:{n}")  # noqa: S311  # no secret
        words = [word.lower() for word in names(passage.text, "en", chance) if len(word) > 4]
        language = ("en", "zh")[n % 2]
        things = _made_up(list(dict.fromkeys(words)), names(chinese.text, "zh", chance), language, chance)
        if len(things) < 3:
            continue
        made = _row(things, language, chance, _OPEN_OFFERED)
        yield {"id": f"open:{split}:{n}", "lang": language, **made}
        n += 1


def _made_up(english: list[str], chinese: list[str], language: str, chance: random.Random) -> list[Mapping[str, Any]]:
    """Up to five things with parameters, each of words of its own, as half of the values are; fewer where the words do
    not reach."""
    verbs = list(_listing()["verbs"])
    things: list[Mapping[str, Any]] = []
    while len(things) < 5:
        nouns, count = chance.choice((1, 2, 2)), chance.choice((1, 1, 2, 2, 3))
        if len(english) < nouns + 3 * count or len(chinese) < 1 + 2 * count:
            break
        thing = " ".join(english.pop() for _noun in range(nouns))
        parameters = []
        for _parameter in range(count):
            kind = chance.choice(_OPEN_VALUES)
            if chance.random() < 0.5:
                said = (
                    [english.pop() for _word in range(chance.choice((1, 2)))] if language == "en" else [chinese.pop()]
                )
                kind = "said:" + " ".join(said)
            parameters.append({"name": english.pop(), "zh": chinese.pop(), "values": kind, "told": True})
        things.append({"en": thing, "zh": chinese.pop(), "verbs": chance.sample(verbs, 3), "parameters": parameters})
    return things


def _row(
    things: Sequence[Mapping[str, Any]], language: str, chance: random.Random, others: Sequence[int] = _OFFERED
) -> dict[str, Any]:
    thing = chance.choice(things)
    verb = chance.choice(thing["verbs"])
    style = chance.choices(("snake", "camel", "dotted"), (6, 2, 2))[0]
    pairs = [(thing, verb), *_others(things, thing, verb, chance, chance.choice(others))]
    offered = [_signature(one, doing, language, style, chance) for one, doing in pairs]
    used = offered[0]
    asked, values = _request(thing, verb, used, language, chance)
    call: dict[str, Any] | None = {"name": used["function"]["name"], "arguments": values}
    if len(offered) > 1 and chance.random() < _NO_TOOL:
        offered, call = offered[1:], None
    said: dict[str, Any] = {"role": "assistant", "content": chance.choice(_REFUSED[language])}
    if call is not None:
        made = {"id": f"call_{chance.randrange(10**6)}", "type": "function", "function": call}
        said = {"role": "assistant", "content": "", "tool_calls": [made]}
    chance.shuffle(offered)
    return {"messages": [{"role": "user", "content": asked}, said], "tools": offered, "call": call}


def _others(
    things: Sequence[Mapping[str, Any]], thing: Mapping[str, Any], verb: str, chance: random.Random, count: int
) -> list[tuple[Mapping[str, Any], str]]:
    """`count` pairs of thing and verb beside the right one: near ones first, then any."""
    near = [(thing, other) for other in thing["verbs"] if other != verb]
    near += [(one, verb) for one in things if one is not thing and verb in one["verbs"]]
    far = [(one, chance.choice(one["verbs"])) for one in chance.sample(things, min(4, len(things))) if one is not thing]
    chance.shuffle(near)
    chosen = near[: (count + 1) // 2]
    chosen += [one for one in far if one not in chosen]
    return chosen[:count]


def _signature(thing: Mapping[str, Any], verb: str, language: str, style: str, chance: random.Random) -> dict[str, Any]:
    words = [verb, *thing["en"].split()]
    name = "_".join(words)
    if style == "camel":
        name = words[0] + "".join(word.capitalize() for word in words[1:])
    elif style == "dotted":
        name = f"{'_'.join(words[1:])}.{verb}"
    properties: dict[str, Any] = {}
    for one in chance.sample(thing["parameters"], len(thing["parameters"])):
        schema: dict[str, Any] = {"type": _TYPES.get(one["values"].split(":")[0], "string")}
        # The Chinese of a made-up name stands nowhere else.
        if one.get("told") or chance.random() < 0.8:
            described = one["name"].replace("_", " ") if language == "en" else one["zh"]
            form = chance.choice(("The {p} of the {n}.", "{p}", "The {p}") if language == "en" else ("{n}的{p}", "{p}"))
            schema["description"] = form.format(p=described, n=thing[language])
        if allowed := choices(one["values"]):
            schema["enum"] = allowed
        properties[one["name"]] = schema
    forms = _listing()["verbs"][verb][language]
    stop = "." if language == "en" else "。"
    described = chance.choice(forms[:1] if language == "en" else forms).format(n=thing[language]) + stop
    parameters = {"type": "object", "properties": properties, "required": [one["name"] for one in thing["parameters"]]}
    return {"type": "function", "function": {"name": name, "description": described, "parameters": parameters}}


def _request(
    thing: Mapping[str, Any], verb: str, used: Mapping[str, Any], language: str, chance: random.Random
) -> tuple[str, dict[str, Any]]:
    """The words, and the arguments in the order of the signature; no two values are alike."""
    values: dict[str, Value] = {}
    for one in thing["parameters"]:
        made = value(one["values"], language, chance)
        while made.text in {other.text for other in values.values()}:
            made = value(one["values"], language, chance)
        values[one["name"]] = made
    begun = chance.choice(_listing()["verbs"][verb][language]).format(n=thing[language])
    phrases = [
        chance.choice(_PHRASES[language]).format(
            p=one["name"].replace("_", " ") if language == "en" else one["zh"], v=values[one["name"]].text
        )
        for one in chance.sample(thing["parameters"], len(thing["parameters"]))
    ]
    if language == "zh":
        text = begun + "，" + "，".join(phrases) + chance.choice(("。", "", "？"))
    else:
        text = f"{begun} {chance.choice((', ', ' ', ' and ')).join(phrases)}{chance.choice(('.', '', '?'))}"
    return text, {name: values[name].argument for name in used["function"]["parameters"]["properties"]}
