"""Fine-tuning on conversations: the loss is on what the assistant says, its calls of tools included.

Rows are `messages` (and `tools`) as the OpenAI protocol has them. Several conversations share a row of the batch; none
sees another. Rows of `text` may be mixed in and are learnt whole, in pieces, so that the language is not unlearnt
(as "PPO-ptx" does, Ouyang et al. 2022, "Training language models to follow instructions", §3.5).
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dizuo.core.errors import UserError
from dizuo.data.overlap import Overlap
from dizuo.data.packing import Batch, best_fit
from dizuo.data.tokenizer import ENDOFTEXT
from dizuo.nn.attention import document_mask
from dizuo.nn.chat import CHAT_TEMPLATE, IM_END, encode_chat, without_added_tokens
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.cross_entropy import IGNORED
from dizuo.nn.decoder import Decoder
from dizuo.nn.tokenizer import tokenizer_of
from dizuo.train.examples import example_batches, on_device_of, shares
from dizuo.train.options import ChatOptions
from dizuo.train.recipe import Recipe
from dizuo.train.rows import RowSet, read_set
from dizuo.train.stage import Made
from dizuo.train.start import start_folder
from dizuo.train.texts import data_folder, evaluation_sha256, present_evaluation_texts

_VERSION = 2  # of the cached encodings
_CHARACTERS = 4  # of a token at most, as texts go: more of a text than can be drawn is not read
_HELD_OUT_TOKENS = 16_384  # of a text
_WINDOW = 512  # conversations that are fitted into rows together


@dataclass(frozen=True)
class Conversation:
    """Token ids, and of each whether the assistant says it."""

    ids: np.ndarray
    learnt: np.ndarray

    def __len__(self) -> int:
        """The places that it takes: what follows the last token is not known."""
        return len(self.ids) - 1


PackedRow = Sequence[Conversation]


class ChatTuning:
    """Supervised fine-tuning of a decoder."""

    Options = ChatOptions

    def prepare(self, recipe: Recipe, work: Path) -> None:
        """Encodes and packs all conversations. Raises UserError when nothing says what to start from, or none fits."""
        if recipe.model.start is None:
            raise UserError("Fine-tuning starts from a trained decoder: name it in model.start, such as local/starter.")
        self._length = recipe.length
        self._start = start_folder(recipe.model.start, work)
        self._work = work
        tokens = recipe.steps * recipe.accumulate * recipe.batch * recipe.length
        most = (tokens * _CHARACTERS, _HELD_OUT_TOKENS * _CHARACTERS)
        sets, held_out = zip(*(read_set(one.name, one.split, most) for one in recipe.data), strict=True)
        self._facts = [one.facts for one in sets]
        self._train = [self._packed(one) for one in sets]
        self._shares = shares([one.weight for one in recipe.data], self._train)
        self._held_out = {one.name: self._packed(one) for one in held_out if one.rows}

    def model(self, recipe: Recipe) -> nn.Module:
        """The decoder of the start."""
        model = load_model(self._start)
        if not isinstance(model, Decoder):
            raise UserError("{folder} is a {found}; fine-tuning on conversations starts from a decoder.",
                            folder=self._start, found=type(model).__name__)  # fmt: skip
        return model.requires_grad_(True)

    def batches(
        self, recipe: Recipe, state: Mapping[str, Any] | None, rank: int, world: int
    ) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Rows of the recipe's length, packed."""
        return example_batches(
            self._train, self._shares, recipe.batch, recipe.seed, state, rank, world,
            length=lambda row: sum(len(one.ids) for one in row), collate=self._collate,
        )  # fmt: skip

    def loss(self, model: Any, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of the assistant's tokens: (sum, tokens)."""
        batch = on_device_of(batch, model)
        hidden = model(batch.ids, positions=batch.positions, mask=document_mask(batch.documents))
        loss, count = model.loss(hidden, batch.targets)
        return loss, int(count)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The loss a token of the assistant, over all held-out conversations and by set."""
        scores: dict[str, float] = {}
        losses, tokens = 0.0, 0
        for name, rows in self._held_out.items():
            total, n = 0.0, 0
            for first in range(0, len(rows), 8):
                loss, count = self.loss(model, self._collate(rows[first : first + 8]))
                total, n = total + float(loss), n + count
            scores[f"val_loss/{name.rpartition('/')[2]}"] = total / n
            losses, tokens = losses + total, tokens + n
        return {"val_loss": losses / tokens, **scores} if tokens else {}

    def finish(self, model: nn.Module, folder: Path, made: Made) -> None:
        """Writes the decoder, which now ends its turns, with the chat template that it was trained with."""
        assert isinstance(model, Decoder)
        tokenizer = tokenizer_of(self._start)
        ends = dict.fromkeys((*model.config.eos_ids, tokenizer.token_to_id(IM_END)))
        model.config = replace(model.config, eos_ids=tuple(one for one in ends if one is not None))
        provenance = made.provenance(self._facts, self._start)
        with tempfile.TemporaryDirectory() as place:
            shutil.copyfile(self._start / "tokenizer.json", Path(place, "tokenizer.json"))
            file = self._start / "tokenizer_config.json"
            config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
            config |= {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": IM_END,
                "chat_template": CHAT_TEMPLATE,
            }
            Path(place, file.name).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
            save_model(model, folder, tokenizer=Path(place), provenance=provenance)

    def _packed(self, rows: RowSet) -> list[PackedRow]:
        fit = [one for one in self._encoded(rows) if len(one) <= self._length and one.learnt.any()]
        if not fit:
            raise UserError("No conversation of {name} fits into {length} tokens. Raise the recipe's length.",
                            name=rows.name, length=self._length)  # fmt: skip
        return pack(fit, self._length)

    def _encoded(self, rows: RowSet) -> list[Conversation]:
        """The rows as ids, from the cache when these rows were encoded by this tokenizer before."""
        texts = isinstance(rows.rows[0].get("text"), str) and "messages" not in rows.rows[0]
        known = hashlib.sha256((self._start / "tokenizer.json").read_bytes())
        known.update(f"{rows.facts['sha256']}:{_VERSION}".encode())
        if texts:
            known.update(f":{self._length}:{evaluation_sha256(data_folder())}".encode())
        file = self._work / "conversations" / f"{known.hexdigest()[:20]}.npz"
        if file.is_file():
            with np.load(file) as held:
                ids, learnt, ends = held["ids"], held["learnt"], held["ends"]
        else:
            encoded = list(self._pieces(rows) if texts else self._conversations(rows))
            if not encoded:  # every text shares words with an evaluation set
                return []
            ids = np.concatenate([np.array(one, dtype=np.int32) for one, _l in encoded])
            learnt = np.concatenate([np.array(one, dtype=np.bool_) for _i, one in encoded])
            ends = np.cumsum([len(one) for one, _l in encoded])
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_name(f".{file.name}")
            np.savez(new, ids=ids, learnt=learnt, ends=ends)
            new.replace(file)
        starts = [0, *ends[:-1].tolist()]
        return [Conversation(ids[a:b], learnt[a:b]) for a, b in zip(starts, ends.tolist(), strict=True)]

    @cached_property
    def _scored(self) -> Overlap:
        return Overlap(present_evaluation_texts(data_folder()))

    def _conversations(self, rows: RowSet) -> Iterator[tuple[list[int], list[bool]]]:
        tokenizer = tokenizer_of(self._start)
        for row in rows.rows:
            yield encode_chat(tokenizer, _field(row, "messages", list, rows.name), row.get("tools") or ())

    def _pieces(self, rows: RowSet) -> Iterator[tuple[list[int], list[bool]]]:
        """Texts, less those that share a run of words with an evaluation set, in pieces of the recipe's length."""
        tokenizer = tokenizer_of(self._start)
        plain, end = without_added_tokens(tokenizer), tokenizer.token_to_id(ENDOFTEXT)
        texts = (_field(row, "text", str, rows.name) for row in rows.rows)
        for text in self._scored.without(texts):
            ids = [*plain.encode(text).ids, *([] if end is None else [end])]
            for at in range(0, len(ids) - 1, self._length):
                piece = ids[at : at + self._length + 1]
                yield piece, [True] * len(piece)

    def _collate(self, rows: Sequence[PackedRow]) -> Batch:
        shape = (len(rows), self._length)
        ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        targets, documents = np.full(shape, IGNORED, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
        for r, row in enumerate(rows):
            at = 0
            for number, one in enumerate(row):
                n = len(one)
                place = slice(at, at + n)
                ids[r, place] = one.ids[:-1]
                targets[r, place] = np.where(one.learnt[1:], one.ids[1:], IGNORED)
                documents[r, place] = number
                positions[r, place] = np.arange(n)
                at += n
        return Batch(*map(torch.from_numpy, (ids, targets, documents, positions)))


def _field(row: Mapping[str, Any], field: str, kind: type, name: str) -> Any:
    if not isinstance(row.get(field), kind):
        raise UserError("The rows of {name} have no field {field!r}; they have {known}.", name=name, field=field,
                        known=", ".join(row))  # fmt: skip
    return row[field]


def pack(conversations: Sequence[Conversation], length: int) -> list[PackedRow]:
    """Rows of at most `length` places."""
    starts = range(0, len(conversations), _WINDOW)
    return [row for at in starts for row in best_fit(conversations[at : at + _WINDOW], length)]
