"""int8 weights: on disk, and in the engine."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dizuo.core.errors import UserError
from dizuo.inference.engine import TextEngine
from dizuo.inference.linears import Int8, fast_int8, product
from dizuo.inference.quantize import precision_of
from dizuo.nn.checkpoint import load_model
from dizuo.nn.int8 import from_int8, save_int8, to_int8
from tests.inference.tiny import make_checkpoint

kernel = pytest.mark.skipif(not fast_int8(), reason="this processor or PyTorch has no fast int8")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = make_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
    save_int8(folder, folder.with_name("tiny-int8"))
    return folder, folder.with_name("tiny-int8")


def test_a_matrix_in_int8_is_off_by_half_a_step_at_most() -> None:
    weight = torch.randn(20, 30) * torch.logspace(-3, 3, 20)[:, None]
    stored = to_int8({"w": weight, "norm": torch.ones(3), "zero": torch.zeros(2, 2)})
    back = from_int8(stored)
    assert ((back["w"] - weight).abs() <= stored["w_scale"][:, None] * 0.5001).all()
    assert set(back) == {"w", "norm", "zero"}
    assert not back["zero"].any()
    torch.testing.assert_close(to_int8(back)["w"], stored["w"])  # rounding twice changes nothing


def test_a_folder_in_int8_is_a_quarter_and_scores_like_the_original(folders: tuple[Path, Path]) -> None:
    sizes = [(folder / "model.safetensors").stat().st_size for folder in folders]
    matrices = [one for one in load_file(folders[0] / "model.safetensors").values() if one.ndim == 2]
    wide = sum(one.numel() * 4 for one in matrices) / sum(one.numel() + 4 * len(one) for one in matrices)
    assert sizes[0] / sizes[1] > 0.85 * wide  # of these tiny matrices; 512 columns give 3.97
    scored = []
    for folder in folders:
        engine = TextEngine(folder, slots=1)
        scored.append([one.logprob for one in engine.score("The quick brown fox jumps over the dog")[1:]])
        engine.close()
    assert scored[1] == pytest.approx(scored[0], abs=0.25)


def test_it_loads_as_the_weights_that_it_stands_for(folders: tuple[Path, Path]) -> None:
    plain, rounded = (load_model(folder).state_dict() for folder in folders)
    for name, weight in plain.items():
        torch.testing.assert_close(rounded[name], weight, atol=float(weight.abs().max()) / 250, rtol=0)


def test_the_engine_computes_in_the_precision_of_the_checkpoint(folders: tuple[Path, Path]) -> None:
    assert precision_of(folders[0]) == "float32"
    if fast_int8():
        assert precision_of(folders[1]) == "int8"


@kernel
def test_a_token_gets_the_same_bits_whatever_is_beside_it() -> None:
    weight, bias = torch.randn(40, 64), torch.randn(40)
    x = torch.randn(9, 64) * torch.logspace(-4, 4, 9)[:, None]
    layer = Int8(weight, bias)
    with torch.inference_mode():
        together = layer.times(x)
        for row in range(9):
            assert torch.equal(layer.times(x[row : row + 1])[0], together[row])


@kernel
def test_an_int8_product_is_near_the_exact_one() -> None:
    weight, x = torch.randn(64, 256), torch.randn(7, 256)
    x[3] = 0
    exact = x @ weight.T
    with torch.inference_mode():
        found = product(weight, None, "int8").times(x)
        assert ((found - exact).norm() / exact.norm()).item() < 0.02
        assert not found[3].any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_form_of_a_product_agrees(precision: str) -> None:
    weight, bias, x, residual = torch.randn(32, 48), torch.randn(32), torch.randn(5, 48), torch.randn(5, 32)
    layer = product(weight, bias, precision)
    scale = torch.rand(5, 1) + 0.5
    close = {"atol": 1e-4, "rtol": 1e-4} if precision == "float32" else {"atol": 0.3, "rtol": 0.05}
    torch.testing.assert_close(layer.times(x, scale), (x * scale) @ weight.T + bias, **close)
    torch.testing.assert_close(layer.added(x, residual), residual + x @ weight.T + bias, **close)


def test_a_folder_whose_scales_are_missing_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    save_int8(folders[0], tmp_path / "damaged")
    file = tmp_path / "damaged/model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "gate" not in k or "scale" not in k}, file)
    with pytest.raises(UserError, match="int8 without a scale"):
        load_model(tmp_path / "damaged")
    with pytest.raises(UserError, match="quantised already"):
        save_int8(folders[1], tmp_path / "again")
    with pytest.raises(UserError, match="exists already"):
        save_int8(folders[0], folders[1])
    assert json.loads((folders[1] / "config.json").read_text())["quantization_config"]["bits"] == 8
