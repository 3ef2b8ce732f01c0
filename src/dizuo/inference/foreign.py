"""Decoders of families that `nn` does not cover (OPT, BLOOM, GLM, …), computed by transformers behind the same call.

transformers is loaded when such a model is first opened, and never runs code that comes with a checkpoint.
Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dizuo.core.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ForeignConfig:
    """What an engine asks of a model's config, under the names of `DecoderConfig`."""

    family: str
    vocab_size: int
    layers: int
    positions: int | None  # longest text in tokens; None where the model sets no limit (BLOOM)
    bos_id: int | None
    eos_ids: tuple[int, ...]
    pad_id: int | None


class ForeignCache:
    """The keys and values of one text in a foreign model: families differ in what they keep, so they keep it."""

    def __init__(self, keep: Any) -> None:
        self.keep = keep

    @property
    def length(self) -> int:
        """Positions that are held."""
        return int(self.keep.get_seq_length())

    def cut(self, length: int) -> None:
        """Forgets what comes after the first `length` positions."""
        if self.length > length:
            self.keep.crop(length - self.length)  # a negative number is how many go

    def copy(self) -> "ForeignCache":
        """One that goes its own way from here on (a prefix that several texts share)."""
        from copy import deepcopy

        return ForeignCache(deepcopy(self.keep))


class ForeignDecoder:
    """A language model of transformers, called as `Decoder` is.

    What it calls hidden states are logits already: families scale or cap them in ways of their own.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        said = model.config.get_text_config()  # of what also sees or hears, the part that writes
        self.config = ForeignConfig(
            family=said.model_type,
            vocab_size=said.vocab_size,
            layers=said.num_hidden_layers,
            positions=getattr(said, "max_position_embeddings", None),
            bos_id=getattr(said, "bos_token_id", None),
            eos_ids=_ids(model.generation_config.eos_token_id) or _ids(getattr(said, "eos_token_id", None)),
            pad_id=getattr(said, "pad_token_id", None),
        )

    def __call__(self, ids: "torch.Tensor", *, cache: Sequence[ForeignCache] | None = None) -> "torch.Tensor":
        """(B, T) ids to logits (B, T, V), causally.

        `cache` has an entry for each row, its text so far; ids are then the new positions only. Rows are computed one
        after the other there, because texts of different lengths share no call that is right for every family.
        """
        import torch

        if cache is None:
            return self._model(input_ids=ids, use_cache=False).logits
        assert len(cache) == len(ids)
        rows = [
            self._model(input_ids=row[None], past_key_values=one.keep, use_cache=True).logits
            for row, one in zip(ids, cache, strict=True)
        ]
        return torch.cat(rows)

    def logits(self, hidden: "torch.Tensor") -> "torch.Tensor":
        """What `__call__` returned, as it is."""
        return hidden

    def cache(self) -> ForeignCache:
        """An empty one, for one text."""
        from transformers import DynamicCache

        return ForeignCache(DynamicCache(config=self._model.config))


def load_foreign(folder: Path, dtype: "torch.dtype | None" = None) -> ForeignDecoder:
    """The decoder of a checkpoint that only transformers knows, with its weights in `dtype` (float32).

    Raises UserError when transformers is not installed or cannot open the folder, which includes checkpoints that
    bring code of their own, and those with weights in a pickle.
    """
    import torch

    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise UserError(
            "The checkpoint {folder} is of a family that is computed by transformers, which is not installed. "
            "Install it: pip install transformers",
            folder=folder,
        ) from error
    logging.disable_progress_bar()  # pyright: ignore[reportPrivateImportUsage]
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=dtype or torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            "transformers cannot open the checkpoint {folder}: {reason}", folder=folder, reason=_first_line(error)
        ) from error
    return ForeignDecoder(model.eval().requires_grad_(False))


def _ids(said: Any) -> tuple[int, ...]:
    return () if said is None else (said,) if isinstance(said, int) else tuple(said)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
