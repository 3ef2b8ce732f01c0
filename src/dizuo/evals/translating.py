"""How well a translator translates: BLEU by sacrebleu (Post 2018), greedy and with beams.

    python -m dizuo.evals.translating --data FOLDER --translator FOLDER [--target zh] [--beams 4]

The set is the `test` split of Tatoeba; one sentence may have several references there, and each hypothesis is compared
with all of its own. Beside it, to see what the number is worth: the source copied, and the training pair whose source
shares the most words.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_WORD = re.compile(r"[a-z']+|\d+")
Translate = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Bleu:
    """The score with its signature, and how long it took."""

    subject: str
    n: int
    bleu: float
    signature: str
    seconds: float


def measure(name: str, rows: Sequence[Mapping[str, str]], source: str, target: str, translate: Translate) -> Bleu:
    """BLEU of the translations of every distinct source sentence against all of its references."""
    from sacrebleu.metrics.bleu import BLEU

    references: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        references[row[source]].append(row[target])
    sources = list(references)
    most = max(map(len, references.values()))
    begun = time.perf_counter()
    said = list(translate(sources))
    took = time.perf_counter() - begun
    metric = BLEU(tokenize="zh" if target == "zh" else "13a")
    # sacrebleu takes the n-th reference of every sentence together; where there is none it is an empty one to ignore.
    columns: list[Any] = [[one[n] if n < len(one) else None for one in references.values()] for n in range(most)]
    result = metric.corpus_score(said, columns)
    return Bleu(name, len(sources), round(result.score, 2), str(metric.get_signature()), round(took, 1))


def nearest_pair(rows: Sequence[Mapping[str, str]], source: str, target: str) -> Translate:
    """Translates by the training pair whose source has the most words in common, rare ones counting more."""
    known = [frozenset(_WORD.findall(row[source].lower())) for row in rows]
    often = Counter(word for words in known for word in words)
    holders: dict[str, list[int]] = defaultdict(list)
    for n, words in enumerate(known):
        for word in words:
            holders[word].append(n)

    def translate(texts: Sequence[str]) -> Sequence[str]:
        said = []
        for text in texts:
            words = frozenset(_WORD.findall(text.lower()))
            scores: Counter[int] = Counter()
            for word in words:
                if often[word] <= 2_000:  # what nearly every sentence holds says nothing
                    for n in holders[word]:
                        scores[n] += 1 / often[word] ** 0.5  # type: ignore[assignment]
            best = max(scores, key=lambda n: (scores[n], -len(known[n])), default=0)
            said.append(rows[best][target])
        return said

    return translate


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from dizuo.data.sources import read
    from dizuo.inference.translate import Translator

    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.translating", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--translator", type=Path, required=True, help="folder of the model")
    parser.add_argument("--target", choices=("zh", "de"), default="zh")
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    name = f"translation/tatoeba-en-{options.target}"
    train, test = (list(read(name, split, options.data)) for split in ("train", "test"))
    translator = Translator(options.translator)
    subjects: dict[str, Translate] = {
        "source copied": list,
        "nearest pair": nearest_pair(train, "en", options.target),
        "greedy": translator.translate,
        f"beam {options.beams}": lambda texts: translator.translate(texts, beams=options.beams),
    }
    scores = [measure(subject, test, "en", options.target, done) for subject, done in subjects.items()]
    if options.json:
        print(json.dumps([asdict(one) for one in scores], indent=1))
        return
    for one in scores:
        print(f"{one.subject:16}{one.n:6}{one.bleu:8.2f}{one.seconds:8.1f} s")
    print(scores[-1].signature)


if __name__ == "__main__":
    main(sys.argv[1:])
