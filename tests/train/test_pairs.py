"""The stage that trains sentence vectors."""

import math
from pathlib import Path

import pytest
import torch

from dizuo.inference.encoder import TextEncoder
from dizuo.train.pairs import Pairs, TextPairs
from dizuo.train.recipe import parse_recipe
from tests.tiny_models import minilm_folder, save_bert, tiny_encoder
from tests.train.tuning import run, write_rows


class Fixed(torch.nn.Module):
    """Gives the vectors that it was made with."""

    def __init__(self, vectors: torch.Tensor) -> None:
        super().__init__()
        self.vectors = torch.nn.Parameter(vectors)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.vectors


def prepared(tmp_path: Path) -> Pairs:
    data = write_rows(tmp_path / "p.jsonl", [{"origin": f"a {n}", "similar": f"b {n}"} for n in range(30)])
    raw = {"stage": "pairs", "model": {"start": str(minilm_folder())}, "data": [{"name": data}], "steps": 1}
    stage = Pairs()
    stage.prepare(parse_recipe(raw), tmp_path / "trainings" / ".cache")
    return stage


def test_the_loss_is_that_of_the_formula(tmp_path: Path) -> None:
    stage = prepared(tmp_path)
    vectors = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    ids = torch.zeros(6, 1, dtype=torch.long)
    loss, n = stage.loss(Fixed(vectors), TextPairs(ids, ids.bool()))
    cosines = (vectors[:3] @ vectors[3:].T / 0.05).tolist()
    by_hand = 0.0
    for table in (cosines, [list(column) for column in zip(*cosines, strict=True)]):
        for i, row in enumerate(table):
            by_hand += -math.log(math.exp(row[i]) / sum(map(math.exp, row))) / 2
    assert n == 3
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)


def test_vectors_of_partners_come_together_and_the_folder_embeds(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "bert", tiny_encoder())
    words = ["rain", "bread", "house", "tree", "river", "music", "paper", "stone", "glass", "sugar"]
    rows = [{"origin": f"the {a} of {b}", "similar": f"{b} has {a}"} for a in words for b in words[:6]]
    data = write_rows(tmp_path / "p.jsonl", rows)
    raw = {"stage": "pairs", "model": {"start": str(start)}, "data": [{"name": data}], "length": 16, "batch": 16}
    lines = run(tmp_path / "run", raw, 20)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    vectors = TextEncoder(tmp_path / "run" / "model", 32).encode(["rain of stone", "stone"])
    assert vectors.shape == (2, 16)
