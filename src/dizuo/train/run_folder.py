"""The folder of one training: its recipe, what it reports, and what it can go on from.

    recipe.yaml      resolved, every default filled in
    metrics.jsonl    one object a line: step, loss, lr, tokens, tokens_per_s, time, and at some steps val_loss, …
    status.json      state, step, steps, eta_s, message, error
    checkpoints/step-N/state.pt
    model/           the finished model in the Hugging Face layout

Files are replaced as a whole (written beside, then renamed), so that a kill at any moment leaves the old or the new.
Imports no torch.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

State = Literal["preparing", "running", "stopped", "done", "failed"]

_KEPT = 2  # checkpoints; the one before the last stands in when the last cannot be read


class RunFolder:
    """Reads and writes the files of one training."""

    def __init__(self, path: Path) -> None:
        """The folder is made if it is not there."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.recipe = path / "recipe.yaml"
        self.model = path / "model"
        self.work = path.parent / ".cache"  # tokenizers and shards, named by content, shared by all trainings
        self._metrics = path / "metrics.jsonl"
        self._status = path / "status.json"
        self._checkpoints = path / "checkpoints"

    def status(self) -> dict[str, Any]:
        """The last status; an empty dict before the first, and where a power cut left nothing of it."""
        try:
            return json.loads(self._status.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}

    def write_status(
        self,
        state: State,
        step: int,
        steps: int,
        *,
        eta_s: float | None = None,
        message: str = "",
        error: Mapping[str, Any] | None = None,
        stage: Mapping[str, Any] | None = None,
    ) -> None:
        """Replaces the status. `error` and `stage`, what is done before the first step, are {"template", "params"}."""
        status = {
            "state": state, "step": step, "steps": steps, "eta_s": eta_s, "message": message, "error": error,
            "stage": stage,
        }  # fmt: skip
        write_whole(self._status, json.dumps(status, ensure_ascii=False).encode())

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Appends one line, in a single write."""
        with self._metrics.open("ab") as file:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines."""
        return list(self._whole_lines())

    def cut_metrics(self, step: int) -> None:
        """Drops lines of steps after `step`, and a line that a kill left half written."""
        kept = [line for line in self._whole_lines() if line["step"] <= step]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        write_whole(self._metrics, text.encode())

    def _whole_lines(self) -> Iterator[dict[str, Any]]:
        if not self._metrics.exists():
            return
        for line in self._metrics.read_bytes().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, folder) of each whole checkpoint, oldest first."""
        found = [
            (int(match[1]), entry)
            for entry in self._checkpoints.glob("step-*")
            if (match := re.fullmatch(r"step-(\d+)", entry.name))
        ]
        return sorted(found)

    @contextmanager
    def new_checkpoint(self, step: int) -> Iterator[Path]:
        """An empty folder to write into; at the end it is flushed to disk, becomes `step-N`, and old ones go.

        When writing fails (a full disk), what was written is removed and the older checkpoints stay.
        """
        draft = self._checkpoints / f".writing-{step}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            for file in draft.iterdir():
                _flush(file)
            final = self._checkpoints / f"step-{step}"
            if final.exists():  # the same step again: the bytes are the same
                shutil.rmtree(final)
            draft.rename(final)
            _flush(self._checkpoints)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        for _step, folder in self.checkpoints()[:-_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


def write_whole(file: Path, content: bytes) -> None:
    """Replaces a file so that a reader, or a kill, finds the old or the new content."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(file)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
