"""Reading: an encoder learns to mark where in a passage the answer to a question stands (Devlin et al. 2019, §4.2).

Data are rows with `question`, `passage` and `answers` (text, answer_start; none where the passage does not answer):
the programs `programs/reading-…`, for pretraining on recurring spans (Ram et al. 2021), or a set of real questions.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.core.errors import UserError
from dizuo.data.tokenizer import with_characters
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.encoder import Encoder
from dizuo.nn.heads import SpanReader
from dizuo.nn.tokenizer import tokenizer_of
from dizuo.train.examples import example_batches, on_device_of, shares
from dizuo.train.options import ReadOptions
from dizuo.train.recipe import Recipe, options
from dizuo.train.rows import read_set
from dizuo.train.run_folder import write_whole
from dizuo.train.spans import SpanBatch, collate, windows
from dizuo.train.stage import Made
from dizuo.train.start import start_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_EVALUATED = 800  # windows of each held-out set


class Read:
    """Start and end of the answer as two classifications over the tokens of a window."""

    Options = ReadOptions

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Reads all rows and cuts them into windows. Raises UserError when nothing says what to start from."""
        if recipe.model.start is None:
            raise UserError("A reader starts from an encoder: name it in model.start, such as local/minilm.")
        self._options: ReadOptions = options(recipe)
        self._start = start_folder(recipe.model.start, work)
        tokenizer = tokenizer_of(self._start)
        sets = [read_set(one.name, one.split) for one in recipe.data]
        self._tokenizer = self._start
        if self._options.characters:
            texts = (row[part] for one, _held_out in sets for row in one.rows for part in ("question", "passage"))
            tokenizer = with_characters(tokenizer, texts, self._options.characters)
            self._tokenizer = _kept(tokenizer, work)
        self._vocab_size = tokenizer.get_vocab_size()
        self._facts = [one.facts for one, _held_out in sets]
        self._train = [windows(one.rows, tokenizer, recipe.length) for one, _held_out in sets]
        self._shares = shares([one.weight for one in recipe.data], self._train)
        self._held_out = [w for _one, held in sets for w in windows(held.rows, tokenizer, recipe.length)[:_EVALUATED]]

    def model(self, recipe: Recipe) -> nn.Module:
        """The start's encoder below a new head, or the whole reader where the start is one."""
        model = load_model(self._start)
        encoder = model if isinstance(model, Encoder) else getattr(model, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise UserError("{folder} is a {found}; a reader starts from an encoder or a reader.",
                            folder=self._start, found=type(model).__name__)  # fmt: skip
        if self._vocab_size > encoder.config.vocab_size:
            _grow(encoder, self._vocab_size, recipe.seed)
        reader = model if isinstance(model, SpanReader) else SpanReader(encoder)
        reader.requires_grad_(True)
        if self._options.freeze_embeddings:
            for part in (encoder.tokens, encoder.positions, encoder.segments):
                part.requires_grad_(False)
        return reader

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[SpanBatch, dict[str, Any]]]:
        """Windows of like length together."""
        return example_batches(
            self._train, self._shares, recipe.batch, recipe.seed, state, rank, world,
            length=lambda window: len(window.ids), collate=collate,
        )  # fmt: skip

    def loss(self, model: nn.Module, batch: SpanBatch) -> tuple[torch.Tensor, int]:
        """-(ln p_start + ln p_end)/2, summed over the windows (Devlin et al. 2019, §4.2): (sum, windows)."""
        batch = on_device_of(batch, model)
        start, end = model(batch.ids, batch.mask, batch.segments)
        total = sum(
            F.cross_entropy(logits.float().masked_fill(~batch.mask, -1e4), target, reduction="sum")
            for logits, target in ((start, batch.start), (end, batch.end))
        )
        return total / 2, len(batch.ids)  # pyright: ignore[reportReturnType]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean loss of the held-out windows, and the share whose start and end are both the likeliest."""
        losses, right, n = 0.0, 0, 0
        ordered = sorted(self._held_out, key=lambda window: len(window.ids))
        for first in range(0, len(ordered), 32):
            batch = on_device_of(collate(ordered[first : first + 32]), model)
            total, count = self.loss(model, batch)
            start, end = model(batch.ids, batch.mask, batch.segments)
            both = (start.masked_fill(~batch.mask, -1e4).argmax(1) == batch.start) & (
                end.masked_fill(~batch.mask, -1e4).argmax(1) == batch.end
            )
            losses, right, n = losses + float(total), right + int(both.sum()), n + count
        return {"val_loss": losses / n, "val_exact": right / n} if n else {}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Writes a BertForQuestionAnswering."""
        provenance = made.provenance(self._facts, self._start)
        save_model(model, folder, tokenizer=self._tokenizer, provenance=provenance)


def _kept(tokenizer: "Tokenizer", work: Path) -> Path:
    """The file of a tokenizer, named by its content."""
    content = tokenizer.to_str().encode()
    file = work / f"tokenizer-{hashlib.sha256(content).hexdigest()[:16]}" / "tokenizer.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    return file


def _grow(encoder: Encoder, vocab_size: int, seed: int) -> None:
    """Vectors for new tokens, drawn as far apart as the known ones are; all else stays (Artetxe et al. 2020, §3:
    a trained body takes new embeddings for another language)."""
    known = encoder.tokens.weight.detach()
    new = torch.empty(vocab_size - len(known), known.shape[1])
    new.normal_(generator=torch.Generator().manual_seed(seed)).mul_(known.std(dim=0)).add_(known.mean(dim=0))
    encoder.tokens = nn.Embedding.from_pretrained(torch.cat([known, new]), freeze=False)
    encoder.config = replace(encoder.config, vocab_size=vocab_size)
