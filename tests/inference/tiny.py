"""A decoder of random weights with a tokenizer, small enough to be made in every run."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dizuo.nn.checkpoint import save_model
from dizuo.nn.decoder import Decoder, DecoderConfig

SPECIALS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
TEXT = [
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    '{"name": "Ada", "age": 36, "tags": ["a", "b"], "alive": true, "score": -1.5e3, "none": null}',
]


def make_tokenizer(file: Path, vocab_size: int = 400) -> Tokenizer:
    """Byte-level BPE with the marks of chat, written to a file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    tokenizer.save(str(file))
    return tokenizer


def make_decoder(vocab_size: int, family: str = "llama", *, kv_heads: int = 2, seed: int = 0) -> Decoder:
    """Channels 32, 2 layers; weights large enough that tokens differ in probability."""
    torch.manual_seed(seed)
    decoder = Decoder(
        DecoderConfig(
            family=family,  # pyright: ignore[reportArgumentType]
            vocab_size=vocab_size,
            channels=32,
            layers=2,
            heads=4,
            kv_heads=kv_heads,
            hidden=64,
            positions=256,
            eos_ids=(0, 3),
        )
    ).eval()
    for weight in decoder.requires_grad_(False).parameters():
        if weight.ndim == 2:
            weight.mul_(6)
        else:
            weight.add_(torch.randn_like(weight) * 0.1)
    return decoder


def make_checkpoint(folder: Path, family: str = "llama", chat_template: str | None = None) -> Path:
    """A folder in the Hugging Face layout."""
    file = folder.parent / f"{folder.name}-tokenizer.json"
    tokenizer = make_tokenizer(file)
    kv_heads = 4 if family == "gpt2" else 2
    save_model(make_decoder(tokenizer.get_vocab_size(), family, kv_heads=kv_heads), folder, tokenizer=file)
    if chat_template is not None:
        config = folder / "tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": chat_template}))
    return folder
