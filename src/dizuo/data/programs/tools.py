"""Conversations about tools: typed signatures (tools.json), varied requests, and the right call.

    call        one or several tools to choose from, a request that one of them serves: the call; in half of the rows
                the tool's result and an answer from it follow
    ask back    a required argument is missing: the assistant asks for it, and calls when it has been told
    no tool     nothing offered serves the request: said in words

Names of tools and parameters vary from row to row, so that they must be read and cannot be remembered. A fifth of the
tools is held out: they come in the split `test` only, with their requests.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dizuo.data.programs.values import Value, choices, value

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_HELD_OUT = 5  # every fifth tool
_NO_TOOL = {
    "en": (
        "None of the tools that I have can do that.",
        "I have no tool for that. I can only use: {names}.",
        "That is outside of what my tools can do ({names}).",
    ),
    "zh": (
        "我现有的工具做不到这一点。",
        "没有适合的工具。我只能使用：{names}。",
        "这超出了我的工具（{names}）的能力范围。",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Offered:
    """A tool as one conversation names it: `names` says what each parameter of the listing is called here."""

    tool: Mapping[str, Any]
    name: str
    names: Mapping[str, str]
    schema: Mapping[str, Any]


@cache
def _listing() -> Sequence[Mapping[str, Any]]:
    return json.loads(files("dizuo.data.programs").joinpath("tools.json").read_text("utf-8"))


def rows(split: str, seed: int) -> Iterator[dict[str, Any]]:
    """Endless rows `messages`, `tools`, `lang`; `call` is the call that is right, None for none.

    English and Chinese take turns.
    """
    targets = [one for n, one in enumerate(_listing()) if (n % _HELD_OUT == _HELD_OUT - 1) == (split == "test")]
    n = 0
    while True:
        language = ("en", "zh")[n % 2]
        chance = random.Random(f"{seed}:{split}:{n}")  # noqa: S311  # no secret
        yield {"id": f"tools:{split}:{n}", "lang": language, **_row(targets, language, chance)}
        n += 1


def _row(targets: Sequence[Mapping[str, Any]], language: str, chance: random.Random) -> dict[str, Any]:
    tool = chance.choice(targets)
    others = chance.sample([one for one in targets if one is not tool], chance.choice((0, 1, 1, 2, 3)))
    kind = chance.choices(("call", "ask back", "no tool"), (0.76, 0.12, 0.12))[0]
    if kind == "no tool":
        offered = [_offer(one, language, chance) for one in others or chance.sample(targets, 1) if one is not tool]
        if offered:
            asked, _values = _request(tool, language, chance)
            said = chance.choice(_NO_TOOL[language]).format(names=", ".join(one.name for one in offered))
            return _conversation(offered, [_user(asked), {"role": "assistant", "content": said}], None, chance)
    used = _offer(tool, language, chance)
    offered = [used, *(_offer(one, language, chance) for one in others)]
    if kind == "ask back" and tool["vague"]:
        return _ask_back(used, offered, language, chance)
    asked, values = _request(tool, language, chance)
    return _conversation(offered, [_user(asked), *_called(used, values, language, chance)], _call(used, values), chance)


def _ask_back(used: _Offered, offered: list[_Offered], language: str, chance: random.Random) -> dict[str, Any]:
    vague = used.tool["vague"][language]
    required = [one for one in used.tool["parameters"] if not one.get("optional")]
    values = {one["names"][0]: value(one["values"], language, chance) for one in required}
    missing = [one for one in required if f"{{{one['names'][0]}}}" not in vague]
    turns: list[dict[str, Any]] = [_user(_filled(vague, values))]
    for one in missing:
        question = one.get("ask", one["description"])[language]
        turns += [{"role": "assistant", "content": question}, _user(_reply(values[one["names"][0]], language, chance))]
        if one is missing[0] and chance.random() < 0.3:
            # Nothing more is known: the row ends with the question.
            return _conversation(offered, turns[:2], None, chance)
    return _conversation(offered, [*turns, *_called(used, values, language, chance)], _call(used, values), chance)


def _reply(told: Value, language: str, chance: random.Random) -> str:
    forms = ("{}", "{}", "{}, please", "It is {}") if language == "en" else ("{}", "{}", "{}吧", "是{}")
    return chance.choice(forms).format(told.text)


def _request(tool: Mapping[str, Any], language: str, chance: random.Random) -> tuple[str, dict[str, Value]]:
    """A request in words, and the values of the parameters that it names."""
    template = chance.choice(tool["requests"][language])
    template = _OPTIONAL.sub(lambda match: match[1] if chance.random() < 0.5 else "", template)
    kinds = {one["names"][0]: one["values"] for one in tool["parameters"]}
    values: dict[str, Value] = {}
    for name in _SLOT.findall(template):
        made = value(kinds[name], language, chance)
        while made.text in {one.text for one in values.values()}:
            made = value(kinds[name], language, chance)
        values[name] = made
    text = _filled(template, values)
    if language == "en":
        text = chance.choice(("{}", "{}", "{}", "Hi! {}", "{} Thanks.", "Please help me: {}")).format(text)
        return (text[0].lower() + text[1:] if chance.random() < 0.1 else text), values
    return chance.choice(("{}", "{}", "{}", "你好，{}", "麻烦{}", "{}谢谢")).format(text), values


def _filled(template: str, values: Mapping[str, Value]) -> str:
    return _SLOT.sub(lambda match: values[match[1]].text, template)


def _offer(tool: Mapping[str, Any], language: str, chance: random.Random) -> _Offered:
    name = chance.choice(tool["names"])
    if chance.random() < 0.15:
        name = "".join(part.capitalize() if n else part for n, part in enumerate(name.split("_")))
    parameters = list(tool["parameters"])
    if chance.random() < 0.3:
        chance.shuffle(parameters)
    names = {one["names"][0]: chance.choice(one["names"]) for one in parameters}
    properties = {}
    for one in parameters:
        schema: dict[str, Any] = {"type": one["type"]}
        if chance.random() < 0.85:
            schema["description"] = one["description"][language]
        if allowed := choices(one["values"]):
            schema["enum"] = allowed
        properties[names[one["names"][0]]] = schema
    required = [names[one["names"][0]] for one in parameters if not one.get("optional")]
    function = {
        "name": name,
        "description": tool["description"][language],
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
    return _Offered(tool, name, names, {"type": "function", "function": function})


def _call(used: _Offered, values: Mapping[str, Value]) -> dict[str, Any]:
    order = [one["names"][0] for one in used.tool["parameters"]]
    known = [name for name in order if name in values]
    return {"name": used.name, "arguments": {used.names[name]: values[name].argument for name in known}}


def _called(used: _Offered, values: Mapping[str, Value], language: str, chance: random.Random) -> list[dict[str, Any]]:
    call = {"id": f"call_{chance.randrange(10**6)}", "type": "function", "function": _call(used, values)}
    turns: list[dict[str, Any]] = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    if chance.random() < 0.5:
        return turns
    told = {name: value(kind, language, chance) for name, kind in used.tool["result"].items()}
    result = {name: True if one.text == "true" else one.argument for name, one in told.items()}
    reply = used.tool["reply"][language]
    if any(name not in told and name not in values for name in _SLOT.findall(reply)):
        return turns
    return [
        *turns,
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result, ensure_ascii=False)},
        {"role": "assistant", "content": _filled(reply, {**values, **told})},
    ]


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _conversation(
    offered: list[_Offered], turns: list[dict[str, Any]], call: Mapping[str, Any] | None, chance: random.Random
) -> dict[str, Any]:
    chance.shuffle(offered)
    return {"messages": turns, "tools": [one.schema for one in offered], "call": call}
