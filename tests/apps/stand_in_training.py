"""What `python -m dizuo.train` is to the apps, without torch: the same options and files, a step every few ms.

`--set` steers it: steps, pause_s (a step's time), fault (what goes wrong, at half of the steps).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# What makes the shipped recipe `tiny` a matter of seconds in the real process.
SECONDS = (
    "model.channels=32", "model.layers=2", "model.heads=2", "model.hidden=64", "options.vocab_size=400",
    "options.evaluate_tokens=512", "length=32", "steps=8", "warmup=2", "evaluate_every=4",
)  # fmt: skip

DEFAULTS = {"steps": "20", "pause_s": "0.005", "fault": ""}


def use(monkeypatch: "pytest.MonkeyPatch") -> None:
    """Puts this file in the place of the real process, and one recipe, `tiny`, in that of the shipped ones."""
    from dizuo.apps import training, training_process
    from dizuo.core.trainings import RecipeInfo

    shipped = (RecipeInfo(name="tiny", stage="pretrain", description={"en": "Small.", "zh": "小模型。"}),)
    monkeypatch.setattr(training, "_shipped", lambda: shipped)
    monkeypatch.setattr(training, "_LOOK_S", 0.02)
    monkeypatch.setattr(training, "_TELL_S", 0.05)
    monkeypatch.setattr(training_process, "COMMAND", (sys.executable, __file__))


def resolved(overrides: list[str]) -> dict[str, str]:
    values = dict(DEFAULTS)
    for one in overrides:
        key, _equals, value = one.partition("=")
        if key not in values:
            params = {"name": key, "near": "steps"}
            print(json.dumps({"error": {"template": "No key {name!r}; nearest {near}.", "params": params}}))
            sys.exit(1)
        values[key] = value
    return values


def describe(plan: bool, recipe: str, overrides: list[str]) -> None:
    values = resolved(overrides)
    told = {"name": Path(recipe).stem, "stage": "pretrain", "recipe": json.dumps(values)}
    if plan:
        told |= {"parameters": 1_000_000, "steps": int(values["steps"]), "tokens": 64 * int(values["steps"])}
        told |= {"tokens_per_s": 6400.0, "seconds": 0.2, "memory_bytes": 1 << 28, "memory_free_bytes": 1 << 32}
        told |= {"disk_bytes": 1 << 24, "disk_free_bytes": 1 << 34, "fits": values["fault"] != "large", "device": "cpu"}
    print(json.dumps(told))


def replace(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def train(folder: Path, parent: int) -> None:
    values = json.loads((folder / "recipe.yaml").read_text())
    steps, checkpoint, curve = int(values["steps"]), folder / "checkpoint.json", folder / "metrics.jsonl"
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))

    def tell(state: str, step: int, **more: object) -> None:
        status = {"state": state, "step": step, "steps": steps, "eta_s": (steps - step) * 0.01, "message": "", **more}
        replace(folder / "status.json", json.dumps(status))

    done = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
    kept = curve.read_text().splitlines()[:done] if curve.exists() else []
    curve.write_text("".join(f"{line}\n" for line in kept))
    print("in", os.getcwd(), file=sys.stderr)
    print("starts at step", done, file=sys.stderr, flush=True)
    for step in range(done + 1, steps + 1):
        if stopped or os.getppid() != parent:
            tell("stopped", step - 1)
            return
        time.sleep(float(values["pause_s"]))
        if step == steps // 2 and values["fault"] == "user" and not done:
            tell("failed", step, error={"template": "The loss is {loss}.", "params": {"loss": "nan"}})
            sys.exit(1)
        if step == steps // 2 and values["fault"] == "killed" and not done:
            os.kill(os.getpid(), signal.SIGKILL)
        with curve.open("a") as lines:
            told = {"step": step, "loss": 4 / step, "lr": 0.001, "tokens": 64 * step, "tokens_per_s": 6400.0}
            if step % 10 == 0:
                told |= {"val_loss": 4.1 / step, "val_accuracy": 0.5}
            lines.write(json.dumps({**told, "time": time.time()}) + "\n")
        replace(checkpoint, json.dumps({"step": step}))
        tell("running", step)
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    tell("done", steps)


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    if first in ("--resolve", "--plan"):
        describe(first == "--plan", rest[0], rest[2::2])
    else:
        train(Path(first), int(rest[1]))
