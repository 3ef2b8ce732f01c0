"""/api/jobs: durable work, its progress and its end."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from dizuo.api import streams
from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.apps.training import JOB_KIND as TRAINING
from dizuo.core.documents import ItemStatus
from dizuo.core.errors import NotAllowed
from dizuo.core.jobs import Job, JobItem
from dizuo.gateway.hub import JOB_KIND as MODEL
from dizuo.platform.identity import User
from dizuo.wiring import House

routes = router("/api/jobs", "jobs")

JobId = Annotated[str, Path(description="the job's id", pattern=r"^[^\x00]+$")]
_POLL_S = 0.25


class JobList(BaseModel):
    jobs: Sequence[Job]


class JobItemList(BaseModel):
    items: Sequence[JobItem]
    next_offset: int | None = Field(description="where the next page begins; null on the last")


@routes.get("")
def list_jobs(
    house: TheHouse,
    subject: Annotated[
        str | None, Query(max_length=128, pattern=r"^[^\x00]*$", description="a knowledge base's name")
    ] = None,
    active: Annotated[bool | None, Query(description="true: queued or running; false: over")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> JobList:
    """Jobs, the newest first."""
    return JobList(jobs=house.jobs.list(subject=subject, active=active, limit=limit))


@routes.get("/{job_id}")
def get_job(job_id: JobId, house: TheHouse) -> Job:
    return house.jobs.get(job_id)


@routes.get("/{job_id}/items")
def list_items(
    job_id: JobId,
    house: TheHouse,
    status: ItemStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> JobItemList:
    """The files of a job and what came of each: its parse report, or why it failed."""
    house.jobs.get(job_id)
    found = house.jobs.items(job_id, status=status, limit=limit + 1, offset=offset)
    return JobItemList(items=found[:limit], next_offset=offset + limit if len(found) > limit else None)


@routes.post("/{job_id}/cancel")
def cancel_job(job_id: JobId, house: TheHouse, user: TheUser) -> Job:
    """Stops a job: at once if it is queued, after the file in hand if it is running. What is in stays in.

    The job of a training or of a new model is the owner's alone, as everything about those.
    """
    _admit(house.jobs.get(job_id), user)
    return house.jobs.cancel(job_id)


@routes.post("/{job_id}/resume")
def resume_job(job_id: JobId, house: TheHouse, user: TheUser) -> Job:
    """Goes on with a job that failed, with the items that still wait; 409 for any other."""
    _admit(house.jobs.get(job_id), user)
    return house.jobs.resume(job_id)


def _admit(job: Job, user: User) -> None:
    if job.kind in (TRAINING, MODEL) and user.role != "owner":
        raise NotAllowed("Only the owner of this instance may do that; you are signed in as {name!r}.", name=user.name)


@routes.get(
    "/{job_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "a `job` event with the job as JSON at every change, the last when it is over",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def follow_job(job_id: JobId, request: Request, house: TheHouse) -> streams.EventStream:
    """The job whenever it changes, as server-sent events, until it is over or the server stops."""
    job = await run_in_threadpool(house.jobs.get, job_id)
    return streams.EventStream(streams.guarded(request, _changes(request, house, job)))


async def _changes(request: Request, house: House, job: Job) -> AsyncGenerator[str, None]:
    """Asks again and again rather than with `Jobs.watch`, which would hold a thread for every client that looks on."""
    yield streams.frame(job, "job")
    while not job.over and not request.app.state.stopping():
        asked_s = time.monotonic()
        now = await run_in_threadpool(house.jobs.get, job.id)
        if now != job:
            job = now
            yield streams.frame(job, "job")
        await asyncio.sleep(max(0.0, asked_s + _POLL_S - time.monotonic()))
