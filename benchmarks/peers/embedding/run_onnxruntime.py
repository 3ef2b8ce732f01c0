"""onnxruntime on an export of the weights, in batches of 32 sorted by length: run_onnxruntime.py MODEL.onnx THREADS."""

import sys
from collections.abc import Sequence

import numpy as np
import onnxruntime
from tokenizers import Tokenizer
from worker import MAX_TOKENS, model_folder, serve

BATCH = 32


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[2])
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()

    def embed(texts: Sequence[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        vectors = np.empty((len(texts), 384), np.float32)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            encodings = tokenizer.encode_batch([texts[i] for i in rows])
            ids = np.array([one.ids for one in encodings])
            mask = np.array([one.attention_mask for one in encodings])
            hidden = np.asarray(session.run(None, {"ids": ids, "mask": mask})[0])
            weights = mask[..., None].astype(np.float32)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
            vectors[rows] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors

    serve(embed)


if __name__ == "__main__":
    main()
