"""What fits, and what is refused before it is tried."""

from pathlib import Path

import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.train import estimate
from dizuo.train.distributed import join_world
from dizuo.train.pretrain import Pretrain
from dizuo.train.recipe import load_recipe


def test_a_giant_is_refused_before_it_is_built() -> None:
    recipe = load_recipe("tiny", ["model.channels=65536", "model.layers=200", "model.heads=64"])
    with pytest.raises(UserError, match=r"needs about [\d,.]+ GB of memory .* choose a smaller model"):
        estimate.estimate(recipe, Path())


def test_a_batch_too_large_for_the_memory_is_refused_with_what_to_change(tmp_path: Path) -> None:
    recipe = load_recipe("tiny", ["batch=1000000"])
    model, _batch = Pretrain().rehearse(recipe, 1, Path())
    with pytest.raises(UserError, match=r"Lower batch \(now 1000000\) and raise accumulate"):
        estimate.require_fit(model, recipe, join_world(), tmp_path)


def test_a_full_disk_is_told_before_the_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = load_recipe("tiny")
    model, _batch = Pretrain().rehearse(recipe, 1, Path())
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _path: estimate.shutil._ntuple_diskusage(9, 9, 1000))
    with pytest.raises(UserError, match=r"needs 17 MB of disk and 0 MB are free"):
        estimate.require_fit(model, recipe, join_world(), tmp_path)


def test_memory_counts_weights_gradients_optimizer_and_activations() -> None:
    recipe = load_recipe("tiny", ["precision=bfloat16", "batch=1"])  # one row: one thread
    model, _batch = Pretrain().rehearse(recipe, 1, Path())
    weights = sum(weight.numel() for weight in model.parameters())
    activations = 3 * 128 * (34 * 96 + 5 * 3 * 128)
    logits = 128 * 1024 * 6
    assert estimate.memory_needed(model, recipe, join_world()) == weights * 16 + activations + logits


def test_free_memory_is_what_the_machine_says() -> None:
    assert 0 < estimate.free_memory_bytes(torch.device("cpu")) < 1 << 50
