"""`Encoder` to and from BertModel of transformers."""

from collections.abc import Iterator
from typing import Any

from dizuo.core.errors import UserError
from dizuo.nn.encoder import Encoder, EncoderConfig
from dizuo.nn.layout import Names, RawConfig, Table

_EMBEDDINGS = {
    "tokens.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "segments.weight": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
_BLOCK = {
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def build(raw: RawConfig) -> Encoder:
    """The encoder that a config.json describes. Raises UserError where it says what cannot be computed here."""
    return Encoder(read_config(raw))


def read_config(raw: RawConfig) -> EncoderConfig:
    """Raises UserError where the architecture is another one, or a number is missing or wrong."""
    if raw.model_type != "bert" or raw.get("hidden_act", "gelu") != "gelu":
        raise UserError(
            "The checkpoint {folder} is a {kind!r} model with {activation!r}; the encoder reads 'bert' with 'gelu'.",
            folder=raw.folder,
            kind=raw.model_type,
            activation=raw.get("hidden_act"),
        )
    raw.only("position_embedding_type", "absolute", default="absolute")
    raw.only("is_decoder", False, default=False)
    try:
        return EncoderConfig(
            vocab_size=raw.size("vocab_size"),
            channels=raw.size("hidden_size"),
            layers=raw.layers("num_hidden_layers"),
            heads=raw.size("num_attention_heads"),
            hidden=raw.size("intermediate_size"),
            positions=raw.size("max_position_embeddings"),
            segments=raw.size("type_vocab_size", 2),
            norm_eps=raw.number("layer_norm_eps", 1e-12),
        )
    except ValueError as error:
        raise UserError(
            "config.json of {folder} does not add up: {reason}.", folder=raw.folder, reason=error
        ) from error


def describe(model: Encoder) -> dict[str, Any]:
    """config.json of an encoder without a head."""
    return {"architectures": ["BertModel"], "model_type": "bert", **describe_config(model.config)}


def describe_config(config: EncoderConfig) -> dict[str, Any]:
    """The sizes, as every Bert class of transformers reads them."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.channels,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.positions,
        "type_vocab_size": config.segments,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": "gelu",
    }


def generation(model: Encoder) -> dict[str, Any]:
    """Nothing: an encoder generates no text."""
    return {}


def table(model: Encoder) -> Table:
    """The names of an encoder's weights. What heads a checkpoint may have is left aside."""
    return Table(list(names(model.config)), "bert.", r"pooler\.|^cls\.|^classifier\.|^qa_outputs\.|position_ids$")


def names(config: EncoderConfig, ours: str = "", theirs: str = "") -> Iterator[Names]:
    """Of all weights of an encoder, with what stands before them in a larger model (`ours` and `theirs`)."""
    for mine, yours in _EMBEDDINGS.items():
        yield Names(f"{ours}{mine}", (f"{theirs}{yours}",))
    for layer in range(config.layers):
        mine, yours = f"{ours}blocks.{layer}.", f"{theirs}encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            parts = tuple(f"{yours}attention.self.{part}.{kind}" for part in ("query", "key", "value"))
            yield Names(f"{mine}attention.qkv.{kind}", parts, (config.channels,) * 3)
            for name, module in _BLOCK.items():
                yield Names(f"{mine}{name}.{kind}", (f"{yours}{module}.{kind}",))
