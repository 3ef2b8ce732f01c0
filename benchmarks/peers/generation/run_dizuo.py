"""Ours: run_dizuo.py FOLDER THREADS."""

import sys
from collections.abc import Sequence
from pathlib import Path

from worker import serve

from dizuo.inference.engine import TextEngine
from dizuo.inference.sampling import SamplingOptions


def main() -> None:
    engine = TextEngine(Path(sys.argv[1]), slots=32)

    def continue_greedily(prompts: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        options = SamplingOptions(temperature=0, max_tokens=n_tokens)
        return [list(text.wait().token_ids) for text in [engine.generate(prompt, options) for prompt in prompts]]

    serve(continue_greedily)
    engine.close()


if __name__ == "__main__":
    main()
