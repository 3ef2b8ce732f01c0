"""The encoder-decoders against those that they reimplement, both ways."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dizuo.core.errors import UserError
from dizuo.nn.checkpoint import load_model, save_model
from dizuo.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, StepCache

transformers = pytest.importorskip("transformers")

T5 = {
    "vocab_size": 60, "d_model": 24, "d_kv": 10, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 3,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": 0,
}  # fmt: skip
MARIAN = {
    "vocab_size": 60, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 40,
    "decoder_start_token_id": 59, "pad_token_id": 59, "eos_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
THEIRS = {
    "marian": ("Marian", MARIAN | {"activation_function": "relu", "scale_embedding": True}),
    "marian-swish": ("Marian", MARIAN | {"activation_function": "swish", "scale_embedding": False}),
    "t5": ("T5", T5),
    "t5-v1.1": ("T5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
}
OURS = {
    "marian": EncoderDecoderConfig("marian", 60, 24, 2, 3, 40, positions=40, decoder_layers=1, pad_id=59, start_id=59),
    "marian-gelu": EncoderDecoderConfig("marian", 60, 24, 2, 3, 40, activation="gelu", scaled_embedding=False),
    "t5": EncoderDecoderConfig("t5", 60, 24, 2, 3, 40, head_width=10, buckets=8, max_distance=12),
    "t5-v1.1": EncoderDecoderConfig(
        "t5", 60, 24, 2, 3, 40, activation="gelu_new", gated=True, tied=False, scaled_output=False
    ),
}


def _their_model(name: str) -> Any:
    kind, sizes = THEIRS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    if kind == "Marian":
        model = transformers.MarianMTModel(config)
        model.final_logits_bias.normal_()
    else:
        model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:  # not the sinusoids
                weight.add_(0.05 * torch.randn_like(weight))  # biases and scales that are not 0 and 1
    return model.eval()


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids, target = torch.randint(2, 59, (3, 17)), torch.randint(2, 59, (3, 15))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 11:] = mask[2, 2:] = False
    return ids, mask, target


def _logits(ours: EncoderDecoder, ids: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return ours.logits(ours(ids, target, mask))


def _their_logits(theirs: Any, ids: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return theirs(input_ids=ids, attention_mask=mask.long(), decoder_input_ids=target).logits


@pytest.mark.parametrize("name", THEIRS)
def test_their_checkpoint_gives_their_logits(name: str, tmp_path: Path) -> None:
    theirs = _their_model(name)
    theirs.save_pretrained(tmp_path)
    batch = _batch()
    expected = _their_logits(theirs, *batch)
    # Float32 sums in another order: 1e-6 would be luck, 1e-3 would hide a wrong bucket or scale.
    torch.testing.assert_close(_logits(load_model(tmp_path), *batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", OURS)
def test_our_checkpoint_opens_in_transformers_with_our_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = EncoderDecoder(OURS[name]).eval()
    save_model(ours, tmp_path / "model")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model", local_files_only=True).eval()
    batch = _batch()
    torch.testing.assert_close(_their_logits(theirs, *batch), _logits(ours, *batch), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(_logits(load_model(tmp_path / "model"), *batch), _logits(ours, *batch))


def test_an_untied_t5_that_transformers_wrote_as_tied_keeps_its_output_matrix(tmp_path: Path) -> None:
    ours = EncoderDecoder(OURS["t5-v1.1"]).eval()
    save_model(ours, tmp_path / "ours")
    transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    batch = _batch()
    torch.testing.assert_close(_logits(load_model(tmp_path / "theirs"), *batch), _logits(ours, *batch))


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_steps_with_a_cache_give_the_states_of_one_pass(name: str) -> None:
    model = EncoderDecoder(OURS[name]).eval()
    ids, mask, target = _batch()
    with torch.no_grad():
        memory = model.encode(ids, mask)
        cache = StepCache()
        pieces = [target[:, :3], *target[:, 3:].split(1, dim=1)]
        steps = torch.cat([model.decode(piece, memory, mask, cache) for piece in pieces], dim=1)
        torch.testing.assert_close(steps, model.decode(target, memory, mask), atol=1e-5, rtol=1e-4)


def test_several_targets_of_one_source_share_its_memory() -> None:
    model = EncoderDecoder(OURS["t5"]).eval()
    ids, mask, _target = _batch()
    targets = torch.randint(2, 59, (6, 5))
    with torch.no_grad():
        shared = model.decode(targets, model.encode(ids, mask), mask)
        each = model(ids.repeat_interleave(2, 0), targets, mask.repeat_interleave(2, 0))
    torch.testing.assert_close(shared, each, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OURS)
def test_later_targets_and_padding_of_the_source_change_nothing(name: str) -> None:
    model = EncoderDecoder(OURS[name]).eval()
    ids, mask, target = _batch()
    other_ids, other_target = ids.clone(), target.clone()
    other_ids[1, 11:], other_target[:, 9:] = 7, 7
    one, other = _logits(model, ids, mask, target), _logits(model, other_ids, mask, other_target)
    torch.testing.assert_close(one[:, :9], other[:, :9])
    assert not torch.allclose(one[:, 9:], other[:, 9:])


@pytest.mark.parametrize("name", ["marian", "t5"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_targets_that_count(name: str, smoothing: float) -> None:
    model = EncoderDecoder(OURS[name]).eval()
    ids, mask, targets = _batch()
    targets[0, 9:] = -100
    hidden = model(ids, model.shifted(targets), mask)
    total, count = model.loss(hidden, targets, smoothing)
    expected = torch.nn.functional.cross_entropy(
        model.logits(hidden).flatten(0, 1), targets.flatten(), label_smoothing=smoothing
    )
    assert count == 39
    torch.testing.assert_close(total / count, expected)


def test_the_decoder_reads_the_targets_one_later() -> None:
    model = EncoderDecoder(OURS["marian"])
    assert model.shifted(torch.tensor([[5, 6, 1], [7, 1, -100]])).tolist() == [[59, 5, 6], [59, 7, 1]]


def test_a_config_that_cannot_be_computed_is_refused_by_its_key(tmp_path: Path) -> None:
    theirs = transformers.MarianMTModel(transformers.MarianConfig(**MARIAN | {"decoder_attention_heads": 4}))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="decoder_attention_heads"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", OURS)
def test_it_learns_a_batch_by_heart_in_bfloat16_as_in_float32(name: str) -> None:
    torch.manual_seed(0)
    ids, mask, targets = _batch()
    losses = []
    for bfloat16 in (False, True):
        torch.manual_seed(1)
        model = EncoderDecoder(OURS[name]).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for _ in range(20):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                total, count = model.loss(model(ids, model.shifted(targets), mask), targets)
            (total / count).backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(total.detach() / count))
    assert losses[0] < 3.0  # ln 60 = 4.1 by guessing
    assert abs(losses[1] - losses[0]) < 0.1


def test_a_text_longer_than_the_positions_is_refused() -> None:
    model = EncoderDecoder(OURS["marian"])
    with pytest.raises(ValueError, match="41 tokens is longer than the 40"):
        model.encode(torch.zeros(1, 41, dtype=torch.long))


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_training_computes_what_inference_does_and_every_weight_learns(name: str) -> None:
    model = EncoderDecoder(OURS[name])
    ids, mask, targets = _batch()
    hidden = model(ids, model.shifted(targets), mask)
    with torch.no_grad():
        torch.testing.assert_close(model(ids, model.shifted(targets), mask), hidden, atol=1e-5, rtol=1e-4)
    model.loss(hidden, targets)[0].backward()
    still = [weight for weight, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert still == []
