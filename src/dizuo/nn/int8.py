"""Checkpoints with int8 weights: a matrix is whole numbers of 8 bits and one scale a row (W ≈ scale · q).

On disk a matrix NAME of the Hugging Face layout is `NAME` as int8 and `NAME_scale` as float32 (O,); what is no matrix
stays float32. config.json says so under `quantization_config`. The rounding is to the nearest, symmetric, and the
row's largest magnitude becomes 127 (Jacob et al. 2018, section 2, without a zero point).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dizuo.core.errors import UserError

SCHEME = {"quant_method": "dizuo-int8", "bits": 8, "scales": "one a row", "zero_points": False}
# Smallest scale, for rows of zeros.
_TINY = 1e-30
_SCALE = "_scale"


def is_int8(config: Mapping[str, Any]) -> bool:
    """Whether a config.json says that the weights are int8 of this scheme."""
    said = config.get("quantization_config")
    return isinstance(said, dict) and said.get("quant_method") == SCHEME["quant_method"]


def scales_of(weight: torch.Tensor) -> torch.Tensor:
    """(O,) what one step is worth in each row of (O, I)."""
    return weight.float().abs().amax(dim=1).clamp_min_(_TINY) / 127


def to_int8(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each matrix as int8 with its scales beside it, all else as float32."""
    stored: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim != 2:
            stored[name] = weight.float()
            continue
        scales = scales_of(weight)
        stored[name] = (weight.float() / scales[:, None]).round_().clamp_(-127, 127).to(torch.int8)
        stored[name + _SCALE] = scales
    return stored


def from_int8(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The float32 weights that int8 ones stand for. Raises ValueError with a sentence when a scale is missing."""
    weights: dict[str, torch.Tensor] = {}
    for name, weight in stored.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in stored:
            continue
        if weight.dtype == torch.int8:
            scales = stored.get(name + _SCALE)
            if scales is None or scales.shape != weight.shape[:1]:
                raise ValueError(f"{name} is int8 without a scale for each row")
            weight = weight.float() * scales[:, None]
        weights[name] = weight
    return weights


def save_int8(source: Path, folder: Path) -> None:
    """A copy of a checkpoint with its weights as int8, about a quarter of the size of float32.

    Raises UserError when the source has no single model.safetensors or is int8 already, or the folder exists.
    """
    file = source / "model.safetensors"
    if not file.is_file():
        raise UserError("The checkpoint {folder} has no {file}.", folder=source, file=file.name)
    if folder.exists():
        raise UserError("{folder} exists already. Choose another name, or remove it first.", folder=folder)
    config = json.loads((source / "config.json").read_text("utf-8"))
    if config.get("quantization_config"):
        raise UserError("The weights of {folder} are quantised already.", folder=source)
    new = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(source, new, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    save_file(to_int8(load_file(file)), new / "model.safetensors", metadata={"format": "pt"})
    described = json.dumps(config | {"quantization_config": SCHEME}, indent=2, ensure_ascii=False)
    (new / "config.json").write_text(described + "\n", "utf-8")
    new.rename(folder)
