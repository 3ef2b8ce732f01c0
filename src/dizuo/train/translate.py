"""Translation: the original Transformer from source sentence to target sentence (Vaswani et al. 2017).

One vocabulary for both languages (§5.1), sentences of like length in a batch, label smoothing (§5.4).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dizuo.core.errors import UserError
from dizuo.data.tokenizer import ENDOFTEXT, PAD, train_tokenizer
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.cross_entropy import IGNORED
from dizuo.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from dizuo.nn.tokenizer import load_tokenizer
from dizuo.train.examples import example_batches, filled, on_device_of, shares
from dizuo.train.options import TranslateOptions
from dizuo.train.recipe import Recipe, options
from dizuo.train.rows import RowSet, read_set
from dizuo.train.stage import Made
from dizuo.train.start import start_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WIDEN = 4  # hidden width by channels (Vaswani et al. 2017, table 3)


@dataclass(frozen=True)
class Pair:
    """Token ids of a sentence and its translation, each with the end mark."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class PairBatch:
    """`ids` and `mask` (B, S) of the sources, `targets` (B, T), -100 where there is none."""

    ids: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor


class Translate:
    """Sequence to sequence on pairs of sentences."""

    Options = TranslateOptions

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Reads the pairs, and finds or trains the tokenizer of both languages."""
        self._options: TranslateOptions = options(recipe)
        sets, held_out = zip(*(read_set(one.name, one.split) for one in recipe.data), strict=True)
        for one in sets:
            for side in (self._options.source, self._options.target):
                if side not in one.rows[0]:
                    raise UserError("The rows of {name} have no field {field!r}; they have {known}.", name=one.name,
                                    field=side, known=", ".join(one.rows[0]))  # fmt: skip
        self._facts = [one.facts for one in sets]
        self._start = start_folder(recipe.model.start, work) if recipe.model.start else None
        self._tokenizer_file = self._find_tokenizer(recipe, sets, work)
        self._tokenizer = load_tokenizer(self._tokenizer_file)
        self._train = [self._pairs(one, recipe.length) for one in sets]
        self._shares = shares([one.weight for one in recipe.data], self._train)
        self._held_out = [pair for one in held_out for pair in self._pairs(one, recipe.length)]

    def model(self, recipe: Recipe) -> nn.Module:
        """The model of the start, or a fresh one of the recipe's sizes."""
        if self._start is not None:
            model = load_model(self._start)
            if not isinstance(model, EncoderDecoder):
                raise UserError("{folder} is a {found}; a translator starts from an encoder-decoder.",
                                folder=self._start, found=type(model).__name__)  # fmt: skip
            return model.requires_grad_(True)
        made = recipe.model
        if made.family not in ("marian", "t5"):
            raise UserError("The recipe's model.family is {found!r}; a translator is 'marian' or 't5'.",
                            found=made.family)  # fmt: skip
        return EncoderDecoder(
            EncoderDecoderConfig(
                family=made.family,  # pyright: ignore[reportArgumentType]
                vocab_size=self._tokenizer.get_vocab_size(),
                channels=made.channels,
                layers=made.layers,
                heads=made.heads,
                hidden=made.hidden or _WIDEN * made.channels,
                positions=made.positions or recipe.length,
                tied=made.tied,
                dropout=self._options.dropout,
                pad_id=self._mark(PAD),
                eos_id=self._mark(ENDOFTEXT),
                start_id=self._mark(PAD),
            )
        )

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[PairBatch, dict[str, Any]]]:
        """Pairs whose sentences are about as long."""
        return example_batches(
            self._train, self._shares, recipe.batch, recipe.seed, state, rank, world,
            length=lambda pair: len(pair.source) + len(pair.target), collate=self._collate,
        )  # fmt: skip

    def loss(self, model: nn.Module, batch: PairBatch) -> tuple[torch.Tensor, int]:
        """Smoothed cross-entropy of the target's tokens: (sum, tokens)."""
        return self._loss(model, batch, self._options.smoothing)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy a token, without smoothing, of the held-out pairs."""
        total, n = 0.0, 0
        ordered = sorted(self._held_out, key=lambda pair: len(pair.target))
        for first in range(0, len(ordered), 64):
            loss, count = self._loss(model, self._collate(ordered[first : first + 64]), 0.0)
            total, n = total + float(loss), n + count
        return {"val_loss": total / n} if n else {}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Writes a MarianMTModel (or a T5ForConditionalGeneration)."""
        provenance = made.provenance(self._facts, self._start)
        save_model(model, folder, tokenizer=self._start or self._tokenizer_file, provenance=provenance)

    def _loss(self, model: Any, batch: PairBatch, smoothing: float) -> tuple[torch.Tensor, int]:
        batch = on_device_of(batch, model)
        hidden = model(batch.ids, model.shifted(batch.targets), batch.mask)
        loss, count = model.loss(hidden, batch.targets, smoothing)
        return loss, int(count)

    def _pairs(self, rows: RowSet, length: int) -> list[Pair]:
        sides = []
        for name in (self._options.source, self._options.target):
            encoded = self._tokenizer.encode_batch([str(row[name]) for row in rows.rows])
            sides.append([one.ids for one in encoded])
        return [Pair(s, t) for s, t in zip(*sides, strict=True) if len(s) <= length and len(t) <= length]

    def _collate(self, pairs: Sequence[Pair]) -> PairBatch:
        ids, mask = filled([pair.source for pair in pairs], self._mark(PAD))
        targets, _there = filled([pair.target for pair in pairs], IGNORED)
        return PairBatch(ids, mask, targets)

    def _mark(self, name: str) -> int:
        found = self._tokenizer.token_to_id(name)
        if found is None:
            raise UserError("The tokenizer {file} has no token {name}.", file=self._tokenizer_file, name=name)
        return found

    def _find_tokenizer(self, recipe: Recipe, sets: Sequence[RowSet], work: Path) -> Path:
        if self._start is not None:
            return self._start / "tokenizer.json"
        if recipe.tokenizer:
            file = Path(recipe.tokenizer).expanduser()
            return file / "tokenizer.json" if file.is_dir() else file
        known = "".join(fact["sha256"] for fact in self._facts)
        made_from = f"{known}:{self._options.source}:{self._options.target}:{self._options.vocab_size}"
        file = work / "tokenizers" / f"pairs-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}" / "tokenizer.json"
        if not file.is_file():
            sides = (self._options.source, self._options.target)
            texts = (str(row[side]) for one in sets for row in one.rows for side in sides)
            tokenizer = _with_end(train_tokenizer(texts, self._options.vocab_size))
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_suffix(".new")
            tokenizer.save(str(new))
            new.replace(file)
        return file


def _with_end(tokenizer: "Tokenizer") -> "Tokenizer":
    """The tokenizer closing each text with the end mark, as transformers expects of a translator's."""
    from tokenizers.processors import TemplateProcessing

    ends = tokenizer.token_to_id(ENDOFTEXT)
    tokenizer.post_processor = TemplateProcessing(single=f"$A {ENDOFTEXT}", special_tokens=[(ENDOFTEXT, ends)])  # type: ignore[assignment]
    return tokenizer
