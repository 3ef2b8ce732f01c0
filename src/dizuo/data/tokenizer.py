"""Byte-level BPE: trained on the bilingual text, and measured before anything is trained with it.

Sennrich et al. 2016 (arXiv:1508.07909) over bytes, as in GPT-2 (Radford et al. 2019, section 2.2): every string can be
encoded, and decoding gives it back exactly, because nothing is normalised.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dizuo.core.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENDOFTEXT = "<|endoftext|>"
PAD = "<|pad|>"
_NAMED = (
    ENDOFTEXT, PAD, "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|mask|>", "<|cls|>", "<|sep|>",
)  # fmt: skip
# Reserved entries serve later stages (sentinels of span corruption, marks of a new chat format) without new embeddings.
SPECIALS: tuple[str, ...] = (*_NAMED, *(f"<|reserved_{n}|>" for n in range(64 - len(_NAMED))))
# Kept when a decoder skips special tokens: they are what a client parses.
_VISIBLE = {"<tool_call>", "</tool_call>"}

# Where a merge may never reach across. As GPT-4's and Qwen's pattern, with two differences. A run of Chinese
# characters stands alone: the mark before it ("，中国") is no part of a word. Digits stand alone, as in Llama: numbers
# then cost what they are long, and a small model meets each digit everywhere.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)(?![\p{L}])"
    r"|\p{Han}+"
    r"|[^\r\n\p{L}\p{N}]?[[\p{L}\p{M}]&&[^\p{Han}]]+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# No entry is longer, in bytes: without a limit, rules of dashes and blanks of 60 characters take entries.
_LONGEST_ENTRY = 24


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    """A byte-level BPE of exactly that many entries, `SPECIALS` first, if the text has so many pairs that recur.

    Repeats: the same texts give the same entries. Raises UserError when the vocabulary has no room for the bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    smallest = len(SPECIALS) + 256
    if vocab_size < smallest:
        raise UserError(
            "A vocabulary of {size} has no room for the {smallest} bytes and special tokens. Ask for more.",
            size=vocab_size,
            smallest=smallest,
        )
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLIT), "isolated"), byte_level])  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=_LONGEST_ENTRY,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    described = json.loads(tokenizer.to_str())
    for added in described["added_tokens"]:
        added["special"] = added["content"] not in _VISIBLE
    return Tokenizer.from_str(json.dumps(described))


def with_characters(tokenizer: "Tokenizer", texts: Iterable[str], most: int) -> "Tokenizer":
    """A copy of a WordPiece that knows up to `most` characters more, behind all it knew: those of the texts that it
    reads as unknown and that stand as words by themselves (Chinese characters, marks), the most frequent first.

    Devlin et al.'s multilingual vocabulary treats Chinese so: each character is a token.
    Raises UserError for a tokenizer of another kind.
    """
    from tokenizers import Tokenizer

    described = json.loads(tokenizer.to_str())
    vocabulary = described["model"].get("vocab", {})
    if described["model"]["type"] != "WordPiece":
        raise UserError("Characters can be added to a WordPiece tokenizer only, and this is a {kind}.",
                        kind=described["model"]["type"])  # fmt: skip
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    unknown = described["model"]["unk_token"]
    new: list[str] = []
    for character, _n in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if len(new) == most:
            break
        tokens = tokenizer.encode(f"a{character}a", add_special_tokens=False).tokens
        if tokens == ["a", unknown, "a"] and character not in vocabulary:
            new.append(character)
    vocabulary.update({character: len(vocabulary) + n for n, character in enumerate(new)})
    return Tokenizer.from_str(json.dumps(described))


def balanced(streams: Iterable[Iterator[str]], n_bytes: int) -> Iterator[str]:
    """Texts of one stream after another, each giving its equal share of `n_bytes` of UTF-8, or all it has."""
    waiting = list(streams)
    share = n_bytes // max(1, len(waiting))
    for stream in waiting:
        taken = 0
        for text in stream:
            yield text
            taken += len(text.encode())
            if taken >= share:
                break
