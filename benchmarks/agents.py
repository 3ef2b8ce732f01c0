"""What durability costs an agent: ours beside LangGraph with its SQLite checkpointer and pydantic-ai, which keeps none.

    .venv/bin/python benchmarks/agents.py

The same scripted model, which takes no time, and the same tool. A step is a call of the model or of the tool. They take
turns within every round, so that whatever else the machine does meets all of them. Storage is what the database grew
by; "resume" is to read a run back so that it could go on. LangGraph keeps a step before the next begins ("sync", as
ours) or beside it ("async", its default). The peers' environment is made in `.peers-agents` when it is not there.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from contest import install_peers, ready, start
from startup import machine

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-agents"
SCRIPTS = ROOT / "benchmarks/peers/agents"
OURS, SYNC, ASYNC, BARE = "Dizuo", "LangGraph, sync", "LangGraph, async", "pydantic-ai, not durable"
LEAST_STEPS, MOST_STORAGE = 2.0, 0.2  # of LangGraph's


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, nargs="+", default=[25, 50, 100], help="50 turns are 100 steps")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    install_peers(PEERS, SCRIPTS / "requirements.txt")
    python = PEERS / "bin/python"
    contenders = [
        start(OURS, 1, [sys.executable, SCRIPTS / "run_dizuo.py"]),
        start(SYNC, 1, [python, SCRIPTS / "run_langgraph.py", "sync"]),
        start(ASYNC, 1, [python, SCRIPTS / "run_langgraph.py", "async"]),
        start(BARE, 1, [python, SCRIPTS / "run_pydantic_ai.py"]),
    ]
    runs: list[dict[str, Any]] = []
    with ready(contenders):
        for one in contenders:  # imports and pools are there before it counts
            one.ask(json.dumps({"turns": 5}))
        for turn in range(options.rounds):
            for turns in options.turns:
                for one in contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]:
                    said = one.ask(json.dumps({"turns": turns}))
                    runs.append({"name": one.name, "steps": 2 * turns, **said})
    rows = [
        _row(name, 2 * turns, [one for one in runs if one["name"] == name and one["steps"] == 2 * turns])
        for turns in options.turns
        for name in (OURS, SYNC, ASYNC, BARE)
    ]
    if options.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=1))
        return
    print(f"\n{machine()}\n{options.rounds} rounds, medians\n")
    print(f"{'steps':>5}  {'':26}{'steps/s':>9}{'bytes/step':>12}{'resume, ms':>12}")
    for row in rows:
        print(
            f"{row['steps']:5}  {row['name']:26}{row['per_s']:9.0f}{row['bytes'] / row['steps']:12.0f}"
            f"{row['resume_ms']:12.2f}"
        )
    print()
    _goals({(row["name"], row["steps"]): row for row in rows}, 100 if 50 in options.turns else 2 * options.turns[-1])


def _row(name: str, steps: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "steps": steps,
        "per_s": steps / statistics.median(one["seconds"] for one in runs),
        "bytes": statistics.median(one["bytes"] for one in runs),
        "resume_ms": statistics.median(one["resume_s"] for one in runs) * 1000,
    }


def _goals(rows: dict[tuple[str, int], dict[str, Any]], steps: int) -> None:
    ours = rows[OURS, steps]
    for peer in (SYNC, ASYNC):
        theirs = rows[peer, steps]
        faster = ours["per_s"] / theirs["per_s"]
        smaller = ours["bytes"] / theirs["bytes"]
        print(f"steps per second, of {peer}: {faster:.2f} (goal {LEAST_STEPS}): {_met(faster >= LEAST_STEPS)}")
        print(
            f"storage at {steps} steps, of {peer}: {smaller:.3f} (goal {MOST_STORAGE}): {_met(smaller <= MOST_STORAGE)}"
        )
        print(f"time to resume, of {peer}: {ours['resume_ms'] / theirs['resume_ms']:.2f}")


def _met(met: bool) -> str:
    return "met" if met else "NOT met"


if __name__ == "__main__":
    main()
