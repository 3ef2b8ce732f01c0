"""What each kind of training may be told beyond the common keys of a recipe. Recipes are read without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PretrainOptions:
    """`options` of a recipe whose stage is `pretrain`."""

    # causal: the next token. masked: 15 % of the tokens, by those around them (BERT). span: cut-out spans (T5).
    objective: Literal["causal", "masked", "span"] = "causal"
    vocab_size: int = 8192  # entries of the tokenizer that is trained when the recipe names none
    evaluate_tokens: int = 65_536  # of each held-out set at most so many tokens are scored
    filtered: bool = True  # near duplicates, and documents that share text with an evaluation set, are left out


@dataclass(frozen=True)
class ChatOptions:
    """`options` of a recipe whose stage is `sft`: none yet."""


@dataclass(frozen=True)
class ClassifyOptions:
    """`options` of a recipe whose stage is `classify`."""

    text: str = "text"  # field of a row that is classified
    label: str = "label"  # field of a row with its class


@dataclass(frozen=True)
class PairsOptions:
    """`options` of a recipe whose stage is `pairs`."""

    first: str = "origin"  # fields of a row with two texts that mean the same
    second: str = "similar"
    temperature: float = 0.05  # of the softmax over the batch's cosines


@dataclass(frozen=True)
class ReadOptions:
    """`options` of a recipe whose stage is `read`."""

    freeze_embeddings: bool = True  # a few thousand questions say nothing about most words
    characters: int = 0  # most that are added to the tokenizer: those of the rows, such as Chinese ones, that it lacks


@dataclass(frozen=True)
class TranslateOptions:
    """`options` of a recipe whose stage is `translate`."""

    source: str = "en"  # fields of a row
    target: str = "zh"
    vocab_size: int = 8192  # of the tokenizer that both sides share
    smoothing: float = 0.1  # share of a target's probability that all words get alike
    dropout: float = 0.1


# Kind of training -> its options. A stage of its own adds its dataclass here.
OPTIONS: dict[str, type] = {
    "pretrain": PretrainOptions,
    "sft": ChatOptions,
    "translate": TranslateOptions,
    "classify": ClassifyOptions,
    "pairs": PairsOptions,
    "read": ReadOptions,
}
