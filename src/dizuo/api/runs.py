"""/api/runs: goals given to agents, their steps as they come, and what people say to them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Literal

from fastapi import Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from dizuo.agents.approvals import MOST_HOURS
from dizuo.agents.journal import RunStatus
from dizuo.agents.policy import Policy
from dizuo.agents.run_tools import RunTool, run_tools
from dizuo.agents.runs import MOST_GOAL_CHARACTERS, Asked, Run
from dizuo.agents.state import State
from dizuo.agents.steps import ApprovalAsked, Budget, PlanItem, Step
from dizuo.api import streams
from dizuo.api.auth import TheHouse, TheUser, router
from dizuo.api.requests import RequestBody, Text
from dizuo.wiring import House

routes = router("/api/runs", "runs")

RunId = Annotated[str, Path(description="the run's id", pattern=r"^[^\x00]+$")]
_POLL_S = 0.2


class RunList(BaseModel):
    runs: Sequence[Run]


class RunToolList(BaseModel):
    tools: Sequence[RunTool]


class RunContent(BaseModel):
    run: Run
    steps: Sequence[Step]
    waiting: Sequence[ApprovalAsked] = Field(description="what people are asked")
    asking: Sequence[Asked] = Field(description="the same, and what the runs ask that it has called, with their ids")


class NewRun(RequestBody):
    goal: Annotated[str, Field(min_length=1, max_length=MOST_GOAL_CHARACTERS, pattern=r"^[^\x00]*$")]
    app: Text = Field("", description="the app that it is a run of; what is given besides takes the place of its own")
    model: Text = Field("", description="a model or a route; empty: the app's, or the instance's")
    knowledge: Text = Field("", description="a knowledge base that it may search")
    tools: Annotated[list[Text], Field(max_length=100)] | None = Field(
        None,
        description="tools that it may use besides its own: fetch_page, of a server in /api/tools, or app/NAME; not "
        "given: the app's",
    )
    budget: Budget = Field(Budget(), description="of an app, each part that is given takes the place of its own")
    policy: Policy = Field(
        Policy(), description="rules about calls of tools; the first that fits decides, and the app's come after them"
    )
    hold: bool = Field(
        False, description="it rests until it is resumed, for files that it is given first: POST /api/runs/ID/files"
    )
    answer_hours: Annotated[float, Field(ge=0, le=MOST_HOURS)] | None = Field(
        None, description="how long a question waits, then it counts as refused; 0: for ever; null: as the setting says"
    )


class Said(RequestBody):
    text: Annotated[str, Field(min_length=1, max_length=MOST_GOAL_CHARACTERS, pattern=r"^[^\x00]*$")]


class Decided(RequestBody):
    call_id: Text
    decision: Literal["approve", "reject"]
    arguments: Text | None = Field(None, description="JSON, in place of the model's")
    reason: Text = Field("", description="why not, or the answer to a question; the model reads it")


class NewPlan(RequestBody):
    items: Annotated[list[PlanItem], Field(max_length=100)]


class Forked(RequestBody):
    step: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(None, description="the last step that both share")
    text: Text = ""


@routes.get("")
def list_runs(
    house: TheHouse, user: TheUser, status: RunStatus | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> RunList:
    """The caller's runs, the newest first."""
    return RunList(runs=house.runs.list(user.id, status, limit))


@routes.post("", status_code=201)
def start_run(new: NewRun, house: TheHouse, user: TheUser) -> Run:
    """Accepts a goal. It is worked on by the server, whether anybody looks on or not."""
    return house.launcher.start(
        new.goal,
        app=new.app,
        model=new.model,
        knowledge=new.knowledge,
        tools=new.tools,
        budget=new.budget,
        policy=new.policy,
        user_id=user.id,
        hold=new.hold,
        answer_hours=new.answer_hours,
    )


@routes.get("/tools")
def list_run_tools(house: TheHouse, user: TheUser) -> RunToolList:
    """The tools that a run of the caller's may be given, and those that it has anyway."""
    return RunToolList(tools=run_tools(house.equipment, user.id))


@routes.get("/{run_id}")
def get_run(run_id: RunId, house: TheHouse, user: TheUser) -> RunContent:
    run, steps = house.runs.get(run_id, user.id), house.runs.steps(run_id)
    return RunContent(run=run, steps=steps, waiting=State(steps).waiting, asking=house.runs.asking(run_id))


@routes.post("/{run_id}/answer")
def answer_run(run_id: RunId, said: Decided, house: TheHouse, user: TheUser) -> Run:
    """Answers what the run waits for."""
    return house.runs.answer(
        run_id, said.call_id, said.decision, arguments=said.arguments, reason=said.reason, user_id=user.id
    )


@routes.post("/{run_id}/steer")
def steer_run(run_id: RunId, said: Said, house: TheHouse, user: TheUser) -> Run:
    """Says something to a run that goes on."""
    return house.runs.steer(run_id, said.text, user.id)


@routes.put("/{run_id}/plan")
def change_plan(run_id: RunId, plan: NewPlan, house: TheHouse, user: TheUser) -> Run:
    """Replaces the plan; the model reads that it was changed."""
    return house.runs.change_plan(run_id, plan.items, user.id)


@routes.post("/{run_id}/pause")
def pause_run(run_id: RunId, house: TheHouse, user: TheUser) -> Run:
    """Lets the run rest after the step in hand."""
    return house.runs.pause(run_id, user.id)


@routes.post("/{run_id}/resume")
def resume_run(run_id: RunId, house: TheHouse, user: TheUser) -> Run:
    return house.runs.resume(run_id, user.id)


@routes.post("/{run_id}/cancel")
def cancel_run(run_id: RunId, house: TheHouse, user: TheUser) -> Run:
    """Ends the run with the best answer so far."""
    return house.runs.cancel(run_id, user.id)


@routes.post("/{run_id}/fork", status_code=201)
def fork_run(run_id: RunId, how: Forked, house: TheHouse, user: TheUser) -> Run:
    """A new run that shares the first steps, and goes on from there."""
    return house.run_files.fork(run_id, how.step, how.text, user.id)


@routes.get(
    "/{run_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "a `step` event for every step, and a `run` event when the run has ended or waits",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def follow_run(
    run_id: RunId,
    request: Request,
    house: TheHouse,
    user: TheUser,
    after: Annotated[int, Query(ge=0, lt=2**31, description="steps that the caller has")] = 0,
) -> streams.EventStream:
    """The steps as they come, until the run has ended, rests, or waits for people."""
    await run_in_threadpool(house.runs.get, run_id, user.id)
    return streams.EventStream(streams.guarded(request, _steps(request, house, run_id, after)))


async def _steps(request: Request, house: House, run_id: str, after: int) -> AsyncGenerator[str, None]:
    """Asks again and again, as /api/jobs does."""
    while not request.app.state.stopping():
        asked_s = time.monotonic()
        run = await run_in_threadpool(house.runs.get, run_id)
        for step in await run_in_threadpool(house.runs.steps, run_id, after):
            after += 1
            yield streams.frame(step, "step")
        if run.status != "active":
            yield streams.frame(run, "run")
            return
        await asyncio.sleep(max(0.0, asked_s + _POLL_S - time.monotonic()))
