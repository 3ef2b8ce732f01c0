"""How a training looks in a terminal: what it will take, the loss as it falls, what came of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from dizuo.cli.progress import clock
from dizuo.cli.table import size
from dizuo.cli.terminal import Terminal, clean
from dizuo.core.trainings import Training, TrainingPlan, TrainingPoint
from dizuo.gateway.local_folders import count

if TYPE_CHECKING:
    from dizuo.wiring import House

_BLOCKS = "▁▂▃▄▅▆▇█"
_LINE_EVERY_S = 5.0
_LIVE_WIDTH = 20


def follow(terminal: Terminal, house: "House", training: Training) -> Training:
    """Shows a training until it is over, which it returns. Ctrl-C has it save and stop."""
    try:
        return _watch(terminal, house, training)
    except KeyboardInterrupt:
        terminal.say(terminal.t("Stopping, and saving a checkpoint…"))
        return _watch(terminal, house, house.trainings.stop(training.name))


def _watch(terminal: Terminal, house: "House", training: Training) -> Training:
    if training.job is None:
        return training
    live = terminal.err.is_terminal and not terminal.as_json
    with (_bar if live else _lines)(terminal) as show:
        for _job in house.jobs.watch(training.job):
            training = house.trainings.get(training.name)
            points = house.trainings.metrics(training.name, limit=500) if live else ()
            show(training, points)
    return house.trainings.get(training.name)


def progress_line(terminal: Terminal, training: Training) -> str:
    """ "120/600 · loss 3.214 · held-out 3.3 · 1:20 left · 41 K tokens/s"."""
    t = terminal.t
    if training.state == "queued":
        return t("waiting for its turn")
    if not training.steps:
        return terminal.note(training.doing) if training.doing else t("Starting…")
    parts = [f"{training.step}/{training.steps}"]
    if training.loss is not None:
        parts.append(t("loss {loss}", loss=f"{training.loss:.4g}"))
    if training.val_loss is not None:
        parts.append(t("held-out {loss}", loss=f"{training.val_loss:.4g}"))
    if training.stopping:
        parts.append(t("stopping"))
    elif training.doing:
        parts.append(terminal.note(training.doing))
    elif training.eta_s is not None:
        parts.append(t("{time} left", time=clock(training.eta_s)))
    if not training.over and training.tokens_per_s:
        parts.append(t("{count} tokens/s", count=count(round(training.tokens_per_s))))
    return " · ".join(parts)


def sparkline(points: Sequence[TrainingPoint], width: int) -> str:
    """The loss as a row of blocks: each the mean of its share of the steps."""
    if not points:
        return ""
    width = min(width, len(points))
    edges = [len(points) * n // width for n in range(width + 1)]
    means = [sum(point.loss for point in points[first:last]) / (last - first) for first, last in pairwise(edges)]
    low, high = min(means), max(means)
    if not high - low > 0:  # all the same, or not numbers
        return _BLOCKS[0] * width
    return "".join(_BLOCKS[round((mean - low) / (high - low) * (len(_BLOCKS) - 1))] for mean in means)


def plan_lines(terminal: Terminal, plan: TrainingPlan) -> list[str]:
    """What a training will take, for people."""
    t = terminal.t
    took = t(
        "{tokens} tokens in {steps} steps, at {rate} tokens/s on {device}, measured just now",
        tokens=count(plan.tokens),
        steps=f"{plan.steps:,}",
        rate=count(round(plan.tokens_per_s)),
        device=plan.device,
    )
    needed = t(
        "memory {memory} of {free_memory} free · disk {disk} of {free_disk} free",
        memory=size(plan.memory_bytes),
        free_memory=size(plan.memory_free_bytes),
        disk=size(plan.disk_bytes),
        free_disk=size(plan.disk_free_bytes),
    )
    lines = [
        t("{recipe}: {stage}, {count} parameters", recipe=plan.recipe, stage=plan.stage, count=count(plan.parameters)),
        took,
        f"{needed} · {t('it fits') if plan.fits else t('it does not fit')}",
    ]
    if plan.seconds is not None:
        lines.append(t("about {time} in all", time=clock(plan.seconds)))
    return [*lines, *map(terminal.note, plan.notes)]


def state_word(terminal: Terminal, training: Training) -> str:
    t = terminal.t
    if training.stopping:
        return t("stopping")
    words = {
        "queued": t("queued"),
        "running": t("running"),
        "stopped": t("stopped"),
        "done": t("done"),
        "failed": t("failed"),
    }
    return words[training.state]


Show = Callable[[Training, Sequence[TrainingPoint]], None]


@contextmanager
def _lines(terminal: Terminal) -> Iterator[Show]:
    last_s, last_text = time.monotonic(), ""

    def show(training: Training, _points: Sequence[TrainingPoint]) -> None:
        nonlocal last_s, last_text
        text = progress_line(terminal, training)
        if (training.over or time.monotonic() - last_s >= _LINE_EVERY_S) and text != last_text:
            terminal.say(text)
            last_s, last_text = time.monotonic(), text

    yield show


@contextmanager
def _bar(terminal: Terminal) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    progress = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[curve]}", markup=False, table_column=Column(no_wrap=True), style="cyan"),
        TextColumn("{task.fields[line]}", markup=False, table_column=line),
        console=terminal.err,
        transient=True,
        expand=True,
    )
    with progress:
        task = progress.add_task("", total=None, curve="", line=terminal.t("Starting…"))

        def show(training: Training, points: Sequence[TrainingPoint]) -> None:
            progress.update(
                task,
                total=training.steps or None,
                completed=training.step,
                curve=sparkline(points, _LIVE_WIDTH),
                line=clean(progress_line(terminal, training)).replace("\n", " "),
            )

        yield show
