"""`Decoder` to and from GPT2LMHeadModel and Llama-, Qwen2- and Qwen3ForCausalLM of transformers."""

from collections.abc import Iterator
from typing import Any, get_args

from dizuo.core.errors import UserError
from dizuo.nn.decoder import Decoder, DecoderConfig, Family
from dizuo.nn.layout import Names, RawConfig, Table
from dizuo.nn.rotary import Llama3Scaling

_ARCHITECTURES: dict[Family, str] = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def build(raw: RawConfig) -> Decoder:
    """The decoder that a config.json describes. Raises UserError where it says what cannot be computed here."""
    return Decoder(read_config(raw))


def read_config(raw: RawConfig) -> DecoderConfig:
    """Raises UserError where a number is missing or wrong, or asks for what is not implemented."""
    family = raw.only("model_type", *get_args(Family))
    try:
        return _gpt2(raw) if family == "gpt2" else _llama(raw, family)
    except ValueError as error:
        raise UserError(
            "config.json of {folder} does not add up: {reason}.", folder=raw.folder, reason=error
        ) from error


def describe(model: Decoder) -> dict[str, Any]:
    """config.json of a decoder."""
    config = model.config
    shared = {
        "architectures": [_ARCHITECTURES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        **generation(model),
    }
    if config.family == "gpt2":
        return shared | {
            "n_embd": config.channels,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "n_positions": config.positions,
            "layer_norm_epsilon": config.norm_eps,
            "activation_function": "gelu_new",
        }
    return shared | {
        "hidden_size": config.channels,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.groups,
        "head_dim": config.width,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.positions,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        # The way of transformers 4: version 5, vLLM and llama.cpp read it too.
        "rope_theta": config.rope_theta,
        "rope_scaling": _scaling_of(config.rope_scaling),
    }


def generation(model: Decoder) -> dict[str, Any]:
    """generation_config.json: where a text begins and ends."""
    config = model.config
    eos = list(config.eos_ids)
    return {
        "bos_token_id": config.bos_id,
        "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
        "pad_token_id": config.pad_id,
    }


def table(model: Decoder) -> Table:
    """The names of a decoder's weights."""
    config = model.config
    if config.family == "gpt2":
        # Old files keep the causal mask of each layer as `attn.bias`, and a number `attn.masked_bias`.
        return Table(list(_gpt2_names(config)), "transformer.", r"\.attn\.(masked_)?bias$" + _head_unused(config))
    return Table(list(_llama_names(config)), "model.", r"rotary_emb\.inv_freq$" + _head_unused(config))


def _head_unused(config: DecoderConfig) -> str:
    return r"|^lm_head\.weight$" if config.tied else ""


def _gpt2(raw: RawConfig) -> DecoderConfig:
    raw.only("activation_function", "gelu_new", "gelu_pytorch_tanh", default="gelu_new")
    raw.only("scale_attn_weights", True, default=True)
    raw.only("scale_attn_by_inverse_layer_idx", False, default=False)
    raw.only("add_cross_attention", False, default=False)
    channels = raw.size("n_embd", 768)
    return DecoderConfig(
        family="gpt2",
        vocab_size=raw.size("vocab_size"),
        channels=channels,
        layers=raw.layers("n_layer", 12),
        heads=raw.size("n_head", 12),
        hidden=raw.size("n_inner", 4 * channels),
        positions=raw.size("n_positions", 1024),
        norm_eps=raw.number("layer_norm_epsilon", 1e-5),
        tied=_tied(raw, True),
        **_tokens(raw),
    )


def _llama(raw: RawConfig, family: Family) -> DecoderConfig:
    raw.only("hidden_act", "silu", default="silu")
    raw.only("mlp_bias", False, default=False)
    raw.only("use_sliding_window", False, default=False)
    if family != "qwen2":
        raw.only("attention_bias", False, default=False)
    theta, scaling = _rope(raw)
    return DecoderConfig(
        family=family,
        vocab_size=raw.size("vocab_size"),
        channels=raw.size("hidden_size"),
        layers=raw.layers("num_hidden_layers"),
        heads=raw.size("num_attention_heads"),
        hidden=raw.size("intermediate_size"),
        positions=raw.size("max_position_embeddings", 2048),
        kv_heads=raw.size("num_key_value_heads", raw.size("num_attention_heads")),
        head_width=raw.size("head_dim", 128) if family == "qwen3" or raw.get("head_dim") else None,
        norm_eps=raw.number("rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        tied=_tied(raw, False),
        **_tokens(raw),
    )


def _tied(raw: RawConfig, default: bool) -> bool:
    bare = raw.architecture in ("GPT2Model", "LlamaModel", "Qwen2Model", "Qwen3Model")  # without an output matrix
    return bare or bool(raw.get("tie_word_embeddings", default))


def _tokens(raw: RawConfig) -> dict[str, Any]:
    ends = raw.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    return {
        "bos_id": raw.token("bos_token_id"),
        "eos_ids": tuple(one for one in ends if isinstance(one, int) and one >= 0),
        "pad_id": raw.token("pad_token_id"),
    }


def _rope(raw: RawConfig) -> tuple[float, Llama3Scaling | None]:
    """transformers 5 keeps all in `rope_parameters`; 4 in `rope_theta` and `rope_scaling`."""
    said = raw.get("rope_parameters", raw.get("rope_scaling", {}))
    rope = RawConfig(raw.folder, said if isinstance(said, dict) else {})
    theta = rope.number("rope_theta", raw.number("rope_theta", 10_000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if RawConfig(raw.folder, {"rope_type": kind}).only("rope_type", "default", "llama3") == "default":
        return theta, None
    scaling = Llama3Scaling(
        factor=rope.number("factor"),
        low_freq_factor=rope.number("low_freq_factor"),
        high_freq_factor=rope.number("high_freq_factor"),
        original_positions=rope.size("original_max_position_embeddings"),
    )
    return theta, scaling


def _scaling_of(scaling: Llama3Scaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_positions,
    }


def _gpt2_names(config: DecoderConfig) -> Iterator[Names]:
    yield Names("tokens.weight", ("transformer.wte.weight",))
    yield Names("positions.weight", ("transformer.wpe.weight",))
    for kind in ("weight", "bias"):
        yield Names(f"norm.{kind}", (f"transformer.ln_f.{kind}",))
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"transformer.h.{layer}"
        for kind in ("weight", "bias"):
            yield Names(f"{ours}.attention_norm.{kind}", (f"{theirs}.ln_1.{kind}",))
            yield Names(f"{ours}.feed_norm.{kind}", (f"{theirs}.ln_2.{kind}",))
            for module, conv in _GPT2_LINEAR.items():
                yield Names(f"{ours}.{module}.{kind}", (f"{theirs}.{conv}.{kind}",), transposed=kind == "weight")
    if not config.tied:
        yield Names("head.weight", ("lm_head.weight",))


_GPT2_LINEAR = {
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed.up": "mlp.c_fc",
    "feed.down": "mlp.c_proj",
}


def _llama_names(config: DecoderConfig) -> Iterator[Names]:
    q, kv, hidden = config.heads * config.width, config.groups * config.width, config.hidden
    yield Names("tokens.weight", ("model.embed_tokens.weight",))
    yield Names("norm.weight", ("model.norm.weight",))
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for kind in ("weight", "bias") if config.family == "qwen2" else ("weight",):
            parts = tuple(f"{theirs}.self_attn.{part}_proj.{kind}" for part in "qkv")
            yield Names(f"{ours}.attention.qkv.{kind}", parts, (q, kv, kv))
        yield Names(f"{ours}.attention.out.weight", (f"{theirs}.self_attn.o_proj.weight",))
        if config.family == "qwen3":
            for part in ("q_norm", "k_norm"):
                yield Names(f"{ours}.attention.{part}.weight", (f"{theirs}.self_attn.{part}.weight",))
        parts = (f"{theirs}.mlp.gate_proj.weight", f"{theirs}.mlp.up_proj.weight")
        yield Names(f"{ours}.feed.gate_up.weight", parts, (hidden, hidden))
        yield Names(f"{ours}.feed.down.weight", (f"{theirs}.mlp.down_proj.weight",))
        yield Names(f"{ours}.attention_norm.weight", (f"{theirs}.input_layernorm.weight",))
        yield Names(f"{ours}.feed_norm.weight", (f"{theirs}.post_attention_layernorm.weight",))
    if not config.tied:
        yield Names("head.weight", ("lm_head.weight",))
