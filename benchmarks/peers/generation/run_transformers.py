"""transformers' generate, its defaults (SDPA attention, dynamic cache): run_transformers.py FOLDER THREADS."""

import sys
from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM
from worker import serve


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], local_files_only=True, dtype=torch.float32).eval()

    def continue_greedily(prompts: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        done = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return done[:, ids.shape[1] :].tolist()

    serve(continue_greedily)


if __name__ == "__main__":
    main()
