"""Following a job on stderr: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from dizuo.cli.terminal import Terminal, clean
from dizuo.core.jobs import Job

if TYPE_CHECKING:
    from dizuo.platform.jobs import Jobs

_LINE_EVERY_S = 5.0  # often enough to see that it lives, seldom enough for a log


def follow(terminal: Terminal, jobs: "Jobs", job: Job) -> Job:
    """Shows a job until it is over, which it returns. Ctrl-C cancels the job; a second one leaves at once."""
    try:
        return watch(terminal, jobs, job)
    except KeyboardInterrupt:
        terminal.say(terminal.t("Stopping after the file in hand. Ctrl-C again leaves at once."))
        jobs.cancel(job.id)
        return watch(terminal, jobs, jobs.get(job.id))


def watch(terminal: Terminal, jobs: "Jobs", job: Job) -> Job:
    """Shows a job until it is over, which it returns. Ctrl-C goes to the caller."""
    with reporting(terminal) as show:
        for state in jobs.watch(job.id):
            show(state)
            job = state
    return job


def status_line(terminal: Terminal, job: Job) -> str:
    """ "12 of 40 · 1 failed · 0:32 left · docs/guide.pdf"."""
    parts = [terminal.t("{finished} of {total}", finished=job.finished, total=job.total)]
    if job.failed:
        parts.append(terminal.t("{failed} failed", failed=job.failed))
    if job.eta_s is not None and not job.over:
        parts.append(terminal.t("{time} left", time=clock(job.eta_s)))
    if job.stage and not job.over:
        parts.append(clean(job.stage).replace("\n", " "))
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def reporting(terminal: Terminal) -> AbstractContextManager[Callable[[Job], None]]:
    """Within it, a function that shows how far a job is."""
    return _bar(terminal) if terminal.err.is_terminal else _lines(terminal)


@contextmanager
def _lines(terminal: Terminal) -> Iterator[Callable[[Job], None]]:
    last_s = time.monotonic()
    last_text = ""

    def show(job: Job) -> None:
        nonlocal last_s, last_text
        text = status_line(terminal, job)
        due = job.over or time.monotonic() - last_s >= _LINE_EVERY_S
        if job.total and due and text != last_text:
            terminal.say(text)
            last_s, last_text = time.monotonic(), text

    yield show


@contextmanager
def _bar(terminal: Terminal) -> Iterator[Callable[[Job], None]]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    progress = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        # Markup off: a file may be called "[red]".
        TextColumn(
            "{task.fields[line]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        console=terminal.err,
        transient=True,
        expand=True,
    )
    with progress:
        task = progress.add_task("", total=None, line=terminal.t("Starting…"))

        def show(job: Job) -> None:
            progress.update(task, total=job.total or None, completed=job.finished, line=status_line(terminal, job))

        yield show
