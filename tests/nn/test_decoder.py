"""The decoder against the ones that it reimplements, weights going both ways; and what its masks and caches promise."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dizuo.nn.attention import document_mask
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.rotary import Llama3Scaling

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
FAMILIES = ("gpt2", "llama", "llama3", "qwen2", "qwen3")


def _theirs(kind: str, seed: int) -> Any:
    """A small model of transformers with random sizes and weights."""
    transformers = pytest.importorskip("transformers")
    draw = random.Random(seed)
    groups, sharing, width = draw.choice([1, 2, 3]), draw.choice([1, 2]), draw.choice([4, 6, 8])
    heads = groups * sharing
    sizes: dict[str, Any] = {"vocab_size": draw.randint(20, 90), "tie_word_embeddings": draw.random() < 0.5}
    if kind == "gpt2":
        sizes |= {"n_embd": heads * width, "n_layer": draw.randint(1, 3), "n_head": heads, "n_positions": 64}
        sizes |= {"n_inner": draw.choice([None, 20])}
        config = transformers.GPT2Config(**sizes, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0)
    else:
        sizes |= {
            "hidden_size": heads * width, "num_hidden_layers": draw.randint(1, 3), "num_attention_heads": heads,
            "num_key_value_heads": groups, "intermediate_size": draw.randint(10, 40), "max_position_embeddings": 64,
            "rms_norm_eps": draw.choice([1e-5, 1e-6]),
        }  # fmt: skip
        rope: dict[str, Any] = {"rope_theta": draw.choice([100.0, 10_000.0])}
        sizes["rope_parameters"] = rope | (LLAMA3 if kind == "llama3" else {"rope_type": "default"})
        if kind == "qwen3":
            sizes["head_dim"] = width + 2  # not channels / heads
        name = {"llama3": "Llama", "llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[kind]
        config = getattr(transformers, f"{name}Config")(**sizes)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():  # biases and scales too: zeros and ones would hide that they are lost
        torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.3)
    return model


def _padded(vocab: int, left: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids (3, 24), which of them are tokens, and their positions."""
    ids, present = torch.randint(0, vocab, (3, 24)), torch.ones(3, 24, dtype=torch.bool)
    for row, length in enumerate((24, 11, 3)):
        if left:
            present[row, : 24 - length] = False
        else:
            present[row, length:] = False
    return ids, present, (present.cumsum(1) - 1).clamp(min=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FAMILIES)
def test_it_computes_what_transformers_computes_and_the_weights_go_both_ways(
    kind: str, seed: int, tmp_path: Path
) -> None:
    import transformers

    theirs = _theirs(kind, seed)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    assert isinstance(ours, Decoder)
    save_model(ours, tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype="auto").eval()
    for left in (False, True):
        ids, present, positions = _padded(ours.config.vocab_size, left)
        mask = present[:, None, None, :] & torch.ones(24, 24, dtype=torch.bool).tril()
        with torch.no_grad():
            logits = ours.logits(ours(ids, positions=positions, mask=mask))[present]
            for model in (theirs, back):
                expected = model(ids, attention_mask=present.long(), position_ids=positions).logits[present]
                torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(ids)), theirs(ids).logits, atol=1e-4, rtol=1e-4)


def _tiny(family: Any, **more: Any) -> Decoder:
    torch.manual_seed(0)
    grouped = {} if family == "gpt2" else {"kv_heads": 2}
    config = DecoderConfig(family, 50, channels=32, layers=2, heads=4, hidden=48, positions=64, **grouped, **more)
    model = Decoder(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.2)
    return model


class _Lists:
    """The plainest key-value cache: all that was seen, one after the other."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if layer in self.held:
            k, v = (torch.cat(pair, dim=2) for pair in zip(self.held[layer], (k, v), strict=True))
        self.held[layer] = k, v
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "qwen3"])
@torch.no_grad()
def test_with_a_cache_token_after_token_gives_what_all_at_once_gives(family: str) -> None:
    model, cache = _tiny(family), _Lists()
    ids, positions = torch.randint(0, 50, (2, 12)), torch.arange(12).expand(2, -1)
    pieces = [(0, 5), (5, 6), (6, 7), (7, 12)]
    parts = [model(ids[:, a:b], positions=positions[:, a:b], cache=cache) for a, b in pieces]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@torch.no_grad()
def test_packed_documents_give_what_each_gives_alone(family: str) -> None:
    model, lengths = _tiny(family), (5, 1, 6)
    ids = torch.randint(0, 50, (1, 12))
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    packed = model(ids, positions=positions, mask=document_mask(documents))
    alone = torch.cat([model(part) for part in ids.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_comes_later_changes_nothing_that_came_before() -> None:
    model, ids = _tiny("qwen3", head_width=10), torch.randint(0, 50, (1, 12))
    other = ids.clone()
    other[0, 7:] = (other[0, 7:] + 1) % 50
    before, after = model(ids), model(other)
    torch.testing.assert_close(before[:, :7], after[:, :7], atol=0, rtol=0)
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_a_new_decoder_starts_near_the_loss_of_guessing_with_quiet_residual_branches() -> None:
    torch.manual_seed(0)
    config = DecoderConfig("llama", 500, channels=64, layers=8, heads=4, hidden=128, positions=32)
    model = Decoder(config)
    ids = torch.randint(0, 500, (4, 32))
    total, count = model.loss(model(ids), ids.roll(-1, dims=1))
    assert float(total.detach() / count) == pytest.approx(torch.tensor(500.0).log().item(), abs=0.05)
    assert model.blocks[3].feed.down.weight.detach().std() == pytest.approx(0.02 / 4, rel=0.05)
    assert model.blocks[3].feed.gate_up.weight.detach().std() == pytest.approx(0.02, rel=0.05)


def test_a_tied_decoder_has_its_embedding_once_and_an_untied_one_twice() -> None:
    tied, untied = _tiny("llama"), _tiny("llama", tied=False)
    extra = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert extra == 50 * 32
    assert tied.head.weight is tied.tokens.weight


@pytest.mark.parametrize("sizes", [{"channels": 33}, {"kv_heads": 3}, {"channels": 12}])
def test_sizes_that_do_not_divide_are_refused(sizes: dict[str, int]) -> None:
    plain = {"channels": 32, "layers": 1, "heads": 4, "hidden": 8, "positions": 8}
    with pytest.raises(ValueError, match=r"divide|even"):
        DecoderConfig("llama", 10, **(plain | sizes))


def test_llama3_scaling_keeps_short_waves_and_slows_long_ones_by_its_factor() -> None:
    scaling = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_positions=8192)
    short, long = torch.tensor(1.0), torch.tensor(1e-5)
    stretched = scaling.stretch(torch.stack((short, long)))
    torch.testing.assert_close(stretched, torch.stack((short, long / 8)))
