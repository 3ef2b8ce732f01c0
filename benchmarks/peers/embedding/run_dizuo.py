"""Dizuo's encoder, with the products that it chooses itself or in float32: run_dizuo.py auto|float32."""

import sys

import torch
from worker import MAX_TOKENS, model_folder, serve

from dizuo.inference import packed
from dizuo.inference.encoder import TextEncoder

if __name__ == "__main__":
    if sys.argv[1] == "float32":
        packed.fastest_type = lambda: torch.float32
    serve(TextEncoder(model_folder(), MAX_TOKENS).encode)
