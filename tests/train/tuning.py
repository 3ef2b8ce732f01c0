"""Small trainings of the stages that start from a model, by the real loop."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from dizuo.train.distributed import join_world
from dizuo.train.loop import train
from dizuo.train.recipe import parse_recipe
from dizuo.train.run_folder import RunFolder
from dizuo.train.stage import stage_class


def write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(file)


def run(folder: Path, raw: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    """Trains in `folder`; the lines of its metrics."""
    torch.set_num_threads(1)
    raw = {"batch": 8, "lr": 3e-3, "precision": "float32", "evaluate_every": steps, "checkpoint_every": steps, **raw}
    recipe = parse_recipe({**raw, "steps": steps})
    stage = stage_class(recipe.stage)()
    place = RunFolder(folder)
    stage.prepare(recipe, place.work)
    assert train(recipe, stage, place, join_world(), lambda: False)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
