"""What the chat models of a provider take of the protocol's parameters, and under which names.

Some providers pass over what they do not know, so that a limit or a schema would be lost without a word. What the
catalogue says of a provider is held to before anything is sent: a parameter that has another name there gets it, one
that says only what its absence says is left out, any other is refused by name.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from dizuo.core.errors import UserError
from dizuo.gateway.presets import presets

# What the protocol takes a parameter for that is not there.
_AS_ABSENT: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "tool_choice": "auto",
}


class Dialect:
    """How a provider wants parameters said. `without` are those that it does not take, each a name or NAME=VALUE."""

    def __init__(self, provider: str, without: tuple[str, ...] = (), renames: Mapping[str, str] | None = None) -> None:
        self._provider = provider
        self._without = frozenset(without)
        self._renames = dict(renames or {})

    def spoken(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as the provider takes them. Raises UserError for one that it does not take."""
        if not self._without and not self._renames:
            return options
        said: dict[str, Any] = {}
        for name, value in options.items():
            if name in self._without or f"{name}={value}" in self._without:
                if name in _AS_ABSENT and value == _AS_ABSENT[name]:
                    continue
                raise UserError(
                    "{provider} does not take the parameter {name}={value!r}. Leave it out, or ask another model.",
                    provider=self._provider,
                    name=name,
                    value=_short(value),
                    param=name,
                )
            there = self._renames.get(name, name)
            if said.setdefault(there, value) != value:
                raise UserError(
                    "Two parameters mean the same to {provider}, {name!r}, and say different things. Give one of them.",
                    provider=self._provider,
                    name=there,
                    param=name,
                )
        return said


@cache
def dialect(preset: str) -> Dialect:
    """The dialect of an entry of the catalogue; of none where it has no such entry, as for an endpoint of one's own."""
    entry = presets().get(preset)
    return Dialect(preset) if entry is None else Dialect(preset, tuple(entry.without), entry.renames)


def _short(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= 60 else f"{text[:60]}…"
