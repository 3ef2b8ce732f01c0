"""The public sets of questions and passages that answers are measured on."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A question about a passage. `answers` are stretches of the passage; none: the passage does not answer."""

    text: str
    passage: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """Passages and what is asked about them."""

    name: str
    passages: Mapping[str, str]  # id -> text
    titles: Mapping[str, str]  # id -> title of its article
    questions: Sequence[Asked]

    @property
    def has_articles(self) -> bool:
        """Whether articles are cut into several passages, so that the others stay about the same thing."""
        return len(self.titles) > 2 * len(set(self.titles.values()))

    def article_of(self, passage: str) -> frozenset[str]:
        """Every passage of the article that a passage is from, itself included."""
        title = self.titles[passage]
        return frozenset(one for one, of in self.titles.items() if of == title)


def squad(folder: Path) -> Collection:
    """SQuAD 2.0 (Rajpurkar et al., 2018): half of the development set, English."""
    return _collection("en", folder / "squad_v2_en", ("dev",))


def cmrc(folder: Path) -> Collection:
    """CMRC 2018 (Cui et al., 2019): development and trial set, Chinese. It has no unanswerable questions."""
    return _collection("zh", folder / "cmrc2018_zh", ("dev", "trial"))


def _collection(name: str, folder: Path, parts: Sequence[str]) -> Collection:
    passages = list(rows_of(folder / "passages.jsonl.gz"))
    return Collection(
        name=name,
        passages={row["passage_id"]: row["text"] for row in passages},
        titles={row["passage_id"]: row["title"] for row in passages},
        questions=[
            Asked(row["question"], row["passage_id"], tuple(answer["text"] for answer in row["answers"]))
            for part in parts
            for row in rows_of(folder / f"{part}.jsonl.gz")
            if row["question"].strip()  # CMRC has two without a word
        ],
    )


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl.gz, a line each. Raises OSError where it is not there."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
