"""How a decoder's weights are held for generation on this processor."""

import json
from pathlib import Path

import torch

from dizuo.inference.fused import FusedDecoder
from dizuo.inference.linears import fast_int8
from dizuo.inference.packed import fastest_type, pack
from dizuo.nn.decoder import Decoder
from dizuo.nn.int8 import is_int8


def precision_of(folder: Path) -> str:
    """ "float32", "bfloat16" or "int8": as the checkpoint holds its weights, if the processor multiplies that fast."""
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    if is_int8(raw) and fast_int8():
        return "int8"
    stored = raw.get("dtype") or raw.get("torch_dtype") or "float32"
    half = stored != "float32" or is_int8(raw)
    return "bfloat16" if half and fastest_type() == torch.bfloat16 else "float32"


def arranged(decoder: Decoder, precision: str) -> Decoder | FusedDecoder:
    """The decoder laid out for generation; GPT-2, whose positions are learnt, keeps its form and is packed."""
    if decoder.config.rotary:
        return FusedDecoder(decoder, precision)
    pack(decoder, torch.float32 if precision == "float32" else fastest_type())
    return decoder
