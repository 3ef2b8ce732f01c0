"""Families that only transformers knows, behind the call of our decoder."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.inference.foreign import ForeignDecoder, load_foreign
from dizuo.inference.kv import ForeignSlots, Segment
from dizuo.nn.checkpoint import is_native

transformers = pytest.importorskip("transformers")

SIZES = {
    "opt": {"vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 40,
            "max_position_embeddings": 64, "word_embed_proj_dim": 24},
    "bloom": {"vocab_size": 60, "hidden_size": 24, "n_layer": 2, "n_head": 4},
    "glm4": {"vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40, "max_position_embeddings": 64},
}  # fmt: skip
MARKS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}


def _save(family: str, folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **SIZES[family], **MARKS)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))  # untrained weights would say one word for ever
    model.save_pretrained(folder)
    return model


def _greedy(model: ForeignDecoder, prompts: list[list[int]], steps: int) -> list[list[int]]:
    """Every text with a cache of its own, all in one call a step."""
    caches = [model.cache() for _ in prompts]
    for prompt, cache in zip(prompts, caches, strict=True):
        model(torch.tensor([prompt[:-1]]), cache=[cache])
    texts = [list(prompt) for prompt in prompts]
    for _ in range(steps):
        logits = model.logits(model(torch.tensor([text[-1:] for text in texts]), cache=caches))
        for text, one in zip(texts, logits[:, -1].argmax(-1).tolist(), strict=True):
            text.append(one)
    return [text[len(prompt) :] for prompt, text in zip(prompts, texts, strict=True)]


@pytest.mark.parametrize("family", SIZES)
def test_it_says_what_transformers_generates(family: str, tmp_path: Path) -> None:
    theirs = _save(family, tmp_path)
    assert not is_native(tmp_path)
    prompts = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17]]
    ours = _greedy(load_foreign(tmp_path), prompts, steps=8)
    for prompt, text in zip(prompts, ours, strict=True):
        expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=8, min_new_tokens=8, do_sample=False)
        if 2 not in text:  # min_new_tokens forbids the end there
            assert expected[0, len(prompt) :].tolist() == text
    assert sum(2 not in text for text in ours) >= 2


@pytest.mark.parametrize("family", SIZES)
def test_a_slot_goes_on_from_the_beginning_of_another(family: str, tmp_path: Path) -> None:
    _save(family, tmp_path)
    model = load_foreign(tmp_path)
    slots = ForeignSlots(model)
    slots.forward(torch.tensor([5, 6, 7, 8, 9]), [Segment(slot=0, past=0, count=5)])
    slots.copy(source=0, target=1, count=3)
    both = [Segment(slot=0, past=5, count=1), Segment(slot=1, past=3, count=2)]
    said = slots.forward(torch.tensor([10, 20, 21]), both)
    for row, text in ((0, [5, 6, 7, 8, 9, 10]), (2, [5, 6, 7, 20, 21])):
        torch.testing.assert_close(said[row], model(torch.tensor([text]))[0, -1], atol=1e-4, rtol=1e-4)


def test_the_config_is_read_under_our_names(tmp_path: Path) -> None:
    _save("opt", tmp_path)
    config = load_foreign(tmp_path).config
    assert (config.family, config.vocab_size, config.positions, config.eos_ids) == ("opt", 60, 64, (2,))


def test_code_that_comes_with_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text("open('ran', 'w')\nclass Model: ...\nclass Config: ...\n")
    own = {"AutoConfig": "modeling.Config", "AutoModelForCausalLM": "modeling.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "surprise", "auto_map": own}))
    with pytest.raises(UserError, match="cannot open"):
        load_foreign(tmp_path)
    assert not Path("ran").exists()


def test_without_transformers_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="pip install transformers"):
        load_foreign(tmp_path)
