"""`dizuo job …`: the durable jobs, as they are and as they go."""

from typing import TYPE_CHECKING, Annotated

import typer

from dizuo.cli.command import command, group
from dizuo.cli.terminal import Terminal
from dizuo.platform.catalogue import _

if TYPE_CHECKING:
    from dizuo.core.jobs import Job
    from dizuo.wiring import House

app = group(_("Durable jobs: work that survives the process."))

_Id = Annotated[str, typer.Argument(metavar="JOB", help=_("The job's id."))]
NoWait = Annotated[bool, typer.Option("--no-wait", help=_("Return at once with the job instead of following it."))]

_SHOWN_FAILURES = 100


def _status(terminal: Terminal, job: "Job") -> str:
    t = terminal.t
    texts = {
        "queued": t("queued"),
        "running": t("running"),
        "done": t("done"),
        "failed": t("failed"),
        "cancelled": t("cancelled"),
    }
    return texts[job.status]


@command(app, "list", _("List the jobs, newest first."))
def list_(
    terminal: Terminal,
    active: Annotated[bool, typer.Option("--active", help=_("Only those that are not over."))] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help=_("Most jobs to show."))] = 50,
) -> None:
    from dizuo.cli.table import show_table, when

    with terminal.house() as house:
        jobs = house.jobs.list(active=True if active else None, limit=limit)
    if terminal.as_json:
        terminal.show_json({"jobs": [job.model_dump(mode="json") for job in jobs]})
        return
    t = terminal.t
    show_table(
        terminal,
        (t("Job"), t("Kind"), t("About"), t("Status"), t("Finished"), t("Failed"), t("Created")),
        [
            (
                job.id,
                job.kind,
                job.subject,
                _status(terminal, job),
                f"{job.finished}/{job.total}",
                job.failed,
                when(job.created_at),
            )
            for job in jobs
        ],
        right=(4, 5),
        whole=(0,),
    )


@command(app, "show", _("Show one job and what went wrong in it."))
def show(terminal: Terminal, job: _Id) -> None:
    with terminal.house() as house:
        found = house.jobs.get(job)
        items = house.jobs.items(job, status="failed", limit=_SHOWN_FAILURES)
    failures = [(item.source, terminal.note(item.error) if item.error else "") for item in items]
    if terminal.as_json:
        reasons = [{"source": source, "error": reason} for source, reason in failures]
        terminal.show_json({**found.model_dump(mode="json"), "failures": reasons})
        return
    _show(terminal, found)
    for source, reason in failures:
        terminal.show(f"{source}: {reason}", style="red")


def _show(terminal: Terminal, job: "Job") -> None:
    from dizuo.cli.progress import status_line

    if terminal.as_json:
        terminal.show_json(job.model_dump(mode="json"))
        return
    terminal.show(f"{job.id} · {job.kind} · {job.subject} · {_status(terminal, job)}", style="bold")
    terminal.show(status_line(terminal, job))
    if job.error:
        terminal.show(terminal.note(job.error), style="red")


@command(app, "watch", _("Follow a job to its end; does the work when no server is running."))
def watch(terminal: Terminal, job: _Id) -> None:
    with terminal.house() as house:
        over = _watched(terminal, house, job)
    _show(terminal, over)
    if over.status == "failed":
        raise typer.Exit(1)


def _watched(terminal: Terminal, house: "House", job: str) -> "Job":
    """The job when it is over. Ctrl-C leaves it as it is."""
    from dizuo.cli import progress

    try:
        return progress.watch(terminal, house.jobs, house.jobs.get(job))
    except KeyboardInterrupt:
        terminal.say(terminal.t("The job is not cancelled. To cancel it: dizuo job cancel {job}", job=job))
        raise


@command(app, "resume", _("Go on with a job that failed, with what still waits in it."))
def resume(terminal: Terminal, job: _Id, no_wait: NoWait = False) -> None:
    with terminal.house() as house:
        state = house.jobs.resume(job)
        if not no_wait:
            state = _watched(terminal, house, job)
    _show(terminal, state)
    if state.status == "failed":
        raise typer.Exit(1)


@command(app, "cancel", _("Cancel a job; what it has finished stays."))
def cancel(terminal: Terminal, job: _Id) -> None:
    with terminal.house() as house:
        state = house.jobs.cancel(job)
    if terminal.as_json:
        terminal.show_json(state.model_dump(mode="json"))
    elif state.over:
        terminal.show(f"{state.id} · {_status(terminal, state)}")
    else:
        terminal.show(terminal.t("The job stops after the file in hand."))
