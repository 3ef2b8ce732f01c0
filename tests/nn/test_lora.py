"""Low-rank adapters: eq. 3, what is left to train, and the layout of PEFT."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from dizuo.nn.lora import add_lora, load_lora, lora_parameters, merge_lora, save_lora

IDS = torch.arange(2, 16).view(2, 7)
MODELS = {
    "llama": (lambda: Decoder(DecoderConfig("llama", 50, 24, 2, 4, 40, 16, kv_heads=2)), ["v_proj", "up_proj"]),
    "gpt2": (lambda: Decoder(DecoderConfig("gpt2", 50, 24, 2, 4, 40, 16)), ["c_attn", "mlp.c_proj"]),
    "marian": (lambda: EncoderDecoder(EncoderDecoderConfig("marian", 50, 24, 2, 4, 40)), ["q_proj", "v_proj", "fc2"]),
}


def _model(name: str) -> tuple[Any, list[str]]:
    torch.manual_seed(0)
    make, targets = MODELS[name]
    return make().eval(), targets


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(IDS, IDS) if isinstance(model, EncoderDecoder) else model(IDS))


def _randomised(model: Any) -> None:
    with torch.no_grad():
        for weight in lora_parameters(model):
            weight.normal_(std=0.3)


@pytest.mark.parametrize("name", MODELS)
def test_it_begins_as_the_plain_model_and_merges_into_what_it_became(name: str) -> None:
    model, targets = _model(name)
    plain, names = _logits(model), set(model.state_dict())
    add_lora(model, rank=3, alpha=6, targets=targets)
    torch.testing.assert_close(_logits(model), plain)
    _randomised(model)
    adapted = _logits(model)
    assert not torch.allclose(adapted, plain, atol=1e-2)
    merge_lora(model)
    torch.testing.assert_close(_logits(model), adapted, atol=1e-5, rtol=1e-4)
    assert set(model.state_dict()) == names


def test_only_the_adapters_learn() -> None:
    model, targets = _model("llama")
    add_lora(model, rank=3, targets=targets)
    adapters = {id(weight) for weight in lora_parameters(model)}
    assert {id(weight) for weight in model.parameters() if weight.requires_grad} == adapters
    # r·(I + O) for each target (section 4.1): v has 12 rows of 24, up 40 of 24, in two layers.
    assert sum(weight.numel() for weight in lora_parameters(model)) == 2 * 3 * ((24 + 12) + (24 + 40))


def test_one_target_of_a_fused_matrix_changes_its_rows_only() -> None:
    model, _targets = _model("llama")
    before = model.blocks[0].attention.qkv.weight.clone()
    add_lora(model, rank=2, targets=["v_proj"])
    _randomised(model)
    merge_lora(model)
    changed = (model.blocks[0].attention.qkv.weight != before).any(dim=1)
    assert changed.tolist() == [False] * (24 + 12) + [True] * 12


@pytest.mark.parametrize("name", MODELS)
def test_saved_adapters_are_loaded_again(name: str, tmp_path: Path) -> None:
    model, targets = _model(name)
    save_model(model, tmp_path / "base")
    add_lora(model, rank=3, alpha=5, targets=targets)
    _randomised(model)
    save_lora(model, tmp_path / "adapter", base_model="local/base")
    again = load_model(tmp_path / "base")
    load_lora(again, tmp_path / "adapter")
    torch.testing.assert_close(_logits(again), _logits(model))


def test_the_folder_has_the_layout_of_peft(tmp_path: Path) -> None:
    model, targets = _model("llama")
    add_lora(model, rank=3, alpha=6, targets=targets)
    save_lora(model, tmp_path, base_model="local/base")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 6)
    assert (config["task_type"], config["base_model_name_or_path"]) == ("CAUSAL_LM", "local/base")
    shapes = {name: tuple(weight.shape) for name, weight in load_file(tmp_path / "adapter_model.safetensors").items()}
    assert shapes["base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"] == (12, 3)
    assert shapes["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] == (3, 24)
    assert len(shapes) == 2 * 2 * 2


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers by an old name
@pytest.mark.parametrize("name", MODELS)
def test_peft_opens_our_adapters_and_we_open_those_of_peft(name: str, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model, targets = _model(name)
    save_model(model, tmp_path / "base")
    add_lora(model, rank=3, alpha=6, targets=targets)
    _randomised(model)
    save_lora(model, tmp_path / "ours")
    kind = transformers.AutoModelForSeq2SeqLM if name == "marian" else transformers.AutoModelForCausalLM
    inputs = {"input_ids": IDS} | ({"decoder_input_ids": IDS} if name == "marian" else {})
    theirs = peft.PeftModel.from_pretrained(kind.from_pretrained(tmp_path / "base"), tmp_path / "ours").eval()
    torch.testing.assert_close(theirs(**inputs).logits.detach(), _logits(model), atol=1e-4, rtol=1e-4)
    config = peft.LoraConfig(
        r=4, lora_alpha=7, target_modules=targets, init_lora_weights=False, fan_in_fan_out=name == "gpt2"
    )
    theirs = peft.get_peft_model(kind.from_pretrained(tmp_path / "base"), config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_model(tmp_path / "base")
    load_lora(again, tmp_path / "theirs")
    torch.testing.assert_close(theirs(**inputs).logits.detach(), _logits(again), atol=1e-4, rtol=1e-4)


def test_an_unknown_target_is_refused_with_those_that_exist() -> None:
    model, _targets = _model("llama")
    with pytest.raises(UserError, match=r"'query'.*q_proj"):
        add_lora(model, targets=["query"])


def test_adapters_on_adapters_are_refused() -> None:
    model, targets = _model("llama")
    add_lora(model, targets=targets)
    with pytest.raises(UserError, match="already"):
        add_lora(model, targets=targets)


@pytest.mark.parametrize(
    ("change", "said"), [({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "LoRA"), ({"r": 5}, "does not fit")]
)
def test_adapters_that_mean_something_else_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    model, targets = _model("llama")
    add_lora(model, rank=3, targets=targets)
    save_lora(model, tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=said):
        load_lora(_model("llama")[0], tmp_path)


def test_a_damaged_adapter_file_is_named(tmp_path: Path) -> None:
    model, targets = _model("llama")
    add_lora(model, targets=targets)
    save_lora(model, tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors"):
        load_lora(_model("llama")[0], tmp_path)
