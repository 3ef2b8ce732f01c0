"""Our semantic cache beside GPTCache's, with the same embedder: hits, false hits and the time of a hit.

    .venv/bin/python benchmarks/cache.py                  # ten minutes or so on two cores
    .venv/bin/python benchmarks/cache.py --limit 200

Questions that are labelled with what they ask, from the half of the data that nothing of ours was fitted on (see
src/dizuo/evals/caching_pairs.py), out of the folder that DIZUO_DATA names: GPTCache's own mock pairs, Banking77, and
paraphrases and twins of our own and of authors who had not seen the cache ("again"); English, since the embedder both
have (all-MiniLM-L6-v2) knows no other language. The same texts are kept by both, the same are asked. GPTCache runs as
its documentation shows it (SQLite, faiss, distance of the vectors), with its own class for sentence-transformers; at
its default threshold (0.8), and at three that are chosen for it with the labels at hand: the one with the greatest F1,
and those nearest to our hit rate and to our false-hit rate. Each has a process of its own, and they take turns.
GPTCache is put into `.peers-cache` when it is not there.

Hit rate: right hits among the questions that some kept answer fits. False-hit rate: wrong hits among the hits. Time: of
the hits that were found by what they say, not by how they are written.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import install_peers, ready, start
from dizuo.evals.caching_pairs import Collection, banking, fits, framed, mock
from dizuo.evals.fitting import wilson

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers-cache"
SCRIPTS = ROOT / "benchmarks/peers/cache"
DEFAULT = 0.8  # GPTCache's own
GOAL_FALSE, GOAL_HITS, GOAL_TIME = 0.1, 1.5, 0.5
_TURN = 10  # questions in a row
OURS, THEIRS, BEST = "Dizuo", "GPTCache, default", "GPTCache, greatest F1"
EQUAL_HITS, EQUAL_FALSE = "GPTCache, our hit rate", "GPTCache, our false-hit rate"


@dataclass(frozen=True)
class Asked:
    """How one question went with one cache. `right`: what was found fits. `by_meaning`: no writing told it."""

    answerable: bool
    score: float | None
    right: bool
    by_meaning: bool
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--limit", type=int, default=1000, help="questions kept, and questions asked, of each set")
    parser.add_argument("--threads", type=int, default=1, help="threads for everyone's arithmetic")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    data = Path(os.environ.get("DIZUO_DATA", ""))
    if not (data / "banking77").is_dir():
        sys.exit("The benchmark needs the data sets: set DIZUO_DATA to their folder.")
    install_peers(PEERS, SCRIPTS / "requirements.txt", beside=True)
    sets = [mock(data, "test"), banking(data, "test"), framed("frames", "en", "test"), framed("again", "en", "test")]
    runs: dict[str, dict[str, list[Asked]]] = {"ours": {}, "gptcache": {}}
    for one in sets:
        for name, asked in _run(one, options.limit, options.threads).items():
            runs[name][one.name] = asked
    rows = [_row(name, {who: of[name] for who, of in runs.items()}) for name in runs["ours"]]
    rows.append(_row("all", {who: [one for asked in of.values() for one in asked] for who, of in runs.items()}))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"load {os.getloadavg()[0]:.1f} at the end, on {os.cpu_count()} cores")
    for row in rows:
        _show(row)


def _run(one: Collection, limit: int, threads: int) -> dict[str, list[Asked]]:
    """Every question asked of both, in turns."""
    kept, asked = one.kept[:limit], one.asked[:limit]
    told = json.dumps({"keep": [text.text for text in kept]})
    commands = {"ours": "run_dizuo.py", "gptcache": "run_gptcache.py"}
    contenders = [start(name, threads, [sys.executable, SCRIPTS / script], PEERS) for name, script in commands.items()]
    answerable = {text.text for text in asked if any(fits(text, one) for one in kept)}
    found: dict[str, list[Asked]] = {name: [] for name in commands}
    with ready(contenders):
        for contender in contenders:
            print(f"{one.name}: {contender.name} keeps {len(kept)}", file=sys.stderr)
            contender.ask(told)
        for first in range(0, len(asked), _TURN):
            turn = asked[first : first + _TURN]
            for contender in contenders:
                answers = contender.ask(json.dumps({"ask": [text.text for text in turn]}))["answers"]
                for text, answer in zip(turn, answers, strict=True):
                    right = answer is not None and fits(text, kept[answer[0]])
                    _number, score, by_meaning, seconds = answer or (0, None, False, 0.0)
                    found[contender.name].append(Asked(text.text in answerable, score, right, by_meaning, seconds))
    return found


def _row(name: str, runs: dict[str, list[Asked]]) -> dict[str, Any]:
    """Ours as it ships, GPTCache's at its default and at its best."""
    ours, theirs = _figures(runs["ours"], 0.0), runs["gptcache"]
    every = [_figures(theirs, score) for score in sorted({one.score for one in theirs if one.score is not None})]
    allowed = [one for one in every if one["false_hit_rate"][0] <= ours["false_hit_rate"][0]]
    return {
        "set": name,
        "asked": len(theirs),
        OURS: ours,
        THEIRS: _figures(theirs, DEFAULT),
        BEST: max(every, key=lambda one: one["f1"]),
        EQUAL_HITS: min(every, key=lambda one: abs(one["hit_rate"][0] - ours["hit_rate"][0])),
        EQUAL_FALSE: max(allowed, key=lambda one: one["hit_rate"][0], default=_figures(theirs, 2.0)),
    }


def _figures(asked: Sequence[Asked], threshold: float) -> dict[str, Any]:
    hits = [one for one in asked if one.score is not None and one.score >= threshold]
    wrong = sum(not one.right for one in hits)
    answerable = sum(one.answerable for one in asked)
    right = len(hits) - wrong
    times = [one.seconds for one in hits if one.by_meaning]
    return {
        "threshold": threshold,
        "hits": len(hits),
        "wrong": wrong,
        "hit_rate": (right / answerable if answerable else 0.0, *wilson(right, answerable)),
        "false_hit_rate": (wrong / len(hits) if hits else 0.0, *wilson(wrong, len(hits))),
        "f1": 2 * right / (len(hits) + answerable) if answerable else 0.0,
        "p50_ms": statistics.median(times) * 1000 if times else None,
    }


def _show(row: dict[str, Any]) -> None:
    print(f"\n{row['set']}, {row['asked']} asked")
    for name in (OURS, THEIRS, BEST, EQUAL_HITS, EQUAL_FALSE):
        one = row[name]
        rates = ["{:6.2%} [{:6.2%}, {:6.2%}]".format(*one[rate]) for rate in ("hit_rate", "false_hit_rate")]
        p50 = f"{one['p50_ms']:6.1f} ms" if one["p50_ms"] else "-"
        at = f"{one['threshold']:.3f}" if name != OURS else "shipped"
        print(f"  {name:30}{at:>8}  hits {rates[0]}  wrong {one['wrong']:4} of {one['hits']:4} = {rates[1]}  p50 {p50}")
    ours, alike = row[OURS], row[EQUAL_HITS]
    # Two caches without a false hit show nothing.
    fewer = (
        ours["hits"] > 0 and alike["wrong"] > 0 and ours["false_hit_rate"][0] <= GOAL_FALSE * alike["false_hit_rate"][0]
    )
    more = ours["hits"] > 0 and ours["hit_rate"][0] >= GOAL_HITS * row[EQUAL_FALSE]["hit_rate"][0]
    print(f"  at most {GOAL_FALSE:g} of its false hits at an equal hit rate: {_met(fewer)}")
    print(f"  or at least {GOAL_HITS:g} times its hits at an equal false-hit rate: {_met(more)}")
    if ours["p50_ms"] and row[THEIRS]["p50_ms"]:
        ratio = ours["p50_ms"] / row[THEIRS]["p50_ms"]
        print(f"  a hit in less than {GOAL_TIME:g} of its time: {ratio:.2f}, {_met(ratio < GOAL_TIME)}")


def _met(reached: bool) -> str:
    return "met" if reached else "NOT met"


if __name__ == "__main__":
    main()
