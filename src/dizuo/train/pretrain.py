"""Pretraining: a model from raw text, packed to rows in which no document sees another.

Conversations made by a program may be mixed in, and are then learnt whole, questions and passages too (as in
Hu et al. 2024, "MiniCPM", arXiv:2404.06395, §4.2): a small model learns to copy from its context sooner so.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from dizuo.core.documents import Note
from dizuo.core.errors import UserError
from dizuo.data.dedup import Duplicates
from dizuo.data.overlap import Overlap
from dizuo.data.packing import Batch, PackedBatches
from dizuo.data.shards import Shards, write_shards
from dizuo.data.tokenizer import ENDOFTEXT, PAD, SPECIALS, balanced, train_tokenizer
from dizuo.nn.chat import encode_chat
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.tokenizer import load_tokenizer
from dizuo.train.gradients import in_threads
from dizuo.train.objectives import OBJECTIVES, Marks, Objective
from dizuo.train.options import PretrainOptions
from dizuo.train.recipe import Recipe, options
from dizuo.train.rows import open_documents
from dizuo.train.run_folder import write_whole
from dizuo.train.stage import Made, doing
from dizuo.train.start import start_folder
from dizuo.train.texts import TextSource, data_folder, evaluation_sha256, present_evaluation_texts

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
        self._start = start_folder(recipe.model.start, work) if recipe.model.start else None
        sources = [open_documents(one.name, one.split) for one in recipe.data]
        self._tokenizer_file = self._find_tokenizer(recipe, sources, work)
        tokenizer = load_tokenizer(self._tokenizer_file)
        self._bytes = _bytes_of_tokens(tokenizer)
        self._objective: Objective = OBJECTIVES[self._options.objective](_marks(tokenizer))
        shards = _Encoded(self._tokenizer_file, work, self._options.filtered, recipe.length)
        self._train = [shards.learnt(source) for source in sources]
        held_out = {source.name: shards.held_out(source) for source in sources}
        self._held_out = {name: found for name, found in held_out.items() if len(found)}
        self._facts = [{**source.facts, "name": source.name, "sha256": source.sha256} for source in sources]

    def model(self, recipe: Recipe) -> nn.Module:
        """A fresh model, or the one that the recipe starts from."""
        return self._made(recipe, self._start)

    def rehearse(self, recipe: Recipe, rows: int, work: Path) -> tuple[nn.Module, Any]:
        """A model and a batch as they will be, of random tokens, without touching any data."""
        told: PretrainOptions = options(recipe)
        start = start_folder(recipe.model.start, work) if recipe.model.start else None
        named = recipe.tokenizer or start
        size = told.vocab_size if named is None else load_tokenizer(_tokenizer_in(Path(named))).get_vocab_size()
        count = len(SPECIALS)
        self._objective = OBJECTIVES[told.objective](Marks(0, 1, 2, tuple(range(3, count)), count, size))
        draw = torch.Generator().manual_seed(0)
        ids = torch.randint(count, max(size, count + 1), (rows, recipe.length + 1), generator=draw)
        positions = torch.arange(recipe.length).expand(rows, -1)
        batch = Batch(ids[:, :-1], ids[:, 1:], torch.zeros_like(positions), positions)
        return self._made(recipe, start), self._objective.ask(batch, range(rows))

    def _made(self, recipe: Recipe, start: Path | None) -> nn.Module:
        if start is None:
            return self._objective.model(recipe)
        found = load_model(start)
        model = self._objective.start(found)
        if model is None:
            raise UserError(
                "{folder} is a {found}, which the objective {objective} cannot go on with.",
                folder=start,
                found=type(found).__name__,
                objective=recipe.options["objective"],
            )
        return model.requires_grad_(True)

    def _find_tokenizer(self, recipe: Recipe, sources: list[TextSource], work: Path) -> Path:
        """The one that the recipe names, or its start's, or one trained on its text, each set by its weight."""
        named = recipe.tokenizer or self._start
        if named is not None:
            return _tokenizer_in(Path(named))
        return _trained_tokenizer(recipe, self._options.vocab_size, sources, work)

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
        provenance = made.provenance(self._facts, self._start)
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


def _tokenizer_in(path: Path) -> Path:
    path = path.expanduser()
    return path / "tokenizer.json" if path.is_dir() else path


def _trained_tokenizer(recipe: Recipe, vocab_size: int, sources: list[TextSource], work: Path) -> Path:
    """Made of the raw text alone: conversations repeat their forms."""
    texts = [
        (source, 1.0 if one.weight is None else one.weight)
        for source, one in zip(sources, recipe.data, strict=True)
        if not source.conversations
    ]
    if not texts:
        raise UserError("The recipe has conversations only: a tokenizer is made of raw text. Name one in `tokenizer`, "
                        "or add a text to `data`.")  # fmt: skip
    total = sum(weight for _source, weight in texts)
    shares = [[source.sha256, weight] for source, weight in texts]
    file = work / f"tokenizer-{_digest([vocab_size, _TOKENIZER_BYTES, shares])}" / "tokenizer.json"
    if not file.is_file():
        doing(Note(template="Training a tokenizer of {size} entries.", params={"size": vocab_size}))
        documents = (
            text
            for source, weight in texts
            for text in balanced([source.documents()], round(_TOKENIZER_BYTES * weight / total))
        )
        trained = train_tokenizer(documents, vocab_size)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, trained.to_str().encode())
    return file


class _Encoded:
    """The texts of a recipe as tokens: encoded when they are first wanted with this tokenizer."""

    def __init__(self, tokenizer: Path, work: Path, filtered: bool, length: int) -> None:
        self._tokenizer, self._work, self._filtered, self._length = tokenizer, work, filtered, length
        self._tokenizer_sha256 = hashlib.sha256(tokenizer.read_bytes()).hexdigest()
        self._overlap: Overlap | None = None

    def held_out(self, source: TextSource) -> Shards:
        return self._shards(source, "val", source.held_out, {})

    def learnt(self, source: TextSource) -> Shards:
        if not self._filtered or source.clean:
            return self._shards(source, "train", source.documents, {})
        return self._shards(
            source, "train", lambda: self._clean(source), {"filtered": evaluation_sha256(data_folder())}
        )

    def _clean(self, source: TextSource) -> Iterator[str]:
        if self._overlap is None:
            doing(Note(template="Reading the evaluation sets, whose text must not be learnt."))
            self._overlap = Overlap(present_evaluation_texts(data_folder()))
        return self._overlap.without(Duplicates().without(source.documents()))

    def _shards(
        self, source: TextSource, part: str, documents: Callable[[], Iterator[Any]], more: Mapping[str, Any]
    ) -> Shards:
        if source.conversations:
            more = {**more, "length": self._length}
        made_of = [source.sha256, part, self._tokenizer_sha256, *more.values()]
        folder = self._work / f"shards-{_digest(made_of)}"
        if not (folder / "manifest.json").is_file():
            doing(Note(template="Encoding {name} ({part}).", params={"name": source.name, "part": part}))
            told = {"name": source.name, "part": part, "sha256": source.sha256, **more}
            found = self._conversations(documents()) if source.conversations else documents()
            write_shards(found, self._tokenizer, folder, source=told)
        return Shards(folder)

    def _conversations(self, rows: Iterator[Mapping[str, Any]]) -> Iterator[list[int]]:
        """Their ids; those longer than a row are left out, as an answer says nothing without its passage."""
        tokenizer = load_tokenizer(self._tokenizer)
        for row in rows:
            ids, _learnt = encode_chat(tokenizer, row["messages"], row.get("tools") or ())
            if len(ids) < self._length:
                yield ids


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
