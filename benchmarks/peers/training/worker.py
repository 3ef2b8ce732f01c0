"""What both contenders of benchmarks/training.py share: the task, and waiting for their turn between two steps."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Task:
    """The same for everyone."""

    model: Path  # a checkpoint folder
    precision: str
    length: int
    batch: int
    accumulate: int
    steps: int
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    seed: int

    def rows(self) -> torch.Tensor:
        """(steps · accumulate · batch, length) ids, the frequent ones first as in text: there is something to learn."""
        vocab_size = json.loads((self.model / "config.json").read_text())["vocab_size"]
        chances = 1 / torch.arange(1, vocab_size + 1)
        draw = torch.Generator().manual_seed(self.seed)
        count = self.steps * self.accumulate * self.batch
        return torch.multinomial(chances, count * self.length, True, generator=draw).view(count, self.length)


def read_task() -> Task:
    """The task whose file the command line names."""
    raw: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    return Task(**{**raw, "model": Path(raw["model"]), "betas": tuple(raw["betas"])})


@dataclass
class Turns:
    """Steps in turns: a line with a number in, so many steps, a line out."""

    losses: Callable[[], list[float]]  # of every step so far
    _left: int = -1
    _begun: tuple[float, float] = field(default=(0.0, 0.0))

    def between_steps(self) -> bool:
        """Called before every step and after the last. Returns False when there are to be no more."""
        if self._left > 0:
            self._left -= 1
            return True
        if self._left < 0:
            said: dict[str, Any] = {"ready": True}
        else:
            took, cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
            said = {"seconds": took, "cpu_s": cpu, "losses": self.losses()}
        print(json.dumps(said), flush=True)
        line = sys.stdin.readline()
        if not line:
            return False
        self._left = int(line) - 1
        self._begun = time.perf_counter(), time.process_time()
        return True
