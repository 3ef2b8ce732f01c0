"""Training tokens per second of our loop against transformers' Trainer: same machine, weights, batches and precision.

    .venv/bin/python benchmarks/training.py                          # a few minutes on two cores
    .venv/bin/python benchmarks/training.py --rounds 2 --accumulate 2 --precision bfloat16

The model is the Llama of the recipe `starter` with random weights, made here; both load the same checkpoint folder,
see the same rows in the same order, and step with AdamW at the same learning rate. Each runs in a process of its own
that stays loaded and waits between steps; they take turns, a few steps each, in an order that turns from round to
round, so that whatever else the machine does meets both. Loading, data preparation and the first steps are not timed;
the Trainer logs and saves nothing, ours writes its line of metrics as always. "cpu" is the processor's time, which
says more than the clock where other programs run beside. The losses of both are compared step by step. What the
Trainer needs beside this environment (accelerate) is put into `.peers-training` when it is not there.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from contest import Contender, install_peers, ready, start

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-training"
SCRIPTS = ROOT / "benchmarks/peers/training"
SEED = 20261124
OURS, PEER = "Dizuo", "Trainer"
GOAL = 1.3
WARM_UP = 2  # steps
# Between turns: a library's threads that still spin for work have gone to sleep when the other begins.
PAUSE_S = 0.5
# Relative. Sums in another order, and in bfloat16 roundings at other places, are all that may differ.
SAME_LOSS = {"float32": 1e-4, "bfloat16": 3e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--precision", nargs="+", choices=list(SAME_LOSS), default=list(SAME_LOSS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="optimizer steps of a turn")
    parser.add_argument("--batch", type=int, default=4, help="rows of a micro-batch")
    parser.add_argument("--accumulate", type=int, default=8, help="micro-batches of a step")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads for either's arithmetic")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    install_peers(PEERS, SCRIPTS / "requirements.txt", beside=True)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="dizuo-bench-") as work:
        model = _make_model(Path(work, "model"), options.length)
        for precision in options.precision:
            runs += _rounds(precision, model, Path(work), options)
    table = [_row(precision, [run for run in runs if run["precision"] == precision]) for precision in options.precision]
    if options.json:
        print(json.dumps({"runs": runs, "table": table}, indent=1))
        return
    print(f"\nbatch {options.batch} x {options.length} tokens x {options.accumulate}, {options.threads} threads, "
          f"{options.rounds} rounds, medians")  # fmt: skip
    for row in table:
        met = "met" if row["ratio"] >= GOAL else "missed"
        print(
            f"{row['precision']:<9} {OURS} {row['ours']:.0f}/s, {PEER} {row['theirs']:.0f}/s, ratio {row['ratio']:.2f} "
            f"({row['least']:.2f} to {row['most']:.2f}), cpu {row['cpu_ratio']:.2f}, goal ≥ {GOAL}: {met}; "
            f"losses differ by at most {row['loss_difference']:.1e}"
        )


def _make_model(folder: Path, length: int) -> Path:
    import torch

    from dizuo.nn.checkpoint import save_model
    from dizuo.nn.decoder import Decoder, DecoderConfig
    from dizuo.train.recipe import load_recipe

    recipe = load_recipe("starter")
    sizes = recipe.model
    assert sizes.family == "llama"
    assert sizes.hidden is not None
    torch.manual_seed(SEED)
    config = DecoderConfig(
        "llama",
        vocab_size=recipe.options["vocab_size"],
        channels=sizes.channels,
        layers=sizes.layers,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        hidden=sizes.hidden,
        positions=length,
        tied=sizes.tied,
    )
    save_model(Decoder(config), folder)
    return folder


def _rounds(precision: str, model: Path, work: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    task = {
        "model": str(model),
        "precision": precision,
        "length": options.length,
        "batch": options.batch,
        "accumulate": options.accumulate,
        "steps": WARM_UP + options.rounds * options.steps + 1,  # the last one is never taken: it would save
        "lr": 1e-3,
        "betas": (0.9, 0.95),
        "weight_decay": 0.1,
        "clip": 1.0,
        "seed": SEED,
    }
    file = work / f"{precision}.json"
    file.write_text(json.dumps(task), "utf-8")
    contenders = [
        start(name, options.threads, [sys.executable, SCRIPTS / script, file], PEERS)
        for name, script in ((OURS, "run_dizuo.py"), (PEER, "run_trainer.py"))
    ]
    tokens = options.steps * options.accumulate * options.batch * options.length
    runs: list[dict[str, Any]] = []
    with ready(contenders):
        warm = {one.name: _step(one, WARM_UP)["losses"] for one in contenders}
        _compare(precision, warm)
        for turn in range(options.rounds):
            said: dict[str, dict[str, Any]] = {}
            for one in contenders if turn % 2 else contenders[::-1]:
                time.sleep(PAUSE_S)
                said[one.name] = _step(one, options.steps)
            apart = _compare(precision, {name: one["losses"] for name, one in said.items()})
            for name, one in said.items():
                run = {"name": name, "precision": precision, "round": turn, "tokens_per_s": tokens / one["seconds"]}
                runs.append(run | {"cpu_s": one["cpu_s"], "loss": one["losses"][-1], "loss_difference": apart})
                print(f"{precision} round {turn + 1}: {name} {run['tokens_per_s']:.0f}/s, cpu {one['cpu_s']:.2f} s, "
                      f"loss {one['losses'][-1]:.5f}", file=sys.stderr)  # fmt: skip
    return runs


def _step(contender: Contender, steps: int) -> dict[str, Any]:
    """Trains so many steps; what the worker says: {"seconds", "cpu_s", "losses"}."""
    return contender.ask(str(steps))


def _compare(precision: str, losses: dict[str, list[float]]) -> float:
    """The largest relative difference of any step so far. Ends the benchmark when it is not the same work."""
    apart = max(abs(a - b) / b for a, b in zip(losses[OURS], losses[PEER], strict=True))
    if apart > SAME_LOSS[precision]:
        sys.exit(f"Not the same training in {precision}: losses {losses}")
    return apart


def _row(precision: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians, and the median of the ratios of each round."""
    ours, theirs = ([run for run in runs if run["name"] == name] for name in (OURS, PEER))
    ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(ours, theirs, strict=True)]
    return {
        "precision": precision,
        "ours": statistics.median(run["tokens_per_s"] for run in ours),
        "theirs": statistics.median(run["tokens_per_s"] for run in theirs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "cpu_ratio": statistics.median(b["cpu_s"] / a["cpu_s"] for a, b in zip(ours, theirs, strict=True)),
        "loss_difference": max(run["loss_difference"] for run in runs),
        "goal": GOAL,
    }


if __name__ == "__main__":
    main()
