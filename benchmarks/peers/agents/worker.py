"""What all contestants do: hear how many turns an agent is to take, and say what that took, in lines of JSON.

A turn is a call of the model and the call of a tool that it wants: two steps. The model takes no time; its words and
the tool's result are the same for everyone.
"""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

THOUGHT = "I look at the next page, since what was found so far does not yet answer the question that was asked."
PAGE = "The harbour was rebuilt in the year after the storm, and the lighthouse two years later. " * 3
ANSWER = "The lighthouse was rebuilt three years after the storm."
GOAL = "When was the lighthouse rebuilt?"


def serve(run: Callable[[int], dict[str, Any]]) -> None:
    """Answers {"turns": N} with what `run` says. What libraries print goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)["turns"])), file=out, flush=True)


def size_bytes(file: Path) -> int:
    """What a SQLite file takes when all of it is in its place."""
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = (
            connection.execute("PRAGMA page_count").fetchone()[0]
            - connection.execute("PRAGMA freelist_count").fetchone()[0]
        )
        return pages * connection.execute("PRAGMA page_size").fetchone()[0]
