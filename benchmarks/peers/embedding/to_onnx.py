"""Writes the weights as ONNX with transformers' model, optimised by onnxruntime's fusions for BERT: to_onnx.py FILE."""

import sys
from typing import Any

import torch
from onnxruntime.transformers.optimizer import optimize_model
from transformers import AutoModel
from worker import model_folder


class Hidden(torch.nn.Module):
    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.bert(input_ids=ids, attention_mask=mask).last_hidden_state


def main() -> None:
    bert = AutoModel.from_pretrained(model_folder(), local_files_only=True, attn_implementation="eager").eval()
    ids = torch.randint(1000, 2000, (2, 8))
    axes = {0: "rows", 1: "time"}
    torch.onnx.export(
        Hidden(bert),
        (ids, torch.ones_like(ids)),
        sys.argv[1],
        input_names=["ids", "mask"],
        output_names=["hidden"],
        dynamic_axes={"ids": axes, "mask": axes, "hidden": axes},
        opset_version=17,
        dynamo=False,
    )
    fused = optimize_model(sys.argv[1], model_type="bert", num_heads=12, hidden_size=384)
    print(fused.get_fused_operator_statistics(), file=sys.stderr)
    fused.save_model_to_file(sys.argv[1])


if __name__ == "__main__":
    main()
