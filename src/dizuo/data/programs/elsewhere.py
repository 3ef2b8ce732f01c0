"""People's questions asked of passages that do not answer them, as where a search finds the right one missing.

A set's questions without an answer were written to look as if their passage answered; these are the commoner kind.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WORD = re.compile(r"[a-z\d]{3,}|[\u4e00-\u9fff](?=[\u4e00-\u9fff])", re.IGNORECASE)


def rows(asked: Sequence[Mapping[str, Any]], most: int) -> Iterator[dict[str, Any]]:
    """Reading rows: each answerable question with up to `most` other passages of `asked`, those first that share most
    of its words (Chinese: pairs of characters; rare ones count more), and none that holds an answer."""
    passages = list(dict.fromkeys(str(row["passage"]) for row in asked))
    words = [_words(passage) for passage in passages]
    held_by = Counter(word for held in words for word in held)
    for row in asked:
        if not row["answers"]:
            continue
        wanted = _words(row["question"])
        shared = [sum(math.log(len(passages) / held_by[word]) for word in wanted & held) for held in words]
        near = sorted(range(len(passages)), key=lambda n, shared=shared: -shared[n])
        answers = [str(answer["text"]).lower() for answer in row["answers"]]
        silent = (n for n in near if not any(answer in passages[n].lower() for answer in answers))
        for place, n in zip(range(most), silent, strict=False):
            yield {
                "id": f"{row['id']}:{place}",
                "lang": row["lang"],
                "title": row.get("title", ""),
                "passage": passages[n],
                "question": row["question"],
                "answers": [],
                "is_impossible": True,
            }


def _words(text: str) -> set[str]:
    return {text[m.start() : m.end() + (not m[0].isascii())].lower() for m in _WORD.finditer(text)}
