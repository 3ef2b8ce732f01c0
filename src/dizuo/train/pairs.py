"""Sentence vectors from pairs that mean the same: each text is to find its own partner among those of the batch.

InfoNCE (van den Oord et al. 2018, eq. 4) over cosines with the other pairs of the batch as negatives, both ways
(Reimers and Gurevych 2019 call it multiple negatives; Gao et al. 2021, eq. 1 for the temperature).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.encoder import Encoder
from dizuo.nn.heads import SentenceEncoder
from dizuo.nn.tokenizer import tokenizer_of
from dizuo.train.examples import example_batches, filled, on_device_of, shares
from dizuo.train.options import PairsOptions
from dizuo.train.recipe import Recipe, options
from dizuo.train.rows import RowSet, read_set
from dizuo.train.stage import Made
from dizuo.train.start import start_folder


@dataclass(frozen=True)
class TextPair:
    """Token ids of two texts that mean the same."""

    first: list[int]
    second: list[int]


@dataclass(frozen=True)
class TextPairs:
    """The first texts, then the second: `ids` and `mask` (2B, T)."""

    ids: torch.Tensor
    mask: torch.Tensor


class Pairs:
    """Contrastive training of a sentence encoder."""

    Options = PairsOptions

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Reads the pairs. Raises UserError when nothing says what to start from."""
        if recipe.model.start is None:
            raise UserError("Sentence vectors start from an encoder: name it in model.start, such as local/minilm.")
        self._options: PairsOptions = options(recipe)
        self._start = start_folder(recipe.model.start, work)
        self._tokenizer = tokenizer_of(self._start)
        self._tokenizer.enable_truncation(recipe.length)
        sets, held_out = zip(*(read_set(one.name, one.split) for one in recipe.data), strict=True)
        self._facts = [one.facts for one in sets]
        self._train = [self._pairs(one) for one in sets]
        self._shares = shares([one.weight for one in recipe.data], self._train)
        self._held_out = [pair for one in held_out for pair in self._pairs(one)]

    def model(self, recipe: Recipe) -> nn.Module:
        """The start's encoder, pooled by the mean."""
        model = load_model(self._start)
        encoder = model if isinstance(model, Encoder) else getattr(model, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise UserError("{folder} is a {found}; sentence vectors start from an encoder.",
                            folder=self._start, found=type(model).__name__)  # fmt: skip
        return SentenceEncoder(encoder).requires_grad_(True)

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[TextPairs, dict[str, Any]]]:
        """Pairs of like length together: they are the harder negatives. The negatives are those of one process."""
        return example_batches(
            self._train, self._shares, recipe.batch, recipe.seed, state, rank, world,
            length=lambda pair: len(pair.first) + len(pair.second), collate=_collate,
        )  # fmt: skip

    def loss(self, model: nn.Module, batch: TextPairs) -> tuple[torch.Tensor, int]:
        """-ln (exp(s_ii/t) / Σ_j exp(s_ij/t)), the mean of both ways, summed over the pairs: (sum, pairs)."""
        batch = on_device_of(batch, model)
        first, second = model(batch.ids, batch.mask).float().chunk(2)  # (B, C) each
        cosines = first @ second.T / self._options.temperature  # (B, B)
        own = torch.arange(len(first), device=cosines.device)
        both = F.cross_entropy(cosines, own, reduction="sum") + F.cross_entropy(cosines.T, own, reduction="sum")
        return both / 2, len(first)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The loss in batches of 32 of the held-out pairs, and how often the partner is the nearest of all of them."""
        vectors, losses, n = [], 0.0, 0
        for first in range(0, len(self._held_out), 32):
            batch = on_device_of(_collate(self._held_out[first : first + 32]), model)
            total, count = self.loss(model, batch)
            losses, n = losses + float(total), n + count
            vectors.append(model(batch.ids, batch.mask).float().chunk(2))
        a, b = (torch.cat(side) for side in zip(*vectors, strict=True))
        nearest = (a @ b.T).argmax(1) == torch.arange(len(a), device=a.device)
        return {"val_loss": losses / n, "val_recall_at_1": float(nearest.float().mean())}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Writes a BertModel with the pooling of sentence-transformers."""
        provenance = made.provenance(self._facts, self._start)
        save_model(model, folder, tokenizer=self._start, provenance=provenance)

    def _pairs(self, of: RowSet) -> list[TextPair]:
        sides = []
        for name in (self._options.first, self._options.second):
            if any(name not in row for row in of.rows):
                raise UserError("The rows of {name} have no field {field!r}; they have {known}.", name=of.name,
                                field=name, known=", ".join(of.rows[0]))  # fmt: skip
            sides.append([one.ids for one in self._tokenizer.encode_batch([str(row[name]) for row in of.rows])])
        return [TextPair(first, second) for first, second in zip(*sides, strict=True)]


def _collate(pairs: Sequence[TextPair]) -> TextPairs:
    ids, mask = filled([pair.first for pair in pairs] + [pair.second for pair in pairs])
    return TextPairs(ids, mask)
