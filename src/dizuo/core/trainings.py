"""Trainings as the faces show them: a recipe at work, its curve, and what it will take."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from dizuo.core.documents import Note
from dizuo.core.messages import Noun

TrainingState = Literal["queued", "running", "stopped", "done", "failed"]


class RecipeInfo(Noun):
    """A recipe that ships with Dizuo."""

    name: str
    stage: str  # pretrain, sft, classify, …
    description: dict[str, str]  # language -> one plain sentence


class TrainingPlan(Noun):
    """What a training will take, measured by a few real steps on this machine."""

    recipe: str  # the recipe's name
    stage: str
    parameters: int
    steps: int
    tokens: int  # that the model will see
    tokens_per_s: float
    seconds: float | None  # in all; None where it could not be measured
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    fits: bool
    device: str
    notes: tuple[Note, ...] = ()


class TrainingPoint(Noun):
    """One line of a training's curve."""

    step: int
    loss: float
    lr: float
    tokens: int  # seen so far
    tokens_per_s: float
    time: float  # seconds of training so far
    val_loss: float | None = None  # on held-out data, at some steps
    scores: dict[str, float] = Field(default_factory=dict)  # what else was scored then: val_accuracy, bits_per_byte/…


class Training(Noun):
    """One training. `model` is there when it is done: what it made, by its name in the catalogue."""

    name: str
    recipe: str
    stage: str
    state: TrainingState
    stopping: bool  # asked to stop, and saving what it has
    step: int
    steps: int
    loss: float | None
    val_loss: float | None  # as last scored, and so are the scores
    scores: dict[str, float]
    tokens_per_s: float | None
    eta_s: float | None
    doing: Note | None  # what it does while it does not count steps: making the tokenizer, scoring
    error: Note | None
    log: str  # the file with all that the training process said
    model: str | None
    job: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")
