"""How well the check of a cited sentence tells what a passage bears out from what it does not.

    python -m dizuo.evals.supporting --data FOLDER

Claims are made of questions and their answers, as a model would write them: a question's words with the answer at
the end. Borne out: against the passage that answers. Not borne out: with the answer to another question (of a passage
elsewhere), with a number changed, with "not" put in, and against the nearest passage that is not the right one.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dizuo.evals.fitting import wilson
from dizuo.evals.sets import Asked, Collection, cmrc, squad
from dizuo.knowledge.support import check

SEED = 7
_NUMBER = re.compile(r"\d+")
_ASKING = re.compile(
    r"^(?:(?:in|on|at|by|for|of|to|from) )?(?:what|which|who|whom|whose|when|where|why|how(?: many| much| long)?)\b\s*"
    r"(?:is|are|was|were|do|does|did)?\b|\?$|什么时候|什么|哪[里些年个]?|谁|多少|几|为何|怎样|如何|[？?]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Report:
    """How often a kind of claim was found to be supported."""

    scenario: str
    kind: str
    n: int
    supported: int


def measure(collection: Collection, *, every: int = 1, seed: int = SEED) -> Sequence[Report]:
    """A report for each kind of claim."""
    counts: dict[str, list[bool]] = {}
    for kind, claim, text in claims(collection, every=every, seed=seed):
        counts.setdefault(kind, []).append(check(claim, text).supported)
    return [Report(collection.name, kind, len(found), sum(found)) for kind, found in counts.items()]


def claims(collection: Collection, *, every: int = 1, seed: int = SEED) -> Iterator[tuple[str, str, str]]:
    """(kind, claim, passage)."""
    chance = random.Random(seed)  # noqa: S311  # a sample, no secret
    asked = [one for one in collection.questions if one.answers][::every]
    ids = sorted(collection.passages)
    for one in asked:
        text, answer = collection.passages[one.passage], one.answers[0]
        if answer not in text:
            continue  # CMRC has some whose answer is written otherwise than in the passage
        claim = _claim(one, answer)
        yield "borne out", claim, text
        other = chance.choice(asked).answers[0]
        if other not in text:
            yield "another answer", _claim(one, other), text
        if _NUMBER.search(answer):
            changed = _NUMBER.sub(lambda match: str(int(match[0]) + 7), answer, count=1)
            if changed not in text:
                yield "number changed", _claim(one, changed), text
        yield "denied", ("并非" if collection.name == "zh" else "It is not true that ") + claim, text
        article = sorted(collection.article_of(one.passage) - {one.passage}) or [i for i in ids if i != one.passage]
        yield "another passage", claim, collection.passages[chance.choice(article)]


def _claim(asked: Asked, answer: str) -> str:
    return f"{' '.join(_ASKING.sub(' ', asked.text).split())} {answer}."


def _table(reports: Sequence[Report]) -> str:
    lines = [f"{'claims':8}{'kind':18}{'n':>6}{'supported':>11}  95 %"]
    for r in reports:
        low, high = wilson(r.supported, r.n)
        lines.append(f"{r.scenario:8}{r.kind:18}{r.n:6}{r.supported / r.n:11.3f}  {low:.3f}–{high:.3f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.supporting", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets (squad_v2_en, cmrc2018_zh)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth question only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    reports = [r for c in (squad(options.data), cmrc(options.data)) for r in measure(c, every=options.every)]
    print(json.dumps([asdict(r) for r in reports], indent=1) if options.json else _table(reports))


if __name__ == "__main__":
    main(sys.argv[1:])
