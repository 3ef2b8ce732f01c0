"""Recipes: a training as a YAML file, checked key by key.

The dataclasses below are the list of keys: each with its type, its default and a sentence (docs/training.md is made
from them). Imports neither torch nor the stages.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.train.options import OPTIONS

_SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class ModelRecipe:
    """The model: either `start`, a folder or a local model to go on from, or a family and its sizes."""

    start: str | None = None  # folder of a checkpoint, or local/NAME; the sizes below then come from there
    family: str = "llama"  # gpt2, llama, qwen2, qwen3, bert, marian, t5
    channels: int = 256  # width of the vector of a token
    layers: int = 6
    heads: int = 4
    kv_heads: int | None = None  # heads of keys and values; none: as many as heads
    hidden: int | None = None  # width of the feed-forward layer; none: 8/3 of the channels (4 for gpt2 and bert)
    positions: int | None = None  # longest text in tokens; none: the recipe's length
    tied: bool = True  # the output matrix is the embedding


@dataclass(frozen=True)
class DataRecipe:
    """One set to learn from: a name of the catalogue, or the path of a .txt or .jsonl file."""

    name: str
    weight: float | None = None  # share of the tokens or examples, relative to the others; none: by size
    split: str = "train"


@dataclass(frozen=True)
class Recipe:
    """A training from its data to its last step."""

    stage: str  # pretrain, sft, translate, classify, pairs, read
    data: tuple[DataRecipe, ...]
    steps: int  # optimizer steps
    name: str = ""
    description: Mapping[str, str] = field(default_factory=dict)  # en and zh: a sentence for lists
    model: ModelRecipe = ModelRecipe()
    tokenizer: str | None = None  # tokenizer.json or a folder with one; none: the start's, or trained on the data
    length: int = 512  # tokens of a row
    batch: int = 8  # rows of a micro-batch, over all processes and threads together
    accumulate: int = 1  # micro-batches of a step
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3  # peak of the learning rate (AdamW)
    muon_lr: float = 0.02  # peak of the learning rate of hidden matrices (Muon)
    schedule: Literal["wsd", "cosine"] = "wsd"  # warm-up, stable, decay; or a half cosine down to a tenth
    warmup: int = 0  # steps over which the learning rate rises
    decay: float = 0.2  # wsd: share of the steps over which it falls to zero at the end
    weight_decay: float = 0.1  # of matrices only
    clip: float = 1.0  # longest gradient (L2 norm over all weights)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of activations; weights are float32
    compile: bool = False  # torch.compile: costs up to a minute at the start
    seed: int = 0
    checkpoint_every: int = 500  # steps
    evaluate_every: int = 500  # steps
    options: Mapping[str, Any] = field(default_factory=dict)  # what only this stage has (options.py)


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package."""
    return {file.stem: file for file in sorted(_SHIPPED.glob("*.yaml"))}


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a shipped name or a file, with `overrides` such as `model.layers=4` put in.

    Raises UserError on an unknown recipe or key (naming the nearest), a wrong type, or a value out of range.
    """
    file = _find(str(name_or_path))
    try:
        raw = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError("The recipe {file} is not valid YAML: {reason}", file=file.name, reason=error) from error
    if not isinstance(raw, dict):
        raise UserError("The recipe {file} is not a list of keys and values.", file=file.name)
    raw.setdefault("name", file.stem)
    for override in overrides:
        _put(raw, override)
    return parse_recipe(raw)


def parse_recipe(raw: Mapping[str, Any]) -> Recipe:
    """The recipe of a mapping as YAML gives it. Raises UserError as `load_recipe` does."""
    recipe = _build(Recipe, raw, "")
    if recipe.stage not in OPTIONS:
        raise UserError(
            "The recipe's stage is {found!r}; there are {known}.", found=recipe.stage, known=", ".join(OPTIONS)
        )
    options = _build(OPTIONS[recipe.stage], recipe.options, "options.")
    recipe = dataclasses.replace(recipe, options=dataclasses.asdict(options))
    _check(recipe)
    return recipe


def as_yaml(recipe: Recipe) -> str:
    """The recipe with every default filled in; `load_recipe` reads it back to an equal one."""
    return yaml.safe_dump(as_dict(recipe), sort_keys=False, allow_unicode=True)


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain dicts and lists."""
    raw = dataclasses.asdict(recipe)
    raw["data"] = list(raw["data"])
    return raw


def options(recipe: Recipe) -> Any:
    """The options dataclass of the recipe's stage, filled in."""
    return OPTIONS[recipe.stage](**recipe.options)


def _find(name: str) -> Path:
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    raise UserError(
        "No recipe is named {name!r} and no file is there. Recipes: {known}.{hint}",
        name=name,
        known=", ".join(shipped),
        hint=_nearest(name, list(shipped)),
    )


def _put(raw: dict[str, Any], override: str) -> None:
    """Sets `a.b=c` in nested mappings; `data.0.weight=2` counts into a list. The value is read as YAML."""
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UserError("--set takes key=value, such as model.layers=4, not {found!r}.", found=override)
    *parents, last = path.strip().split(".")
    at: Any = raw
    for key in parents:
        at = at[_index(at, key, path)] if isinstance(at, list) else at.setdefault(key, {})
        if not isinstance(at, dict | list):
            raise UserError("--set {path}: {key!r} has no keys of its own.", path=path, key=key)
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError("--set {path}: the value is not valid YAML: {reason}", path=path, reason=error) from error
    if isinstance(parsed, str):
        parsed = _number(parsed)
    if isinstance(at, list):
        at[_index(at, last, path)] = parsed
    else:
        at[last] = parsed


def _index(at: list[Any], key: str, path: str) -> int:
    if key.isdecimal() and int(key) < len(at):
        return int(key)
    raise UserError("--set {path}: {key!r} is not one of the {count} entries.", path=path, key=key, count=len(at))


def _number(text: str) -> Any:
    """YAML reads 1e-3 as a text (it wants 1.0e-3); everyone else reads it as a number."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def _build(kind: type, raw: Any, prefix: str) -> Any:
    """A dataclass from a mapping: unknown keys refused by name, values checked by type."""
    if not isinstance(raw, Mapping):
        raise UserError("The recipe's {key} is {found!r}, not keys and values.", key=prefix.rstrip("."), found=raw)
    known = typing.get_type_hints(kind)
    for key in raw:
        if key not in known:
            raise UserError(
                "The recipe has no key {key!r}.{hint}", key=f"{prefix}{key}", hint=_nearest(str(key), list(known))
            )
    values = {key: _value(known[key], value, f"{prefix}{key}") for key, value in raw.items()}
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError("The recipe lacks {keys}.", keys=", ".join(prefix + name for name in missing))
    return kind(**values)


def _value(kind: Any, value: Any, key: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, key)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                "The recipe's {key} is {found!r}; it can be {known}.",
                key=key,
                found=value,
                known=", ".join(map(str, arguments)),
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError("The recipe's {key} is {found!r}, not a list.", key=key, found=value)
        return tuple(_value(arguments[0], one, f"{key}.{i}") for i, one in enumerate(value))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, f"{key}.")
    if isinstance(value, str):
        value = value if kind is str else _number(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    plain: Any = origin or kind
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise UserError(
            "The recipe's {key} is {found!r}; it takes {kind}.",
            key=key,
            found=value,
            kind=_KINDS.get(plain, _KINDS[str]),
        )
    return value


_KINDS: dict[Any, Note] = {
    int: Note(template="a whole number"),
    float: Note(template="a number"),
    bool: Note(template="true or false"),
    Mapping: Note(template="keys and values"),
    str: Note(template="a text"),
}


def _check(recipe: Recipe) -> None:
    least = {
        "steps": 1, "length": 2, "batch": 1, "accumulate": 1, "lr": 0, "warmup": 0, "clip": 0, "weight_decay": 0,
        "checkpoint_every": 1, "evaluate_every": 1, "decay": 0, "muon_lr": 0,
    }  # fmt: skip
    for key, bound in least.items():
        if getattr(recipe, key) < bound:
            raise UserError(
                "The recipe's {key} is {found}; the least is {least}.",
                key=key,
                found=getattr(recipe, key),
                least=bound,
            )
    if not recipe.data:
        raise UserError("The recipe lists no data.")
    model = recipe.model
    if model.start is None and min(model.channels, model.layers, model.heads) < 1:
        raise UserError("The recipe's model needs at least one channel, one layer and one head.")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f" ({near[0]!r}?)" if near else ""
