"""The encoder against the one it reimplements."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import load_encoder
from dizuo.nn.encoder import Encoder, EncoderConfig, mean_pool

TINY = EncoderConfig(vocab_size=50, channels=24, layers=2, heads=3, hidden=48, positions=16)


@pytest.fixture
def theirs(tmp_path: Path):
    """A small BERT of the transformers library with random weights, saved to `tmp_path`."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48,
        max_position_embeddings=16,
    )  # fmt: skip
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    save_file(
        {name: weight.contiguous() for name, weight in model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    return model


def test_it_computes_what_bert_of_transformers_computes(theirs, tmp_path: Path) -> None:
    ids = torch.randint(1, 50, (3, 11))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    mask[2, 1:] = 0
    ours = load_encoder(tmp_path)(ids, mask.bool())
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask).last_hidden_state
    # Float32 sums in another order: 1e-6 would be luck, 1e-4 would hide a wrong epsilon.
    torch.testing.assert_close(ours[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=1e-5)


def test_what_stands_at_masked_positions_changes_nothing() -> None:
    encoder = Encoder(TINY).eval()
    ids = torch.randint(1, 50, (1, 8))
    mask = torch.tensor([[True] * 5 + [False] * 3])
    other = ids.clone()
    other[0, 5:] = 7
    torch.testing.assert_close(mean_pool(encoder(ids, mask), mask), mean_pool(encoder(other, mask), mask))
    torch.testing.assert_close(mean_pool(encoder(ids, mask), mask), mean_pool(encoder(ids[:, :5])))


def test_pooled_vectors_have_length_one() -> None:
    pooled = mean_pool(torch.randn(4, 6, 24))
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(4))


def test_a_checkpoint_that_is_no_bert_is_refused_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_act": "silu"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="llama"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(theirs, tmp_path: Path, missing: str) -> None:
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=missing):
        load_encoder(tmp_path)


def test_weights_that_do_not_fit_the_config_are_refused(theirs, tmp_path: Path) -> None:
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="do not fit"):
        load_encoder(tmp_path)
