"""Texts to texts with an encoder-decoder: tokenised, batched by length, searched, decoded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dizuo.core.errors import UserError
from dizuo.core.once import once
from dizuo.nn.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dizuo.nn.encoder_decoder import EncoderDecoder

# Rows of one batch, a row being a source for each beam.
_BATCH_ROWS = 64


class Translator:
    """A checkpoint of an encoder-decoder. Tokenizer and weights load when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def translate(
        self, texts: Sequence[str], *, beams: int = 1, length_penalty: float = 0.6, max_tokens: int | None = None
    ) -> list[str]:
        """A translation of each text, in their order; an empty text stays empty.

        One beam takes the most probable word each time; more search (Wu et al. 2016, section 7), and there
        `length_penalty` is α of eq. 14: at 0 short translations win. `max_tokens` ends what does not end by itself;
        the longest text of the model does in any case. Raises UserError when a text is longer than the model reads.
        """
        if beams < 1 or length_penalty < 0:
            raise UserError(
                "beams is at least 1 and length_penalty at least 0, not {beams} and {penalty}.",
                beams=beams,
                penalty=length_penalty,
            )
        sources = [self._source(text) for text in texts]
        positions = self._model.config.positions
        limit = min(max_tokens or positions, positions)
        translations = [""] * len(texts)
        for batch in _batches([len(source) for source in sources], max(1, _BATCH_ROWS // beams)):
            targets = self._search([sources[i] for i in batch], beams, length_penalty, limit)
            for i, target in zip(batch, targets, strict=True):
                translations[i] = self._tokenizer.decode(target).strip()
        return translations

    def _source(self, text: str) -> list[int]:
        """Ids with the end that the encoder was trained to see; none for an empty text."""
        if not text.strip():
            return []
        config = self._model.config
        ids = self._tokenizer.encode(text).ids
        ids = ids if ids[-1:] == [config.eos_id] else [*ids, config.eos_id]
        if len(ids) > config.positions:
            raise UserError(
                "The text {start!r} … has {tokens} tokens; the model reads {limit}. Translate it sentence by sentence.",
                start=text[:40],
                tokens=len(ids),
                limit=config.positions,
            )
        return ids

    def _search(self, sources: list[list[int]], beams: int, length_penalty: float, limit: int) -> list[list[int]]:
        import torch

        from dizuo.inference.search import beam_search, greedy

        model = self._model
        ids = torch.full((len(sources), max(map(len, sources))), model.config.pad_id)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for row, source in enumerate(sources):
            ids[row, : len(source)] = torch.tensor(source)
            mask[row, : len(source)] = True
        with torch.inference_mode():
            if beams == 1:
                return greedy(model, ids, mask, limit)
            return beam_search(model, ids, mask, beams, length_penalty, limit)

    @once
    def _tokenizer(self) -> "Tokenizer":
        return tokenizer_of(self._folder)  # uncut: a text that is too long is refused

    @once
    def _model(self) -> "EncoderDecoder":
        from dizuo.inference.packed import pack
        from dizuo.nn.checkpoint import load_model
        from dizuo.nn.encoder_decoder import EncoderDecoder

        model = load_model(self._folder)
        if not isinstance(model, EncoderDecoder):
            raise UserError(
                "The checkpoint {folder} does not translate: it is no encoder-decoder.", folder=self._folder
            )
        pack(model.requires_grad_(False))
        return model


def _batches(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Positions of what is not empty, texts of like length together."""
    order = sorted((i for i, length in enumerate(lengths) if length), key=lengths.__getitem__)
    for start in range(0, len(order), rows):
        yield order[start : start + rows]
