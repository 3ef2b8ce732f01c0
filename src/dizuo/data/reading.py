"""Sets of passages with questions, split by passage.

The public sets are development sets with one split. Here the passages, ordered by id and shuffled by one seed, are cut
in half: the second half is `test`, on which figures are reported (evals/answering.py measures on the same half), and of
the first a tenth is `validation` and the rest `train`. No passage is in two of these. `fold-0` and `fold-1` are the
first half once more, in two: a reader of the one has not seen the other, on which the use of its scores can be fitted.
"""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dizuo.core.errors import UserError
from dizuo.data.sources import read

SEED = 7
SPLITS = ("train", "validation", "test", "fold-0", "fold-1")
# Files of questions by set.
PARTS: Mapping[str, tuple[str, ...]] = {"squad_v2_en": ("dev",), "cmrc2018_zh": ("dev", "trial")}


def split_passages(ids: list[str]) -> dict[str, frozenset[str]]:
    """Passage ids by split."""
    order = sorted(ids)
    random.Random(SEED).shuffle(order)  # noqa: S311  # a split, no secret
    fitting, test = order[: len(order) // 2], order[len(order) // 2 :]
    first = len(fitting) - len(fitting) // 10
    return {
        "train": frozenset(fitting[:first]),
        "validation": frozenset(fitting[first:]),
        "test": frozenset(test),
        "fold-0": frozenset(fitting[0::2]),
        "fold-1": frozenset(fitting[1::2]),
    }


def read_reading(name: str, split: str, data: Path | None) -> Iterator[dict[str, Any]]:
    """Rows with `passage`, `question`, `answers` (text, answer_start), `is_impossible`, `id`, `title`, `passage_id`.

    An answer that does not stand where the row says is looked for in the passage (cmrc2018_zh has wrong offsets); a
    row of which none is found is left out. Raises UserError for an unknown split.
    """
    if split not in SPLITS:
        raise UserError("The set {name} has no split {split!r}; it has {known}.", name=name, split=split,
                        known=", ".join(SPLITS))  # fmt: skip
    passages = {row["passage_id"]: row["text"] for row in read(name, "passages", data)}
    wanted = split_passages(list(passages))[split]
    for part in PARTS[name]:
        for row in read(name, part, data):
            if row["passage_id"] not in wanted or not row["question"].strip():
                continue
            passage = passages[row["passage_id"]]
            answers = [found for answer in row["answers"] if (found := _located(answer, passage))]
            if answers or not row["answers"]:
                yield {**row, "passage": passage, "answers": answers, "is_impossible": not answers}


def _located(answer: Mapping[str, Any], passage: str) -> dict[str, Any] | None:
    text, start = str(answer["text"]), int(answer["answer_start"])
    if passage[start : start + len(text)] != text:
        start = passage.find(text)
    return {"text": text, "answer_start": start} if start >= 0 else None
