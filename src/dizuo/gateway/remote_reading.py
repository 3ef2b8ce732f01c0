"""Reading what providers stream: tool calls in pieces, log-probabilities, usage, and why an answer ended."""

import codecs
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dizuo.core.messages import TokenLogprob, ToolCall, Usage

MALFORMED = (ValueError, TypeError, AttributeError, LookupError)
"""What reading causes that meets JSON, but not the protocol."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "sensitive": "content_filter",  # Zhipu
}
_MOST_TOKENS = 2**31 - 1  # what the ledger's columns hold
_NO_ID = -1  # the protocol sends texts of tokens, no ids


def finish_of(choice: Mapping[str, Any]) -> FinishReason | None:
    """Why the answer ended, None while it goes on. A reason that nobody knows counts as stop."""
    reason = choice.get("finish_reason")
    return _FINISH.get(str(reason), "stop") if reason else None


def text_of(content: Any) -> str:
    """The text of a delta or a message, whose parts may be listed; without what neither UTF-8 nor PostgreSQL can hold:
    halves of a surrogate pair, and NUL. Raises TypeError for what is no text."""
    if content is None:
        return ""
    if isinstance(content, list):  # Mistral's reasoning models: the thinking is a part of another type
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(content, str):
        raise TypeError
    return content if content.isascii() and "\0" not in content else _storable(content)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def usage_of(chunk: Mapping[str, Any]) -> Usage | None:
    """The tokens counted so far, where a chunk says it. Some say it in each chunk, the last time for all of it."""
    counts = chunk.get("usage")
    if not counts and (choices := chunk.get("choices")):
        counts = choices[0].get("usage")  # Moonshot
    if not isinstance(counts, dict):
        return None
    details = counts.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    cached = cached or counts.get("prompt_cache_hit_tokens") or counts.get("cached_tokens")  # DeepSeek; Moonshot
    return Usage(
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        cached_tokens=_count(cached),
    )


def _count(value: Any) -> int:
    """A bad count is no reason to lose an answer."""
    return min(max(int(value), 0), _MOST_TOKENS) if isinstance(value, int | float) and value == value else 0


# --- tool calls -----------------------------------------------------------------------------------------------


@dataclass
class _Gathering:
    id: str
    name: str
    arguments: str


class ToolCalls:
    """Calls put together from their pieces. What servers make of `index` and `id` differs: both may be missing, the
    same for all calls, or repeated in each piece."""

    def __init__(self) -> None:
        self._calls: list[_Gathering] = []
        self._at: dict[int, _Gathering] = {}  # the latest call of each index

    def add(self, pieces: Sequence[Mapping[str, Any]]) -> None:
        """Takes the pieces of one delta. Raises what malformed ones cause: TypeError, AttributeError, LookupError."""
        for piece in pieces:
            function = piece.get("function") or {}
            index, id = piece.get("index"), piece.get("id") or ""
            name, arguments = function.get("name") or "", function.get("arguments")
            if isinstance(arguments, dict):
                arguments = json.dumps(arguments, ensure_ascii=False)
            if not all(isinstance(one, str) for one in (id, name, arguments or "")):
                raise TypeError
            call = self._meant(index, id, name, arguments or "")
            call.id, call.name = call.id or id, call.name or name
            call.arguments += _storable(arguments or "")

    def taken(self) -> list[ToolCall]:
        """The calls since the last time, each with an id of its own. Raises LookupError for one without a name."""
        calls, self._calls, self._at = self._calls, [], {}
        if not all(call.name for call in calls):
            raise LookupError
        found, seen = [], set()
        for call in calls:
            id = call.id if call.id and call.id not in seen else f"call_{secrets.token_hex(12)}"
            seen.add(id)
            found.append(ToolCall(id=id, name=_storable(call.name), arguments=call.arguments or "{}"))
        return found

    def _meant(self, index: Any, id: str, name: str, arguments: str) -> _Gathering:
        """The call that a piece belongs to."""
        if isinstance(index, int):
            call = self._at.get(index)
        else:
            same = [call for call in self._calls if id and call.id == id]
            begins = bool(id or name) and not same
            call = None if begins else (same or self._calls or [None])[-1]
        if call is None or (name and self._is_another(call, id, arguments)):
            call = _Gathering("", "", "")
            self._calls.append(call)
        if isinstance(index, int):
            self._at[index] = call
        return call

    @staticmethod
    def _is_another(call: _Gathering, id: str, arguments: str) -> bool:
        """Whether a piece with a name begins a new call at the place of one that has begun."""
        if id and call.id and id != call.id:
            return True
        return bool(call.name and arguments) and _is_whole(call.arguments)


def _is_whole(arguments: str) -> bool:
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(arguments), dict)
    except ValueError:
        return False


# --- log-probabilities ----------------------------------------------------------------------------------------


class Tokens:
    """Tokens of the protocol as those of core, each with the characters that it completes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of_chat(self, logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprob, ...]:
        """The tokens of a chat's choice. Raises what malformed ones cause, as do all reading functions."""
        content = logprobs.get("content") if logprobs else None
        return tuple(
            self._token(
                one["token"], one["logprob"], one.get("bytes"), [_top(top) for top in one["top_logprobs"] or ()]
            )
            for one in content or ()
        )

    def of_completion(self, logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprob, ...]:
        """The tokens of a completion's choice, in the older form: a list for each of their properties."""
        if not logprobs or not logprobs.get("tokens"):
            return ()
        tokens = logprobs["tokens"]
        tops = logprobs.get("top_logprobs") or [None] * len(tokens)
        return tuple(
            self._token(
                token,
                logprob,
                None,
                [
                    _top({"token": name, "logprob": value})
                    for name, value in sorted((top or {}).items(), key=lambda one: -one[1])
                ],
            )
            for token, logprob, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True)
        )

    def _token(
        self, token: str, logprob: float | None, raw: Sequence[int] | None, top: Sequence[TokenLogprob]
    ) -> TokenLogprob:
        data = _bytes(token, raw)
        return TokenLogprob(
            id=_NO_ID, text=text_of(self._decoder.decode(data)), raw=tuple(data), logprob=logprob, top=tuple(top)
        )


def _top(one: Mapping[str, Any]) -> TokenLogprob:
    data = _bytes(one["token"], one.get("bytes"))
    text = text_of(data.decode("utf-8", "replace"))
    return TokenLogprob(id=_NO_ID, text=text, raw=tuple(data), logprob=one["logprob"])


def _bytes(token: str, raw: Sequence[int] | None) -> bytes:
    r"""A token's bytes; of one that is part of a character, from the protocol's way to write it: bytes:\xe4\xb8."""
    if raw is not None:
        return bytes(raw)
    if token.startswith("bytes:"):
        return bytes(int(one, 16) for one in token.removeprefix("bytes:").split("\\x") if one)
    return token.encode("utf-8", "replace")
