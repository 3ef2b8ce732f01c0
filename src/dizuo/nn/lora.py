"""Low-rank adapters (Hu et al. 2021), to and from the folder layout of PEFT.

Targets are named as in the Hugging Face layout, by the end of a module's name: "q_proj", "mlp.down_proj". Where several
of theirs are one matrix here (query, key and value; gate and up), each keeps an adapter of its own on its rows.
Shapes: I inputs and O outputs of a matrix, r the rank.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import weight_names

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
# What PEFT may ask for beyond eq. 3, and the values at which it asks for nothing.
_PLAIN = {
    "bias": ("none",), "use_dora": (False, None), "modules_to_save": (None, []), "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}), "lora_bias": (False, None), "target_parameters": (None, []),
}  # fmt: skip
_TASKS = {"Decoder": "CAUSAL_LM", "EncoderDecoder": "SEQ_2_SEQ_LM", "Encoder": "FEATURE_EXTRACTION"}


class Adapter(nn.Module):
    """B·A·x of one target."""

    def __init__(self, linear: nn.Linear, outputs: int, rank: int) -> None:
        """A is random and B is zero: the adapted model begins as the plain one (section 4.1)."""
        super().__init__()
        self.a = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.b = nn.Parameter(linear.weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, I) to (…, O)."""
        return (x @ self.a.T) @ self.b.T


class LoraLinear(nn.Module):
    """h = W₀x + (α/r)·BAx (Hu et al. 2021, eq. 3), with W₀ fixed and an adapter for each target among its rows."""

    def __init__(self, base: nn.Linear, parts: dict[str, int], targets: set[str], rank: int, scale: float) -> None:
        """`parts` are the names that rows of `base` have in the Hugging Face layout, and how many each has."""
        super().__init__()
        self.base = base
        self.parts = parts
        self.scale = scale
        # A dot is not allowed in the name of a module.
        self.adapters = nn.ModuleDict(
            {_key(name): Adapter(base, rows, rank) for name, rows in parts.items() if name in targets}
        )

    @property
    def in_features(self) -> int:
        """I, as `nn.Linear` has it."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """O, as `nn.Linear` has it."""
        return self.base.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, I) to (…, O)."""
        added = []
        for name, rows in self.parts.items():
            key = _key(name)
            added.append(self.adapters[key](x) if key in self.adapters else x.new_zeros(*x.shape[:-1], rows))
        return self.base(x) + self.scale * (added[0] if len(added) == 1 else torch.cat(added, dim=-1))

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer with W₀ + (α/r)·BA, which computes the same in one product."""
        start = 0
        for name, rows in self.parts.items():
            if _key(name) in self.adapters:
                adapter = self.adapters[_key(name)]
                assert isinstance(adapter, Adapter)
                self.base.weight[start : start + rows] += (self.scale * (adapter.b @ adapter.a)).to(
                    self.base.weight.dtype
                )
            start += rows
        return self.base


@dataclass(frozen=True)
class _Site:
    """A linear layer of ours that targets may be in."""

    parent: nn.Module
    name: str
    linear: nn.Linear
    parts: dict[str, int]  # their full names -> rows
    transposed: bool


def add_lora(
    model: nn.Module, rank: int = 8, alpha: float = 16.0, targets: Sequence[str] = ("q_proj", "v_proj")
) -> None:
    """Puts adapters on the targets and fixes every other weight: what `lora_parameters` yields is left to train.

    Raises UserError when a target is in no layer of the model, or the model has adapters already.
    """
    if rank < 1:
        raise UserError("The rank of an adapter is at least 1, not {rank}.", rank=rank)
    sites = _sites(model)
    for target in targets:
        if not any(_matches(name, target) for site in sites for name in site.parts):
            known = ", ".join(sorted({name.rsplit(".", 1)[-1] for site in sites for name in site.parts}))
            raise UserError(
                "No layer of the model is named {target!r}. There are: {known}.", target=target, known=known
            )
    model.requires_grad_(False)
    for site in sites:
        wanted = {name for name in site.parts if any(_matches(name, target) for target in targets)}
        if wanted:
            _adapt(site, wanted, rank, alpha / rank)


def merge_lora(model: nn.Module) -> None:
    """Adds the adapters to the weights they are on; the model is a plain one again, and computes what it did.

    Its weights stay fixed until somebody lets them learn.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged())


def lora_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The weights of the adapters."""
    for module in model.modules():
        if isinstance(module, Adapter):
            yield from module.parameters()


def save_lora(model: nn.Module, folder: Path, *, base_model: str = "") -> None:
    """Writes the adapters alone as PEFT does, so that `PeftModel.from_pretrained(base, folder)` opens them.

    `base_model` says what they were trained on. Raises UserError when the model has no adapters.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    if not layers:
        raise UserError("The model has no adapters to save.")
    weights: dict[str, torch.Tensor] = {}
    targets: set[str] = set()
    settings: set[tuple[int, float]] = set()
    for layer in layers:
        for name in layer.parts:
            if _key(name) in layer.adapters:
                adapter = layer.adapters[_key(name)]
                assert isinstance(adapter, Adapter)
                for letter, weight in (("A", adapter.a), ("B", adapter.b)):
                    weights[f"{_PREFIX}{name}.lora_{letter}.weight"] = weight.detach().cpu().contiguous().clone()
                targets.add(name)
                settings.add((len(adapter.a), layer.scale))
    [(rank, scale)] = settings
    config = {
        "peft_type": "LORA",
        "task_type": _TASKS.get(type(model).__name__, "SEQ_CLS"),
        "base_model_name_or_path": base_model or None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(targets),
        "fan_in_fan_out": any(names.transposed for names in weight_names(model).names),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / f".{_WEIGHTS}", metadata={"format": "pt"})
    (folder / f".{_CONFIG}").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    for name in (_WEIGHTS, _CONFIG):
        os.replace(folder / f".{name}", folder / name)


def load_lora(model: nn.Module, folder: Path) -> None:
    """Puts the adapters of a PEFT folder on the model they were trained on; as `add_lora` leaves it.

    Raises UserError when a file is missing or damaged, the adapters are of another kind or do not fit the model.
    """
    config = _read_config(folder)
    try:
        weights = load_file(folder / _WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise UserError("{file} cannot be read: {reason}", file=folder / _WEIGHTS, reason=error) from error
    rank, alpha = config["r"], config.get("lora_alpha", 8)
    # rsLoRA (Kalajdzievski 2023) scales by the root of the rank.
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    left = {name.removeprefix(_PREFIX): weight for name, weight in weights.items()}
    found: list[tuple[_Site, dict[str, tuple[torch.Tensor, torch.Tensor]]]] = []
    for site in _sites(model):
        given: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for name in site.parts:
            if f"{name}.lora_A.weight" in left and f"{name}.lora_B.weight" in left:
                given[name] = left.pop(f"{name}.lora_A.weight"), left.pop(f"{name}.lora_B.weight")
                shapes = tuple(tuple(one.shape) for one in given[name])
                if shapes != ((rank, site.linear.in_features), (site.parts[name], rank)):
                    raise _misfit(folder, name)
        if given:
            found.append((site, given))
    if left or not found:
        raise _misfit(folder, min(left, default=_WEIGHTS))
    model.requires_grad_(False)
    for site, given in found:
        layer = _adapt(site, set(given), rank, scale)
        for name, (a, b) in given.items():
            adapter = layer.adapters[_key(name)]
            assert isinstance(adapter, Adapter)
            adapter.a.data.copy_(a)
            adapter.b.data.copy_(b)


def _misfit(folder: Path, name: str) -> UserError:
    return UserError("The adapter {folder} does not fit the model: {name!r}.", folder=folder, name=name)


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / _CONFIG
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError("{file} cannot be read: {reason}", file=file, reason=error) from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or not isinstance(config.get("r"), int):
        raise UserError("{file} does not describe a LoRA adapter.", file=file)
    for key, plain in _PLAIN.items():
        if config.get(key, plain[0]) not in plain:
            raise UserError(
                "The adapter {folder} says {key} = {value!r}, which is not implemented here.",
                folder=folder,
                key=key,
                value=config[key],
            )
    return config


def _sites(model: nn.Module) -> list[_Site]:
    """All linear layers that have a name in the Hugging Face layout, but the output matrix.

    Raises UserError when there are adapters on some.
    """
    if any(isinstance(module, LoraLinear) for module in model.modules()):
        raise UserError("The model has adapters already. Merge them first.")
    modules = dict(model.named_modules())
    sites: list[_Site] = []
    for names in weight_names(model).names:
        path, _dot, kind = names.ours.rpartition(".")
        linear = modules.get(path)
        if kind != "weight" or not isinstance(linear, nn.Linear) or path == "head":
            continue
        theirs = [name.removesuffix(".weight") for name in names.theirs]
        rows = names.rows if len(theirs) > 1 else (linear.out_features,)
        parent, _dot, name = path.rpartition(".")
        sites.append(_Site(modules[parent], name, linear, dict(zip(theirs, rows, strict=True)), names.transposed))
    return sites


def _adapt(site: _Site, wanted: set[str], rank: int, scale: float) -> LoraLinear:
    layer = LoraLinear(site.linear, site.parts, wanted, rank, scale)
    setattr(site.parent, site.name, layer)
    return layer


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _key(name: str) -> str:
    return name.replace(".", "/")
