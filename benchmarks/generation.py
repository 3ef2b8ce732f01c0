"""Tokens per second of our engine against transformers' generate and llama.cpp: same machine, weights and prompts.

    .venv/bin/python benchmarks/generation.py                      # about ten minutes on two cores
    .venv/bin/python benchmarks/generation.py --rounds 2 --batches 1 8 --n-tokens 32
    .venv/bin/python benchmarks/generation.py --precision int8     # ours in int8, llama.cpp in Q8_0

The model is a Llama of 30 million random parameters, made here, or a checkpoint folder (`--model`). Every contender
continues the same prompts greedily, as many at once as the batch says, by the same number of tokens; the time is that
of the whole call, prompts included. Each runs in a process of its own that stays loaded, and the contenders take
turns within every round, so that whatever else the machine does meets all of them. "cpu" compares the processor's time
for the same tokens, which says more than the clock where other programs run beside. The peers run with one thread and
with one a core, and the better of the two counts. llama.cpp's environment is made in `.peers-generation` when it is
not there (it is built from source: a few minutes); transformers is that of this environment.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contest import Contender, install_peers, ready, start

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-generation"
SCRIPTS = ROOT / "benchmarks/peers/generation"
SEED = 20261124
OURS = "Dizuo"
# (peer, batch) -> tokens per second, ours against theirs
GOALS = {
    ("transformers", 1): 1.5,
    ("transformers", 8): 3.0,
    ("transformers", 32): 3.0,
    ("llama.cpp", 1): 1.0,
    ("llama.cpp", 8): 1.0,
    ("llama.cpp", 32): 1.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, default=None, help="a Llama checkpoint folder, float32")
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--n-tokens", type=int, default=128, help="tokens that each text is continued by")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, _cores()}), help="what the peers may use")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    install_peers(PEERS, SCRIPTS / "requirements.txt")
    with tempfile.TemporaryDirectory(prefix="dizuo-bench-") as work:
        folder = options.model or _make_model(Path(work, "model"))
        contenders = _start(folder, Path(work), options.precision, options.threads)
        runs: list[dict[str, Any]] = []
        with ready(contenders):
            for batch in options.batches:
                runs += _rounds(contenders, batch, options, json.loads((folder / "config.json").read_text()))
    table = _table(runs)
    if options.json:
        print(json.dumps({"runs": runs, "table": table}, indent=1))
    else:
        _print_table(table, options)


def _make_model(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from dizuo.nn.checkpoint import save_model
    from dizuo.nn.decoder import Decoder, DecoderConfig

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder.with_name("tokenizer.json")))
    torch.manual_seed(SEED)
    config = DecoderConfig("llama", vocab_size=8192, channels=512, layers=8, heads=8, hidden=1408, positions=1024)
    decoder = Decoder(config)
    for weight in decoder.requires_grad_(False).parameters():
        if weight.ndim == 2:
            weight.mul_(3)  # logits far enough apart that everyone's rounding chooses the same tokens
    save_model(decoder, folder, tokenizer=folder.with_name("tokenizer.json"))
    return folder


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(folder: Path, work: Path, precision: str, threads_of_peers: list[int]) -> list[Contender]:
    gguf, ours = work / "model.gguf", folder
    kind = "F32" if precision == "float32" else "Q8_0"
    subprocess.run([PEERS / "bin/python", SCRIPTS / "to_gguf.py", folder, gguf, kind], check=True)
    if precision == "int8":
        from dizuo.nn.int8 import save_int8

        ours = work / "int8"
        save_int8(folder, ours)
    mine = Path(sys.executable)
    chosen = [(OURS, mine, "run_dizuo.py", ours, 1)]
    for threads in threads_of_peers:
        chosen.append(("transformers", mine, "run_transformers.py", folder, threads))
        chosen.append(("llama.cpp", PEERS / "bin/python", "run_llama_cpp.py", gguf, threads))
    return [
        start(name, threads, [python, SCRIPTS / script, model, str(threads)])
        for name, python, script, model, threads in chosen
    ]


def _rounds(
    contenders: list[Contender], batch: int, options: argparse.Namespace, config: dict[str, Any]
) -> list[dict[str, Any]]:
    draw = random.Random(SEED + batch)
    runs: list[dict[str, Any]] = []
    for turn in range(-1, options.rounds):  # the first one warms up and is not counted
        # New prompts in every round: nobody may have kept them.
        prompts = [[draw.randrange(config["vocab_size"]) for _ in range(options.prompt_tokens)] for _ in range(batch)]
        n_tokens = options.n_tokens if turn >= 0 else 4
        texts: dict[str, list[list[int]]] = {}
        for one in contenders[max(turn, 0) % len(contenders) :] + contenders[: max(turn, 0) % len(contenders)]:
            said = one.ask(json.dumps({"prompts": prompts, "n_tokens": n_tokens}))
            texts.setdefault(one.name, said["texts"])
            rate = batch * n_tokens / said["seconds"]
            if turn >= 0:
                run = {"name": one.name, "threads": one.threads, "batch": batch, "round": turn, "tokens_per_s": rate}
                runs.append(run | {"cpu_s": said["cpu_s"]})
                print(f"batch {batch} round {turn + 1}: {one.name} ({one.threads}): {rate:.0f}/s", file=sys.stderr)
        if turn >= 0:
            same = {name: _agreement(texts[OURS], told) for name, told in texts.items() if name != OURS}
            print(f"batch {batch} round {turn + 1}: same tokens as ours: {same}", file=sys.stderr)
    return runs


def _agreement(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Share of tokens before the first that differs: one choice between two equally likely tokens changes the rest."""
    pairs = list(zip(ours, theirs, strict=True))
    alike = sum(next((i for i, (a, b) in enumerate(zip(x, y, strict=False)) if a != b), len(x)) for x, y in pairs)
    return round(alike / sum(len(x) for x, _y in pairs), 3)


def _table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each batch and peer: the medians, and the median of the ratios of each round."""
    table = []
    for batch in sorted({run["batch"] for run in runs}):
        ours = {run["round"]: run["tokens_per_s"] for run in runs if run["batch"] == batch and run["name"] == OURS}
        ours_cpu = {run["round"]: run["cpu_s"] for run in runs if run["batch"] == batch and run["name"] == OURS}
        for peer in sorted({run["name"] for run in runs} - {OURS}):
            best = max(
                ([run for run in runs if (run["batch"], run["name"], run["threads"]) == (batch, peer, threads)]
                 for threads in {run["threads"] for run in runs if run["name"] == peer}),
                key=lambda those: statistics.median(run["tokens_per_s"] for run in those),
            )  # fmt: skip
            ratios = [ours[run["round"]] / run["tokens_per_s"] for run in best]
            cpu = [run["cpu_s"] / ours_cpu[run["round"]] for run in best]
            table.append(
                {
                    "batch": batch,
                    "peer": peer,
                    "threads": best[0]["threads"],
                    "ours": statistics.median(ours.values()),
                    "theirs": statistics.median(run["tokens_per_s"] for run in best),
                    "ratio": statistics.median(ratios),
                    "least": min(ratios),
                    "most": max(ratios),
                    "cpu_ratio": statistics.median(cpu),
                    "goal": GOALS.get((peer, batch)),
                }
            )
    return table


def _print_table(table: list[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"\n{options.precision}, prompts of {options.prompt_tokens}, {options.n_tokens} tokens each, "
          f"{options.rounds} rounds, medians")  # fmt: skip
    print(
        f"{'batch':>5} {'peer':<14}{'threads':>7}{'ours/s':>9}{'theirs/s':>10}{'ratio':>7}  least to most    cpu  goal"
    )
    for row in table:
        goal = "" if row["goal"] is None else f"≥ {row['goal']}: {'met' if row['ratio'] >= row['goal'] else 'missed'}"
        spread = f"{row['least']:.2f} to {row['most']:.2f}"
        print(
            f"{row['batch']:>5} {row['peer']:<14}{row['threads']:>7}{row['ours']:>9.0f}{row['theirs']:>10.0f}"
            f"{row['ratio']:>7.2f}  {spread:<15}{row['cpu_ratio']:>5.2f}  {goal}"
        )


if __name__ == "__main__":
    main()
