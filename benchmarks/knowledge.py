"""Ours against LangChain + Chroma and LlamaIndex: same machine, same passages, same questions, same weights.

    make bench                                        # the whole of it, about ten minutes on two cores
    .venv/bin/python benchmarks/knowledge.py --limit 100 --rounds 1

Passages and questions are SQuAD (English) and CMRC (Chinese) from the folder that DIZUO_DATA names, both in one
collection. Each contender runs in a process of its own, one after another, in an order that turns from round to
round. Loading model and libraries is not timed, for anyone; its memory counts. The peers' environment is made in
`.peers` when it is not there (a few minutes and 2 GB).
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
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contest import environment, install_peers

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers"
SCRIPTS = ROOT / "benchmarks/peers"
TOP = 5
SEED = 20261124
QUESTIONS = 250  # of each language; more would change recall by less than a point
OURS = "Dizuo"
CONTENDERS = {
    OURS: "run_dizuo.py",
    "LangChain + Chroma": "run_langchain.py",
    "LlamaIndex": "run_llama_index.py",
}


@dataclass(frozen=True)
class Run:
    """One contender in one round."""

    contender: str
    passages_per_s: float
    query_p50_ms: float
    query_p50_en_ms: float
    query_p50_zh_ms: float
    query_p95_ms: float
    peak_mb: float
    recall_en: float
    recall_zh: float
    load_s: float


@dataclass(frozen=True)
class Goal:
    """What a measure should reach beside the better of the peers."""

    measure: str
    says: str
    more_is_better: bool
    ratio: float  # ours / the better peer: at least this, or at most


GOALS = (
    Goal("recall_en", "recall@5 English", True, 1.0),
    Goal("recall_zh", "recall@5 Chinese", True, 1.0),
    Goal("passages_per_s", "passages indexed per second", True, 1.5),
    Goal("query_p50_ms", "query p50, ms", False, 0.5),
    Goal("query_p50_en_ms", "query p50 English, ms", False, 0.5),
    Goal("query_p50_zh_ms", "query p50 Chinese, ms", False, 0.5),
    Goal("query_p95_ms", "query p95, ms", False, 1.0),
    Goal("peak_mb", "peak memory, MB", False, 1.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=2, help="how often each contender runs")
    parser.add_argument("--limit", type=int, default=None, help="passages of each language; all when left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads for everyone's arithmetic")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    data = os.environ.get("DIZUO_DATA", "")
    if not Path(data, "squad_v2_en").is_dir():
        sys.exit("The benchmark needs the data sets: set DIZUO_DATA to their folder.")
    install_peers(PEERS, SCRIPTS / "requirements.txt")
    if hasattr(os, "sched_setaffinity"):  # a library that counts cores rather than heeding a variable gets as many
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    with tempfile.TemporaryDirectory(prefix="dizuo-bench-") as folder:
        task = _prepare(Path(data), Path(folder), options.limit)
        runs = []
        for turn in range(options.rounds):
            names = list(CONTENDERS)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                runs.append(_run(name, task, Path(folder, f"{turn}-{CONTENDERS[name]}"), options.threads))
                print(f"round {turn + 1}: {_line(runs[-1])}", file=sys.stderr)
    table = _table(runs)
    if options.json:
        print(json.dumps({"runs": [asdict(run) for run in runs], "table": table}, indent=1))
    else:
        passages = len(list(task["files"]))
        print(f"\n{passages} passages, {len(task['questions'])} questions, {options.rounds} rounds, medians")
        _print_table(table)


# --- the task -------------------------------------------------------------------------------------------------


def _prepare(data: Path, folder: Path, limit: int | None) -> dict[str, Any]:
    """Writes each passage as a text file and picks the questions, the same for everyone."""
    chosen = random.Random(SEED)
    files: list[str] = []
    questions: list[dict[str, str]] = []
    (folder / "passages").mkdir()
    for language, dataset in (("en", "squad_v2_en"), ("zh", "cmrc2018_zh")):
        passages = _rows(data / dataset / "passages.jsonl.gz")[:limit]
        names = {row["passage_id"]: f"{language}-{row['passage_id']}.txt" for row in passages}
        for row in passages:
            (folder / "passages" / names[row["passage_id"]]).write_text(row["text"], "utf-8")
        files += names.values()
        answerable = [
            {"question": row["question"], "file": names[row["passage_id"]]}
            for row in _rows(data / dataset / "dev.jsonl.gz")
            if row["passage_id"] in names and not row["is_impossible"]
        ]
        questions += chosen.sample(answerable, min(QUESTIONS, len(answerable)))
    chosen.shuffle(questions)
    return {"folder": str(folder / "passages"), "files": files, "questions": questions, "limit": TOP}


def _rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# --- running --------------------------------------------------------------------------------------------------


def _run(name: str, task: dict[str, Any], store: Path, threads: int) -> Run:
    """One contender from start to end in a process of its own."""
    store.mkdir()
    file = store / "task.json"
    file.write_text(json.dumps({**task, "store": str(store)}), "utf-8")
    python = Path(sys.executable) if name == OURS else PEERS / "bin/python"
    process = subprocess.Popen(
        [python, SCRIPTS / CONTENDERS[name], file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(threads),
    )
    memory = _Memory(process.pid)
    said, complaint = process.communicate()
    peak_bytes = memory.stop()
    if process.returncode != 0 or not said.strip():
        sys.exit(f"{name} failed ({process.returncode}):\n{complaint[-3000:]}")
    result = json.loads(said.strip().splitlines()[-1])
    milliseconds = [seconds * 1000 for seconds in result["query_s"]]

    def of(language: str, values: Sequence[float]) -> list[float]:
        return [v for asked, v in zip(task["questions"], values, strict=True) if asked["file"].startswith(language)]

    return Run(
        contender=name,
        passages_per_s=len(task["files"]) / result["index_s"],
        query_p50_ms=statistics.median(milliseconds),
        query_p50_en_ms=statistics.median(of("en-", milliseconds)),
        query_p50_zh_ms=statistics.median(of("zh-", milliseconds)),
        query_p95_ms=statistics.quantiles(milliseconds, n=20)[-1],
        peak_mb=peak_bytes / 1e6,
        recall_en=statistics.mean(of("en-", result["found"])),
        recall_zh=statistics.mean(of("zh-", result["found"])),
        load_s=result["load_s"],
    )


class _Memory:
    """The most memory that a process and its children held together, looked at twenty times a second.

    The sum of resident sizes: pages shared by parent and child count twice, to the disadvantage of whoever has one.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak_bytes = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak_bytes

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            self._peak_bytes = max(self._peak_bytes, sum(map(_resident_bytes, _family(self._pid))))


def _family(pid: int) -> list[int]:
    members = [pid]
    for member in members:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                members += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has just ended
    return members


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


# --- the table ------------------------------------------------------------------------------------------------


def _table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each measure everyone's median over the rounds, and ours beside the better peer's."""
    rows = []
    for goal in GOALS:
        medians = {
            name: statistics.median(getattr(run, goal.measure) for run in runs if run.contender == name)
            for name in CONTENDERS
        }
        peers = [value for name, value in medians.items() if name != OURS]
        best = max(peers) if goal.more_is_better else min(peers)
        ratio = medians[OURS] / best
        if goal.ratio == 1.0:  # "above", "below"
            met = ratio > 1 if goal.more_is_better else ratio < 1
        else:
            met = ratio >= goal.ratio if goal.more_is_better else ratio <= goal.ratio
        sign = (">" if goal.more_is_better else "<") if goal.ratio == 1.0 else ("≥" if goal.more_is_better else "≤")
        rows.append({"measure": goal.says, **medians, "ratio": ratio, "goal": f"{sign} {goal.ratio:g}", "met": met})
    return rows


def _print_table(table: Sequence[dict[str, Any]]) -> None:
    names = list(CONTENDERS)
    print(f"\n{'':28}" + "".join(f"{name:>20}" for name in [*names, "ours / best peer", "goal", "met"]))
    for row in table:
        figures = "".join(f"{_figure(row[name]):>20}" for name in names)
        print(f"{row['measure']:28}{figures}{row['ratio']:>20.2f}{row['goal']:>20}{'yes' if row['met'] else 'NO':>20}")


def _figure(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.1f}"


def _line(run: Run) -> str:
    return (
        f"{run.contender}: {run.passages_per_s:.1f} passages/s, p50 {run.query_p50_ms:.1f} ms, "
        f"p95 {run.query_p95_ms:.1f} ms, {run.peak_mb:.0f} MB, recall@5 {run.recall_en:.3f} en {run.recall_zh:.3f} zh"
    )


if __name__ == "__main__":
    started_s = time.monotonic()
    main()
    print(f"took {time.monotonic() - started_s:.0f} s", file=sys.stderr)
