"""Pretraining: a model from raw text, packed to rows in which no document sees another."""

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import nn

from dizuo.core.errors import UserError
from dizuo.data.packing import Batch, PackedBatches
from dizuo.data.shards import Shards, write_shards
from dizuo.data.tokenizer import ENDOFTEXT, PAD, SPECIALS, balanced, load_tokenizer, train_tokenizer
from dizuo.nn.checkpoint import Provenance, save_model
from dizuo.train.gradients import in_threads
from dizuo.train.objectives import OBJECTIVES, Marks, Objective
from dizuo.train.options import PretrainOptions
from dizuo.train.recipe import Recipe, options
from dizuo.train.run_folder import write_whole
from dizuo.train.stage import Made
from dizuo.train.texts import TextSource, open_text

_log = logging.getLogger(__name__)

# More text makes the tokenizer no better and its training longer.
_TOKENIZER_BYTES = 40_000_000
_SCORED_ROWS = 4  # of a batch of held-out text


class Pretrain:
    """Learns a model from raw text by one of the objectives."""

    Options = PretrainOptions

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Trains the tokenizer, if the recipe names none, and encodes the text."""
        self._recipe = recipe
        self._options: PretrainOptions = options(recipe)
        sources = [open_text(one.name, one.split) for one in recipe.data]
        self._tokenizer_file = _tokenizer(recipe, self._options.vocab_size, sources, work)
        tokenizer = load_tokenizer(self._tokenizer_file)
        self._bytes = _bytes_of_tokens(tokenizer)
        self._objective: Objective = OBJECTIVES[self._options.objective](_marks(tokenizer))
        self._train = [_shards(source, "train", self._tokenizer_file, work) for source in sources]
        held_out = {one.name: _shards(one, "val", self._tokenizer_file, work) for one in sources}
        self._held_out = {name: shards for name, shards in held_out.items() if len(shards)}
        self._facts = [{**source.facts, "name": source.name, "sha256": source.sha256} for source in sources]

    def model(self, recipe: Recipe) -> nn.Module:
        """A fresh model."""
        return self._objective.model(recipe)

    def rehearse(self, recipe: Recipe, rows: int) -> tuple[nn.Module, Any]:
        """A model and a batch as they will be, of random tokens, without touching any data."""
        told: PretrainOptions = options(recipe)
        size = told.vocab_size
        if recipe.tokenizer is not None:
            size = load_tokenizer(_named_tokenizer(recipe.tokenizer)).get_vocab_size()
        count = len(SPECIALS)
        marks = Marks(0, 1, 2, tuple(range(3, count)), count, size)
        self._objective = OBJECTIVES[told.objective](marks)
        ids = torch.randint(
            count, max(size, count + 1), (rows, recipe.length + 1), generator=torch.Generator().manual_seed(0)
        )
        positions = torch.arange(recipe.length).expand(rows, -1)
        batch = Batch(ids[:, :-1], ids[:, 1:], torch.zeros_like(positions), positions)
        return self._objective.model(recipe), self._objective.ask(batch, range(rows))

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Endless rows of the mixture, as questions."""
        mixture = [(shards, one.weight) for shards, one in zip(self._train, recipe.data, strict=True)]
        packed = PackedBatches(
            mixture, recipe.length, recipe.batch, recipe.seed, rank, world, dict(state) if state else None
        )
        share = recipe.batch // world
        for batch, after in packed:
            first = sum(after["taken"]) - recipe.batch + rank * share
            yield self._objective.ask(batch, range(first, first + share)), after

    def loss(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """As the objective scores it."""
        return self._objective.loss(model, batch)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """`val_loss` in nats a token over all held-out sets; of each set bits per byte of its text (causal), or nats a
        token that was asked (masked, span)."""
        device = next(model.parameters()).device
        scores: dict[str, float] = {}
        all_nats, all_targets = 0.0, 0
        for name, shards in self._held_out.items():
            parts = in_threads(lambda batch: self._score(model, batch), self._held_out_batches(shards), device)
            nats, targets, n_bytes = (sum(part[i] for part in parts) for i in range(3))
            all_nats, all_targets = all_nats + nats, all_targets + targets
            if self._options.objective != "causal":
                scores[f"val_loss/{name}"] = nats / max(1, targets)
            elif n_bytes:
                scores[f"bits_per_byte/{name}"] = nats / math.log(2) / n_bytes
        return {"val_loss": all_nats / all_targets, **scores} if all_targets else {}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Writes the model with its tokenizer."""
        provenance = Provenance(recipe=made.recipe, data=self._facts, commit=made.commit, scores=made.scores)
        save_model(self._objective.finished(model), folder, tokenizer=self._tokenizer_file, provenance=provenance)

    def _held_out_batches(self, shards: Shards) -> Iterator[Any]:
        """The first rows of a held-out set, each once, always asked alike."""
        length = self._recipe.length
        tokens = min(self._options.evaluate_tokens, shards.manifest.tokens)
        packed = PackedBatches(shards, length, _SCORED_ROWS, seed=0)
        for number, (batch, _state) in enumerate(itertools.islice(packed, max(1, tokens // (length * _SCORED_ROWS)))):
            yield self._objective.ask(batch, range(number * _SCORED_ROWS, (number + 1) * _SCORED_ROWS))

    def _score(self, model: nn.Module, batch: Any) -> tuple[float, int, int]:
        """(sum of -ln p, targets, bytes of text that they stand for)."""
        total, count = self.loss(model, batch)
        return float(total), int(count), int(self._bytes[batch.targets[batch.targets >= 0]].sum())


def _named_tokenizer(name: str) -> Path:
    path = Path(name).expanduser()
    return path / "tokenizer.json" if path.is_dir() else path


def _tokenizer(recipe: Recipe, vocab_size: int, sources: list[TextSource], work: Path) -> Path:
    """tokenizer.json: the one that the recipe names, or one trained on its text, each set by its weight."""
    if recipe.tokenizer is not None:
        return _named_tokenizer(recipe.tokenizer)
    weights = [1.0 if one.weight is None else one.weight for one in recipe.data]
    made_of = [
        vocab_size,
        _TOKENIZER_BYTES,
        [[one.sha256, weight] for one, weight in zip(sources, weights, strict=True)],
    ]
    file = work / f"tokenizer-{_digest(made_of)}" / "tokenizer.json"
    if not file.is_file():
        _log.info("Training a tokenizer of %d entries.", vocab_size)
        texts = (
            text
            for source, weight in zip(sources, weights, strict=True)
            for text in balanced([source.documents()], round(_TOKENIZER_BYTES * weight / sum(weights)))
        )
        trained = train_tokenizer(texts, vocab_size)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, trained.to_str().encode())
    return file


def _shards(source: TextSource, part: Literal["train", "val"], tokenizer: Path, work: Path) -> Shards:
    """The tokens of a source, encoded when they are first wanted with this tokenizer."""
    made_of = [source.sha256, part, hashlib.sha256(tokenizer.read_bytes()).hexdigest()]
    folder = work / f"shards-{_digest(made_of)}"
    documents = source.documents if part == "train" else source.held_out
    if not (folder / "manifest.json").is_file():
        _log.info("Encoding %s (%s).", source.name, part)
        write_shards(
            documents(), tokenizer, folder, source={"name": source.name, "part": part, "sha256": source.sha256}
        )
    return Shards(folder)


def _marks(tokenizer: Tokenizer) -> Marks:
    """The ids of special tokens. Raises UserError when the tokenizer is not one of ours."""
    by_token: dict[str, int] = {}
    for token in SPECIALS:
        number = tokenizer.token_to_id(token)
        if number is None:
            raise UserError("The tokenizer has no {token}; pretraining takes one that was trained here.", token=token)
        by_token[token] = number
    reserved = tuple(number for token, number in by_token.items() if token.startswith("<|reserved_"))
    return Marks(
        by_token[ENDOFTEXT], by_token[PAD], by_token["<|mask|>"], reserved, len(SPECIALS), tokenizer.get_vocab_size()
    )


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def _bytes_of_tokens(tokenizer: Tokenizer) -> torch.Tensor:
    """(V,) how many bytes of text each token stands for. A byte-level vocabulary spells every byte as one character;
    special tokens are no text."""
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    sizes = torch.zeros(tokenizer.get_vocab_size(), dtype=torch.long)
    for text, number in tokenizer.get_vocab().items():
        if number not in special:
            sizes[number] = len(text)
    return sizes
