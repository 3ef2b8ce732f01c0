"""The plan as a tool: the model writes it whole each time, and an item is done only with evidence."""

from typing import Annotated, Literal

from pydantic import Field

from dizuo.agents.steps import PlanItem
from dizuo.core.messages import Noun
from dizuo.core.tools import ToolArgumentsError, tool

PLAN_TOOL = "update_plan"


class _Item(Noun):
    text: Annotated[str, Field(min_length=1, max_length=500, description="what is to be done")]
    check: Annotated[str, Field(min_length=1, max_length=500, description="how one sees that it is done")]
    status: Literal["open", "doing", "done", "dropped"] = "open"
    evidence: Annotated[str, Field(max_length=1000, description="for an item that is done: what showed it")] = ""


@tool(name=PLAN_TOOL)
def update_plan(items: Annotated[list[_Item], Field(min_length=1, max_length=30)]) -> str:
    """Write down the plan, whole, before the first step and whenever it changes or an item is done.

    Each item has a check. Look whether the check holds before you call an item done, and say in `evidence` what showed
    it. When a check fails, change the plan.
    """
    raise NotImplementedError(items)  # the loop does it: a plan is a step of its own


def plan_of(arguments: str) -> tuple[PlanItem, ...]:
    """The plan in the arguments of a call. Raises ToolArgumentsError, also for a done item that nothing shows."""
    items: list[_Item] = update_plan.checked(arguments)["items"]
    for number, item in enumerate(items, 1):
        if item.status == "done" and not item.evidence.strip():
            raise ToolArgumentsError(
                "Item {number} is called done without evidence. Check it ({check}), then say what showed it.",
                number=number,
                check=item.check,
            )
    return tuple(PlanItem(**item.model_dump()) for item in items)
