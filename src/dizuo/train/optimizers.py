"""Optimizers: which weights learn by which rule.

AdamW (Loshchilov and Hutter 2019) for all, or Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) for the
matrices inside the blocks and AdamW for the rest: embeddings, the output matrix, gains and biases.
"""

from collections.abc import Sequence

import torch
from torch import nn

from dizuo.train.recipe import Recipe

_BETAS = (0.9, 0.95)  # as GPT-3 (Brown et al. 2020, appendix B) and Llama have them


def make_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW alone, or Muon and AdamW. Weight decay is for matrices only: a gain or bias pulled to 0 helps nothing."""
    hidden, matrices, others = _sorted(model)
    if recipe.optimizer == "adamw":
        matrices, hidden = hidden + matrices, []
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=recipe.lr, betas=_BETAS, eps=1e-8, foreach=True
    )
    if not hidden:
        return [adamw]
    # PyTorch's own: momentum, the quintic Newton-Schulz iteration, and the step scaled by max(1, rows / columns)^0.5.
    muon = torch.optim.Muon(hidden, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95)
    return [muon, adamw]


def remember_peaks(optimizers: Sequence[torch.optim.Optimizer]) -> list[list[float]]:
    """The learning rate of each group as it is now: what `set_rates` takes shares of."""
    return [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]


def set_rates(optimizers: Sequence[torch.optim.Optimizer], peaks: Sequence[Sequence[float]], share: float) -> None:
    """Sets every group's learning rate to a share of its peak."""
    for optimizer, lrs in zip(optimizers, peaks, strict=True):
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr * share


def _sorted(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices of linear layers inside, other matrices, the rest). A tied weight is an embedding."""
    looked_up = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    inside = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "." in name and ".head" not in f".{name}"
    }
    hidden, matrices, others = [], [], []
    for weight in model.parameters():
        if not weight.requires_grad:
            continue
        if weight.ndim < 2:
            others.append(weight)
        elif id(weight) in inside and id(weight) not in looked_up and weight.ndim == 2:
            hidden.append(weight)
        else:
            matrices.append(weight)
    return hidden, matrices, others
