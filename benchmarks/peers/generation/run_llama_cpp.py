"""llama.cpp, all texts in one batch: run_llama_cpp.py FILE.gguf THREADS."""

import sys
from collections.abc import Sequence
from typing import Any

import llama_cpp as llama  # pyright: ignore[reportMissingImports]
import numpy as np
from worker import serve

_CONTEXT = 512  # tokens of each text, prompt included
_MOST = 32


def main() -> None:
    llama.llama_backend_init()
    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, None)
    model = llama.llama_model_load_from_file(sys.argv[1].encode(), llama.llama_model_default_params())
    vocab_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    threads = int(sys.argv[2])

    def continue_greedily(prompts: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = _CONTEXT * len(prompts), 2048, 512
        params.n_seq_max, params.n_threads, params.n_threads_batch = len(prompts), threads, threads
        context = llama.llama_init_from_model(model, params)
        batch = llama.llama_batch_init(2048, 0, 1)
        rows = [(n, at, token, at == len(p) - 1) for n, p in enumerate(prompts) for at, token in enumerate(p)]
        texts: list[list[int]] = [[] for _ in prompts]
        for step in range(n_tokens):
            _decode(context, batch, rows)
            rows = _next(context, rows, texts, vocab_size, len(prompts[0]) + step)
        llama.llama_batch_free(batch)
        llama.llama_free(context)
        return texts

    serve(continue_greedily)


def _decode(context: Any, batch: Any, rows: list[tuple[int, int, int, bool]]) -> None:
    batch.n_tokens = len(rows)
    for i, (text, at, token, wanted) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, at, 1, wanted
        batch.seq_id[i][0] = text
    if llama.llama_decode(context, batch):
        raise SystemExit("llama_decode failed")


def _next(context: Any, rows: list[Any], texts: list[list[int]], vocab_size: int, at: int) -> list[Any]:
    following = []
    for i, (text, _at, _token, wanted) in enumerate(rows):
        if wanted:
            logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), shape=(vocab_size,))
            token = int(logits.argmax())
            texts[text].append(token)
            following.append((text, at, token, True))
    return following


if __name__ == "__main__":
    main()
