"""Conversations as token ids, the same for training and for serving.

The format is ChatML: every turn is `<|im_start|>role`, a line end, the content, `<|im_end|>`, a line end. Tools stand
in the system turn as one JSON object a line; the assistant calls one as
`<tool_call>{"name": …, "arguments": …}</tool_call>`.

Marks are written here and nowhere else: what a person, a document or a tool says is encoded as plain characters, so
that a text with `<|im_end|>` in it cannot end its turn and speak as somebody else.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dizuo.core.errors import UserError
from dizuo.core.messages import Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
TOOL_CALL, TOOL_CALL_END = "<tool_call>", "</tool_call>"
_ROLES = ("system", "user", "assistant", "tool")

# What `render_chat` writes, for `apply_chat_template` of transformers and whoever else reads tokenizer_config.json.
CHAT_TEMPLATE = """\
{%- set system = messages[0].content if messages and messages[0].role == 'system' else '' %}
{%- if system or tools %}
    {{- '<|im_start|>system\\n' + (system or '') }}
    {%- if tools %}
        {{- ('\\n\\n' if system else '') + '# Tools' }}
        {%- for tool in tools %}
            {{- '\\n' + ((tool.function if tool.function is defined else tool) | tojson) }}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
        {%- for tool_call in message.tool_calls or [] %}
            {%- set call = tool_call.function if tool_call.function is defined else tool_call %}
            {{- '\\n' if message.content or not loop.first else '' }}
            {{- '<tool_call>{"name": ' + (call.name | tojson) + ', "arguments": ' }}
            {{- call.arguments if call.arguments is string else (call.arguments | tojson) }}
            {{- '}</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

Turn = Message | Mapping[str, Any]


class _Mark(str):
    """A string that is one token of its own."""


def render_chat(
    messages: Sequence[Turn], tools: Sequence[Mapping[str, Any]] = (), *, add_generation_prompt: bool = False
) -> str:
    """The conversation as text, exactly as `CHAT_TEMPLATE` renders it."""
    return "".join(text for text, _learnt in _parts(messages, tools, add_generation_prompt))


def encode_chat(
    tokenizer: "Tokenizer",
    messages: Sequence[Turn],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    add_generation_prompt: bool = False,
) -> tuple[list[int], list[bool]]:
    """The ids of the conversation, and of each whether it is the assistant's own: its text, its calls and `<|im_end|>`.

    Messages are those of `core`, or of the OpenAI protocol (`tool_calls` with or without `function` around them,
    `arguments` as JSON or as an object). What follows "assistant" and its line end is encoded apart from it, because
    that is how it is generated.

    Raises UserError for a role that is none, and a tokenizer that has no such marks.
    """
    plain = without_added_tokens(tokenizer)
    ids: list[int] = []
    mask: list[bool] = []
    for text, learnt in _joined(_parts(messages, tools, add_generation_prompt)):
        new = [_mark_id(tokenizer, text)] if isinstance(text, _Mark) else _ids(plain, text)
        ids += new
        mask += [learnt] * len(new)
    return ids, mask


def encode_with_template(
    tokenizer: "Tokenizer",
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    **variables: Any,
) -> list[int]:
    """The ids of a prompt by another family's Jinja template, up to where the assistant speaks.

    Marks of that family inside the messages stay plain characters too: each is broken by a character that none of the
    messages holds before the template sees it, and mended when the marks of the template itself are known.
    `variables` are what templates ask for besides, such as `bos_token`. Raises UserError when the template refuses.
    """
    marks = sorted((t.content for t in tokenizer.get_added_tokens_decoder().values()), key=len, reverse=True)
    if not marks:
        return _ids(tokenizer, _rendered(template, messages, tools, variables))
    any_mark = re.compile("|".join(map(re.escape, marks)))
    told = json.dumps([list(messages), list(tools)], ensure_ascii=False, default=str)
    breaker = next((c for c in map(chr, range(0xE000, 0xF900)) if c not in told), None)
    if breaker is None:
        raise UserError("The messages hold every character of Unicode's private use area; leave one out.")

    def broken(value: Any) -> Any:
        if isinstance(value, str):
            return any_mark.sub(lambda m: m[0][0] + breaker + m[0][1:], value)
        if isinstance(value, Mapping):
            # A name such as "role", which the template asks for, is none of the marks with their signs.
            return {key if key.isidentifier() else broken(key): broken(one) for key, one in value.items()}
        return [broken(one) for one in value] if isinstance(value, list | tuple) else value

    text = _rendered(template, broken(list(messages)), broken(list(tools)), variables)
    plain = without_added_tokens(tokenizer)
    ids: list[int] = []
    at = 0
    for mark in any_mark.finditer(text):
        ids += _ids(plain, text[at : mark.start()].replace(breaker, ""))
        ids.append(_mark_id(tokenizer, mark[0]))
        at = mark.end()
    return ids + _ids(plain, text[at:].replace(breaker, ""))


@lru_cache(maxsize=8)
def without_added_tokens(tokenizer: "Tokenizer") -> "Tokenizer":
    """The same tokenizer, but `<|im_end|>` and its kind in a text are plain characters, and nothing is put around it.

    (`Tokenizer.encode_special_tokens` does this for marks flagged as special only, and `<tool_call>` is not.)
    """
    from tokenizers import Tokenizer

    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = []
    described["post_processor"] = None
    return Tokenizer.from_str(json.dumps(described))


def _parts(
    messages: Sequence[Turn], tools: Sequence[Mapping[str, Any]], add_generation_prompt: bool
) -> list[tuple[str, bool]]:
    """(text or mark, whether the assistant says it), in order."""
    turns = [m.model_dump() if isinstance(m, Message) else m for m in messages]
    for turn in turns:
        if turn.get("role") not in _ROLES:
            raise UserError("A message has the role {role!r}; it must be one of: {roles}.",
                            role=turn.get("role"), roles=", ".join(_ROLES))  # fmt: skip
    has_system = bool(turns) and turns[0]["role"] == "system"
    system = (turns[0].get("content") or "") if has_system else ""
    parts: list[tuple[str, bool]] = []
    if system or tools:
        listed = "".join("\n" + _json(tool.get("function", tool)) for tool in tools)
        head = ("\n\n" if system else "") + "# Tools" + listed if tools else ""
        parts += _turn("system", [system + head])
    for turn in turns[1:] if has_system else turns:
        content = turn.get("content") or ""
        pieces = [content, *_calls(turn.get("tool_calls") or (), bool(content))]
        parts += _turn(turn["role"], pieces)
    if add_generation_prompt:
        parts += [(_Mark(IM_START), False), ("assistant\n", False)]
    return parts


def _turn(role: str, pieces: list[str]) -> list[tuple[str, bool]]:
    own = role == "assistant"
    said = [(piece, own) for piece in pieces if piece]
    return [(_Mark(IM_START), False), (f"{role}\n", False), *said, (_Mark(IM_END), own), ("\n", False)]


def _calls(calls: Sequence[Mapping[str, Any]], after_text: bool) -> list[str]:
    pieces: list[str] = []
    for called in calls:
        call = called.get("function", called)
        arguments = call["arguments"] if isinstance(call["arguments"], str) else _json(call["arguments"])
        written = '{"name": ' + _json(call["name"]) + ', "arguments": ' + arguments + "}"
        pieces += ["\n" if after_text or pieces else "", _Mark(TOOL_CALL), written, _Mark(TOOL_CALL_END)]
    return pieces


def _joined(parts: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Neighbouring texts of one speaker as one: the tokenizer must see them so, as it would in the whole text."""
    joined: list[tuple[str, bool]] = []
    for text, learnt in parts:
        if joined and not isinstance(text, _Mark) and not isinstance(joined[-1][0], _Mark) and joined[-1][1] == learnt:
            joined[-1] = (joined[-1][0] + text, learnt)
        else:
            joined.append((text, learnt))
    return joined


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # as the `tojson` of transformers' templates


def _ids(tokenizer: "Tokenizer", text: str) -> list[int]:
    return tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids if text else []


def _mark_id(tokenizer: "Tokenizer", mark: str) -> int:
    found = tokenizer.token_to_id(mark)
    if found is None:
        raise UserError("The tokenizer has no token {mark}: it was not made for conversations.", mark=str(mark))
    return found


# A template is a program of whoever made the model, and runs in a thread of ours. Real ones stay far below both.
_MOST_TURNS = 200_000  # of its loops, all together
_MOST_REPEATED = 100_000  # characters or items that one multiplication may make


def _rendered(template: str, messages: Any, tools: Any, variables: Mapping[str, Any]) -> str:
    from datetime import datetime

    from jinja2 import TemplateError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    turns = itertools.count()

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def turn() -> str:
        if next(turns) >= _MOST_TURNS:
            raise TemplateError(f"its loops go round more than {_MOST_TURNS} times")
        return ""

    class Bounded(ImmutableSandboxedEnvironment):
        """The sandbox, whose programs also come to an end, in bounded memory."""

        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sizes = [len(one) if hasattr(one, "__len__") else one for one in (left, right)]
            if operator == "**" or (sizes != [left, right] and math.prod(sizes) > _MOST_REPEATED):
                raise TemplateError(f"{operator} would make something too large")
            return super().call_binop(context, operator, left, right)

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            tree = super()._parse(source, name, filename)
            for loop in tree.find_all(nodes.For):
                loop.body.insert(0, nodes.Output([nodes.Call(nodes.Name("_turn", "load"), [], [], None, None)]))
            tree.set_environment(self)
            return tree

    environment = Bounded(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], autoescape=False
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals |= {
        "raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form), "_turn": turn,
    }  # fmt: skip
    try:
        return environment.from_string(template).render(
            messages=messages, tools=tools or None, add_generation_prompt=True, **variables
        )
    except Exception as error:  # it may fail in any way
        raise UserError("The model's chat template does not take this conversation: {reason}.", reason=error) from error
