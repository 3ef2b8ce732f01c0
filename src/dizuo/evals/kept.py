"""Figures that stay with the checkpoint that they are of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dizuo.nn.card import model_card


def keep(folder: Path, figures: Mapping[str, Any]) -> None:
    """Writes figures among the scores of a checkpoint, where the catalogue of models finds them, and its card anew."""
    file = folder / "dizuo.json"
    about = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    about["scores"] = _merged(about.get("scores", {}), figures)
    file.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(model_card(folder), "utf-8")


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """New figures beside the old ones, those of the same name in their place."""
    nested = {name: _merged(old[name], one) for name, one in new.items()
              if isinstance(one, Mapping) and isinstance(old.get(name), Mapping)}  # fmt: skip
    return {**old, **new, **nested}
