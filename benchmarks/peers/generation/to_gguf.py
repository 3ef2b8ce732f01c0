"""A Llama checkpoint of the Hugging Face layout as GGUF, weights in F32 or Q8_0: to_gguf.py FOLDER FILE.gguf TYPE.

No vocabulary goes along: the benchmark speaks in ids.
"""

import json
import sys
from pathlib import Path

import gguf  # pyright: ignore[reportMissingImports]
import numpy as np
from gguf.quants import quantize  # pyright: ignore[reportMissingImports]

_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_REST = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}


def main() -> None:
    folder, file, kind = Path(sys.argv[1]), sys.argv[2], gguf.GGMLQuantizationType[sys.argv[3]]
    config = json.loads((folder / "config.json").read_text())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config.get("rope_parameters") or config
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for theirs, weight in _read(folder / "model.safetensors").items():
        name = _REST.get(theirs) or _layer_name(theirs)
        if name.endswith(("attn_q", "attn_k")):
            weight = _paired(weight, heads if name.endswith("q") else groups)
        if weight.ndim == 2 and kind != gguf.GGMLQuantizationType.F32:
            writer.add_tensor(f"{name}.weight", quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _layer_name(theirs: str) -> str:
    number, module = theirs.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{number}.{_LAYER[module]}"


def _paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys with the pairs that turn together side by side, as llama.cpp's rotation wants them."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _read(file: Path) -> dict[str, np.ndarray]:
    """float32 tensors of a safetensors file, without the library: a length, a JSON header, and numbers."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    tensors = {}
    for name, one in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in one["data_offsets"])
            tensors[name] = np.frombuffer(raw[begin:end], dtype=np.float32).reshape(one["shape"])
    return tensors


if __name__ == "__main__":
    main()
