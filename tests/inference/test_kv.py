"""Keys and values in slots: a step over many texts gives what each text gives alone."""

import pytest
import torch

from dizuo.inference.kv import DecoderSlots, Segment, SlotCache, _shares, _spans
from dizuo.inference.quantize import arranged
from tests.inference.tiny import make_decoder


@pytest.mark.parametrize(("family", "kv_heads"), [("llama", 2), ("llama", 4), ("qwen2", 2), ("qwen3", 1), ("gpt2", 4)])
def test_texts_in_one_step_get_the_logits_of_the_plain_decoder(family: str, kv_heads: int) -> None:
    decoder = make_decoder(97, family, kv_heads=kv_heads)
    draw = torch.Generator().manual_seed(1)
    one, two = torch.randint(0, 97, (2, 60), generator=draw)
    expected = [decoder.logits(decoder(ids[None])[0]) for ids in (one, two)]
    model = DecoderSlots(arranged(decoder, "float32"), slots=4, tokens=64)

    def step(ids: torch.Tensor, *segments: Segment) -> torch.Tensor:
        return model.logits(model.forward(ids, segments))

    found = step(torch.cat((one[:50], two[:20])), Segment(1, 0, 50), Segment(2, 0, 20))
    torch.testing.assert_close(found, torch.cat((expected[0][:50], expected[1][:20])), atol=1e-4, rtol=1e-4)
    # One goes on by a token while the other reads a piece.
    found = step(torch.cat((one[50:51], two[20:33])), Segment(1, 50, 1), Segment(2, 20, 13))
    torch.testing.assert_close(found, torch.cat((expected[0][50:51], expected[1][20:33])), atol=1e-4, rtol=1e-4)
    # Three texts of different lengths, two of them copies of beginnings.
    model.copy(1, 3, 40)
    model.copy(2, 0, 8)
    found = step(
        torch.stack((two[8], one[51], two[33], one[40])),
        Segment(0, 8, 1), Segment(1, 51, 1), Segment(2, 33, 1), Segment(3, 40, 1),
    )  # fmt: skip
    rows = torch.stack((expected[1][8], expected[0][51], expected[1][33], expected[0][40]))
    torch.testing.assert_close(found, rows, atol=1e-4, rtol=1e-4)
    model.close()


def test_texts_of_unlike_length_do_not_share_a_call() -> None:
    segments = [Segment(0, 9, 1), Segment(1, 9, 1), Segment(2, 900, 1), Segment(5, 900, 1)]
    assert _spans(segments) == [(0, 2), (2, 3), (3, 4)]


def test_threads_get_about_as_many_tokens_each() -> None:
    segments = [Segment(slot, 5, 1) for slot in range(16)] + [Segment(16, 0, 16)]
    assert [sum(one.count for one in share) for share in _shares(segments, 2)] == [16, 16]
    assert _shares(segments, 0) == [segments]


def test_memory_is_what_is_said() -> None:
    config = make_decoder(97).config
    cache = SlotCache(3, 50, config.layers, config.groups, config.width)
    assert sum(layer.nbytes for layer in cache.layers) == 3 * 50 * SlotCache.bytes_per_token(config)
