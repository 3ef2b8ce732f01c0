"""Which weights learn by which rule, and that the rules are what their papers say."""

import torch
from torch import nn

from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.train.optimizers import make_optimizers, remember_peaks, set_rates
from dizuo.train.recipe import Recipe, parse_recipe


def recipe(**more: object) -> Recipe:
    return parse_recipe({"stage": "pretrain", "data": [{"name": "guide"}], "steps": 3, **more})


def small() -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig("llama", vocab_size=50, channels=16, layers=1, heads=2, hidden=32, positions=8))


def learn(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    for optimizer in optimizers:
        optimizer.step()


def test_adamw_is_loshchilov_and_hutter_written_out_with_decay_on_matrices_only() -> None:
    ours, theirs = small(), small()
    optimizers = make_optimizers(ours, recipe(lr=0.01, weight_decay=0.3))
    moments = {name: [torch.zeros_like(w), torch.zeros_like(w)] for name, w in theirs.named_parameters()}
    for step in range(1, 4):
        learn(ours, optimizers)
        learn(theirs, [])
        with torch.no_grad():
            for name, weight in theirs.named_parameters():
                assert weight.grad is not None
                first, second = moments[name]
                first.mul_(0.9).add_(weight.grad, alpha=0.1)
                second.mul_(0.95).addcmul_(weight.grad, weight.grad, value=0.05)
                weight.mul_(1 - 0.01 * (0.3 if weight.ndim == 2 else 0.0))
                weight -= 0.01 * (first / (1 - 0.9**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_muon_moves_a_hidden_matrix_by_a_nearly_orthogonal_step_scaled_by_its_shape() -> None:
    model = small()
    weight = model.blocks[0].feed.gate_up.weight  # 64 × 16
    before = weight.detach().clone()
    learn(model, make_optimizers(model, recipe(optimizer="muon", muon_lr=0.1, weight_decay=0.0)))
    singular = torch.linalg.svdvals((before - weight.detach()) / 0.1) / (64 / 16) ** 0.5
    assert singular.min() > 0.6  # five Newton-Schulz steps with Jordan's coefficients end within about 0.7 … 1.2
    assert singular.max() < 1.3


def test_muon_takes_hidden_matrices_and_adamw_the_embedding_and_the_gains() -> None:
    model = small()
    muon, adamw = make_optimizers(model, recipe(optimizer="muon"))
    names = {id(weight): name for name, weight in model.named_parameters()}
    by_muon = {names[id(w)] for group in muon.param_groups for w in group["params"]}
    by_adamw = {names[id(w)] for group in adamw.param_groups for w in group["params"]}
    assert by_muon == {name for name in names.values() if name.startswith("blocks") and "norm" not in name}
    assert by_muon | by_adamw == set(names.values())


def test_rates_are_shares_of_each_groups_peak() -> None:
    optimizers = make_optimizers(small(), recipe(optimizer="muon", lr=0.4, muon_lr=0.2))
    peaks = remember_peaks(optimizers)
    set_rates(optimizers, peaks, 0.5)
    assert [group["lr"] for one in optimizers for group in one.param_groups] == [0.1, 0.2, 0.2]
