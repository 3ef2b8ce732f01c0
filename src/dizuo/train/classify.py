"""Classification: an encoder learns to put texts into classes (Devlin et al. 2019, §4.1)."""

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
from dizuo.nn.heads import SequenceClassifier
from dizuo.nn.tokenizer import tokenizer_of
from dizuo.train.examples import example_batches, filled, on_device_of, shares
from dizuo.train.options import ClassifyOptions
from dizuo.train.recipe import Recipe, options
from dizuo.train.rows import RowSet, read_set
from dizuo.train.stage import Made
from dizuo.train.start import start_folder


@dataclass(frozen=True)
class LabelledText:
    """Token ids, and the number of the class."""

    ids: list[int]
    label: int


@dataclass(frozen=True)
class LabelledBatch:
    """`ids` and `mask` (B, T), `labels` (B,)."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


class Classify:
    """One class of several for each text."""

    Options = ClassifyOptions

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Reads texts and classes. Raises UserError when nothing says what to start from, or a field is missing."""
        if recipe.model.start is None:
            raise UserError("A classifier starts from an encoder: name it in model.start, such as local/minilm.")
        self._options: ClassifyOptions = options(recipe)
        self._start = start_folder(recipe.model.start, work)
        self._tokenizer = tokenizer_of(self._start)
        self._tokenizer.enable_truncation(recipe.length)
        sets, held_out = zip(*(read_set(one.name, one.split) for one in recipe.data), strict=True)
        self._facts = [one.facts for one in sets]
        self._labels = sorted({self._field(row, one, self._options.label) for one in sets for row in one.rows})
        if len(self._labels) < 2:
            raise UserError("All rows have the class {label!r}: there is nothing to tell apart.", label=self._labels[0])
        self._train = [self._texts(one) for one in sets]
        self._shares = shares([one.weight for one in recipe.data], self._train)
        self._held_out = [text for one in held_out for text in self._texts(one)]

    def model(self, recipe: Recipe) -> nn.Module:
        """The start's encoder below a new head."""
        model = load_model(self._start)
        encoder = model if isinstance(model, Encoder) else getattr(model, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise UserError("{folder} is a {found}; a classifier starts from an encoder.",
                            folder=self._start, found=type(model).__name__)  # fmt: skip
        return SequenceClassifier(encoder, self._labels).requires_grad_(True)

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[LabelledBatch, dict[str, Any]]]:
        """Texts of like length together."""
        return example_batches(
            self._train, self._shares, recipe.batch, recipe.seed, state, rank, world,
            length=lambda text: len(text.ids), collate=_collate,
        )  # fmt: skip

    def loss(self, model: nn.Module, batch: LabelledBatch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of the classes: (sum, texts)."""
        batch = on_device_of(batch, model)
        logits = model(batch.ids, batch.mask)
        return F.cross_entropy(logits.float(), batch.labels, reduction="sum"), len(batch.labels)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss and accuracy on the held-out texts, and the share of the commonest class for comparison."""
        total, right, n = 0.0, 0, len(self._held_out)
        for first in range(0, n, 32):
            batch = on_device_of(_collate(self._held_out[first : first + 32]), model)
            logits = model(batch.ids, batch.mask).float()
            total += float(F.cross_entropy(logits, batch.labels, reduction="sum"))
            right += int((logits.argmax(1) == batch.labels).sum())
        held = [text.label for text in self._held_out]
        commonest = max(held.count(label) for label in set(held))
        return {"val_loss": total / n, "val_accuracy": right / n, "val_commonest": commonest / n}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Writes a BertForSequenceClassification with the names of the classes."""
        provenance = made.provenance(self._facts, self._start)
        save_model(model, folder, tokenizer=self._start, provenance=provenance)

    def _texts(self, of: RowSet) -> list[LabelledText]:
        number = {label: n for n, label in enumerate(self._labels)}
        encoded = self._tokenizer.encode_batch([self._field(row, of, self._options.text) for row in of.rows])
        labels = [self._field(row, of, self._options.label) for row in of.rows]
        # A class that only the held-out part has cannot be learnt, and counts as nothing that could be right.
        return [LabelledText(e.ids, number[x]) for e, x in zip(encoded, labels, strict=True) if x in number]

    def _field(self, row: Mapping[str, Any], of: RowSet, name: str) -> str:
        if name not in row:
            raise UserError("The rows of {name} have no field {field!r}; they have {known}.", name=of.name,
                            field=name, known=", ".join(row))  # fmt: skip
        return str(row[name])


def _collate(texts: Sequence[LabelledText]) -> LabelledBatch:
    ids, mask = filled([text.ids for text in texts])
    return LabelledBatch(ids, mask, torch.tensor([text.label for text in texts]))
