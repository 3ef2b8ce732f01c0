"""What an encoder-decoder says to its source: word by word, or by beam search.

Shapes: N sources, S time of the source, K beams, T time of the target, V vocabulary.
"""

from dataclasses import dataclass, field

import torch

from dizuo.nn.encoder_decoder import EncoderDecoder, StepCache


def greedy(model: EncoderDecoder, ids: torch.Tensor, mask: torch.Tensor, max_tokens: int) -> list[list[int]]:
    """The most probable next token each time, for sources (N, S) and their mask: N targets without their end."""
    config = model.config
    memory = model.encode(ids, mask)
    cache = StepCache()
    texts: list[list[int]] = [[] for _ in ids]
    open_texts = list(range(len(ids)))
    last = torch.full((len(ids), 1), config.start_id, device=ids.device)
    for _ in range(max_tokens):
        tokens = _log_probs(model, last, memory, mask, cache).argmax(-1)
        going = tokens != config.eos_id
        for text, token in zip(open_texts, tokens.tolist(), strict=True):
            if token != config.eos_id:
                texts[text].append(token)
        if not going.all():  # those that ended cost nothing from here on
            rows = going.nonzero().squeeze(1)
            open_texts = [open_texts[row] for row in rows.tolist()]
            memory, mask, tokens = memory[rows], mask[rows], tokens[rows]
            cache.select(rows)
            cache.select_memory(rows)
        if not open_texts:
            break
        last = tokens[:, None]
    return texts


def beam_search(
    model: EncoderDecoder, ids: torch.Tensor, mask: torch.Tensor, beams: int, length_penalty: float, max_tokens: int
) -> list[list[int]]:
    """The best target of each source (N, S), keeping the K most probable beginnings: N targets without their end.

    Best is by log P(Y) / lp(Y) with lp(Y) = ((5 + |Y|) / 6)^α (Wu et al. 2016, eq. 14), α = `length_penalty` ≥ 0.
    """
    config = model.config
    best = [_Best() for _ in ids]
    open_texts = torch.arange(len(ids), device=ids.device)
    memory, cache = model.encode(ids, mask), StepCache()
    history = torch.empty(len(ids), beams, 0, dtype=torch.long, device=ids.device)
    last = torch.full((len(ids) * beams, 1), config.start_id, device=ids.device)
    # All beams of a text begin alike: only the first counts in the first step.
    scores = torch.full((len(ids), beams), float("-inf"), device=ids.device)
    scores[:, 0] = 0.0
    for length in range(1, max_tokens + 1):
        log_probs = _log_probs(model, last, memory, mask, cache)
        vocab_size = log_probs.shape[-1]
        # 2K, of which at most K end: K are left to go on with.
        sums, picks = (scores.view(-1, 1) + log_probs).view(len(open_texts), -1).topk(2 * beams)
        origins, tokens = picks // vocab_size, picks % vocab_size
        ends = tokens == config.eos_id
        closed = ends if length < max_tokens else torch.ones_like(ends)
        final = (sums / _penalty(length, length_penalty)).masked_fill(~closed, float("-inf"))[:, :beams]
        for row, (score, rank) in enumerate(zip(*(one.tolist() for one in final.max(1)), strict=True)):
            text = best[int(open_texts[row])]
            if score > text.score:
                said = history[row, origins[row, rank]].tolist()
                text.score, text.tokens = score, said + ([] if ends[row, rank] else [int(tokens[row, rank])])
        scores, ranks = sums.masked_fill(ends, float("-inf")).topk(beams)
        origins, tokens = origins.gather(1, ranks), tokens.gather(1, ranks)
        # Sums only fall and the penalty only divides by more: what no beam can reach any more is decided.
        reachable = scores[:, 0] / _penalty(max_tokens, length_penalty)
        found = torch.tensor([best[text].score for text in open_texts.tolist()], device=ids.device)
        rows = (found < reachable).nonzero().squeeze(1)
        if not len(rows):
            break
        history = torch.cat((history.gather(1, origins[..., None].expand_as(history)), tokens[..., None]), dim=2)[rows]
        cache.select((rows[:, None] * beams + origins[rows]).flatten())
        if len(rows) < len(open_texts):
            cache.select_memory(rows)
            open_texts, memory, mask, scores = open_texts[rows], memory[rows], mask[rows], scores[rows]
        last = history[:, :, -1].reshape(-1, 1)
    return [text.tokens for text in best]


@dataclass
class _Best:
    score: float = float("-inf")
    tokens: list[int] = field(default_factory=list)


def _penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def _log_probs(
    model: EncoderDecoder, last: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor, cache: StepCache
) -> torch.Tensor:
    """(rows, V) of the token after `last`. Padding is no word; the rest keeps the probability that the model gave."""
    logits = model.logits(model.decode(last, memory, mask, cache)[:, -1]).float()
    log_probs = logits.log_softmax(-1)
    if model.config.pad_id != model.config.eos_id:
        log_probs[:, model.config.pad_id] = float("-inf")
    return log_probs
