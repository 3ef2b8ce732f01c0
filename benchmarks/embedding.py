"""Texts embedded per second by our encoder against sentence-transformers and onnxruntime: same weights and texts.

    .venv/bin/python benchmarks/embedding.py                         # a few minutes on two cores
    .venv/bin/python benchmarks/embedding.py --rounds 2 --limit 100

Texts of 10 to 400 tokens in mixed order: questions, passages and pieces and joins of passages of SQuAD, from the folder
that DIZUO_DATA names. The weights are those of all-MiniLM-L6-v2. Ours runs as it ships (bfloat16 products where the
processor has them, sums in float32) and with float32 products; the peers compute in float32. onnxruntime gets an export
fused by its own optimiser for BERT, and batches sorted by length. Each contender runs in a process of its own that
stays loaded; they take turns within every round, so that whatever else the machine does meets all of them. "cpu" is
the processor's time, which says more than the clock where other programs run beside. The vectors are compared with
those of sentence-transformers. What the export needs (onnx) is put into `.peers-embedding` when it is not there.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contest import Contender, environment, install_peers, ready, start

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-embedding"
SCRIPTS = ROOT / "benchmarks/peers/embedding"
SEED = 20261124
OURS, OURS_FLOAT32 = "Dizuo", "Dizuo float32"
SENTENCE_TRANSFORMERS, ONNXRUNTIME = "sentence-transformers", "onnxruntime"
GOALS = {SENTENCE_TRANSFORMERS: 1.5, ONNXRUNTIME: 1.0}
# Between turns: a library's threads that still spin for work have gone to sleep when the next begins.
PAUSE_S = 0.5
LEAST_TOKENS, MOST_TOKENS = 10, 400
WORD_TOKENS = 1.3  # of English, about


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=600, help="texts")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads for everyone's arithmetic")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    data = Path(os.environ.get("DIZUO_DATA", ""), "squad_v2_en")
    if not data.is_dir():
        sys.exit("The benchmark needs the data sets: set DIZUO_DATA to their folder.")
    if hasattr(os, "sched_setaffinity"):  # ours counts cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    install_peers(PEERS, SCRIPTS / "requirements.txt", beside=True)
    texts = _texts(data, options.limit)
    with tempfile.TemporaryDirectory(prefix="dizuo-bench-") as folder:
        runs = _rounds(texts, Path(folder), options)
    table = [_row(ours, peer, runs) for ours in (OURS, OURS_FLOAT32) for peer in GOALS]
    if options.json:
        print(json.dumps({"runs": runs, "table": table}, indent=1))
        return
    print(f"\n{len(texts)} texts, {options.threads} threads, {options.rounds} rounds, medians")
    for row in table:
        met = "met" if row["ratio"] >= row["goal"] else "missed"
        print(
            f"{row['name']:<14} {row['ours']:>6.0f}/s, {row['peer']:<22}{row['theirs']:>6.0f}/s, ratio "
            f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f}), cpu {row['cpu_ratio']:.2f}, least cosine "
            f"{row['least_cosine']:.5f}, goal ≥ {row['goal']:g}: {met}"
        )


def _texts(data: Path, count: int) -> list[str]:
    """A third questions, the rest pieces of running text of every length up to the most tokens."""
    draw = random.Random(SEED)
    questions = [row["question"] for row in _rows(data / "dev.jsonl.gz")]
    words = " ".join(row["text"] for row in _rows(data / "passages.jsonl.gz")).split()
    chosen = draw.sample(questions, count // 3)
    while len(chosen) < count:
        length = round(draw.randint(LEAST_TOKENS, MOST_TOKENS) / WORD_TOKENS)
        start = draw.randrange(len(words) - length)
        chosen.append(" ".join(words[start : start + length]))
    draw.shuffle(chosen)
    return chosen


def _rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _rounds(texts: Sequence[str], folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    import numpy as np

    model = folder / "model.onnx"
    export = subprocess.run(
        [sys.executable, SCRIPTS / "to_onnx.py", model],
        env=environment(options.threads, PEERS),
        capture_output=True,
        text=True,
        check=False,
    )
    if export.returncode != 0:
        sys.exit(f"The export to ONNX failed:\n{export.stderr[-3000:]}")
    scripts = {
        OURS: ["run_dizuo.py", "auto"],
        OURS_FLOAT32: ["run_dizuo.py", "float32"],
        SENTENCE_TRANSFORMERS: ["run_sentence_transformers.py"],
        ONNXRUNTIME: ["run_onnxruntime.py", str(model), str(options.threads)],
    }
    contenders = [
        start(name, options.threads, [sys.executable, SCRIPTS / script, *arguments], PEERS)
        for name, (script, *arguments) in scripts.items()
    ]
    runs: list[dict[str, Any]] = []
    with ready(contenders):
        vectors: dict[str, Any] = {}
        for one in contenders:
            _embed(one, texts[:64], folder / "vectors.npy")  # the first call of everyone is slower
        for turn in range(options.rounds):
            for one in contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]:
                time.sleep(PAUSE_S)
                said = _embed(one, texts, folder / "vectors.npy")
                vectors[one.name] = np.load(folder / "vectors.npy")
                run = {"name": one.name, "round": turn, "texts_per_s": len(texts) / said["seconds"]}
                runs.append(run | {"cpu_s": said["cpu_s"]})
                print(f"round {turn + 1}: {one.name} {run['texts_per_s']:.0f}/s, cpu {said['cpu_s']:.2f} s",
                      file=sys.stderr)  # fmt: skip
        for run in runs:
            cosines = (vectors[run["name"]] * vectors[SENTENCE_TRANSFORMERS]).sum(axis=1)
            run["least_cosine"] = float(cosines.min())
    return runs


def _embed(contender: Contender, texts: Sequence[str], file: Path) -> dict[str, Any]:
    """Vectors into a file; what the worker says: {"seconds", "cpu_s"}."""
    return contender.ask(json.dumps({"texts": texts, "file": str(file)}))


def _row(name: str, peer: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians, and the median of the ratios of each round."""
    by_round = [
        sorted((run for run in runs if run["name"] == who), key=lambda run: run["round"]) for who in (name, peer)
    ]
    ours, theirs = by_round
    ratios = [a["texts_per_s"] / b["texts_per_s"] for a, b in zip(ours, theirs, strict=True)]
    return {
        "name": name,
        "peer": peer,
        "ours": statistics.median(run["texts_per_s"] for run in ours),
        "theirs": statistics.median(run["texts_per_s"] for run in theirs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "cpu_ratio": statistics.median(b["cpu_s"] / a["cpu_s"] for a, b in zip(ours, theirs, strict=True)),
        "least_cosine": ours[0]["least_cosine"],
        "goal": GOALS[peer],
    }


if __name__ == "__main__":
    main()
