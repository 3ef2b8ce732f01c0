"""Counts how rare terms are in general text and writes knowledge/rarity.json.

    python -m dizuo.evals.rarity --data FOLDER

reads parts of Wikipedia, textbooks and technical documentation in FOLDER/text (needs the command zstd). Pieces of the
length of a passage are counted, because that is what is searched: a term's rarity is ln(pieces / pieces that hold it).
"""

import argparse
import json
import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dizuo.knowledge import rarity
from dizuo.knowledge.analyze import terms

# Language: (file, characters read), characters of a piece, least pieces that must hold a term that is listed.
_SOURCES: Mapping[str, tuple[Sequence[tuple[str, int]], int, int]] = {
    "en": (
        (
            ("en-wikipedia-00.train.jsonl.zst", 12_000_000),
            ("en-techdocs-00.train.jsonl.zst", 2_000_000),
            ("en-textbooks-00.train.jsonl.zst", 2_000_000),
        ),
        700,
        4,
    ),
    "zh": ((("zh-wikipedia-00.train.jsonl.zst", 5_000_000), ("zh-textbook-00.train.jsonl.zst", 1_000_000)), 400, 8),
}
_STEP = 0.5  # levels that rarities are rounded to: the file stays small, the answers stay the same
_RAREST = 6.5  # listed; a rarer term counts as unseen
_LONGEST = 20  # characters of a term that is listed
_CHINESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def table(folder: Path) -> Mapping[str, str]:
    """Level of rarity -> its terms, space-separated."""
    levels: dict[str, list[str]] = defaultdict(list)
    for language, (sources, size, least) in _SOURCES.items():
        holding: Counter[str] = Counter()
        n = 0
        for n, piece in enumerate(_pieces(folder, sources, size), start=1):  # noqa: B007
            holding.update(set(terms(piece)))
        for term, count in holding.items():
            level = round(math.log(n / count) / _STEP) * _STEP
            of_language = _CHINESE.search(term) is not None if language == "zh" else term.isascii()
            if of_language and count >= least and level <= _RAREST and len(term) < _LONGEST:
                levels[f"{level:.1f}"].append(term)
    return {level: " ".join(sorted(levels[level])) for level in sorted(levels)}


def _pieces(folder: Path, sources: Sequence[tuple[str, int]], size: int) -> Iterator[str]:
    for name, limit in sources:
        read = 0
        with subprocess.Popen(["zstd", "-dc", "--long=27", str(folder / name)], stdout=subprocess.PIPE) as unpacked:
            assert unpacked.stdout is not None
            for line in unpacked.stdout:
                text = json.loads(line)["text"]
                read += len(text)
                yield from (text[i : i + size] for i in range(0, len(text), size) if len(text) - i > size // 2)
                if read > limit:
                    unpacked.kill()
                    break


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.rarity", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets, with text/ in it")
    options = parser.parse_args(arguments)
    about = {
        "made_by": "python -m dizuo.evals.rarity",
        "data": "counts over parts of English and Chinese Wikipedia (CC BY-SA), open textbooks (CC BY, Apache-2.0), "
        "the Rust book (MIT or Apache-2.0) and the PowerShell documentation (CC BY)",
    }
    content = {"about": about, "terms": table(options.data / "text")}
    Path(rarity.__file__).with_name("rarity.json").write_text(
        json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
