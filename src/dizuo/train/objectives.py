"""What a model is asked about raw text: the next token, hidden tokens, or cut-out spans.

Each objective makes its kind of model, turns packed rows into questions, and scores the answers. Noise is drawn row by
row from the row's number, so that any batch can be made again, by any number of processes.

Shapes: B rows, T length, N documents of a batch, S source, C channels, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from dizuo.core.errors import UserError
from dizuo.data.packing import Batch
from dizuo.nn.attention import document_mask
from dizuo.nn.cross_entropy import IGNORED, linear_cross_entropy
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder import Encoder, EncoderConfig
from dizuo.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from dizuo.train.recipe import Recipe

# SwiGLU's hidden width by channels that has as many weights as 4 without a gate (Shazeer 2020, section 2).
_GATED_WIDTH = 8 / 3
_WIDTH = 4
_HIDDEN_STEP = 64
_NOISE = 0.15  # share of the tokens that is asked about (Devlin et al. 2019, section 3.1; Raffel et al. 2020, 3.1.4)
_SPAN = 3  # mean tokens of a cut-out span (Raffel et al. 2020, section 3.3.4)


@dataclass(frozen=True)
class Marks:
    """Ids of the special tokens that objectives use."""

    end: int
    pad: int
    mask: int
    sentinels: tuple[int, ...]
    specials: int  # ids below are special tokens, those above are text
    vocab_size: int


class Objective(Protocol):
    """One question about text."""

    def model(self, recipe: Recipe) -> nn.Module:
        """A fresh model of the kind that answers. Raises UserError when the recipe's family is of another kind."""
        ...

    def start(self, model: nn.Module) -> nn.Module | None:
        """A model that a checkpoint holds, made ready to go on; None when it is of another kind."""
        ...

    def ask(self, batch: Batch, rows: Sequence[int]) -> Any:
        """Packed rows as questions; `rows` are the numbers of the rows, from which their noise is drawn."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of -ln p over what is asked, how many tokens that is)."""
        ...

    def finished(self, model: nn.Module) -> nn.Module:
        """What of the model is kept."""
        ...


class Causal:
    """The next token (Radford et al. 2019), for a decoder."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def model(self, recipe: Recipe) -> nn.Module:
        sizes = recipe.model
        _check_family(sizes.family, "causal", ("gpt2", "llama", "qwen2", "qwen3"))
        gated = sizes.family != "gpt2"
        return _built(
            DecoderConfig,
            Decoder,
            family=sizes.family,
            vocab_size=self._marks.vocab_size,
            channels=sizes.channels,
            layers=sizes.layers,
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            hidden=sizes.hidden or _hidden(sizes.channels, _GATED_WIDTH if gated else _WIDTH),
            positions=sizes.positions or recipe.length,
            tied=sizes.tied,
            bos_id=self._marks.end,
            eos_ids=(self._marks.end,),
            pad_id=self._marks.pad,
        )

    def start(self, model: nn.Module) -> nn.Module | None:
        return model if isinstance(model, Decoder) else None

    def ask(self, batch: Batch, rows: Sequence[int]) -> Batch:
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        device = next(model.parameters()).device
        mask = document_mask(batch.documents.to(device))
        hidden = model(batch.ids.to(device), positions=batch.positions.to(device), mask=mask)
        return model.loss(hidden, batch.targets.to(device))  # pyright: ignore[reportCallIssue]

    def finished(self, model: nn.Module) -> nn.Module:
        return model


class MaskedLanguageModel(nn.Module):
    """An encoder, and what turns its vectors into words again: a layer, and the embedding (as BERT's own head)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        channels = encoder.config.channels
        self.encoder = encoder
        self.transform = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels, eps=encoder.config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(encoder.config.vocab_size))
        _init_bert(self.transform)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of -ln p, targets) for ids, positions and targets (B, T) and a mask (B, 1, T, T)."""
        asked = targets != IGNORED
        hidden = self.encoder(ids, mask, positions=positions)[asked]
        hidden = self.norm(F.gelu(self.transform(hidden)))
        return linear_cross_entropy(hidden, self.encoder.tokens.weight, targets[asked], self.bias)


class Masked:
    """Hidden tokens, from what stands around them (Devlin et al. 2019, section 3.1), for an encoder.

    Of 15 % of the tokens, 80 % become the mask, 10 % another token, 10 % stay: the model cannot know which of the
    tokens that it sees are true.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def model(self, recipe: Recipe) -> nn.Module:
        sizes = recipe.model
        _check_family(sizes.family, "masked", ("bert",))
        encoder = _built(
            EncoderConfig,
            Encoder,
            vocab_size=self._marks.vocab_size,
            channels=sizes.channels,
            layers=sizes.layers,
            heads=sizes.heads,
            hidden=sizes.hidden or _hidden(sizes.channels, _WIDTH),
            positions=sizes.positions or recipe.length,
        )
        _init_bert(encoder)
        return MaskedLanguageModel(encoder)

    def start(self, model: nn.Module) -> nn.Module | None:
        return MaskedLanguageModel(model) if isinstance(model, Encoder) else None

    def ask(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """`targets` become the hidden tokens, at their own places."""
        ids, targets = batch.ids.clone(), torch.full_like(batch.ids, IGNORED)
        for row, number in enumerate(rows):
            draw = torch.Generator().manual_seed(number)
            chance, kind = torch.rand(2, ids.shape[1], generator=draw)
            others = torch.randint(self._marks.specials, self._marks.vocab_size, (ids.shape[1],), generator=draw)
            text = (batch.documents[row] >= 0) & (ids[row] >= self._marks.specials)
            asked = text & (chance < _NOISE)
            targets[row, asked] = ids[row, asked]
            ids[row] = torch.where(asked & (kind < 0.8), self._marks.mask, ids[row])
            ids[row] = torch.where(asked & (kind >= 0.9), others, ids[row])
        return Batch(ids, targets, batch.documents, batch.positions)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        device = next(model.parameters()).device
        documents = batch.documents.to(device)
        mask = documents[:, None, :, None] == documents[:, None, None, :]
        return model(batch.ids.to(device), mask, batch.positions.to(device), batch.targets.to(device))

    def finished(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, MaskedLanguageModel)
        return model.encoder


@dataclass(frozen=True)
class SpanBatch:
    """`ids` and `mask` (N, S) of texts with spans cut out; `targets` (N, T) with the spans, -100 behind their end."""

    ids: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor


class Spans:
    """Cut-out spans (Raffel et al. 2020, section 3.1.4), for an encoder-decoder: of every text 15 % of the tokens, in
    spans of 3 on average, are replaced by a mark each; to be said are the marks, each followed by what stood there.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def model(self, recipe: Recipe) -> nn.Module:
        sizes = recipe.model
        _check_family(sizes.family, "span", ("t5",))
        longest = len(self._marks.sentinels) * _SPAN / _NOISE
        if recipe.length > longest:
            raise UserError(
                "The recipe's length is {length}; the tokenizer has marks for the spans of {longest} tokens.",
                length=recipe.length,
                longest=int(longest),
            )
        return _built(
            EncoderDecoderConfig,
            EncoderDecoder,
            family="t5",
            vocab_size=self._marks.vocab_size,
            channels=sizes.channels,
            layers=sizes.layers,
            heads=sizes.heads,
            hidden=sizes.hidden or _hidden(sizes.channels, _WIDTH),
            positions=sizes.positions or recipe.length,
            tied=sizes.tied,
            norm_eps=1e-6,
            pad_id=self._marks.pad,
            eos_id=self._marks.end,
            start_id=self._marks.pad,
        )

    def start(self, model: nn.Module) -> nn.Module | None:
        return model if isinstance(model, EncoderDecoder) else None

    def ask(self, batch: Batch, rows: Sequence[int]) -> SpanBatch:
        sources, targets = [], []
        for row, number in enumerate(rows):
            draw = torch.Generator().manual_seed(number)
            for document in range(int(batch.documents[row].max()) + 1):
                ids = batch.ids[row, batch.documents[row] == document]
                source, target = cut_spans(ids[ids >= self._marks.specials].tolist(), self._marks, draw)
                sources.append(torch.tensor(source))
                targets.append(torch.tensor(target))
        ids = nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=self._marks.pad)
        return SpanBatch(
            ids, ids != self._marks.pad, nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORED)
        )

    def loss(self, model: nn.Module, batch: SpanBatch) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(model, EncoderDecoder)
        device = next(model.parameters()).device
        targets = batch.targets.to(device)
        hidden = model(batch.ids.to(device), model.shifted(targets), batch.mask.to(device))
        return model.loss(hidden, targets)

    def finished(self, model: nn.Module) -> nn.Module:
        return model


def cut_spans(ids: Sequence[int], marks: Marks, draw: torch.Generator) -> tuple[list[int], list[int]]:
    """(the text with a mark for each span, the marks with what they stand for), both ended by the end mark.

    Lengths of the spans, and of what is left between them, are random compositions of their sums, as in T5's code.
    A text of one token has no span.
    """
    noise = min(max(1, round(len(ids) * _NOISE)), len(ids) - 1)
    if noise < 1:
        return [*ids, marks.end], [marks.end]
    spans = min(max(1, round(noise / _SPAN)), len(ids) - noise)
    source, target, at = [], [], 0
    parts = zip(_composition(len(ids) - noise, spans, draw), _composition(noise, spans, draw), strict=True)
    for mark, (kept, cut) in zip(marks.sentinels, parts, strict=False):
        source += [*ids[at : at + kept], mark]
        target += [mark, *ids[at + kept : at + kept + cut]]
        at += kept + cut
    return [*source, *ids[at:], marks.end], [*target, marks.end]


def _composition(total: int, parts: int, draw: torch.Generator) -> list[int]:
    """`total` as a sum of `parts` positive numbers, each such sum as likely as another."""
    cuts = (torch.randperm(total - 1, generator=draw)[: parts - 1] + 1).sort().values.tolist()
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]


OBJECTIVES: dict[str, type[Causal] | type[Masked] | type[Spans]] = {"causal": Causal, "masked": Masked, "span": Spans}


def _init_bert(module: nn.Module) -> None:
    """N(0, 0.02), cut at twice that, for matrices, and 0 for biases, as BERT begins."""
    for name, weight in module.named_parameters():
        if weight.ndim == 2:
            nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)


def _check_family(family: str, objective: str, known: Sequence[str]) -> None:
    if family not in known:
        raise UserError(
            "The recipe's model.family is {family!r}; the objective {objective} takes {known}.",
            family=family,
            objective=objective,
            known=", ".join(known),
        )


def _built(config: Any, model: Any, **sizes: Any) -> Any:
    try:
        return model(config(**sizes))
    except ValueError as error:  # sizes that do not divide
        raise UserError("The recipe's model cannot be made: {reason}.", reason=error) from error


def _hidden(channels: int, times: float) -> int:
    return max(1, math.ceil(channels * times / _HIDDEN_STEP)) * _HIDDEN_STEP
