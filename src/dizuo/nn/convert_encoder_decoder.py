"""`EncoderDecoder` to and from MarianMTModel and T5ForConditionalGeneration of transformers."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from safetensors import safe_open

from dizuo.core.errors import UserError
from dizuo.nn.encoder_decoder import ACTIVATIONS, EncoderDecoder, EncoderDecoderConfig, Family
from dizuo.nn.layout import Names, RawConfig, Table


def build(raw: RawConfig) -> EncoderDecoder:
    """The encoder-decoder that a config.json describes. Raises UserError where it cannot be computed here."""
    return EncoderDecoder(read_config(raw))


def read_config(raw: RawConfig) -> EncoderDecoderConfig:
    """Raises UserError where a number is missing or wrong, or asks for what is not implemented."""
    family = raw.only("model_type", *get_args(Family))
    try:
        return _marian(raw) if family == "marian" else _t5(raw)
    except ValueError as error:
        raise UserError(
            "config.json of {folder} does not add up: {reason}.", folder=raw.folder, reason=error
        ) from error


def describe(model: EncoderDecoder) -> dict[str, Any]:
    """config.json of an encoder-decoder."""
    config = model.config
    shared = {
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "d_model": config.channels,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tied,
        **_marks(config),
    }
    if config.family == "t5":
        return shared | {
            "architectures": ["T5ForConditionalGeneration"],
            "d_kv": config.width,
            "d_ff": config.hidden,
            "num_layers": config.layers,
            "num_decoder_layers": len(model.decoder),
            "num_heads": config.heads,
            "n_positions": config.positions,
            "relative_attention_num_buckets": config.buckets,
            "relative_attention_max_distance": config.max_distance,
            "layer_norm_epsilon": config.norm_eps,
            "dropout_rate": config.dropout,
            "feed_forward_proj": _t5_feed(config),
            "scale_decoder_outputs": config.scaled_output,
        }
    return shared | {
        "architectures": ["MarianMTModel"],
        "decoder_vocab_size": config.vocab_size,
        "share_encoder_decoder_embeddings": True,
        "encoder_layers": config.layers,
        "decoder_layers": len(model.decoder),
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.hidden,
        "decoder_ffn_dim": config.hidden,
        "max_position_embeddings": config.positions,
        "activation_function": config.activation,
        "scale_embedding": config.scaled_embedding,
        "dropout": config.dropout,
        "forced_eos_token_id": None,
    }


def generation(model: EncoderDecoder) -> dict[str, Any]:
    """generation_config.json: how a target begins and ends."""
    config = model.config
    said = {**_marks(config), "max_length": config.positions}
    if config.family == "marian" and config.start_id == config.pad_id:
        said["bad_words_ids"] = [[config.pad_id]]  # Marian's decoder begins with padding and never says it
    return said


def table(model: EncoderDecoder) -> Table:
    """The names of an encoder-decoder's weights."""
    config = model.config
    copies = r"\.embed_tokens\.weight$" + (r"|^lm_head\.weight$" if config.tied else "")
    if config.family == "t5":
        # T5 of the first transformers kept an unused bias in the first cross-attention.
        return Table(list(_t5_names(model)), "", rf"{copies}|EncDecAttention\.relative_attention_bias\.weight$")
    return Table(list(_marian_names(model)), "", rf"{copies}|\.embed_positions\.weight$")


def _marks(config: EncoderDecoderConfig) -> dict[str, Any]:
    return {
        "decoder_start_token_id": config.start_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
    }


def _marian(raw: RawConfig) -> EncoderDecoderConfig:
    heads, hidden = raw.size("encoder_attention_heads", 16), raw.size("encoder_ffn_dim", 4096)
    raw.only("decoder_attention_heads", heads, default=16)
    raw.only("decoder_ffn_dim", hidden, default=4096)
    raw.only("share_encoder_decoder_embeddings", True, default=True)
    raw.only("normalize_before", False, default=False)
    raw.only("normalize_embedding", False, default=False)
    raw.only("static_position_embeddings", True, default=True)
    vocab_size = raw.size("vocab_size")
    raw.only("decoder_vocab_size", vocab_size, default=vocab_size)
    return EncoderDecoderConfig(
        family="marian",
        vocab_size=vocab_size,
        channels=raw.size("d_model", 1024),
        layers=raw.layers("encoder_layers", 12),
        decoder_layers=raw.layers("decoder_layers", 12),
        heads=heads,
        hidden=hidden,
        positions=raw.size("max_position_embeddings", 1024),
        activation=_activation(raw, raw.get("activation_function", "gelu")),
        scaled_embedding=bool(raw.get("scale_embedding", False)),
        tied=bool(raw.get("tie_word_embeddings", True)),
        dropout=float(raw.get("dropout", 0.1)),
        **_tokens(raw, pad=58_100, eos=0),
    )


def _t5(raw: RawConfig) -> EncoderDecoderConfig:
    feed = str(raw.get("feed_forward_proj", "relu"))
    gated = feed.startswith("gated-")
    # "gated-gelu" means the tanh form, by a habit that transformers keeps for T5 v1.1.
    activation = "gelu_new" if feed == "gated-gelu" else feed.removeprefix("gated-")
    layers = raw.layers("num_layers", 6)
    scaled = bool(raw.get("scale_decoder_outputs", raw.get("tie_word_embeddings", True)))
    return EncoderDecoderConfig(
        family="t5",
        vocab_size=raw.size("vocab_size"),
        channels=raw.size("d_model", 512),
        layers=layers,
        decoder_layers=raw.layers("num_decoder_layers", layers),
        heads=raw.size("num_heads", 8),
        head_width=raw.size("d_kv", 64),
        hidden=raw.size("d_ff", 2048),
        positions=raw.size("n_positions", 512),
        activation=_activation(raw, activation),
        gated=gated,
        scaled_output=scaled,
        # transformers 5 writes tie_word_embeddings: true even over the untied T5 v1.1: only the weights tell.
        tied=scaled or not _has_weight(raw, "lm_head.weight"),
        norm_eps=raw.number("layer_norm_epsilon", 1e-6),
        buckets=raw.size("relative_attention_num_buckets", 32),
        max_distance=raw.size("relative_attention_max_distance", 128),
        dropout=float(raw.get("dropout_rate", 0.1)),
        **_tokens(raw, pad=0, eos=1),
    )


def _activation(raw: RawConfig, name: str) -> str:
    name = {"swish": "silu"}.get(name, name)
    return RawConfig(raw.folder, {"activation": name}).only("activation", *ACTIVATIONS)


def _tokens(raw: RawConfig, pad: int, eos: int) -> dict[str, Any]:
    def said(key: str, default: int) -> int:
        token = raw.token(key)
        return default if token is None else token

    pad = said("pad_token_id", pad)
    return {"pad_id": pad, "eos_id": said("eos_token_id", eos), "start_id": said("decoder_start_token_id", pad)}


def _has_weight(raw: RawConfig, name: str) -> bool:
    file, index = raw.folder / "model.safetensors", raw.folder / "model.safetensors.index.json"
    try:
        if file.is_file():
            with safe_open(file, framework="pt") as weights:
                return name in weights.keys()  # noqa: SIM118 (no mapping)
        return name in json.loads(index.read_text("utf-8"))["weight_map"]
    except Exception:  # a missing or damaged file is told by whoever reads the weights
        return False


def _t5_feed(config: EncoderDecoderConfig) -> str:
    if not config.gated:
        return config.activation
    return "gated-gelu" if config.activation == "gelu_new" else f"gated-{config.activation}"


def _marian_names(model: EncoderDecoder) -> Iterator[Names]:
    config = model.config
    inner = config.heads * config.width
    yield Names("tokens.weight", ("model.shared.weight",))
    yield Names("logits_bias", ("final_logits_bias",))
    for side, layers in (("encoder", model.encoder), ("decoder", model.decoder)):
        for layer in range(len(layers)):
            ours, theirs = f"{side}.{layer}", f"model.{side}.layers.{layer}"
            for kind in ("weight", "bias"):
                parts = tuple(f"{theirs}.self_attn.{part}_proj.{kind}" for part in "qkv")
                yield Names(f"{ours}.attention.qkv.{kind}", parts, (inner,) * 3)
                for mine, yours in (_MARIAN_LAYER | (_MARIAN_CROSS if side == "decoder" else {})).items():
                    yield Names(f"{ours}.{mine}.{kind}", (f"{theirs}.{yours}.{kind}",))
                if side == "decoder":
                    parts = tuple(f"{theirs}.encoder_attn.{part}_proj.{kind}" for part in "kv")
                    yield Names(f"{ours}.cross.kv.{kind}", parts, (inner,) * 2)
    if not config.tied:
        yield Names("head.weight", ("lm_head.weight",))


_MARIAN_LAYER = {
    "attention.out": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "feed.up": "fc1",
    "feed.down": "fc2",
    "feed_norm": "final_layer_norm",
}
_MARIAN_CROSS = {
    "cross.q": "encoder_attn.q_proj",
    "cross.out": "encoder_attn.out_proj",
    "cross_norm": "encoder_attn_layer_norm",
}


def _t5_names(model: EncoderDecoder) -> Iterator[Names]:
    config = model.config
    inner, hidden = config.heads * config.width, config.hidden
    yield Names("tokens.weight", ("shared.weight",))
    for side, layers in (("encoder", model.encoder), ("decoder", model.decoder)):
        first = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield Names(f"{side}_distances.weight", (first,))
        yield Names(f"{side}_norm.weight", (f"{side}.final_layer_norm.weight",))
        for layer in range(len(layers)):
            ours, theirs = f"{side}.{layer}", f"{side}.block.{layer}.layer"
            attention = f"{theirs}.0.SelfAttention"
            parts = tuple(f"{attention}.{part}.weight" for part in "qkv")
            yield Names(f"{ours}.attention.qkv.weight", parts, (inner,) * 3)
            yield Names(f"{ours}.attention.out.weight", (f"{attention}.o.weight",))
            yield Names(f"{ours}.attention_norm.weight", (f"{theirs}.0.layer_norm.weight",))
            if side == "decoder":
                cross = f"{theirs}.1.EncDecAttention"
                yield Names(f"{ours}.cross.q.weight", (f"{cross}.q.weight",))
                parts = tuple(f"{cross}.{part}.weight" for part in "kv")
                yield Names(f"{ours}.cross.kv.weight", parts, (inner,) * 2)
                yield Names(f"{ours}.cross.out.weight", (f"{cross}.o.weight",))
                yield Names(f"{ours}.cross_norm.weight", (f"{theirs}.1.layer_norm.weight",))
            last = f"{theirs}.{2 if side == 'decoder' else 1}"
            feed = f"{last}.DenseReluDense"
            parts = (f"{feed}.wi_0.weight", f"{feed}.wi_1.weight") if config.gated else (f"{feed}.wi.weight",)
            yield Names(f"{ours}.feed.up.weight", parts, (hidden,) * len(parts))
            yield Names(f"{ours}.feed.down.weight", (f"{feed}.wo.weight",))
            yield Names(f"{ours}.feed_norm.weight", (f"{last}.layer_norm.weight",))
    if not config.tied:
        yield Names("head.weight", ("lm_head.weight",))
