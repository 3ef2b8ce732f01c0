"""The Hugging Face layout, as far as all branches share it: reading `config.json`, and names of weights both ways."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dizuo.core.errors import UserError

# Ten times as many as any model has. A layer is built before anybody knows that its weights are missing.
_MOST_LAYERS = 1000


def read_json(file: Path) -> dict[str, Any]:
    """The object of a JSON file that is there. Raises UserError when it is no JSON, or none but an object."""
    try:
        raw = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError("{file} is not valid JSON: {reason}", file=file, reason=error) from error
    if not isinstance(raw, dict):
        raise UserError("{file} has to be a JSON object.", file=file)
    return raw


@dataclass(frozen=True)
class RawConfig:
    """What `config.json` says, read with its mistakes in mind."""

    folder: Path
    raw: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """The class of transformers that wrote it, such as "LlamaForCausalLM"; "" where it says none."""
        named = self.raw.get("architectures")
        return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""

    @property
    def model_type(self) -> str:
        """The family, such as "llama"; "" where it says none."""
        return str(self.raw.get("model_type") or "")

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it stands, `default` where it is missing or null."""
        value = self.raw.get(key)
        return default if value is None else value

    def size(self, key: str, default: int | None = None) -> int:
        """A whole number above zero. Raises UserError where it is something else, or missing without a default."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(key, value)
        return value

    def layers(self, key: str, default: int | None = None) -> int:
        """A number of layers. Raises UserError as `size` does, and for more than any model has."""
        value = self.size(key, default)
        if value > _MOST_LAYERS:
            raise UserError(
                "config.json of {folder} says {key} = {value!r}; more than {most} layers are not built.",
                folder=self.folder,
                key=key,
                value=value,
                most=_MOST_LAYERS,
            )
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number. Raises UserError as `size` does."""
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(key, value)
        return float(value)

    def token(self, key: str) -> int | None:
        """A token's id, or None."""
        value = self.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def only(self, key: str, *allowed: Any, default: Any = None) -> Any:
        """A value that must be one of `allowed`. Raises UserError that names it and them."""
        value = self.get(key, default)
        if value not in allowed:
            raise UserError(
                "config.json of {folder} says {key} = {value!r}; here only {allowed} can be computed.",
                folder=self.folder,
                key=key,
                value=value,
                allowed=" | ".join(repr(one) for one in allowed),
            )
        return value

    def _wrong(self, key: str, value: Any) -> UserError:
        return UserError(
            "config.json of {folder} says {key} = {value!r}; it has to be a positive number.",
            folder=self.folder,
            key=key,
            value=value,
        )


@dataclass(frozen=True)
class Names:
    """One weight of ours and what it is called in the Hugging Face layout."""

    ours: str
    theirs: tuple[str, ...]  # several are stacked by rows, in this order, to make ours
    rows: tuple[int, ...] = ()  # how many rows of ours each of several has
    transposed: bool = False  # theirs has inputs as rows (the Conv1D of GPT-2)


@dataclass(frozen=True)
class Table:
    """The names of all weights of a model, both ways."""

    names: list[Names]
    # What some checkpoints put before every name and others do not, such as "bert.".
    prefix: str = ""
    # Weights of theirs that have no place in ours and are none the worse for it: a regular expression.
    ignored: str = "$^"

    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Their weights under our names. Raises ValueError with a sentence on a missing or an unknown weight."""
        known = {self._bare(name): (name, weight) for name, weight in theirs.items()}
        ours: dict[str, torch.Tensor] = {}
        used: set[str] = set()
        missing: list[str] = []
        for names in self.names:
            bare = [self._bare(name) for name in names.theirs]
            if lost := [name for name, short in zip(names.theirs, bare, strict=True) if short not in known]:
                missing += lost
                continue
            used.update(bare)
            parts = [known[short][1] for short in bare]
            if names.transposed:
                parts = [part.T for part in parts]
            ours[names.ours] = parts[0] if len(parts) == 1 else torch.cat(parts)
        if missing:
            raise ValueError(f"missing {_some(missing)}")
        unknown = [name for short, (name, _weight) in known.items() if short not in used]
        if unknown := [name for name in unknown if not re.search(self.ignored, name)]:
            raise ValueError(f"unknown {_some(unknown)}")
        return ours

    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Our weights under their names, each contiguous and on the CPU."""
        theirs: dict[str, torch.Tensor] = {}
        for names in self.names:
            weight = ours[names.ours].detach().cpu()
            parts = (weight,) if len(names.theirs) == 1 else weight.split(names.rows)
            for name, part in zip(names.theirs, parts, strict=True):
                theirs[name] = (part.T if names.transposed else part).contiguous().clone()
        return theirs

    def _bare(self, name: str) -> str:
        return name.removeprefix(self.prefix)


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" … ({len(listed)} in all)" if len(listed) > 3 else "")
