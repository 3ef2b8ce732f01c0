"""Attention: what a position sees, what it must not see, and that a cache changes nothing."""

import pytest
import torch
import torch.nn.functional as F

from dizuo.nn.attention import Attention, document_mask
from dizuo.nn.cross_entropy import linear_cross_entropy
from dizuo.nn.dense_attention import dense_attention
from dizuo.nn.gated_silu import gated_silu
from dizuo.nn.norm import RMSNorm
from dizuo.nn.rotary import rotate, rotation


def _by_hand(q, k, v, allowed, bias=0.0):
    """Vaswani et al. 2017, eq. 1, in float64."""
    scores = (q.double() @ k.double().transpose(-2, -1)) / q.shape[-1] ** 0.5 + bias
    return scores.masked_fill(~allowed, float("-inf")).softmax(-1) @ v.double()


@pytest.mark.parametrize(("kv_heads", "head_width"), [(4, None), (2, 6), (1, 10)])
def test_it_is_the_formula_of_the_paper_with_shared_key_value_heads(kv_heads: int, head_width: int | None) -> None:
    torch.manual_seed(0)
    attention = Attention(32, 4, kv_heads=kv_heads, head_width=head_width)
    x, width = torch.randn(2, 7, 32), head_width or 8
    q, k, v = attention.qkv(x).split((4 * width, kv_heads * width, kv_heads * width), dim=-1)
    q, k, v = (one.view(2, 7, -1, width).transpose(1, 2) for one in (q, k, v))
    k, v = (one.repeat_interleave(4 // kv_heads, dim=1) for one in (k, v))
    bias = torch.randn(1, 4, 7, 7)
    causal = torch.ones(7, 7, dtype=torch.bool).tril()
    for given, allowed, added in ((False, torch.ones_like(causal), 0.0), (True, causal, 0.0), (True, causal, bias)):
        expected = _by_hand(q, k, v, allowed, added).float().transpose(1, 2).reshape(2, 7, -1)
        ours = attention(x, causal=given, bias=None if isinstance(added, float) else added)
        torch.testing.assert_close(ours, attention.out(expected), atol=1e-5, rtol=1e-5)


def test_cross_attention_of_a_sequence_over_itself_is_self_attention() -> None:
    own, cross = Attention(16, 2), Attention(16, 2, cross=True)
    weight, bias = own.qkv.weight.data, own.qkv.bias.data
    cross.q.weight.data, cross.kv.weight.data = weight[:16], weight[16:]
    cross.q.bias.data, cross.kv.bias.data = bias[:16], bias[16:]
    cross.out = own.out
    x, mask = torch.randn(2, 5, 16), torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[1, ..., 3:] = False
    torch.testing.assert_close(cross.cross(x, *cross.project(x), mask), own(x, mask))


def test_a_causal_position_never_depends_on_a_later_one() -> None:
    attention = Attention(16, 4, kv_heads=2)
    x = torch.randn(1, 6, 16, requires_grad=True)
    y = attention(x, causal=True)
    for time in range(6):
        (slope,) = torch.autograd.grad(y[0, time].sum(), x, retain_graph=True)
        assert slope[0, time + 1 :].abs().max() == 0 if time < 5 else True
        assert slope[0, : time + 1].abs().amin(dim=0).max() > 0


def test_packed_documents_see_nothing_of_each_other() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 2], [5, 5, 7, 7, 7, 7]])
    attention = Attention(16, 2)
    x = torch.randn(2, 6, 16, requires_grad=True)
    y = attention(x, document_mask(documents))
    for row, time in ((0, 2), (0, 4), (0, 5), (1, 1), (1, 4)):
        (slope,) = torch.autograd.grad(y[row, time].sum(), x, retain_graph=True)
        seen = slope[row].abs().sum(-1) > 0
        expected = (documents[row] == documents[row, time]) & (torch.arange(6) <= time)
        assert seen.tolist() == expected.tolist()


def test_rotated_scores_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(m: int, n: int) -> torch.Tensor:
        at = [rotation(torch.tensor([[place]]), 8, 10_000.0) for place in (m, n)]
        return (rotate(q, at[0]) * rotate(k, at[1])).sum()

    torch.testing.assert_close(score(3, 1), score(903, 901), atol=1e-4, rtol=1e-4)
    assert (score(3, 1) - score(3, 2)).abs() > 1e-3
    torch.testing.assert_close(rotate(q, rotation(torch.tensor([[77]]), 8, 1e4)).norm(), q.norm())


def test_rms_norm_is_that_of_torch_and_keeps_the_type_of_its_input() -> None:
    x, ours = torch.randn(3, 5, 16), RMSNorm(16, 1e-6)
    ours.weight.data = torch.rand(16)
    torch.testing.assert_close(ours(x), F.rms_norm(x, (16,), ours.weight, 1e-6))
    assert ours(x.bfloat16()).dtype == torch.bfloat16


def test_the_gradients_of_norm_and_gate_are_those_of_autograd() -> None:
    torch.manual_seed(6)
    x, slope, weight = torch.randn(3, 5, 16), torch.randn(3, 5, 16), torch.rand(16)
    norm = RMSNorm(16, 1e-6)
    norm.weight.data = weight.clone()
    x.requires_grad_()
    ours = torch.autograd.grad(norm(x), (x, norm.weight), slope)
    weight.requires_grad_()
    torch.testing.assert_close(ours, torch.autograd.grad(F.rms_norm(x, (16,), weight, 1e-6), (x, weight), slope))
    gate, up = x.chunk(2, dim=-1)
    theirs = torch.autograd.grad(F.silu(gate) * up, x, slope[..., :8])
    torch.testing.assert_close(torch.autograd.grad(gated_silu(x), x, slope[..., :8]), theirs)


@pytest.mark.parametrize("ignored", [0, 5, 14])
def test_loss_in_pieces_and_its_gradients_are_those_of_cross_entropy(ignored: int, monkeypatch) -> None:
    monkeypatch.setattr("dizuo.nn.cross_entropy._CHUNK_NUMBERS", 3 * 11)  # three positions at a time
    monkeypatch.setattr("dizuo.nn.cross_entropy._CACHED_NUMBERS", 2 * 11)  # of which two lie in the cache
    torch.manual_seed(1)
    hidden, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((2, 7, 4), (11, 4), (11,)))
    targets = torch.randint(0, 11, (2, 7))
    targets.view(-1)[:ignored] = -100
    total, count = linear_cross_entropy(hidden, weight, targets, bias)
    ours = torch.autograd.grad(3 * total, (hidden, weight, bias))
    logits = F.linear(hidden, weight, bias).flatten(0, 1)
    whole = F.cross_entropy(logits, targets.flatten(), reduction="sum", ignore_index=-100)
    assert int(count) == 14 - ignored
    torch.testing.assert_close(total, whole)
    torch.testing.assert_close(ours, torch.autograd.grad(3 * whole, (hidden, weight, bias)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("rows", [None, 1, 3])
def test_attention_written_out_for_training_has_the_gradients_of_the_fused_one(groups: int, rows: int | None) -> None:
    torch.manual_seed(2)
    made = [torch.randn(3, 7, n, 8).transpose(1, 2).requires_grad_() for n in (4, groups, groups)]
    mask = None if rows is None else torch.randn(rows, 1 if rows == 3 else 4, 7, 7, requires_grad=True)
    inputs = made if mask is None else [*made, mask]
    slope = torch.randn(3, 4, 7, 8)
    ours = dense_attention(made[0], made[1], made[2], mask, 0.3)
    fused = F.scaled_dot_product_attention(*made, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(ours, fused)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs, slope), torch.autograd.grad(fused, inputs, slope))


@pytest.mark.parametrize("masked", [False, True])
def test_causal_attention_by_blocks_of_queries_is_that_of_all_at_once(masked: bool, monkeypatch) -> None:
    monkeypatch.setattr("dizuo.nn.dense_attention._BLOCK", 4)
    torch.manual_seed(7)
    made = [torch.randn(2, 11, n, 8).transpose(1, 2).requires_grad_() for n in (4, 2, 2)]
    documents = torch.tensor([[0] * 5 + [1] * 6, [0] * 11]) if masked else torch.zeros(2, 11)
    mask = document_mask(documents)
    slope = torch.randn(2, 4, 11, 8)
    ours = dense_attention(made[0], made[1], made[2], mask if masked else None, 0.3, causal=True)
    fused = F.scaled_dot_product_attention(*made, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(ours, fused)
    torch.testing.assert_close(torch.autograd.grad(ours, made, slope), torch.autograd.grad(fused, made, slope))


def test_training_in_bfloat16_gives_the_gradients_of_float32_to_its_precision() -> None:
    torch.manual_seed(3)
    attention, x = Attention(32, 4, kv_heads=2), torch.randn(2, 9, 32)
    mask = document_mask(torch.tensor([[0] * 4 + [1] * 5, [0] * 9]))
    exact = torch.autograd.grad(attention(x, mask).square().sum(), attention.qkv.weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = torch.autograd.grad(attention(x, mask).float().square().sum(), attention.qkv.weight)[0]
    assert F.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.999
