"""What all contenders of benchmarks/generation.py share: a line with a batch size in, a line with the result out."""

import json
import sys
import time
from collections.abc import Callable, Sequence

Continue = Callable[[Sequence[Sequence[int]], int], list[list[int]]]


def serve(continue_greedily: Continue) -> None:
    """Runs `continue_greedily(prompts, n_tokens)` for every line {"prompts", "n_tokens"} and says how long it took."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        begun, cpu = time.perf_counter(), time.process_time()
        texts = continue_greedily(asked["prompts"], asked["n_tokens"])
        took = time.perf_counter() - begun
        print(json.dumps({"seconds": took, "cpu_s": time.process_time() - cpu, "texts": texts}), flush=True)
