"""Checkpoints in the Hugging Face folder layout: `config.json`, `model.safetensors`, `tokenizer.json`."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from dizuo.core.errors import UserError
from dizuo.nn.encoder import Encoder, EncoderConfig

# Our name of a weight -> the name that `BertModel` gives it. Query, key and value are one matrix here.
_EMBEDDINGS = {
    "tokens.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "segments.weight": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
_BLOCK = {
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def load_encoder(folder: Path) -> Encoder:
    """The BERT encoder of a checkpoint, ready to be evaluated.

    Raises UserError when a file is missing, the architecture is another one, or weights are missing or misshaped.
    """
    config = _read_config(folder)
    file = folder / "model.safetensors"
    if not file.is_file():
        raise UserError("The checkpoint {folder} has no {file}.", folder=folder, file=file.name)
    weights = load_file(file)
    weights = {re.sub(r"^bert\.", "", name): weight for name, weight in weights.items()}
    with _NoInit(), torch.device("meta"):  # no time spent on random weights that are replaced at once
        encoder = Encoder(config)
    try:
        encoder.load_state_dict(_from_bert(weights, config.layers), assign=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            "The weights of {folder} do not fit its config.json: {reason}", folder=folder, reason=error
        ) from error
    return encoder.eval().requires_grad_(False)


class _NoInit(TorchFunctionMode):
    """Modules made within it leave their weights as they are.

    `normal_` on the meta device goes through torch._dynamo: importing that costs a second and 70 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _read_config(folder: Path) -> EncoderConfig:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError("The checkpoint {folder} has no {file}.", folder=folder, file=file.name)
    raw: dict[str, Any] = json.loads(file.read_text("utf-8"))
    if raw.get("model_type") != "bert" or raw.get("hidden_act") != "gelu":
        raise UserError(
            "The checkpoint {folder} is a {kind!r} model with {activation!r}; the encoder reads 'bert' with 'gelu'.",
            folder=folder,
            kind=raw.get("model_type"),
            activation=raw.get("hidden_act"),
        )
    return EncoderConfig(
        vocab_size=raw["vocab_size"],
        channels=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=raw["num_attention_heads"],
        hidden=raw["intermediate_size"],
        positions=raw["max_position_embeddings"],
        segments=raw["type_vocab_size"],
        norm_eps=raw["layer_norm_eps"],
    )


def _from_bert(weights: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    ours = {name: weights[theirs] for name, theirs in _EMBEDDINGS.items()}
    for layer in range(layers):
        for kind in ("weight", "bias"):
            theirs = f"encoder.layer.{layer}."
            parts = [weights[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            ours[f"blocks.{layer}.attention.qkv.{kind}"] = torch.cat(parts)
            for name, module in _BLOCK.items():
                ours[f"blocks.{layer}.{name}.{kind}"] = weights[f"{theirs}{module}.{kind}"]
    return ours
