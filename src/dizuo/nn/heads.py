"""Heads: what a task puts on top of an encoder or a decoder. Shapes: B batch, T time, C channels, N labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from dizuo.nn.decoder import Decoder
from dizuo.nn.encoder import Encoder, mean_pool

# What the numbers of a classifier mean: one label of all, each label by itself, or a value (a score of a pair).
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]


class SequenceClassifier(nn.Module):
    """Labels or a score for a whole text or a pair of texts (Devlin et al. 2019, section 4.1)."""

    def __init__(
        self, encoder: Encoder, labels: Sequence[str], problem: Problem = "single_label_classification"
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.labels = tuple(labels)
        self.problem = problem
        self.pooler = _linear(encoder.config.channels, encoder.config.channels)
        self.classifier = _linear(encoder.config.channels, len(self.labels))

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, segments: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T) ids, mask and segments as `Encoder` takes them, to logits (B, N)."""
        first = self.encoder(ids, mask, segments)[:, 0]  # the mark [CLS] stands for the whole
        return self.classifier(torch.tanh(self.pooler(first)))


class SpanReader(nn.Module):
    """Where an answer begins and ends in a passage (Devlin et al. 2019, section 4.2)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.ends = _linear(encoder.config.channels, 2)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, segments: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T) ids of question and passage to the logits of each position as start, and as end, both (B, T)."""
        start, end = self.ends(self.encoder(ids, mask, segments)).unbind(dim=-1)
        return start, end


class TokenClassifier(nn.Module):
    """A label for every token (Devlin et al. 2019, section 5.3)."""

    def __init__(self, encoder: Encoder, labels: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.labels = tuple(labels)
        self.classifier = _linear(encoder.config.channels, len(self.labels))

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None = None, segments: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T) ids to logits (B, T, N)."""
        return self.classifier(self.encoder(ids, mask, segments))


class SentenceEncoder(nn.Module):
    """One vector of length 1 for a text: the mean over its tokens (Reimers and Gurevych 2019, section 3)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T) ids to (B, C); the dot product of two is their cosine."""
        return mean_pool(self.encoder(ids, mask), mask)


class RewardModel(nn.Module):
    """How good a text is, as one number at its last token (Ouyang et al. 2022, section 3.5)."""

    def __init__(self, decoder: Decoder) -> None:
        """Takes the decoder over. Its output matrix is not used, and given up where it is one of its own."""
        super().__init__()
        decoder.config = replace(decoder.config, tied=True)
        decoder.tie()
        self.decoder = decoder
        self.score = nn.Linear(decoder.config.channels, 1, bias=False)
        nn.init.normal_(self.score.weight, std=0.02)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T) ids to rewards (B,). `mask` (B, T) of bool is True where there is a token; padding is at the end."""
        hidden = self.decoder(ids)
        last = ids.shape[1] - 1 if mask is None else mask.sum(dim=1) - 1
        return self.score(hidden[torch.arange(len(ids), device=ids.device), last]).squeeze(-1)

    def tie(self) -> None:
        """As `Decoder.tie`."""
        self.decoder.tie()


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear
